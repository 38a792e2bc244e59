# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network of one host depends on, as plain values: the input of `ovs.flows.desired`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

# The tenant of the platform itself: it reaches all others and all others reach it. Its VNI is 0.
SYSTEM = "system"
# What every pod has as its router; there is no such host, the address only leads to the virtual MAC.
ROUTER = "169.254.1.1"
# VNIs have 24 bits, GRE keys 32: both can carry these.
MAX_VNI = 2**24 - 1


@dataclass(frozen=True)
class Host:
    """A host of the cluster.

    node is the address that the cluster knows the host by, underlay the one that its tunnels end at (the same unless
    the datapath is in user space), pods the range of its pods' addresses. edge: it carries tenants' external addresses.
    """

    name: str
    node: IPv4Address
    underlay: IPv4Address
    pods: IPv4Network
    edge: bool = False


@dataclass(frozen=True)
class Forward:
    """A port of a tenant's external address, and the addresses and ports of the pods that connections to it go to."""

    protocol: str
    port: int
    targets: tuple[tuple[IPv4Address, int], ...]


@dataclass(frozen=True)
class Tenant:
    """A tenant. open: everybody may open connections to it. peers: VNIs of the tenants that may.

    external: the address that its connections to the outside come from and that the outside reaches its forwards at.
    The tenant `system` has none. edge: name of the host that holds this address now, None while no host does.
    """

    name: str
    vni: int
    open: bool = False
    peers: frozenset[int] = frozenset()
    external: IPv4Address | None = None
    edge: str | None = None
    forwards: tuple[Forward, ...] = ()


@dataclass(frozen=True)
class Pod:
    """A pod on this host. port: number of its OpenFlow port. uid is that of the API, container that of its sandbox."""

    namespace: str
    name: str
    uid: str
    container: str
    address: IPv4Address
    mac: str
    port: int
    tenant: str


@dataclass(frozen=True)
class Ports:
    """A protocol and the ports of it that a rule is about: none is all of them. last: the end of a range."""

    protocol: str
    port: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Rule:
    """What a policy lets through: from or to any of the networks, and on any of the ports. None of either: all."""

    networks: tuple[IPv4Network, ...] | None = None
    ports: tuple[Ports, ...] | None = None


@dataclass(frozen=True)
class Policy:
    """A NetworkPolicy with its selectors resolved. pods: addresses of the local pods it selects.

    ingress and egress are None when the policy does not speak of that direction; an empty tuple lets nothing through.
    """

    namespace: str
    name: str
    pods: frozenset[IPv4Address]
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None


@dataclass(frozen=True)
class Service:
    """A port of a Service with endpoints that are not pods, as that of the API server.

    kube-proxy does not bring what goes there back to the bridge, so policies have to judge it by the ClusterIP.
    """

    address: IPv4Address
    protocol: str
    port: int
    endpoints: tuple[tuple[IPv4Address, int], ...]


@dataclass(frozen=True)
class Config:
    """What the host's installation decides; ports are OpenFlow port numbers on the integration bridge.

    provider is the port that leads to provider_network, only on edge hosts. mac is the one virtual address that all
    pods have as their router; what comes to the host from passing_mac may only pass through it. nodes: networks of the
    hosts themselves, which are reached without the overlay. machines: addresses of hosts and of the virtual IP; of them
    pods reach open_ports only.
    """

    host: str
    encapsulation: str
    cluster: IPv4Network
    services: IPv4Network
    nodes: tuple[IPv4Network, ...]
    tunnel: int
    host_port: int
    host_port_mac: str
    provider: int | None = None
    provider_network: IPv4Network | None = None
    provider_mac: str | None = None
    provider_router_mac: str | None = None
    mac: str = "0a:58:a9:fe:01:01"
    passing_mac: str = "0a:58:a9:fe:01:02"
    mtu: int = 1450
    machines: tuple[IPv4Address, ...] = ()
    open_ports: tuple[Ports, ...] = ()


@dataclass(frozen=True)
class State:
    """All that the flows of one host follow from."""

    config: Config
    hosts: tuple[Host, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    pods: tuple[Pod, ...] = ()
    policies: tuple[Policy, ...] = ()
    services: tuple[Service, ...] = ()
