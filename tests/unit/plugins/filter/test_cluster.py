# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that read the inventory."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.cloudbang.platform.plugins.filter import cluster


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "a"),
        ({"ansible_host": "10.0.0.1"}, "10.0.0.1"),
        ({"ansible_host": "10.0.0.1", "cloudbang_node_address": "10.1.0.1"}, "10.1.0.1"),
        ({"ansible_host": "", "cloudbang_node_address": None}, "a"),
    ],
)
def test_nodes(variables: dict[str, Any], address: str) -> None:
    assert cluster.nodes(["a"], {"a": variables}) == [{"name": "a", "address": address}]


def test_nodes_are_sorted_and_must_exist() -> None:
    hostvars: dict[str, dict[str, Any]] = {"b": {}, "a": {}}
    assert [one["name"] for one in cluster.nodes(["b", "a"], hostvars)] == ["a", "b"]
    with pytest.raises(AnsibleFilterError, match="'c' is not a host"):
        cluster.nodes(["c"], hostvars)


@pytest.mark.parametrize(
    ("cidr", "number", "address"),
    [("10.96.0.0/16", 10, "10.96.0.10"), ("10.96.0.0/16", 0, "10.96.0.0"), ("10.0.0.0/30", -1, "10.0.0.3")],
)
def test_nth_address(cidr: str, number: int, address: str) -> None:
    assert cluster.nth_address(cidr, number) == address


@pytest.mark.parametrize(("cidr", "number"), [("10.0.0.0/30", 4), ("10.0.0.1/24", 1), ("nonsense", 1), ("", 1)])
def test_no_such_address(cidr: str, number: int) -> None:
    with pytest.raises(AnsibleFilterError, match=f"no address number {number}"):
        cluster.nth_address(cidr, number)


def test_networks() -> None:
    assert cluster.networks(["192.0.2.12", "192.0.2.11", "10.0.0.1"], 24) == ["10.0.0.0/24", "192.0.2.0/24"]
    with pytest.raises(AnsibleFilterError, match="no IPv4 networks of length 24"):
        cluster.networks(["fd00::1"], 24)


@pytest.mark.parametrize(
    ("allowed", "blocks"),
    [
        (["0.0.0.0/0"], [{"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16", "192.0.2.0/24"]}]),
        (["198.51.100.0/24"], [{"cidr": "198.51.100.0/24"}]),
        # An operator's own word.
        (["192.0.2.9/32"], [{"cidr": "192.0.2.9/32"}]),
        (["192.0.2.0/24"], [{"cidr": "192.0.2.0/24", "except": ["192.0.2.11/32"]}]),
        (["192.0.2.11/32"], [{"cidr": "192.0.2.11/32"}]),
        ([], []),
    ],
)
def test_blocks_leave_out_what_is_inside_of_them(allowed: list[str], blocks: list[dict[str, Any]]) -> None:
    assert cluster.ip_blocks(allowed, ["192.0.2.11/32", "192.0.2.0/24", "10.244.0.0/16"]) == blocks


def test_a_block_of_which_nothing_is_left_is_none() -> None:
    assert cluster.ip_blocks(["10.0.0.0/8", "10.0.0.0/9"], ["10.0.0.0/9", "10.128.0.0/9"]) == [{"cidr": "10.0.0.0/9"}]
    with pytest.raises(AnsibleFilterError, match="no IPv4 networks in CIDR notation"):
        cluster.ip_blocks(["10.0.0.1/8"], [])


def test_labels_of_all_groups_of_a_node_come_together() -> None:
    labels = cluster.node_labels({"management": ["a"], "compute": ["a", "b"], "storage": ["c"], "all": ["a", "b", "c"]})
    assert labels == {
        "a": {"node-role.kubernetes.io/control-plane": "", "node-role.kubernetes.io/compute": ""},
        "b": {"node-role.kubernetes.io/compute": ""},
    }


def test_a_node_has_labels_of_its_host() -> None:
    variables = {"a": {"kube_node_labels": {"disk": "ssd", "rack": 7}}, "b": {}, "c": {"kube_node_labels": {"x": "y"}}}
    labels = cluster.node_labels({"compute": ["a", "b"], "storage": ["c"]}, variables)
    assert labels == {
        "a": {"disk": "ssd", "rack": "7", "node-role.kubernetes.io/compute": ""},
        "b": {"node-role.kubernetes.io/compute": ""},
    }


def test_every_filter_is_offered() -> None:
    assert set(cluster.FilterModule().filters()) == {"nodes", "nth_address", "networks", "ip_blocks", "node_labels"}
