# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives pods their place in the network: what the CNI plugin asks of the agent.

The steps of an ADD are: address (written to disk), wire, port with the pod's data, flows; those of a DEL are the same
backwards. After a crash between any two of them, a DEL, another ADD or `Pods.repair` finds what is there by the names.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Protocol

from goodnet.cni.ipam import Ipam, Lease
from goodnet.cni.server import Answer, Handler
from goodnet.errors import BAD_ENVIRONMENT, DIFFERS, UNKNOWN_CONTAINER, CniError
from goodnet.host import wiring
from goodnet.host.wiring import Wire
from goodnet.model import Pod
from goodnet.ovs.ovsdb import NewPort, Ovsdb, OvsdbError, Port, external_ids, pod_of

log = logging.getLogger(__name__)


class Agent(Protocol):
    """What the pods need of the agent. Any of these may raise a CniError, which the runtime then gets."""

    def ready(self) -> None:
        """Raise a CniError that says why no pod can be added now, if so."""

    def tenant(self, namespace: str) -> str:
        """The tenant of a namespace."""

    def await_labels(self, uid: str) -> None:
        """Return when a new pod's labels are known, or a moment has passed."""

    def install(self, pods: Sequence[Pod]) -> None:
        """Have the flows for exactly these pods on this host, and return when they are in."""

    def forget(self, addresses: Iterable[IPv4Address]) -> None:
        """Forget the connections of pods that are gone, before their addresses are others'."""


@dataclass(frozen=True)
class Settings:
    """How pods are wired on this host. router: the virtual MAC. offload: the datapath is in the kernel."""

    bridge: str
    router: str
    mtu: int
    offload: bool


@dataclass
class _Step:
    """Ports to add and to remove, and what comes of it."""

    add: Sequence[NewPort]
    remove: Sequence[str]
    done: Future[None] = field(default_factory=Future)


class Pods:
    """The pods of this host. Different containers are worked on at the same time, one of them only once at a time."""

    def __init__(self, settings: Settings, ovsdb: Ovsdb, ipam: Ipam, agent: Agent) -> None:
        self._settings, self._ovsdb, self._ipam, self._agent = settings, ovsdb, ipam, agent
        self._busy: set[str] = set()
        self._freed = threading.Condition()
        self._waiting: list[_Step] = []
        self._queueing, self._committing = threading.Lock(), threading.Lock()
        ipam.adopt(
            Lease(_id(port, "container"), IPv4Address(_id(port, "ip")), _id(port, "netns"))
            for port in self._ports().values()
        )

    def add(self, request: dict[str, Any]) -> Answer:
        self._agent.ready()
        container, netns, ifname = request["container"], request["netns"], request["ifname"]
        with self._only(container):
            port = self._ports().get(wiring.host_end(container))
            if port and _id(port, "netns") == netns and _id(port, "ifname") != ifname:
                raise CniError(
                    BAD_ENVIRONMENT,
                    f"The container {container} has {_id(port, 'ifname')} from GoodNet already; asked for is {ifname}",
                    "A pod has one interface of GoodNet.",
                )
            tenant = self._agent.tenant(request["namespace"])
            address = self._ipam.allocate(container, netns)
            wire = self._wire(container, netns, ifname, address)
            if not (port and pod_of(port) and not wiring.check(wire)):
                try:
                    pod = Pod(
                        namespace=request["namespace"],
                        name=request["name"],
                        uid=request["uid"],
                        container=container,
                        address=address,
                        mac=wire.mac,
                        port=0,
                        tenant=tenant,
                    )
                    # Here and not when flows are written: others of the same round do not wait for this pod.
                    self._agent.await_labels(pod.uid)
                    self._connect(wire, external_ids(pod, netns, ifname))
                except BaseException:
                    self._undo(container)
                    raise
                log.info("Pod %s/%s of tenant %s has %s", pod.namespace, pod.name, tenant, address)
        return {
            "address": str(address),
            "mac": wire.mac,
            "host": wire.host,
            "host_mac": wire.host_mac,
            "mtu": wire.mtu,
        }

    def delete(self, request: dict[str, Any]) -> Answer:
        container = request["container"]
        with self._only(container):
            port = self._ports().get(wiring.host_end(container))
            # Of an interface that is not ours there is nothing to remove.
            if port is None or _id(port, "ifname") == request["ifname"]:
                self._remove([container])
                if port:
                    log.info("Pod %s/%s with %s is gone", _id(port, "namespace"), _id(port, "name"), _id(port, "ip"))
        return {}

    def check(self, request: dict[str, Any]) -> Answer:
        container = request["container"]
        with self._only(container):
            port = self._ports().get(wiring.host_end(container))
            if port is None or _id(port, "ifname") != request["ifname"]:
                raise CniError(
                    UNKNOWN_CONTAINER,
                    f"GoodNet has no interface {request['ifname']} of container {container}",
                    "The pod has to be made anew.",
                )
            wire = self._wire(container, request["netns"], request["ifname"], IPv4Address(_id(port, "ip")))
            differences = wiring.check(wire)
            if str(wire.address) not in request["addresses"]:
                differences.append(f"address: found {request['addresses']} in the result of ADD, wanted {wire.address}")
            if pod_of(port) is None:
                differences.append(f"Open vSwitch can not use the port {wire.host}: {port.error}")
        if differences:
            name = f"{_id(port, 'namespace')}/{_id(port, 'name')}"
            raise CniError(DIFFERS, f"The network of pod {name} is not as it was made", "; ".join(differences))
        return {}

    def collect(self, request: dict[str, Any]) -> Answer:
        """GC: remove all but what the runtime says is alive."""
        valid = {container for container, _ignored in request["valid"]}
        return {"removed": self._remove_idle(container for container in self._known() if container not in valid)}

    def status(self, _ignored: dict[str, Any]) -> Answer:
        self._agent.ready()
        return {"pods": len(self._ports()), "addresses": self._ipam.size, "taken": len(self._ipam.leases())}

    def repair(self) -> list[str]:
        """Remove what crashes and vanished pods left, wire pods again that lost their wire. Says what was done."""
        ends = wiring.host_ends()
        known = self._known()
        done = [
            f"removed what was left of container {container}"
            for container in self._remove_idle(name for name, netns in known.items() if not wiring.netns_lives(netns))
        ]
        orphans = ends - {wiring.host_end(container) for container in known}
        wiring.remove_all(orphans)
        done += [f"removed the wire {end} of no pod" for end in sorted(orphans)]
        for port in self._ports().values():
            if not _works(port):
                done += self._reconnect(_id(port, "container"))
        for line in done:
            log.warning("Repair: %s", line)
        return done

    def _reconnect(self, container: str) -> list[str]:
        with self._only(container, wait=False) as mine:
            port = self._ports().get(wiring.host_end(container))
            if not mine or port is None or _works(port) or not wiring.netns_lives(_id(port, "netns")):
                return []
            wire = self._wire(container, _id(port, "netns"), _id(port, "ifname"), IPv4Address(_id(port, "ip")))
            name = f"{_id(port, 'namespace')}/{_id(port, 'name')}"
            try:
                self._connect(wire, port.external_ids)
            except (CniError, OvsdbError) as error:
                return [f"could not wire pod {name} again: {error}"]
            return [f"wired pod {name} again"]

    def _connect(self, wire: Wire, ids: Mapping[str, str]) -> None:
        if wire.host in self._ports():
            # When the switch lets go of an interface it sets down whatever has that name then.
            self._commit(_Step(add=[], remove=[wire.host]))
        wiring.create(wire)
        self._commit(_Step(add=[NewPort(wire.host, external_ids=ids)], remove=[]))

    def _undo(self, container: str) -> None:
        try:
            self._remove([container])
        except Exception as error:
            log.warning("What there is of container %s stays until the next repair: %s", container, error)

    def _remove(self, containers: Sequence[str]) -> None:
        ends = [wiring.host_end(container) for container in containers]
        ports = self._ports()
        if there := [end for end in ends if end in ports]:
            self._commit(_Step(add=[], remove=there))
        wiring.remove_all(ends)
        leases = self._ipam.leases()
        self._agent.forget(leases[container].address for container in containers if container in leases)
        self._ipam.release(containers)

    def _remove_idle(self, containers: Iterable[str]) -> list[str]:
        """Remove these but for those that somebody works on. Gives what was removed."""
        with ExitStack() as stack:
            mine = [name for name in containers if stack.enter_context(self._only(name, wait=False))]
            if mine:
                self._remove(mine)
        return mine

    def _commit(self, step: _Step) -> None:
        """Carry it out in the database and the flows. Those that wait meanwhile go together in one round."""
        with self._queueing:
            self._waiting.append(step)
        with self._committing:
            if not step.done.done():
                with self._queueing:
                    round_, self._waiting = self._waiting, []
                self._carry_out(round_)
        step.done.result()

    def _carry_out(self, steps: Sequence[_Step]) -> None:
        problem: Exception | None = None
        try:
            ports = self._ovsdb.change(
                self._settings.bridge,
                add=[port for step in steps for port in step.add],
                remove=[name for step in steps for name in step.remove],
            )
        except Exception as error:
            for step in steps:
                step.done.set_exception(error)
            return
        try:
            self._agent.install(self._ovsdb.pods())
        except Exception as error:
            # A pod whose port is gone is gone; the agent goes on trying to write the flows.
            log.warning("The flows of %d changed pods can not be written: %s", len(steps), error)
            problem = error
        for step in steps:
            bad = [ports[port.name] for port in step.add if pod_of(ports[port.name]) is None]
            if bad:
                what = f"Open vSwitch can not use {bad[0].name} as a port: {bad[0].error}"
                step.done.set_exception(OvsdbError(what))
            elif problem and step.add:
                step.done.set_exception(problem)
            else:
                step.done.set_result(None)

    def _wire(self, container: str, netns: str, ifname: str, address: IPv4Address) -> Wire:
        return Wire(
            host=wiring.host_end(container),
            netns=netns,
            ifname=ifname,
            address=address,
            router=self._settings.router,
            mtu=self._settings.mtu,
            offload=self._settings.offload,
        )

    def _ports(self) -> dict[str, Port]:
        """The ports of pods, working or not."""
        return {name: port for name, port in self._ovsdb.ports().items() if _id(port, "container")}

    def _known(self) -> dict[str, str]:
        """The containers that have an address or a port, each with the path of its network namespace."""
        found = {lease.container: lease.netns for lease in self._ipam.leases().values()}
        return found | {_id(port, "container"): _id(port, "netns") for port in self._ports().values()}

    @contextmanager
    def _only(self, container: str, wait: bool = True) -> Iterator[bool]:
        """Nobody else works on that container meanwhile. False, if somebody does and they are not waited for."""
        with self._freed:
            while container in self._busy and wait:
                self._freed.wait()
            mine = container not in self._busy
            self._busy.add(container)
        try:
            yield mine
        finally:
            if mine:
                with self._freed:
                    self._busy.remove(container)
                    self._freed.notify_all()


def _works(port: Port) -> bool:
    return pod_of(port) is not None and wiring.exists(port.name)


def _id(port: Port, key: str) -> str:
    return port.external_ids.get(f"cloudbang-{key}", "")


def handlers(pods: Pods) -> dict[str, Handler]:
    """What can be asked about pods; the agent adds its own."""
    return {"add": pods.add, "del": pods.delete, "check": pods.check, "gc": pods.collect, "status": pods.status}
