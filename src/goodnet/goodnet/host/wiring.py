# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire of a pod: a pair of virtual interfaces between its network namespace and the bridge of the host.

A pod has a single address (/32) and reaches everything through one link-local router, whose MAC is the same on all
hosts and is entered by hand, so that a pod never asks by ARP.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import hashlib
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute

from goodnet.errors import BAD_ENVIRONMENT, UNKNOWN_CONTAINER, CniError
from goodnet.host import netlink
from goodnet.model import ROUTER

CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x16, 0x17
NUD_PERMANENT = 0x80
IFF_UP = 1
PREFIX = "gn"
DIGITS = 12

# A match of nft for all host's ends, now and later.
WIRES = f'iifname "{PREFIX}*" meta iifkind "veth"'

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Wire:
    """What a pod's wire is to be.

    host and ifname are the names of its two ends, netns the path of the pod's network namespace, router the MAC that
    its packets go to. offload: the kernel may leave checksums to be filled in later, which only a datapath in the
    kernel does.
    """

    host: str
    netns: str
    ifname: str
    address: IPv4Address
    router: str
    mtu: int
    offload: bool

    @property
    def mac(self) -> str:
        return mac_of(self.address)

    @property
    def host_mac(self) -> str:
        """That of the host's end. Nobody sends to it; one that is set is not changed by udev."""
        return "0e" + self.mac[2:]


def mac_of(address: IPv4Address) -> str:
    """The MAC of a pod with that address."""
    return "0a:58:" + ":".join(f"{byte:02x}" for byte in address.packed)


def host_end(container: str) -> str:
    """The name of the host's end for that container."""
    return PREFIX + hashlib.sha256(container.encode()).hexdigest()[:DIGITS]


def netns_lives(path: str) -> bool:
    """Whether a network namespace is there: of one that is gone, the path may be left as an ordinary file."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False


def create(wire: Wire) -> None:
    """Make the wire, in place of one of that name that is there."""
    if not netns_lives(wire.netns):
        raise CniError(
            UNKNOWN_CONTAINER,
            f"There is no network namespace at {wire.netns}",
            "The container ended meanwhile; the runtime starts it again.",
        )
    if exists(wire.host):
        remove(wire.host)
    netns = os.open(wire.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        netlink.send(netlink.veth(wire.host, wire.host_mac, wire.ifname, wire.mac, wire.mtu, netns))
    except FileExistsError:
        raise CniError(
            BAD_ENVIRONMENT,
            f"The network namespace {wire.netns} has an interface {wire.ifname} already",
            "Another plugin made it; the pod has to be made anew.",
        ) from None
    finally:
        os.close(netns)
    try:
        with _inside(wire.netns):
            _configure(wire)
        if not wire.offload:
            _set_checksums_off(wire.host)
        netlink.send(netlink.up(socket.if_nametoindex(wire.host)))
    except BaseException:
        remove(wire.host)
        raise


def remove(host: str) -> None:
    """Remove the wire from its host's end, if it is there."""
    remove_all([host])


def remove_all(hosts: Iterable[str]) -> None:
    """Remove these wires, as far as they are there."""
    for host in hosts:
        index = _index(host)
        if index is None:
            continue
        try:
            netlink.send(netlink.remove(index))
        except OSError as error:
            # A wire goes with the pod's network namespace, so maybe just now.
            if error.errno != errno.ENODEV:
                raise OSError(error.errno, f"{host} can not be removed: {error.strerror}") from error


def host_ends() -> set[str]:
    """The names of all host's ends that are there, of any pod."""
    names = {name for _ignored, name in socket.if_nameindex()}
    return {name for name in names if name.startswith(PREFIX) and len(name) == len(PREFIX) + DIGITS}


def exists(host: str) -> bool:
    return _index(host) is not None


def check(wire: Wire) -> list[str]:
    """What differs from the wire that is wanted, a sentence each; nothing when all is well."""
    if not netns_lives(wire.netns):
        return [f"the network namespace {wire.netns} is gone"]
    with IPRoute() as host:
        end = _link(host, wire.host)
        if end is None:
            return [f"the host's end {wire.host} is gone"]
        with _inside(wire.netns), IPRoute() as pod:
            other = _link(pod, wire.ifname)
            if other is None:
                return [f"the pod has no interface {wire.ifname}"]
            if end.get_attr("IFLA_LINK") != other["index"] or other.get_attr("IFLA_LINK") != end["index"]:
                return [f"{wire.ifname} of the pod and {wire.host} of the host are not the ends of one wire"]
            index = other["index"]
            found: dict[str, Any] = {
                "MAC": other.get_attr("IFLA_ADDRESS"),
                "addresses": sorted(
                    f"{entry.get_attr('IFA_ADDRESS')}/{entry['prefixlen']}"
                    for entry in pod.get_addr(family=socket.AF_INET, index=index)
                ),
                "routes": sorted(
                    f"{route.get_attr('RTA_DST') or 'default'} via {route.get_attr('RTA_GATEWAY')}"
                    for route in pod.get_routes(family=socket.AF_INET, table=254, oif=index)
                ),
                "neighbour " + ROUTER: [
                    entry.get_attr("NDA_LLADDR")
                    for entry in pod.get_neighbours(family=socket.AF_INET, ifindex=index)
                    if entry.get_attr("NDA_DST") == ROUTER and entry["state"] & NUD_PERMANENT
                ],
                **_of_both("pod", wire.ifname, other, wire.offload),
            }
        found |= _of_both("host", wire.host, end, wire.offload)
    wanted: dict[str, Any] = {
        "MAC": wire.mac,
        "addresses": [f"{wire.address}/32"],
        "routes": [f"{ROUTER} via None", f"default via {ROUTER}"],
        "neighbour " + ROUTER: [wire.router],
    }
    for side, name in (("pod", wire.ifname), ("host", wire.host)):
        wanted[f"MTU of {side}'s {name}"] = wire.mtu
        wanted[f"{side}'s {name} up"] = True
        if not wire.offload:
            wanted[f"checksums of {side}'s {name} left to hardware"] = False
    return [
        f"{what}: found {found[what]}, wanted {value}"
        for what, value in wanted.items()
        if not _satisfied(found[what], value)
    ]


def _satisfied(found: Any, wanted: Any) -> bool:
    """The pod's own processes may add routes and addresses; what was given them has to be there."""
    if isinstance(wanted, list):
        return set(wanted) <= set(found)
    return bool(found == wanted)


def _of_both(side: str, name: str, link: Any, offload: bool) -> dict[str, Any]:
    found = {f"MTU of {side}'s {name}": link.get_attr("IFLA_MTU"), f"{side}'s {name} up": bool(link["flags"] & IFF_UP)}
    if not offload:
        found[f"checksums of {side}'s {name} left to hardware"] = bool(_ethtool(name, ETHTOOL_GTXCSUM, 0))
    return found


def _configure(wire: Wire) -> None:
    """Everything inside the pod's network namespace, which the calling thread is in."""
    if not wire.offload:
        _set_checksums_off(wire.ifname)
    index, router = socket.if_nametoindex(wire.ifname), IPv4Address(ROUTER)
    netlink.send(
        netlink.address(index, wire.address),
        netlink.up(index),
        netlink.neighbour(index, router, wire.router),
        netlink.route(index, router),
        netlink.route(index, None, router),
    )


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _link(ip: IPRoute, name: str) -> Any:
    index = _index(name)
    return None if index is None else next(iter(ip.get_links(index)), None)


def _set_checksums_off(name: str) -> None:
    _ethtool(name, ETHTOOL_STXCSUM, 0)


def _ethtool(name: str, command: int, value: int) -> int:
    argument = array.array("I", [command, value])
    address, _ignored = argument.buffer_info()
    request = struct.pack("16sP16x", name.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)
    return argument[1]


@contextmanager
def _inside(netns: str) -> Iterator[None]:
    """The calling thread, and no other, is in that network namespace; so are the sockets that it opens there."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(netns, "rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(netns: int) -> None:
    if _libc.setns(netns, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
