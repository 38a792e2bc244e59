# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolation between the hosts' network, hosts and pods. storage1 is a machine in that network without Kubernetes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from support.host_ports import CLOSED, ETCD, KUBELET, REGISTRY, SSH

from .lab import NETWORK, ROOT, VIP, Lab, Node, in_network_of

VRRP = (ROOT / "molecule" / "shared" / "vrrp.py").read_text()
# Prints those of the given ADDRESS:PORT that accept a TCP connection.
PROBE = """
import concurrent.futures, json, socket
def opens(target):
    address, port = target.rsplit(":", 1)
    try:
        socket.create_connection((address, int(port)), 2).close()
    except OSError:
        return False
    return True
targets = {targets}
with concurrent.futures.ThreadPoolExecutor(60) as pool:
    print(json.dumps([one for one, found in zip(targets, pool.map(opens, targets)) if found]))
"""


@pytest.fixture(scope="module")
def stranger(lab: Lab) -> Node:
    (found,) = lab.group("storage")
    assert found not in lab.kubernetes_nodes
    return found


@pytest.fixture(scope="module")
def pods(lab: Lab) -> list[Any]:
    found: list[Any] = lab.core().list_namespaced_pod("demo").items
    return [one for one in found if one.status.phase == "Running"]


def opened(node: Node, *targets: str) -> set[str]:
    """Return the targets that accept a TCP connection from a host."""
    return set(json.loads(node.sh(PROBE.format(targets=sorted(targets)), program="python3")))


def opened_by_pod(lab: Lab, pod: Any, *targets: str) -> set[str]:
    return set(json.loads(lab.python("demo", pod.metadata.name, PROBE.format(targets=sorted(targets)))))


@contextmanager
def routes(node: Node, by: Node, *targets: str) -> Iterator[None]:
    """Make a host route packets for these addresses through another host."""
    node.sh("\n".join(f"ip route replace {target} via {by.address}" for target in targets))
    try:
        yield
    finally:
        node.sh("\n".join(f"ip route del {target} via {by.address}" for target in targets))


def heard(node: Node) -> int:
    """Return how often keepalived has logged an advert of another master or of a stranger, or a change of its state."""
    said = node.sh("journalctl --unit=keepalived --no-pager")
    return sum("eceived advert" in line or "Entering" in line for line in said.splitlines())


def dropped(node: Node, table: str, chain: str) -> int:
    """Return the number of VRRP packets that a chain has dropped on a host."""
    (line,) = (
        one
        for one in node.sh(f"nft list chain inet {table} {chain}").splitlines()
        if "packets" in one and "l4proto" in one
    )
    words = line.split()
    return int(words[words.index("packets") + 1])


def test_a_stranger_routes_to_no_service_and_no_pod(lab: Lab, stranger: Node, pods: list[Any]) -> None:
    service = lab.core().read_namespaced_service("httpbin", "demo").spec
    addresses = [service.cluster_ip, pods[0].status.pod_ip]
    for node in lab.kubernetes_nodes:
        with routes(stranger, node, *addresses):
            targets = [f"{service.cluster_ip}:{service.ports[0].port}", f"{pods[0].status.pod_ip}:8000"]
            assert opened(stranger, *targets) == set(), node.name


def test_adverts_of_a_stranger_do_not_move_the_virtual_address(lab: Lab, stranger: Node) -> None:
    balancers = lab.group("loadbalancer")
    holder, before = lab.vip_holder(), [heard(node) for node in balancers]
    for node in balancers:
        counted = dropped(node, "cloudbang-vrrp", "input")
        coded = base64.b64encode(VRRP.encode()).decode()
        stranger.sh(f"echo {coded} | base64 -d | python3 - {node.address} {stranger.address} {VIP} 254 3")
        assert dropped(node, "cloudbang-vrrp", "input") == counted + 3
    assert lab.vip_holder() == holder
    assert [heard(node) for node in balancers] == before


def test_pods_send_no_adverts(lab: Lab, pods: list[Any]) -> None:
    node = lab.nodes[pods[0].spec.node_name]
    target = lab.vip_holder()
    before, arrived = dropped(node, "cloudbang", "forward"), dropped(target, "cloudbang-vrrp", "input")
    coded = base64.b64encode(VRRP.encode()).decode()
    container = pods[0].status.container_statuses[0].container_id.removeprefix("containerd://")
    words = f"python3 - {target.address} {node.address} {VIP} 254 3"
    node.sh(f"echo {coded} | base64 -d | {in_network_of(container)} {words}")
    if NETWORK == "calico":
        assert dropped(node, "cloudbang", "forward") == before + 3
    assert dropped(target, "cloudbang-vrrp", "input") == arrived


def test_pods_reach_of_hosts_what_is_meant_for_them(lab: Lab, stranger: Node, pods: list[Any]) -> None:
    management = [node.address for node in lab.group("management")]
    # Each port on the hosts that listen on it.
    closed = {f"{node.address}:{SSH}" for node in lab.nodes.values()}
    closed |= {f"{node.address}:{KUBELET}" for node in lab.kubernetes_nodes}
    closed |= {f"{address}:{port}" for address in management for port in ETCD}
    closed |= {f"{stranger.address}:{REGISTRY}"}
    assert {int(target.rpartition(":")[2]) for target in closed} == set(CLOSED)
    meant = {f"{VIP}:6443", f"{VIP}:80", f"{VIP}:443", "10.96.0.1:443", "10.96.0.10:53"}
    meant |= {f"{address}:6443" for address in management}
    meant |= {f"{node.address}:80" for node in lab.group("loadbalancer")}
    # Another host reaches them, so they do listen.
    assert opened(lab.group("compute")[0], *closed) == closed
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda pod: opened_by_pod(lab, pod, *closed, *meant), pods))
    assert found == [meant] * len(pods)


def test_no_address_of_its_own_host_is_a_way_in(lab: Lab, pods: list[Any]) -> None:
    for pod in pods:
        links = json.loads(lab.nodes[pod.spec.node_name].sh("ip -json -4 address show"))
        addresses = [one["local"] for link in links for one in link["addr_info"] if link["ifname"] != "lo"]
        assert len(addresses) > 2
        assert opened_by_pod(lab, pod, *(f"{address}:{SSH}" for address in addresses)) == set()


def test_the_platforms_pods_are_closed_to_tenants(lab: Lab, pods: list[Any]) -> None:
    ports = {"coredns": (9153, 8080, 8181), "metrics-server": (10250,), "calico-kube-controllers": (9094,)}
    targets: set[str] = set()
    for one in lab.core().list_namespaced_pod("kube-system").items:
        own = {f"{one.status.pod_ip}:{port}" for port in ports[one.metadata.name.rsplit("-", 2)[0]]}
        # They listen: their own host is told so.
        assert opened(lab.nodes[one.spec.node_name], *own) == own
        targets |= own
    assert len(targets) >= 7
    assert opened_by_pod(lab, pods[0], *targets) == set()
