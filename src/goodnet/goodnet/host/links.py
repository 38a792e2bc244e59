# SPDX-License-Identifier: GPL-3.0-or-later
"""The interfaces of this host, and whom it sends to."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError


@dataclass(frozen=True)
class Link:
    """An interface of this host with the first of its addresses."""

    name: str
    mtu: int
    mac: str
    address: IPv4Address | None


def link(name: str) -> Link | None:
    """Return the interface of that name, None when there is none."""
    with IPRoute() as ip:
        try:
            index = index_of(ip, name)
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
        parent_index = index_of(ip, parent)
        try:
            index = index_of(ip, name)
        except FileNotFoundError:
            index = 0
        if index:
            (present,) = ip.get_links(index)
            if present.get_attr("IFLA_LINK") != parent_index or _kind(present) != "macvlan":
                ip.link("del", index=index)
                index = 0
        if not index:
            ip.link("add", ifname=name, kind="macvlan", link=parent_index, macvlan_mode="bridge")
            index = index_of(ip, name)
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


def index_of(ip: Any, name: str) -> int:
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
