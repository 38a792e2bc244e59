# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reset leaves nothing of the platform and all of what others made, and the host can be installed again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import test_single as single
from scenario import INVENTORY, changes, converge, failures, json_of, node, run, wait_for


def reset(answer: str) -> dict[str, Any]:
    """Run the playbook that removes everything. Return what the json callback prints."""
    result = run(
        "ansible-playbook",
        f"--inventory={INVENTORY}",
        f"--extra-vars=reset_cluster={answer}",
        "cloudbang.platform.reset",
        environment={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
    )
    return json_of(result)


def lines(command: str) -> set[str]:
    return set(node("node1").check_output(command).splitlines())


MINE = {
    "/etc/cni/net.d/99-mine.conflist",
    "/etc/systemd/system/mine.service",
    "/usr/local/bin/mine",
    "/usr/local/libexec/mine",
}
WHERE = {"/etc/cni", "/etc/cni/net.d"}


@pytest.fixture()
def what_others_made() -> Iterator[None]:
    """Rules, files and a service that are none of the platform's business."""
    host = node("node1")
    for path in MINE - {"/etc/systemd/system/mine.service"}:
        host.check_output("mkdir -p $(dirname %s) && echo '{}' > %s", path, path)
    host.check_output(
        "printf '[Service]\\nExecStart=sleep infinity\\n' > /etc/systemd/system/mine.service && "
        "systemctl daemon-reload && systemctl start mine"
    )
    host.check_output("nft add table inet mine && nft add chain inet mine here && nft add rule inet mine here counter")
    host.check_output("iptables -N MINE && iptables -A MINE -m comment --comment california -j RETURN")
    host.check_output("iptables -I INPUT -i calico0 -j MINE")
    yield
    host.check_output("iptables -D INPUT -i calico0 -j MINE && iptables -F MINE && iptables -X MINE")
    host.check_output("nft delete table inet mine && systemctl stop mine && rm " + " ".join(MINE))


@pytest.mark.disruptive
def test_a_reset_with_another_name_changes_nothing() -> None:
    report = reset("another")
    assert "found 'another', wanted 'molecule-single'. Nothing was changed." in failures(report)[0]
    assert changes(report) == []
    assert node("node1").service("kubelet").is_running


@pytest.mark.disruptive
def test_a_reset_host_is_as_before_and_can_be_installed_again(what_others_made: None) -> None:
    report = reset("molecule-single")
    assert failures(report) == []
    # prepare.yml looked before the first converge.
    files = "grep ^/ | cut -d ' ' -f 1"
    assert lines(f"/root/look.sh | {files}") - lines(f"cat /run/before | {files}") == {*MINE, *WHERE}
    assert lines("systemctl list-units --plain --no-legend --state=failed") == set()
    assert lines("pgrep --list-name 'etcd|kube|calico|containerd|traefik|registry|haproxy|keepalived' || :") == set()
    assert lines("ls /sys/class/net") == {"lo", "eth0", "eth1"}
    assert lines(f"ip route show proto 80; ip -brief address show to {single.VIP}; ipset list -name") == set()
    assert lines("grep -E 'kubelet|netns' /proc/mounts; ls -d /run/containerd /run/calico /run/netns/* || :") == set()
    assert lines("nft list tables | grep -E 'mine|kube|traefik'") == {"table inet mine"}
    rules = lines("iptables-save; ip6tables-save")
    assert {one for one in rules if "cali-" in one or "KUBE-" in one or "cali:" in one} == set()
    assert {one for one in rules if "MINE" in one} == {
        ":MINE - [0:0]",
        "-A INPUT -i calico0 -j MINE",
        "-A MINE -m comment --comment california -j RETURN",
    }
    assert "counter" in node("node1").check_output("nft list table inet mine")
    assert node("node1").service("mine").is_running

    assert changes(reset("molecule-single")) == []

    converge()
    single.lend_kubeconfig()
    single.test_the_node_is_ready()
    with single.deployed():
        wait_for(lambda: single.page("web.example.org") == "OK 200", 20)
