# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said about a packet, from the words of a real switch that has the flows of a real state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from virtual import Switch

from goodnet.diagnostics import explain, questions
from goodnet.errors import CniError
from goodnet.model import Config, Forward, Host, Pod, Policy, Ports, Rule, State, Tenant
from goodnet.ovs import flows

MACS = {"172.16.0.1": "0a:00:00:00:00:01", "172.16.0.2": "0a:00:00:00:00:02"}
CONFIG = Config(
    host="alpha",
    encapsulation="vxlan",
    cluster=IPv4Network("10.244.0.0/16"),
    services=IPv4Network("10.96.0.0/16"),
    nodes=(IPv4Network("192.0.2.0/24"),),
    tunnel=1,
    host_port=2,
    host_port_mac="0a:00:00:00:00:aa",
    provider=3,
    provider_network=IPv4Network("203.0.113.0/24"),
    provider_mac="0a:00:00:00:00:bb",
    provider_router_mac="0a:00:00:00:00:cc",
    open_ports=(Ports("TCP", 6443),),
)
HOSTS = (
    Host("alpha", IPv4Address("192.0.2.1"), IPv4Address("172.16.0.1"), IPv4Network("10.244.1.0/24"), edge=True),
    Host("beta", IPv4Address("192.0.2.2"), IPv4Address("172.16.0.2"), IPv4Network("10.244.2.0/24")),
)
TENANTS = (
    Tenant("system", 0, open=True),
    Tenant("red", 1),
    Tenant("blue", 2, peers=frozenset({3})),
    Tenant(
        "green",
        3,
        external=IPv4Address("203.0.113.9"),
        edge="alpha",
        forwards=(Forward("TCP", 443, ((IPv4Address("10.244.1.5"), 8443),)),),
    ),
    Tenant("open", 4, open=True),
    Tenant("lost", 5, external=IPv4Address("203.0.113.5")),
    Tenant("far", 6, external=IPv4Address("203.0.113.6"), edge="beta"),
)


def pod(namespace: str, number: int) -> Pod:
    address = IPv4Address(f"10.244.1.{number}")
    return Pod(
        namespace, f"p{number}", "u", f"c{number}", address, f"0a:58:0a:f4:01:{number:02x}", 8 + number, namespace
    )


PODS = (
    pod("red", 2),
    pod("red", 3),
    pod("blue", 4),
    pod("green", 5),
    pod("open", 6),
    pod("system", 7),
    pod("lost", 8),
    pod("far", 9),
)
POLICIES = (
    Policy(
        "red",
        "web",
        frozenset({IPv4Address("10.244.1.3")}),
        ingress=(Rule((IPv4Network("10.244.1.2/32"), IPv4Network("10.9.0.0/16")), (Ports("TCP", 80),)),),
    ),
    Policy("blue", "silent", frozenset({IPv4Address("10.244.1.4")}), egress=()),
)
STATE = State(CONFIG, HOSTS, TENANTS, PODS, POLICIES)


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    made = Switch()
    try:
        made.start()
        made.add_underlay("172.16.0.1", MACS)
        made.add_tunnel(CONFIG.tunnel, "vxlan")
        made.add_port("host_port", CONFIG.host_port)
        made.add_port("provider", 3)
        for entry in PODS:
            made.add_port(f"pod{entry.port}", entry.port)
        made.install(flows.desired(STATE))
        yield made
    finally:
        made.stop()


def end(name: str) -> questions.End:
    """Return what the agent makes of a name, for pods that are here and addresses that are not."""
    found = next((entry for entry in PODS if f"{entry.namespace}/{entry.name}" == name), None)
    if found is not None:
        return questions.End(found.address, found, HOSTS[0], found.tenant)
    name, _ignored, tenant = name.partition(" of ")
    address = IPv4Address(name)
    host = next((host for host in HOSTS if address in host.pods), None)
    return questions.End(address, None, host, tenant or None)


@pytest.mark.parametrize(
    ("source", "destination", "port", "passes", "said"),
    [
        ("red/p2", "red/p3", 80, True, ["NetworkPolicy red/web lets pod red/p3", "both are of tenant red (VNI 1)"]),
        ("red/p2", "red/p3", 81, False, ["table 75: pod red/p3 (10.244.1.3) is selected by NetworkPolicy red/web"]),
        (
            "red/p2",
            "blue/p4",
            80,
            False,
            ["tenant blue (VNI 2) is isolated", "add red to the peers of the tenant blue"],
        ),
        ("green/p5", "blue/p4", 80, True, ["tenant green (VNI 3) is a peer of tenant blue (VNI 2)"]),
        (
            "blue/p4",
            "green/p5",
            80,
            False,
            ["table 28: pod blue/p4 (10.244.1.4) is selected by NetworkPolicy blue/silent"],
        ),
        ("red/p2", "open/p6", 80, True, ["tenant open (VNI 4) is open to everybody"]),
        ("red/p2", "system/p7", 80, True, ["all tenants reach the platform"]),
        ("system/p7", "red/p2", 80, True, ["the platform reaches all tenants"]),
        ("red/p2", "10.244.2.9", 80, True, ["through the tunnel to host beta (172.16.0.2)", "same command there"]),
        ("red/p2", "10.244.3.9", 80, False, ["there is no route for it", "whether a host has 10.244.3.9"]),
        ("red/p2", "10.244.1.99", 80, False, ["no pod has the destination address", "kubectl get pods"]),
        ("red/p2", "10.96.0.10", 80, True, ["10.96.0.10 is a service", "kube-proxy on alpha"]),
        ("red/p2", "192.0.2.2", 80, True, ["192.0.2.2 is a host", "routes and firewall of alpha"]),
        ("red/p2", "192.0.2.2", 80, True, ["it may pass through the host", "the API and those of goodnet_host_ports"]),
        ("red/p2", "192.0.2.2", 6443, True, ["192.0.2.2 is a host", "table 85: it is given to the host"]),
        ("system/p7", "192.0.2.2", 80, True, ["192.0.2.2 is a host", "table 85: it is given to the host"]),
        ("red/p2", "198.51.100.7", 80, True, ["10.244.1.2) may send", "no external address", "given to host alpha"]),
        ("green/p5", "198.51.100.7", 80, True, ["source becomes 203.0.113.9", "sent into the provider network"]),
        ("lost/p8", "198.51.100.7", 80, False, ["no host holds the external address", "goodnetctl provider"]),
        ("far/p9", "198.51.100.7", 80, True, ["leaves with 203.0.113.6, which host beta holds", "tunnel to host beta"]),
        (
            "10.244.2.9 of red",
            "red/p2",
            80,
            True,
            ["host beta (172.16.0.2) may send from 10.244.2.9", "delivered to pod"],
        ),
        ("10.244.2.9 of red", "blue/p4", 80, False, ["tenant red (VNI 1) is none of its peers"]),
        ("192.0.2.1", "red/p3", 81, True, ["from the host itself", "a host always reaches its own pods"]),
    ],
)
def test_words(switch: Switch, source: str, destination: str, port: int, passes: bool, said: list[str]) -> None:
    text = switch.trace(questions.trace_flow(STATE, end(source), end(destination), "tcp", port))
    found = explain.explain(text, STATE)
    assert found.passes is passes
    for words in said:
        assert words in str(found)


@pytest.mark.parametrize(
    ("packet", "passes", "said"),
    [
        # A pod that lies about its address, or about what it carries.
        (
            "tcp,in_port=10,dl_src=0a:58:0a:f4:01:02,nw_src=10.244.1.3,nw_dst=10.244.1.5",
            False,
            "from its own address only",
        ),
        (
            "udp,in_port=10,dl_src=0a:58:0a:f4:01:02,nw_src=10.244.1.2,nw_dst=10.0.0.9,udp_dst=4789",
            False,
            "build a tunnel",
        ),
        # A host that sends for another one.
        (
            "tcp,in_port=1,tun_src=172.16.0.2,tun_id=1,nw_src=10.244.3.9,nw_dst=10.244.1.2",
            False,
            "podCIDR has to contain",
        ),
        ("tcp,in_port=2,nw_src=10.244.2.9,nw_dst=10.244.1.2", False, "wrong route or a program on alpha"),
        ("tcp,in_port=2,nw_src=10.244.1.99,nw_dst=10.244.1.2", False, "a pod that is not here"),
        # From the provider network.
        ("tcp,in_port=3,nw_src=198.51.100.7,nw_dst=203.0.113.9,tp_dst=443", True, "forwards this port"),
        ("tcp,in_port=3,nw_src=198.51.100.7,nw_dst=203.0.113.9,tp_dst=444", False, "forwards no such port"),
        ("tcp,in_port=3,nw_src=10.244.1.3,nw_dst=203.0.113.9,tp_dst=443", False, "with an address of the cluster"),
        # A pod's packet that comes back from kube-proxy with another destination.
        ("tcp,in_port=2,nw_src=10.244.1.2,nw_dst=10.244.1.6,tp_dst=80", True, "kube-proxy gave it another destination"),
        ("tcp,in_port=2,nw_src=198.51.100.7,nw_dst=10.244.1.6,tp_dst=80", True, "from outside of the cluster"),
    ],
)
def test_words_for_packets_that_no_command_asks_for(switch: Switch, packet: str, passes: bool, said: str) -> None:
    found = explain.explain(switch.trace(f"{packet},nw_ttl=64"), STATE)
    assert said in str(found)
    assert found.passes is passes


def test_answers_are_told_from_openings(switch: Switch) -> None:
    flow = questions.trace_flow(STATE, end("red/p2"), end("blue/p4"), "tcp", 80)
    found = explain.explain(switch.trace(flow, "--ct-next", "trk,est,rpl"), STATE)
    assert "it answers in a connection that was let in before" in str(found)


def test_answers_leave_by_the_external_address_that_was_asked(switch: Switch) -> None:
    flow = questions.trace_flow(STATE, end("green/p5"), end("203.0.113.77"), "tcp", 80)
    options = ("--ct-next", "trk,est,rpl", "--ct-next", "trk,est,rpl")
    found = explain.explain(switch.trace(f"{flow},ct_mark={flows.VIA_EDGE:#x}", *options), STATE)
    assert "the connection came in by the external address of its tenant, so the answer leaves by it" in str(found)
    assert "it goes back to the machine of the provider network that it came from" in str(found)


def test_there_are_words_for_every_table() -> None:
    tables = {number for name, number in vars(flows.Table).items() if not name.startswith("_")}
    assert explain.SENTENCES.keys() == tables
    assert explain.ADVICE.keys() <= flows.DROPPED_IN.keys() <= tables


def test_words_that_are_none_are_told() -> None:
    with pytest.raises(ValueError, match="found 'no such bridge', wanted the tables"):
        explain.path("no such bridge")


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "port", "said"),
    [
        ("10.244.1.99", "red/p2", "tcp", 80, "No pod on alpha has 10.244.1.99"),
        ("10.244.2.9 of red", "10.244.2.10", "tcp", 80, "`goodnetctl trace` on beta"),
        ("10.244.2.9", "red/p2", "tcp", 80, "NAMESPACE/NAME"),
        ("red/p2", "red/p3", "esp", 80, "found 'esp', wanted one of tcp, udp, sctp, icmp"),
        ("red/p2", "red/p3", "tcp", 65536, "found 65536, wanted 1 to 65535"),
    ],
)
def test_what_cannot_be_asked_here(source: str, destination: str, protocol: str, port: int, said: str) -> None:
    with pytest.raises(CniError, match=re.escape(said)):
        questions.trace_flow(STATE, end(source), end(destination), protocol, port)


def test_an_echo_request_is_traced(switch: Switch) -> None:
    state = replace(STATE, policies=())
    text = switch.trace(questions.trace_flow(state, end("red/p2"), end("red/p3"), "icmp", 80))
    # The policy that the switch has lets TCP through only.
    assert not explain.explain(text, STATE).passes
