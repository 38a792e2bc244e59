# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the checks and shows their findings."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable
from dataclasses import replace

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

from . import (
    checks_addresses,
    checks_builder,
    checks_controller,
    checks_gateway,
    checks_goodnet,
    checks_groups,
    checks_hosts,
    checks_network,
    checks_ports,
    checks_registry,
    checks_secrets,
    checks_sources,
    checks_variables,
    checks_versions,
)
from .inventory import ERROR, EVERYWHERE, WARNING, HostFinding, Inventory, registered

# Importing them registers the checks.
CHECKS = (
    checks_addresses,
    checks_builder,
    checks_controller,
    checks_gateway,
    checks_goodnet,
    checks_groups,
    checks_hosts,
    checks_network,
    checks_ports,
    checks_registry,
    checks_secrets,
    checks_sources,
    checks_variables,
    checks_versions,
)

# How wide host, check and variable may be where the table does not fit, and how narrow the others.
NARROW = (24, 28, 32)
NARROWEST = 24
GAP = 2


def evaluate(inventory: Inventory, stages: Iterable[str] = ("inventory", "hosts")) -> list[HostFinding]:
    """Return every problem, errors first, in the order of the inventory; each problem once."""
    found = [finding for stage in stages for one in registered(stage) for finding in one(inventory)]
    place = {host: number for number, host in enumerate(inventory.hosts)}
    return sorted(dict.fromkeys(found), key=lambda one: (one.severity != ERROR, place.get(one.host, -1), one.check))


def demote(findings: Iterable[HostFinding], ignored: Iterable[str]) -> list[HostFinding]:
    """Return the problems with those that the user chose to live with, by CHECK or CHECK:VARIABLE, as warnings."""
    chosen = set(ignored)
    result = []
    for one in findings:
        if chosen & {one.check, f"{one.check}:{one.variable}"} and one.severity == ERROR:
            one = replace(one, severity=WARNING)
        result.append(one)
    return sorted(result, key=lambda one: one.severity != ERROR)


def condensed(findings: Iterable[HostFinding], nodes: Collection[str]) -> list[HostFinding]:
    """Return the findings; one that is the same on all hosts becomes one for all hosts."""
    same: dict[HostFinding, list[HostFinding]] = {}
    for one in findings:
        same.setdefault(replace(one, host=EVERYWHERE), []).append(one)
    return [
        row
        for general, members in same.items()
        for row in ([general] if len(members) > 1 and {one.host for one in members} >= set(nodes) else members)
    ]


def table(findings: Iterable[HostFinding], width: int = 160) -> str:
    """Return the problems as a table: one row each, long cells wrapped to the width of the terminal."""
    heads = ("host", "check", "variable", "found", "wanted")
    rows = [
        (
            # Hosts give parts of these texts, and they go to a terminal.
            visible(one.host),
            one.check if one.severity == ERROR else f"{one.check} (warning)",
            visible(one.variable),
            visible(one.found),
            visible(f"{one.wanted}; {one.hint}" if one.hint else one.wanted),
        )
        for one in findings
    ]
    if not rows:
        return ""
    widest = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    gaps = GAP * (len(heads) - 1)
    sizes = [min(size, most) if sum(widest) + gaps > width else size for size, most in zip(widest, NARROW)]
    rest = max(width - sum(sizes) - gaps, 2 * NARROWEST)
    found = min(widest[3], max(rest - widest[4], rest * 2 // 5, NARROWEST))
    sizes += [found, min(widest[4], max(rest - found, NARROWEST))]
    lines = []
    rule = tuple("-" * size for size in sizes)
    for row in [heads, rule, *rows]:
        cells = [textwrap.wrap(cell, size, break_on_hyphens=False) or [""] for cell, size in zip(row, sizes)]
        for number in range(max(len(cell) for cell in cells)):
            line = (" " * GAP).join(
                (cell[number] if number < len(cell) else "").ljust(size) for cell, size in zip(cells, sizes)
            )
            lines.append(line.rstrip())
    return "\n".join(lines)
