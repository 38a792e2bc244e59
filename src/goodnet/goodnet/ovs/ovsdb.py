# SPDX-License-Identifier: GPL-3.0-or-later
"""The database of Open vSwitch: which bridges and ports there are, and what the switch made of them.

One thread owns the replica of the database. Others hand it their changes, which it carries out one after the other, and
read what it last saw.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ovs.db.idl
import ovs.jsonrpc
import ovs.poller
import ovs.stream

from goodnet.model import Pod

log = logging.getLogger(__name__)

RUNDIR = Path("/run/openvswitch")
COLUMNS = {
    "Open_vSwitch": ["bridges", "cur_cfg", "next_cfg", "other_config", "ovs_version"],
    "Bridge": ["name", "ports", "fail_mode", "datapath_type", "other_config"],
    "Port": ["name", "interfaces"],
    "Interface": [
        "name", "type", "options", "external_ids", "mac", "mac_in_use", "mtu_request", "ofport", "error"
    ],
}  # fmt: skip
# What of a pod is kept with its interface, so that it outlives the agent.
POD_KEYS = ("namespace", "name", "uid", "container", "ip", "mac", "netns", "ifname", "tenant")


class OvsdbError(Exception):
    """Open vSwitch did not take a change, or did not say in time that it had."""


@dataclass(frozen=True)
class Port:
    """A port as the database has it. ofport is None until the switch gave it a number, -1 if it could not (error)."""

    name: str
    bridge: str
    type: str
    external_ids: Mapping[str, str]
    mac: str | None
    ofport: int | None
    error: str | None


@dataclass(frozen=True)
class NewPort:
    """A port that is wanted. type is empty for an interface that the host has, such as a pod's wire."""

    name: str
    type: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    external_ids: Mapping[str, str] = field(default_factory=dict)
    mac: str | None = None
    mtu: int | None = None


def external_ids(pod: Pod, netns: str, ifname: str) -> dict[str, str]:
    values = (
        pod.namespace, pod.name, pod.uid, pod.container, str(pod.address), pod.mac, netns, ifname, pod.tenant
    )  # fmt: skip
    return {f"cloudbang-{key}": value for key, value in zip(POD_KEYS, values, strict=True)}


def pod_of(port: Port) -> Pod | None:
    """The pod whose port it is; None when it is no pod's, or its switch port does not work."""
    ids = {key: port.external_ids.get(f"cloudbang-{key}", "") for key in POD_KEYS}
    if not ids["container"] or port.ofport is None or port.ofport < 1:
        return None
    return Pod(
        namespace=ids["namespace"],
        name=ids["name"],
        uid=ids["uid"],
        container=ids["container"],
        address=IPv4Address(ids["ip"]),
        mac=ids["mac"],
        port=port.ofport,
        tenant=ids["tenant"],
    )


# A change in steps: each yield waits until something is new in the database, and the end of it is the result.
Steps = Generator[None, None, Any]


@dataclass
class _Job:
    steps: Steps
    until: float
    result: Future[Any] = field(default_factory=Future)


class Ovsdb:
    """Start it, change things, stop it. All methods may be called from any thread but that of the watchers."""

    def __init__(self, rundir: Path = RUNDIR, timeout: float = 15.0) -> None:
        self._remote = f"unix:{rundir}/db.sock"
        self._pidfile = rundir / "ovs-vswitchd.pid"
        self._timeout = timeout
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._ready = threading.Event()
        self._ports: Mapping[str, Port] = MappingProxyType({})
        self._watchers: list[Callable[[bool], None]] = []
        self._switch: int | None = None  # a pidfd of ovs-vswitchd
        self._switch_seen = False
        self._transaction: Any = None
        self._thread = threading.Thread(target=self._main, name="ovsdb", daemon=True)

    def start(self) -> None:
        """Connect, and return when the contents of the database are here. After an error it can be tried again."""
        until = time.monotonic() + self._timeout
        if not self._thread.is_alive():
            self._idl = ovs.db.idl.Idl(self._remote, _schema(self._remote, until))
            self._thread.start()
        if not self._ready.wait(until - time.monotonic()):
            raise OvsdbError(f"{self._remote} accepts connections but does not send the contents of the database")

    def stop(self) -> None:
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join()

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Call it, on the database's thread, after each change; with True when the switch has been started again.

        A switch that was started again has lost its flows. It may not wait, nor call other methods than `ports`.
        """
        self._watchers.append(watcher)

    def ports(self) -> Mapping[str, Port]:
        """All ports by name, as last seen."""
        return self._ports

    def pods(self) -> tuple[Pod, ...]:
        """The pods of this host whose ports work, by address."""
        found = [pod for port in self._ports.values() if (pod := pod_of(port))]
        return tuple(sorted(found, key=lambda pod: pod.address))

    def ensure_bridge(
        self, name: str, datapath: str, ports: Sequence[NewPort] = (), fail_mode: str = "secure"
    ) -> dict[str, Port]:
        """Have this bridge with at least these ports, and give them when the switch has them, even if with an error."""
        return self._do(self._ensure_bridge(name, datapath, ports, fail_mode))  # type: ignore[no-any-return]

    def change(self, bridge: str, add: Sequence[NewPort] = (), remove: Sequence[str] = ()) -> dict[str, Port]:
        """Remove and add ports in one transaction. Gives those added when the switch has them, even if with an error.

        A port that is there already is removed first, for the switch would not see that the interface is another one.
        Ports that are to be removed may be missing.
        """
        return self._do(self._change(bridge, add, remove))  # type: ignore[no-any-return]

    def add_port(self, bridge: str, port: NewPort) -> int:
        """Add one port and give its OpenFlow number."""
        added = self.change(bridge, add=[port])[port.name]
        if added.ofport is None or added.ofport < 1:
            self.remove_port(bridge, port.name)
            raise OvsdbError(f"Open vSwitch can not use {port.name} as a port of {bridge}: {added.error}")
        return added.ofport

    def remove_port(self, bridge: str, name: str) -> None:
        self.change(bridge, remove=[name])

    def set_external_ids(self, ids: Mapping[str, Mapping[str, str]]) -> None:
        """Set these external IDs of ports, by their names; their other IDs stay. Ports that are gone are no problem."""

        def edit(_ignored: Any) -> None:
            for row in self._rows("Interface"):
                for key, value in ids.get(row.name, {}).items():
                    row.setkey("external_ids", key, value)

        self._do(self._commit(edit))

    def set_other_config(self, values: Mapping[str, str | None]) -> None:
        """Set these keys of the switch's own other_config, such as flow-restore-wait; None removes one."""

        def edit(_ignored: Any) -> None:
            for key, value in values.items():
                if value is None:
                    self._root().delkey("other_config", key)
                else:
                    self._root().setkey("other_config", key, value)

        self._do(self._configure(edit))

    def _do(self, steps: Steps) -> Any:
        if threading.current_thread() is self._thread:
            raise RuntimeError("A watcher called a method that waits for the thread it runs on.")
        result = self._submit(steps).result
        os.eventfd_write(self._wake, 1)
        while not result.done() and self._thread.is_alive():
            concurrent.futures.wait([result], timeout=1)
        if not result.done():
            raise OvsdbError("The thread of Open vSwitch's database has ended; see the log for why.")
        return result.result()

    def _submit(self, steps: Steps) -> _Job:
        job = _Job(steps, time.monotonic() + self._timeout)
        self._jobs.put(job)
        return job

    # What follows runs on the database's thread only.

    def _main(self) -> None:
        job: _Job | None = None
        seen = -1
        while not self._stopping:
            self._idl.run()
            if self._idl.change_seqno != seen:
                seen = self._idl.change_seqno
                self._publish()
            self._follow_switch()
            if job is None and self._ready.is_set():
                job = self._next_job()
            if job is not None and self._step(job):
                job = None
                continue
            self._block(job)
        self._idl.close()
        if self._switch is not None:
            os.close(self._switch)
        error = OvsdbError("The connection to Open vSwitch's database was closed")
        while job := job or self._next_job():
            job.result.set_exception(error)
            job = None

    def _next_job(self) -> _Job | None:
        try:
            return self._jobs.get_nowait()
        except queue.Empty:
            return None

    def _step(self, job: _Job) -> bool:
        """Go on with a job; whether it has come to its end."""
        try:
            if time.monotonic() > job.until:
                raise OvsdbError(
                    f"Open vSwitch did not take up a change within {self._timeout:g} s. "
                    "See `systemctl status ovs-vswitchd ovsdb-server`."
                )
            next(job.steps)
            return False
        except StopIteration as end:
            job.result.set_result(end.value)
        except Exception as error:
            job.result.set_exception(error)
        job.steps.close()
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None
        return True

    def _block(self, job: _Job | None) -> None:
        poller = ovs.poller.Poller()
        self._idl.wait(poller)
        if self._transaction is not None:
            self._transaction.wait(poller)
        poller.fd_wait(self._wake, select.POLLIN)
        if self._switch is not None:
            poller.fd_wait(self._switch, select.POLLIN)
        else:
            poller.timer_wait(200)
        if job is not None:
            poller.timer_wait(max(0, int((job.until - time.monotonic()) * 1000)) + 1)
        poller.block()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _publish(self, restarted: bool = False) -> None:
        ports: dict[str, Port] = {}
        for bridge in self._rows("Bridge"):
            for port in bridge.ports:
                for row in port.interfaces:
                    ports[row.name] = Port(
                        name=row.name,
                        bridge=bridge.name,
                        type=row.type,
                        external_ids=MappingProxyType(dict(row.external_ids)),
                        mac=next(iter([*row.mac, *row.mac_in_use]), None),
                        ofport=next(iter(row.ofport), None),
                        error=next(iter(row.error), None),
                    )
        self._ports = MappingProxyType(ports)
        if self._rows("Open_vSwitch"):
            self._ready.set()
        for watcher in self._watchers:
            try:
                watcher(restarted)
            except Exception:
                log.exception("A watcher of Open vSwitch's database failed")

    def _follow_switch(self) -> None:
        """See when ovs-vswitchd ends and another one runs."""
        if self._switch is not None and _ended(self._switch):
            log.warning("ovs-vswitchd ended")
            os.close(self._switch)
            self._switch = None
        if self._switch is None:
            self._switch = _pidfd(self._pidfile)
            if self._switch is not None:
                if self._switch_seen:
                    self._greet()
                self._switch_seen = True

    def _greet(self) -> None:
        """Tell the watchers of a new switch once it has made its bridges."""
        self._submit(self._configure(lambda _: None)).result.add_done_callback(self._greeted)

    def _greeted(self, result: Future[Any]) -> None:
        if result.exception() is None:
            log.info("ovs-vswitchd runs again")
            self._publish(restarted=True)
        elif self._switch is not None and not self._stopping:
            self._greet()

    def _rows(self, table: str) -> list[Any]:
        return list(self._idl.tables[table].rows.values())

    def _row(self, table: str, name: str) -> Any:
        return next((row for row in self._rows(table) if row.name == name), None)

    def _root(self) -> Any:
        return self._rows("Open_vSwitch")[0]

    def _commit(self, edit: Callable[[Any], None]) -> Generator[None, None, Any]:
        """One transaction, tried again when somebody else's came first. Gives the transaction."""
        while True:
            self._transaction = transaction = ovs.db.idl.Transaction(self._idl)
            edit(transaction)
            status = transaction.commit()
            while status == transaction.INCOMPLETE:
                yield
                status = transaction.commit()
            self._transaction = None
            if status in (transaction.SUCCESS, transaction.UNCHANGED):
                return transaction
            if status != transaction.TRY_AGAIN:
                raise OvsdbError(f"Open vSwitch's database refused a change: {transaction.get_error() or status}")
            yield

    def _configure(self, edit: Callable[[Any], None]) -> Generator[None, None, None]:
        """A transaction, and the wait until the switch has carried it out."""

        wanted = 0

        def with_number(transaction: Any) -> None:
            nonlocal wanted
            edit(transaction)
            root = self._root()
            root.verify("next_cfg")
            wanted = root.next_cfg = root.next_cfg + 1

        yield from self._commit(with_number)
        while self._root().cur_cfg < wanted:
            yield

    def _ensure_bridge(
        self, name: str, datapath: str, ports: Sequence[NewPort], fail_mode: str
    ) -> Generator[None, None, dict[str, Port]]:
        def edit(transaction: Any) -> None:
            bridge = self._row("Bridge", name)
            if bridge is None:
                bridge = transaction.insert(self._idl.tables["Bridge"])
                bridge.name = name
                self._root().addvalue("bridges", bridge)
                ports_wanted = [NewPort(name, type="internal"), *ports]
            else:
                ports_wanted = list(ports)
            bridge.fail_mode = fail_mode
            bridge.datapath_type = datapath
            for port in ports_wanted:
                interface = self._row("Interface", port.name)
                if interface is None:
                    self._insert(transaction, bridge, port)
                else:
                    _fill(interface, port)

        yield from self._configure(edit)
        return (yield from self._found([port.name for port in ports]))

    def _change(
        self, bridge: str, add: Sequence[NewPort], remove: Sequence[str]
    ) -> Generator[None, None, dict[str, Port]]:
        names = [port.name for port in add]

        def take(gone: Sequence[str]) -> None:
            row = self._row("Bridge", bridge)
            if row is None:
                raise OvsdbError(f"There is no bridge {bridge} in Open vSwitch's database.")
            for port in row.ports:
                if port.name in gone:
                    row.delvalue("ports", port)

        def insert(transaction: Any) -> None:
            take(remove)
            row = self._row("Bridge", bridge)
            for port in add:
                self._insert(transaction, row, port)

        if any(self._row("Interface", name) for name in names):
            yield from self._configure(lambda _: take(names))
        yield from self._configure(insert)
        return (yield from self._found(names))

    def _insert(self, transaction: Any, bridge: Any, wanted: NewPort) -> None:
        interface = transaction.insert(self._idl.tables["Interface"])
        interface.name = wanted.name
        _fill(interface, wanted)
        port = transaction.insert(self._idl.tables["Port"])
        port.name = wanted.name
        port.interfaces = [interface]
        bridge.addvalue("ports", port)

    def _found(self, names: Sequence[str]) -> Generator[None, None, dict[str, Port]]:
        """The ports once the switch has said of each that it has it or why not."""
        while True:
            # They are in the replica, but may not have been published yet.
            self._publish()
            found = {name: self._ports[name] for name in names if name in self._ports}
            if len(found) == len(names) and all(port.ofport is not None for port in found.values()):
                return found
            yield


def _fill(interface: Any, wanted: NewPort) -> None:
    for column, value in (
        ("type", wanted.type),
        ("options", dict(wanted.options)),
        ("external_ids", dict(wanted.external_ids)),
        ("mac", [wanted.mac] if wanted.mac else []),
        ("mtu_request", [wanted.mtu] if wanted.mtu else []),
    ):
        setattr(interface, column, value)


def _schema(remote: str, until: float) -> ovs.db.idl.SchemaHelper:
    """The schema as the running database has it, so that an upgrade of Open vSwitch does not matter."""
    while True:
        error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(remote), timeout=1000)
        if not error:
            break
        if time.monotonic() > until:
            raise OvsdbError(
                f"Open vSwitch's database does not listen on {remote}: {os.strerror(error)}. "
                "See `systemctl status ovsdb-server`."
            )
        time.sleep(0.2)
    connection = ovs.jsonrpc.Connection(stream)
    error, reply = connection.transact_block(ovs.jsonrpc.Message.create_request("get_schema", ["Open_vSwitch"]))
    connection.close()
    if error or reply.error:
        raise OvsdbError(f"{remote} gives no schema of Open_vSwitch: {os.strerror(error) if error else reply.error}")
    helper = ovs.db.idl.SchemaHelper(None, reply.result)
    for table, columns in COLUMNS.items():
        helper.register_columns(table, columns)
    return helper


def _pidfd(pidfile: Path) -> int | None:
    """A handle on the running ovs-vswitchd, if there is one."""
    try:
        pid = int(pidfile.read_text())
        handle = os.pidfd_open(pid)
        named = Path(f"/proc/{pid}/comm").read_text().strip() == "ovs-vswitchd"
        if named and not _ended(handle):
            return handle
        os.close(handle)
    except (OSError, ValueError):
        pass
    return None


def _ended(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0)[0])
