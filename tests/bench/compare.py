# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares two runs of the benchmarks by the tables of docs/benchmarks.md, and finds figures that got worse. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# How much worse a figure can get before it is marked, as a share of the previous value.
TOLERANCE = 0.1
# Columns that identify a row. All others are measured, except those with the wanted value.
KEYS = {"what", "play", "role", "host", "task", "path", "hosts", "pods here", "tenants", "this host"}
WANTED = {"target"}
# Columns and units of figures for which more is better.
RATES = {"of by hand", "Mbit/s"}
# Counts for which only 0 is good.
FAULTS = {"failed", "changed", "wrong"}
# The number of attempts is not a result.
TRIED = {"requests", "sent", "tried"}
SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "m": 60.0}
MARK = re.compile(r" \*\*(?:\+\d+ %|-\d+ %|was 0)\*\*")
FAILED = re.compile(r"(?P<number>\d+) of \d+ (?P<name>failed)")
FIGURE = re.compile(r"(?:(?P<name>[A-Za-z][\w ]*?):? )?(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[A-Za-zµ/%]*)")
Key = tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A measured number. ``value`` and ``step`` are in seconds for times, else in ``unit``.

    ``step`` is the smallest difference that the number of written digits can show.
    """

    name: str
    unit: str
    value: float
    step: float


def figures(cell: str) -> list[Figure]:
    """Return the figures of a cell, such as two of ``0 of 1010 failed, p99 34 ms``."""
    found = []
    for part in re.split(r", | / ", MARK.sub("", cell).strip()):
        match = FAILED.fullmatch(part) or FIGURE.fullmatch(part)
        if not match:
            continue
        groups = match.groupdict()
        name, unit, number = groups["name"] or "", groups.get("unit") or "", groups["number"]
        factor = SECONDS.get(unit, 1.0)
        step = 10.0 ** -len(number.partition(".")[2])
        unit = "s" if unit in SECONDS else unit
        found.append(Figure(unit if unit in FAULTS else name, unit, float(number) * factor, step * factor))
    return found


def worse(before: Figure, now: Figure, column: str) -> str:
    """Return by how much a figure got worse, such as ``+13 %``; "" when it did not, or within the tolerance."""
    if (before.name, before.unit) != (now.name, now.unit) or now.name in TRIED:
        return ""
    change = now.value - before.value
    if now.unit in RATES or column in RATES:
        change = -change
    # The last digit of a time differs between runs without a reason.
    tolerated = 0.0 if now.name in FAULTS else max(before.value * TOLERANCE, before.step, now.step)
    if change <= tolerated * (1 + 1e-9):
        return ""
    return f"{(now.value - before.value) / before.value * 100:+.0f} %" if before.value else "was 0"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _rows(document: str) -> list[tuple[int, str, list[str], list[str]]]:
    """Return number of line, section, header and cells of each row of all tables."""
    found = []
    section, header = "", None
    for number, line in enumerate(document.splitlines()):
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = _cells(line)
        elif not set(line) <= set("|-: "):
            found.append((number, section, header, _cells(line)))
    return found


def _key(section: str, header: list[str], cells: list[str]) -> Key:
    return (section, *header, *(cell for name, cell in zip(header, cells, strict=False) if name in KEYS))


def marked(before: str, now: str) -> tuple[str, list[str]]:
    """Return a document with a mark after each figure that is worse than in the previous one, and a line for each.

    Figures with the same section, columns and names of the row are compared. Those of only one document are not.
    """
    known = {_key(section, header, cells): cells for _line, section, header, cells in _rows(before)}
    lines, told = now.splitlines(), []
    for number, section, header, cells in _rows(now):
        former = known.get(_key(section, header, cells), [])
        row = list(cells)
        for place, (column, old, new) in enumerate(zip(header, former, cells, strict=False)):
            if column in KEYS | WANTED:
                continue
            pairs = zip(figures(old), figures(new), strict=False)
            marks = [mark for mark in (worse(one, other, column) for one, other in pairs) if mark]
            if marks:
                row[place] = new + "".join(f" **{mark}**" for mark in marks)
                what = ", ".join([section, *(cell for name, cell in zip(header, cells, strict=False) if name in KEYS)])
                told.append(f"{what}, {column}: {new}, was {MARK.sub('', old)} ({', '.join(marks)})")
        if row != cells:
            lines[number] = "| " + " | ".join(row) + " |"
    return "\n".join(lines) + ("\n" if now.endswith("\n") else ""), told
