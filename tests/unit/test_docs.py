# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages: links lead somewhere, the index has all of them, and the commands that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Written by antsibull-changelog, with links of its own.
GENERATED = {ROOT / "CHANGELOG.md"}
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), ROOT / "molecule" / "README.md"}
    - GENERATED
)
PLAYBOOKS = ROOT / "playbooks"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return what its headings are linked by: small letters, dashes for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if "://" in target:
            continue
        path, _hash, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_the_index_has_every_page() -> None:
    index = text(ROOT / "docs" / "README.md")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"]({name})" not in index} == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist(page: Path) -> None:
    content = page.read_text("utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    called = re.findall(r"(?:^\$ |^|`|&& )make ((?:[a-z0-9-]+ )*[a-z0-9-]+)(?=`|$| +[#&A-Z])", content, re.MULTILINE)
    assert {target for words in called for target in words.split()} <= targets
    playbooks = re.findall(r"ansible-playbook (?:-\S+ \S+ )*cloudbang\.platform\.([a-z_.]+[a-z])", content)
    assert {
        name for name in playbooks if not PLAYBOOKS.joinpath(*name.split(".")).with_suffix(".yml").exists()
    } == set()
