# SPDX-License-Identifier: GPL-3.0-or-later
"""NetworkPolicies of the API as addresses and ports."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from goodnet.cluster import policies
from goodnet.cluster.objects import reduce_pod
from goodnet.model import Host, Pod, Policy, Ports, Rule, Service, Tenant

HOSTS = (
    Host("alpha", IPv4Address("192.168.0.1"), IPv4Address("172.16.0.1"), IPv4Network("10.50.1.0/24")),
    Host("beta", IPv4Address("192.168.0.2"), IPv4Address("172.16.0.2"), IPv4Network("10.50.2.0/24")),
)
# shop and shop-db are of one tenant; friends may open connections to it, strangers may not, open is open.
TENANTS = (
    Tenant("system", 0, open=True),
    Tenant("shop", 5, peers=frozenset({6})),
    Tenant("friends", 6),
    Tenant("strangers", 7),
    Tenant("open", 8, open=True),
)
OF = {
    "kube-system": "system",
    "shop": "shop",
    "shop-db": "shop",
    "friends": "friends",
    "strangers": "strangers",
    "open": "open",
}
NAMESPACES = {name: {"uid": name, "labels": {"kubernetes.io/metadata.name": name, "tier": name[:4]}} for name in OF}


def api_pod(namespace: str, name: str, address: str | None, labels: dict[str, str], **ports: int) -> dict[str, Any]:
    containers = [{"ports": [{"name": key.replace("_", "-"), "containerPort": value} for key, value in ports.items()]}]
    reduced = reduce_pod(
        {
            "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}", "labels": labels},
            "spec": {"containers": containers},
            "status": {"podIP": address} if address else {},
        }
    )
    assert reduced is not None
    return reduced


PODS = {
    f"{pod['namespace']}/{pod['name']}": pod
    for pod in (
        api_pod("shop", "web-1", "10.50.1.10", {"app": "web"}, http=80),
        api_pod("shop", "web-2", None, {"app": "web", "new": ""}, http=8080),
        api_pod("shop", "web-3", "10.50.2.10", {"app": "web"}, http=80),
        api_pod("shop", "job", "10.50.2.11", {"app": "job"}),
        api_pod("shop-db", "db", "10.50.2.12", {"app": "db"}, sql=5432),
        api_pod("shop-db", "cache", "10.50.2.13", {"app": "cache"}, sql=6000),
        api_pod("friends", "friend", "10.50.2.14", {"app": "web"}, http=80),
        api_pod("strangers", "stranger", "10.50.2.15", {"app": "web"}),
        api_pod("open", "public", "10.50.2.16", {"app": "web"}),
        api_pod("kube-system", "dns", "10.50.2.17", {"app": "dns"}),
        api_pod("shop", "six", "fd00::1", {"app": "web"}),
        api_pod("shop", "waits", None, {"app": "web"}),
    )
}


def local_pod(name: str, address: str, port: int) -> Pod:
    return Pod(
        "shop", name, f"uid-{name}", f"container-{name}", IPv4Address(address), "0a:58:00:00:00:01", port, "shop"
    )


LOCAL = (local_pod("web-1", "10.50.1.10", 10), local_pod("web-2", "10.50.1.11", 11))
WEB1, WEB2 = (pod.address for pod in LOCAL)


def resolve(*specs: dict[str, Any], local: tuple[Pod, ...] = LOCAL) -> policies.Resolution:
    objects = {
        f"shop/policy-{number}": {"metadata": {"namespace": "shop", "name": f"policy-{number}"}, "spec": spec}
        for number, spec in enumerate(specs)
    }
    return policies.resolve(objects, PODS, NAMESPACES, local, HOSTS, TENANTS, OF)


def only(spec: dict[str, Any]) -> Policy:
    found = resolve(spec)
    assert found.findings == ()
    (policy,) = found.policies
    return policy


def networks(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(IPv4Network(text) for text in texts)


def sources(peers: list[dict[str, Any]]) -> list[str]:
    """Return the networks that a rule with these peers lets in."""
    ingress = only({"podSelector": {}, "ingress": [{"from": peers}]}).ingress
    assert ingress is not None
    assert ingress[0].networks is not None
    return [str(network).removesuffix("/32") for network in ingress[0].networks]


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({"podSelector": {}}, (), None),
        ({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]}, (), None),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, None, ()),
        ({"podSelector": {}, "ingress": [{}]}, (Rule(),), None),
        ({"podSelector": {}, "egress": [{}]}, (), (Rule(),)),
        (
            {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": [], "ports": []}]},
            (Rule(),),
            (),
        ),
        (
            {"podSelector": {}, "ingress": [{"ports": [{"port": 80}, {"protocol": "UDP", "port": 5, "endPort": 9}]}]},
            (Rule(None, (Ports("TCP", 80), Ports("UDP", 5, 9))),),
            None,
        ),
        (
            {
                "podSelector": {},
                "ingress": [{"ports": [{"protocol": "SCTP"}]}, {"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}],
            },
            (Rule(None, (Ports("SCTP"),)), Rule((), None)),
            None,
        ),
    ],
)
def test_directions_and_ports(spec: dict[str, Any], ingress: Any, egress: Any) -> None:
    policy = only(spec)
    assert (policy.namespace, policy.name, policy.pods) == ("shop", "policy-0", {WEB1, WEB2})
    assert (policy.ingress, policy.egress) == (ingress, egress)


@pytest.mark.parametrize(
    ("selector", "pods"),
    [
        ({}, {WEB1, WEB2}),
        ({"matchLabels": {"app": "web"}}, {WEB1, WEB2}),
        ({"matchLabels": {"app": "web", "new": ""}}, {WEB2}),
        ({"matchLabels": {"app": "job"}}, None),
        ({"matchExpressions": [{"key": "new", "operator": "Exists"}]}, {WEB2}),
        ({"matchExpressions": [{"key": "new", "operator": "DoesNotExist"}]}, {WEB1}),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "web"]}]}, {WEB1, WEB2}),
        ({"matchExpressions": [{"key": "new", "operator": "In", "values": [""]}]}, {WEB2}),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, None),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["web"]}]}, {WEB1, WEB2}),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "new", "operator": "DoesNotExist"}]}, {WEB1}),
    ],
)
def test_selected_pods_are_those_of_this_host(selector: dict[str, Any], pods: set[IPv4Address] | None) -> None:
    found = resolve({"podSelector": selector})
    assert found.findings == ()
    assert [policy.pods for policy in found.policies] == ([] if pods is None else [pods])


@pytest.mark.parametrize(
    ("peers", "wanted"),
    [
        # web-2 is known here before the API has its address.
        ([{"podSelector": {"matchLabels": {"app": "web"}}}], ["10.50.1.10/31", "10.50.2.10"]),
        ([{"podSelector": {}}], ["10.50.1.10/31", "10.50.2.10/31"]),
        ([{"podSelector": {"matchLabels": {"app": "none"}}}], []),
        # Not strangers: isolation drops those anyway. Not open: it may be reached, which does not let it in.
        (
            [{"namespaceSelector": {}}],
            ["10.50.1.10/31", "10.50.2.10/31", "10.50.2.12/31", "10.50.2.14", "10.50.2.17"],
        ),
        (
            [{"namespaceSelector": {"matchLabels": {"tier": "shop"}}, "podSelector": {"matchLabels": {"app": "db"}}}],
            ["10.50.2.12"],
        ),
        ([{"namespaceSelector": {"matchLabels": {"tier": "stra"}}}], []),
        (
            [{"ipBlock": {"cidr": "198.51.100.0/24"}}, {"podSelector": {"matchLabels": {"app": "job"}}}],
            ["10.50.2.11", "198.51.100.0/24"],
        ),
        ([{"ipBlock": {"cidr": "198.51.100.7/24"}}], ["198.51.100.0/24"]),
        (
            [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.128.0.0/9", "10.0.0.0/10", "11.0.0.0/8"]}}],
            ["10.64.0.0/10"],
        ),
        ([{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.0/8"]}}], []),
        ([{"ipBlock": {"cidr": "10.0.0.0/30", "except": ["10.0.0.1/32", "fd00::/8"]}}], ["10.0.0.0", "10.0.0.2/31"]),
        # Who lets in a host lets in the address that it speaks to pods from.
        ([{"ipBlock": {"cidr": "192.168.0.2/32"}}], ["10.50.2.1", "192.168.0.2"]),
        ([{"ipBlock": {"cidr": "192.168.0.0/24", "except": ["192.168.0.2/32"]}}], None),
    ],
)
def test_peers(peers: list[dict[str, Any]], wanted: list[str] | None) -> None:
    found = sources(peers)
    if wanted is None:
        assert "10.50.1.1" in found
        assert "10.50.2.1" not in found
    else:
        assert found == wanted


def test_hosts_are_reached_at_their_own_address() -> None:
    policy = only({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "192.168.0.2/32"}}]}]})
    assert policy.egress == (Rule(networks("192.168.0.2/32")),)


@pytest.mark.parametrize(
    ("rule", "added"),
    [
        ({}, True),
        ({"to": [{"ipBlock": {"cidr": "192.168.0.0/24"}}], "ports": [{"port": 6443}]}, True),
        ({"ports": [{"port": 6000, "endPort": 7000}]}, True),
        ({"ports": [{"port": 443}]}, False),
        ({"ports": [{"protocol": "UDP"}]}, False),
        ({"to": [{"ipBlock": {"cidr": "10.96.0.0/12"}}]}, False),
        ({"to": [{"namespaceSelector": {}}]}, False),
    ],
)
def test_services_without_pods_are_let_through_where_their_endpoints_are(rule: dict[str, Any], added: bool) -> None:
    api = Service(IPv4Address("10.96.0.1"), "TCP", 443, ((IPv4Address("192.168.0.1"), 6443),))
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]}
    objects = {"shop/p": {"metadata": {"namespace": "shop", "name": "p"}, "spec": spec}}
    found = policies.resolve(objects, PODS, NAMESPACES, LOCAL, HOSTS, TENANTS, OF, [api])
    ((first, *more),) = (policy.egress or () for policy in found.policies)
    assert first == (resolve(spec).policies[0].egress or ())[0]
    assert more == ([Rule(networks("10.96.0.1/32"), (Ports("TCP", 443),))] if added else [])


def test_namespaces_that_are_looked_into() -> None:
    assert resolve({"podSelector": {}, "ingress": [{}]}).looks_into == {}
    assert resolve({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}).looks_into == {"shop": {"shop"}}
    inward = resolve({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]})
    assert inward.looks_into == {"shop": {"shop", "shop-db", "friends", "kube-system"}}
    outward = resolve({"podSelector": {}, "egress": [{"to": [{"namespaceSelector": {}}]}]})
    assert outward.looks_into == {"shop": {"shop", "shop-db", "open", "kube-system"}}
    # Everybody may meet the system.
    dns = {"metadata": {"namespace": "kube-system", "name": "p"}, "spec": {"podSelector": {}}}
    own = dataclasses.replace(LOCAL[0], namespace="kube-system", name="dns", uid="uid-dns")
    for direction in (
        {"ingress": [{"from": [{"namespaceSelector": {}}]}]},
        {"egress": [{"to": [{"namespaceSelector": {}}]}]},
    ):
        dns["spec"] = {"podSelector": {}, **direction}
        found = policies.resolve({"kube-system/p": dns}, PODS, NAMESPACES, (own,), HOSTS, TENANTS, OF)
        assert found.looks_into == {"kube-system": set(NAMESPACES)}
    # Nobody here is concerned.
    assert resolve({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}, local=()) == policies.Resolution(
        (), {}, ()
    )
    elsewhere = {"podSelector": {"matchLabels": {"app": "job"}}, "ingress": [{"from": [{"podSelector": {}}]}]}
    assert resolve(elsewhere) == policies.Resolution((), {}, ())


def test_named_ports_of_the_pods_that_are_selected() -> None:
    """The same name is another port in each pod; where it is none, the rule lets nothing through."""
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": "http"}, {"port": 22}]}, {"ports": [{"port": "none"}]}]}
    found = resolve(spec)
    assert found.findings == ()
    assert {tuple(policy.pods): policy.ingress for policy in found.policies} == {
        (WEB1,): (Rule(None, (Ports("TCP", 22), Ports("TCP", 80))), Rule(None, ())),
        (WEB2,): (Rule(None, (Ports("TCP", 22), Ports("TCP", 8080))), Rule(None, ())),
    }
    assert only({"podSelector": {}, "ingress": [{"ports": [{"port": "http", "protocol": "UDP"}]}]}).ingress == (
        Rule(None, ()),
    )


def test_named_ports_of_the_pods_that_are_reached() -> None:
    peers = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop-db"}}},
        {"ipBlock": {"cidr": "192.0.2.0/24"}},
    ]
    policy = only(
        {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{"to": peers, "ports": [{"port": "sql"}, {"port": 22}]}],
        }
    )
    assert policy.egress == (
        Rule(networks("10.50.2.12/31", "192.0.2.0/24"), (Ports("TCP", 22),)),
        Rule(networks("10.50.2.12/32"), (Ports("TCP", 5432),)),
        Rule(networks("10.50.2.13/32"), (Ports("TCP", 6000),)),
    )
    everywhere = only({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]})
    assert everywhere.egress == (
        Rule(networks("10.50.1.10/32", "10.50.2.10/32"), (Ports("TCP", 80),)),
        Rule(networks("10.50.1.11/32"), (Ports("TCP", 8080),)),
    )


def test_a_pod_that_was_made_again_has_not_the_labels_of_the_former_one() -> None:
    again = Pod("shop", "web-1", "another", "c", IPv4Address("10.50.1.30"), "0a:58:00:00:00:02", 12, "shop")
    assert [policy.pods for policy in resolve({"podSelector": {}}, local=(again,)).policies] == [{again.address}]
    assert resolve({"podSelector": {"matchLabels": {"app": "web"}}}, local=(again,)).policies == ()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"from": [{}]}, "ingress rule 2: found {}, wanted ipBlock, podSelector or namespaceSelector"),
        ({"from": [{"ipBlock": {}}]}, "ingress rule 2: ipBlock.cidr: found None"),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}, "ingress rule 2: ipBlock.cidr: found '10.0.0.0/33'"),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]}, "ingress rule 2: ipBlock.except: found 'x'"),
        ({"from": "all"}, "ingress rule 2: from: found 'all', wanted a list"),
        ({"ports": [{"port": 0}]}, "ingress rule 2: ports.port: found 0"),
        ({"ports": [{"port": 90, "endPort": 80}]}, "ingress rule 2: ports.port: found 90 with endPort 80"),
        ({"ports": [{"port": "http", "endPort": 80}]}, "ingress rule 2: ports.port: found 'http' with endPort 80"),
        ({"ports": [{"protocol": "ICMP"}]}, "ingress rule 2: ports.protocol: found 'ICMP'"),
        (
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]},
            "ingress rule 2: podSelector.matchExpr",
        ),
        ({"from": [{"namespaceSelector": []}]}, "ingress rule 2: namespaceSelector: found []"),
        (5, "ingress rule 2: found 5, wanted a mapping"),
    ],
)
def test_a_bad_rule_lets_nothing_through_and_is_named(rule: Any, reason: str) -> None:
    good = Rule(None, (Ports("TCP", 80),))
    found = resolve(
        {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}, rule]},
        {"podSelector": {}, "policyTypes": ["Egress"]},
    )
    assert [(policy.name, policy.ingress, policy.egress) for policy in found.policies] == [
        ("policy-0", (good,), None),
        ("policy-1", None, ()),
    ]
    ((name, why),) = found.findings
    assert name == "shop/policy-0"
    assert why.startswith(reason)
    assert why.endswith("; the rule lets nothing through")


@pytest.mark.parametrize(
    "spec", [{"podSelector": "web"}, {"podSelector": {}, "ingress": {}}, {"podSelector": {"matchExpressions": 1}}]
)
def test_a_bad_policy_is_named_and_others_hold(spec: dict[str, Any]) -> None:
    found = resolve(spec, {"podSelector": {}})
    assert [policy.name for policy in found.policies] == ["policy-1"]
    assert [(name, why.endswith("; the policy is not in force")) for name, why in found.findings] == [
        ("shop/policy-0", True)
    ]
