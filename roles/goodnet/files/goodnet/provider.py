# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host holds the tenants' external addresses, and how the network outside learns it.

keepalived decides (see `role`). The agent of the new master writes its name into a Lease that all agents watch.
"""

from __future__ import annotations

import datetime
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from goodnet import cluster

log = logging.getLogger(__name__)

# Gratuitous ARP may get lost: it is sent again, and switches that forgot hear it from time to time.
_REPEATS = (0.0, 0.2, 1.0, 3.0)
_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.NAMESPACE}/leases"
_NOBODY = IPv4Address(0)
_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_ETHERTYPE_ALL = 0x0003


def take_lease(api: cluster.Api, node: str) -> None:
    """Make the node the holder of the Lease. Nothing is written when it is that already."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    path = f"{_PATH}/{cluster.PROVIDER}"
    try:
        found = api.request("GET", path)
    except cluster.ApiError as error:
        if error.status != 404:
            raise
        spec = {"holderIdentity": node, "acquireTime": now, "renewTime": now, "leaseTransitions": 0}
        meta = {"name": cluster.PROVIDER}
        api.request(
            "POST",
            _PATH,
            body={"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec},
        )
        return
    former = found.get("spec") or {}
    if former.get("holderIdentity") == node:
        return
    spec = {
        "holderIdentity": node,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": (former.get("leaseTransitions") or 0) + 1,
    }
    # No resource version: keepalived has decided, whoever wrote before.
    api.request("PATCH", path, body={"spec": spec}, content_type=cluster.MERGE)


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


class Holder(threading.Thread):
    """Does what being master means, away from the loop that installs flows: Lease and announcements.

    send announces addresses; it may raise OSError.
    """

    def __init__(self, api: cluster.Api, node: str, send: Callable[[frozenset[IPv4Address]], None]) -> None:
        super().__init__(name="provider", daemon=True)
        self._api = api
        self._node = node
        self._send = send
        self._condition = threading.Condition()
        self._wanted: frozenset[IPv4Address] | None = None
        self._generation = 0
        self._stopping = False

    def hold(self, addresses: Iterable[IPv4Address] | None, again: bool = False) -> None:
        """Be master with these addresses; None: do not be it. again: repeat Lease and announcements in any case."""
        wanted = None if addresses is None else frozenset(addresses)
        with self._condition:
            if wanted != self._wanted or again:
                self._wanted = wanted
                self._generation += 1
                self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def run(self) -> None:
        done = 0
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._generation != done)  # noqa: B023
                if self._stopping:
                    return
                done, wanted = self._generation, self._wanted
            if wanted is not None:
                self._take(done, wanted)

    def _take(self, generation: int, addresses: frozenset[IPv4Address]) -> None:
        """Announce and write the Lease until both are done, or something else is wanted."""
        sent = 0
        written = False
        while sent < len(_REPEATS) or not written:
            pause = _REPEATS[sent] if sent < len(_REPEATS) else random.uniform(3, 10)
            if self._superseded(generation, pause):
                return
            if sent < len(_REPEATS):
                sent += 1
                try:
                    self._send(addresses)
                except OSError as error:
                    log.error("external addresses are not announced: %s", error)
            if not written:
                try:
                    take_lease(self._api, self._node)
                    written = True
                    log.info("this host holds %d external addresses, and the Lease says so", len(addresses))
                except (cluster.ApiError, cluster.Unreachable) as error:
                    log.warning("Lease %s: %s; tried again", cluster.PROVIDER, error)

    def _superseded(self, generation: int, seconds: float) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: self._stopping or self._generation != generation, seconds)


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
