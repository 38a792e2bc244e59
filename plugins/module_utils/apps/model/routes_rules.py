# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a rule of Traefik: for which domains and paths a router takes requests at the most. Pure.

Only rules whose meaning is beyond doubt are understood. Every other one is for all domains, for who claims a domain in
a way that is not seen here takes the requests of its owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# All domains that there are.
EVERYTHING = "*"

_TEXT = r"(?:`[^`]*`|\"[^\"\\]*\")"
_TOKEN = re.compile(
    rf"\s*(?:(?P<op>&&|\|\||[!()])|(?P<name>[A-Za-z]+)\s*\(\s*(?P<texts>{_TEXT}(?:\s*,\s*{_TEXT})*)?\s*\))"
)
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*\Z")
# The one regular expression that stands for a wildcard: one label, and below what.
_WILDCARD = re.compile(r"\^\[a-zA-Z0-9-\]\+((?:\\\.[a-z0-9_-]+)+)\$\Z")
_HOSTS = ("host", "hostsni")
_PATTERNS = ("hostregexp", "hostsniregexp")
_PATHS = {"path": "exact", "pathprefix": "prefix"}

# Domains and paths of requests that a rule lets through; None stands for no bound. A path has its kind with it.
Bound = tuple["frozenset[str] | None", "frozenset[tuple[str, str]] | None"]
ALL: Bound = (None, None)


class _NotUnderstood(Exception):
    """A rule that could mean anything."""


def bound(rule: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the domains of a rule and its paths, each as text and kind (prefix, exact).

    A domain is as a claim has it: *.example.org for a wildcard, * for a rule that has no domain or is not understood.
    """
    try:
        tokens = list(_tokens(rule))
        (domains, paths), end = _either(tokens, 0)
        if end != len(tokens):
            raise _NotUnderstood
    except (_NotUnderstood, RecursionError):
        domains, paths = ALL
    return sorted(domains if domains is not None else {EVERYTHING}), sorted(paths or {("/", "prefix")})


def _tokens(rule: str) -> Iterator[tuple[str, str]]:
    """Return operators as ("", OPERATOR), and matchers as (NAME, ARGUMENT) with the name in lowercase."""
    position, rule = 0, rule.rstrip()
    while position < len(rule):
        found = _TOKEN.match(rule, position)
        if found is None:
            raise _NotUnderstood
        if found["op"]:
            yield "", found["op"]
        else:
            texts = re.findall(_TEXT, found["texts"] or "")
            # A matcher with several texts, or none, bounds no domains: before version 3 Host took several.
            yield found["name"].lower(), texts[0][1:-1] if len(texts) == 1 else ""
        position = found.end()


def _either(tokens: list[tuple[str, str]], at: int) -> tuple[Bound, int]:
    found, at = _both(tokens, at)
    while at < len(tokens) and tokens[at] == ("", "||"):
        other, at = _both(tokens, at + 1)
        found = (_union(found[0], other[0]), _union(found[1], other[1]))
    return found, at


def _both(tokens: list[tuple[str, str]], at: int) -> tuple[Bound, int]:
    found, at = _one(tokens, at)
    while at < len(tokens) and tokens[at] == ("", "&&"):
        other, at = _one(tokens, at + 1)
        found = (_narrower(found[0], other[0]), _narrower(found[1], other[1]))
    return found, at


def _one(tokens: list[tuple[str, str]], at: int) -> tuple[Bound, int]:
    if at >= len(tokens):
        raise _NotUnderstood
    name, text = tokens[at]
    if name:
        return _matcher(name, text), at + 1
    if text == "!":
        return ALL, _one(tokens, at + 1)[1]
    if text == "(":
        found, at = _either(tokens, at + 1)
        if at < len(tokens) and tokens[at] == ("", ")"):
            return found, at + 1
    raise _NotUnderstood


def _union(one: frozenset[Any] | None, other: frozenset[Any] | None) -> frozenset[Any] | None:
    return None if one is None or other is None else one | other


def _narrower(one: frozenset[Any] | None, other: frozenset[Any] | None) -> frozenset[Any] | None:
    """Return a bound of what two bounds have in common. The first one is right; which is smaller is not asked."""
    return other if one is None else one


def _matcher(name: str, text: str) -> Bound:
    if name in _HOSTS:
        domain = text.lower().removesuffix(".")
        return (frozenset({domain}), None) if _DOMAIN.match(domain) else ALL
    if name in _PATTERNS:
        wildcard = _WILDCARD.match(text)
        return (frozenset({"*" + wildcard[1].replace("\\", "")}), None) if wildcard else ALL
    if name in _PATHS and text.startswith("/"):
        return None, frozenset({(text, _PATHS[name])})
    return ALL
