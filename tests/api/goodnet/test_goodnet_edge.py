# SPDX-License-Identifier: GPL-3.0-or-later
"""External addresses of tenants on a real edge host: outgoing and incoming connections, and keepalived's state."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from private_host import PrivateHost, inside, run

from goodnet import agent, config, ctl
from goodnet.cluster import client, objects
from goodnet.host import keepalived, links, nft, wiring

from ..conftest import Api
from .conftest import eventually
from .test_goodnet_agent import World, make_cluster, running

EXTERNAL = "203.0.113.9"
OUTSIDE = "203.0.113.1"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{objects.NAMESPACE}/leases/{objects.PROVIDER}"


def connect_provider(host: PrivateHost) -> None:
    """Give the host a NIC in the provider network, with the network's router at the other end."""
    router = host.netns("router")
    run("ip", "link", "add", "nic", "type", "veth", "peer", "name", "eth0", "netns", Path(router).name)
    run("ip", "link", "set", "nic", "up")
    inside(router, "ip", "addr", "add", f"{OUTSIDE}/24", "dev", "eth0")
    inside(router, "ip", "link", "set", "eth0", "up")
    # A switch in user space gets packets before a NIC would have filled in their checksums.
    with wiring._inside(router):
        wiring._set_checksums_off("eth0")


@pytest.fixture(scope="module")
def edge(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    make_cluster(api, "edge", "10.244.7.0/24", "green")
    settings = config.Provider("nic", IPv4Network("203.0.113.0/24"), IPv4Address(OUTSIDE))
    directory = tmp_path_factory.mktemp("edge")
    with running(
        api, directory, "edge", connect_provider, node="edge", edges=frozenset({"edge"}), provider=settings
    ) as made:
        made.add("green", "g1")
        path = f"/api/v1/namespaces/{objects.NAMESPACE}/configmaps/{objects.TENANTS}"
        entry = json.loads(made.api.request("GET", path)["data"]["green"])
        data = {"green": json.dumps({**entry, "external": EXTERNAL})}
        made.api.request("PATCH", path, body={"data": data}, content_type=client.MERGE)
        assert eventually(lambda: shown(made)["external"] == EXTERNAL)
        yield made


def shown(edge: World) -> dict[str, str | None]:
    return next(tenant for tenant in edge.ask(op="show")["tenants"] if tenant["name"] == "green")


def source_seen_outside(edge: World) -> str | None:
    """Return the source address that a server outside sees for a connection of the pod."""
    with wiring._inside(f"/run/netns/{edge.host.prefix}router"):
        listener = socket.create_server((OUTSIDE, 0))
    with listener, wiring._inside(f"/run/netns/{edge.host.prefix}g1"), socket.socket() as client:
        client.settimeout(1)
        try:
            client.connect(listener.getsockname())
        except OSError:
            return None
        connection, (address, _ignored) = listener.accept()
        connection.close()
        return str(address)


def reached_from_outside(edge: World, port: int) -> bool:
    with wiring._inside(f"/run/netns/{edge.host.prefix}router"), socket.socket() as client:
        client.settimeout(1)
        try:
            client.connect((EXTERNAL, port))
        except OSError:
            return False
        return True


def test_without_holder_nothing_leaves(edge: World) -> None:
    assert source_seen_outside(edge) is None
    found = edge.ask(op="trace", source="green/g1", destination=OUTSIDE)
    assert "no host holds the external address" in found["verdict"]


def test_the_master_carries_the_address(edge: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl, "ROLE_FILE", edge.paths.run / "provider")
    assert ctl.main(["provider", "master"], socket=str(edge.paths.run / "agent.sock")) == 0
    assert eventually(lambda: source_seen_outside(edge) == EXTERNAL)
    assert edge.api.request("GET", LEASE)["spec"]["holderIdentity"] == "edge"
    assert shown(edge)["edge"] == "edge"
    link = links.link(agent.PROVIDER)
    assert link is not None
    assert link.mac in inside(f"{edge.host.prefix}router", "ip", "neigh", "show", EXTERNAL)


def test_a_service_is_reached_at_the_address(edge: World) -> None:
    assert not reached_from_outside(edge, 8080)
    path = "/api/v1/namespaces/green/services"
    ports = [{"name": "web", "port": 8080, "targetPort": 80}]
    spec = {"type": "LoadBalancer", "ports": ports}
    edge.api.request("POST", path, body={"metadata": {"name": "web"}, "spec": spec})
    address = next(pod["address"] for pod in edge.ask(op="show")["pods"])
    body = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
    }
    edge.api.request("POST", "/apis/discovery.k8s.io/v1/namespaces/green/endpointslices", body=body)
    assert eventually(lambda: reached_from_outside(edge, 8080))
    assert not reached_from_outside(edge, 8081)

    def published() -> bool:
        found = edge.api.request("GET", f"{path}/web")["status"]["loadBalancer"]
        return bool(found == {"ingress": [{"ip": EXTERNAL, "ipMode": "VIP"}]})

    assert eventually(published)


def test_another_writer_of_the_lease_is_corrected_while_keepalived_says_master(edge: World) -> None:
    edge.api.request("PATCH", LEASE, body={"spec": {"holderIdentity": "other"}}, content_type=client.MERGE)
    assert eventually(lambda: edge.api.request("GET", LEASE)["spec"]["holderIdentity"] == "edge", 25)


def test_a_backup_lets_the_other_one_have_it(edge: World) -> None:
    keepalived.set_role(edge.paths.run / "provider", keepalived.BACKUP)
    assert edge.ask(op="provider")["master"] is False
    # Until the other host has written the Lease, no host holds the address.
    assert eventually(lambda: shown(edge)["edge"] is None)
    edge.api.request("PATCH", LEASE, body={"spec": {"holderIdentity": "other"}}, content_type=client.MERGE)
    assert eventually(lambda: shown(edge)["edge"] == "other")
    assert source_seen_outside(edge) is None


def test_a_master_needs_no_api(edge: World) -> None:
    edge.proxy.cut()
    assert eventually(lambda: not any(edge.ask(op="show")["lists"].values()))
    keepalived.set_role(edge.paths.run / "provider", keepalived.MASTER)
    assert edge.ask(op="provider")["master"] is True
    began = time.monotonic()
    assert eventually(lambda: source_seen_outside(edge) == EXTERNAL)
    assert time.monotonic() - began < 3
    edge.proxy.open()
    assert eventually(lambda: edge.api.request("GET", LEASE)["spec"]["holderIdentity"] == "edge", 40)


def test_the_kernel_takes_nothing_from_the_provider_network(edge: World) -> None:
    """The kernel sees the same packets as the bridge in user space, and would route them: out again, or to itself."""
    assert edge.running.outside is not None
    run("ip", "address", "replace", "198.51.100.77/32", "dev", "lo")
    router = f"/run/netns/{edge.host.prefix}router"
    neighbour = ("dev", "eth0", "lladdr", edge.running.outside.mac)
    inside(router, "ip", "neigh", "replace", "198.51.100.77", *neighbour)
    inside(router, "ip", "route", "replace", "198.51.100.77", "dev", "eth0")
    with wiring._inside(router):
        outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with outside, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("198.51.100.77", 9))
        service.settimeout(0.5)
        outside.sendto(b"x", ("198.51.100.77", 9))
        with pytest.raises(TimeoutError):
            service.recv(9)
        nft.remove_guard("goodnet-guard")
        outside.sendto(b"x", ("198.51.100.77", 9))
        assert service.recv(9) == b"x"
