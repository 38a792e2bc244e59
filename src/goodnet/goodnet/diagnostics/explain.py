# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a packet passes or is dropped, in words: from the text of `ofproto/trace` and the state of the host. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from goodnet.model import Host, Pod, Policy, State, Tenant
from goodnet.ovs import flows, flows_policy
from goodnet.ovs.flows import Cookie, Table

# What can be asked about.
PROTOCOLS = ("tcp", "udp", "sctp", "icmp")
_MATCHED = re.compile(r"^ *(\d+)\. (?:(.*), )?priority (\d+)(?:, cookie (0x[0-9a-f]+))?$")
_UNMATCHED = re.compile(r"^ *(\d+)\. No match\.$")
_SET = re.compile(r"^ +set_field:(0x[0-9a-f]+|\d+)(?:/0x[0-9a-f]+)?->(reg\d)$")
_NOW = re.compile(r"^ +-> NXM_NX_(REG\d|TUN_ID|CT_MARK)\[[^]]*\] is now (0x[0-9a-f]+|\d+)$")
_OUTPUT = re.compile(r"^ +(?:-> output port is |output:)(\d+)$")
_BRIDGE = re.compile(r'^bridge\("(.*)"\)$')
_ADDRESS = re.compile(r"(nw_src|nw_dst)=([0-9.]+)")


@dataclass(frozen=True)
class Step:
    """What a packet met in one table. match is None when no flow matched. registers: their values afterwards."""

    table: int
    match: str | None
    priority: int
    cookie: int
    registers: Mapping[str, int]

    @property
    def kind(self) -> int:
        return self.cookie >> 32 & 0xFFFF

    @property
    def number(self) -> int:
        return self.cookie & 0xFFFFFFFF


@dataclass(frozen=True)
class Path:
    """The way of a packet through the bridge. output: the port that it leaves by, None when it is dropped."""

    steps: tuple[Step, ...]
    source: IPv4Address | None
    destination: IPv4Address | None
    output: int | None


@dataclass(frozen=True)
class Explanation:
    """passes: whether the packet leaves the bridge. steps: a sentence for each table. advice: what to change, if so."""

    passes: bool
    steps: tuple[str, ...]
    verdict: str
    advice: str = ""

    def __str__(self) -> str:
        lines = [*self.steps, "", self.verdict, *([self.advice] if self.advice else [])]
        return "\n".join(lines)


def path(trace: str, bridge: str = "br-goodnet") -> Path:
    """Return the way that the text of `ofproto/trace` describes. ValueError when it has none.

    What other bridges do with the packet, as that of the underlay, is left out.
    """
    steps: list[Step] = []
    registers: dict[str, int] = {}
    addresses: dict[str, IPv4Address] = {}
    output: int | None = None
    here = True
    for line in trace.splitlines():
        if line.startswith("Flow:"):
            # The last of them, behind address translation, has the addresses that the later tables see.
            addresses.update((key, IPv4Address(value)) for key, value in _ADDRESS.findall(line))
        elif found := _BRIDGE.match(line):
            here = found[1] == bridge
        elif not here:
            continue
        elif found := _MATCHED.match(line):
            cookie = int(found[4] or "0", 16)
            steps.append(Step(int(found[1]), found[2] or "", int(found[3]), cookie, dict(registers)))
        elif found := _UNMATCHED.match(line):
            steps.append(Step(int(found[1]), None, 0, 0, dict(registers)))
        elif found := _SET.match(line):
            _note(steps, registers, found[2], int(found[1], 0))
        elif found := _NOW.match(line):
            _note(steps, registers, found[1].lower(), int(found[2], 0))
        elif found := _OUTPUT.match(line):
            output = int(found[1])
    if not steps:
        raise ValueError(f"ofproto/trace: found {trace.strip()[:300]!r}, wanted the tables of {bridge}")
    return Path(tuple(steps), addresses.get("nw_src"), addresses.get("nw_dst"), output)


def _note(steps: list[Step], registers: dict[str, int], name: str, value: int) -> None:
    registers[name] = value
    if steps:
        last = steps[-1]
        steps[-1] = Step(last.table, last.match, last.priority, last.cookie, dict(registers))


def explain(trace: str, state: State, bridge: str = "br-goodnet") -> Explanation:
    """Return the words for the text of `ofproto/trace`."""
    way = path(trace, bridge)
    words = _Words(state, way)
    passed = way.steps if way.output is not None else way.steps[:-1]
    sentences = tuple(f"table {step.table:2}: {words.step(step)}" for step in passed)
    if way.output is not None:
        return Explanation(True, sentences, f"It passes: {words.output(way.output)}.", words.next(way.output))
    last = way.steps[-1]
    reason, advice = words.drop(last)
    return Explanation(False, sentences, f"It is dropped in table {last.table}: {reason}.", advice)


class _Words:
    def __init__(self, state: State, way: Path) -> None:
        self._state = state
        self._way = way
        self._pods: dict[IPv4Address, Pod] = {pod.address: pod for pod in state.pods}
        self._hosts: dict[int, Host] = {int(host.node): host for host in state.hosts}
        self._tenants: dict[int, Tenant] = {tenant.vni: tenant for tenant in state.tenants}
        self._policies: dict[int, Policy] = {
            flows.policy_number(policy.namespace, policy.name): policy for policy in state.policies
        }

    def tenant(self, vni: int) -> str:
        if vni == 0:
            return "the platform (VNI 0)"
        found = self._tenants.get(vni)
        return f"tenant {found.name} (VNI {vni})" if found else f"VNI {vni}, which no tenant has"

    def pod(self, address: IPv4Address | None) -> str:
        found = self._pods.get(address) if address is not None else None
        return f"pod {found.namespace}/{found.name} ({address})" if found else str(address)

    def host(self, number: int) -> str:
        found = self._hosts.get(number)
        return f"host {found.name} ({found.underlay})" if found else f"host {IPv4Address(number)}"

    def step(self, step: Step) -> str:
        return SENTENCES[step.table](self, step)

    def selecting(self, address: IPv4Address | None, ingress: bool) -> Iterator[Policy]:
        for policy in self._state.policies:
            if address in policy.pods and (policy.ingress if ingress else policy.egress) is not None:
                yield policy

    def classify(self, step: Step) -> str:
        words = {
            flows.POD: "it comes in from a pod's port",
            flows.TUNNEL: "it comes in from the tunnel",
            flows.OUTSIDE: "it comes in from the host",
            flows.PROVIDER: "it comes in from the provider network",
        }
        return words[step.registers["reg3"]]

    def from_tunnel(self, step: Step) -> str:
        vni = self.tenant(step.registers.get("reg0", 0))
        return f"{self.host(step.number)} may send from {self._way.source}; it says that the sender is of {vni}"

    def from_pod(self, step: Step) -> str:
        return (
            f"its addresses are those of {self.pod(IPv4Address(step.number))} of {self.tenant(step.registers['reg0'])}"
        )

    def from_host(self, step: Step) -> str:
        if step.registers.get("reg3") == flows.HOST:
            return "it is from the host itself, which reaches all tenants"
        if step.registers.get("reg3") == flows.RETURNED:
            return "it has the address of a pod of this host: kube-proxy gave it another destination"
        return "it is from outside of the cluster, through the host"

    def returned(self, step: Step) -> str:
        return f"its sender is {self.pod(IPv4Address(step.number))} of {self.tenant(step.registers['reg0'])}"

    def from_provider(self, step: Step) -> str:
        return "the external addresses of this host's tenants are looked up in the connections through them"

    def translated_in(self, step: Step) -> str:
        if step.kind == Cookie.TENANT:
            return f"{self.tenant(step.number)} forwards this port"
        return f"it belongs to a connection of {self.tenant(step.registers.get('reg0', 0))}"

    def forward(self, step: Step) -> str:
        return f"it goes to {self.pod(self._way.destination)}, one of those that the port is forwarded to"

    def track(self, step: Step) -> str:
        return "its connection is looked up"

    def arp(self, step: Step) -> str:
        return "it is ARP, which the bridge answers for everybody"

    def state(self, step: Step) -> str:
        if "+rpl" in (step.match or "").partition("ct_state=")[2].partition(",")[0]:
            return "it answers in a connection that was let in before"
        if "+rel" in (step.match or ""):
            return "it is about a connection that was let in before"
        return "it opens a connection, or goes the way of the one who opened it"

    def policy(self, step: Step, ingress: bool) -> str:
        verb, who = ("receive", self._way.destination) if ingress else ("send", self._way.source)
        if step.kind == Cookie.POLICY and (found := self._policies.get(step.number)):
            return f"NetworkPolicy {found.namespace}/{found.name} lets {self.pod(who)} {verb} it"
        if step.priority > flows_policy.ALL:
            return "NetworkPolicies do not judge it here: " + self._exempt(step, ingress)
        return f"no NetworkPolicy restricts what {self.pod(who)} may {verb}"

    @staticmethod
    def _exempt(step: Step, ingress: bool) -> str:
        match = step.match or ""
        if "nw_frag" in match:
            return "it is a later part of a packet whose first part is judged"
        if "ct_state" in match:
            return "its connection was let in before"
        if ingress:
            return "a host always reaches its own pods, as the kubelet has to"
        return "it goes to a service, and is judged when kube-proxy has chosen the pod"

    def route(self, step: Step) -> str:
        if step.kind == Cookie.HOST:
            return f"{self._way.destination} is a pod of {self.host(step.number)}"
        if step.registers.get("reg2") == self._state.config.provider and self._state.config.provider is not None:
            return "it leaves the cluster by this host, which holds the external address of its tenant"
        if f"ct_mark={flows.VIA_EDGE:#x}" in (step.match or ""):
            return "the connection came in by the external address of its tenant, so the answer leaves by it"
        destination = self._way.destination
        own = next((host for host in self._state.hosts if host.name == self._state.config.host), None)
        if own is not None and destination is not None and destination in own.pods:
            return f"{destination} is in the range of this host's pods"
        if destination is not None and destination in self._state.config.services:
            return f"{destination} is a service, so the host's kube-proxy chooses the pod"
        if destination is not None and any(destination in network for network in self._state.config.nodes):
            return f"{destination} is a host"
        if "ct_mark" in (step.match or ""):
            return "the connection came by way of the host, so the answer goes back there"
        return f"{destination} is outside of the cluster"

    def way_out(self, step: Step) -> str:
        tenant = self._tenants.get(step.number) if step.kind == Cookie.TENANT else None
        if tenant is not None:
            return f"tenant {tenant.name} leaves with {tenant.external}, which host {tenant.edge} holds"
        return "its tenant has no external address, so it leaves with the address of this host"

    def to_pod(self, step: Step) -> str:
        where = self.pod(IPv4Address(step.number))
        return f"the destination is {where} of {self.tenant(step.registers.get('reg1', 0))}"

    def isolation(self, step: Step) -> str:
        source, destination = step.registers.get("reg0", 0), step.registers.get("reg1", 0)
        if source == 0:
            return "the platform reaches all tenants"
        if destination == 0:
            return "all tenants reach the platform"
        if source == destination:
            return f"both are of {self.tenant(source)}"
        to = self._tenants.get(destination)
        if to is not None and to.open:
            return f"{self.tenant(destination)} is open to everybody"
        return f"{self.tenant(source)} is a peer of {self.tenant(destination)}"

    def deliver(self, step: Step) -> str:
        if step.priority:
            return "the connection came by way of the host, so the answer goes back there"
        return "it goes to the pod itself"

    def to_host(self, step: Step) -> str:
        if step.registers.get("reg6"):
            return "it may pass through the host, which drops it when it is for a host of the cluster"
        return "it is given to the host"

    def remember(self, step: Step) -> str:
        return "the connection is remembered, so that its answers pass"

    def to_output(self, step: Step) -> str:
        return "it leaves the bridge"

    def translate_out(self, step: Step) -> str:
        tenant = self._tenants.get(step.number) if step.kind == Cookie.TENANT else None
        if tenant is not None:
            return f"its source becomes {tenant.external}, the external address of tenant {tenant.name}"
        return "its source becomes the external address, as for the packets of the connection before"

    def to_provider(self, step: Step) -> str:
        if step.priority:
            return "it goes back to the machine of the provider network that it came from"
        return "it goes to the router of the provider network"

    def output(self, port: int) -> str:
        config = self._state.config
        for pod in self._state.pods:
            if pod.port == port:
                return f"it is delivered to {self.pod(pod.address)}"
        if port == config.tunnel:
            for step in reversed(self._way.steps):
                if step.table in (Table.ROUTE, Table.WAY_OUT):
                    return f"it goes through the tunnel to {self._tunnel_end(step)}"
        if port == config.host_port:
            return f"it is given to host {config.host}"
        if port == config.provider:
            return "it is sent into the provider network"
        return f"it leaves by port {port}"

    def _tunnel_end(self, step: Step) -> str:
        if step.kind == Cookie.HOST:
            return self.host(step.number)
        tenant = self._tenants.get(step.number)
        return f"host {tenant.edge}" if tenant is not None else "another host"

    def next(self, port: int) -> str:
        """Return what else decides, after this bridge."""
        config = self._state.config
        if port == config.tunnel:
            return "The other host decides whether the pod receives it: run the same command there."
        if port == config.host_port:
            destination = self._way.destination
            if destination is not None and destination in config.services:
                return (
                    f"If no answer comes, look whether the service has endpoints, and at kube-proxy on {config.host}."
                )
            advice = f"If no answer comes, look at routes and firewall of {config.host}."
            if any(step.table == Table.TO_HOST and step.registers.get("reg6") for step in self._way.steps):
                advice += " Of hosts, pods reach the ports of the API and those of goodnet_host_ports only."
            return advice
        return ""

    def drop(self, step: Step) -> tuple[str, str]:
        """Return why, and what to change."""
        reason = flows.DROPPED_IN.get(step.table, "no flow of this table lets it through")
        source, destination = step.registers.get("reg0", 0), step.registers.get("reg1", 0)
        if step.table == Table.ISOLATION:
            to, peer = self._tenants.get(destination), self._tenants.get(source)
            names = (to.name if to else f"VNI {destination}", peer.name if peer else f"VNI {source}")
            return (
                f"{self.tenant(destination)} is isolated, and {self.tenant(source)} is none of its peers",
                f"To let it in, add {names[1]} to the peers of the tenant {names[0]} (annotation "
                "cloudbang.platform/peers of its namespaces), or make it open (label cloudbang.platform/network=open).",
            )
        if step.table in (Table.INGRESS, Table.EGRESS):
            ingress = step.table == Table.INGRESS
            who = self._way.destination if ingress else self._way.source
            verb, direction = ("receive", "ingress") if ingress else ("send", "egress")
            selecting = ", ".join(f"{policy.namespace}/{policy.name}" for policy in self.selecting(who, ingress))
            return (
                f"{self.pod(who)} is selected by NetworkPolicy {selecting}, which does not let it {verb} this",
                f"To let it through, add an {direction} rule for it to one of them, or another NetworkPolicy.",
            )
        return reason, ADVICE.get(step.table, "").format(
            source=self._way.source, destination=self._way.destination, host=self._state.config.host
        )


SENTENCES: dict[int, Callable[[_Words, Step], str]] = {
    Table.CLASSIFY: _Words.classify,
    Table.FROM_TUNNEL: _Words.from_tunnel,
    Table.FROM_POD: _Words.from_pod,
    Table.FROM_HOST: _Words.from_host,
    Table.FROM_PROVIDER: _Words.from_provider,
    Table.RETURNED: _Words.returned,
    Table.TRANSLATED_IN: _Words.translated_in,
    Table.FORWARD: _Words.forward,
    Table.TRACK: _Words.track,
    Table.ARP: _Words.arp,
    Table.STATE: _Words.state,
    Table.EGRESS: lambda words, step: words.policy(step, ingress=False),
    Table.ROUTE: _Words.route,
    Table.WAY_OUT: _Words.way_out,
    Table.POD: _Words.to_pod,
    Table.INGRESS: lambda words, step: words.policy(step, ingress=True),
    Table.ISOLATION: _Words.isolation,
    Table.DELIVER: _Words.deliver,
    Table.TO_HOST: _Words.to_host,
    Table.REMEMBER: _Words.remember,
    Table.OUTPUT: _Words.to_output,
    Table.TRANSLATE_OUT: _Words.translate_out,
    Table.TO_PROVIDER: _Words.to_provider,
}

# What to do about a packet that ends in a table; where nothing is said the packet is wrong, not the network.
ADVICE = {
    Table.FROM_TUNNEL: "Look at the Node of the host that sent it: its podCIDR has to contain {source}, and its "
    "InternalIP or annotation cloudbang.platform/underlay-address has to be the address that its tunnels come from.",
    Table.FROM_POD: "A pod may send from its own address only; addresses that the pod gave itself do not work.",
    Table.FROM_HOST: "Look for a wrong route or a program on {host} that sends with the address {source}.",
    Table.RETURNED: "Look with `goodnetctl status` whether the pod with {source} runs on {host}.",
    Table.ROUTE: "Look with `goodnetctl status` whether a host has {destination} in the range of its pods.",
    Table.WAY_OUT: "Look with `goodnetctl provider` who holds the external addresses, and at keepalived there.",
    Table.POD: "Look with `kubectl get pods -A -o wide` which pod has {destination}, and on which host.",
    Table.TRANSLATED_IN: "Look at the tenant's Services of type LoadBalancer.",
    Table.FORWARD: "Look whether pods of the Service are ready.",
}
