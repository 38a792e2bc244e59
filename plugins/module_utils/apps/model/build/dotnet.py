# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
""".NET: solutions, the project that is web, and its target framework. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .documents import text_at
from .plan import APP, Output, Plan, Process, Step
from .project import Project, Wish
from .tree import joined, plain
from .versions import Range, exactly, npm

SOLUTIONS = (".sln", ".slnx")
PROJECTS = (".csproj", ".fsproj", ".vbproj")
SHARED = (
    "Directory.Build.props",
    "Directory.Packages.props",
    "global.json",
    "NuGet.Config",
    "nuget.config",
    "NuGet.config",
)
MAX_PROJECTS = 100
_LISTED = re.compile(r"""["']([^"'\n]{1,300}\.(?:cs|fs|vb)proj)["']""")
_FRAMEWORK = re.compile(r"net(?:coreapp)?(\d{1,3}\.\d{1,3})(?:-[a-z0-9.]{1,40})?\Z")
_ASSEMBLY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


@dataclass(frozen=True)
class Unit:
    """A project: its file, its target framework, the name of its assembly, and what it makes."""

    path: str
    framework: str
    assembly: str
    web: bool
    program: bool
    locked: bool


def match(project: Project) -> str:
    """Return the file that makes a tree one of .NET, "" without one."""
    return next(iter([*_named(project, SOLUTIONS), *_named(project, PROJECTS)]), "")


def _named(project: Project, suffixes: tuple[str, ...]) -> list[str]:
    return [name for name in project.tree.names if name.endswith(suffixes)]


def plan(project: Project) -> Plan:
    """Return the plan of a project of .NET."""
    solutions, projects = _named(project, SOLUTIONS), _named(project, PROJECTS)
    asked = project.options.module
    if asked.endswith(PROJECTS) and project.tree.has(asked):
        solutions, projects = [], [asked]
    if not solutions and not projects:
        project.wrong("a .csproj", "no such file", "a solution or a project at the top of the source")
    if len(solutions) > 1:
        project.wrong(solutions[0], f"several solutions: {', '.join(solutions[:10])}", "one, or build.subdir")
    paths = _listed(project, solutions[0]) if solutions else projects
    units = [_unit(project, path) for path in paths[:MAX_PROJECTS]]
    unit = _chosen(project, units)
    version = project.version("dotnet", project.wishes("dotnet", *_wishes(project, unit)))
    if "nuget" not in project.offered.mirrors:
        project.option_wrong("builder_mirrors.nuget", "nothing", "a mirror of NuGet, which restore fetches from")
    path = unit.path if unit else "app.csproj"
    assembly = unit.assembly if unit else "app"
    rule = Process("web" if unit and unit.web else "worker", f"dotnet {assembly}.dll", path)
    locked = ("--locked-mode",) if unit and unit.locked else ()
    if not locked:
        project.warn("no packages.lock.json: two builds of the same source can have different dependencies")
    return Plan(
        "dotnet",
        "dotnet",
        (version,),
        root=project.tree.directory,
        build_base="build/dotnet",
        run_base="run/dotnet",
        manifests=_manifests(project, [*solutions, *_with_references(project, paths)]),
        install=(Step(("dotnet", "restore", *locked, path), network=True),),
        build=(Step(("dotnet", "publish", "--no-restore", "--configuration", "Release", "--output", "/out", path)),),
        outputs=(Output("/out/", f"{APP}/"),),
        environment=(("ASPNETCORE_HTTP_PORTS", "8080"), ("DOTNET_CLI_TELEMETRY_OPTOUT", "1")),
        processes=project.processes(lambda: rule),
    )


def _listed(project: Project, solution: str) -> list[str]:
    """Return the projects of a solution, by their paths."""
    found = []
    for name in dict.fromkeys(_LISTED.findall(project.text(solution))):
        path = posixpath.normpath(name.replace("\\", "/"))
        if plain(path) and project.tree.has(path):
            found.append(path)
        else:
            project.wrong(solution, f"the project {name}", "a file of the source, of plain letters and digits")
    if not found:
        project.wrong(solution, "no project", "projects of the source")
    return found


def _with_references(project: Project, paths: list[str]) -> list[str]:
    """Return projects and those that they refer to, without which nothing is restored."""
    found = list(paths)
    for path in found:
        for reference in project.xml(path).findall("ItemGroup/ProjectReference")[:MAX_PROJECTS]:
            named = reference.get("Include", "")
            other = posixpath.normpath(posixpath.join(posixpath.dirname(path), named.replace("\\", "/")))
            if not plain(other) or not project.tree.has(other) or len(found) >= MAX_PROJECTS:
                wanted = (
                    f"one of at most {MAX_PROJECTS} projects below build.subdir; build.module names that of the app"
                )
                project.wrong(path, f"a reference to the project {named}", wanted)
            elif other not in found:
                found.append(other)
    return found


def _unit(project: Project, path: str) -> Unit:
    if not plain(path):
        project.wrong(path, f"the name {shown(path)}", "letters, digits and _@+.-")
    document = project.xml(path)
    directory = path.rpartition("/")[0] or "."
    shared = project.xml("Directory.Build.props") if project.tree.has("Directory.Build.props") else document
    sdk = document.get("Sdk", "")
    kind = _property(document, "OutputType") or _property(shared, "OutputType")
    named = _property(document, "AssemblyName")
    assembly = named if named and "$(" not in named else path.rpartition("/")[2].rpartition(".")[0]
    if not _ASSEMBLY.match(assembly):
        project.wrong(f"{path}: AssemblyName", shown(assembly), "letters, digits, _ . and -")
        assembly = "app"
    framework = _property(document, "TargetFramework") or _property(shared, "TargetFramework")
    web = sdk.startswith(("Microsoft.NET.Sdk.Web", "Microsoft.NET.Sdk.BlazorWebAssembly"))
    program = web or sdk.startswith("Microsoft.NET.Sdk.Worker") or kind.lower() in ("exe", "winexe")
    locked = project.tree.has(joined(directory, "packages.lock.json"))
    return Unit(path, framework, assembly, web, program, locked)


def _property(document: Element, name: str) -> str:
    found = next(iter(document.findall(f"PropertyGroup/{name}")), None)
    return (found.text or "").strip() if found is not None else ""


def _chosen(project: Project, units: list[Unit]) -> Unit | None:
    """Return the project that the task names, the only one that is web, or else the only program."""
    asked = project.options.module
    if asked:
        found = [one for one in units if asked in (one.path, one.path.rpartition("/")[0], one.assembly)]
        if len(found) != 1:
            listed = ", ".join(one.path for one in units[:20])
            project.option_wrong("build.module", f"{asked}, which is no project", f"one of {listed}")
        return next(iter(found), None)
    web = [one for one in units if one.web]
    programs = web or [one for one in units if one.program]
    if len(programs) == 1:
        return programs[0]
    listed = ", ".join(one.path for one in (programs or units)[:20])
    if programs:
        project.wrong(programs[0].path, f"several programs: {listed}", "build.module with the one that is the app")
    elif units:
        project.wrong(
            units[0].path, f"no program, libraries alone: {listed}", "OutputType Exe, or Microsoft.NET.Sdk.Web"
        )
    return None


def _wishes(project: Project, unit: Unit | None) -> Iterable[Wish]:
    """Yield the versions that files ask for: the SDK's, of which the first two numbers are those of .NET."""
    sdk = text_at(project.jsonc("global.json"), "sdk", "version")
    forward = text_at(project.jsonc("global.json"), "sdk", "rollForward")
    major = forward.lower() in ("major", "latestmajor")
    yield Wish("global.json: sdk.version", sdk, _newer if major else _sdk)
    framework = unit.framework if unit else ""
    match = _FRAMEWORK.match(framework)
    yield Wish(f"{unit.path if unit else ''}: TargetFramework", match[1] if match else framework, exactly)


def _sdk(text: str) -> Range:
    """Return the range of a version of the SDK. Raises ValueError."""
    return exactly(".".join(text.split(".")[:2]))


def _newer(text: str) -> Range:
    return npm(">=" + ".".join(text.split(".")[:2]))


def _manifests(project: Project, paths: list[str]) -> tuple[str, ...]:
    files = [*SHARED, *paths, *(joined(path.rpartition("/")[0] or ".", "packages.lock.json") for path in paths)]
    return tuple(path for path in dict.fromkeys(files) if project.tree.has(path))
