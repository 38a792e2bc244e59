# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reset gives the NIC back, and leaves neither bridges nor rules."""

from __future__ import annotations

import pytest
from scenario import INVENTORY, changes, failures, json_of, node, run


@pytest.mark.disruptive
def test_a_reset_host_has_its_nic_and_none_of_the_rest() -> None:
    command = ("ansible-playbook", f"--inventory={INVENTORY}", "cloudbang.platform.reset", "--limit=compute1")
    for expected in (True, False):
        result = run(
            *command,
            "--extra-vars=reset_cluster=molecule-goodnet",
            environment={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        )
        report = json_of(result)
        assert failures(report) == []
        assert bool(changes(report)) is expected
    host = node("compute1")
    assert "10.95.13.21/24" in host.check_output("ip -4 -o address show dev eth1")
    assert set(host.check_output("ls /sys/class/net").split()) - {"ovs-netdev"} == {"lo", "eth0", "eth1"}
    assert "goodnet" not in host.check_output("nft list tables; iptables-save | grep -i goodnet; ipset list -name")
    left = "ls -d /etc/goodnet /var/lib/goodnet /run/goodnet /usr/local/lib/cloudbang /opt/cni/bin/goodnet || true"
    assert host.check_output(left) == ""
    host.check_output("systemctl start openvswitch-switch")
    assert host.check_output("ovs-vsctl list-br") == ""
