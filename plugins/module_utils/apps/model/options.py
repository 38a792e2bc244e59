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
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .arguments import Arguments

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
TRUE = ("yes", "true", "on", "1", "y", "t")
FALSE = ("no", "false", "off", "0", "n", "f")


class Invalid(PlatformError):
    """What the task asks for cannot be done; `problems` is the whole list."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        super().__init__("; ".join(str(finding) for finding in self.findings))


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


def check(options: Arguments, given: Any, where: str = "") -> tuple[dict[str, Any], list[Finding]]:
    """Check names, types and choices of the given options against their table and fill in the defaults.

    Returns every option of the table (None when not given and without default) and the problems found.
    """
    values: dict[str, Any] = {}
    findings: list[Finding] = []
    if not isinstance(given, dict):
        return values, [Finding(where or "options", shown(given), "a mapping of " + ", ".join(sorted(options)))]
    prefix = where + "." if where else ""
    for name in sorted(set(given) - set(options)):
        findings.append(Finding(prefix + name, "an unknown option", "one of " + ", ".join(sorted(options))))
    for name, option in options.items():
        value = given.get(name)
        if value is None:
            values[name] = copy.deepcopy(option.get("default"))
            if option.get("required"):
                findings.append(Finding(prefix + name, "nothing", _WANTED.get(option["type"], "a value")))
            continue
        values[name], found = _value(option, value, prefix + name)
        findings += found
    return values, findings


def _value(option: dict[str, Any], value: Any, where: str) -> tuple[Any, list[Finding]]:
    kind = option["type"]
    secret = bool(option.get("no_log"))
    try:
        value = _converted(value, kind)
    except ValueError:
        return None, [Finding(where, shown(value, secret), _WANTED[kind])]
    if isinstance(value, str) and not encodable(value):
        return None, [Finding(where, shown("bytes that are not UTF-8", secret), "UTF-8 text")]
    if "choices" in option and value not in option["choices"]:
        return None, [Finding(where, shown(value, secret), "one of " + ", ".join(option["choices"]))]
    if kind == "dict" and "options" in option:
        return check(option["options"], value, where)
    if kind != "list":
        return value, []
    entries: list[Any] = []
    findings: list[Finding] = []
    element = {"type": option.get("elements", "raw"), "no_log": secret}
    if "options" in option:
        element["options"] = option["options"]
    for number, entry in enumerate(value):
        if entry is None:
            converted, found = None, [Finding(f"{where}[{number}]", "nothing", _WANTED.get(element["type"], "a value"))]
        else:
            converted, found = _value(element, entry, f"{where}[{number}]")
        findings += found
        if element["type"] == "dict" or not found:
            entries.append(converted if converted is not None else {})
    return entries, findings


def encodable(text: str) -> bool:
    """Say whether a text has a form in UTF-8; one from bytes that had none has not."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def unsaid(known: list[Finding], found: Iterable[Finding]) -> list[Finding]:
    """Return the problems that do not follow from a known one at the same option or around it."""
    return [
        finding
        for finding in found
        if not any(
            finding.where == entry.where or finding.where.startswith((entry.where + ".", entry.where + "["))
            for entry in known
        )
    ]


class Checker:
    """Collects the problems of options while they take their normal form."""

    def __init__(self, where: str) -> None:
        self.where = where + "." if where else ""
        self.findings: list[Finding] = []

    def wrong(self, option: str, found: Any, wanted: str, secret: bool = False) -> None:
        self.findings.append(Finding(self.where + option, shown(found, secret), wanted))

    def between(self, option: str, value: int | None, low: int, high: int) -> None:
        if value is not None and not low <= value <= high:
            self.wrong(option, value, f"{low} to {high}")
