# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent makes of what it knows: the state, what is wrong, and the words for what changed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from goodnet import metrics
from goodnet.cluster import client, objects, state, watches
from goodnet.model import Config, Host, Pod, Ports, Rule, Service, State, Tenant

CLUSTER = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
CONFIG = Config(
    host="alpha",
    encapsulation="gre",
    cluster=CLUSTER,
    services=SERVICES,
    nodes=(IPv4Network("192.0.2.0/24"),),
    tunnel=1,
    host_port=2,
    host_port_mac="0a:00:00:00:00:aa",
)


def node(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"address": f"192.0.2.{number}", "underlay": None, "pods": "10.244.1.0/24", **more}


def host(name: str, number: int = 1, **more: Any) -> Host:
    address = IPv4Address(f"192.0.2.{number}")
    return replace(Host(name, address, address, IPv4Network("10.244.1.0/24")), **more)


@pytest.mark.parametrize(
    ("nodes", "hosts", "said"),
    [
        ({"a": node()}, [host("a")], []),
        # What the Node says of itself does not make it an edge; the installation names those.
        ({"a": node(edge=True)}, [host("a")], []),
        ({"edge": node()}, [host("edge", edge=True)], []),
        ({"a": node(underlay="172.16.0.1")}, [host("a", underlay=IPv4Address("172.16.0.1"))], []),
        ({"a": node(underlay="no address")}, [host("a")], [("a", "annotation cloudbang.platform/underlay-address")]),
        *(
            (
                {"a": node(underlay=wrong)},
                [host("a")],
                [("a", "of the host, outside of the networks of pods and Services")],
            )
            for wrong in (
                "10.244.2.7",
                "10.96.0.1",
                "224.0.0.1",
                "127.0.0.1",
                "0.0.0.0",
                "169.254.169.254",
                "255.255.255.255",
            )
        ),
        ({"a": node(underlay="192.0.2.1")}, [host("a")], []),
        # The virtual IP, or a machine of the cluster that is no Node.
        ({"a": node(underlay="192.0.2.100")}, [host("a")], [("a", "an address of another machine of the cluster")]),
        # The address of another Node, whichever comes first, and the end of its tunnels.
        *(
            (
                {liar: node(underlay="192.0.2.2", pods="10.244.2.0/24"), "b": node(address="192.0.2.2")},
                sorted(
                    [
                        host(liar, pods=IPv4Network("10.244.2.0/24")),
                        host("b", node=IPv4Address("192.0.2.2"), underlay=IPv4Address("192.0.2.2")),
                    ],
                    key=lambda one: one.name,
                ),
                [(liar, "found 192.0.2.2, which is an address of b")],
            )
            for liar in ("a", "c")
        ),
        (
            {"b": node(underlay="172.16.0.1"), "c": node(2, underlay="172.16.0.1", pods="10.244.2.0/24")},
            [host("b", underlay=IPv4Address("172.16.0.1")), host("c", 2, pods=IPv4Network("10.244.2.0/24"))],
            [("c", "found 172.16.0.1, which is an address of b; wanted its own")],
        ),
        # An address that is another Node's, the virtual IP's or nobody's: the Node gets no packets.
        (
            {"a": node(), "b": node(pods="10.244.2.0/24")},
            [host("a")],
            [("b", "InternalIP: found 192.0.2.1, which is an address of a; wanted its own; delete the node")],
        ),
        *(
            ({"a": node(), "b": node(address=wrong, pods="10.244.2.0/24")}, [host("a")], [("b", "InternalIP: found")])
            for wrong in (
                "10.244.1.7",
                "10.96.0.1",
                "224.0.0.9",
                "127.0.0.1",
                "0.0.0.0",
                "169.254.1.1",
                "255.255.255.255",
            )
        ),
        ({"a": node(address="::1")}, [], [("a", "wanted IPv4 addresses")]),
        ({"a": node(pods="10.245.1.0/24")}, [], [("a", "wanted a network within 10.244.0.0/16")]),
        (
            {"a": node(), "b": node(2, pods="10.244.1.128/25"), "c": node(3, pods="10.244.2.0/24")},
            [host("a"), host("c", 3, pods=IPv4Network("10.244.2.0/24"))],
            [("b", "overlaps 10.244.1.0/24 of a")],
        ),
        ({"b": node(2), "a": node()}, [host("a")], [("b", "overlaps 10.244.1.0/24 of a")]),
        # Ranges of any length that a Node says to have: none of them takes those of others away.
        ({"a": node(pods="10.244.0.0/16"), "b": node(2)}, [host("b", 2)], [("a", "overlaps 10.244.1.0/24 of b")]),
        (
            {
                "a": node(pods="10.244.0.0/16"),
                "b": node(2),
                "c": node(3, pods="10.244.2.0/24"),
                "d": node(4, pods="10.244.1.0/25"),
            },
            [host("b", 2), host("c", 3, pods=IPv4Network("10.244.2.0/24"))],
            [("d", "overlaps 10.244.1.0/24 of b"), ("a", "overlaps 10.244.1.0/24 of b")],
        ),
        (
            {"a": node(pods="10.244.0.0/23"), "b": node(2, pods="10.244.2.0/24"), "c": node(3, pods="10.244.0.0/24")},
            [host("b", 2, pods=IPv4Network("10.244.2.0/24")), host("c", 3, pods=IPv4Network("10.244.0.0/24"))],
            [("a", "overlaps 10.244.0.0/24 of c")],
        ),
        ({}, [], []),
    ],
)
def test_hosts_of_nodes(nodes: dict[str, Any], hosts: list[Host], said: list[tuple[str, str]]) -> None:
    machines = [IPv4Address("192.0.2.1"), IPv4Address("192.0.2.100")]
    found, notes = state.hosts_of(nodes, CLUSTER, SERVICES, frozenset({"edge"}), machines)
    assert list(found) == hosts
    assert [note.name for note in notes] == [name for name, _ignored in said]
    for note, (_ignored, words) in zip(notes, said, strict=True):
        assert words in note.message


NAMES = {"a": IPv4Address("192.0.2.1"), "b": IPv4Address("192.0.2.2")}


@pytest.mark.parametrize(
    ("nodes", "hosts", "said"),
    [
        ({"a": node(1), "b": node(2, pods="10.244.2.0/24")}, ["a", "b"], {}),
        # A host that the installation here does not know yet, and one that has another address than it had.
        ({"a": node(1), "c": node(3, pods="10.244.2.0/24")}, ["a", "c"], {}),
        ({"a": node(7)}, ["a"], {}),
        # The address of a host is that of no other Node, whether it has a Node or not, and whoever comes first.
        ({"b": node(1), "c": node(3, pods="10.244.2.0/24")}, ["c"], {"b": "an address of a"}),
        ({"A": node(1), "a": node(1, pods="10.244.2.0/24")}, ["a"], {"A": "an address of a"}),
        ({"c": node(2), "a": node(1, pods="10.244.2.0/24")}, ["a"], {"c": "an address of b"}),
        ({"a": node(1, underlay="192.0.2.2")}, ["a"], {"a": "an address of b"}),
        # The virtual IP.
        ({"a": node(100), "b": node(2, pods="10.244.2.0/24")}, ["b"], {"a": "an address of another machine"}),
    ],
)
def test_the_installation_says_whose_an_address_is(
    nodes: dict[str, Any], hosts: list[str], said: dict[str, str]
) -> None:
    machines = [*NAMES.values(), IPv4Address("192.0.2.100")]
    found, notes = state.hosts_of(nodes, CLUSTER, SERVICES, frozenset(), machines, NAMES)
    assert [one.name for one in found] == hosts
    assert {note.name for note in notes} == set(said)
    for note in notes:
        assert said[note.name] in note.message


def labelled(**labels: str) -> dict[str, Any]:
    return {"uid": "u", "labels": {f"cloudbang.platform/{key}": value for key, value in labels.items()}}


def pod(number: int, namespace: str, tenant: str) -> Pod:
    address = IPv4Address(f"10.244.1.{number}")
    return Pod(
        namespace, f"p{number}", f"u{number}", f"c{number}", address, f"0a:00:00:00:00:{number:02x}", number, tenant
    )


def seen(own: Pod, **labels: str) -> dict[str, Any]:
    """Return what the API says of a pod."""
    return {
        "namespace": own.namespace,
        "name": own.name,
        "uid": own.uid,
        "labels": labels,
        "address": str(own.address),
        "ports": [],
    }


VIEW = watches.View(
    nodes={"alpha": node()},
    namespaces={"red": labelled(), "moved": labelled(tenant="blue"), "liar": labelled(tenant="system")},
    tenants={"red": '{"vni": 1}', "blue": '{"vni": 2}', "liar": '{"vni": 3}'},
)


@pytest.mark.parametrize(
    ("namespace", "remembered", "tenant"),
    [
        ("red", "red", "red"),
        # The namespace is of another tenant than when the pod was made.
        ("moved", "moved", "blue"),
        ("liar", "system", "liar"),
        # The namespace is gone and its last pods are going.
        ("gone", "red", "red"),
    ],
)
def test_the_tenant_of_a_pod_is_that_of_its_namespace_now(namespace: str, remembered: str, tenant: str) -> None:
    built = state.Builder(CLUSTER, SERVICES, frozenset()).build(CONFIG, VIEW, [pod(2, namespace, remembered)])
    assert [one.tenant for one in built.state.pods] == [tenant]


def policy(name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "uid": f"uid-{name}"}
    return objects.reduce_policy({"metadata": meta, "spec": spec})


def test_what_is_wrong_is_told_on_the_object_concerned() -> None:
    bad = policy("bad", "red", {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "x"}}]}]})
    view = replace(VIEW, policies={"red/bad": bad}, nodes={**VIEW.nodes, "beta": node(pods="10.0.0.0/24")})
    built = state.Builder(CLUSTER, SERVICES, frozenset()).build(CONFIG, view, [pod(2, "red", "red")])
    assert [(note.kind, note.namespace, note.name, uid) for note, uid in built.notes] == [
        ("Node", "", "beta", "beta"),
        ("Namespace", "liar", "liar", "u"),
        ("NetworkPolicy", "red", "bad", "uid-bad"),
    ]


def test_a_change_of_anything_shows_in_the_next_state() -> None:
    """What is remembered from one state to the next must never be older than what it follows from."""
    own, other = pod(2, "red", "red"), pod(9, "red", "red")
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}
    view = replace(VIEW, policies={"red/p": policy("p", "red", spec)}, pods={"red/p2": seen(own, app="db")})
    builder = state.Builder(CLUSTER, SERVICES, frozenset())

    def sources(now: watches.View) -> list[str]:
        built = builder.build(CONFIG, now, [own])
        assert built.state == state.Builder(CLUSTER, SERVICES, frozenset()).build(CONFIG, now, [own]).state
        (found,) = built.state.policies
        assert found.ingress is not None
        return [str(network) for rule in found.ingress for network in rule.networks or ()]

    assert sources(view) == []
    view = replace(view, others={"red/p9": seen(other, app="web")})
    assert sources(view) == ["10.244.1.9/32"]
    view = replace(view, others={"red/p9": seen(other, app="db")})
    assert sources(view) == []
    view = replace(view, pods={"red/p2": seen(own, app="web")})
    assert sources(view) == ["10.244.1.2/32"]
    spec["ingress"][0]["from"] = [{"ipBlock": {"cidr": "192.0.2.9/32"}}]  # type: ignore[index]
    view = replace(view, policies={"red/p": policy("p", "red", spec)})
    assert sources(view) == ["192.0.2.9/32"]
    spec["ingress"][0]["from"] = [{"namespaceSelector": {"matchLabels": {"cloudbang.platform/tenant": "red"}}}]  # type: ignore[index]
    view = replace(view, policies={"red/p": policy("p", "red", spec)})
    assert sources(view) == []
    view = replace(view, namespaces={**view.namespaces, "red": labelled(tenant="red")})
    assert sources(view) == ["10.244.1.2/32", "10.244.1.9/32"]


def test_a_static_pod_is_known_by_the_uid_that_the_runtime_has() -> None:
    meta = {"namespace": "red", "name": "p", "uid": "of the mirror"}
    for marks, uid in (({}, "of the mirror"), ({"kubernetes.io/config.mirror": "own"}, "own")):
        found = objects.reduce_pod({"metadata": {**meta, "annotations": marks}})
        assert found is not None and found["uid"] == uid


def test_the_service_of_the_api_is_known() -> None:
    slices = {
        "default/kubernetes": {"service": "default/kubernetes", "addresses": ["192.0.2.1"], "ports": [["https", 6443]]}
    }
    service = {"address": "10.96.0.1", "ports": [{"name": "https", "protocol": "TCP", "port": 443}]}
    spec = {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}
    view = replace(VIEW, policies={"red/p": policy("p", "red", spec)}, apiserver={"default/kubernetes": service})
    builder = state.Builder(CLUSTER, SERVICES, frozenset())
    address = IPv4Address("10.96.0.1")
    for known, endpoints in (({}, ()), (slices, ((IPv4Address("192.0.2.1"), 6443),))):
        built = builder.build(CONFIG, replace(view, apiserver_endpoints=known), [pod(2, "red", "red")])
        assert built.state.services == (Service(address, "TCP", 443, endpoints),)
        (found,) = built.state.policies
        assert found.egress is not None
        let = [rule for rule in found.egress if rule.networks == (IPv4Network(address),)]
        assert let == ([Rule((IPv4Network(address),), (Ports("TCP", 443),))] if endpoints else [])


def test_the_first_state_of_a_large_cluster_is_made_soon() -> None:
    """3000 hosts and 3000 tenants, 110 pods of 110 tenants here, each under a policy that speaks of namespaces."""
    nodes = {
        f"h{number}": node(
            address=f"192.0.{number // 250}.{number % 250}", pods=f"10.{number // 256}.{number % 256}.0/24"
        )
        for number in range(3000)
    }
    names = [f"tenant{number}" for number in range(3000)]
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"cloudbang.platform/tenant": "x"}}}]}],
        "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}],
    }
    view = watches.View(
        nodes=nodes,
        namespaces={name: labelled() for name in names},
        tenants={name: json.dumps({"vni": number}) for number, name in enumerate(names, 1)},
        policies={f"{name}/p": policy("p", name, spec) for name in names},
    )
    pods = [pod(number, names[number], names[number]) for number in range(110)]
    builder = state.Builder(IPv4Network("10.0.0.0/8"), SERVICES, frozenset())
    began = time.process_time()
    built = builder.build(replace(CONFIG, host="h0"), view, pods)
    first = time.process_time() - began
    assert len(built.state.policies) == 110
    assert len(built.state.hosts) == len(built.state.tenants) - 1 == 3000
    began = time.process_time()
    again = builder.build(replace(CONFIG, host="h0"), replace(view, policies=dict(view.policies)), pods[1:])
    second = time.process_time() - began
    assert len(again.state.policies) == 109
    # Measured: 0.1 s and 0.001 s.
    assert first < 0.5
    assert second < 0.1


def test_lists_of_namespaces_count_as_one() -> None:
    figures = metrics.Metrics()
    figures.contact({"nodes": True, "pods": True, "pods/red": True, "pods/blue": False, "endpoints/red": True})
    found = {
        sample.labels["resource"]: sample.value
        for metric in figures.registry.collect()
        if metric.name == "goodnet_watch_in_contact"
        for sample in metric.samples
    }
    assert found == {"nodes": 1, "pods": 1, "pods of namespaces": 0, "endpoints of namespaces": 1}


RED, BLUE = Tenant("red", 1), Tenant("blue", 2)
BEFORE = State(CONFIG, (host("alpha"),), (RED,), (pod(2, "red", "red"),))


@pytest.mark.parametrize(
    ("former", "now", "words"),
    [
        (None, BEFORE, "start with 1 hosts, 1 tenants and 1 pods"),
        (BEFORE, BEFORE, "nothing is different"),
        (BEFORE, replace(BEFORE, pods=()), "pod red/p2 removed"),
        (BEFORE, replace(BEFORE, pods=(*BEFORE.pods, pod(3, "blue", "blue"))), "pod blue/p3 added"),
        (BEFORE, replace(BEFORE, pods=(pod(2, "red", "blue"),)), "pod red/p2 changed"),
        (BEFORE, replace(BEFORE, tenants=(replace(RED, open=True), BLUE)), "tenant blue added; tenant red changed"),
        (BEFORE, replace(BEFORE, hosts=()), "host alpha removed"),
        (
            BEFORE,
            replace(BEFORE, hosts=tuple(host(f"h{number}") for number in range(7))),
            "host h0, h1, h2, h3, h4 and 2 more added; host alpha removed",
        ),
        (BEFORE, replace(BEFORE, config=replace(CONFIG, host_port=7)), "ports of the bridge changed"),
    ],
)
def test_words_for_what_changed(former: State | None, now: State, words: str) -> None:
    assert state.describe(former, now) == words


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"10.244.1.0", b"10.244.9.0"),
        lambda data: data.replace(b'"format": 1', b'"format": 0'),
        lambda _: b"",
        lambda _: b"\xff\x00",
        lambda _: b"[]\n{}",
    ],
)
def test_a_copy_on_disk_that_is_not_whole_is_none(tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "cluster.json"
    kept = watches.Cluster(client.Api(tmp_path / "none"), "alpha", file, lambda: None)
    kept._watches[0]._items = {"alpha": node()}
    kept.save()
    assert watches.load_snapshot(file)["nodes"] == {"alpha": node()}
    again = watches.Cluster(client.Api(tmp_path / "none"), "alpha", file, lambda: None)
    assert again.view() == kept.view()
    file.write_bytes(damage(file.read_bytes()))
    assert watches.load_snapshot(file) == {}


def test_a_copy_is_written_only_when_it_differs(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    kept = watches.Cluster(client.Api(tmp_path / "none"), "alpha", file, lambda: None)
    kept.save()
    first = file.stat().st_mtime_ns
    kept.save()
    assert file.stat().st_mtime_ns == first
    kept._watches[0]._items = {"alpha": node()}
    kept.save()
    assert file.stat().st_mtime_ns != first


@pytest.mark.parametrize(
    ("reduce", "given", "expected"),
    [
        (objects.reduce_node, {"metadata": {"name": "n"}, "spec": {}, "status": {}}, None),
        (
            objects.reduce_node,
            {
                "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/loadbalancer": ""}},
                "spec": {"podCIDR": "10.244.1.0/24"},
                "status": {
                    "addresses": [
                        {"type": "Hostname", "address": "n"},
                        {"type": "InternalIP", "address": "2001:db8::1"},
                        {"type": "InternalIP", "address": "192.0.2.1"},
                    ]
                },
            },
            node(),
        ),
        (objects.reduce_pod, {"metadata": {}, "spec": {"hostNetwork": True}}, None),
        (objects.reduce_pod, {"metadata": {}, "status": {"phase": "Failed"}}, None),
        (objects.reduce_lease, {"metadata": {}}, {"holder": None}),
        (objects.reduce_tenants, {"metadata": {}}, {}),
    ],
)
def test_what_is_kept_of_objects(reduce: Any, given: dict[str, Any], expected: Any) -> None:
    assert reduce(given) == expected
    # All of it can be written to disk.
    assert json.loads(json.dumps(expected)) == expected
