# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task and the file `.cloudbang.yml` of a source tree say of a build; the task wins. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from ..arguments import BUILD, Arguments
from ..options import Invalid, check
from .commands import MAX_PROCESSES, faults
from .documents import yaml_value
from .plan import PACKAGE, Process
from .tree import plain

FILE = ".cloudbang.yml"
_FILE: Arguments = {
    "build": {"type": "dict", "options": BUILD},
    "processes": {"type": "dict"},
    "apt": {"type": "raw"},
}
_APT: Arguments = {
    "build": {"type": "list", "elements": "str"},
    "run": {"type": "list", "elements": "str"},
}
# The run stage has no compiler.
_COMPILERS = re.compile(
    r"(gcc|g\+\+|clang|cpp|llvm|rustc|cargo|golang|make|cmake|build-essential)([-0-9.].*)?\Z|.*-dev\Z"
)


@dataclass(frozen=True)
class Options:
    """What is said of a build. Empty values are those that nobody has set."""

    language: str = ""
    version: str = ""
    subdir: str = ""
    module: str = ""
    main: str = ""
    bin: str = ""
    output: str = ""
    include: tuple[str, ...] = ()
    assets: str = ""
    lockfile: str = ""
    prune: bool | None = None
    processes: tuple[Process, ...] = ()
    apt_build: tuple[str, ...] = ()
    apt_run: tuple[str, ...] = ()
    # The source is an archive, whose jar or war may be all that there is.
    archive: bool = False
    # Who has set the version, as messages name it.
    version_source: str = "build.version"


def task_options(build: Any = None, processes: Any = None, archive: bool = False) -> Options:
    """Return the options of a task: `build` has the keys of BUILD, `processes` command lines or lists of words by name.

    Raises Invalid with all that is wrong.
    """
    options, findings = _build_options(build or {}, "build")
    made, wrong = _processes(processes or {}, "processes", "processes")
    if findings or wrong:
        raise Invalid([*findings, *wrong])
    return replace(options, processes=made, archive=archive)


def file_options(text: str, place: str) -> Options:
    """Return the options in the text of a `.cloudbang.yml`. Raises Invalid with all that is wrong."""
    given = yaml_value(text, place)
    values, findings = check(_FILE, {} if given is None else given, place)
    options, wrong = _build_options(values.get("build") or {}, f"{place}.build") if values else (Options(), [])
    made, wrong_processes = _processes(values.get("processes") or {}, f"{place}.processes", place)
    apt, wrong_packages = _packages(values.get("apt") or [], f"{place}.apt")
    # The table of `build` has been checked with that of the file.
    findings += [finding for finding in (*wrong, *wrong_processes, *wrong_packages) if finding not in findings]
    if findings:
        raise Invalid(findings)
    return replace(
        options, processes=made, apt_build=apt["build"], apt_run=apt["run"], version_source=f"{place}: build.version"
    )


def merged(task: Options, file: Options) -> Options:
    """Return the options of a task, completed by those of the file; a process is that of the task if both have it."""
    names = {process.name for process in task.processes}
    values: dict[str, Any] = {
        entry.name: getattr(task, entry.name) or getattr(file, entry.name)
        for entry in fields(Options)
        if entry.name not in ("prune", "processes", "version_source")
    }
    return Options(
        **values,
        prune=file.prune if task.prune is None else task.prune,
        processes=(*task.processes, *(process for process in file.processes if process.name not in names)),
        version_source=task.version_source if task.version else file.version_source,
    )


def _build_options(given: Any, where: str) -> tuple[Options, list[Finding]]:
    values, findings = check(BUILD, given, where)
    for option in ("subdir", "module", "main", "output"):
        if values.get(option) and not plain(values[option].rstrip("/") or "."):
            wanted = "a relative path of letters, digits and _@+.-, without .."
            findings.append(Finding(f"{where}.{option}", shown(values[option]), wanted))
    for number, path in enumerate(values.get("include") or []):
        if not isinstance(path, str) or not plain(path.rstrip("/") or "."):
            findings.append(Finding(f"{where}.include[{number}]", shown(path), "a relative path without .."))
    if findings:
        return Options(), findings
    said: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    for name in ("subdir", "module", "main", "output"):
        if name in said:
            said[name] = said[name].rstrip("/") or "."
    said["include"] = tuple(path.rstrip("/") for path in said.get("include", ()))
    return Options(**said), []


def _processes(given: Any, where: str, source: str) -> tuple[tuple[Process, ...], list[Finding]]:
    findings: list[Finding] = []
    found = []
    pairs: Iterable[tuple[Any, Any]] = given.items() if isinstance(given, dict) else ()
    for name, command in pairs:
        place = f"{where}.{str(name)[:60]}"
        if isinstance(command, list) and all(isinstance(word, str) for word in command):
            command = shlex.join(command)
        if not isinstance(command, str):
            findings.append(Finding(place, shown(command), "a command line, or a list of words"))
            continue
        findings += faults(str(name), command, place)
        found.append(Process(str(name), command, source))
    if not isinstance(given, dict):
        findings.append(Finding(where, shown(given), "a mapping of names to command lines"))
    elif len(given) > MAX_PROCESSES:
        findings = [Finding(where, f"{len(given)} processes", f"at most {MAX_PROCESSES}")]
    return tuple(found), findings


def _packages(given: Any, where: str) -> tuple[dict[str, tuple[str, ...]], list[Finding]]:
    """Return the packages of the build and the run stage; a list is for both."""
    lists: Any = {"build": given, "run": given} if isinstance(given, list) else given
    values, findings = check(_APT, lists, where)
    found: dict[str, tuple[str, ...]] = {name: tuple(sorted(set(values.get(name) or []))) for name in _APT}
    if not findings:
        findings = list(_package_faults(found, where))
    return found, findings


def _package_faults(found: dict[str, tuple[str, ...]], where: str) -> Iterable[Finding]:
    for name in sorted({*found["build"], *found["run"]}):
        if not PACKAGE.match(name):
            yield Finding(where, shown(name), "names of Debian packages")
    for name in found["run"]:
        if _COMPILERS.match(name):
            yield Finding(
                f"{where}.run", name, "no compilers and headers in the image: apt.build has those of the build"
            )
