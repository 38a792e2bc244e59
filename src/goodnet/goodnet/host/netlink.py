# SPDX-License-Identifier: GPL-3.0-or-later
"""The few requests to the kernel that make and remove a pod's wire, several at once.

pyroute2 takes most of the time of a pod's start for them, and newer kernels refuse the way that its older versions ask
to remove an interface.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv4Address

_NEW_LINK, _DELETE_LINK, _NEW_ADDRESS, _NEW_ROUTE, _NEW_NEIGHBOUR = 16, 17, 20, 24, 28
_REQUEST, _ACKNOWLEDGE, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NEW = _CREATE | _EXCLUSIVE
_UP = 1
_PERMANENT = 0x80
_MAIN_TABLE, _STATIC, _UNICAST = 254, 4, 1
_SCOPE_LINK = 253
_HEADER = struct.Struct("=IHHII")


def send(*requests: bytes) -> None:
    """Carry out requests in the network namespace that the thread is in. OSError for the first that is refused."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.send(b"".join(requests))
        for _ignored in requests:
            (number,) = struct.unpack_from("=i", netlink.recv(4096), _HEADER.size)
            if number:
                raise OSError(-number, f"netlink: {os.strerror(-number)}")


def veth(name: str, mac: str, peer: str, peer_mac: str, mtu: int, netns: int) -> bytes:
    """Make a pair of interfaces, the peer in the network namespace of that descriptor."""
    other = _attribute(28, struct.pack("=i", netns))
    data = _attribute(2, _attribute(1, _link() + _interface(peer, peer_mac, mtu) + other))
    kind = _attribute(18, _attribute(1, b"veth") + data)
    return _request(_NEW_LINK, _NEW, _link() + _interface(name, mac, mtu) + kind)


def up(index: int) -> bytes:
    return _request(_NEW_LINK, 0, _link(index, _UP))


def remove(index: int) -> bytes:
    return _request(_DELETE_LINK, 0, _link(index))


def address(index: int, own: IPv4Address) -> bytes:
    """Give an interface an address that no other has on its network."""
    head = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, index)
    return _request(_NEW_ADDRESS, _NEW, head + _attribute(1, own.packed) + _attribute(2, own.packed))


def neighbour(index: int, known: IPv4Address, mac: str) -> bytes:
    """Enter for good which MAC an address has."""
    head = struct.pack("=BxxxiHBB", socket.AF_INET, index, _PERMANENT, 0, 0)
    return _request(_NEW_NEIGHBOUR, _CREATE | _REPLACE, head + _attribute(1, known.packed) + _attribute(2, _mac(mac)))


def route(index: int, destination: IPv4Address | None, gateway: IPv4Address | None = None) -> bytes:
    """Add the route to an address, None for all others, by a gateway or as a neighbour."""
    scope, length = 0 if gateway else _SCOPE_LINK, 32 if destination else 0
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, length, 0, 0, _MAIN_TABLE, _STATIC, scope, _UNICAST, 0)
    attributes = _attribute(4, struct.pack("=i", index))
    for kind, value in ((1, destination), (5, gateway)):
        attributes += _attribute(kind, value.packed) if value else b""
    return _request(_NEW_ROUTE, _NEW, head + attributes)


def _link(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _interface(name: str, mac: str, mtu: int) -> bytes:
    return _attribute(1, _mac(mac)) + _attribute(3, name.encode() + b"\0") + _attribute(4, struct.pack("=I", mtu))


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST | _ACKNOWLEDGE, 0, 0) + body
