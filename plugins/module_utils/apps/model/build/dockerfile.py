# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile or Containerfile of the author: it is the plan, and what it says of user and port is read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .commands import PORT
from .plan import Plan
from .project import Project

NAMES = ("Containerfile", "Dockerfile")
MAX_PORTS = 100
_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*`", re.IGNORECASE)
_HEREDOC = re.compile(r"""<<-?["']?(\w{1,60})["']?""")
_PORT = re.compile(r"([0-9]{1,5})(/tcp)?\Z", re.IGNORECASE)
_ROOT = ("root", "0")


@dataclass
class _Stage:
    user: str = ""
    ports: list[str] = field(default_factory=list)


def match(project: Project) -> str:
    """Return the files at the top of the tree that describe an image, "" without them."""
    return ", ".join(name for name in NAMES if project.tree.has(name))


def plan(project: Project) -> Plan:
    """Return the plan of an image that its author describes."""
    found = [name for name in NAMES if project.tree.has(name)]
    if len(found) != 1:
        project.wrong(NAMES[1], " and ".join(found) or "no such file", "one file that describes the image")
    stage = _last_stage(project, found[0]) if found else _Stage()
    if not stage.user:
        project.warn(f"{found[0] if found else NAMES[1]} sets no user for its last stage, so the app may run as root")
    elif stage.user.partition(":")[0] in _ROOT:
        project.warn(f"{found[0]} runs the app as {stage.user}")
    processes = project.processes(lambda: None) if project.said_processes else ()
    return Plan(
        "dockerfile",
        "containerfile",
        root=project.tree.directory,
        processes=processes,
        port=_port(project, stage.ports),
        containerfile=found[0] if found else "",
    )


def _port(project: Project, ports: list[str]) -> int:
    """Return the port of the app: the platform's if the file exposes it or none, else the only one that it exposes."""
    matches = [match for match in map(_PORT.match, ports) if match]
    numbers = sorted({int(match[1]) for match in matches if 1 <= int(match[1]) <= 65535})
    if not numbers or PORT in numbers:
        return PORT
    if len(numbers) == 1:
        project.warn(
            f"EXPOSE {numbers[0]} is the port of the app; the platform sets PORT={PORT}, which it can listen on"
        )
        return numbers[0]
    listed = ", ".join(map(str, numbers[:10]))
    project.warn(f"EXPOSE has the ports {listed}, none is {PORT}: the app must listen on PORT={PORT}")
    return PORT


def _last_stage(project: Project, path: str) -> _Stage:
    """Return what the last stage of a file sets, with what it inherits from stages of the same file."""
    stages: dict[str, _Stage] = {}
    stage = _Stage()
    count = 0
    for name, rest in instructions(project.text(path)):
        words = [word for word in rest.split() if not word.startswith("--")]
        if name == "FROM" and words:
            base = stages.get(words[0].lower(), _Stage())
            stage = _Stage(base.user, list(base.ports))
            stages[str(count)] = stage
            if len(words) > 2 and words[1].upper() == "AS":
                stages[words[2].lower()] = stage
            count += 1
        elif name == "USER" and words:
            stage.user = words[0].strip("\"'")
        elif name == "EXPOSE":
            stage.ports = [*stage.ports, *words][:MAX_PORTS]
    if not count:
        project.wrong(path, "no FROM", "a file that describes an image")
    return stage


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a file, their names in upper case; lines of here-documents are none."""
    escape = "`" if _ESCAPE.match(text) else "\\"
    lines = iter(text.split("\n"))
    parts: list[str] = []
    for line in lines:
        if line.lstrip().startswith("#") or not line.strip():
            continue
        continued = line.rstrip().endswith(escape)
        parts.append(line.rstrip()[:-1] if continued else line)
        if continued:
            continue
        name, _space, rest = " ".join(parts).strip().partition(" ")
        parts = []
        yield name.upper(), rest.strip()
        ends = _HEREDOC.findall(rest) if name.upper() in ("RUN", "COPY", "ADD") else []
        for end in ends:
            for inner in lines:
                if inner.strip() == end:
                    break
    if parts:
        name, _space, rest = " ".join(parts).strip().partition(" ")
        yield name.upper(), rest.strip()
