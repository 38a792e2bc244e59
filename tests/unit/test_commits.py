# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first lines of commits: `component: Imperative`, as CONTRIBUTING.md wants them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Commits up to this one are older than the rule.
BASE = "143fe0d675a795137b9020c54f774a817e6dd6ca"
LONGEST = 72
SUBJECT = re.compile(r"[a-z0-9_.*][a-z0-9_.*/, -]*: (?P<verb>[A-Z][a-z]+)\b.*[^.\s]")
# Verbs that end as other forms do.
IMPERATIVES = {"Bring", "Embed", "Feed", "Need", "Ping", "Proceed", "Ring", "Seed", "Shed", "Speed", "Spring", "String"}


def fault(subject: str) -> str:
    """Return what is wrong with the first line of a commit, "" when nothing is."""
    found = SUBJECT.fullmatch(subject)
    if len(subject) > LONGEST:
        return f"found {len(subject)} characters, wanted at most {LONGEST}"
    if not found:
        return "wanted 'component: Imperative', without a full stop"
    verb = found["verb"]
    if verb not in IMPERATIVES and re.search(r"(ing|ed|[^su]s)$", verb):
        return f"found {verb}, wanted an imperative such as Add"
    return ""


def git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("subject", "good"),
    [
        ("registry: Keep IPv6 away from the port that takes images", True),
        ("kube_node, calico: Address hosts by the inventory", True),
        ("docs: Focus on what users need", True),
        ("module_utils/apps: Process one request", True),
        ("registry: Bring back the unit", True),
        ("registry: " + "Add a" * 13, False),
        ("Add a test", False),
        ("registry: add a test", False),
        ("registry: Added a test", False),
        ("registry: Adds a test", False),
        ("registry: Adding a test", False),
        ("registry: Add a test.", False),
        ("registry:", False),
        ("Registry: Add a test", False),
    ],
)
def test_what_a_first_line_is(subject: str, good: bool) -> None:
    assert (fault(subject) == "") is good


def test_commits_have_such_first_lines() -> None:
    if git("merge-base", "--is-ancestor", BASE, "HEAD").returncode:
        pytest.skip("no history down to the commit that the rule begins after")
    subjects = git("log", "--no-merges", "--format=%s", f"{BASE}..HEAD").stdout.splitlines()
    assert {subject: fault(subject) for subject in subjects if fault(subject)} == {}
