# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deno: its modules, and a start command that has the permissions of a task. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .commands import faults
from .documents import part, text_at
from .plan import APP, Output, Plan, Process, Step
from .project import Project
from .tree import joined, plain

CONFIGURATIONS = ("deno.json", "deno.jsonc")
MODULES = "/opt/deno"
MAIN = tuple(f"{name}.{suffix}" for name in ("main", "server", "src/main") for suffix in ("ts", "js", "mts", "mjs"))
PERMISSIONS = "--allow-net --allow-env --allow-read=/app"
MAX_FILES = 300
_ENVIRONMENT = ("env", f"DENO_DIR={MODULES}", "DENO_NO_UPDATE_CHECK=1")
_IMPORT = re.compile(r"""["'](https?://|npm:|jsr:)([^"'\s]{1,200})["']""")
_TASK = re.compile(r"deno task ([\w:-]{1,60})\Z")
_FILE = re.compile(r"(?:\./)?([\w./@+-]{1,200}\.(?:ts|js|mts|mjs|tsx|jsx))\Z", re.ASCII)


@dataclass(frozen=True)
class _Imports:
    """What the source imports from elsewhere: addresses with their files, and whether names of registries are in it."""

    addresses: tuple[tuple[str, str], ...]
    inline: bool


def match(project: Project) -> str:
    """Return the file that makes a tree one of Deno, "" without one."""
    return project.tree.first(CONFIGURATIONS)


def plan(project: Project) -> Plan:
    """Return the plan of a project of Deno."""
    found = [name for name in CONFIGURATIONS if project.tree.has(name)]
    if len(found) != 1:
        project.wrong(CONFIGURATIONS[0], " and ".join(found) or "no such file", "one configuration of Deno")
    configuration = project.jsonc(found[0]) if found else {}
    version = project.version("deno", project.wishes("deno"))
    processes = project.processes(lambda: _start(project, configuration))
    main = _main(project, configuration, processes)
    imports = _imports(project, configuration)
    if "deno" not in project.offered.mirrors:
        for place, address in imports.addresses:
            wanted = "modules of npm and JSR by name, or builder_mirrors.deno"
            project.wrong(place, f"a URL import outside the mirrors: {address}", wanted)
    install, lock = _install(project, configuration, imports, main)
    cache = Step((*_ENVIRONMENT, "deno", "cache", *(("--frozen",) if project.tree.has("deno.lock") else ()), main))
    return Plan(
        "deno",
        "deno",
        (version,),
        root=project.tree.directory,
        build_base="build/deno",
        run_base="run/deno",
        manifests=_manifests(project, imports, found) if install else (),
        install=(Step(("mkdir", "-p", MODULES)), *install),
        build=(*_build(configuration), *((cache,) if main else ())),
        outputs=(Output(f"{MODULES}/", f"{MODULES}/"), Output(f"{APP}/", f"{APP}/")),
        environment=(("DENO_DIR", MODULES), ("DENO_NO_UPDATE_CHECK", "1"), ("DENO_NO_PROMPT", "1")),
        processes=processes,
        generated_lock=lock,
    )


def _manifests(project: Project, imports: _Imports, found: list[str]) -> tuple[str, ...]:
    if imports.inline:
        return ("./",)
    return tuple(name for name in (*found, "deno.lock", "package.json", ".npmrc") if project.tree.has(name))


def _install(
    project: Project, configuration: dict[str, object], imports: _Imports, main: str
) -> tuple[tuple[Step, ...], str]:
    """Return the steps that fetch modules, and the lock file that they make."""
    package = project.json("package.json")
    named = part(configuration, "imports") or part(package, "dependencies") or part(package, "devDependencies")
    if not named and not imports.inline:
        return (), ""
    frozen = project.tree.has("deno.lock") and project.options.lockfile != "update"
    if not project.tree.has("deno.lock"):
        project.warn("no deno.lock: the one that the build makes is kept with the build; commit it")
    entry = ("--entrypoint", main) if imports.inline and main else ()
    locked = ("--frozen",) if frozen else ()
    return (Step((*_ENVIRONMENT, "deno", "install", *locked, *entry), network=True),), "" if frozen else "deno.lock"


def _build(configuration: dict[str, object]) -> tuple[Step, ...]:
    command = _command(configuration, "build")
    return (Step((*_ENVIRONMENT, "deno", "task", "build")),) if command else ()


def _command(configuration: dict[str, object], name: str, depth: int = 5) -> str:
    """Return the command line of a task, that of another one if it only runs that."""
    line = (text_at(configuration, "tasks", name) or text_at(configuration, "tasks", name, "command")).strip()
    match = _TASK.match(line)
    return _command(configuration, match[1], depth - 1) if match and depth else line


def _start(project: Project, configuration: dict[str, object]) -> Process | None:
    """Return the process web: the task start, else the main file with few permissions."""
    line = _command(configuration, "start")
    if line:
        project.findings += faults("web", line, project.tree.place(f"{match(project)}: tasks.start"))
        if re.search(r"\s(-A|--allow-all)(\s|\Z)", line):
            project.warn("tasks.start gives the app all permissions: name those that it needs")
        return Process("web", line, f"{match(project)}: tasks.start")
    main = project.tree.first(MAIN)
    if not main:
        return None
    project.warn(f"no tasks.start in {match(project)}: {main} runs with {PERMISSIONS}")
    return Process("web", f"deno run {PERMISSIONS} {main}", main)


def _main(project: Project, configuration: dict[str, object], processes: tuple[Process, ...]) -> str:
    """Return the file that starts the app, "" if none is seen."""
    for process in processes:
        for word in process.command.split() if process.command.startswith("deno ") else ():
            file = _FILE.match(word)
            path = joined(*file[1].split("/")) if file else ""
            if path and plain(path) and project.tree.has(path):
                return path
    return project.tree.first(MAIN)


def _imports(project: Project, configuration: dict[str, object]) -> _Imports:
    """Return what the configuration and the files of the source import."""
    addresses: dict[str, str] = {}
    inline = False
    for target in part(configuration, "imports").values():
        if isinstance(target, str) and target.startswith(("https://", "http://")):
            addresses.setdefault(target[:200], match(project))
    files = [path for path in project.tree.paths if path.endswith((".ts", ".tsx", ".js", ".jsx", ".mts", ".mjs"))]
    for path in [path for path in files if "node_modules/" not in path][:MAX_FILES]:
        for found in _IMPORT.finditer(_import_lines(project.tree.head(path))):
            if found[1].startswith("http"):
                addresses.setdefault(found[1] + found[2], path)
            else:
                inline = True
    return _Imports(tuple((place, address) for address, place in sorted(addresses.items())[:20]), inline)


def _import_lines(text: str) -> str:
    """Return the lines of a text that import something."""
    return "\n".join(line for line in text.split("\n") if re.search(r"\b(from|import)\b", line[:2000]))
