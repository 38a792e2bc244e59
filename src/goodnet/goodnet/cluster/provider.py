# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host holds the tenants' external addresses, and how the network outside learns it.

keepalived decides (see `host.keepalived`). The agent of the new master writes its name into a Lease that all agents
watch.
"""

from __future__ import annotations

import datetime
import logging
import random
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from goodnet.cluster.client import MERGE, Api, ApiError, Unreachable
from goodnet.cluster.objects import NAMESPACE, PROVIDER

log = logging.getLogger(__name__)

# Gratuitous ARP may get lost: it is sent again, and switches that forgot hear it from time to time.
_REPEATS = (0.0, 0.2, 1.0, 3.0)
_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


def take_lease(api: Api, node: str) -> None:
    """Make the node the holder of the Lease. Nothing is written when it is that already."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    path = f"{_PATH}/{PROVIDER}"
    try:
        found = api.request("GET", path)
    except ApiError as error:
        if error.status != 404:
            raise
        spec = {"holderIdentity": node, "acquireTime": now, "renewTime": now, "leaseTransitions": 0}
        meta = {"name": PROVIDER}
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
    api.request("PATCH", path, body={"spec": spec}, content_type=MERGE)


class Holder(threading.Thread):
    """Does what being master means, away from the loop that installs flows: Lease and announcements.

    send announces addresses; it may raise OSError.
    """

    def __init__(self, api: Api, node: str, send: Callable[[frozenset[IPv4Address]], None]) -> None:
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
                except (ApiError, Unreachable) as error:
                    log.warning("Lease %s: %s; tried again", PROVIDER, error)

    def _superseded(self, generation: int, seconds: float) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: self._stopping or self._generation != generation, seconds)
