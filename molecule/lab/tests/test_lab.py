# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab nodes are like machines: reached over SSH, run by systemd, on two networks; and they come back."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest
from scenario import BUILD, changes, converge, module, node, run, wait_for

NODES = {"node1": "10.94.10.11", "node2": "10.94.10.12"}
UNDERLAY = {"node1": "10.95.10.11", "node2": "10.95.10.12"}


def docker(*arguments: str) -> str:
    result = run("docker", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def container(name: str) -> str:
    return f"cloudbang-molecule-lab-{name}"


def inspected(name: str) -> dict[str, Any]:
    return dict(json.loads(docker("inspect", container(name)))[0])


def lives() -> dict[str, tuple[str, str]]:
    """Return which container each node is, and since when it runs."""
    return {name: (inspected(name)["Id"], inspected(name)["State"]["StartedAt"]) for name in NODES}


def login(*options: str) -> int:
    """Log in to node1 with nothing but these options. Return ssh's exit code."""
    common = ("-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes")
    return run("ssh", *common, *options, f"root@{NODES['node1']}", "true").returncode


@pytest.mark.parametrize("name", sorted(NODES))
def test_systemd_has_started_everything(name: str) -> None:
    host = node(name)
    assert host.check_output("systemctl is-system-running") == "running"
    assert host.check_output("systemctl list-units --failed --no-legend") == ""
    assert host.check_output("ps -o comm= -p 1") == "systemd"
    assert host.check_output("hostname") == name


def test_modules_are_compiled_once_and_for_root_alone() -> None:
    def kept() -> set[str]:
        return set(node("node1").check_output("cd /root/.ansible/bytecode && stat -c '%n %i' *").splitlines())

    assert module("node1", "ansible.builtin.ping", data="pong")["ping"] == "pong"
    before = kept()
    assert before
    assert module("node1", "ansible.builtin.ping", data="pong")["ping"] == "pong"
    assert kept() == before
    assert node("node1").check_output("stat -c '%U %a' /root/.ansible/bytecode") == "root 700"
    # Files that are cut off are compiled again; this module does not need those of all others.
    node("node1").check_output("cd /root/.ansible/bytecode && for one in *; do truncate --size=9 $one; done")
    assert module("node1", "ansible.builtin.ping", data="pong")["ping"] == "pong"
    assert len(node("node1").check_output("find /root/.ansible/bytecode -size -10c").splitlines()) < len(before)


@pytest.mark.parametrize("name", sorted(NODES))
def test_nodes_are_on_both_networks(name: str) -> None:
    words = node(name).check_output("ip -4 -brief address show").split()
    assert f"{NODES[name]}/24" in words
    assert f"{UNDERLAY[name]}/24" in words
    other = "node2" if name == "node1" else "node1"
    for address in (NODES[other], UNDERLAY[other]):
        node(name).check_output(f"ping -c 1 -W 2 {address}")
    # A node's own name means its address in the first network.
    assert node(name).check_output("getent ahostsv4 $(hostname)").split()[0] == NODES[name]


def test_only_the_labs_key_opens_a_node_and_the_node_is_known() -> None:
    key = ("-i", str(BUILD / "id_ed25519"))
    known = ("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={BUILD}/known_hosts")
    assert login(*key, *known) == 0
    assert login(*key, "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={os.devnull}") == 255
    assert login("-i", os.devnull, *known) == 255
    assert stat.S_IMODE((BUILD / "id_ed25519").stat().st_mode) == 0o600


def test_nodes_are_machines_of_their_own() -> None:
    for what in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert len({node(name).check_output(what) for name in NODES}) == len(NODES)


@pytest.mark.parametrize("name", sorted(NODES))
def test_nodes_have_what_containers_in_them_need_and_no_more_than_the_controller(name: str) -> None:
    settings = inspected(name)["HostConfig"]
    assert settings["Privileged"] is False
    status = dict(line.split(":", 1) for line in node(name).check_output("cat /proc/1/status").splitlines())
    own = dict(line.split(":", 1) for line in run("cat", "/proc/self/status").stdout.splitlines())
    # Without a filter of system calls: the kubelet, runc and their containers set their own.
    assert status["Seccomp"].strip() == "0"
    assert int(status["CapBnd"], 16) & ~int(own["CapBnd"], 16) == 0
    host = node(name)
    host.check_output("mkdir -p /run/lab-test && mount -t tmpfs none /run/lab-test && umount /run/lab-test")
    host.check_output("unshare --net --pid --fork --mount-proc ip link add type veth")
    host.check_output("sysctl --write net.ipv4.ip_forward=1")
    # Device nodes in /dev that the controller has can be opened.
    for device in ("/dev/fuse", "/dev/net/tun"):
        if os.path.exists(device):
            host.check_output(f": < {device}")
    # Images of containers are laid over each other where /var is no overlay itself.
    host.check_output(
        "cd /var/tmp && mkdir -p lab/1 lab/2 lab/3 lab/4"
        " && mount -t overlay -o lowerdir=lab/1,upperdir=lab/2,workdir=lab/3 none lab/4 && umount lab/4 && rm -r lab"
    )


def test_nodes_keep_a_journal() -> None:
    host = node("node1")
    host.check_output("logger --tag lab-test written")
    assert wait_for(lambda: "written" in host.check_output("journalctl --quiet --output=cat --identifier=lab-test"))


@pytest.mark.parametrize("mode", [[], ["--check"]], ids=["run", "check mode"])
def test_a_lab_that_is_up_is_left_alone(mode: list[str]) -> None:
    # Where the controller keeps what it knows of the cluster on the nodes.
    memory = BUILD / "cluster"
    memory.mkdir(exist_ok=True)
    before = lives()
    assert changes(converge(*mode)) == []
    assert lives() == before
    assert memory.exists()


@pytest.mark.disruptive
def test_a_stopped_node_comes_back_with_what_it_had() -> None:
    before = lives()
    host = node("node1")
    host.check_output("echo kept > /var/lib/lab-test && echo kept > /etc/lab-test")
    docker("stop", "--time=30", container("node1"))
    # It was shut down, not killed.
    assert inspected("node1")["State"]["ExitCode"] in (0, 130)
    converge()
    after = lives()
    assert after["node1"][0] == before["node1"][0]
    assert after["node2"] == before["node2"]
    assert host.check_output("cat /var/lib/lab-test /etc/lab-test") == "kept\nkept"
    assert host.check_output("systemctl is-system-running") == "running"


@pytest.mark.disruptive
def test_a_node_that_lost_power_and_one_that_was_removed_come_back() -> None:
    before = lives()
    identity = node("node2").check_output("cat /etc/machine-id")
    image = inspected("node2")["Image"]
    docker("kill", container("node1"))
    docker("rm", "--force", "--volumes", container("node2"))
    # What a run leaves that ends between making a container and starting it.
    labels = ("--label=cloudbang.lab=molecule-lab", "--label=cloudbang.lab.node=node2")
    docker("create", f"--name={container('node2')}", *labels, image, "/bin/false")
    converge()
    after = lives()
    assert after["node1"][0] == before["node1"][0]
    assert after["node2"][0] != before["node2"][0]
    for name in NODES:
        assert node(name).check_output("systemctl is-system-running") == "running"
    # The machine that was made anew is known by the names and keys that it had.
    assert node("node2").check_output("cat /etc/machine-id") == identity
    node("node2").check_output(f"ping -c 1 -W 2 {NODES['node1']} && ping -c 1 -W 2 {UNDERLAY['node1']}")


@pytest.mark.disruptive
def test_a_node_that_is_no_longer_wanted_is_removed() -> None:
    before = lives()
    left = json.dumps({"lab_nodes": [{"name": "node1", "address": NODES["node1"]}]})
    converge("--limit=localhost,node1", "--extra-vars", left)
    names = docker("ps", "--all", "--filter=label=cloudbang.lab=molecule-lab", "--format={{.Names}}").split()
    assert names == [container("node1")]
    converge()
    assert lives()["node1"] == before["node1"]
    assert node("node2").check_output("systemctl is-system-running") == "running"
