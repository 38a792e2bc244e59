# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of languages and tools: what the platform offers, ranges as manifests write them, and the choice. Pure.

An offered version of few parts stands for the newest of them: 3.13 for 3.13.5. So a range with a patch number can be
met by it, and one that excludes newer patches cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Parts = tuple[int, ...]
# An operator (=, !=, >=, >, <=, <) and a version.
Bound = tuple[str, Parts]

NEWEST = 10**9
_NUMBER = re.compile(r"[vV]?(?P<parts>\d{1,6}(?:\.\d{1,6}){0,3})(?P<wild>(?:\.[xX*]){0,3})(?P<rest>[-+a-zA-Z].*)?\Z")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)\Z")
_TERM = re.compile(r"\s*(?P<operator>\^|~>|~=|~|={1,3}|!=|<>|>=|<=|>|<)?\s*(?P<version>[^\s,^~=!<>]+)\s*,?")
_MAX_TEXT = 200


@dataclass(frozen=True)
class Offered:
    """What the platform offers: versions by language or tool, the defaults that are not the newest, and mirrors."""

    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    mirrors: frozenset[str] = frozenset()

    def sorted(self, name: str) -> list[str]:
        """Return the versions of a language or tool, the oldest first."""
        return sorted(self.versions.get(name, ()), key=parts_of)

    def default(self, name: str) -> str:
        """Return the version of those who ask for none, "" if none is offered."""
        return self.defaults.get(name) or next(iter(reversed(self.sorted(name))), "")

    def newest(self, name: str, wanted: Range) -> str:
        """Return the newest version in a range, "" if none is."""
        return next((one for one in reversed(self.sorted(name)) if wanted.accepts(one)), "")

    def oldest(self, name: str, wanted: Range) -> str:
        """Return the oldest version in a range, "" if none is."""
        return next((one for one in self.sorted(name) if wanted.accepts(one)), "")

    def listed(self, name: str) -> str:
        return ", ".join(self.sorted(name)) or "none"


@dataclass(frozen=True)
class Range:
    """Versions that meet all bounds of one alternative."""

    alternatives: tuple[tuple[Bound, ...], ...]

    def accepts(self, version: str) -> bool:
        parts = parts_of(version)
        return any(all(_meets(parts, *bound) for bound in bounds) for bounds in self.alternatives)

    def finer(self, version: str) -> bool:
        """Return whether the range names one version, by more parts than the given one has."""
        bounds = [bound for bounds in self.alternatives for bound in bounds]
        return len(bounds) == 1 and bounds[0][0] == "=" and len(bounds[0][1]) > len(parts_of(version))


ANY = Range(((),))


def parts_of(version: str) -> Parts:
    """Return the numbers of a version. Raises ValueError for what is none."""
    match = _NUMBER.match(version.strip())
    if match is None or match["wild"]:
        raise ValueError(f"{version[:40]} is no version")
    return tuple(int(part) for part in match["parts"].split("."))


def exactly(text: str) -> Range:
    """Return the range of one version; of few parts, it has all versions that begin with them. Raises ValueError."""
    match = _NUMBER.match(text.strip())
    if match is None or (match["rest"] or "").startswith(("-", "+", "a", "b", "c", "r", "d")):
        raise ValueError(f"{text[:40]} is no version")
    return Range(((("=", tuple(int(part) for part in match["parts"].split("."))),),))


def at_least(text: str) -> Range:
    """Return the range from a version on, within its first number if that is 1 or more. Raises ValueError."""
    parts = parts_of(text)
    return Range((((">=", parts), ("<", (parts[0] + 1,))),))


def or_newer(text: str) -> Range:
    """Return the range from a version on. Raises ValueError."""
    return Range((((">=", parts_of(text)),),))


def npm(text: str) -> Range:
    """Return the range of a text in npm's syntax, which Composer's is nearly. Raises ValueError."""
    return _range(text, whole=True, tilde=2)


def composer(text: str) -> Range:
    """Return the range of a text in Composer's syntax. Raises ValueError."""
    return _range(text.replace("||", "|").replace("|", "||").partition("@")[0], whole=False, tilde=1)


def python(text: str) -> Range:
    """Return the range of a text in the syntax of PEP 440, Poetry or RubyGems. Raises ValueError."""
    return _range(text, whole=False, tilde=2)


def _range(text: str, whole: bool, tilde: int) -> Range:
    """Return the range of a text.

    whole: `<=20` includes 20.1, and `>20` excludes it. tilde: how many parts of `~` stay, of those that it has.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{text[:40]}... is too long")
    alternatives = [part.strip() for part in text.split("||")]
    return Range(tuple(_bounds(part, whole, tilde) for part in alternatives))


def _bounds(text: str, whole: bool, tilde: int) -> tuple[Bound, ...]:
    hyphen = _HYPHEN.match(text)
    if hyphen:
        low, high = parts_of(hyphen[1]), parts_of(hyphen[2])
        return (">=", low), ("<", _next(high, len(high)))
    found: list[Bound] = []
    place = 0
    while place < len(text):
        match = _TERM.match(text, place)
        if match is None:
            raise ValueError(f"{text[:40]} is no range of versions")
        found += _term(match["operator"] or "=", match["version"], whole, tilde)
        place = match.end()
    return tuple(found)


def _term(operator: str, version: str, whole: bool, tilde: int) -> list[Bound]:
    if version in ("*", "x", "X"):
        return []
    match = _NUMBER.match(version)
    if match is None:
        raise ValueError(f"{version[:40]} is no version")
    parts = tuple(int(part) for part in match["parts"].split("."))
    if operator == "^":
        return [(">=", parts), ("<", _next(parts, _significant(parts)))]
    if operator in ("~>", "~="):
        return [(">=", parts), ("<", _next(parts, max(1, len(parts) - 1)))]
    if operator == "~":
        kept = min(len(parts), 2) if tilde == 2 else max(1, len(parts) - 1)
        return [(">=", parts), ("<", _next(parts, kept))]
    if operator in ("!=", "<>"):
        return [("!=", parts)]
    if operator == "<=" and whole and len(parts) < 3:
        return [("<", _next(parts, len(parts)))]
    if operator == ">" and whole and len(parts) < 3:
        return [(">=", _next(parts, len(parts)))]
    return [("=" if operator in ("=", "==", "===") else operator, parts)]


def _next(parts: Parts, kept: int) -> Parts:
    """Return the first version after all that begin with the parts that are kept."""
    return (*parts[: kept - 1], parts[kept - 1] + 1)


def _significant(parts: Parts) -> int:
    """Return the number of parts up to the first that is not 0, as `^` counts them."""
    return next((count for count, part in enumerate(parts, 1) if part), len(parts))


def _meets(version: Parts, operator: str, wanted: Parts) -> bool:
    common = min(len(version), len(wanted))
    if operator == "=":
        return version[:common] == wanted[:common]
    if operator == "!=":
        return len(wanted) > len(version) or version[:common] != wanted[:common]
    left = (*version, *(NEWEST,) * (4 - len(version)))
    right = (*wanted, *(0,) * (4 - len(wanted)))
    if operator == ">=":
        return left >= right
    if operator == ">":
        return left > right
    return left < right if operator == "<" else left <= right
