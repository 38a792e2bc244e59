#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print how many tests of a JUnit report passed and failed, or the failed tests of reports, a line each.

Usage: count.py REPORT STATUS
       count.py REPORT...

A suite without a report counts as one test, by its exit status. A suite that ended with an error counts as failed
even when no single test did.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree


def count(report: Path, status: int) -> tuple[int, int]:
    if not report.exists():
        return (1, 0) if status == 0 else (0, 1)
    passed = failed = 0
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is None:
            passed += 1
    if status and not failed:
        failed = 1
    return passed, failed


def failed(report: Path) -> list[str]:
    """Return the names of the failed tests of a report, each with the first line of its message."""
    lines = []
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except ElementTree.ParseError as error:
        return [f"{report}: {error}"]
    for case in cases:
        for found in (*case.iter("failure"), *case.iter("error")):
            said = (found.get("message") or "").strip().partition("\n")[0]
            lines.append(f"{case.get('classname')}::{case.get('name')}: {said[:300]}")
    return lines


if __name__ == "__main__":
    *reports, last = sys.argv[1:]
    if last.isdigit():
        print(*count(Path(reports[0]), int(last)))
    else:
        for line in (line for one in (*reports, last) for line in failed(Path(one))):
            print(line)
