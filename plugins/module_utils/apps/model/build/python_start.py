# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a Python app without a Procfile: Django, the application of a framework, a script, or a file. Pure."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .documents import part
from .plan import Process
from .project import Project
from .python_tools import Installation

GUNICORN, UVICORN = "gunicorn", "uvicorn"
MAX_FILES = 400
MAX_BYTES = 256 << 10
MAX_TOTAL = 8 << 20
MAX_DEPTH = 5
# By package: the class whose object is the application, and the server for it. The first that is found counts.
FRAMEWORKS = {
    "fastapi": ("FastAPI", UVICORN),
    "litestar": ("Litestar", UVICORN),
    "quart": ("Quart", UVICORN),
    "starlette": ("Starlette", UVICORN),
    "flask": ("Flask", GUNICORN),
}
_SKIPPED = {"tests", "test", "docs", "examples", "migrations", "node_modules", "venv", "env", "site-packages", "build"}
_CANDIDATE = re.compile(r"\b(?:FastAPI|Litestar|Quart|Starlette|Flask)\s*\(|\bdef\s+(?:create|make)_app\s*\(")
_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([A-Za-z_][\w.]{0,200})["']""", re.ASCII)
_APPLICATION = re.compile(
    r"""^(WSGI|ASGI)_APPLICATION\s*=\s*["']([A-Za-z_][\w.]{0,200})\.(\w{1,100})["']""", re.M | re.ASCII
)
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}\Z")


@dataclass(frozen=True)
class Start:
    """What starts the app, and the server that must be installed for it, "" for none."""

    process: Process | None
    server: str = ""


def start(project: Project, installed: Installation) -> Start:
    """Return what starts the app by the rules of its framework, its scripts or its files."""
    if project.tree.has("manage.py") and "django" in installed.names:
        return _django(project)
    return _application(project, installed) or _script(project, installed) or _file(project)


def settings_files(project: Project) -> list[str]:
    """Return the files that may be the settings of Django."""
    match = _SETTINGS.search(project.text("manage.py"))
    module = match[1].replace(".", "/") if match else ""
    package = module.rpartition("/")[0]
    named = (f"{module}.py", f"{module}/__init__.py", f"{module}/base.py", f"{package}/base.py", "settings.py")
    found = [path for path in named if module and project.tree.has(path)]
    return found or [path for path in project.tree.paths if re.fullmatch(r"[^/]+/settings(/\w+)?\.py", path)][:10]


def _django(project: Project) -> Start:
    project.reason("manage.py and django among the dependencies -> django")
    found = {
        match[1]: (path, f"{match[2]}:{match[3]}")
        for path in reversed(settings_files(project))
        for match in _APPLICATION.finditer(project.text(path))
    }
    if not found:
        files = [path for path in project.tree.paths if re.fullmatch(r"(\w+/){1,2}wsgi\.py", path)]
        if len(files) == 1:
            found["WSGI"] = files[0], f"{_module(files[0])}:application"
    if "WSGI" in found:
        path, name = found["WSGI"]
        return Start(Process("web", f"gunicorn {name} --bind 0.0.0.0:$PORT", f"{path}: WSGI_APPLICATION"), GUNICORN)
    if "ASGI" in found:
        path, name = found["ASGI"]
        return Start(
            Process("web", f"uvicorn {name} --host 0.0.0.0 --port $PORT", f"{path}: ASGI_APPLICATION"), UVICORN
        )
    project.wrong("manage.py", "no settings with WSGI_APPLICATION", "WSGI_APPLICATION, or web in Procfile")
    return Start(None)


@dataclass(frozen=True)
class _Found:
    """An application object: its file, its framework, and its name; a factory makes it when it is called."""

    path: str
    framework: str
    name: str
    factory: bool = False


def _application(project: Project, installed: Installation) -> Start | None:
    """Return the start of the one application object of the first framework that has any, None without one."""
    frameworks = [name for name in FRAMEWORKS if name in installed.names]
    found = list(_objects(project, frameworks)) if frameworks else []
    for framework in frameworks:
        mine = [one for one in found if one.framework == framework]
        objects = [one for one in mine if not one.factory] or mine
        if len(objects) > 1:
            listed = ", ".join(f"{one.path} ({one.name})" for one in objects[:10])
            project.wrong(objects[0].path, f"several applications of {framework}: {listed}", "one, or web in Procfile")
            return Start(None)
        if objects:
            return _served(objects[0], installed)
    return None


def _served(one: _Found, installed: Installation) -> Start:
    server = FRAMEWORKS[one.framework][1]
    module, option = _module(one.path), ""
    if one.path.startswith("src/"):
        module = module[4:]
        option = "" if installed.packaged else " --chdir src" if server == GUNICORN else " --app-dir src"
    if server == GUNICORN:
        call = f"'{module}:{one.name}()'" if one.factory else f"{module}:{one.name}"
        command = f"gunicorn {call} --bind 0.0.0.0:$PORT{option}"
    else:
        factory = " --factory" if one.factory else ""
        command = f"uvicorn {module}:{one.name} --host 0.0.0.0 --port $PORT{factory}{option}"
    return Start(Process("web", command, f"{one.path}: {one.framework}"), server)


def _objects(project: Project, frameworks: Iterable[str]) -> Iterator[_Found]:
    """Yield the application objects, and the functions that make one, at the top of the files of the source."""
    classes = {FRAMEWORKS[name][0]: name for name in frameworks}
    files = [path for path in project.tree.paths if path.endswith(".py") and _importable(path)]
    left = MAX_TOTAL
    for path in sorted(files, key=lambda path: (path.count("/"), path))[:MAX_FILES]:
        text = project.tree.head(path, MAX_BYTES)
        left -= len(text)
        if left < 0:
            project.warn(f"{path} and further files are too large to be searched for an application")
            return
        for node in _top(text) if _CANDIDATE.search(text) else ():
            name = _assigned(node, classes)
            if name:
                yield _Found(path, classes[name[1]], name[0])
            elif isinstance(node, ast.FunctionDef) and node.name in ("create_app", "make_app"):
                made = [one for one in ast.walk(node) if isinstance(one, ast.Call) and _called(one) in classes]
                if made and _without_arguments(node):
                    yield _Found(path, classes[_called(made[0])], node.name, factory=True)


def _top(text: str) -> list[ast.stmt]:
    """Return the statements of a file, none if it is not Python or nested too deep to be read."""
    try:
        # What is wrong with the style of an app is not for those who deploy it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _assigned(node: ast.stmt, classes: Iterable[str]) -> tuple[str, str] | None:
    """Return the name and the class of a statement such as `app = Flask(...)`."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or not isinstance(value, ast.Call):
        return None
    name = targets[0].id
    return (name, _called(value)) if _called(value) in classes and name.isascii() and len(name) < 100 else None


def _called(call: ast.Call) -> str:
    """Return the name of what is called, without the module before it."""
    function = call.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _without_arguments(node: ast.FunctionDef) -> bool:
    arguments = node.args
    return len(arguments.args) <= len(arguments.defaults) and not arguments.posonlyargs


def _importable(path: str) -> bool:
    """Return whether a file can be imported from the root or from src, and is none of tests and tools."""
    *directories, name = path.split("/")
    return (
        len(directories) <= MAX_DEPTH
        and all(part.isidentifier() and part.isascii() for part in (*directories, name[:-3]))
        and not _SKIPPED.intersection(directories)
        and not name.startswith(("test_", "conftest"))
        and len(path) < 300
    )


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _script(project: Project, installed: Installation) -> Start | None:
    """Return the start of the one script that a package installs, or of that which is named for it."""
    pyproject = project.toml("pyproject.toml")
    scripts = {**part(pyproject, "tool", "poetry", "scripts"), **part(pyproject, "project", "scripts")}
    names = sorted(name for name in scripts if _SCRIPT.match(name))
    named = [name for name in names if name in ("web", "start", "serve", "server")]
    chosen = names if len(names) == 1 else named
    if len(chosen) != 1 or not installed.packaged:
        return None
    return Start(Process("web", chosen[0], "pyproject.toml: scripts"))


def _file(project: Project) -> Start:
    """Return the start of a file of a name that says so."""
    for path in ("main.py", "app.py", "server.py"):
        if project.tree.has(path):
            return Start(Process("web", f"python {path}", path))
    if project.tree.has("wsgi.py"):
        return Start(Process("web", "gunicorn wsgi:application --bind 0.0.0.0:$PORT", "wsgi.py"), GUNICORN)
    return Start(Process("worker", "python bot.py", "bot.py") if project.tree.has("bot.py") else None)
