# SPDX-License-Identifier: GPL-3.0-or-later
"""The next run repairs what a killed run left, and hosts that lost data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from .lab import Lab, Node, etcdctl, wait_for

SITE = "cloudbang.platform.site"


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    yield
    lab.healthy(120)


def pids_limit(lab: Lab, node: Node) -> int:
    """Return the value of the running kubelet, not that of its file."""
    answer = lab.core().connect_get_node_proxy_with_path(node.name, "configz", _preload_content=False).data
    return int(json.loads(answer)["kubeletconfig"]["podPidsLimit"])


def in_file(node: Node) -> str:
    return node.sh("grep podPidsLimit /var/lib/kubelet/config.yaml").split()[-1]


def test_a_killed_run_and_a_lost_restart_are_finished_by_the_next(lab: Lab) -> None:
    """Kill the run when a host has the new file and its service may not have read it yet.

    Whether the service was restarted depends on the moment. So the second host is prepared like one whose run was
    killed between file and restart: its file has the new value, its process the old one.
    """
    node, other = lab.group("compute")
    change = ("-e", "kube_node_pids_limit=4000", "--limit", "compute")
    assert [pids_limit(lab, host) for host in (node, other)] == [4096, 4096]
    run = subprocess.Popen(
        lab.command(SITE, *change),
        env=lab.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for("the new configuration is on the disk", lambda: in_file(node) == "4000", seconds=90, pause=0.02)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    time.sleep(1)
    edit = "s/^podPidsLimit: .*/podPidsLimit: {}/"
    other.sh(f"sed -i '{edit.format(4096)}' /var/lib/kubelet/config.yaml && systemctl restart kubelet")
    wait_for("the kubelet answers", lambda: pids_limit(lab, other) == 4096, seconds=60)
    other.sh(f"sed -i '{edit.format(4000)}' /var/lib/kubelet/config.yaml")
    done = lab.play(SITE, *change)
    lab.measured("repair after a killed run, tasks that changed something", done.changed)
    for host in (node, other):
        assert (in_file(host), pids_limit(lab, host)) == ("4000", 4000), host.name
    assert lab.play(SITE, "--limit", "compute").changed.keys() == {"compute1", "compute2"}
    assert [pids_limit(lab, host) for host in (node, other)] == [4096, 4096]


def test_a_member_of_etcd_that_lost_its_data_joins_again(lab: Lab) -> None:
    node = lab.nodes["management3"]
    other = lab.nodes["management1"]

    def cluster(asked: Node) -> str:
        return etcdctl(asked, "endpoint status --write-out=fields | grep ClusterID")

    before = cluster(other)
    node.sh("systemctl stop etcd && rm -rf /var/lib/etcd/member")
    begin = time.monotonic()
    lab.play(SITE, "--limit", node.name)
    lab.measured("a member of etcd that lost its data, seconds", round(time.monotonic() - begin, 1))
    assert cluster(node) == before == cluster(other)
    members = etcdctl(other, "member list").splitlines()
    assert len(members) == 3
    assert all("started" in member for member in members)
