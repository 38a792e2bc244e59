# SPDX-License-Identifier: GPL-3.0-or-later
"""NetworkPolicies of the API (networking.k8s.io/v1) as addresses and ports: the policies of this host's pods.

All functions are pure. Objects come in the form that `goodnet.cluster.watches` keeps them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, collapse_addresses, ip_network
from typing import Any

from goodnet.model import Host, Pod, Policy, Ports, Rule, Service, Tenant

Object = Mapping[str, Any]
Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]

PROTOCOLS = ("TCP", "UDP", "SCTP")


@dataclass(frozen=True)
class Resolution:
    """What the NetworkPolicies come to on this host.

    policies may hold one NetworkPolicy several times, for pods that call different ports by the same name. looks_into:
    for each namespace with policies, those whose pods have to be known for them. problems: object and reason; such a
    rule lets nothing through.
    """

    policies: tuple[Policy, ...]
    looks_into: Mapping[str, frozenset[str]]
    findings: tuple[tuple[str, str], ...]


class _Bad(ValueError):
    """A part of a NetworkPolicy that has no meaning."""


@dataclass(frozen=True)
class _Pod:
    address: IPv4Address
    labels: Labels
    ports: tuple[Object, ...] = ()

    def named(self, protocol: str, name: str) -> list[int]:
        return [port["port"] for port in self.ports if port["name"] == name and port["protocol"] == protocol]


@dataclass
class _Cluster:
    """The pods and namespaces that selectors choose from."""

    here: Mapping[str, list[_Pod]]
    elsewhere: Mapping[str, list[Object]]
    namespaces: Mapping[str, Object]
    nodes: list[tuple[int, Host]]
    tenants: Mapping[str, Tenant]
    of: Mapping[str, str]
    looked_into: dict[str, set[str]] = field(default_factory=dict)

    def select(self, looking: str, namespaces: Iterable[str], selector: Selector) -> Iterator[_Pod]:
        """Yield the pods of these namespaces that a selector chooses. looking: the namespace of the policy."""
        for namespace in namespaces:
            self.looked_into.setdefault(looking, set()).add(namespace)
            yield from (pod for pod in self.here.get(namespace, ()) if selector(pod.labels))
            for pod in self.elsewhere.get(namespace, ()):
                if selector(pod["labels"]):
                    yield _Pod(IPv4Address(pod["address"]), pod["labels"], tuple(pod["ports"]))

    def host_port_addresses(self, blocks: Iterable[IPv4Network]) -> list[IPv4Network]:
        """Return the addresses that the hosts in these networks speak to pods from."""
        found = []
        for block in blocks:
            first, last = int(block.network_address), int(block.broadcast_address)
            found += [IPv4Network(host.pods[1]) for node, host in self.nodes if first <= node <= last]
        return found

    def reach(self, namespace: str, *, ingress: bool) -> Iterator[str]:
        """Yield the namespaces whose pods may open connections to this one, or the other way round, as tenants."""
        own = self.tenants.get(self.of.get(namespace, ""))
        if own is None:
            return
        # Few of many, and asked for with every policy.
        if own.vni == 0 or (ingress and own.open):
            vnis = set(self._numbered)
        elif ingress:
            vnis = {0, own.vni} | own.peers
        else:
            vnis = {0, own.vni} | self._admitting[None] | self._admitting.get(own.vni, set())
        for vni in vnis:
            if vni in self._numbered:
                yield from self._members.get(self._numbered[vni].name, ())

    @cached_property
    def _numbered(self) -> dict[int, Tenant]:
        return {tenant.vni: tenant for tenant in self.tenants.values()}

    @cached_property
    def _admitting(self) -> dict[int | None, set[int]]:
        """VNIs of the tenants that let in the one with a VNI, as a peer, and by None those that are open to all."""
        admitting: dict[int | None, set[int]] = {None: set()}
        for tenant in self.tenants.values():
            for peer in (None,) if tenant.open else tenant.peers:
                admitting.setdefault(peer, set()).add(tenant.vni)
        return admitting

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        members: dict[str, list[str]] = {}
        for namespace in self.namespaces:
            members.setdefault(self.of.get(namespace, ""), []).append(namespace)
        return members


def resolve(
    policies: Mapping[str, Object],
    pods: Mapping[str, Object],
    namespaces: Mapping[str, Object],
    local: Iterable[Pod],
    hosts: Iterable[Host],
    tenants: Iterable[Tenant],
    of: Mapping[str, str],
    services: Iterable[Service] = (),
) -> Resolution:
    """Resolve the NetworkPolicies that select pods of this host.

    policies, pods and namespaces are by name. local: pods of this host; their addresses are known here before the API
    knows them. of: tenant by namespace. services: those with endpoints that are not pods. Namespaces whose tenants are
    not let in anyway are not looked into.
    """
    here, elsewhere = _index(pods, local)
    served = tuple(services)
    nodes = [(int(host.node), host) for host in hosts]
    cluster = _Cluster(here, elsewhere, namespaces, nodes, {tenant.name: tenant for tenant in tenants}, of)
    resolved: list[Policy] = []
    findings: list[tuple[str, str]] = []
    for key, policy in sorted(policies.items()):
        namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
        if namespace not in here:
            continue
        try:
            spec = policy["spec"]
            if not isinstance(spec, Mapping):
                raise _Bad(f"spec: found {spec!r}, wanted a mapping")
            selector = _selector(spec.get("podSelector") or {}, "podSelector")
            selected = [pod for pod in here[namespace] if selector(pod.labels)]
            types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
            found: dict[str, list[_Rule]] = {}
            for kind, peers in (("Ingress", "from"), ("Egress", "to")):
                if kind in types and selected:
                    found[kind] = list(_rules(cluster, namespace, spec.get(kind.lower()), peers, key, findings))
        except _Bad as error:
            findings.append((key, f"{error}; the policy is not in force"))
            continue
        # Pods that call different ports by the same name get a policy for each.
        parts: dict[tuple[tuple[Rule, ...] | None, tuple[Rule, ...] | None], set[IPv4Address]] = {}
        for pod in selected:
            ingress = tuple(rule.received_by(pod) for rule in found["Ingress"]) if "Ingress" in found else None
            egress = None
            if "Egress" in found:
                egress = tuple(part for rule in found["Egress"] for part in (*rule.sent(), *rule.sent_to(served)))
            parts.setdefault((ingress, egress), set()).add(pod.address)
        for (ingress, egress), addresses in parts.items():
            resolved.append(Policy(namespace, name, frozenset(addresses), ingress, egress))
    looks_into = {namespace: frozenset(found) for namespace, found in cluster.looked_into.items()}
    return Resolution(tuple(resolved), looks_into, tuple(findings))


@dataclass(frozen=True)
class _Rule:
    """A rule with its selectors resolved.

    networks: who it is about, None for everybody; pods: those among them that may have names for ports. ports: the ones
    with numbers, None for all; named: protocol and name of the others.
    """

    networks: tuple[IPv4Network, ...] | None
    pods: tuple[_Pod, ...]
    ports: tuple[Ports, ...] | None
    named: tuple[tuple[str, str], ...]

    def received_by(self, pod: _Pod) -> Rule:
        if self.ports is None:
            return Rule(self.networks, None)
        named = tuple(Ports(protocol, port) for protocol, name in self.named for port in pod.named(protocol, name))
        return Rule(self.networks, (*self.ports, *named))

    def sent(self) -> Iterator[Rule]:
        """Yield one rule for all ports with numbers, and one for each number that a name stands for."""
        if self.ports is None or self.ports:
            yield Rule(self.networks, self.ports)
        numbers: dict[Ports, list[_Pod]] = {}
        for protocol, name in self.named:
            for pod in self.pods:
                for port in pod.named(protocol, name):
                    numbers.setdefault(Ports(protocol, port), []).append(pod)
        for ports, pods in sorted(numbers.items(), key=lambda item: (item[0].protocol, item[0].port or 0)):
            yield Rule(_networks(pods, ()), (ports,))

    def sent_to(self, services: Iterable[Service]) -> Iterator[Rule]:
        """Yield a rule for the ClusterIP of each service that leads to where this rule lets packets go."""
        for service in services:
            if any(self._covers(service.protocol, address, port) for address, port in service.endpoints):
                yield Rule((IPv4Network(service.address),), (Ports(service.protocol, service.port),))

    def _covers(self, protocol: str, address: IPv4Address, port: int) -> bool:
        return (self.networks is None or any(address in network for network in self.networks)) and (
            self.ports is None
            or any(
                ports.protocol == protocol and (ports.port is None or ports.port <= port <= (ports.last or ports.port))
                for ports in self.ports
            )
        )


def _index(pods: Mapping[str, Object], local: Iterable[Pod]) -> tuple[dict[str, list[_Pod]], dict[str, list[Object]]]:
    """Return by namespace the pods of this host, and the others that have an address."""
    here: dict[str, list[_Pod]] = {}
    seen = set()
    for own in local:
        key = f"{own.namespace}/{own.name}"
        found = pods.get(key)
        # A pod of the same name that was there before says nothing about this one.
        current = found if found is not None and found["uid"] == own.uid else {}
        pod = _Pod(own.address, current.get("labels", {}), tuple(current.get("ports", ())))
        here.setdefault(own.namespace, []).append(pod)
        seen.add(key)
    elsewhere: dict[str, list[Object]] = {}
    for key, other in pods.items():
        if key not in seen and other.get("address") and ":" not in other["address"]:
            elsewhere.setdefault(other["namespace"], []).append(other)
    return here, elsewhere


def _rules(
    cluster: _Cluster, namespace: str, rules: Any, word: str, key: str, findings: list[tuple[str, str]]
) -> Iterator[_Rule]:
    direction = "ingress" if word == "from" else "egress"
    for number, rule in enumerate(_list(rules, direction), 1):
        try:
            if not isinstance(rule, Mapping):
                raise _Bad(f"found {rule!r}, wanted a mapping")
            ports, named = _ports(rule.get("ports"))
            peers = _list(rule.get(word), word)
            if peers:
                pods, blocks = _peers(cluster, namespace, peers, ingress=word == "from")
                yield _Rule(_networks(pods, blocks), pods, ports, named)
                continue
            # Everybody; but a name of a port has a meaning only with pods.
            pods = ()
            if named and word == "to":
                pods = tuple(cluster.select(namespace, cluster.reach(namespace, ingress=False), lambda _labels: True))
            yield _Rule(None, pods, ports, named)
        except _Bad as error:
            findings.append((key, f"{direction} rule {number}: {error}; the rule lets nothing through"))


def _peers(
    cluster: _Cluster, namespace: str, peers: list[Any], *, ingress: bool
) -> tuple[tuple[_Pod, ...], list[IPv4Network]]:
    """Return the pods that peers choose, and the networks that they name."""
    pods: dict[IPv4Address, _Pod] = {}
    blocks: list[IPv4Network] = []
    for peer in peers:
        if not isinstance(peer, Mapping) or not peer.keys() & {"ipBlock", "podSelector", "namespaceSelector"}:
            raise _Bad(f"found {peer!r}, wanted ipBlock, podSelector or namespaceSelector")
        if peer.get("ipBlock") is not None:
            blocks += _block(peer["ipBlock"])
            continue
        namespaces: Iterable[str] = (namespace,)
        if peer.get("namespaceSelector") is not None:
            chooses = _selector(peer["namespaceSelector"], "namespaceSelector")
            reach = cluster.reach(namespace, ingress=ingress)
            namespaces = [other for other in reach if chooses(cluster.namespaces[other]["labels"])]
        selector = _selector(peer.get("podSelector") or {}, "podSelector")
        pods.update((pod.address, pod) for pod in cluster.select(namespace, namespaces, selector))
    if ingress:
        # Hosts speak to pods from an address in the pods' network; who lets a host in means this one, too.
        blocks += cluster.host_port_addresses(blocks)
    return tuple(pods.values()), blocks


def _block(block: Any) -> list[IPv4Network]:
    """Return an ipBlock as networks: the one it names without the exceptions. IPv6 is none, as no pod has it."""
    if not isinstance(block, Mapping):
        raise _Bad(f"ipBlock: found {block!r}, wanted a mapping with cidr")
    cidr = _network(block.get("cidr"), "ipBlock.cidr")
    exceptions = [_network(entry, "ipBlock.except") for entry in _list(block.get("except"), "ipBlock.except")]
    networks = [] if cidr is None else [cidr]
    for exception in exceptions:
        if exception is not None:
            networks = [part for network in networks for part in _without(network, exception)]
    return networks


def _without(network: IPv4Network, exception: IPv4Network) -> Iterator[IPv4Network]:
    if exception.subnet_of(network):
        yield from network.address_exclude(exception)
    elif not network.subnet_of(exception):
        yield network


def _network(text: Any, where: str) -> IPv4Network | None:
    try:
        if not isinstance(text, str):
            raise ValueError
        network = ip_network(text, strict=False)
    except ValueError:
        raise _Bad(f"{where}: found {text!r}, wanted a network such as 192.0.2.0/24") from None
    return network if isinstance(network, IPv4Network) else None


def _ports(ports: Any) -> tuple[tuple[Ports, ...] | None, tuple[tuple[str, str], ...]]:
    """Return ports with numbers, None for all, and protocols and names of those with names."""
    numbers: list[Ports] = []
    named: list[tuple[str, str]] = []
    entries = _list(ports, "ports")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise _Bad(f"ports: found {entry!r}, wanted a mapping")
        protocol, port, last = entry.get("protocol") or "TCP", entry.get("port"), entry.get("endPort")
        if protocol not in PROTOCOLS:
            raise _Bad(f"ports.protocol: found {protocol!r}, wanted {', '.join(PROTOCOLS)}")
        if isinstance(port, str) and last is None:
            named.append((protocol, port))
        elif port is None and last is None:
            numbers.append(Ports(protocol))
        elif _is_port(port) and (last is None or (_is_port(last) and last >= port)):
            numbers.append(Ports(protocol, port, last))
        else:
            found = f"{port!r}" if last is None else f"{port!r} with endPort {last!r}"
            raise _Bad(f"ports.port: found {found}, wanted 1 to 65535, with an endPort no lower, or a name")
    return (tuple(numbers) if entries else None), tuple(named)


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _selector(selector: Any, where: str) -> Selector:
    """Return a label selector as a function. An empty one chooses everything."""
    if not isinstance(selector, Mapping) or not isinstance(selector.get("matchLabels") or {}, Mapping):
        raise _Bad(f"{where}: found {selector!r}, wanted matchLabels and matchExpressions")
    labels = dict(selector.get("matchLabels") or {})
    tests: list[tuple[str, str, frozenset[str]]] = []
    for expression in _list(selector.get("matchExpressions"), f"{where}.matchExpressions"):
        operator = expression.get("operator") if isinstance(expression, Mapping) else None
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist") or not isinstance(expression.get("key"), str):
            wanted = "a key and an operator In, NotIn, Exists or DoesNotExist"
            raise _Bad(f"{where}.matchExpressions: found {expression!r}, wanted {wanted}")
        values = _list(expression.get("values"), f"{where}.matchExpressions.values")
        if not all(isinstance(value, str) for value in values):
            raise _Bad(f"{where}.matchExpressions.values: found {values!r}, wanted strings")
        tests.append((expression["key"], operator, frozenset(values)))

    def matches(found: Labels) -> bool:
        return all(found.get(key) == value for key, value in labels.items()) and all(
            {
                "In": key in found and found[key] in values,
                "NotIn": key not in found or found[key] not in values,
                "Exists": key in found,
                "DoesNotExist": key not in found,
            }[operator]
            for key, operator, values in tests
        )

    return matches


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Bad(f"{where}: found {value!r}, wanted a list")
    return value


def _networks(pods: Iterable[_Pod], blocks: Iterable[IPv4Network]) -> tuple[IPv4Network, ...]:
    return tuple(collapse_addresses([*(IPv4Network(pod.address) for pod in pods), *blocks]))
