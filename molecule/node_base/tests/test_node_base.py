# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A prepared node forwards packets, has the kernel's modules and the programs that the platform calls."""

from __future__ import annotations

import pytest
from scenario import changes, converge, module, node

SETTINGS = {
    # Bridged packets meet the packet filter: with the module br_netfilter only.
    "net.bridge.bridge-nf-call-iptables": 1,
    "net.ipv4.ip_forward": 1,
    "net.ipv4.ip_nonlocal_bind": 1,
    "net.ipv4.conf.all.rp_filter": 0,
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_kernel_parameters_are_in_force(name: str) -> None:
    assert node("compute1").sysctl(name) == SETTINGS[name]


@pytest.mark.parametrize("program", ["conntrack", "ethtool", "ipset", "iptables", "nft", "openssl", "socat", "sysctl"])
def test_programs_can_be_called(program: str) -> None:
    assert node("compute1").exists(program)


def test_facts_name_the_interface_of_the_address() -> None:
    facts = module("compute1", "cloudbang.platform.node_facts", address="10.94.2.11")["ansible_facts"]
    assert (facts["cloudbang_interface"], facts["cloudbang_prefix"]) == ("eth0", 24)


def test_an_address_that_the_node_lacks_is_refused() -> None:
    result = module("compute1", "cloudbang.platform.node_facts", address="10.94.2.99")
    assert result["failed"]
    assert "10.94.2.99" in result["msg"]


@pytest.mark.disruptive
def test_a_parameter_that_somebody_changed_is_put_right_and_in_force() -> None:
    host = node("compute1")
    host.check_output("echo net.ipv4.ip_forward=0 > /etc/sysctl.d/90-cloudbang.conf")
    host.check_output("systemctl restart systemd-sysctl")
    assert host.sysctl("net.ipv4.ip_forward") == 0
    assert changes(converge()) != []
    assert host.sysctl("net.ipv4.ip_forward") == 1
    assert changes(converge()) == []
