#!/usr/bin/env python
"""Print how many tests of a JUnit report passed and failed.

Usage: count.py REPORT STATUS

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


if __name__ == "__main__":
    print(*count(Path(sys.argv[1]), int(sys.argv[2])))
