# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps that are binaries in their image: which program is web, the base of the image, and files beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .commands import needs_shell
from .plan import APP, Output, Process
from .project import Project
from .tree import joined

BINARIES = f"{APP}/bin"
# Directories that programs often read while they run.
_DATA = ("assets", "migrations", "public", "static", "templates", "views")


@dataclass(frozen=True)
class Program:
    """A program by the name of its binary, and where its source is."""

    name: str
    source: str


def one_program(project: Project, programs: Mapping[str, str], asked: str, option: str) -> Program | None:
    """Return the program that is web: the one that is asked for, the only one, or that of this name.

    programs: name to directory or file of the source. Several without a choice are an error, unless a process web is
    said. The option is the one that decides.
    """
    listed = ", ".join(f"{name} ({place})" for name, place in sorted(programs.items())[:20]) or "none"
    wanted = next((name for name, place in programs.items() if asked and asked in (name, place)), "")
    if asked and not wanted:
        project.option_wrong(f"build.{option}", f"{asked}, which is no program", f"one of {listed}")
        return None
    name = wanted or (next(iter(programs)) if len(programs) == 1 else "web" if "web" in programs else "")
    if name:
        return Program(name, programs[name])
    if "web" not in project.said_processes:
        if programs:
            project.wrong(
                ".", f"several programs: {listed}", f"build.{option} with the one that is web, or web in Procfile"
            )
        else:
            project.wrong(".", "no program: a library alone", "a program, such as a package main or src/main.rs")
    return None


def image(project: Project, processes: Iterable[Process]) -> str:
    """Return the base of the image: without a shell and packages, unless something needs them."""
    lines = [process for process in processes if needs_shell(process.command)]
    for process in lines:
        project.reason(f"the command of {process.name} needs a shell -> an image with one")
    return "run/debian" if lines or project.apt_run else "run/base"


def included(project: Project, root: str) -> Iterator[Output]:
    """Yield the files and directories of the source that are in the image beside the binaries."""
    for path in project.options.include:
        place = f"{APP}/{joined(project.tree.from_root(root), path)}"
        if project.tree.has_directory(path):
            yield Output(f"{place}/", f"{place}/")
        elif project.tree.has(path):
            yield Output(place, place)
        else:
            project.option_wrong("build.include", path, "a file or directory of the source")


def warn_of_data(project: Project) -> None:
    """Warn of directories that are not in the image though the app may read them."""
    found = [name for name in _DATA if project.tree.has_directory(name) and name not in project.options.include]
    if found:
        project.warn(f"{', '.join(found)} of the source is not in the image; build.include lists what the app reads")
