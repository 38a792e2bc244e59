# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the dependencies of a Python project are installed: uv, Poetry, PDM, Pipenv or pip. Pure.

Everything is in the virtual environment /opt/venv; the tools themselves are in another one, which is in no image. The
project itself is installed without a network, by what the first step has fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .documents import part, text_at, texts_at
from .plan import Step, Version
from .project import Project, has_password
from .tree import MAX_LOCK, Tree, joined, plain

VENV = "/opt/venv"
TOOLS = "/opt/tools"
WHEELS = "/opt/wheels"
LOCKS = {"uv.lock": "uv", "poetry.lock": "poetry", "pdm.lock": "pdm", "Pipfile.lock": "pipenv"}
MAX_FILES = 50
MAX_REQUIREMENTS = 500
MAX_LINES = 20_000
_PIP = (f"{VENV}/bin/pip", "install", "--no-input")
_PIP_CACHE = ("/root/.cache/pip",)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,100}[A-Za-z0-9])?\Z")
# A requirement of PEP 508: a name, extras, versions or an address, a marker. It never begins as an option does.
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?P<extras>\[[A-Za-z0-9._, -]*\])?\s*"
    r"(?P<rest>[(=<>!~;@].*)?\Z"
)
_OPTION = re.compile(r"(--?[a-zA-Z-]+)[=\s]*(.*)\Z")
_LOCAL = re.compile(r"(\.{0,2}/|\.\Z|\.\[|file:)")


@dataclass(frozen=True)
class Installation:
    """How dependencies are installed. `names` are those of all packages that are known to be, in their normal form;
    `packaged`: the project itself is installed, too. `add`: the words that install one more package."""

    tool: str
    names: frozenset[str]
    versions: tuple[Version, ...] = ()
    manifests: tuple[str, ...] = ()
    install: tuple[Step, ...] = ()
    build: tuple[Step, ...] = ()
    packaged: bool = False
    generated_lock: str = ""
    root: str = ""
    add: tuple[str, ...] = _PIP


def _requirement(text: str) -> re.Match[str] | None:
    """Return the parts of a requirement, None for another text."""
    # The pattern's work grows with the square of the spaces in a text.
    return _REQUIREMENT.match(text.strip()) if len(text) <= 1000 and text.isprintable() else None


def normal(name: str) -> str:
    """Return the normal form of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installation(project: Project) -> Installation:
    """Return how the dependencies of a project are installed."""
    tree = project.tree
    locks = [name for name in LOCKS if tree.has(name)]
    if len(locks) > 1:
        project.wrong(
            locks[0], f"several lock files: {', '.join(locks)}", "the one of the tool that you use: remove others"
        )
        return Installation(LOCKS[locks[0]], frozenset())
    around = _uv_workspace(project) if not locks else None
    if locks or around or tree.has("Pipfile"):
        tool = LOCKS[locks[0]] if locks else "uv" if around else "pipenv"
        first = locks[0] if locks else "uv.lock" if around else "Pipfile"
        project.reason(f"{first} -> {tool}")
        if tree.has("requirements.txt"):
            project.warn(f"requirements.txt is ignored, because {first} has the dependencies: remove one of them")
        return _TOOLS[tool](project.at(around) if around else project, project)
    if tree.has("requirements.txt"):
        project.reason("requirements.txt -> pip")
        return _requirements(project)
    if tree.has("pyproject.toml"):
        return _pyproject(project)
    if tree.has("setup.py"):
        project.reason("setup.py -> pip")
        _no_lock(project, "setup.py")
        return _whole(project)
    project.warn("no file names dependencies, so none are installed")
    return Installation("pip", frozenset(), install=(_venv(VENV),))


def _venv(path: str) -> Step:
    return Step(("python3", "-m", "venv", path))


def _tool(project: Project, name: str) -> tuple[Version, tuple[Step, ...]]:
    """Return the version of a tool and the steps that install it beside the virtual environment of the app."""
    version = project.tool(name)
    pip = (f"{TOOLS}/bin/pip", "install", "--no-input", f"{name}=={version.value}")
    return version, (_venv(TOOLS), Step(pip, network=True, caches=_PIP_CACHE))


def _no_lock(project: Project, path: str) -> None:
    project.warn(f"no lock file beside {path}: two builds of the same source can have different dependencies")


def _frozen(project: Project) -> bool:
    return project.options.lockfile != "update"


# uv


def _uv_workspace(project: Project) -> Tree | None:
    """Return the tree of a workspace of uv around a project that has no lock file of its own."""
    if not project.tree.has("pyproject.toml"):
        return None
    for tree in list(project.tree.upward())[1:]:
        if tree.has("uv.lock") and part(project.at(tree).toml("pyproject.toml"), "tool", "uv", "workspace"):
            return tree
    return None


def _uv(root: Project, project: Project) -> Installation:
    version, steps = _tool(project, "uv")
    pyproject = project.toml("pyproject.toml")
    if not project.tree.has("pyproject.toml"):
        project.wrong("uv.lock", "no pyproject.toml beside it", "pyproject.toml, which the lock file is of")
    lock = root.toml("uv.lock", MAX_LOCK)
    member = project.tree.from_root(root.tree.directory)
    _uv_in_step(project, lock, pyproject, member)
    members = _members(root)
    requires = _build_requires(root, ("pyproject.toml", *members))
    named = text_at(pyproject, "project", "name")
    if member != "." and not _NAME.match(named):
        project.wrong("pyproject.toml: project.name", shown(named), "the name of a package")
    which = ("--package", named) if member != "." else ()
    # The Python of the image, also where .python-version has another patch number.
    python = ("UV_PYTHON=python3", "UV_PYTHON_DOWNLOADS=never")
    environment = ("env", f"UV_PROJECT_ENVIRONMENT={VENV}", *python, "UV_LINK_MODE=copy")
    locked = ("--frozen",) if _frozen(project) else ()
    sync = (*environment, f"{TOOLS}/bin/uv", "sync", *locked, "--no-dev", *which)
    # Build tools of the project stay in the cache, where the build finds them without a network.
    fetch = (f"{TOOLS}/bin/uv", "pip", "install", "--target", "/opt/build-requires", "--", *requires)
    local = _local_sources(root, ("pyproject.toml", *members))
    return Installation(
        "uv",
        _locked(lock),
        (version,),
        ("./",) if local else ("pyproject.toml", "uv.lock", *members),
        (
            *steps,
            Step((*sync, "--no-install-workspace"), network=True),
            *((Step(fetch, network=True),) if requires else ()),
        ),
        (Step((*sync, "--no-editable", "--offline")),) if requires else (),
        packaged=_is_package(pyproject),
        generated_lock="" if _frozen(project) else "uv.lock",
        root=root.tree.directory,
        add=(f"{TOOLS}/bin/uv", "pip", "install", f"--python={VENV}/bin/python"),
    )


def _is_package(pyproject: Any) -> bool:
    said = part(pyproject, "tool", "uv").get("package")
    return said if isinstance(said, bool) else bool(part(pyproject, "build-system"))


def _members(root: Project) -> tuple[str, ...]:
    """Return the manifests of the members of a workspace of uv."""
    patterns = texts_at(root.toml("pyproject.toml"), "tool", "uv", "workspace", "members")[:MAX_FILES]
    return tuple(f"{directory}/pyproject.toml" for directory in root.members("pyproject.toml", patterns))


def _build_requires(root: Project, manifests: Iterable[str]) -> tuple[str, ...]:
    """Return what builds the packages of these manifests."""
    found: set[str] = set()
    for path in manifests:
        pyproject = root.toml(path)
        if _is_package(pyproject):
            found.update(_requirements_of(root, path, pyproject, "build-system", "requires") or ["setuptools"])
    return tuple(sorted(found))


def _requirements_of(project: Project, path: str, document: Any, *keys: str) -> list[str]:
    """Return the requirements in a list of a manifest; what is none is noted."""
    found = []
    place = f"{path}: {'.'.join(keys)}"
    entries = texts_at(document, *keys)
    if len(entries) > MAX_REQUIREMENTS:
        project.wrong(place, f"{len(entries)} requirements", f"at most {MAX_REQUIREMENTS}")
    for entry in entries[:MAX_REQUIREMENTS]:
        if not _requirement(entry):
            project.wrong(place, shown(entry), "a requirement such as flask>=3.0")
        elif has_password(entry):
            project.wrong(place, f"a password in {shown(entry)}", "an address alone, and a credential of the build")
        else:
            found.append(entry.strip())
    return found


def _local_sources(root: Project, manifests: Iterable[str]) -> bool:
    return any(
        text_at(source, "path")
        for path in manifests
        for source in part(root.toml(path), "tool", "uv", "sources").values()
        if isinstance(source, dict)
    )


def _locked(lock: dict[str, Any]) -> frozenset[str]:
    """Return the names of the packages in a lock file that is TOML."""
    packages = lock.get("package")
    entries = packages if isinstance(packages, list) else []
    return frozenset(normal(name) for entry in entries for name in [text_at(entry, "name")] if name)


def _uv_in_step(project: Project, lock: dict[str, Any], pyproject: dict[str, Any], member: str) -> None:
    """Note dependencies of a project that its lock file does not have, or has of other versions."""
    if not _frozen(project):
        return
    packages = lock.get("package")
    own = next(
        (
            entry
            for entry in (packages if isinstance(packages, list) else [])
            if member in (text_at(entry, "source", "virtual"), text_at(entry, "source", "editable"))
        ),
        None,
    )
    listed = part(own, "metadata").get("requires-dist")
    if own is None or not isinstance(listed, list):
        listed = []
    known = {
        (normal(text_at(entry, "name")), _specifier(text_at(entry, "specifier")))
        for entry in listed
        if not text_at(entry, "url") and not text_at(entry, "git")
    }
    names = {name for name, _specifier_of in known}
    for entry in texts_at(pyproject, "project", "dependencies")[:MAX_REQUIREMENTS]:
        match = _requirement(entry)
        if match is None or (match["rest"] or "").startswith("@"):
            continue
        name, specifier = normal(match["name"]), _specifier((match["rest"] or "").partition(";")[0])
        if name not in names and any(text_at(one, "name") == name for one in listed):
            continue
        if (name, specifier) not in known:
            project.wrong(
                "uv.lock",
                f"no lock of {name}{specifier}, which pyproject.toml wants",
                "a lock of the same dependencies: run uv lock",
            )


def _specifier(text: str) -> str:
    """Return a specifier of versions in its normal form."""
    return ",".join(sorted(part.replace(" ", "") for part in text.strip().strip("()").split(",") if part.strip()))


# Poetry, PDM and Pipenv


def _in_venv(*words: str) -> tuple[str, ...]:
    """Return the words of a tool that installs into the virtual environment as if it were active."""
    path = f"{VENV}/bin:{TOOLS}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ("env", f"VIRTUAL_ENV={VENV}", f"PATH={path}", *words)


def _poetry(_root: Project, project: Project) -> Installation:
    version, steps = _tool(project, "poetry")
    pyproject = project.toml("pyproject.toml")
    settings = part(pyproject, "tool", "poetry")
    local = any(text_at(entry, "path") for entry in part(settings, "dependencies").values() if isinstance(entry, dict))
    name = text_at(pyproject, "project", "name") or text_at(settings, "name")
    packaged = bool(name) and settings.get("package-mode") is not False
    install = ("poetry", "install", "--no-interaction", "--only", "main", "--no-root")
    lock = (Step(_in_venv("poetry", "lock", "--no-interaction"), network=True),) if not _frozen(project) else ()
    return Installation(
        "poetry",
        _locked(project.toml("poetry.lock", MAX_LOCK)),
        (version,),
        ("./",) if local else ("pyproject.toml", "poetry.lock"),
        (*steps, _venv(VENV), *lock, Step(_in_venv(*install), network=True, caches=("/root/.cache/pypoetry",))),
        (Step(_in_venv("poetry", "install", "--no-interaction", "--only-root")),) if packaged else (),
        packaged=packaged,
        generated_lock="" if _frozen(project) else "poetry.lock",
    )


def _pdm(_root: Project, project: Project) -> Installation:
    version, steps = _tool(project, "pdm")
    pyproject = project.toml("pyproject.toml")
    packaged = bool(part(pyproject, "build-system")) and part(pyproject, "tool", "pdm").get("distribution") is not False
    fetch, build = _wheel(project, pyproject) if packaged else ((), ())
    words = ("pdm", "sync", "--prod", "--no-self", "--no-editable") if _frozen(project) else (
        "pdm", "install", "--prod", "--no-self", "--no-editable")  # fmt: skip
    return Installation(
        "pdm",
        _locked(project.toml("pdm.lock", MAX_LOCK)),
        (version,),
        ("pyproject.toml", "pdm.lock"),
        (
            *steps,
            _venv(VENV),
            Step(_in_venv("env", "PDM_IGNORE_SAVED_PYTHON=1", "PDM_CHECK_UPDATE=0", *words), network=True),
            *fetch,
        ),
        build,
        packaged=packaged,
        generated_lock="" if _frozen(project) else "pdm.lock",
    )


def _pipenv(_root: Project, project: Project) -> Installation:
    version, steps = _tool(project, "pipenv")
    has_lock = project.tree.has("Pipfile.lock")
    if not has_lock:
        _no_lock(project, "Pipfile")
    if not project.tree.has("Pipfile"):
        project.wrong("Pipfile.lock", "no Pipfile beside it", "Pipfile, which the lock file is of")
    frozen = has_lock and _frozen(project)
    locked = part(project.json("Pipfile.lock", MAX_LOCK), "default")
    wanted = part(project.toml("Pipfile"), "packages")
    words = ("pipenv", "install", "--deploy") if frozen else ("pipenv", "install")
    return Installation(
        "pipenv",
        frozenset(normal(name) for name in (locked if has_lock else wanted)),
        (version,),
        ("Pipfile", "Pipfile.lock") if has_lock else ("Pipfile",),
        (
            *steps,
            _venv(VENV),
            Step(_in_venv("env", "PIPENV_VERBOSITY=-1", *words), network=True, caches=("/root/.cache/pipenv",)),
        ),
        generated_lock="" if frozen else "Pipfile.lock",
    )


# pip


@dataclass
class _Read:
    """What files of requirements have: `local` if one of them installs a directory of the source."""

    files: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    directories: list[str] = field(default_factory=list)
    lines: int = 0
    local: bool = False
    hashes: bool = False
    index: bool = True


def _requirements(project: Project) -> Installation:
    read = _Read()
    _read_requirements(project, read, "requirements.txt")
    if read.loose:
        names = ", ".join(sorted(read.loose)[:5]) + (", ..." if len(read.loose) > 5 else "")
        project.warn(f"requirements.txt has no exact version of {names}: two builds can have different dependencies")
    if read.local:
        project.warn("requirements.txt installs from the source: every change of it installs the dependencies again")
    if project.tree.has("pyproject.toml"):
        project.reason("requirements.txt has the dependencies, pyproject.toml is not used for them")
    words = (*_PIP, "--requirement", "requirements.txt", *(("--require-hashes",) if read.hashes else ()))
    manifests = ("./",) if read.local else (*read.files, *dict.fromkeys(read.directories))
    return Installation(
        "pip",
        frozenset(read.names),
        (),
        manifests,
        (_venv(VENV), Step(words, network=read.index, caches=_PIP_CACHE if read.index else ())),
    )


def _read_requirements(project: Project, read: _Read, path: str) -> None:
    """Read a file of requirements and those that it includes."""
    if path in read.files:
        return
    if len(read.files) >= MAX_FILES:
        project.wrong(path, f"more than {MAX_FILES} files of requirements", "fewer")
        return
    read.files.append(path)
    lines = re.sub(r"\\\n", " ", project.text(path)).split("\n")
    read.lines += len(lines)
    if read.lines > MAX_LINES:
        project.wrong(path, f"more than {MAX_LINES} lines of requirements", "fewer")
        return
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        if text.startswith("-"):
            _option(project, read, path, number, text)
            continue
        read.hashes |= "--hash=" in text
        match = _requirement(re.split(r"\s--", text, maxsplit=1)[0].replace("\t", " "))
        if _LOCAL.match(text) or (match and re.match(r"@\s*(\.|file:)", match["rest"] or "")):
            read.local = True
        elif match:
            read.names.add(normal(match["name"]))
            if not re.match(r"\(?(==|@)", match["rest"] or ""):
                read.loose.add(normal(match["name"]))


def _option(project: Project, read: _Read, path: str, number: int, text: str) -> None:
    match = _OPTION.match(text)
    name, value = (match[1], match[2].strip().strip("\"'")) if match else (text, "")
    if name in ("-e", "--editable"):
        read.local |= bool(_LOCAL.match(value))
    elif name == "--no-index":
        read.index = False
    elif name in ("-r", "--requirement", "-c", "--constraint"):
        inner = joined(path.rpartition("/")[0], value)
        if not plain(inner) or not project.tree.has(inner):
            wanted = "a file of the source below build.subdir, by a relative path without .."
            project.wrong(f"{path} line {number}", f"{name} {value}", wanted)
        elif name in ("-c", "--constraint"):
            read.files += [] if inner in read.files else [inner]
        else:
            _read_requirements(project, read, inner)
    elif name in ("-f", "--find-links"):
        inner = joined(*value.split("/"))
        if plain(inner) and project.tree.has_directory(inner) and "://" not in value:
            read.directories.append(f"{inner}/")


def _pyproject(project: Project) -> Installation:
    """Return the installation of a project that has no lock file: its dependencies, then itself."""
    pyproject = project.toml("pyproject.toml")
    project.reason("pyproject.toml -> pip")
    _no_lock(project, "pyproject.toml")
    dynamic = "dependencies" in texts_at(pyproject, "project", "dynamic")
    if dynamic or not part(pyproject, "project"):
        return _whole(project)
    wanted = _requirements_of(project, "pyproject.toml", pyproject, "project", "dependencies")
    packaged = bool(part(pyproject, "build-system"))
    fetch, build = _wheel(project, pyproject) if packaged else ((), ())
    install = (Step((*_PIP, "--", *wanted), network=True, caches=_PIP_CACHE),) if wanted else ()
    names = (_requirement(entry) for entry in wanted)
    return Installation(
        "pip",
        frozenset(normal(match["name"]) for match in names if match),
        (),
        (),
        (_venv(VENV), *install, *((_venv(TOOLS), *fetch) if fetch else ())),
        build,
        packaged=packaged,
    )


def _wheel(project: Project, pyproject: dict[str, Any]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps that fetch what builds a project, and those that install it without a network."""
    name = text_at(pyproject, "project", "name")
    if not _NAME.match(name):
        project.wrong("pyproject.toml: project.name", shown(name), "the name of a package")
        return (), ()
    requires = _requirements_of(project, "pyproject.toml", pyproject, "build-system", "requires") or ["setuptools"]
    pip = f"{TOOLS}/bin/pip"
    wheel = (pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", WHEELS, ".")
    install = (*_PIP, "--no-deps", "--no-index", "--find-links", WHEELS, "--", name)
    return (
        (Step((pip, "install", "--no-input", "--", *requires), network=True, caches=_PIP_CACHE),),
        (Step(wheel), Step(install)),
    )


def _whole(project: Project) -> Installation:
    """Return the installation of a project whose dependencies only its own build tells: all in one step."""
    project.warn("the dependencies are known only to the build: every change of the source installs them again")
    return Installation(
        "pip",
        frozenset(_named_in_setup(project)),
        (),
        ("./",),
        (_venv(VENV), Step((*_PIP, "--", "."), network=True, caches=_PIP_CACHE)),
        packaged=True,
    )


def _named_in_setup(project: Project) -> set[str]:
    """Return the names of what may be requirements in setup.py, setup.cfg and pyproject.toml: words at a line's start
    or in quotes. A name too many does no harm, because a framework is also looked for in the source."""
    text = project.text("setup.py") + "\n" + project.text("setup.cfg") + "\n" + project.text("pyproject.toml")
    return {
        normal(match[1]) for match in re.finditer(r"""(?:^[ \t]*|["'])([A-Za-z][A-Za-z0-9._-]{1,60})""", text, re.M)
    }


_TOOLS = {"uv": _uv, "poetry": _poetry, "pdm": _pdm, "pipenv": _pipenv}
