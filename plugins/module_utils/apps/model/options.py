# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check options against their tables, and say all that is wrong at once. Pure.

A problem names the option, what was found and what is wanted; values of options that carry secrets are never repeated.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .arguments import Arguments

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
TRUE = ("yes", "true", "on", "1", "y", "t")
FALSE = ("no", "false", "off", "0", "n", "f")


class Problem(NamedTuple):
    """One thing that is wrong with what the task asks for."""

    option: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.option}: found {self.found}, wanted {self.wanted}"


class Invalid(PlatformError):
    """What the task asks for cannot be done; `problems` is the whole list."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def plain(value: Any) -> Any:
    """Return the value as plain JSON types. A key that is no text becomes `<key>`, which no check accepts."""
    if isinstance(value, Mapping):
        return {
            str.__str__(key) if isinstance(key, str) else f"<{key!r}>": plain(entry) for key, entry in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    # Ansible's marked strings return themselves from their own __str__.
    return str.__str__(value) if isinstance(value, str) else str(value)


_WANTED = {
    "str": "text",
    "path": "a path",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}


def _converted(value: Any, kind: str) -> Any:
    """Return the value as the kind of option; ValueError when it is something else."""
    if kind == "raw":
        return value
    if kind in ("str", "path") and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return os.path.expanduser(os.path.expandvars(str(value))) if kind == "path" else str(value)
    if kind == "int" and not isinstance(value, bool):
        if isinstance(value, int):
            return value
        if isinstance(value, str) and re.match(r"[+-]?[0-9]+\Z", value.strip()):
            return int(value)
    if kind == "bool":
        if isinstance(value, bool):
            return value
        if str(value).lower() in TRUE:
            return True
        if str(value).lower() in FALSE:
            return False
    if (kind == "list" and isinstance(value, list)) or (kind == "dict" and isinstance(value, dict)):
        return value
    raise ValueError(kind)


def check(options: Arguments, given: Any, where: str = "") -> tuple[dict[str, Any], list[Problem]]:
    """Check names, types and choices of the given options against their table and fill in the defaults.

    Returns every option of the table (None when not given and without default) and the problems found.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    if not isinstance(given, dict):
        return values, [Problem(where or "options", shown(given), "a mapping of " + ", ".join(sorted(options)))]
    prefix = where + "." if where else ""
    for name in sorted(set(given) - set(options)):
        problems.append(Problem(prefix + name, "an unknown option", "one of " + ", ".join(sorted(options))))
    for name, option in options.items():
        value = given.get(name)
        if value is None:
            values[name] = copy.deepcopy(option.get("default"))
            if option.get("required"):
                problems.append(Problem(prefix + name, "nothing", _WANTED.get(option["type"], "a value")))
            continue
        values[name], found = _value(option, value, prefix + name)
        problems += found
    return values, problems


def _value(option: dict[str, Any], value: Any, where: str) -> tuple[Any, list[Problem]]:
    kind = option["type"]
    secret = bool(option.get("no_log"))
    try:
        value = _converted(value, kind)
    except ValueError:
        return None, [Problem(where, shown(value, secret), _WANTED[kind])]
    if isinstance(value, str) and not encodable(value):
        return None, [Problem(where, shown("bytes that are not UTF-8", secret), "UTF-8 text")]
    if "choices" in option and value not in option["choices"]:
        return None, [Problem(where, shown(value, secret), "one of " + ", ".join(option["choices"]))]
    if kind == "dict" and "options" in option:
        return check(option["options"], value, where)
    if kind != "list":
        return value, []
    entries: list[Any] = []
    problems: list[Problem] = []
    element = {"type": option.get("elements", "raw"), "no_log": secret}
    if "options" in option:
        element["options"] = option["options"]
    for number, entry in enumerate(value):
        if entry is None:
            converted, found = None, [Problem(f"{where}[{number}]", "nothing", _WANTED.get(element["type"], "a value"))]
        else:
            converted, found = _value(element, entry, f"{where}[{number}]")
        problems += found
        if element["type"] == "dict" or not found:
            entries.append(converted if converted is not None else {})
    return entries, problems


def encodable(text: str) -> bool:
    """Say whether a text has a form in UTF-8; one from bytes that had none has not."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unsaid(known: list[Problem], found: Iterable[Problem]) -> list[Problem]:
    """Return the problems that do not follow from a known one at the same option or around it."""
    return [
        problem
        for problem in found
        if not any(
            problem.option == entry.option or problem.option.startswith((entry.option + ".", entry.option + "["))
            for entry in known
        )
    ]


class Checker:
    """Collects the problems of options while they take their normal form."""

    def __init__(self, where: str) -> None:
        self.where = where + "." if where else ""
        self.problems: list[Problem] = []

    def wrong(self, option: str, found: Any, wanted: str, secret: bool = False) -> None:
        self.problems.append(Problem(self.where + option, shown(found, secret), wanted))

    def between(self, option: str, value: int | None, low: int, high: int) -> None:
        if value is not None and not low <= value <= high:
            self.wrong(option, value, f"{low} to {high}")
