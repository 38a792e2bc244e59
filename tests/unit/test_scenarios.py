# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Molecule: every role has a scenario that converges it, as molecule/README.md says, and scenarios keep apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.plays import PREFIX, roles_of

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
# `cluster` has no tasks.
ROLES = {path.parent.name for path in ROOT.glob("roles/*/tasks")}


def converged(playbook: Path) -> Iterator[str]:
    """Return the roles of which a playbook, and what it imports, runs the main entry point."""
    for play in yaml.safe_load(playbook.read_text("utf-8")):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            yield from converged(ROOT / "playbooks" / f"{imported.removeprefix(PREFIX)}.yml")
        yield from roles_of(play)


def table() -> dict[str, tuple[set[str], str]]:
    """Return the roles of each scenario, and what it shows, as the README has them."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", (ROOT / "molecule/README.md").read_text(), re.M)
    assert len(rows) == len({scenario for scenario, _roles, _shows in rows})
    return {scenario: (set(re.findall(r"`(\w+)`", roles)), shows.strip()) for scenario, roles, shows in rows}


def content(scenario: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "molecule" / scenario / "molecule.yml").read_text("utf-8")))


def sources(scenario: str) -> str:
    """Return the text of all tests of a scenario."""
    return "".join(path.read_text("utf-8") for path in (ROOT / "molecule" / scenario / "tests").glob("*.py"))


def variables(scenario: str) -> dict[str, Any]:
    return dict(content(scenario)["provisioner"]["inventory"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs_a_second_time(scenario: str) -> None:
    """By molecule, or by a test of it."""
    sequence = content(scenario).get("scenario", {}).get("test_sequence", [])
    by_test = re.search(r"assert changes\(converge\(.*\)\) == \[\]", sources(scenario))
    assert ("idempotence" in sequence) != bool(by_test)


def test_every_role_runs_in_check_mode_on_converged_hosts() -> None:
    """By the end-to-end tests, whose lab has Calico, or by a scenario."""
    checked: set[str] = set()
    for scenario in SCENARIOS:
        shared = content(scenario).get("verifier", {}).get("additional_files_or_dirs", [])
        if "../../shared/test_check_mode.py" in shared or '"--check"' in sources(scenario):
            checked |= set(converged(ROOT / "molecule" / scenario / "converge.yml"))
    assert checked >= ROLES - set(converged(ROOT / "playbooks/site.yml")) | {"goodnet"}


def test_every_scenario_is_in_the_table() -> None:
    assert sorted(table()) == SCENARIOS
    assert all(shows for _roles, shows in table().values())


def test_every_role_has_a_scenario() -> None:
    assert set().union(*(roles for roles, _shows in table().values())) == ROLES


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_converges_the_roles_that_it_is_about(scenario: str) -> None:
    done = set(converged(ROOT / "molecule" / scenario / "converge.yml"))
    assert table()[scenario][0] <= done


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_tests_what_it_converged(scenario: str) -> None:
    tests = (ROOT / "molecule" / scenario / "tests").glob("test_*.py")
    assert any(re.search(r"^def test_", path.read_text("utf-8"), re.M) for path in tests)


def test_scenarios_that_run_at_the_same_time_have_networks_of_their_own() -> None:
    numbers = {scenario: variables(scenario)["group_vars"]["all"]["molecule_number"] for scenario in SCENARIOS}
    assert len(set(numbers.values())) == len(SCENARIOS), numbers


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_hosts_are_in_the_network_of_their_scenario(scenario: str) -> None:
    found = variables(scenario)
    network = f"10.94.{found['group_vars']['all']['molecule_number']}."
    hosts = [host for group in found["hosts"].values() for host in group["hosts"].values()]
    addresses = [host["ansible_host"] for host in hosts if "ansible_host" in host]
    assert [address for address in addresses if not address.startswith(network)] == []
