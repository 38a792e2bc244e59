# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration: what is right, and every way of being wrong, all at once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from goodnet import config
from goodnet.model import Ports

RIGHT: dict[str, Any] = {
    "node": "compute1",
    "kubeconfig": "/etc/goodnet/kubeconfig",
    "encapsulation": "vxlan",
    "datapath": "netdev",
    "cluster_cidr": "10.244.0.0/16",
    "service_cidr": "10.96.0.0/16",
    "node_networks": ["192.0.2.0/24", "198.51.100.0/24"],
    "mtu": None,
    "vni_range": [1, 16777215],
    "system_namespaces": ["monitoring"],
    "edges": ["compute1", "compute2"],
    "manager": True,
    "host_addresses": ["192.0.2.1", "203.0.113.5"],
    "hosts": {"compute1": "192.0.2.1", "compute2": "192.0.2.2"},
    "host_ports": ["tcp/6443", "udp/30000-32767"],
    "routed_networks": ["198.18.0.0/24"],
    "provider": {"interface": "eth2", "network": "203.0.113.0/24", "gateway": "203.0.113.1"},
    "metrics": "127.0.0.1:9109",
}


def test_what_a_right_file_means(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump(RIGHT))
    settings = config.load(path)
    assert settings.node_networks == (IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.0/24"))
    assert settings.provider == config.Provider("eth2", IPv4Network("203.0.113.0/24"), IPv4Address("203.0.113.1"))
    assert settings.vni_range == (1, 16777215)
    assert settings.system_namespaces == {"monitoring"}
    assert settings.metrics == ("127.0.0.1", 9109)
    assert settings.mtu is None
    assert (settings.edge, settings.edges, settings.manager) == (True, {"compute1", "compute2"}, True)
    assert settings.host_addresses == (IPv4Address("192.0.2.1"), IPv4Address("203.0.113.5"))
    assert settings.hosts == {"compute1": IPv4Address("192.0.2.1"), "compute2": IPv4Address("192.0.2.2")}
    assert settings.host_ports == (Ports("TCP", 6443), Ports("UDP", 30000, 32767))
    assert settings.routed_networks == (IPv4Network("198.18.0.0/24"),)


def test_what_may_be_left_out() -> None:
    optional = ("mtu", "vni_range", "system_namespaces", "edges", "provider", "metrics")
    optional += ("manager", "host_addresses", "hosts", "host_ports", "routed_networks")
    settings = config.check({key: value for key, value in RIGHT.items() if key not in optional}, "f")
    assert (settings.edge, settings.provider, settings.metrics) == (False, None, ("127.0.0.1", 9109))
    assert (settings.manager, settings.host_addresses, settings.hosts, settings.host_ports) == (False, (), {}, ())
    assert config.check({**RIGHT, "routed_networks": []}, "f").routed_networks == settings.routed_networks == ()
    assert (settings.vni_range, settings.system_namespaces) == ((1, 2**24 - 1), frozenset())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"node": ""}, "node: found '', wanted the name of this host's node"),
        ({"node": None}, "node: found nothing, wanted the name of this host's node"),
        ({"kubeconfig": "etc/k"}, "kubeconfig: found 'etc/k', wanted the absolute path of a kubeconfig"),
        ({"encapsulation": "geneve"}, "encapsulation: found 'geneve', wanted vxlan or gre"),
        ({"datapath": "dpdk"}, "datapath: found 'dpdk', wanted system or netdev"),
        ({"cluster_cidr": "10.244.0.1/16"}, "cluster_cidr: found '10.244.0.1/16', wanted the IPv4 network of all pods"),
        ({"cluster_cidr": "10.244.0.0"}, "cluster_cidr: found '10.244.0.0', wanted"),
        ({"cluster_cidr": "fd00::/64"}, "cluster_cidr: found 'fd00::/64', wanted"),
        (
            {"service_cidr": "10.244.128.0/20"},
            "service_cidr: found 10.244.128.0/20, wanted a network that does not overlap",
        ),
        ({"node_networks": []}, "node_networks: found [], wanted a list of IPv4 networks"),
        (
            {"node_networks": ["10.96.1.0/24"]},
            "node_networks: found 10.96.1.0/24, wanted a network that does not overlap",
        ),
        ({"mtu": 1279}, "mtu: found 1279, wanted null, or a number from 1280 to 9216"),
        ({"mtu": True}, "mtu: found True"),
        ({"mtu": "1450"}, "mtu: found '1450'"),
        ({"vni_range": [0, 5]}, "vni_range: found [0, 5], wanted [first, last] within 1 to 16777215"),
        ({"vni_range": [5, 4]}, "vni_range: found [5, 4]"),
        ({"vni_range": [1, 2**24]}, "vni_range: found [1, 16777216]"),
        ({"system_namespaces": "monitoring"}, "system_namespaces: found 'monitoring', wanted a list of namespaces"),
        ({"manager": "yes"}, "manager: found 'yes', wanted true or false"),
        ({"edges": "compute1"}, "edges: found 'compute1', wanted a list of names of nodes"),
        ({"edges": ["compute2"]}, "provider: found a provider network, wanted none, or compute1 among edges"),
        ({"host_addresses": ["host"]}, "host_addresses: found ['host'], wanted a list of IPv4 addresses"),
        ({"host_addresses": "192.0.2.1"}, "host_addresses: found '192.0.2.1', wanted a list"),
        ({"hosts": ["192.0.2.1"]}, "hosts: found ['192.0.2.1'], wanted a mapping of names to IPv4 addresses"),
        ({"hosts": {"compute1": 5}}, "hosts: found {'compute1': 5}, wanted a mapping of names to IPv4 addresses"),
        ({"hosts": {7: "192.0.2.1"}}, "hosts: found {7: '192.0.2.1'}, wanted"),
        ({"host_ports": ["6443"]}, "host_ports: found ['6443'], wanted a list of ports, as tcp/6443"),
        ({"host_ports": ["icmp/8"]}, "host_ports: found ['icmp/8'], wanted"),
        ({"host_ports": ["tcp/0"]}, "host_ports: found ['tcp/0'], wanted"),
        ({"host_ports": ["tcp/9-8"]}, "host_ports: found ['tcp/9-8'], wanted"),
        ({"host_ports": "tcp/9"}, "host_ports: found 'tcp/9', wanted"),
        ({"routed_networks": ["everything"]}, "routed_networks: found ['everything'], wanted a list of IPv4 networks"),
        ({"provider": "eth2"}, "provider: found 'eth2', wanted a mapping"),
        ({"metrics": "9109"}, "metrics: found '9109', wanted address:port"),
        ({"metrics": "127.0.0.1:0"}, "metrics: found '127.0.0.1:0'"),
        ({"encapsulatoin": "gre"}, "encapsulatoin: found a key of this name, wanted encapsulation, perhaps"),
        ({"zzz": 1}, "zzz: found a key of this name, wanted one of cluster_cidr, datapath, edges"),
    ],
)
def test_one_thing_wrong_is_named(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.check({**RIGHT, **change}, "agent.yaml")
    (finding,) = caught.value.findings
    assert str(finding).startswith(expected)
    assert str(caught.value).startswith("agent.yaml is not usable, 1 problem")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"gateway": "203.0.114.1"}, "provider.gateway: found 203.0.114.1, wanted an address in provider.network"),
        ({"interface": "a-name-too-long-for-linux"}, "provider.interface: found 'a-name-too-long-for-linux'"),
        (
            {"network": "10.244.7.0/24", "gateway": "10.244.7.1"},
            "provider.network: found 10.244.7.0/24, wanted a network",
        ),
        ({"vlan": 7}, "provider.vlan: found"),
    ],
)
def test_the_provider_network_is_checked(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.check({**RIGHT, "provider": {**RIGHT["provider"], **change}}, "agent.yaml")
    (finding,) = caught.value.findings
    assert str(finding).startswith(expected)


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.check({"encapsulation": 7, "mtu": 5, "provider": {}, "unknown": 1}, "agent.yaml")
    assert [finding.where for finding in caught.value.findings] == [
        "node",
        "kubeconfig",
        "encapsulation",
        "datapath",
        "cluster_cidr",
        "service_cidr",
        "node_networks",
        "mtu",
        "provider.interface",
        "provider.network",
        "provider.gateway",
        "unknown",
    ]


@pytest.mark.parametrize("content", [None, "a: [", "- a list", ""])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "agent.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(config.ConfigError, match=r"agent\.yaml is not usable") as caught:
        config.load(path)
    assert [finding.where for finding in caught.value.findings] == ["file"]


@pytest.mark.parametrize(
    ("encapsulation", "mtu", "underlay", "expected"),
    [
        ("vxlan", None, 1500, 1450),
        ("gre", None, 1500, 1458),
        ("vxlan", None, 9000, 8950),
        ("vxlan", 1400, 1500, 1400),
        ("vxlan", 1451, 1500, None),
        ("vxlan", None, 1329, None),
        ("gre", None, 1322, 1280),
    ],
)
def test_the_mtu_fits_the_underlay(encapsulation: str, mtu: int | None, underlay: int, expected: int | None) -> None:
    settings = config.check({**RIGHT, "encapsulation": encapsulation, "mtu": mtu}, "f")
    if expected is None:
        with pytest.raises(ValueError, match=f"over an underlay of {underlay}"):
            config.derived_mtu(settings, underlay)
    else:
        assert config.derived_mtu(settings, underlay) == expected
