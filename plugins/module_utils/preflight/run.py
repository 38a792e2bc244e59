# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the checks and shows what they found."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from . import (  # noqa: F401 - importing the checks registers them
    checks_addresses,
    checks_groups,
    checks_hosts,
    checks_network,
    checks_ports,
    checks_secrets,
    checks_sources,
    checks_variables,
    checks_versions,
)
from .inventory import ERROR, WARNING, Inventory, Problem, registered


def evaluate(inventory: Inventory, stages: Iterable[str] = ("inventory", "hosts")) -> list[Problem]:
    """Return every problem, errors first, in the order of the inventory; each problem once."""
    found = [problem for stage in stages for one in registered(stage) for problem in one(inventory)]
    place = {host: number for number, host in enumerate(inventory.hosts)}
    return sorted(
        dict.fromkeys(found), key=lambda one: (one.severity != ERROR, place.get(one.host, -1), one.check)
    )


def demote(problems: Iterable[Problem], ignored: Iterable[str]) -> list[Problem]:
    """Return the problems with those that the user chose to live with as warnings."""
    chosen = set(ignored)
    result = []
    for one in problems:
        if one.check in chosen and one.severity == ERROR:
            one = Problem(one.host, one.check, one.variable, one.found, one.wanted, one.hint, WARNING)
        result.append(one)
    return sorted(result, key=lambda one: one.severity != ERROR)


def table(problems: Iterable[Problem], width: int = 160) -> str:
    """Return the problems as a table: one row each, long cells wrapped to the width of the terminal."""
    heads = ("host", "check", "variable", "found", "wanted")
    rows = [
        (
            one.host,
            one.check if one.severity == ERROR else f"{one.check} (warning)",
            one.variable,
            one.found,
            f"{one.wanted}; {one.hint}" if one.hint else one.wanted,
        )
        for one in problems
    ]
    if not rows:
        return ""
    widest = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    fixed = [min(widest[0], 30), min(widest[1], 32), min(widest[2], 40)]
    rest = max(width - sum(fixed) - 2 * len(heads), 40)
    found = min(widest[3], max(rest * 2 // 5, rest - widest[4]))
    sizes = [*fixed, found, max(min(widest[4], rest - found), 20)]
    lines = []
    for row in [heads, tuple("-" * size for size in sizes), *rows]:
        cells = [textwrap.wrap(cell, size, break_on_hyphens=False) or [""] for cell, size in zip(row, sizes)]
        for number in range(max(len(cell) for cell in cells)):
            line = "  ".join(
                (cell[number] if number < len(cell) else "").ljust(size) for cell, size in zip(cells, sizes)
            )
            lines.append(line.rstrip())
    return "\n".join(lines)
