# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of secrets and users stay inside of their directory, and inside of their line of an htpasswd file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.cloudbang.platform.plugins.action.authorities import ActionModule


def run(directory: Path, **options: Any) -> dict[str, Any]:
    task = SimpleNamespace(args={"directory": str(directory), **options}, async_val=0, check_mode=False, action="a")
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=str(directory)))
    action = ActionModule(task, connection, SimpleNamespace(check_mode=False, diff=False), None, None, None)
    return dict(action.run(task_vars={}))


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a:b", "ci\nadmin", "", ".hidden", "a b", "ci\n"])
@pytest.mark.parametrize("kind", ["secrets", "htpasswd"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    value: Any = {name: "password"} if kind == "htpasswd" else [name]
    with pytest.raises(AnsibleActionFail, match=kind):
        run(tmp_path / "pki", **{kind: value})
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_some_are_made(tmp_path: Path) -> None:
    result = run(tmp_path, secrets=["acme.build.password"], htpasswd={"acme.build": "acme.build.password"})
    assert result["made"] == ["acme.build.password", "acme.build.htpasswd"]
    assert (tmp_path / "acme.build.htpasswd").read_text().startswith("acme.build:$2b$")


def test_a_directory_is_of_one_cluster(tmp_path: Path) -> None:
    first = ["192.0.2.100", "192.0.2.11"]
    assert run(tmp_path, addresses=first)["made"] == ["cluster.json"]
    assert not run(tmp_path, addresses=list(reversed(first)))["changed"]
    before = (tmp_path / "cluster.json").read_bytes()
    with pytest.raises(AnsibleActionFail, match=r"authorities of a cluster with 192\.0\.2\.100, 192\.0\.2\.11, wanted"):
        run(tmp_path, secrets=["key"], addresses=["198.51.100.11"])
    assert (tmp_path / "cluster.json").read_bytes() == before and not (tmp_path / "key").exists()
    # A cluster that changes step by step stays the same one, and so does a directory that nobody gives addresses.
    assert run(tmp_path, addresses=["192.0.2.11", "198.51.100.11"])["made"] == ["cluster.json"]
    assert run(tmp_path, addresses=["198.51.100.11"])["changed"]
    assert not run(tmp_path)["changed"]
