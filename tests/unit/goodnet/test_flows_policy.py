# SPDX-License-Identifier: GPL-3.0-or-later
"""NetworkPolicies as flows, judged by the packets that they let through."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from test_flows import ALPHA, BETA, OUTSIDE, PODS, SERVICE, TENANTS, Net, arrived, identity, state
from virtual import Packet, Underlay

from goodnet.model import Policy, Ports, Rule, Service, State
from goodnet.ovs import flows, flows_policy

ONE = ("vxlan",)
RED = dataclasses.replace(TENANTS[1], open=True)
# All of one tenant, so that nothing but the policies is in the way.
PEERS = {host: tuple(dataclasses.replace(pod, tenant="red") for pod in PODS[host]) for host in PODS}
FIRST, SECOND = PEERS["alpha"][:2]
AWAY = PEERS["beta"][0]


@pytest.fixture
def net(underlay: Underlay) -> Iterator[Net]:
    yield Net(underlay)


def install(net: Net, *policies: Policy) -> None:
    """Put policies in force on alpha."""
    for host, switch in net.underlay.hosts.items():
        base = dataclasses.replace(state(host), tenants=(RED,), pods=PEERS[host])
        switch.install(flows.desired(dataclasses.replace(base, policies=policies if host == "alpha" else ())))


def policy(*pods: IPv4Address, ingress: object = None, egress: object = None, name: str = "policy") -> Policy:
    return Policy("red", name, frozenset(pods), ingress, egress)  # type: ignore[arg-type]


def host(address: object) -> IPv4Network:
    return IPv4Network(str(address))


def lets(rules: tuple[Rule, ...], peer: str, packet: Packet) -> bool:
    """Say in the plainest way whether rules let a packet from or to a peer through."""
    return any(
        (rule.networks is None or any(IPv4Address(peer) in network for network in rule.networks))
        and (
            rule.ports is None
            or any(
                ports.protocol == packet.protocol.upper()
                and (ports.port is None or ports.port <= packet.dport <= (ports.last or ports.port))
                for ports in rule.ports
            )
        )
        for rule in rules
    )


def judged(policies: tuple[Policy, ...], packet: Packet) -> bool:
    """Say whether policies let a packet through that opens a connection."""
    for pod, peer, direction in (
        (packet.source, packet.destination, "egress"),
        (packet.destination, packet.source, "ingress"),
    ):
        spoken = [getattr(found, direction) for found in policies if IPv4Address(pod) in found.pods]
        spoken = [rules for rules in spoken if rules is not None]
        if spoken and not any(lets(rules, peer, packet) for rules in spoken):
            return False
    return True


def some_policies(chance: random.Random) -> tuple[Policy, ...]:
    """Return policies of all kinds, with ports and networks that meet, overlap and miss each other."""

    def ports() -> Ports:
        protocol = chance.choice(("TCP", "UDP", "SCTP"))
        first = chance.choice((None, 1, 80, 443, 1000, 1023))
        return Ports(protocol, first, None if first is None else chance.choice((None, first, 1100, 65535)))

    def rule() -> Rule:
        networks = chance.sample(
            [host(FIRST.address), host(AWAY.address), BETA.pods, IPv4Network("10.50.1.8/30"), IPv4Network("0.0.0.0/0")],
            2,
        )
        return Rule(
            chance.choice((None, (), tuple(networks), tuple(networks[:1]))),
            chance.choice((None, (), (ports(),), (ports(), ports(), ports()))),
        )

    def rules() -> tuple[Rule, ...] | None:
        return chance.choice((None, (), (rule(),), (rule(), rule()), (rule(), rule(), rule())))

    return tuple(
        policy(
            *chance.sample([pod.address for pod in PEERS["alpha"]], chance.randint(1, 4)),
            ingress=rules(),
            egress=rules(),
            name=f"policy-{number}",
        )
        for number in range(chance.randint(1, 5))
    )


@pytest.mark.parametrize("underlay", ONE, indirect=True)
@pytest.mark.parametrize("seed", range(12))
def test_policies_let_through_what_they_say(net: Net, seed: int) -> None:
    chance = random.Random(seed)
    policies = some_policies(chance)
    install(net, *policies)
    lines = flows.desired(with_policies(*policies))
    assert len({identity(line) for line in lines}) == len(lines)
    wrong = []
    for _ignored in range(150):
        protocol, port = chance.choice(("tcp", "udp", "sctp")), chance.choice((1, 79, 80, 443, 1000, 1050, 1101, 65535))
        here, there = chance.sample(
            [("alpha", pod) for pod in PEERS["alpha"]] + [("beta", pod) for pod in PEERS["beta"]], 2
        )
        packet = net.new(here[1].address, there[1].address, protocol, port)
        if protocol == "sctp":
            net.forget()
        if arrived(net.from_pod(*here, packet), *there, packet) is not judged(policies, packet):
            wrong.append(packet)
    assert not wrong, policies


@pytest.mark.parametrize("underlay", ONE, indirect=True)
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_replies_pass_whatever_the_policies_say(net: Net, protocol: str) -> None:
    install(net, policy(FIRST.address, ingress=()), policy(SECOND.address, egress=(), name="other"))
    for there, peer in (("alpha", PEERS["alpha"][3]), ("beta", AWAY)):
        asked = net.new(FIRST.address, peer.address, protocol)
        assert net.from_pod(there, peer, asked.back()) == []
        net.forget()
        assert arrived(net.from_pod("alpha", FIRST, asked), there, peer, asked)
        assert arrived(net.from_pod(there, peer, asked.back()), "alpha", FIRST, asked.back())
        served = net.new(peer.address, SECOND.address, protocol)
        assert arrived(net.from_pod(there, peer, served), "alpha", SECOND, served)
        assert arrived(net.from_pod("alpha", SECOND, served.back()), there, peer, served.back())
        error = Packet(str(peer.address), str(FIRST.address), "icmp", 3, 3, payload=asked.encode())
        assert arrived(net.from_pod(there, peer, error), "alpha", FIRST, error)
        assert net.from_pod(there, peer, dataclasses.replace(error, sport=8, dport=0)) == []


@pytest.mark.parametrize("underlay", ONE, indirect=True)
def test_errors_of_who_asked_pass_like_its_packets(net: Net) -> None:
    """The port that asked is closed when the answer comes: the ICMP message about it goes the way of the question."""
    only = (Ports("UDP", 80),)
    install(
        net,
        policy(FIRST.address, egress=(Rule((host(AWAY.address), host(SECOND.address)), only),)),
        policy(SECOND.address, ingress=(Rule(None, only),), name="other"),
    )
    for there, peer in (("alpha", SECOND), ("beta", AWAY)):
        asked = net.new(FIRST.address, peer.address)
        error = Packet(str(FIRST.address), str(peer.address), "icmp", 3, 3, payload=asked.back().encode())
        assert net.from_pod("alpha", FIRST, error) == []
        assert net.from_pod("alpha", FIRST, asked)
        assert net.from_pod(there, peer, asked.back())
        assert arrived(net.from_pod("alpha", FIRST, error), there, peer, error)


@pytest.mark.parametrize("underlay", ONE, indirect=True)
def test_a_policy_that_comes_later_ends_what_it_does_not_let_through(net: Net) -> None:
    install(net)
    packet = net.new(AWAY.address, FIRST.address, "tcp")
    assert net.from_pod("beta", AWAY, packet)
    assert net.from_pod("alpha", FIRST, packet.back())
    base = dataclasses.replace(state("alpha"), tenants=(RED,), pods=PEERS["alpha"])
    closed = dataclasses.replace(base, policies=(policy(FIRST.address, ingress=()),))
    net.underlay.hosts["alpha"].install(flows.desired(closed), forget=False)
    assert net.from_pod("beta", AWAY, packet.later()) == []


@pytest.mark.parametrize("underlay", ONE, indirect=True)
def test_services_are_judged_by_the_pod_they_lead_to(net: Net) -> None:
    other = PEERS["beta"][1]
    install(net, policy(FIRST.address, egress=(Rule((host(AWAY.address),), (Ports("TCP", 8080),)),)))
    for backend, port, passes in ((AWAY, 8080, True), (AWAY, 80, False), (other, 8080, False)):
        asked = net.new(FIRST.address, SERVICE, "tcp")
        assert arrived(net.from_pod("alpha", FIRST, asked), "alpha", "host_port", asked)
        rewritten = dataclasses.replace(asked, destination=str(backend.address), dport=port)
        assert arrived(net.from_host("alpha", rewritten), "beta", backend, rewritten) is passes


@pytest.mark.parametrize("underlay", ONE, indirect=True)
def test_services_without_pods_are_judged_at_once(net: Net) -> None:
    """What goes to the API server's ClusterIP does not come back to the bridge."""
    services = tuple(
        Service(IPv4Address(address), "TCP", 443, ((ALPHA.node, 6443),)) for address in ("10.96.0.1", "10.96.0.2")
    )
    let = policy(FIRST.address, egress=(Rule((host("10.96.0.1"),), (Ports("TCP", 443),)),))
    base = dataclasses.replace(state("alpha"), tenants=(RED,), pods=PEERS["alpha"], policies=(let,), services=services)
    net.underlay.hosts["alpha"].install(flows.desired(base))
    for pod, address, dport, passes in (
        (FIRST, "10.96.0.1", 443, True),
        (FIRST, "10.96.0.1", 444, False),
        (FIRST, "10.96.0.2", 443, False),
        (FIRST, SERVICE, 443, True),
        (SECOND, "10.96.0.2", 443, True),
    ):
        packet = net.new(pod.address, address, "tcp", dport)
        assert arrived(net.from_pod("alpha", pod, packet), "alpha", "host_port", packet) is passes


@pytest.mark.parametrize("underlay", ONE, indirect=True)
def test_hosts_outside_and_blocks(net: Net) -> None:
    block = IPv4Network("198.51.100.0/25")
    install(
        net,
        policy(FIRST.address, ingress=()),
        policy(SECOND.address, ingress=(Rule((block,)),), egress=(Rule((block,)),)),
    )
    # The kubelet of this host, a host elsewhere, and clients of a NodePort.
    for pod in (FIRST, SECOND):
        for source, at, passes in (
            (ALPHA.pods[1], "alpha", True),
            (ALPHA.node, "alpha", True),
            (BETA.pods[1], "beta", False),
            ("198.51.100.200", "alpha", False),
            (OUTSIDE, "alpha", pod is SECOND),
        ):
            packet = net.new(source, pod.address, "tcp")
            assert arrived(net.from_host(at, packet), "alpha", pod, packet) is passes, (pod.name, source)
    for destination, passes in ((OUTSIDE, True), ("198.51.100.200", False), (ALPHA.pods[1], False), (BETA.node, False)):
        packet = net.new(SECOND.address, destination)
        assert arrived(net.from_pod("alpha", SECOND, packet), "alpha", "passing", packet) is passes


@pytest.mark.parametrize("underlay", ONE, indirect=True)
def test_fragments_go_the_way_of_the_first(net: Net) -> None:
    rules = (Rule(None, (Ports("UDP", 80),)),)
    install(net, policy(FIRST.address, ingress=rules, egress=rules))
    for (there, source), destination in ((("beta", AWAY), FIRST), (("alpha", FIRST), AWAY)):
        for dport, passes in ((80, True), (81, False)):
            whole = net.new(source.address, destination.address, dport=dport)
            parts = dataclasses.replace(whole, payload=bytes(2000)).fragments(1208)
            came = [frame for part in parts for _ignored, _ignored, frame in net.from_pod(there, source, part)]
            assert len(came) == (2 if passes else 0)


def masks(matches: Iterator[str]) -> list[int]:
    """Return all ports that matches cover, one by one."""
    covered = []
    for match in matches:
        port, _ignored, mask = match.removeprefix("tcp,tp_dst=").partition("/")
        if mask:
            free = 0xFFFF & ~int(mask, 16)
            covered += [int(port, 16) | low for low in range(free + 1)]
        else:
            covered.append(int(port))
    return covered


@pytest.mark.parametrize(
    ("first", "last"),
    [(80, None), (80, 80), (1, 65535), (1024, 65535), (1000, 1999), (65535, 65535), (1, 1), (32767, 32768)],
)
def test_a_range_becomes_blocks_that_cover_it_exactly(first: int, last: int | None) -> None:
    covered = masks(flows_policy.port_matches(Ports("TCP", first, last)))
    assert sorted(covered) == list(range(first, (last or first) + 1))
    assert len(list(flows_policy.port_matches(Ports("TCP", first, last)))) <= 30


def test_flows_grow_with_the_sum_of_what_a_rule_lists() -> None:
    pods, networks = [ALPHA.pods[number] for number in range(2, 112)], [BETA.pods[number] for number in range(2, 202)]
    rule = Rule(tuple(host(address) for address in networks), tuple(Ports("TCP", port) for port in range(1, 101)))
    found = list(flows_policy.entries([policy(*pods, ingress=(rule,))], ingress=True, passed="x"))
    assert len(found) == len(pods) + len(networks) + 100 + 1 + len(pods)
    assert list(flows_policy.entries([policy(*pods, ingress=(rule,))], ingress=False, passed="x")) == []


def with_policies(*policies: Policy) -> State:
    return dataclasses.replace(state("alpha"), policies=policies)


def test_rules_keep_their_numbers_and_never_share_one() -> None:
    rules = tuple(Rule((host(AWAY.address),), (Ports("TCP", port),)) for port in (80, 81))
    several = [policy(FIRST.address, ingress=rules, egress=rules, name=f"policy-{number}") for number in range(50)]
    # The same name twice: pods that call different ports by one name.
    several.append(policy(SECOND.address, ingress=rules[:1], name="policy-0"))
    lines = flows.desired(with_policies(*several))
    numbers = [line for line in lines if "conj_id=" in line]
    assert len(numbers) == len({re.search(r"table=\d+.*conj_id=\d+", line)[0] for line in numbers}) == 201  # type: ignore[index]
    fewer = [line for line in flows.desired(with_policies(*several[25:])) if "conj_id=" in line]
    assert set(fewer) <= set(numbers)
    # A number that is taken already gives way.
    taken = {flows_policy._identity("a", set()), 0xFFFFFFFF}
    again = flows_policy._identity("a", taken)
    assert again not in (0, 0xFFFFFFFF, flows_policy._identity("a", set()))


def test_flows_name_their_policy() -> None:
    lines = flows.desired(with_policies(policy(FIRST.address, ingress=(Rule((host(AWAY.address),)),))))
    cookie = flows.Cookie.of(flows.Cookie.POLICY, flows.policy_number("red", "policy"))
    assert [
        line
        for line in lines
        if line.startswith(f"cookie={cookie:#x},table={flows.Table.INGRESS},") and "conj_id" in line
    ]
