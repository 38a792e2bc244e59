# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How the controller is set up: facts that would be variables, mirrors without encryption."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import Inventory, Problem
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import evaluate, table

from .good import good

SUM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def test_facts_must_not_be_variables() -> None:
    [problem] = evaluate(replace(good(), inject_facts=True))
    assert (problem.host, problem.check, problem.variable) == (
        "controller",
        "facts_as_variables",
        "inject_facts_as_vars",
    )
    assert "ansible.cfg" in problem.hint
    assert evaluate(good()) == []


def with_mirror(**settings: Any) -> Inventory:
    inventory = good()
    for host in inventory.hosts:
        inventory.settings[host].update(settings)
        inventory.variables[host].update(settings)
    return inventory


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"artifacts_source": "mirror", "artifacts_mirror": "http://m.test/"}, "nothing, and http://m.test/"),
        ({"artifacts_source": "mirror", "artifacts_mirror": "/m", "artifacts_mirror_sha256": "abc"}, "'abc'"),
        ({"artifacts_source": "mirror", "artifacts_mirror": "http://m.test/", "artifacts_mirror_sha256": SUM}, None),
        ({"artifacts_source": "mirror", "artifacts_mirror": "https://m.test/"}, None),
        ({"artifacts_source": "auto", "artifacts_mirror": "http://m.test/"}, None),
    ],
)
def test_a_mirror_without_encryption_is_pinned(settings: dict[str, str], found: str | None) -> None:
    inventory = with_mirror(**settings)
    problems = evaluate(inventory)
    assert {one.check for one in problems} == ({"mirror_unpinned"} if found else set()), problems
    assert {one.host for one in problems} == (set(inventory.nodes) if found else set())
    assert all(found is not None and found in one.found for one in problems)


def test_the_table_has_nothing_that_a_terminal_acts_upon() -> None:
    shown = table([Problem("node1", "os", "fact\x1b[2J", "Debian\x1b]0;PWNED\x07\x9b", "x\r", "y\x00")])
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "Debian\\x1b]0;PWNED\\x07\\x9b" in shown
