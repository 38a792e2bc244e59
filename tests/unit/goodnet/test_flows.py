# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows, judged by what becomes of packets that are sent through them between two hosts."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from virtual import Fragment, Packet, Switch, Underlay, arp, encapsulate, macs

from goodnet.model import Config, Forward, Host, Pod, Ports, State, Tenant
from goodnet.ovs import flows

CLUSTER, SERVICES, NODES = IPv4Network("10.50.0.0/16"), IPv4Network("10.96.0.0/12"), IPv4Network("192.168.0.0/24")
OUTER = IPv4Network("203.0.113.0/24")
SERVICE, OUTSIDE, ELSEWHERE = "10.96.0.10", "198.51.100.7", "198.51.100.8"
# Of the API, in none of the hosts' networks.
VIP = "198.51.100.100"
ROUTER_MAC, HOST_PORT_MAC = "0a:58:a9:fe:01:01", "0a:00:00:00:01:01"
# What may pass through a host, but is not for it nor for other hosts.
PASSING_MAC = "0a:58:a9:fe:01:02"
PROVIDER_MAC, PROVIDER_ROUTER_MAC = "0a:00:00:00:02:01", "0a:00:00:00:02:02"

ALPHA = Host("alpha", IPv4Address("192.168.0.1"), IPv4Address("172.16.0.1"), IPv4Network("10.50.1.0/24"))
BETA = Host("beta", IPv4Address("192.168.0.2"), IPv4Address("172.16.0.2"), IPv4Network("10.50.2.0/24"))
GAMMA = Host("gamma", IPv4Address("192.168.0.3"), IPv4Address("172.16.0.3"), IPv4Network("10.50.3.0/24"), edge=True)
HOSTS = (ALPHA, BETA, GAMMA)

# green is open, lime lets blue in.
TENANTS = (
    Tenant("system", 0, open=True),
    Tenant("red", 5),
    Tenant("blue", 6),
    Tenant("green", 7, open=True),
    Tenant("lime", 8, peers=frozenset({6})),
)
NAMES = ("red", "red", "blue", "green", "lime", "system")


def may(source: str, destination: str) -> bool:
    """Say whether a pod of one tenant may open a connection to one of another."""
    return (
        source == destination
        or "system" in (source, destination)
        or destination == "green"
        or (source, destination) == ("blue", "lime")
    )


def pods(host: Host) -> tuple[Pod, ...]:
    return tuple(
        Pod(
            namespace=tenant,
            name=f"{tenant}-{number}",
            uid=f"{host.name}-{number}",
            container=f"{host.name}-{number}",
            address=host.pods[number],
            mac=f"0a:58:{host.pods[number].packed.hex(':')}",
            port=number,
            tenant=tenant,
        )
        for number, tenant in enumerate(NAMES, Underlay.FIRST_POD)
    )


PODS = {host.name: pods(host) for host in (ALPHA, BETA)}
ALL = [(host, pod) for host in PODS for pod in PODS[host]]


def config(host: str, encapsulation: str) -> Config:
    return Config(
        host=host,
        encapsulation=encapsulation,
        cluster=CLUSTER,
        services=SERVICES,
        nodes=(NODES, IPv4Network("172.16.0.0/24")),
        tunnel=Underlay.TUNNEL,
        host_port=Underlay.HOST_PORT,
        host_port_mac=HOST_PORT_MAC,
        provider=Underlay.PROVIDER,
        provider_network=OUTER,
        provider_mac=PROVIDER_MAC,
        provider_router_mac=PROVIDER_ROUTER_MAC,
        machines=(ALPHA.node, BETA.node, GAMMA.node, IPv4Address(VIP)),
        open_ports=(Ports("TCP", 6443), Ports("UDP", 53), Ports("TCP", 30000, 32767)),
    )


def state(host: str, encapsulation: str = "vxlan") -> State:
    return State(config=config(host, encapsulation), hosts=HOSTS, tenants=TENANTS, pods=PODS[host])


class Net:
    """Two hosts with their flows. Each connection gets ports of its own."""

    def __init__(self, underlay: Underlay) -> None:
        self.underlay = underlay
        self._sports = itertools.cycle(range(1024, 65000))

    def install(self, provider_network: IPv4Network = OUTER, **changes: object) -> None:
        for host, switch in self.underlay.hosts.items():
            base = state(host, self.underlay.encapsulation)
            base = dataclasses.replace(base, config=dataclasses.replace(base.config, provider_network=provider_network))
            switch.install(flows.desired(dataclasses.replace(base, **changes)))  # type: ignore[arg-type]

    def forget(self) -> None:
        for switch in self.underlay.hosts.values():
            switch.forget()

    def new(self, source: object, destination: object, protocol: str = "udp", dport: int = 80) -> Packet:
        return Packet(str(source), str(destination), protocol, next(self._sports), dport)

    def from_pod(self, host: str, pod: Pod, packet: Packet | Fragment) -> list[tuple[str, str, bytes]]:
        return self.underlay.send(host, f"pod{pod.port}", packet.frame(pod.mac, ROUTER_MAC))

    def from_host(self, host: str, packet: Packet) -> list[tuple[str, str, bytes]]:
        return self.underlay.send(host, "host_port", packet.frame(HOST_PORT_MAC, ROUTER_MAC))

    def from_outside(self, host: str, packet: Packet) -> list[tuple[str, str, bytes]]:
        return self.underlay.send(host, "provider", packet.frame(PROVIDER_ROUTER_MAC, PROVIDER_MAC))

    def from_underlay(self, host: str, packet: Packet) -> list[tuple[str, str, bytes]]:
        own = Underlay.MACS[Underlay.ADDRESSES[host]]
        stranger = "0a:00:00:00:00:99"
        sender = Underlay.MACS.get(packet.source, stranger)
        return self.underlay.send(host, "nic", packet.frame(stranger if sender == own else sender, own))


@pytest.fixture
def net(underlay: Underlay) -> Iterator[Net]:
    made = Net(underlay)
    made.install()
    yield made


def arrived(found: list[tuple[str, str, bytes]], host: str, port: object, packet: Packet) -> bool:
    """Say whether a packet came out once, unchanged and for the right receiver, at a port: of a pod, or named.

    passing: the host's port, for packets that may pass through the host only.
    """
    wanted = {
        "host_port": ("host_port", ROUTER_MAC, HOST_PORT_MAC),
        "passing": ("host_port", PASSING_MAC, HOST_PORT_MAC),
        "provider": ("provider", PROVIDER_MAC, PROVIDER_ROUTER_MAC),
    }
    if isinstance(port, Pod):
        addresses, name = (ROUTER_MAC, port.mac), f"pod{port.port}"
    else:
        name, *macs_of_port = wanted[str(port)]
        addresses = (macs_of_port[0], macs_of_port[1])
    if not found:
        return False
    assert [(where, out, macs(frame), Packet.decode(frame)) for where, out, frame in found] == [
        (host, name, addresses, packet)
    ]
    return True


@pytest.mark.parametrize("protocol", ["udp", "tcp", "sctp"])
def test_pods_reach_those_they_may_and_get_answers(net: Net, protocol: str) -> None:
    wrong = []
    for (here, source), (there, destination) in itertools.permutations(ALL, 2):
        if protocol == "sctp":
            # Open vSwitch's own conntrack does not look at its ports: all between two pods is one connection.
            net.forget()
        packet = net.new(source.address, destination.address, protocol)
        let_in = may(source.tenant, destination.tenant)
        if arrived(net.from_pod(here, source, packet), there, destination, packet) is not let_in:
            wrong.append((source.name, here, destination.name, there))
        # An answer to what was not let in is a connection like any other, which TCP does not open with such a packet.
        back = packet.back()
        answered = let_in or (may(destination.tenant, source.tenant) and protocol != "tcp")
        if arrived(net.from_pod(there, destination, back), here, source, back) is not answered:
            wrong.append((destination.name, there, source.name, here, "answer"))
    assert not wrong


def test_services_lead_back_through_the_host_with_the_address_of_the_client(net: Net) -> None:
    for client, (there, backend) in itertools.product(PODS["alpha"], ALL):
        if client is backend:
            continue
        case = (client.name, backend.name, there)
        asked = net.new(client.address, SERVICE, "tcp")
        assert arrived(net.from_pod("alpha", client, asked), "alpha", "host_port", asked), case
        # What kube-proxy makes of it.
        rewritten = dataclasses.replace(asked, destination=str(backend.address), dport=8080)
        let_in = may(client.tenant, backend.tenant)
        assert arrived(net.from_host("alpha", rewritten), there, backend, rewritten) is let_in, case
        back = rewritten.back()
        assert arrived(net.from_pod(there, backend, back), "alpha", "host_port", back) is let_in, case
        answer = asked.back()
        assert arrived(net.from_host("alpha", answer), "alpha", client, answer), case


def test_two_tenants_that_want_to_meet_do_not(net: Net) -> None:
    """Both send with the same ports, as if each was answering the other: neither becomes an answer."""
    for (here, red), (there, blue) in itertools.product(
        [(host, PODS[host][0]) for host in PODS], [(host, PODS[host][2]) for host in PODS]
    ):
        packet = net.new(red.address, blue.address)
        for _ignored in range(2):
            assert net.from_pod(here, red, packet) == []
            assert net.from_pod(there, blue, packet.back()) == []


def test_hosts_reach_all_pods_and_get_answers(net: Net) -> None:
    for there, pod in ALL:
        packet = net.new(ALPHA.pods[1], pod.address, "tcp")
        assert arrived(net.from_host("alpha", packet), there, pod, packet)
        assert arrived(net.from_pod(there, pod, packet.back()), "alpha", "host_port", packet.back())
    for pod in PODS["alpha"]:
        # Programs that use the host's own address, and clients of a NodePort that keep theirs.
        for source in (ALPHA.node, OUTSIDE):
            packet = net.new(source, pod.address, "tcp")
            assert arrived(net.from_host("alpha", packet), "alpha", pod, packet)
            assert arrived(net.from_pod("alpha", pod, packet.back()), "alpha", "host_port", packet.back())
    for destination in (*(pod.address for _ignored, pod in ALL), GAMMA.pods[5], BETA.pods[1]):
        # Only this host's pods are reached from outside by way of it, and none with the address of another host's pod.
        sources = [GAMMA.pods[5], BETA.pods[5], ALPHA.pods[200]]
        if destination not in ALPHA.pods:
            sources.append(IPv4Address(OUTSIDE))
        for source in sources:
            assert net.from_host("alpha", net.new(source, destination)) == []


def test_pods_reach_hosts_and_the_outside_through_their_host(net: Net) -> None:
    for here, pod in ALL:
        own, other = (ALPHA, BETA) if here == "alpha" else (BETA, ALPHA)
        # The platform's own pods use all of a host, tenants' pods the ports of the API and what is named.
        for port in (6443, 80, 30001):
            at_host = "host_port" if pod.tenant == "system" or port != 80 else "passing"
            for destination in (own.pods[1], own.node, other.node, SERVICE, OUTSIDE, VIP):
                way = {SERVICE: "host_port", OUTSIDE: "passing"}.get(str(destination), at_host)
                packet = net.new(pod.address, destination, "tcp", port)
                assert arrived(net.from_pod(here, pod, packet), here, way, packet)
                assert arrived(net.from_host(here, packet.back()), here, pod, packet.back())
            packet = net.new(pod.address, other.pods[1], "tcp", port)
            assert arrived(net.from_pod(here, pod, packet), other.name, at_host, packet)
            assert arrived(net.from_host(other.name, packet.back()), here, pod, packet.back())


def test_pods_reach_named_ports_of_hosts_by_the_right_protocol_only(net: Net) -> None:
    pod = PODS["alpha"][0]
    for destination in (ALPHA.pods[1], ALPHA.node, ALPHA.underlay, BETA.node, VIP):
        for protocol, port, way in (
            ("tcp", 6443, "host_port"),
            ("udp", 53, "host_port"),
            ("tcp", 30000, "host_port"),
            ("tcp", 32767, "host_port"),
            ("tcp", 53, "passing"),
            ("udp", 6443, "passing"),
            ("sctp", 6443, "passing"),
            ("tcp", 29999, "passing"),
            ("tcp", 32768, "passing"),
            # etcd, kubelet, registry, SSH.
            *(("tcp", closed, "passing") for closed in (2379, 10250, 5000, 22)),
        ):
            net.forget()
            packet = net.new(pod.address, destination, protocol, port)
            assert arrived(net.from_pod("alpha", pod, packet), "alpha", way, packet), (destination, protocol, port)
        ping = Packet(str(pod.address), str(destination), "icmp", 8, 0)
        assert arrived(net.from_pod("alpha", pod, ping), "alpha", "host_port", ping)


def test_pods_answer_hosts_at_any_port(net: Net) -> None:
    pod = PODS["alpha"][0]
    for source in (ALPHA.pods[1], ALPHA.node, BETA.pods[1]):
        packet = dataclasses.replace(net.new(source, pod.address, "tcp"), sport=10250)
        here = "beta" if source == BETA.pods[1] else "alpha"
        assert arrived(net.from_host(here, packet), "alpha", pod, packet)
        assert arrived(net.from_pod("alpha", pod, packet.back()), here, "host_port", packet.back())


@pytest.mark.parametrize(
    "destination", ["10.50.77.1", "10.50.1.200", "169.254.169.254", "224.0.0.1", "255.255.255.255"]
)
def test_nothing_leaves_for_addresses_that_nobody_has(net: Net, destination: str) -> None:
    assert net.from_pod("alpha", PODS["alpha"][0], net.new(PODS["alpha"][0].address, destination)) == []


def test_what_a_pod_forges_is_dropped(net: Net) -> None:
    red, blue, away = PODS["alpha"][0], PODS["alpha"][2], PODS["beta"][2]
    inner = net.new(blue.address, away.address).frame(blue.mac, ROUTER_MAC)
    sources = (blue.address, away.address, ALPHA.pods[1], BETA.pods[1], SERVICE, ALPHA.node, OUTSIDE, "0.0.0.0")
    forged = {
        f"source {source}": net.new(source, PODS["beta"][2].address).frame(red.mac, ROUTER_MAC) for source in sources
    }
    forged["source and MAC"] = net.new(blue.address, away.address).frame(blue.mac, ROUTER_MAC)
    forged["MAC"] = net.new(red.address, PODS["beta"][0].address).frame(blue.mac, ROUTER_MAC)
    for encapsulation, target in itertools.product(
        ("vxlan", "gre"),
        (ALPHA.underlay, BETA.underlay, ALPHA.node, BETA.node, ALPHA.pods[1], away.address, SERVICE, OUTSIDE),
    ):
        tunnel = encapsulate(encapsulation, str(red.address), str(target), 6, inner)
        forged[f"{encapsulation} to {target}"] = tunnel.frame(red.mac, ROUTER_MAC)
    good = net.new(red.address, PODS["beta"][0].address).frame(red.mac, ROUTER_MAC)
    for protocol, target in itertools.product(
        ("ipip", "ipv6", "ah", "ospf", "pim", "vrrp"), (ALPHA.node, away.address, OUTSIDE)
    ):
        forged[f"{protocol} to {target}"] = net.new(red.address, target, protocol).frame(red.mac, ROUTER_MAC)
    forged["VLAN"] = good[:12] + bytes.fromhex("81000005") + good[12:]
    forged["IPv6"] = good[:12] + bytes.fromhex("86dd6000000000003b40") + bytes(32)
    forged["ARP answer"] = arp(2, "169.254.1.1", red.mac, str(blue.address), blue.mac)
    forged["ARP of another"] = arp(1, str(blue.address), red.mac, "169.254.1.1")
    forged["ARP for another"] = arp(1, str(red.address), red.mac, str(blue.address))
    forged["ARP for itself"] = arp(1, str(red.address), red.mac, str(red.address))
    assert [name for name, frame in forged.items() if net.underlay.send("alpha", f"pod{red.port}", frame)] == []
    assert len(net.underlay.send("alpha", f"pod{red.port}", good)) == 1


@pytest.mark.parametrize("mode", ["nx-match", "normal"])
def test_a_forged_tunnel_in_fragments_is_dropped(net: Net, mode: str) -> None:
    red = PODS["alpha"][0]
    inner = net.new(PODS["alpha"][2].address, PODS["beta"][2].address)
    tunnel = encapsulate(
        "vxlan", str(red.address), str(BETA.underlay), 6, inner.frame(red.mac, ROUTER_MAC) + bytes(2000)
    )
    net.underlay.hosts["alpha"].fragments(mode)
    try:
        assert [net.from_pod("alpha", red, part) for part in tunnel.fragments(1208)] == [[], []]
        good = dataclasses.replace(net.new(red.address, BETA.underlay), payload=bytes(2000))
        came = [name for part in good.fragments(1208) for _ignored, name, _ignored in net.from_pod("alpha", red, part)]
        assert came == (["host_port", "host_port"] if mode == "nx-match" else [])
    finally:
        net.underlay.hosts["alpha"].fragments("nx-match")


def test_the_router_answers_arp(net: Net) -> None:
    red = PODS["alpha"][0]
    asked = arp(1, str(red.address), red.mac, "169.254.1.1")
    answer = arp(2, "169.254.1.1", ROUTER_MAC, str(red.address), red.mac)
    assert net.underlay.send("alpha", f"pod{red.port}", asked) == [("alpha", f"pod{red.port}", answer)]
    for target in ("169.254.1.1", str(red.address), str(BETA.pods[20]), SERVICE):
        asked = arp(1, str(ALPHA.pods[1]), HOST_PORT_MAC, target)
        answer = arp(2, target, ROUTER_MAC, str(ALPHA.pods[1]), HOST_PORT_MAC)
        assert net.underlay.send("alpha", "host_port", asked) == [("alpha", "host_port", answer)]
    assert net.underlay.send("alpha", "host_port", arp(1, "0.0.0.0", HOST_PORT_MAC, str(ALPHA.pods[1]))) == []


def tunnelled(net: Net, outer: object, vni: int, source: object, destination: Pod) -> bool:
    """Say whether a packet out of the tunnel arrives at a pod on beta."""
    packet = net.new(source, destination.address)
    tunnel = encapsulate(
        net.underlay.encapsulation, str(outer), str(BETA.underlay), vni, packet.frame(ROUTER_MAC, ROUTER_MAC)
    )
    return arrived(net.from_underlay("beta", tunnel), "beta", destination, packet)


def test_hosts_may_only_send_what_is_theirs(net: Net) -> None:
    red, blue, system = PODS["beta"][0], PODS["beta"][2], PODS["beta"][5]
    here = PODS["alpha"][0].address
    assert tunnelled(net, ALPHA.underlay, 5, here, red)
    assert not tunnelled(net, ALPHA.underlay, 5, here, blue)
    assert not tunnelled(net, ALPHA.underlay, 99, here, red)
    assert tunnelled(net, ALPHA.underlay, 0, ALPHA.pods[1], blue)
    for destination in (red, blue, system):
        for vni in (0, 5, 6):
            for outer in ("172.16.0.9", GAMMA.underlay, BETA.underlay, ALPHA.node):
                assert not tunnelled(net, outer, vni, here, destination)
            for source in (GAMMA.pods[9], red.address, BETA.pods[1], SERVICE, ALPHA.node, ALPHA.underlay, OUTSIDE):
                assert not tunnelled(net, ALPHA.underlay, vni, source, destination)
            for source in (here, red.address, SERVICE):
                assert not tunnelled(net, GAMMA.underlay, vni, source, destination)
        # gamma is an edge: it may also speak for the outside, to the tenant whose address was used.
        for source in (OUTSIDE, ALPHA.node, GAMMA.underlay):
            assert tunnelled(net, GAMMA.underlay, 5, source, destination) is (destination is not blue)
            assert not tunnelled(net, GAMMA.underlay, 0, source, destination)


def test_a_host_is_no_way_between_others(net: Net) -> None:
    for destination in (GAMMA.pods[9], ALPHA.pods[11], GAMMA.pods[1], BETA.node, SERVICE, "10.50.77.1"):
        packet = net.new(ALPHA.pods[10], destination).frame(ROUTER_MAC, ROUTER_MAC)
        tunnel = encapsulate(net.underlay.encapsulation, str(ALPHA.underlay), str(BETA.underlay), 5, packet)
        assert net.from_underlay("beta", tunnel) == []
    # Nor does it fill its memory with them.
    assert net.underlay.hosts["beta"].appctl("dpctl/dump-conntrack") == ""


def test_errors_about_a_connection_reach_who_opened_it(net: Net) -> None:
    red, green = PODS["alpha"][0], PODS["beta"][3]
    packet = net.new(red.address, green.address)
    assert net.from_pod("alpha", red, packet)
    error = Packet(str(green.address), str(red.address), "icmp", 3, 3, payload=packet.encode())
    assert arrived(net.from_pod("beta", green, error), "alpha", red, error)
    blue, other = PODS["beta"][2], Packet(str(green.address), str(red.address), "udp", 999, 999)
    stray = Packet(str(blue.address), str(red.address), "icmp", 3, 3, payload=other.encode())
    assert net.from_pod("beta", blue, stray) == []


def test_a_namespace_that_moves_keeps_what_is_within_it(underlay: Underlay) -> None:
    """red becomes part of blue: what is open among its pods goes on, what was open to others ends."""
    net = Net(underlay)
    net.install()
    here, there, green = PODS["alpha"][0], PODS["beta"][1], PODS["beta"][3]
    kept, lost = net.new(here.address, there.address, "tcp"), net.new(green.address, here.address, "tcp")
    for packet, source, where in ((kept, here, "alpha"), (lost, green, "beta")):
        net.from_pod(where, source, packet)
    assert net.from_pod("beta", there, kept.back())
    for host, switch in underlay.hosts.items():
        moved = tuple(
            dataclasses.replace(pod, tenant="blue" if pod.tenant == "red" else pod.tenant) for pod in PODS[host]
        )
        switch.install(
            flows.desired(dataclasses.replace(state(host, underlay.encapsulation), pods=moved)), forget=False
        )
    for packet, source, where, target, at in (
        (kept.later(), here, "alpha", there, "beta"),
        (kept.back(16), there, "beta", here, "alpha"),
    ):
        assert arrived(net.from_pod(where, source, packet), at, target, packet)
    assert net.from_pod("beta", green, lost.later()) == []
    reached = net.new(here.address, PODS["beta"][2].address)
    assert arrived(net.from_pod("alpha", here, reached), "beta", PODS["beta"][2], reached)


def test_what_goes_on_between_tenants_after_a_move_is_answered(underlay: Underlay) -> None:
    """One of two red pods becomes part of green, which is open: the other goes on to get answers."""
    net = Net(underlay)
    net.install()
    here, there = PODS["alpha"][0], PODS["beta"][1]
    packet = net.new(here.address, there.address, "tcp")
    assert net.from_pod("alpha", here, packet)
    assert net.from_pod("beta", there, packet.back())
    moved = tuple(dataclasses.replace(pod, tenant="green") if pod is there else pod for pod in PODS["beta"])
    base = state("beta", underlay.encapsulation)
    underlay.hosts["beta"].install(flows.desired(dataclasses.replace(base, pods=moved)), forget=False)
    assert arrived(net.from_pod("alpha", here, packet.later()), "beta", there, packet.later())
    answer = packet.back(16)
    assert arrived(net.from_pod("beta", there, answer), "alpha", here, answer)


EXTERNAL, LIMES = "203.0.113.6", "203.0.113.8"


def with_external(edge: str | None, forwards: tuple[Forward, ...] = ()) -> dict[str, object]:
    """Return tenants of which blue and lime have external addresses, held by a host of the underlay."""
    tenants = [*TENANTS]
    # What the system has is not looked at.
    tenants[0] = dataclasses.replace(TENANTS[0], external=IPv4Address("203.0.113.5"), edge=edge)
    tenants[2] = dataclasses.replace(TENANTS[2], external=IPv4Address(EXTERNAL), edge=edge, forwards=forwards)
    tenants[4] = dataclasses.replace(TENANTS[4], external=IPv4Address(LIMES), edge=edge)
    hosts = tuple(dataclasses.replace(host, edge=host.name == edge) for host in HOSTS)
    return {"tenants": tuple(tenants), "hosts": hosts}


@pytest.mark.parametrize("edge", ["alpha", "beta"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_tenant_leaves_by_its_external_address(net: Net, edge: str, protocol: str) -> None:
    net.install(**with_external(edge))
    for here, pod in ALL:
        packet = net.new(pod.address, OUTSIDE, protocol)
        found = net.from_pod(here, pod, packet)
        external = {"blue": EXTERNAL, "lime": LIMES}.get(pod.tenant)
        if external is None:
            assert arrived(found, here, "passing", packet)
            continue
        # Twice, as the first packet of a connection goes another way than those that follow.
        for _ignored in range(2):
            assert arrived(found, edge, "provider", dataclasses.replace(packet, source=external))
            answer = dataclasses.replace(packet.back(), destination=external)
            assert arrived(net.from_outside(edge, answer), here, pod, packet.back())
            packet = packet.later()
            found = net.from_pod(here, pod, packet)
        # Nobody else may use what was opened, and nothing comes unasked.
        for source, dport in ((ELSEWHERE, packet.sport), (OUTSIDE, 81)):
            stray = dataclasses.replace(answer, source=source, dport=dport)
            assert net.from_outside(edge, stray) == []
        assert net.from_outside(edge, net.new(OUTSIDE, external, protocol)) == []
        # Clients of a NodePort get their answers from it.
        packet = net.new(ELSEWHERE, pod.address, protocol)
        assert arrived(net.from_host(here, packet), here, pod, packet)
        assert arrived(net.from_pod(here, pod, packet.back()), here, "host_port", packet.back())
        # To hosts it goes as any other does.
        packet = net.new(pod.address, BETA.node, protocol)
        assert arrived(net.from_pod(here, pod, packet), here, "passing", packet)


def test_an_external_address_that_nobody_holds_lets_nothing_out(net: Net) -> None:
    for edge in (None, "delta"):
        net.install(**with_external(edge))
        for here, pod in ALL:
            left = net.from_pod(here, pod, net.new(pod.address, OUTSIDE))
            assert bool(left) is (pod.tenant not in ("blue", "lime"))


def test_an_edge_lets_out_only_what_pods_send_to_the_outside(net: Net) -> None:
    changes = with_external("beta")
    net.install(**{**changes, "hosts": tuple(dataclasses.replace(host, edge=True) for host in HOSTS)})
    blue, vni = PODS["alpha"][2], 6
    for source, destination, passes in (
        (blue.address, OUTSIDE, True),
        (blue.address, BETA.node, False),
        (blue.address, GAMMA.underlay, False),
        (blue.address, SERVICE, False),
        (blue.address, GAMMA.pods[9], False),
        # Another edge may send what comes from the outside, but not back there.
        (OUTSIDE, ELSEWHERE, False),
    ):
        packet = net.new(source, destination)
        inner = packet.frame(ROUTER_MAC, ROUTER_MAC)
        tunnel = encapsulate(net.underlay.encapsulation, str(ALPHA.underlay), str(BETA.underlay), vni, inner)
        outside = dataclasses.replace(packet, source=EXTERNAL)
        assert arrived(net.from_underlay("beta", tunnel), "beta", "provider", outside) is passes


@pytest.mark.parametrize("edge", ["alpha", "beta"])
def test_errors_about_what_went_outside_find_their_way(net: Net, edge: str) -> None:
    net.install(**with_external(edge))
    blue, between = PODS["alpha"][2], "192.0.2.1"
    asked = net.new(blue.address, OUTSIDE)
    assert net.from_pod("alpha", blue, asked)
    sent = dataclasses.replace(asked, source=EXTERNAL)
    error = Packet(between, EXTERNAL, "icmp", 3, 4, payload=sent.encode())
    ((host, port, frame),) = net.from_outside(edge, error)
    assert (host, port) == ("alpha", f"pod{blue.port}")
    assert Packet.decode(frame) == dataclasses.replace(error, destination=str(blue.address))
    assert Packet.decode(frame).payload == asked.encode()
    # The pod itself has nobody who waits for the answer.
    assert net.from_outside(edge, sent.back())
    refused = Packet(str(blue.address), OUTSIDE, "icmp", 3, 3, payload=asked.back().encode())
    ((host, port, frame),) = net.from_pod("alpha", blue, refused)
    assert (host, port) == (edge, "provider")
    assert Packet.decode(frame) == dataclasses.replace(refused, source=EXTERNAL)
    stray = dataclasses.replace(error, payload=dataclasses.replace(sent, sport=9).encode())
    assert net.from_outside(edge, stray) == []


def test_the_provider_network_sees_external_addresses_and_nothing_else(net: Net) -> None:
    net.install(**with_external("beta"))
    for target, answers in ((EXTERNAL, True), (LIMES, True), ("203.0.113.7", False), ("10.50.2.1", False)):
        asked = arp(1, "203.0.113.1", PROVIDER_ROUTER_MAC, target)
        answer = arp(2, target, PROVIDER_MAC, "203.0.113.1", PROVIDER_ROUTER_MAC)
        wanted = [("beta", "provider", answer)] if answers else []
        assert net.underlay.send("beta", "provider", asked) == wanted
        assert net.underlay.send("alpha", "provider", asked) == []
    destinations = [pod.address for _ignored, pod in ALL]
    destinations += [BETA.pods[1], BETA.node, EXTERNAL, LIMES, ALPHA.pods[1], SERVICE]
    sources = [OUTSIDE, SERVICE, ALPHA.pods[1], PODS["alpha"][2].address, BETA.pods[1], ALPHA.node, "203.0.113.1"]
    for source, destination in itertools.product(sources, destinations):
        assert net.from_outside("beta", net.new(source, destination)) == []


@pytest.mark.parametrize("edge", ["alpha", "beta"])
def test_forwards_of_an_external_address_reach_pods(net: Net, edge: str) -> None:
    targets = (PODS["alpha"][2], PODS["beta"][2])
    red = PODS["alpha"][0]
    forwards = (
        Forward("TCP", 443, tuple((pod.address, 8443) for pod in targets)),
        Forward("UDP", 53, ((targets[0].address, 53),)),
        Forward("TCP", 444, ()),
        # A forward to a pod of another tenant is stopped by isolation.
        Forward("TCP", 445, ((red.address, 445),)),
    )
    net.install(**with_external(edge, forwards))
    reached = set()
    for _ignored in range(40):
        packet = net.new(OUTSIDE, EXTERNAL, "tcp", 443)
        ((host, port, frame),) = net.from_outside(edge, packet)
        pod = next(pod for pod in targets if f"pod{pod.port}" == port and host == pod.uid.split("-")[0])
        inside = dataclasses.replace(packet, destination=str(pod.address), dport=8443)
        assert Packet.decode(frame) == inside
        assert arrived(net.from_pod(host, pod, inside.back()), edge, "provider", packet.back())
        # It stays with its pod.
        more = packet.later()
        assert arrived(net.from_outside(edge, more), host, pod, inside.later())
        reached.add(pod.uid)
    assert len(reached) == 2
    packet = net.new(OUTSIDE, EXTERNAL, "udp", 53)
    inside = dataclasses.replace(packet, destination=str(targets[0].address))
    assert arrived(net.from_outside(edge, packet), "alpha", targets[0], inside)
    for protocol, port in (("tcp", 444), ("tcp", 445), ("udp", 443), ("tcp", 80)):
        assert net.from_outside(edge, net.new(OUTSIDE, EXTERNAL, protocol, port)) == []
    assert net.from_outside(edge, net.new(OUTSIDE, LIMES, "tcp", 443)) == []
    for source in (ALPHA.pods[1], targets[0].address, SERVICE, BETA.node, BETA.underlay):
        assert net.from_outside(edge, net.new(source, EXTERNAL, "tcp", 443)) == []


@pytest.mark.parametrize("edge", ["alpha", "beta"])
def test_clients_of_the_hosts_network_reach_external_addresses_of_it(net: Net, edge: str) -> None:
    """When the provider network is that of the hosts, answers go where the question came from, and by no router."""
    targets = (PODS["alpha"][2], PODS["beta"][2])
    forwards = (Forward("TCP", 443, tuple((pod.address, 8443) for pod in targets)),)
    net.install(NODES, **with_external(edge, forwards))
    neighbour, mac = "192.168.0.50", "0a:00:00:00:00:50"
    reached = set()
    for source, sender in [(neighbour, mac), (OUTSIDE, PROVIDER_ROUTER_MAC), (str(GAMMA.node), mac)] * 15:
        packet = net.new(source, EXTERNAL, "tcp", 443)
        # Twice, as the first packet of a connection goes another way than those that follow.
        for _ignored in range(2):
            ((host, port, frame),) = net.underlay.send(edge, "provider", packet.frame(sender, PROVIDER_MAC))
            pod = next(pod for pod in targets if f"pod{pod.port}" == port and host == pod.uid.split("-")[0])
            inside = dataclasses.replace(packet, destination=str(pod.address), dport=8443)
            assert Packet.decode(frame) == inside
            ((host, port, frame),) = net.from_pod(host, pod, inside.back())
            assert (host, port, macs(frame)) == (edge, "provider", (PROVIDER_MAC, sender))
            assert Packet.decode(frame) == packet.back()
            packet = packet.later()
        reached.add(pod.uid)
    assert len(reached) == 2
    for source in (ALPHA.pods[1], targets[0].address, SERVICE):
        assert net.from_outside(edge, net.new(source, EXTERNAL, "tcp", 443)) == []
    for source in (neighbour, GAMMA.node):
        assert net.from_outside(edge, net.new(source, EXTERNAL, "tcp", 80)) == []
        assert net.from_outside(edge, net.new(source, targets[0].address, "tcp", 8443)) == []
    # What the tenant asks of that network leaves by the host, as before.
    asked = net.new(targets[0].address, neighbour, "tcp")
    assert arrived(net.from_pod("alpha", targets[0], asked), "alpha", "passing", asked)


def test_an_edge_without_its_router_lets_nothing_out() -> None:
    base = dataclasses.replace(state("beta"), **with_external("beta"))  # type: ignore[arg-type]
    for name in ("provider", "provider_network", "provider_router_mac", "provider_mac"):
        change = {name: None}
        lines = flows.desired(dataclasses.replace(base, config=dataclasses.replace(base.config, **change)))
        assert not [line for line in lines if "None" in line or f"in_port={Underlay.PROVIDER}," in line]
        assert [line for line in lines if f"table={flows.Table.WAY_OUT}," in line and "reg0=0x6,actions=drop" in line]


def identity(line: str) -> str:
    return line.split(",", 1)[1].split(",actions=")[0]


def test_flows_are_sorted_unique_and_the_same_every_time() -> None:
    base = dataclasses.replace(state("beta"), **with_external("beta"))  # type: ignore[arg-type]
    lines = flows.desired(base)
    turned = dataclasses.replace(base, hosts=base.hosts[::-1], tenants=base.tenants[::-1], pods=base.pods[::-1])
    assert lines == sorted(lines) == flows.desired(turned)
    assert len({identity(line) for line in lines}) == len(lines)


def test_tables_only_lead_forward_and_each_is_there() -> None:
    lines = flows.desired(
        dataclasses.replace(state("beta"), **with_external("beta", (Forward("TCP", 1, ((ALPHA.pods[9], 1),)),)))
    )  # type: ignore[arg-type]
    tables = {int(number) for line in lines for number in re.findall(r"cookie=\w+,table=(\d+)", line)}
    assert tables == {value for name, value in vars(flows.Table).items() if name.isupper()}
    for line in lines:
        table, *following = (int(number) for number in re.findall(r"table[=:](\d+)", line))
        assert all(table < number for number in following)
        assert set(following) <= tables
    assert set(flows.DROPPED_IN) <= tables


def test_what_is_not_known_yet_is_not_connected() -> None:
    base = state("alpha")
    assert flows.desired(dataclasses.replace(base, hosts=HOSTS[1:])) == []
    unknown = dataclasses.replace(PODS["alpha"][0], tenant="unknown")
    lines = flows.desired(dataclasses.replace(base, pods=(unknown,)))
    assert lines == flows.desired(dataclasses.replace(base, pods=()))


def large(hosts: int, count: int, tenants: int, *, edge: bool) -> State:
    """Return a host of a large cluster. On an edge all tenants have an external address, no two next to each other."""
    nodes = tuple(
        Host(
            f"host{number}",
            IPv4Address("100.64.0.1") + number,
            IPv4Address("100.96.0.1") + number,
            IPv4Network((int(IPv4Address("10.0.0.0")) + number * 256, 24)),
        )
        for number in range(hosts)
    )
    several = tuple(
        Tenant(
            f"tenant{number}",
            number + 1,
            external=IPv4Address("20.0.0.0") + 2 * number if edge else None,
            edge="host0" if edge else None,
        )
        for number in range(tenants)
    )
    local = tuple(
        dataclasses.replace(
            PODS["alpha"][0], address=nodes[0].pods[number + 2], port=number + 10, tenant=f"tenant{number}"
        )
        for number in range(count)
    )
    cluster = IPv4Network("10.0.0.0/8")
    return State(dataclasses.replace(config("host0", "vxlan"), cluster=cluster), nodes, several, local)


@pytest.mark.parametrize("edge", [False, True])
def test_flows_grow_with_hosts_pods_and_tenants_and_stay_few(edge: bool) -> None:
    assert len(flows.desired(large(3000, 110, 3000, edge=edge))) <= 13_000
    for sizes in ((1000, 0, 0), (0, 50, 50), (0, 0, 1000)):
        first, second, third = (
            len(flows.desired(large(*(100 + size * times for size in sizes), edge=edge))) for times in (0, 1, 2)
        )
        assert third - second == second - first
        assert second - first <= 3 * sizes[0] + 7 * sizes[1] + 2 * sizes[2]


def test_the_pipeline_is_documented() -> None:
    document = (Path(__file__).parents[3] / "docs" / "goodnet-pipeline.md").read_text(encoding="utf-8")
    for name, number in vars(flows.Table).items():
        if name.isupper():
            assert re.search(rf"^\| {number} \| {name.lower().replace('_', ' ')} \|", document, re.MULTILINE), name
    for number in (flows.ZONE, flows.ZONE_PROVIDER):
        assert str(number) in document


def test_a_trace_names_what_a_packet_ran_into(underlay: Underlay, net: Net) -> None:
    red, blue = PODS["alpha"][0], PODS["alpha"][2]
    flow = f"in_port={red.port},dl_src={red.mac},udp,nw_src={red.address},nw_dst={blue.address},udp_dst=80"
    switch: Switch = underlay.hosts["alpha"]
    seen = switch.trace(flow, "--ct-next", "trk,new")
    assert [int(number) for number in re.findall(r"^ ?(\d+)\. ", seen, re.MULTILINE)][-1] == flows.Table.ISOLATION
    assert seen.rstrip().endswith("Datapath actions: drop")
