# SPDX-License-Identifier: GPL-3.0-or-later
"""The site playbook changes nothing on a cluster that it has installed, in any mode."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import yaml

from . import lab as lab_module
from .lab import DIRECTORY, Lab

SITE = "cloudbang.platform.site"


def changes_nothing(lab: Lab, name: str, *arguments: str) -> None:
    begin = time.monotonic()
    done = lab.play(SITE, *arguments)
    lab.measured(f"site {name}, seconds", round(time.monotonic() - begin, 1))
    assert done.changed == {}
    assert set(done.stats) >= set(lab.nodes)
    assert all(not host["unreachable"] and not host["failures"] for host in done.stats.values())


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    changes_nothing(lab, "again")


def test_check_mode_changes_nothing_in_whatever_order_the_hosts_are(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = tmp_path / "lab"
    shutil.copytree(lab_module.INVENTORY, inventory)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    groups = hosts["all"]["children"]
    hosts["all"]["children"] = {
        name: {**groups[name], "hosts": dict(reversed(groups[name]["hosts"].items()))} for name in reversed(groups)
    }
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    monkeypatch.setattr(lab_module, "INVENTORY", inventory)
    changes_nothing(lab, "in check mode, the hosts in another order", "--check", "--diff", "-e", f"lab_dir={DIRECTORY}")
