# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller is set up: facts that would be variables, mirrors without encryption."""

from __future__ import annotations

import configparser
import getpass
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import Authority
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import HostFinding, Inventory
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import evaluate, table

from .good import good

ROOT = Path(__file__).resolve().parents[5]
SUM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def test_facts_must_not_be_variables() -> None:
    [finding] = evaluate(replace(good(), inject_facts=True))
    assert (finding.host, finding.check, finding.variable) == (
        "controller",
        "facts_as_variables",
        "inject_facts_as_vars",
    )
    assert "ansible.cfg" in finding.hint
    assert evaluate(good()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cloudbang_state_dir", "state/site"),
        ("cloudbang_pki_dir", "state/site/pki"),
        ("artifacts_cache_dir", "state"),
        ("artifacts_lock_file", "state/artifacts.lock.yml"),
    ],
)
def test_a_user_without_root_owns_what_roles_write_on_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (tmp_path / "state").mkdir()
    inventory = with_settings(**{name: str(tmp_path / value)})
    assert evaluate(inventory) == []
    # Made by root in an earlier run; the tests may run as root, whom nothing is denied.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path / "state")
    monkeypatch.setattr(getpass, "getuser", lambda: "ops")
    [finding] = evaluate(inventory)
    assert (finding.host, finding.check, finding.variable) == ("controller", "controller", name)
    assert finding.found == f"{tmp_path}/state, which user ops may not write"
    assert "chown -R ops" in finding.hint and name in finding.hint
    inventory.facts = {}
    assert evaluate(inventory) == []


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    [finding] = evaluate(with_settings(cloudbang_state_dir=str(tmp_path / "file" / "site")))
    assert (finding.check, finding.found) == ("controller", f"{tmp_path}/file, a file")


def test_keys_that_this_user_may_not_read_are_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kubernetes-ca", "service-account"):
        Authority.ensure(tmp_path, name, name)
    for name in ("encryption.key", "service-account.pub"):
        (tmp_path / name).write_text("x")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    findings = evaluate(with_settings(cloudbang_pki_dir=str(tmp_path)))
    assert {one.check for one in findings} == {"pki"}
    assert all("Permission denied" in one.found for one in findings) and len(findings) >= 3


def test_the_configuration_of_this_repository_lets_ssh_ask_for_passwords() -> None:
    """ssh takes the first value of an option, so what Ansible adds for a password would have no effect."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "ansible.cfg")
    arguments = configuration["ssh_connection"]["ssh_args"]
    assert not [
        word for word in ("PreferredAuthentications", "PasswordAuthentication", "BatchMode") if word in arguments
    ]


def with_settings(**settings: Any) -> Inventory:
    inventory = good()
    for host in inventory.hosts:
        inventory.settings[host].update(settings)
    return inventory


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
    findings = evaluate(inventory)
    assert {one.check for one in findings} == ({"mirror_unpinned"} if found else set()), findings
    assert {one.host for one in findings} == (set(inventory.nodes) if found else set())
    assert all(found is not None and found in one.found for one in findings)


def test_the_table_has_nothing_that_a_terminal_acts_upon() -> None:
    shown = table([HostFinding("node1", "os", "fact\x1b[2J", "Debian\x1b]0;PWNED\x07\x9b", "x\r", "y\x00")])
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "Debian\\x1b]0;PWNED\\x07\\x9b" in shown
