# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python: the files that show it, its version, and its plan. Pure."""

from __future__ import annotations

import re

from .documents import part, text_at
from .libraries import native
from .plan import APP, Output, Plan, Process, Step, Version
from .project import Project, Wish
from .python_start import Start, settings_files, start
from .python_tools import VENV, Installation, installation
from .versions import exactly, python

MANIFESTS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "Pipfile", "requirements.txt")
# They show Python only where nothing else is: apps of other languages have such files, too.
WEAK = ("manage.py", "app.py", "main.py", "wsgi.py")
MISSPELT = re.compile(
    r"(requirements?|requirments?|requierments?)(\.(text|txt|in|pip))?\Z|pip-?file(\.(toml|txt))?\Z|pyproject\.(tml|yml)\Z",
    re.IGNORECASE,
)
PATH = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What settings of Django want before they can be loaded; none of it is of use outside of the build.
DUMMIES = (
    "SECRET_KEY=only-for-the-build",
    "DJANGO_SECRET_KEY=only-for-the-build",
    "DATABASE_URL=sqlite:////tmp/build.sqlite3",
)


def match(project: Project) -> str:
    """Return the file that makes a tree one of Python, "" without one."""
    found = project.tree.first(MANIFESTS)
    if found or not project.tree.has("pyproject.toml"):
        return found or project.tree.first(("setup.py",))
    # Linters of all languages have their configuration there.
    pyproject = project.toml("pyproject.toml")
    tool = part(pyproject, "tool")
    named = (
        "project" in pyproject or "build-system" in pyproject or any(name in tool for name in ("poetry", "pdm", "uv"))
    )
    return "pyproject.toml" if named or not pyproject else project.tree.first(("setup.py",))


def weak(project: Project) -> str:
    """Return the file that may be one of a Python app, "" without one."""
    return project.tree.first(WEAK)


def misspelt(project: Project) -> str:
    """Return a file whose name is nearly that of a manifest, "" without one."""
    return next((name for name in project.tree.names if MISSPELT.match(name) and name not in MANIFESTS), "")


def plan(project: Project) -> Plan:
    """Return the plan of a project of Python."""
    wrong_name = misspelt(project) if not match(project) else ""
    if wrong_name:
        wanted = "Pipfile" if wrong_name.lower().startswith("pip") else "requirements.txt"
        project.wrong(wrong_name, "a name that no tool reads", f"the name {wanted}")
    version = project.version("python", project.wishes("python", *_wishes(project)))
    installed = installation(project)
    native(project, "python", installed.names)
    started: list[Start] = []

    def rule() -> Process | None:
        started.append(start(project, installed))
        return started[0].process

    processes = project.processes(rule)
    server, install_server = _server(project, installed, started[0].server if started else "")
    root = installed.root or project.tree.directory
    return Plan(
        "python",
        installed.tool,
        (version, *installed.versions, *server),
        root=root,
        build_base="build/python",
        run_base="run/python",
        manifests=installed.manifests,
        install=(*installed.install, *install_server),
        build=(*installed.build, *_collectstatic(project, installed, project.tree.from_root(root)), _compiled()),
        outputs=(Output(VENV + "/", VENV + "/"), Output(APP + "/", APP + "/")),
        environment=(("PATH", PATH), ("PYTHONUNBUFFERED", "1")),
        processes=processes,
        generated_lock=installed.generated_lock,
    )


def _wishes(project: Project) -> list[Wish]:
    """Return the versions that files ask for, the most exact first."""
    if project.tree.has("runtime.txt") and not project.tree.has(".python-version"):
        asked = project.text("runtime.txt").strip().removeprefix("python-")
        project.wrong("runtime.txt", asked or "nothing", f"the version in .python-version: {asked or '3.13'}")
    lines = (line.strip() for line in project.text(".python-version").split("\n"))
    pinned = next((line for line in lines if line and not line.startswith("#")), "")
    pyproject = project.toml("pyproject.toml")
    requires = part(project.toml("Pipfile"), "requires") if project.tree.has("Pipfile") else {}
    poetry = part(pyproject, "tool", "poetry", "dependencies").get("python")
    return [
        Wish(".python-version", pinned, exactly),
        Wish("pyproject.toml: requires-python", text_at(pyproject, "project", "requires-python"), python),
        Wish("pyproject.toml: tool.poetry.dependencies.python", poetry if isinstance(poetry, str) else "", python),
        Wish("Pipfile: python_full_version", text_at(requires, "python_full_version"), python),
        Wish("Pipfile: python_version", text_at(requires, "python_version"), python),
    ]


def _server(project: Project, installed: Installation, name: str) -> tuple[tuple[Version, ...], tuple[Step, ...]]:
    """Return the version of the server of the start command and the step that installs it, if the app has none."""
    if not name or name in installed.names:
        return (), ()
    version = project.tool(name)
    project.warn(f"{name} {version.value} is added, because the dependencies do not have it and web runs it")
    return (version,), (Step((*installed.add, f"{name}=={version.value}"), network=True),)


def _collectstatic(project: Project, installed: Installation, directory: str) -> tuple[Step, ...]:
    """Return the step that collects the static files of Django, if its settings have a place for them."""
    if project.options.assets == "skip" or "django" not in installed.names or not project.tree.has("manage.py"):
        return ()
    texts = [project.text(path) for path in settings_files(project)]
    if not any(re.search(r"^[ \t]*STATIC_ROOT\s*=", text, re.M) for text in texts):
        project.reason("the settings have no STATIC_ROOT -> no collectstatic")
        return ()
    names = ", ".join(dummy.partition("=")[0] for dummy in DUMMIES)
    project.reason(f"STATIC_ROOT -> collectstatic, with dummy values of {names}")
    return (Step(("env", *DUMMIES, f"{VENV}/bin/python", "manage.py", "collectstatic", "--noinput"), directory),)


def _compiled() -> Step:
    """Return the step that compiles the source. A file that is no Python 3 is none that fails a build."""
    words = ("/bin/sh", "-c", '"$@" || true', "compile", f"{VENV}/bin/python", "-m", "compileall", "-q")
    return Step((*words, "--invalidation-mode", "unchecked-hash", APP))
