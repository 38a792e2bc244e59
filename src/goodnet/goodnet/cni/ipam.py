# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of one host's pods, out of the range that the cluster gave to the host.

The first address of the range names it, the second is the host port's, the last is kept free. The others are given
out in turn, so that one that was just given back is not given to the next pod. Who holds what is in a journal on disk
before anybody is told, so no crash hands an address out twice; a lost journal is made again from the pods' ports.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from goodnet.errors import IO_FAILURE, NO_ADDRESS, CniError
from goodnet.files import write_durably

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """An address and the container that holds it, with the path of the container's network namespace."""

    container: str
    address: IPv4Address
    netns: str


class Ipam:
    """Safe to use from several threads; those that come at the same time share one write to disk."""

    def __init__(self, journal: Path, network: IPv4Network) -> None:
        if network.prefixlen > 29:
            raise ValueError(f"The range {network} of this host's pods is too small: wanted is /29 or larger.")
        self.network = network
        self._journal = journal
        self._first, self._last = int(network[2]), int(network[-2])
        self._leases: dict[str, Lease] = {}
        self._latest = self._last
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._version = self._written = 0
        self._load()

    @property
    def size(self) -> int:
        return self._last - self._first + 1

    def leases(self) -> dict[str, Lease]:
        with self._lock:
            return dict(self._leases)

    def adopt(self, leases: Iterable[Lease]) -> None:
        """Take over what the pods' ports say, also where the journal says otherwise: they have the traffic."""
        with self._lock:
            for lease in leases:
                for other in [held for held in self._leases.values() if held.address == lease.address]:
                    if other.container != lease.container:
                        log.warning("%s is held by %s, not by %s", lease.address, lease.container, other.container)
                        del self._leases[other.container]
                self._leases[lease.container] = lease
            self._version += 1
        self._save()

    def allocate(self, container: str, netns: str) -> IPv4Address:
        """The address of that container: the one it has, or the next that is free."""
        with self._lock:
            held = self._leases.get(container)
            if held and held.netns == netns:
                return held.address
            address = held.address if held else self._next()
            self._leases[container] = Lease(container, address, netns)
            self._version += 1
        try:
            self._save()
        except OSError as error:
            # What could not be written is not promised; a container that had its address before keeps it.
            with self._lock:
                if held is None:
                    self._leases.pop(container, None)
            what = f"The journal of addresses {self._journal} can not be written: {error.strerror}"
            raise CniError(IO_FAILURE, what, "Make room on its file system, or make it writable.") from None
        return address

    def release(self, containers: Iterable[str]) -> None:
        """Give the addresses of these containers back; those that hold none are no problem."""
        with self._lock:
            if not [self._leases.pop(container) for container in containers if container in self._leases]:
                return
            self._version += 1
        try:
            self._save()
        except OSError as error:
            # A crash now brings these leases back, and the next repair finds that nobody uses them.
            log.warning("The journal of addresses %s can not be written: %s", self._journal, error)

    def _next(self) -> IPv4Address:
        taken = {int(lease.address) for lease in self._leases.values()}
        for step in range(1, self.size + 1):
            number = self._first + (self._latest - self._first + step) % self.size
            if number not in taken:
                self._latest = number
                return IPv4Address(number)
        raise CniError(
            NO_ADDRESS,
            f"All {self.size} addresses of this host's range {self.network} are taken",
            "Run fewer pods on it (kubelet's maxPods), or give hosts a larger range.",
        )

    def _save(self) -> None:
        with self._lock:
            mine = self._version
        with self._writing:
            if self._written >= mine:
                return
            with self._lock:
                version = self._version
                leases = {lease.container: [str(lease.address), lease.netns] for lease in self._leases.values()}
                text = json.dumps({"latest": str(IPv4Address(self._latest)), "leases": leases})
            write_durably(self._journal, text)
            self._written = version

    def _load(self) -> None:
        try:
            found = json.loads(self._journal.read_text())
            latest = int(IPv4Address(found["latest"]))
            self._leases = {
                container: Lease(container, IPv4Address(address), str(netns))
                for container, (address, netns) in found["leases"].items()
            }
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            aside = self._journal.with_name(self._journal.name + ".broken")
            log.warning("The journal of addresses %s is broken (%r), moved to %s", self._journal, error, aside)
            self._journal.replace(aside)
            return
        if self._first <= latest <= self._last:
            self._latest = latest
