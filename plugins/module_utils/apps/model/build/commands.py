# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of processes: Procfile, the words of a line, and the lines that need a shell. Pure.

A line whose only variable is PORT is run without a shell, so that the process gets the signals of its container.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown, visible

from ..options import LABEL, encodable

PORT = 8080
MAX_LINE = 4000
MAX_PROCESSES = 50
MAX_NAME = 40
_PORT = re.compile(r"\$(?:PORT(?![A-Za-z0-9_])|\{PORT\})")
# What a shell acts upon outside of quotes, and inside of double quotes.
_ACTIVE = set("|&;<>()`$*?[]{}~#!\n")
_ACTIVE_QUOTED = set("`$\\!")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_BUILTINS = {
    "cd",
    "exec",
    "export",
    "unset",
    "umask",
    "set",
    "source",
    ".",
    "eval",
    "if",
    "for",
    "while",
    "case",
    "test",
    "trap",
    "ulimit",
}


def argv(line: str) -> tuple[str, ...]:
    """Return the words that run a command line: its own, or those of a shell with it."""
    return words(line) or ("/bin/sh", "-c", line)


def needs_shell(line: str) -> bool:
    return words(line) is None


def words(line: str) -> tuple[str, ...] | None:
    """Return the words of a line without shell syntax, PORT replaced by its number; None for another one."""
    found: list[str] = []
    word: str | None = None
    quote = ""
    place = 0
    while place < len(line):
        character = line[place]
        port = _PORT.match(line, place) if character == "$" and quote != "'" else None
        if port:
            word = (word or "") + str(PORT)
            place = port.end()
            continue
        place += 1
        if quote:
            if character == quote:
                quote = ""
            elif quote == '"' and character in _ACTIVE_QUOTED:
                return None
            else:
                word = (word or "") + character
        elif character in "'\"":
            quote, word = character, word or ""
        elif character in " \t":
            found += [] if word is None else [word]
            word = None
        elif character in _ACTIVE or character == "\\":
            return None
        else:
            word = (word or "") + character
    found += [] if word is None else [word]
    # Without a shell, a command replaces nothing.
    found = found[1:] if found[:1] == ["exec"] else found
    plain = found[:1] not in ([], [""]) and not quote and found[0] not in _BUILTINS and not _ASSIGNMENT.match(found[0])
    return tuple(found) if plain else None


def procfile(text: str, place: str) -> tuple[dict[str, str], list[Finding]]:
    """Return the command lines of a Procfile by the names of their processes, and what is wrong with it."""
    found: dict[str, str] = {}
    findings: list[Finding] = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(findings) >= MAX_PROCESSES or len(found) > MAX_PROCESSES:
            break
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, command = (part.strip() for part in line.partition(":"))
        where = f"{place} line {number}"
        if not colon or not command:
            findings.append(Finding(where, shown(line), "NAME: COMMAND"))
        elif name in found:
            findings.append(Finding(where, f"a second {visible(name[:MAX_NAME])}", "each process once"))
        else:
            found[name] = command
            findings += faults(name, command, where)
    if len(found) > MAX_PROCESSES:
        findings = [Finding(place, f"more than {MAX_PROCESSES} processes", "fewer")]
    return found, findings


def faults(name: str, command: str, where: str) -> Iterable[Finding]:
    """Yield what is wrong with the name and the command line of a process."""
    if not LABEL.match(name) or len(name) > MAX_NAME:
        yield Finding(where, f"the process {shown(name)}", f"at most {MAX_NAME} lowercase letters, digits and -")
    if not command.strip():
        yield Finding(where, "no command", "a command line")
    elif len(command) > MAX_LINE:
        yield Finding(where, f"a command of {len(command)} characters", f"at most {MAX_LINE}")
    elif not encodable(command) or visible(command, keep="\t\n") != command:
        yield Finding(where, f"the command {shown(command)}", "a command line of printable UTF-8 text")
