# SPDX-License-Identifier: GPL-3.0-or-later
"""What the flows follow from, put together from what is known of the cluster and of the pods on this host. Pure."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Generic, TypeVar

from goodnet.cluster import forwards, policies, tenants
from goodnet.cluster.events import Note
from goodnet.cluster.objects import ANNOTATION_UNDERLAY, Object
from goodnet.cluster.tenants import Finding, Tenants
from goodnet.cluster.watches import Resource, View, endpoints_of, pods_of
from goodnet.model import Config, Host, Pod, Policy, Service, State

_In = TypeVar("_In")
_Out = TypeVar("_Out")
# How many names of a kind a line of the log has.
_NAMES = 5


@dataclass(frozen=True)
class Built:
    """A state, and what else came out of making it.

    notes: what is wrong, with the uid of the object. follow: lists that have to be known for it. addresses: the
    external address of each Service that has one, by namespace/name.
    """

    state: State
    tenants: Tenants
    notes: tuple[tuple[Note, str], ...]
    follow: tuple[Resource, ...]
    addresses: Mapping[str, IPv4Address]


class _Memo(Generic[_In, _Out]):
    """The last result of a function, given again while its input is the same."""

    def __init__(self, function: Callable[[_In], _Out]) -> None:
        self._function = function
        self._last: tuple[_In, _Out] | None = None

    def __call__(self, given: _In) -> _Out:
        if self._last is None or self._last[0] != given:
            self._last = (given, self._function(given))
        return self._last[1]


class Builder:
    """Makes states, and does again only what follows from something that changed."""

    def __init__(
        self,
        cluster_cidr: IPv4Network,
        service_cidr: IPv4Network,
        system_namespaces: frozenset[str],
        provider: IPv4Network | None = None,
        edges: frozenset[str] = frozenset(),
        machines: Iterable[IPv4Address] = (),
        names: Mapping[str, IPv4Address] | None = None,
    ) -> None:
        self._hosts = _Memo[Mapping[str, Object], tuple[tuple[Host, ...], tuple[Note, ...]]](
            lambda nodes: hosts_of(nodes, cluster_cidr, service_cidr, edges, machines, names)
        )
        self._tenants = _Memo[tuple[Mapping[str, Object], Mapping[str, str], "str | None"], Tenants](
            lambda given: tenants.resolve(*given, system_namespaces)
        )
        self._policies = _Policies()
        # The network that external addresses are in; only edge hosts know it.
        self._provider = provider

    def host(self, view: View, name: str) -> Host | None:
        """Return a host of the cluster, None when it is not known or has no range of addresses yet."""
        return next((host for host in self._hosts(view.nodes)[0] if host.name == name), None)

    def tunnel_ends(self, view: View) -> tuple[IPv4Address, ...]:
        """Return the addresses that tunnels to hosts end at."""
        return tuple(sorted({host.underlay for host in self._hosts(view.nodes)[0]}))

    def tenants(self, view: View) -> Tenants:
        return self._tenants((view.namespaces, view.tenants, view.holder))

    def build(self, config: Config, view: View, pods: Iterable[Pod]) -> Built:
        """Return the state of the host that config is about."""
        hosts, host_notes = self._hosts(view.nodes)
        found = self.tenants(view)
        # A namespace that is gone keeps its tenant as long as it has pods here.
        placed = tuple(replace(pod, tenant=found.of.get(pod.namespace, pod.tenant)) for pod in pods)
        services = _apiserver(view)
        resolved = self._policies.resolve(view, placed, hosts, found, services)
        outside = forwards.resolve(view.services, view.endpoints, found.tenants, found.of)
        state = State(config, hosts, outside.tenants, placed, resolved.policies, services)
        notes = [(note, note.name) for note in host_notes]
        for finding in (*found.findings, *self._misplaced(found)):
            note = Note("Namespace", finding.namespace, finding.namespace, finding.reason, finding.message)
            notes.append((note, view.namespaces[finding.namespace]["uid"]))
        for key, message in resolved.findings:
            namespace, _ignored, name = key.partition("/")
            uid = view.policies[key]["metadata"]["uid"]
            notes.append((Note("NetworkPolicy", namespace, name, "PolicyInvalid", message), uid))
        follow = (
            *(pods_of(namespace) for namespace in sorted(frozenset().union(*resolved.looks_into.values()))),
            *(endpoints_of(namespace) for namespace in sorted(outside.looks_into)),
        )
        return Built(state, found, (*notes, *outside.notes), follow, outside.addresses)

    def _misplaced(self, found: Tenants) -> Iterator[Finding]:
        if self._provider is None:
            return
        wrong = {one.name: one for one in found.tenants if one.external and one.external not in self._provider}
        for namespace, tenant in found.of.items():
            if tenant in wrong:
                message = f"external address: found {wrong[tenant].external}, wanted one in {self._provider}"
                yield Finding(namespace, "ExternalInvalid", message)


class _Policies:
    """Resolves NetworkPolicies, again only those of namespaces where pods or policies changed."""

    def __init__(self) -> None:
        self._by_namespace = _Memo(_by_namespace)
        self._general: object = None
        # By namespace: what its part follows from, and the part.
        self._former: dict[str, tuple[object, policies.Resolution]] = {}

    def resolve(
        self,
        view: View,
        local: tuple[Pod, ...],
        hosts: tuple[Host, ...],
        found: Tenants,
        services: tuple[Service, ...],
    ) -> policies.Resolution:
        general = (view.namespaces, hosts, found.tenants, services)
        if general != self._general:
            self._general, self._former = general, {}
        everybody = {**view.others, **view.pods}
        known: dict[str, dict[str, Object]] = {}
        for key, pod in everybody.items():
            known.setdefault(pod["namespace"], {})[key] = pod
        here: dict[str, list[Pod]] = {}
        for own in local:
            here.setdefault(own.namespace, []).append(own)
        every = self._by_namespace(view.policies)

        def basis(namespace: str, part: policies.Resolution) -> object:
            """Return what a namespace's part follows from, beside what is general."""
            looked = {namespace, *part.looks_into.get(namespace, ())}
            return every[namespace], {name: (known.get(name), here.get(name)) for name in looked}

        concerned = here.keys() & every.keys()
        now = {
            namespace: former
            for namespace, former in self._former.items()
            if namespace in concerned and former[0] == basis(namespace, former[1])
        }
        changed = {
            key: {**one, "spec": json.loads(one["spec"])}
            for namespace in concerned - now.keys()
            for key, one in every[namespace].items()
        }
        if changed:
            whole = policies.resolve(
                changed, everybody, view.namespaces, local, hosts, found.tenants, found.of, services
            )
            for namespace, part in _parts(whole, concerned - now.keys()).items():
                now[namespace] = (basis(namespace, part), part)
        self._former = now
        parts = [now[namespace][1] for namespace in sorted(now)]
        return policies.Resolution(
            tuple(policy for part in parts for policy in part.policies),
            {namespace: looked for part in parts for namespace, looked in part.looks_into.items()},
            tuple(finding for part in parts for finding in part.findings),
        )


def _parts(whole: policies.Resolution, namespaces: Iterable[str]) -> dict[str, policies.Resolution]:
    """Return what of a resolution is of each namespace."""
    own: dict[str, list[Policy]] = {namespace: [] for namespace in namespaces}
    findings: dict[str, list[tuple[str, str]]] = {namespace: [] for namespace in own}
    for policy in whole.policies:
        own[policy.namespace].append(policy)
    for key, message in whole.findings:
        findings[key.partition("/")[0]].append((key, message))
    return {
        namespace: policies.Resolution(
            tuple(own[namespace]),
            {namespace: whole.looks_into.get(namespace, frozenset())},
            tuple(findings[namespace]),
        )
        for namespace in own
    }


def _apiserver(view: View) -> tuple[Service, ...]:
    """Return the API's own Service. Its endpoints are hosts, so kube-proxy brings nothing of it back to the bridge."""
    return tuple(
        Service(
            IPv4Address(service["address"]),
            port["protocol"],
            port["port"],
            forwards.endpoints(view.apiserver_endpoints, key, port["name"]),
        )
        for key, service in sorted(view.apiserver.items())
        if service["address"] and ":" not in service["address"]
        for port in service["ports"]
    )


def _by_namespace(objects: Mapping[str, Object]) -> dict[str, dict[str, Object]]:
    found: dict[str, dict[str, Object]] = {}
    for key, policy in objects.items():
        found.setdefault(policy["metadata"]["namespace"], {})[key] = policy
    return found


def hosts_of(
    nodes: Mapping[str, Object],
    within: IPv4Network,
    services: IPv4Network,
    edges: frozenset[str] = frozenset(),
    machines: Iterable[IPv4Address] = (),
    names: Mapping[str, IPv4Address] | None = None,
) -> tuple[tuple[Host, ...], tuple[Note, ...]]:
    """Return the hosts that nodes describe, by name, and what is wrong with the others.

    within, services: the networks of pods and Services. edges: names of those that carry external addresses, as the
    installation says; no Node can claim it. machines: addresses of the cluster's machines and the virtual IP.
    names: the address of each machine, by its name, as the installation says.
    """
    hosts: list[Host] = []
    notes: list[Note] = []
    owners = _owners(nodes, frozenset(map(str, machines)), {str(one): name for name, one in (names or {}).items()})
    for name in sorted(nodes):
        node = nodes[name]
        try:
            address = IPv4Address(node["address"])
            pods = IPv4Network(node["pods"])
        except ValueError as error:
            notes.append(Note("Node", "", name, "NodeInvalid", f"found {error}; wanted IPv4 addresses"))
            continue
        try:
            _own(name, address, owners, (within, services))
        except ValueError as error:
            message = f"InternalIP: found {address}, {error}; delete the node, and its kubelet registers it again"
            notes.append(Note("Node", "", name, "NodeInvalid", message))
            continue
        underlay = address
        try:
            if node["underlay"] and node["underlay"] != node["address"]:
                underlay = _underlay(name, node["underlay"], owners, (within, services))
        except ValueError as error:
            message = f"annotation {ANNOTATION_UNDERLAY}: found {node['underlay']}, {error}"
            notes.append(Note("Node", "", name, "NodeInvalid", message))
        if not pods.subnet_of(within):
            message = (
                f"podCIDR: found {pods}, wanted a network within {within}, the cluster_cidr of agent.yaml; "
                "correct kube-controller-manager's --cluster-cidr, delete the node and let it join again"
            )
            notes.append(Note("Node", "", name, "NodeInvalid", message))
            continue
        hosts.append(Host(name, address, underlay, pods, name in edges))
    return _without_overlap(hosts, notes), tuple(notes)


def _owners(nodes: Mapping[str, Object], machines: frozenset[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return whose each address is. The installation's word goes before a Node's, the first Node's before others'."""
    owners = {node["address"]: name for name, node in sorted(nodes.items(), reverse=True)}
    # Without names, the address of a Node can be any machine's.
    others = machines - names.keys() if names else machines - owners.keys()
    return {**owners, **dict.fromkeys(others, "another machine of the cluster"), **names}


def _own(name: str, address: IPv4Address, owners: dict[str, str], overlay: tuple[IPv4Network, ...]) -> None:
    """Note an address as a Node's. ValueError says why it cannot be.

    All hosts send there what is for the Node's pods, whoever the address belongs to.
    """
    nobody = (address.is_multicast, address.is_loopback, address.is_unspecified, address.is_link_local)
    if any(nobody) or address.is_reserved or any(address in network for network in overlay):
        raise ValueError("wanted an IPv4 address of the host, outside of the networks of pods and Services")
    owner = owners.setdefault(str(address), name)
    if owner != name:
        raise ValueError(f"which is an address of {owner}; wanted its own")


def _underlay(name: str, text: str, owners: dict[str, str], overlay: tuple[IPv4Network, ...]) -> IPv4Address:
    """Return the address that tunnels to a Node end at. ValueError says what is wrong."""
    try:
        address = IPv4Address(text)
    except ValueError:
        raise ValueError("wanted an IPv4 address") from None
    _own(name, address, owners, overlay)
    return address


def _without_overlap(hosts: list[Host], notes: list[Note]) -> tuple[Host, ...]:
    """Return the hosts but for those whose pods' range is also another's, which comes first.

    All ranges that the controller manager gives are of one length: those that are not of the most common one come last,
    larger ones after smaller ones, so that no Node drops many others.
    """
    lengths = Counter(host.pods.prefixlen for host in hosts)
    owners: dict[IPv4Network, Host] = {}
    taken: list[IPv4Network] = []
    for host in sorted(
        hosts, key=lambda host: (-lengths[host.pods.prefixlen], -host.pods.prefixlen, host.pods, host.name)
    ):
        place = bisect_left(taken, host.pods)
        other = next((one for one in taken[max(place - 1, 0) : place + 1] if host.pods.overlaps(one)), None)
        if other:
            message = f"podCIDR: found {host.pods}, which overlaps {other} of {owners[other].name}; wanted its own"
            notes.append(Note("Node", "", host.name, "NodeInvalid", message))
        else:
            taken.insert(place, host.pods)
            owners[host.pods] = host
    return tuple(sorted(owners.values(), key=lambda host: host.name))


def describe(former: State | None, now: State) -> str:
    """Return in a few words what is different."""
    if former is None:
        return f"start with {len(now.hosts)} hosts, {len(now.tenants)} tenants and {len(now.pods)} pods"
    words = [
        *_differences("pod", former.pods, now.pods, lambda pod: f"{pod.namespace}/{pod.name}"),
        *_differences("host", former.hosts, now.hosts, lambda host: host.name),
        *_differences("tenant", former.tenants, now.tenants, lambda tenant: tenant.name),
        *_differences("policy", former.policies, now.policies, lambda policy: f"{policy.namespace}/{policy.name}"),
    ]
    if former.config != now.config:
        words.append("ports of the bridge changed")
    return "; ".join(words) or "nothing is different"


def _differences(kind: str, former: tuple[_In, ...], now: tuple[_In, ...], name: Callable[[_In], str]) -> list[str]:
    if former == now:
        return []
    # A name may stand for several, as that of a policy for pods with different ports.
    left, come = set(former) - set(now), set(now) - set(former)
    gone, new = {name(one) for one in left}, {name(one) for one in come}
    groups = {"added": new - gone, "removed": gone - new, "changed": gone & new}
    return [f"{kind} {_listed(sorted(names))} {what}" for what, names in groups.items() if names]


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")
