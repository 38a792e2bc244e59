#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the durations of the last `make test`, as the tables of docs/dev-testing.md.

Usage: times.py [SECONDS]

Tests that took less than SECONDS (15) are added up by file. It reads build/reports and build/molecule.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "reports"
STEPS = ("create", "prepare", "converge", "idempotence", "verify", "destroy")
MOLECULE = ROOT / "build" / "molecule"


def table(header: list[str], rows: list[list[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def suites() -> list[list[object]]:
    """Return a row for each suite: name, tests, seconds, share of the processors that were busy."""
    rows = []
    for line in (REPORTS / "suites.tsv").read_text("utf-8").splitlines():
        name, tests, seconds, busy = line.split("\t")
        rows.append([name, tests, seconds, f"{busy} %"])
    return rows


def cases(report: Path) -> Iterator[tuple[str, str, float]]:
    """Yield file, name and seconds of each test of a JUnit report."""
    for case in ElementTree.parse(report).iter("testcase"):
        where = (case.get("classname") or "").removeprefix("tests.")
        yield where, case.get("name") or "", float(case.get("time") or 0)


def tests(reports: list[Path], least: float) -> list[list[object]]:
    """Return a row for each test that took long, and one for the others of its file, the slowest first."""
    rows: list[tuple[float, str]] = []
    for report in reports:
        others: dict[str, list[float]] = defaultdict(list)
        for where, name, seconds in cases(report):
            if seconds >= least:
                rows.append((seconds, f"{where} {name}"))
            else:
                others[where].append(seconds)
        rows += [(sum(few), f"{where}, {len(few)} others") for where, few in others.items() if sum(few) >= least]
    return [[name, round(seconds)] for seconds, name in sorted(rows, reverse=True)]


def main() -> int:
    least = float(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(table(["suite", "tests", "seconds", "processors busy"], suites()))
    scenarios = MOLECULE / "junit.xml"
    if scenarios.exists():
        steps = [line.split("\t") for line in (MOLECULE / "steps.tsv").read_text("utf-8").splitlines()]
        spent = {(name, step): seconds for name, step, seconds in steps}
        rows: list[list[object]] = [
            [name, round(seconds), *(spent.get((name, step), "") for step in STEPS)]
            for _where, name, seconds in cases(scenarios)
        ]
        print("\n" + table(["scenario", "seconds", *STEPS], sorted(rows, key=lambda row: -int(str(row[1])))))
    reports = sorted(REPORTS.glob("*.xml")) + sorted(MOLECULE.glob("[!j]*.xml"))
    print("\n" + table(["test", "seconds"], tests(reports, least)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
