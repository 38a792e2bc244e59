# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways through the host's own firewall: tunnels from the cluster's hosts, and from nobody else."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "goodnet" / "templates"


def rendered(name: str, **values: object) -> list[str]:
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((TEMPLATES / name).read_text("utf-8")).render(values).splitlines()


@pytest.mark.parametrize(("encapsulation", "tunnel"), [("vxlan", "-p udp --dport 4789"), ("gre", "-p gre")])
def test_tunnels_of_the_kernels_datapath_come_from_hosts(encapsulation: str, tunnel: str) -> None:
    lines = rendered("firewall.iptables.j2", _goodnet_datapath="system", goodnet_encapsulation=encapsulation)
    # In this order: what is of a host, then all else of that kind.
    assert [line for line in lines if line.startswith("-A GOODNET-INPUT")] == [
        "-A GOODNET-INPUT -i goodnet0 -j ACCEPT",
        f"-A GOODNET-INPUT {tunnel} -m set --match-set goodnet-hosts src -j ACCEPT",
        f"-A GOODNET-INPUT {tunnel} -j DROP",
    ]


def test_with_a_datapath_in_user_space_the_bridge_judges_tunnels() -> None:
    lines = rendered("firewall.iptables.j2", _goodnet_datapath="netdev", goodnet_encapsulation="vxlan")
    assert [line for line in lines if "4789" in line or "gre" in line] == []


def test_the_hosts_are_those_of_the_inventory_and_none_from_before() -> None:
    lines = rendered("hosts.ipset.j2", _goodnet_hosts=["192.0.2.1", "192.0.2.2"])
    assert lines == [
        "create goodnet-hosts hash:ip",
        "flush goodnet-hosts",
        "add goodnet-hosts 192.0.2.1",
        "add goodnet-hosts 192.0.2.2",
    ]
