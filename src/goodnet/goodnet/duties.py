# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent does beside writing flows, because it has to wait for others: the API and the network outside."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from goodnet.cluster import provider, tenants
from goodnet.cluster.client import MERGE, Api, ApiError, Unreachable
from goodnet.cluster.events import Note, Recorder
from goodnet.cluster.objects import ANNOTATION_UNDERLAY
from goodnet.cluster.state import Built
from goodnet.cluster.watches import Cluster, View
from goodnet.config import Settings
from goodnet.host import arp, links
from goodnet.host.underlay import BRIDGE as UNDERLAY
from goodnet.metrics import Metrics

log = logging.getLogger(__name__)

_TICK = 1.0
_SAVE_SECONDS = 10.0
_ROUTER_SECONDS = 30.0
# A switch in user space forgets a MAC that it has not used for 15 minutes.
_NEIGHBOUR_SECONDS = 300.0
_NEIGHBOURS_AT_ONCE = 50
_RELEASE_SECONDS = 300.0
_UNUSED_SECONDS = 30.0
# What is not ready for this long is told in an Event.
_PATIENCE = 60.0
# Managers that see a new tenant at the same time try one after the other to give it a number; most find it done.
_TURN_SECONDS = 0.3


class Agent(Protocol):
    """What duties need of the agent."""

    settings: Settings
    metrics: Metrics
    api: Api
    cluster: Cluster
    outside: links.Link | None
    built: Built | None
    not_ready: str | None

    @property
    def master(self) -> bool:
        """Whether keepalived has given the external addresses to this host."""

    def view(self) -> View:
        """Return what is known of the cluster."""

    def tenants(self) -> tenants.Tenants:
        """Return the tenants of the cluster."""

    def router_found(self, mac: str) -> None:
        """Take the MAC of the provider network's router."""


class Duties(threading.Thread):
    """One thing after the other, every second, or at once when `wake` is called."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(name="duties", daemon=True)
        self._agent = agent
        self._wake = threading.Event()
        self._stopping = False
        self._recorder = Recorder(agent.api)
        self._holder = provider.Holder(agent.api, agent.settings.node, self._announce)
        self._unused = tenants.Unused()
        # When it is this host's turn to give a tenant a number, and what came of it.
        self._turns: dict[str, float] = {}
        self._refused: dict[str, str] = {}
        # Why the API refused the end of this host's tunnels, if it did.
        self._unwritten = ""
        self._not_ready_since: float | None = None
        self._due: dict[str, float] = {}
        # When the switch is to hear of a host's MAC again.
        self._warmed: dict[IPv4Address, float] = {}
        # The address that tunnels to this host end at, once it is known.
        self.underlay: IPv4Address | None = None

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._recorder.stop()
        self._holder.stop()

    def run(self) -> None:
        self._recorder.start()
        self._holder.start()
        while not self._stopping:
            self._wake.wait(_TICK)
            self._wake.clear()
            for duty in (
                self.provider,
                self._router,
                self._warm,
                self._publish,
                self._number,
                self._release,
                self._annotate,
                self._tell,
                self._save,
            ):
                if self._stopping:
                    return
                try:
                    duty()
                except (ApiError, Unreachable) as error:
                    log.debug("%s: %s", duty.__name__, error)
                except Exception:
                    # One duty that fails must not keep the others from being done.
                    log.exception("%s", duty.__name__)
                    time.sleep(_TICK)

    def _is_due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + seconds
        return True

    def provider(self, again: bool = False) -> None:
        """Hold the external addresses while keepalived says so."""
        agent = self._agent
        agent.metrics.provider.set(agent.master)
        if not agent.master:
            self._holder.hold(None)
            return
        addresses = {tenant.external for tenant in agent.tenants().tenants if tenant.external is not None}
        # Somebody else may have written the Lease late; keepalived knows better.
        lost = agent.cluster.view().holder != agent.settings.node and self._is_due("lease", random.uniform(5, 15))
        self._holder.hold(addresses, again or lost)

    def neighbours_lost(self) -> None:
        """Take it that the switch knows no MACs of other hosts any more."""
        self._warmed = {}
        self.wake()

    def _warm(self) -> None:
        """Have a switch in user space know the MACs of other hosts: it drops what it has to ask for first."""
        agent = self._agent
        if agent.settings.datapath != "netdev" or agent.built is None:
            return
        now = time.monotonic()
        hosts = [host.underlay for host in agent.built.state.hosts if host.name != agent.settings.node]
        due = [host for host in hosts if self._warmed.get(host, now) <= now][:_NEIGHBOURS_AT_ONCE]
        link = links.link(UNDERLAY) if due else None
        if link is not None and link.address is not None:
            # First, as the switch may lose them just now.
            self._warmed |= dict.fromkeys(due, now + _NEIGHBOUR_SECONDS)
            arp.request(link.name, link.mac, link.address, links.next_hops(due))

    def _publish(self) -> None:
        """Write the external addresses into the status of their Services."""
        agent = self._agent
        if agent.built is None or not agent.master:
            return
        services = agent.view().services
        for key, address in agent.built.addresses.items():
            if key in services and services[key]["address"] != str(address) and self._is_due(f"publish {key}", 5.0):
                namespace, _ignored, name = key.partition("/")
                body = {"status": {"loadBalancer": {"ingress": [{"ip": str(address)}]}}}
                path = f"/api/v1/namespaces/{namespace}/services/{name}/status"
                agent.api.request("PATCH", path, body=body, content_type=MERGE)
                log.info("Service %s is reached at %s", key, address)

    def _announce(self, addresses: frozenset[IPv4Address]) -> None:
        link = self._agent.outside
        if link is not None:
            arp.announce(link.name, link.mac, addresses)

    def _router(self) -> None:
        """Ask for the MAC of the provider network's router, again and again, as another one may take its place."""
        agent = self._agent
        link, settings = agent.outside, agent.settings.provider
        if link is None or settings is None or not self._is_due("router", _ROUTER_SECONDS):
            return
        mac = arp.ask(link.name, link.mac, settings.router)
        if mac is not None:
            agent.router_found(mac)
        else:
            self._due["router"] = time.monotonic() + random.uniform(1, 3)

    def _number(self) -> None:
        """Give tenants numbers that have none: at once for those with pods here, else in turn with other managers."""
        agent = self._agent
        if not agent.settings.manager:
            return
        found = agent.tenants()
        now = time.monotonic()
        here = {pod.tenant for pod in agent.built.state.pods} if agent.built is not None else set()
        self._turns = {
            tenant: now if tenant in here else self._turns.get(tenant, now + random.uniform(0, _TURN_SECONDS))
            for tenant in found.unnumbered
        }
        self._refused = {tenant: why for tenant, why in self._refused.items() if tenant in self._turns}
        due = sorted(tenant for tenant, turn in self._turns.items() if turn <= now)
        if not due or not all(agent.cluster.in_contact[name] for name in ("namespaces", "tenants")):
            return
        for tenant in due:
            self._turns[tenant] = now + random.uniform(30, 60)
        try:
            tenants.allocate(agent.api, due, agent.settings.vni_range)
            log.info("VNIs are given to %s", ", ".join(due))
        except tenants.Exhausted as error:
            if self._refused.keys() != set(error.tenants):
                log.error("%s", error)
            self._refused = dict.fromkeys(error.tenants, str(error))

    def _release(self) -> None:
        """Take back the numbers of tenants that nobody has used for an hour."""
        if not self._agent.settings.manager or not self._is_due("unused", _UNUSED_SECONDS):
            return
        agent = self._agent
        contact = all(agent.cluster.in_contact[name] for name in ("namespaces", "tenants"))
        entries, _ignored = tenants.parse(agent.view().tenants)
        used = set(agent.tenants().of.values())
        if agent.built is not None:
            used |= {pod.tenant for pod in agent.built.state.pods}
        over = self._unused.over(entries, used, contact)
        if over and self._is_due("release", random.uniform(1, 2) * _RELEASE_SECONDS):
            removed = tenants.release(agent.api, over, agent.settings.system_namespaces)
            if removed:
                log.info("VNIs are free again of %s", ", ".join(removed))

    def _annotate(self) -> None:
        """Tell the other hosts where tunnels to this one end, when that is not the node's own address."""
        agent = self._agent
        node = agent.view().nodes.get(agent.settings.node)
        if node is None or self.underlay is None or not agent.cluster.in_contact["nodes"]:
            return
        wanted = str(self.underlay) if str(self.underlay) != node["address"] else None
        if node["underlay"] != wanted and self._is_due("annotate", 5.0):
            body = {"metadata": {"annotations": {ANNOTATION_UNDERLAY: wanted}}}
            try:
                agent.api.request("PATCH", f"/api/v1/nodes/{agent.settings.node}", body=body, content_type=MERGE)
            except ApiError as error:
                if error.status not in (403, 422):
                    raise
                self._unwritten = (
                    f"annotation {ANNOTATION_UNDERLAY}: found {wanted} refused, so pods of this host get no packets of "
                    f"other hosts; wanted it to be written: {error}; remove it from the node that has it"
                )
                return
            self._unwritten = ""
            log.info("node %s: tunnels end at %s", agent.settings.node, wanted or node["address"])

    def _tell(self) -> None:
        """Say what is wrong where people look for it: in Events and metrics."""
        agent = self._agent
        agent.metrics.contact(agent.cluster.in_contact)
        notes = list(agent.built.notes) if agent.built is not None else []
        found, namespaces = agent.tenants(), agent.view().namespaces
        for name, tenant in found.of.items():
            if tenant in self._refused and name in namespaces:
                note = Note("Namespace", name, name, "VniExhausted", self._refused[tenant])
                notes.append((note, namespaces[name]["uid"]))
        notes += self._own_notes()
        self._recorder.current(notes, len(agent.view().nodes))

    def _own_notes(self) -> Iterable[tuple[Note, str]]:
        agent = self._agent
        if self._unwritten:
            yield Note("Node", "", agent.settings.node, "UnderlayRefused", self._unwritten), agent.settings.node
        why = agent.not_ready
        if why is None:
            self._not_ready_since = None
            return
        now = time.monotonic()
        self._not_ready_since = self._not_ready_since or now
        if now - self._not_ready_since >= _PATIENCE:
            yield Note("Node", "", agent.settings.node, "NetworkNotReady", why), agent.settings.node

    def _save(self) -> None:
        if self._is_due("save", _SAVE_SECONDS) and self._agent.cluster.wait(0):
            self._agent.cluster.save()
