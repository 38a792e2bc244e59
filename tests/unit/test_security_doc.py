# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each statement of docs/security.md names the tests that verify it, and these tests exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
# No test verifies an open issue.
OPEN = "Open issues"
# Each has a section of the page.
ACTORS = {
    "Tenant developer",
    "Tenant owner",
    "Compromised pod",
    "Worker node",
    "Load balancer",
    "Someone on the hosts' network",
    "Local user of a host",
    "Author of a compose file",
    "Mirror",
}


def rows() -> list[tuple[str, str, list[str]]]:
    """Return section, statement and tests of each row of the page's tables."""
    found = []
    section = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").strip()
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if section != OPEN and len(cells) > 1 and not set(line) <= set("|-: ") and cells[-1] != "tested by":
            found.append((section, cells[0], re.findall(r"`([^`]+)`", cells[-1])))
    return found


@cache
def functions(path: Path) -> set[str]:
    return {one.name for one in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(one, ast.FunctionDef)}


def test_the_page_lists_open_issues() -> None:
    assert f"\n## {OPEN}\n" in PAGE.read_text("utf-8")


def test_every_actor_has_a_section_with_statements() -> None:
    assert {section for section, _statement, _tests in rows()} >= ACTORS


@pytest.mark.parametrize(
    ("statement", "tests"), [pytest.param(statement, tests, id=statement[:60]) for _section, statement, tests in rows()]
)
def test_every_statement_names_tests_that_exist(statement: str, tests: list[str]) -> None:
    assert tests, f"{statement}: found no test, wanted PATH::FUNCTION"
    for test in tests:
        path, name = test.split("::")
        assert (ROOT / path).is_file(), f"{statement}: {path} does not exist"
        assert name.split("[")[0] in functions(ROOT / path), f"{statement}: {path} has no {name}"
