# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to hosts: in check mode nothing is rendered from authorities that are still to be made."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.checks_secrets import AUTHORITIES
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import _Variables, not_made_yet


def action(check_mode: bool) -> Any:
    return SimpleNamespace(
        _task=SimpleNamespace(check_mode=check_mode), _templar=SimpleNamespace(template=lambda text: text)
    )


@pytest.mark.parametrize(
    ("missing", "check_mode", "wanted"),
    [
        (AUTHORITIES, True, True),
        (AUTHORITIES, False, False),
        # A cluster of an older version has some of them.
        (AUTHORITIES[3:], True, True),
        (AUTHORITIES[-1:], True, True),
        ((), True, False),
    ],
)
def test_what_is_made_later(tmp_path: Path, missing: tuple[str, ...], check_mode: bool, wanted: bool) -> None:
    for name in set(AUTHORITIES) - set(missing):
        (tmp_path / f"{name}.crt").touch()
    assert not_made_yet(action(check_mode), {"cloudbang_pki_dir": str(tmp_path)}) == wanted


def test_without_a_directory_nothing_is_waited_for() -> None:
    assert not not_made_yet(action(True), {})


def test_the_role_makes_all_authorities_that_are_checked() -> None:
    path = Path(__file__).resolve().parents[4] / "roles/pki/tasks/main.yml"
    (task,) = yaml.safe_load(path.read_text("utf-8"))
    assert set(task["cloudbang.platform.authorities"]["authorities"]) == set(AUTHORITIES)


def test_a_copy_of_the_variables_has_entries_of_its_own_and_shares_their_values() -> None:
    hosts = {"one": {"a": 1}}
    variables = _Variables(hostvars=hosts)
    other = copy.deepcopy(variables)
    other["added"] = 1
    assert other["hostvars"] is hosts
    assert "added" not in variables
