# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of one run of the benchmarks with the next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench.compare import MARK, figures, marked

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("15.9 s", [("", "s", 15.9, 0.1)]),
        ("45.5 s, 0 changed", [("", "s", 45.5, 0.1), ("changed", "changed", 0, 1)]),
        ("1.84 GiB", [("", "GiB", 1.84, 0.01)]),
        ("0 of 35727 failed, p99 80.57ms", [("failed", "", 0, 1), ("p99", "s", 0.08057, 0.00001)]),
        ("1 of 748 failed, longest gap 3.1 s", [("failed", "", 1, 1), ("longest gap", "s", 3.1, 0.1)]),
        ("8754 ms / 12787 ms", [("", "s", 8.754, 0.001), ("", "s", 12.787, 0.001)]),
        ("in: 2.87, out: 2.7", [("in", "", 2.87, 0.01), ("out", "", 2.7, 0.1)]),
        (
            "failed: 0, p99 ms: 3875, requests: 3245",
            [("failed", "", 0, 1), ("p99 ms", "", 3875, 1), ("requests", "", 3245, 1)],
        ),
        ("16", [("", "", 16, 1)]),
        ("50.0 s **+26 %** **was 0**", [("", "s", 50, 0.1)]),
        ("", []),
        ("failed: bench ended", []),
    ],
)
def test_figures_of_a_cell(cell: str, wanted: list[tuple[str, str, float, float]]) -> None:
    assert [(one.name, one.unit, pytest.approx(one.value), pytest.approx(one.step)) for one in figures(cell)] == wanted


def document(header: str, row: str) -> str:
    return f"# Benchmarks\n\n## Load\n\n| {header} |\n|---|---|\n| {row} |\n"


@pytest.mark.parametrize(
    ("column", "before", "now", "mark"),
    [
        ("measured", "100.0 s", "110.0 s", ""),
        ("measured", "100.0 s", "110.2 s", " **+10 %**"),
        ("measured", "100.0 s", "150.0 s", " **+50 %**"),
        ("measured", "100.0 s", "50.0 s", ""),
        ("measured", "900 ms", "1.8 s", " **+100 %**"),
        # The last digit says nothing.
        ("first run", "0.3 s", "0.4 s", ""),
        ("first run", "0.3 s", "0.5 s", " **+67 %**"),
        ("first run", "0.0 s", "0.1 s", ""),
        ("first run", "0.0 s", "0.5 s", " **was 0**"),
        ("first run", "16", "17", ""),
        ("first run", "16", "20", " **+25 %**"),
        # Of these the first one counts.
        ("measured", "45.5 s, 0 changed", "45.0 s, 1 changed", " **was 0**"),
        ("measured", "2 of 100 failed, p99 5 ms", "3 of 9000 failed, p99 5 ms", " **+50 %**"),
        ("measured", "2 of 100 failed, p99 5 ms", "1 of 9000 failed, p99 50 ms", " **+900 %**"),
        ("measured", "sent: 42, wrong: 0", "sent: 80, wrong: 1", " **was 0**"),
        ("measured", "failed: 0, requests: 100", "failed: 0, requests: 3000", ""),
        # More is better.
        ("throughput", "1000 Mbit/s", "800 Mbit/s", " **-20 %**"),
        ("throughput", "1000 Mbit/s", "1200 Mbit/s", ""),
        ("of by hand", "1.00", "0.80", " **-20 %**"),
        # What is wanted may change, and so may what is measured.
        ("target", "30 s", "90 s", ""),
        ("measured", "30 s", "90 MiB", ""),
        ("measured", "", "90 s", ""),
        ("measured", "90 s", "", ""),
    ],
)
def test_what_is_marked(column: str, before: str, now: str, mark: str) -> None:
    text, told = marked(
        document(f"what | {column}", f"second run | {before}"), document(f"what | {column}", f"second run | {now}")
    )
    assert text == document(f"what | {column}", f"second run | {now}{mark}")
    assert told == ([f"Load, second run, {column}: {now}, was {before} ({mark.strip(' *')})"] if mark else [])


def test_a_mark_of_the_run_before_is_no_figure() -> None:
    header = "what | measured"
    text, told = marked(document(header, "boot | 50.0 s **+25 %**"), document(header, "boot | 60.0 s"))
    assert text == document(header, "boot | 60.0 s **+20 %**")
    assert told == ["Load, boot, measured: 60.0 s, was 50.0 s (+20 %)"]


@pytest.mark.parametrize("row", ["start | 1 s", "boot | 1 s"])
def test_only_the_same_row_of_the_same_table_is_compared(row: str) -> None:
    before = document("what | measured", row)
    other = document("what | time", "boot | 90 s")
    assert marked(before, other) == (other, [])
    assert marked("", other) == (other, [])


def test_the_document_is_understood() -> None:
    clean = MARK.sub("", DOCUMENT)
    assert marked(clean, clean) == (clean, [])
    boot = r"(?<=boot of eight nodes \| )([\d.]+)(?= s)"
    text, told = marked(clean, re.sub(boot, lambda found: f"{2 * float(found[1]):.1f}", clean))
    assert len(told) == 1
    assert re.fullmatch(r"Installation, boot of eight nodes, measured: .* s, was .* s \(\+100 %\)", told[0])
    assert MARK.findall(text) == [" **+100 %**"]
