# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own way into the overlay: address and routes of the bridge's internal port, and the way out for pods.

Everything is set to what is wanted, whatever is there, so it can be done again at any time.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from goodnet import nft
from goodnet.cni import ROUTER

_PERMANENT = 0x80
_SCOPE_LINK = 253
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


@dataclass(frozen=True)
class Gateway:
    """The internal port of a host. own: addresses of its pods; the first of them is the port's.

    overlay: networks that are reached through the port. router: the MAC that packets for them go to. passing: the MAC
    of packets that may pass through this host, but are not for any of the machines, nor for ends of tunnels that are
    reached by the interface underlay. routed: networks outside whose machines may reach Services by way of this host.
    """

    name: str
    own: IPv4Network
    overlay: tuple[IPv4Network, ...]
    router: str
    passing: str
    machines: tuple[IPv4Address, ...] = ()
    underlay: str = ""
    tunnel_ends: tuple[IPv4Address, ...] = ()
    routed: tuple[IPv4Network, ...] = ()

    @property
    def address(self) -> IPv4Address:
        return self.own[1]


@dataclass(frozen=True)
class Link:
    """An interface of this host with the first of its addresses."""

    name: str
    mtu: int
    mac: str
    address: IPv4Address | None


def ensure(gateway: Gateway) -> None:
    """Give the port its address and routes. OSError or NetlinkError when the host refuses."""
    with IPRoute() as ip:
        index = _index(ip, gateway.name)
        wanted = str(gateway.address)
        for entry in ip.get_addr(family=socket.AF_INET, index=index):
            if entry.get_attr("IFA_ADDRESS") != wanted or entry["prefixlen"] != 32:
                ip.addr("del", index=index, address=entry.get_attr("IFA_ADDRESS"), prefixlen=entry["prefixlen"])
        ip.addr("replace", index=index, address=wanted, prefixlen=32)
        ip.link("set", index=index, state="up")
        # One neighbour stands for all pods, so the host never asks for one of them and its table stays small.
        ip.neigh("replace", dst=ROUTER, lladdr=gateway.router, ifindex=index, state=_PERMANENT)
        ip.route("replace", dst=f"{ROUTER}/32", oif=index, scope=_SCOPE_LINK)
        for network in gateway.overlay:
            ip.route("replace", dst=str(network), gateway=ROUTER, oif=index, prefsrc=wanted)
    # Packets of pods go out of the port they came in by; telling pods of a shorter way would lead them astray.
    for name in ("all", gateway.name):
        (_SYSCTL / name / "send_redirects").write_text("0")


def filter(gateway: Gateway) -> None:
    """Have the rules between the overlay and the rest of this host. OSError when nft refuses.

    The bridge believes what comes out of the port, so nobody but this host may put anything in.
    """
    inside = _set(gateway.overlay)
    routed = f"ip saddr != {_set(gateway.routed)} " if gateway.routed else ""
    passing = f'iifname "{gateway.name}" ether saddr {gateway.passing}'
    machines = f"{passing} ip daddr {_set(gateway.machines)} drop" if gateway.machines else ""
    # What a Node says of itself: it is to close no address but in the network of the tunnels.
    tunnel_ends = ""
    if gateway.underlay and gateway.tunnel_ends:
        tunnel_ends = f'{passing} oifname "{gateway.underlay}" ip daddr {_set(gateway.tunnel_ends)} drop'
    nft.load(f"""
table ip goodnet
delete table ip goodnet
table ip goodnet {{
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    # Nobody outside has an address of the overlay.
    iifname != {{ "{gateway.name}", "lo" }} ip saddr {inside} drop
    # A host is no router to Services: kube-proxy would make what it forwards look like the host's own.
    iifname != {{ "{gateway.name}", "lo" }} {routed}ip daddr {inside} drop
    # Hosts serve each other in ways that are not for pods.
    {passing} fib daddr type local drop
    {machines}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    # From outside pods are reached by what kube-proxy translates, NodePorts and the like; answers are let through.
    {tunnel_ends}
    iifname "{gateway.name}" accept
    oifname "{gateway.name}" ct status & dnat == 0 ct state != {{ established, related }} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    # Outside nobody knows the pods' addresses; inside nobody believes in the host's others.
    ip saddr {gateway.own} oifname != "{gateway.name}" ip daddr != {inside} masquerade
    oifname "{gateway.name}" ip saddr != {gateway.address} fib saddr type local masquerade
  }}
}}
""")


def _set(members: Iterable[IPv4Network | IPv4Address]) -> str:
    return "{ " + ", ".join(str(member) for member in members) + " }"


def link(name: str) -> Link | None:
    """Return the interface of that name, None when there is none."""
    with IPRoute() as ip:
        try:
            index = _index(ip, name)
        except FileNotFoundError:
            return None
        return _link(ip, index)


def link_of(address: IPv4Address) -> Link | None:
    """Return the interface that has the address, None when none has."""
    with IPRoute() as ip:
        for entry in ip.get_addr(family=socket.AF_INET):
            if entry.get_attr("IFA_LOCAL") == str(address):
                found = _link(ip, entry["index"])
                return Link(found.name, found.mtu, found.mac, address)
    return None


def next_hops(addresses: Iterable[IPv4Address]) -> set[IPv4Address]:
    """Return whom this host sends to on the way to these addresses: themselves, or the routers to them."""
    found = set()
    with IPRoute() as ip:
        for address in addresses:
            try:
                (route,) = ip.route("get", dst=str(address))
            except NetlinkError:
                # There is no way to it now.
                continue
            found.add(IPv4Address(route.get_attr("RTA_GATEWAY") or str(address)))
    return found


def ensure_macvlan(name: str, parent: str) -> Link:
    """Have an interface of its own, with its own MAC, on the network of the parent, which keeps its addresses."""
    with IPRoute() as ip:
        parent_index = _index(ip, parent)
        try:
            index = _index(ip, name)
        except FileNotFoundError:
            index = 0
        if index:
            (present,) = ip.get_links(index)
            if present.get_attr("IFLA_LINK") != parent_index or _kind(present) != "macvlan":
                ip.link("del", index=index)
                index = 0
        if not index:
            ip.link("add", ifname=name, kind="macvlan", link=parent_index, macvlan_mode="bridge")
            index = _index(ip, name)
        # The address belongs to tenants: the host must not answer for it, nor speak IPv6 there.
        for family, key, value in (("ipv4", "arp_ignore", "8"), ("ipv6", "disable_ipv6", "1")):
            path = Path(f"/proc/sys/net/{family}/conf/{name}/{key}")
            if path.exists():
                path.write_text(value)
        ip.link("set", index=index, state="up")
        return _link(ip, index)


def _kind(found: Any) -> str | None:
    info = found.get_attr("IFLA_LINKINFO")
    return info.get_attr("IFLA_INFO_KIND") if info else None


def _index(ip: Any, name: str) -> int:
    try:
        found: Iterable[Any] = ip.link_lookup(ifname=name)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
        found = ()
    for index in found:
        return int(index)
    raise FileNotFoundError(errno.ENODEV, f"found no interface {name} on this host", name)


def _link(ip: Any, index: int) -> Link:
    (found,) = ip.get_links(index)
    addresses = [entry.get_attr("IFA_LOCAL") for entry in ip.get_addr(family=socket.AF_INET, index=index)]
    return Link(
        name=found.get_attr("IFLA_IFNAME"),
        mtu=found.get_attr("IFLA_MTU"),
        mac=found.get_attr("IFLA_ADDRESS"),
        address=IPv4Address(addresses[0]) if addresses else None,
    )
