# SPDX-License-Identifier: GPL-3.0-or-later
"""ARP on a network outside: announcements, requests and who answers."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address

_NOBODY = IPv4Address(0)
_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_ETHERTYPE_ALL = 0x0003


def gratuitous_arp(address: IPv4Address, mac: str) -> bytes:
    """Return the Ethernet frame that tells everybody that the address is at this MAC address."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    header = _BROADCAST + hardware + struct.pack("!H", _ETHERTYPE_ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    frame = header + body + hardware + address.packed + bytes(6) + address.packed
    # Ethernet's shortest frame, without the checksum.
    return frame.ljust(60, b"\0")


def announce(interface: str, mac: str, addresses: Iterable[IPv4Address]) -> None:
    """Send gratuitous ARP for addresses out of an interface. OSError when there is no such interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_ARP)) as raw:
        raw.bind((interface, _ETHERTYPE_ARP))
        for address in sorted(addresses):
            raw.send(gratuitous_arp(address, mac))


def request(interface: str, mac: str, own: IPv4Address, addresses: Iterable[IPv4Address]) -> None:
    """Ask for the MACs of addresses on the network of an interface, which has its own, for others to hear the answers.

    A switch takes notice only of answers that go to an address of its own.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((interface, 0))
        for address in addresses:
            raw.send(_question(mac, own, address))


def _question(mac: str, own: IPv4Address, address: IPv4Address) -> bytes:
    """Return an ARP request."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    header = _BROADCAST + hardware + struct.pack("!H", _ETHERTYPE_ARP)
    frame = header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + hardware + own.packed + bytes(6) + address.packed
    return frame.ljust(60, b"\0")


def ask(interface: str, mac: str, address: IPv4Address, seconds: float = 1.0) -> str | None:
    """Return the MAC that answers for an address on the network of an interface, None when nobody does in time.

    The request names no sender, as one that looks whether an address is free, so that nobody learns a wrong one.
    """
    end = time.monotonic() + seconds
    # All protocols: a switch takes the packets of its ports before those that asked for one protocol see them.
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_ALL)) as raw:
        raw.bind((interface, _ETHERTYPE_ALL))
        raw.send(_question(mac, _NOBODY, address))
        while (left := end - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                frame = raw.recv(2048)
            except TimeoutError:
                return None
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02" and frame[28:32] == address.packed:
                return frame[22:28].hex(":")
    return None
