# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a source tree as values: JSON, TOML, YAML, XML and properties, each within bounds. Pure.

Each function takes a text and its place, and raises Invalid that names the place, what was found and what is wanted.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

from ..compose import load
from ..options import Invalid

MAX_YAML = 64 << 10
MAX_DEPTH = 60
# The parser's work grows with the square of the parts of a dotted key.
MAX_DOTS = 50_000_000
# Each alternative ends also where the text does, so that none is tried again from the next character on.
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|/\*.*?(?:\*/|\Z)|,(?=\s?[]}])', re.DOTALL)
_SPACES = re.compile(r'"(?:[^"\\\n]|\\.)*"?|\s+', re.DOTALL)


def json_value(text: str, place: str) -> Any:
    """Return the value of a JSON text."""
    try:
        return records.parsed(text)
    except records.Wrong as error:
        raise Invalid([Finding(place, _found(error), "JSON")]) from error


def jsonc_value(text: str, place: str) -> Any:
    """Return the value of a JSON text with comments and commas before closing brackets."""
    # Spaces first, so that the pattern that follows a comma ends at once.
    short = _COMMENT.sub(lambda match: match[0] if match[0][0] == '"' else " ", _without_space(text))
    return json_value(short, place)


def _without_space(text: str) -> str:
    """Return a JSON text in which each space outside of a string is one newline or blank."""

    def one(match: re.Match[str]) -> str:
        if match[0][0] == '"':
            return match[0]
        return "\n" if "\n" in match[0] else " "

    return _SPACES.sub(one, text)


def toml_value(text: str, place: str) -> dict[str, Any]:
    """Return the value of a TOML text. Dates are texts, and so are numbers that are not finite."""
    if sum(line.count(".") ** 2 for line in text.split("\n")) > MAX_DOTS:
        raise Invalid([Finding(place, "keys of too many parts", "TOML")])
    try:
        return records.bounded(_plain(_toml()(text), MAX_DEPTH))
    except (ValueError, RecursionError) as error:
        reason = "values that are nested too deep" if isinstance(error, RecursionError) else _found(error)
        raise Invalid([Finding(place, reason, "TOML")]) from error


def _toml() -> Callable[[str], dict[str, Any]]:
    for name in ("tomllib", "tomli"):
        try:
            found: Callable[[str], dict[str, Any]] = importlib.import_module(name).loads
            return found
        except ImportError:
            continue
    raise Invalid(
        [Finding("python", "no reader of TOML", "Python 3.11 or newer on the controller, or the package tomli")]
    )


def _plain(value: Any, left: int) -> Any:
    """Return a value in JSON types."""
    if left < 0:
        raise ValueError("found values that are nested too deep")
    if isinstance(value, dict):
        return {key: _plain(entry, left - 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry, left - 1) for entry in value]
    finite = isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
    return value if finite else str(value)


def yaml_value(text: str, place: str) -> Any:
    """Return the value of a YAML text (types of YAML 1.2)."""
    if len(text) > MAX_YAML:
        raise Invalid([Finding(place, f"{len(text)} characters", f"at most {MAX_YAML}")])
    value, findings = load(text, place, "YAML")
    if findings:
        raise Invalid(replace(finding, found=finding.found.removeprefix("found ")) for finding in findings)
    return value


class _Shallow(ElementTree.TreeBuilder):
    """Builds elements without namespaces, and refuses deep ones and document types, whose entities multiply."""

    depth = 0

    def start(self, tag: Any, attrs: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError("found elements that are nested too deep")
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: Any) -> Any:
        self.depth -= 1
        return super().end(tag.rpartition("}")[2])

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("found a document type")


def xml_value(text: str, place: str) -> ElementTree.Element:
    """Return the root element of an XML text, names without their namespaces."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Invalid([Finding(place, "a document type", "XML without one")])
    parser = ElementTree.XMLParser(target=_Shallow())
    try:
        parser.feed(text)
        found: ElementTree.Element = parser.close()
        return found
    except (ElementTree.ParseError, ValueError) as error:
        raise Invalid([Finding(place, _found(error), "XML")]) from error


def properties(text: str) -> dict[str, str]:
    """Return the values of a Java properties file, of those that are on one line each."""
    found = {}
    for line in text.split("\n"):
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", "!")):
            found[name.strip()] = value.strip().replace("\\:", ":")
    return found


def _found(error: Exception) -> str:
    return visible(" ".join(str(error).removeprefix("found ").split())[:200])


def part(value: Any, *keys: str) -> dict[str, Any]:
    """Return the mapping below keys of a value, an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def text_at(value: Any, *keys: str) -> str:
    """Return the text below keys of a value, "" where there is none."""
    found = part(value, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, str) else ""


def texts_at(value: Any, *keys: str) -> list[str]:
    """Return the texts of the list below keys of a value, without entries that are none."""
    found = part(value, *keys[:-1]).get(keys[-1])
    return [entry for entry in found if isinstance(entry, str)] if isinstance(found, list) else []
