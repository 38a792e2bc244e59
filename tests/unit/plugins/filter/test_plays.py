# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a play is for, and runs that would leave out a part of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import context
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.collections import ImmutableDict

from ansible_collections.cloudbang.platform.plugins.filter import plays

NAMES = ["management", "compute", "etcd"]


@pytest.mark.parametrize(
    ("groups", "pattern"),
    [
        ({"all": ["b", "m", "c"], "bastion": ["b"], "management": ["m"], "compute": ["c"]}, "management:compute"),
        ({"all": ["m"], "management": ["m"], "compute": [], "etcd": []}, "management"),
        ({"all": ["x"], "ungrouped": ["x"], "management": []}, "all"),
        ({"all": [], "ungrouped": []}, "localhost"),
        ({}, "localhost"),
    ],
)
def test_groups_that_have_hosts(groups: dict[str, list[str]], pattern: str) -> None:
    assert plays.groups_pattern(NAMES, groups) == pattern


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ""),
        ({"tags": ["all"], "start_at_task": None}, ""),
        ({"tags": ["all", "etcd"]}, ""),
        ({"tags": ["etcd", "pki"]}, "--tags etcd,pki,"),
        ({"tags": ["all"], "start_at_task": "Install it"}, "--start-at-task 'Install it',"),
        ({"tags": ["always"], "start_at_task": "x"}, "--tags always and --start-at-task 'x',"),
        ({"tags": ["etcd"], "listtasks": True}, ""),
        ({"tags": ["etcd"], "syntax": True}, ""),
    ],
)
def test_a_part_of_a_run_is_refused(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], found: str) -> None:
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict(given))
    if not found:
        assert plays.whole_run("a:b") == "a:b"
        return
    with pytest.raises(AnsibleFilterError, match="Nothing was changed") as error:
        plays.whole_run("a:b")
    assert f"found {found} wanted all plays" in str(error.value) and "--limit" in str(error.value)
