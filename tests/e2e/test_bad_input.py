# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong or partial input to the site playbook: it stops before any change, or does the same as a run for all hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from .lab import Lab, Node
from .test_add_node import EXTRA, newcomer

__all__ = ["newcomer"]
SITE = "cloudbang.platform.site"
CHECKS = {"Check the inventory", "Gather preflight facts of the hosts", "Check the hosts", "Fail if there are errors"}
# Each kind of host is missing once, and each syntax of a limit is used.
LIMITS = [
    "management1:compute2:loadbalancer2",
    pytest.param("all:!management1", marks=pytest.mark.drill),
    pytest.param("management1", marks=pytest.mark.drill),
    pytest.param("loadbalancer", marks=pytest.mark.drill),
    pytest.param("storage1", marks=pytest.mark.drill),
    pytest.param("~(management|loadbalancer)[23]", marks=pytest.mark.drill),
]


def short(task: str) -> str:
    """Return the name of a task without the name of its role."""
    return task.rpartition(" : ")[2]


def result(done: Any, task: str) -> dict[str, Any]:
    """Return the only result of a task that runs once."""
    [found] = [answer for name, _host, answer in done.tasks if short(name) == task]
    return dict(found)


def test_one_host_that_does_not_answer_stops_all_before_any_change(lab: Lab, tmp_path: Path) -> None:
    extra = tmp_path / "closed_port.yml"
    extra.write_text("all: {hosts: {compute2: {ansible_port: 1}}}\n")
    done = lab.play(SITE, "-i", str(extra), check=False)
    assert done.returncode
    assert {short(task) for task, _host, _result in done.tasks} <= CHECKS
    assert done.changed == {}
    problems = [one for one in result(done, "Check the hosts")["problems"] if one["severity"] == "error"]
    assert [(one["host"], one["check"]) for one in problems] == [("compute2", "unreachable")], problems
    assert lab.nodes["compute2"].address in problems[0]["message"]
    assert result(done, "Fail if there are errors")["msg"].startswith("1 problem: ")


@pytest.mark.parametrize("pattern", LIMITS)
def test_a_part_of_the_hosts_gets_the_same_configuration(lab: Lab, pattern: str) -> None:
    """The configuration of other hosts in etcd, HAProxy and keepalived does not depend on the hosts of the run."""
    assert lab.play(SITE, "--check", "--diff", "--limit", pattern).changed == {}


def test_two_runs_at_once_do_no_harm(lab: Lab) -> None:
    def limit(node: Node) -> str:
        return node.sh("grep podPidsLimit /var/lib/kubelet/config.yaml").split()[-1]

    nodes = lab.group("compute")
    change = ("-e", "kube_node_pids_limit=4000", "--limit", "compute")
    try:
        runs = [
            subprocess.Popen(
                lab.command(SITE, *change),
                env=lab.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _number in range(2)
        ]
        outputs = [run.communicate(timeout=300)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], "\n".join(output[-3000:] for output in outputs)
        assert [limit(node) for node in nodes] == ["4000"] * len(nodes)
        assert lab.play(SITE, *change).changed == {}
    finally:
        lab.play(SITE, "--limit", "compute")
    assert [limit(node) for node in nodes] == ["4096"] * len(nodes)
    lab.healthy()


@pytest.mark.drill
def test_check_mode_on_a_machine_that_has_nothing(lab: Lab, newcomer: Node) -> None:
    done = lab.play(SITE, *EXTRA, "--check", "--limit", newcomer.name)
    assert done.changed[newcomer.name]
    assert newcomer.sh("ls /usr/local/bin /etc/kubernetes 2>&1 | grep -c kubelet || true").strip() == "0"
