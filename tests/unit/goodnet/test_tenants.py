# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenants of namespaces, their numbers, and what is wrong with them."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from goodnet.cluster import tenants
from goodnet.model import SYSTEM, Tenant


@pytest.mark.parametrize(
    ("name", "label", "tenant", "reason"),
    [
        ("kube-system", None, SYSTEM, None),
        ("kube-public", None, SYSTEM, None),
        ("kube-node-lease", None, SYSTEM, None),
        ("default", None, SYSTEM, None),
        ("default", "acme", SYSTEM, None),
        ("cloudbang-goodnet", None, SYSTEM, None),
        ("cloudbang-builds", None, "cloudbang-builds", None),
        ("cloudbang-builds", SYSTEM, "cloudbang-builds", None),
        ("shop", None, "shop", None),
        ("shop", "", "shop", None),
        ("shop", "acme", "acme", None),
        ("monitoring", SYSTEM, SYSTEM, None),
        ("monitoring", None, "monitoring", None),
        ("shop", SYSTEM, "shop", "TenantRefused"),
        (SYSTEM, None, "system.namespace", "TenantRefused"),
        (SYSTEM, "acme", "acme", None),
        ("kube-mine", None, "kube-mine", None),
        ("cloudbang", None, "cloudbang", None),
    ],
)
def test_tenant_of_a_namespace(name: str, label: str | None, tenant: str, reason: str | None) -> None:
    labels = {} if label is None else {tenants.LABEL_TENANT: label}
    found, finding = tenants.tenant_of(name, labels, frozenset({"monitoring"}))
    assert found == tenant
    assert (finding.reason if finding else None) == reason


@pytest.mark.parametrize(
    ("data", "entries", "wrong"),
    [
        ({"a": '{"vni": 1}'}, {"a": tenants.Entry(1)}, {}),
        ({"a": '{"vni": 1, "external": "192.0.2.1"}'}, {"a": tenants.Entry(1, IPv4Address("192.0.2.1"))}, {}),
        ({"a": '{"vni": 1, "external": null}'}, {"a": tenants.Entry(1)}, {}),
        ({"a": '{"vni": 1', "b": '{"vni": 2}'}, {"b": tenants.Entry(2)}, {"a": "wanted JSON"}),
        ({"a": "[]"}, {}, {"a": "wanted JSON"}),
        ({"a": "7"}, {}, {"a": "wanted JSON"}),
        ({"a": '{"vni": "1"}'}, {}, {"a": "found VNI '1', wanted a number"}),
        ({"a": '{"vni": 0}'}, {}, {"a": "found VNI 0"}),
        ({"a": '{"vni": 16777216}'}, {}, {"a": "found VNI 16777216"}),
        ({"a": '{"vni": true}'}, {}, {"a": "found VNI True"}),
        ({"a": '{"vni": 1, "external": "x"}'}, {}, {"a": "wanted JSON"}),
        ({"b": '{"vni": 1}', "a": '{"vni": 1}'}, {"a": tenants.Entry(1)}, {"b": "found VNI 1, which a has"}),
        (
            {"a": '{"vni": 1, "external": "192.0.2.1"}', "b": '{"vni": 2, "external": "192.0.2.1"}'},
            {"a": tenants.Entry(1, IPv4Address("192.0.2.1")), "b": tenants.Entry(2)},
            {"b": "found external address 192.0.2.1, which a has"},
        ),
        ({SYSTEM: '{"vni": 9}'}, {}, {SYSTEM: "is always 0"}),
    ],
)
def test_entries_of_the_configmap(
    data: dict[str, str], entries: dict[str, tenants.Entry], wrong: dict[str, str]
) -> None:
    found, findings = tenants.parse(data)
    assert found == entries
    assert findings.keys() == wrong.keys()
    for tenant, part in wrong.items():
        assert part in findings[tenant]


@pytest.mark.parametrize(
    ("data", "wanted", "vni_range", "added", "refused"),
    [
        ({}, ["b", "a"], (1, 9), {"a": 1, "b": 2}, []),
        ({"x": '{"vni": 1}', "y": '{"vni": 3}'}, ["a", "b"], (1, 9), {"a": 2, "b": 4}, []),
        ({"a": '{"vni": 8}'}, ["a"], (1, 9), {}, []),
        ({"x": '{"vni": 5}'}, ["a", "b"], (5, 6), {"a": 6}, ["b"]),
        # Out of the range that this host has: another host's range may be another one.
        ({"x": '{"vni": 99}'}, ["a"], (5, 6), {"a": 5}, []),
        # Nobody knows what this one was, so it stays as it is and is not given a number either.
        ({"a": "garbage"}, ["a", "b"], (1, 9), {"b": 1}, []),
        # The entry is not usable, but its number may be in use.
        ({"x": '{"vni": 1, "external": "?"}'}, ["a"], (1, 9), {"a": 2}, []),
        ({}, [SYSTEM, "a"], (1, 9), {"a": 1}, []),
        ({}, [], (1, 9), {}, []),
    ],
)
def test_numbers_for_new_tenants(
    data: dict[str, str], wanted: list[str], vni_range: tuple[int, int], added: dict[str, int], refused: list[str]
) -> None:
    planned, left = tenants.plan(data, wanted, vni_range)
    assert left == refused
    assert {name: value for name, value in planned.items() if name in data} == data
    assert {name: json.loads(value)["vni"] for name, value in planned.items() if name not in data} == added


def namespace(tenant: str | None = None, network: str | None = None, peers: str | None = None) -> dict[str, Any]:
    labels = {tenants.LABEL_TENANT: tenant, tenants.LABEL_NETWORK: network}
    found: dict[str, Any] = {"uid": "u", "labels": {key: value for key, value in labels.items() if value is not None}}
    return found if peers is None else {**found, "peers": peers}


DATA = {"a": '{"vni": 1}', "b": '{"vni": 2, "external": "192.0.2.9"}', "c": '{"vni": 3}'}


@pytest.mark.parametrize(
    ("namespaces", "expected", "reasons"),
    [
        ({"a": namespace()}, Tenant("a", 1), []),
        ({"a": namespace(network="open")}, Tenant("a", 1, open=True), []),
        ({"a": namespace(network="opne")}, Tenant("a", 1), ["NetworkUnknown"]),
        ({"a": namespace(network="open"), "a2": namespace("a")}, Tenant("a", 1), []),
        ({"a": namespace(network="open"), "a2": namespace("a", "open")}, Tenant("a", 1, open=True), []),
        ({"a": namespace(peers="b, c,")}, Tenant("a", 1, peers=frozenset({2, 3})), []),
        ({"a": namespace(peers="b"), "a2": namespace("a", peers="c")}, Tenant("a", 1, peers=frozenset({2, 3})), []),
        ({"a": namespace(peers="a")}, Tenant("a", 1), []),
        ({"a": namespace(peers="nobody,b")}, Tenant("a", 1, peers=frozenset({2})), ["PeerUnknown"]),
        # A tenant that is new has no number for a moment.
        ({"a": namespace(peers="new"), "new": namespace()}, Tenant("a", 1), []),
        ({"a2": namespace("a")}, Tenant("a", 1), []),
        ({}, Tenant("a", 1), []),
    ],
)
def test_tenants_of_the_cluster(namespaces: dict[str, Any], expected: Tenant, reasons: list[str]) -> None:
    found = tenants.resolve(namespaces, DATA, "lb1", frozenset())
    assert expected in found.tenants
    assert [finding.reason for finding in found.findings] == reasons
    assert Tenant("b", 2, external=IPv4Address("192.0.2.9"), edge="lb1") in found.tenants
    assert found.tenants[0] == Tenant(SYSTEM, 0, open=True)


def test_tenants_without_number_are_named_and_broken_entries_are_told() -> None:
    namespaces = {"new": namespace(), "bad": namespace(), "kube-system": namespace(), "liar": namespace(SYSTEM)}
    found = tenants.resolve(namespaces, {"bad": "?"}, None, frozenset())
    assert found.unnumbered == {"new", "liar"}
    assert found.of == {"new": "new", "bad": "bad", "kube-system": SYSTEM, "liar": "liar"}
    assert [(finding.namespace, finding.reason) for finding in found.findings] == [
        ("liar", "TenantRefused"),
        ("bad", "TenantEntryInvalid"),
    ]
    assert [tenant.name for tenant in found.tenants] == [SYSTEM]


def test_a_number_is_free_after_an_hour_without_namespace_and_with_contact() -> None:
    now = 0.0
    unused = tenants.Unused(lambda: now)
    entries = {"left": tenants.Entry(1), "used": tenants.Entry(2), "fixed": tenants.Entry(3, IPv4Address("192.0.2.1"))}
    assert unused.over(entries, {"used"}, True) == []
    now = 3599.0
    assert unused.over(entries, {"used"}, True) == []
    now = 3600.0
    assert unused.over(entries, {"used"}, True) == ["left"]
    # Used in between, or unseen in between: the hour starts again.
    assert unused.over(entries, {"used", "left"}, True) == []
    now = 3700.0
    assert unused.over(entries, {"used"}, True) == []
    assert unused.over(entries, {"used"}, False) == []
    now = 7350.0
    assert unused.over(entries, {"used"}, True) == []
    now = 7350.0 + 3600
    assert unused.over(entries, {"used"}, True) == ["left"]
