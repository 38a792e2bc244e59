# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go: modules, workspaces, and the programs that a source has. The image has binaries and no source. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from .compiled import BINARIES, image, included, one_program, warn_of_data
from .plan import Output, Plan, Process, Step, Version
from .project import Project, Wish
from .tree import joined, plain
from .versions import at_least

MAX_FILES = 5000
MAX_PROGRAMS = 50
_SYSTEM = ("GOTOOLCHAIN=local",)
_IGNORED = {"vendor", "testdata", "node_modules"}
# Their programs are for developers, if there are others.
_SECONDARY = {"example", "examples", "hack", "internal", "script", "scripts", "test", "tests", "tools"}
_PACKAGE = re.compile(r"^package[ \t]+(\w{1,80})", re.M)
_NOT_BUILT = re.compile(r"^//(go:build| \+build) +ignore\b", re.M)
_CGO = re.compile(r'^[ \t]*(?:import[ \t]+)?"C"[ \t]*$', re.M)


@dataclass(frozen=True)
class Module:
    """What a go.mod or go.work has; paths of `local` (of replace and use) are as they are written."""

    path: str = ""
    version: str = ""
    toolchain: str = ""
    requires: frozenset[str] = frozenset()
    local: tuple[str, ...] = ()


def match(project: Project) -> str:
    """Return the file that makes a tree one of Go, "" without one."""
    return project.tree.first(("go.work", "go.mod"))


def plan(project: Project) -> Plan:
    """Return the plan of a project of Go."""
    if not match(project):
        project.wrong("go.mod", "no such file", "go.mod: run go mod init")
    root, modules = _modules(project)
    own = read_module(project.text("go.mod") or project.text("go.work"))
    programs, cgo = _programs(root, modules)
    version = _version(project, own)
    vendored = root.tree.has(joined(modules[0], "vendor/modules.txt")) if modules else False
    flags = "-mod=vendor" if vendored else "-mod=readonly"
    chosen = one_program(project, programs, project.options.main, "main")
    place = "." if root.tree.has("go.work") or not modules else modules[0]
    build = _build(programs, place, flags, cgo)
    processes = project.processes(lambda: Process("web", chosen.name, chosen.source) if chosen else None)
    warn_of_data(project)
    if cgo:
        project.warn('the programs import "C": they are linked statically, with cgo')
    return Plan(
        "go",
        "go",
        (version,),
        root=root.tree.directory,
        build_base="build/go",
        run_base=image(project, processes),
        manifests=_manifests(root, modules),
        install=() if vendored or not _needs_download(root, modules) else (_download(flags, place),),
        build=(build,) if programs else (),
        outputs=(Output("/out/bin/", f"{BINARIES}/"), *included(project, root.tree.directory)),
        environment=(("PATH", f"{BINARIES}:/usr/local/bin:/usr/bin:/bin"),),
        processes=processes,
    )


def read_module(text: str) -> Module:
    """Return what is used of the text of a go.mod or a go.work."""
    found: dict[str, str] = {}
    local = []
    requires: set[str] = set()
    block = ""
    for line in text.split("\n"):
        words = line.partition("//")[0].split()
        if not words or words == [")"]:
            block = "" if words else block
            continue
        if words[-1] == "(":
            block = words[0]
            continue
        name, *rest = [block, *words] if block else words
        if name == "require" and rest:
            requires.add(rest[0].strip('"'))
        elif name in ("module", "go", "toolchain") and rest:
            found.setdefault(name, rest[0].strip('"'))
        elif name == "use" and rest:
            local.append(rest[0].strip('"'))
        elif name == "replace" and "=>" in rest and rest[-1].startswith(("./", "../")):
            local.append(rest[-1])
    return Module(
        found.get("module", ""),
        found.get("go", ""),
        found.get("toolchain", ""),
        frozenset(requires),
        tuple(local[:100]),
    )


def _modules(project: Project) -> tuple[Project, list[str]]:
    """Return the project of the directory that all modules are in, and their directories, that of the app first."""
    for tree in project.tree.upward():
        if tree.has("go.work"):
            root = project.at(tree)
            uses = [joined(*path.split("/")) for path in read_module(root.text("go.work")).local]
            own = project.tree.from_root(tree.directory)
            known = [path for path in dict.fromkeys(uses) if plain(path) and root.tree.has(joined(path, "go.mod"))]
            for path in sorted(set(uses) - set(known)):
                root.wrong("go.work", f"use {path}", "a directory of the source with a go.mod")
            if tree.directory == project.tree.directory or own in known:
                return root, sorted(known, key=lambda path: (path != own, path))
    return _replaced(project)


def _replaced(project: Project) -> tuple[Project, list[str]]:
    """Return the project of the directory that has a module and those that replace others, and their directories."""
    own = project.tree.directory
    found = [own]
    for path in read_module(project.text("go.mod")).local:
        place = posixpath.normpath(posixpath.join(own, path))
        top = next(tree for tree in project.tree.upward() if tree.directory == ".")
        if not plain(place) or not top.has(joined(place, "go.mod")):
            project.wrong("go.mod: replace", path, "a directory of the source with a go.mod")
        else:
            found.append(place)
    common = posixpath.commonpath(found) or "." if "." not in found else "."
    tree = next(tree for tree in project.tree.upward() if tree.directory == common)
    root = project if common == own else project.at(tree)
    return root, [path if common == "." else path[len(common) + 1 :] or "." for path in dict.fromkeys(found)]


def _manifests(root: Project, modules: list[str]) -> tuple[str, ...]:
    files = ["go.work", "go.work.sum", *(joined(path, name) for path in modules for name in ("go.mod", "go.sum"))]
    return tuple(path for path in files if root.tree.has(path))


def _needs_download(root: Project, modules: list[str]) -> bool:
    """Return whether a module requires others. One that does must have their checksums, if none is in the source."""
    read = {directory: read_module(root.text(joined(directory, "go.mod"))) for directory in modules}
    for directory, module in read.items():
        sums = joined(directory, "go.sum")
        if module.requires and not module.local and len(modules) == 1 and not root.tree.has(sums):
            root.wrong(sums, "no such file", "the checksums of the required modules: run go mod tidy")
    # Modules of a workspace that require each other are nowhere else.
    own = {module.path for module in read.values()} if root.tree.has("go.work") else set()
    return any(module.requires - own for module in read.values())


def _download(flags: str, place: str) -> Step:
    return Step(("env", *_SYSTEM, f"GOFLAGS={flags}", "go", "mod", "download"), place, network=True)


def _version(project: Project, module: Module) -> Version:
    toolchain = module.toolchain.removeprefix("go") if module.toolchain.startswith("go") else ""
    file = "go.mod" if project.tree.has("go.mod") else "go.work"
    return project.version(
        "go",
        project.wishes(
            "go", Wish(f"{file}: toolchain", toolchain, at_least), Wish(f"{file}: go", module.version, at_least)
        ),
    )


@dataclass(frozen=True)
class _Main:
    directory: str
    name: str


def _programs(root: Project, modules: list[str]) -> tuple[dict[str, str], bool]:
    """Return the programs, name to directory, and whether one of them needs C."""
    others = {path[:-7] for path in root.tree.paths if path.endswith("/go.mod")} - set(modules)
    found: dict[str, bool] = {}
    seen = 0
    for path in root.tree.paths:
        directory = path.rpartition("/")[0] or "."
        if not path.endswith(".go") or path.endswith("_test.go") or _left_out(directory, others, modules):
            continue
        seen += 1
        if seen > MAX_FILES:
            root.warn(f"more than {MAX_FILES} files of Go: programs after {path} are not found")
            break
        text = root.tree.head(path)
        clause = _PACKAGE.search(text)
        if clause and clause[1] == "main" and not _NOT_BUILT.search(text[: clause.start()]):
            found[directory] = found.get(directory, False) or bool(_CGO.search(text))
    first = [path for path in found if not _SECONDARY.intersection(path.split("/"))]
    chosen = first or list(found)
    programs: dict[str, str] = {}
    if len(chosen) > MAX_PROGRAMS:
        root.wrong(".", f"{len(chosen)} programs", f"at most {MAX_PROGRAMS}: build.subdir with fewer of them")
    for directory in sorted(chosen)[:MAX_PROGRAMS]:
        name = _name(root, directory, modules)
        if not plain(directory) or not plain(name):
            root.warn(f"the program in {directory} is not built: its name has characters that are not plain")
        elif name in programs:
            root.wrong(
                directory, f"a second program {name} beside that in {programs[name]}", "programs of different names"
            )
        else:
            programs[name] = directory
    return programs, any(found[directory] for directory in programs.values())


def _left_out(directory: str, others: set[str], modules: list[str]) -> bool:
    """Return whether `./...` of the modules leaves a directory out."""
    parts = directory.split("/") if directory != "." else []
    if any(part in _IGNORED or part.startswith(("_", ".")) for part in parts):
        return True
    around = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    inside = "." in modules or any(path in modules for path in around)
    return not inside or any(path in others for path in around)


def _name(root: Project, directory: str, modules: list[str]) -> str:
    """Return the name of the binary that Go makes of a program."""
    if directory not in modules:
        return directory.rpartition("/")[2]
    path = read_module(root.text(joined(directory, "go.mod"))).path.rstrip("/").split("/")
    if len(path) > 1 and re.match(r"v[0-9]{1,6}\Z", path[-1]):
        path.pop()
    return path[-1] or "app"


def _build(programs: dict[str, str], place: str, flags: str, cgo: bool) -> Step:
    inner = [
        directory[len(place) + 1 :] if place not in (".", directory) else directory for directory in programs.values()
    ]
    paths = ["." if directory in (".", place) else f"./{directory}" for directory in inner]
    link = "-s -w -buildid=" + (' -linkmode external -extldflags "-static"' if cgo else "")
    environment = (f"CGO_ENABLED={int(cgo)}", *_SYSTEM, f"GOFLAGS={flags}")
    words = ("env", *environment, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", link, "-o", "/out/bin/")
    return Step((*words, *paths), place, caches=("/root/.cache/go-build",))
