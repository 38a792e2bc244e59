# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent of a host: brings the bridge to what the cluster and the host's pods ask for, and keeps it there.

One loop writes the flows. What has to wait for others (the API, the network outside) is done by `duties.Duties`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pyroute2 import NetlinkError

from goodnet import config
from goodnet.cluster import tenants
from goodnet.cluster.client import Api, ApiError, Unreachable
from goodnet.cluster.state import Builder, Built, describe
from goodnet.cluster.watches import Cluster, View
from goodnet.cni import pods, server
from goodnet.cni.ipam import Ipam
from goodnet.diagnostics.questions import Questions
from goodnet.duties import Duties
from goodnet.errors import TRY_AGAIN, CniError
from goodnet.host import host_port, keepalived, links, nft, wiring
from goodnet.host.host_port import HostPort
from goodnet.host.systemd import notify
from goodnet.host.underlay import BRIDGE as UNDERLAY
from goodnet.metrics import Metrics
from goodnet.model import Config, Pod
from goodnet.ovs import conntrack, flows
from goodnet.ovs.ofctl import Change, Flows, OfctlError
from goodnet.ovs.ovsdb import RUNDIR, NewPort, Ovsdb, OvsdbError

log = logging.getLogger(__name__)

BRIDGE = "br-goodnet"
HOST_PORT = "goodnet0"
TUNNEL = "goodnet-tun"
PROVIDER = "provider0"
# Changes that come within this time are installed together.
_GATHER = 0.05
_DRIFT_SECONDS = 30.0
_REPAIR_SECONDS = 60.0
_RETRY_SECONDS = (0.5, 5.0)
_M_ARENA_MAX = -8
# The loop comes by at least this often, to tell systemd that it does.
_PULSE = 5.0
# How long a pod's ADD waits for what the API is about to say of its namespace, and of its labels.
_PATIENCE = 3.0
_LABELS_SECONDS = 1.0


@dataclass(frozen=True)
class Paths:
    """Where things are, apart from the configuration."""

    run: Path = Path("/run/goodnet")
    state: Path = Path("/var/lib/goodnet")
    switch: Path = RUNDIR


class NotReady(Exception):
    """Something that pods cannot do without is not there yet. The message says what, and what to do."""


class Agent:
    """Start it with `run`, which returns after `stop`."""

    def __init__(self, settings: config.Settings, paths: Paths, metrics: Metrics) -> None:
        self.settings = settings
        self.paths = paths
        self.metrics = metrics
        self.api = Api(settings.kubeconfig)
        self._ovsdb: Ovsdb | None = None
        self.cluster = Cluster(self.api, settings.node, paths.state / "cluster.json", self.wake, settings.edge)
        outside = settings.provider.network if settings.provider is not None else None
        self._builder = Builder(
            settings.cluster_cidr,
            settings.service_cidr,
            settings.system_namespaces,
            outside,
            settings.edges,
            settings.host_addresses,
            settings.hosts,
        )
        self._flows = Flows(BRIDGE, paths.switch)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        # The flows that the switch has may be others than those written last.
        self._whole = threading.Event()
        self._whole.set()
        # The switch was started and has not been told yet that its flows are there.
        self._waiting = threading.Event()
        self._waiting.set()
        self._restarted = threading.Event()
        self._writing = threading.Lock()
        self._config: Config | None = None
        self._host_port: HostPort | None = None
        self._pods: pods.Pods | None = None
        self._router_mac: str | None = None
        self._router_known = threading.Event()
        # The interface in the provider network, on edge hosts.
        self.outside: links.Link | None = None
        self.built: Built | None = None
        self.not_ready: str | None = "it is starting"
        self.duties = Duties(self)
        questions = Questions(self, paths.switch)
        self._server = server.Server(
            paths.run / "agent.sock",
            {
                **{op: self._measured(op) for op in ("add", "del", "check", "gc", "status")},
                "show": questions.show,
                "trace": questions.trace,
                "provider": self._provider_changed,
            },
        )

    def wake(self) -> None:
        """Have the loop look whether something is different."""
        self._wake.set()

    def stop(self) -> None:
        """End the loop. The bridge stays as it is, so running pods keep their traffic."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        notify("READY=1\nSTATUS=starting")
        self._server.start()
        self.cluster.start()
        self.duties.start()
        try:
            while not self._stopping.is_set() and not self._prepared():
                self._pause(_RETRY_SECONDS[0])
            self._loop()
        finally:
            log.info("stops; the flows stay")
            notify("STOPPING=1")
            self._server.stop()
            self.duties.stop()
            self.cluster.stop()
            if self._ovsdb is not None:
                self._ovsdb.stop()

    # What the CNI server asks.

    def ready(self) -> None:
        """Raise a CniError while no pod can be added."""
        if self.not_ready is not None:
            raise CniError(TRY_AGAIN, f"GoodNet on {self.settings.node} is not ready: {self.not_ready}")

    def tenant(self, namespace: str) -> str:
        """Return the tenant of a namespace, which has a VNI then."""
        end = time.monotonic() + _PATIENCE
        while True:
            found = self.tenants()
            name = found.of.get(namespace)
            if name is not None and any(tenant.name == name for tenant in found.tenants):
                return name
            if name in found.unnumbered and self.settings.manager:
                self._number(name)
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        if name is None:
            message = f"GoodNet on {self.settings.node} does not know namespace {namespace} yet"
            raise CniError(TRY_AGAIN, message, "Look whether the API answers: `goodnetctl status`.")
        entry = f"key {name} of ConfigMap {tenants.CONFIGMAP}"
        raise CniError(
            TRY_AGAIN,
            f"Tenant {name} of namespace {namespace} has no usable VNI",
            f"Look at {entry}, and at the events.",
        )

    def _number(self, tenant: str) -> None:
        try:
            tenants.allocate(self.api, [tenant], self.settings.vni_range)
        except (tenants.Exhausted, ApiError, Unreachable) as error:
            raise CniError(TRY_AGAIN, f"Tenant {tenant} has no VNI yet: {error}") from error

    def await_labels(self, uid: str) -> None:
        """Wait a moment until the API has told of a new pod, for its labels decide which policies are its own."""
        if uid:
            self.cluster.wait_for_pod(uid, _LABELS_SECONDS)

    def install(self, pods: Sequence[Pod]) -> None:
        """Have the flows for these pods, with the policies that speak of them."""
        self._write(pods)

    def forget(self, addresses: Iterable[IPv4Address]) -> None:
        """Forget the connections of pods that are gone."""
        conntrack.forget(self.paths.switch, self.settings.datapath, addresses)

    # What duties and questions ask.

    def view(self) -> View:
        """Return what is known of the cluster, with this host as holder of the external addresses if it is master.

        The Lease may say so later, when the API is away as well.
        """
        found = self.cluster.view()
        if self.master:
            return replace(found, holder=self.settings.node)
        return replace(found, holder=None) if found.holder == self.settings.node else found

    def tenants(self) -> tenants.Tenants:
        with self._writing:
            return self._builder.tenants(self.view())

    @property
    def master(self) -> bool:
        """Whether keepalived has given the external addresses to this host."""
        return self.settings.provider is not None and keepalived.role(self.paths.run / "provider") == keepalived.MASTER

    def router_found(self, mac: str) -> None:
        """Take the MAC of the provider network's router."""
        if mac != self._router_mac:
            log.info("the router of the provider network has %s", mac)
            self._router_mac = mac
            self._router_known.set()
            self.wake()

    # The start.

    def _prepared(self) -> bool:
        """Do what comes before the first flow, as far as it goes. Returns whether all of it is done."""
        try:
            self._prepare()
        except (NotReady, OvsdbError, OSError, NetlinkError, ValueError) as error:
            self._not_ready(str(error))
            return False
        return True

    def _prepare(self) -> None:
        if self._ovsdb is None:
            found = Ovsdb(self.paths.switch)
            found.start()
            found.watch(self._switch_changed)
            self._ovsdb = found
        if not self.cluster.known and not self.cluster.wait(0):
            raise NotReady("the API has not told of the cluster yet; look at the kubeconfig and the API server")
        view = self.cluster.view()
        own = self._builder.host(view, self.settings.node)
        if own is None:
            raise NotReady(
                f"node {self.settings.node}: found no podCIDR within {self.settings.cluster_cidr} and InternalIP; "
                "look whether kubelet has registered it and kube-controller-manager allocates node CIDRs"
            )
        underlay = self._underlay(own.node)
        mtu = config.derived_mtu(self.settings, underlay.mtu)
        self._host_port = HostPort(
            name=HOST_PORT,
            own=own.pods,
            overlay=(self.settings.cluster_cidr, self.settings.service_cidr),
            router=Config.mac,
            passing=Config.passing_mac,
            machines=self.settings.host_addresses,
            routed=self.settings.routed_networks,
        )
        self._config = self._bridge(self._host_port, mtu)
        self._maintain()
        self.duties.underlay = underlay.address
        # The first flows replace all there are, so they must not lack what was there before the start.
        self.cluster.follow(self._builder.build(self._config, view, self._switch().pods()).follow)
        if self.cluster.wait(0):
            self.cluster.wait_for_followed(_PATIENCE)
        if self.outside is not None:
            self.duties.wake()
            self._router_known.wait(_PATIENCE)
        system = self.settings.datapath == "system"
        self._pods = pods.Pods(
            pods.Settings(BRIDGE, Config.mac, mtu, offload=system),
            self._switch(),
            Ipam(self.paths.state / "addresses.json", own.pods),
            self,
        )

    def _switch(self) -> Ovsdb:
        assert self._ovsdb is not None
        return self._ovsdb

    def _underlay(self, node: IPv4Address) -> links.Link:
        """Return the interface that the tunnels of this host use, with its address."""
        if self.settings.datapath == "netdev":
            found = links.link(UNDERLAY)
            if found is None or found.address is None:
                raise NotReady(
                    f"underlay: found no IPv4 address on {UNDERLAY}, wanted that of its NIC; run the role goodnet again"
                )
            return found
        found = links.link_of(node)
        if found is None:
            raise NotReady(f"underlay: found no interface with {node}, the InternalIP of node {self.settings.node}")
        return found

    def _bridge(self, own: HostPort, mtu: int) -> Config:
        """Have the bridge with its own ports, and return what flows have to know of them."""
        ports = [
            # A MAC of its own would be another one after each restart of a switch in user space.
            NewPort(HOST_PORT, "internal", mac=wiring.mac_of(own.address), mtu=mtu),
            NewPort(TUNNEL, self.settings.encapsulation, {"remote_ip": "flow", "key": "flow"}),
        ]
        if self.settings.provider is not None:
            self.outside = links.ensure_macvlan(PROVIDER, self.settings.provider.interface)
            ports.append(NewPort(PROVIDER))
        made = self._switch().ensure_bridge(BRIDGE, self.settings.datapath, ports)
        numbers: dict[str, int] = {}
        for name, port in made.items():
            if port.ofport is None or port.ofport < 1:
                raise NotReady(f"Open vSwitch cannot use {name} as a port of {BRIDGE}: {port.error}")
            numbers[name] = port.ofport
        return Config(
            host=self.settings.node,
            encapsulation=self.settings.encapsulation,
            cluster=self.settings.cluster_cidr,
            services=self.settings.service_cidr,
            nodes=self.settings.node_networks,
            tunnel=numbers[TUNNEL],
            host_port=numbers[HOST_PORT],
            host_port_mac=wiring.mac_of(own.address),
            provider=numbers.get(PROVIDER),
            provider_network=self.settings.provider.network if self.settings.provider is not None else None,
            provider_mac=self.outside.mac if self.outside is not None else None,
            mtu=mtu,
            machines=self.settings.host_addresses,
            open_ports=self.settings.host_ports,
        )

    def _maintain(self) -> None:
        """Set what bridge and kernel have to have, again and again, as others may change it."""
        assert self._host_port is not None and self._config is not None
        self._config = self._bridge(self._host_port, self._config.mtu)
        host_port.ensure(self._host_port)
        underlay = UNDERLAY if self.settings.datapath == "netdev" else ""
        ends = self._builder.tunnel_ends(self.cluster.view())
        host_port.filter(replace(self._host_port, underlay=underlay, tunnel_ends=ends))
        if self.settings.datapath == "netdev":
            nft.guard("goodnet-guard", wiring.WIRES, f'iifname "{PROVIDER}"')

    def _not_ready(self, why: str) -> None:
        if self.not_ready != why:
            self.not_ready = why
            log.warning("not ready: %s", why)

    # The loop.

    def _loop(self) -> None:
        failures = 0
        drift = repair = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            try:
                self._wake.clear()
                thorough = now >= drift or self._restarted.is_set()
                if thorough:
                    self._restarted.clear()
                    self._whole.set()
                self._write(None)
                if thorough:
                    self._maintain()
                    drift = now + _DRIFT_SECONDS
                if now >= repair and self._pods is not None:
                    self._pods.repair()
                    repair = now + _REPAIR_SECONDS
                failures = 0
            except (OfctlError, OvsdbError, OSError, NetlinkError, CniError) as error:
                self.metrics.failures.inc()
                self._whole.set()
                (log.error if failures == 0 else log.debug)("flows are not up to date: %s; tried again", error)
                failures += 1
                drift = now
                self._pause(min(_RETRY_SECONDS[1], _RETRY_SECONDS[0] * 2 ** min(failures, 10)))
                continue
            self._pause(max(0.0, min(drift, repair) - time.monotonic()))

    def _pause(self, seconds: float) -> None:
        """Wait until there is something to do or the time is over, and tell systemd that this is alive."""
        end = time.monotonic() + seconds
        while True:
            notify(f"WATCHDOG=1\nSTATUS={self.not_ready or 'ready'}")
            left = end - time.monotonic()
            if self._stopping.is_set() or left <= 0:
                return
            if self._wake.wait(min(left, _PULSE)):
                self._stopping.wait(_GATHER)
                return

    def _write(self, pods: Sequence[Pod] | None) -> None:
        """Install what is wanted now; pods: those of this host, None for those that the database has."""
        with self._writing:
            began = time.monotonic()
            assert self._config is not None
            whole = self._whole.is_set()
            self._whole.clear()
            built = self._builder.build(
                self._current_config(), self.view(), self._switch().pods() if pods is None else pods
            )
            self._check_range(built)
            former = self.built.state if self.built is not None else None
            if built.state == former and not whole:
                return
            wanted = flows.desired(built.state)
            try:
                change = self._flows.write(wanted, whole=whole)
            except OfctlError:
                self._whole.set()
                raise
            self.built = built
            self._written(describe(former, built.state), change, former is not None, time.monotonic() - began)
            self.metrics.counts(
                {
                    "flows": len(wanted),
                    "pods": len(built.state.pods),
                    "tenants": len(built.state.tenants),
                    "hosts": len(built.state.hosts),
                    "policies": len(built.state.policies),
                }
            )
            self.cluster.follow(built.follow)
            self.duties.wake()

    def _written(self, difference: str, change: Change, started: bool, seconds: float) -> None:
        self.metrics.reconcile.observe(seconds)
        for kind in ("added", "changed", "removed"):
            self.metrics.changes.labels(kind).inc(getattr(change, kind))
        if self.not_ready is not None:
            self.not_ready = None
            # Most of what is there now stays; to look through it for garbage takes longer than a pod's change.
            gc.freeze()
        if self._waiting.is_set() and self.settings.datapath == "system":
            # The switch started with its former flows in the kernel, and was told to wait for these.
            self._switch().set_other_config({"flow-restore-wait": None})
            self._waiting.clear()
        if change:
            if started and difference == "nothing is different":
                self.metrics.drift.inc()
                log.warning("flows: %s in %.0f ms: the bridge was not as it was left", change, seconds * 1000)
            else:
                log.info("flows: %s in %.0f ms: %s", change, seconds * 1000, difference)

    def _current_config(self) -> Config:
        """Return the configuration with the provider network only while its router is known."""
        assert self._config is not None
        if self._router_mac is None:
            return replace(self._config, provider=None)
        return replace(self._config, provider_router_mac=self._router_mac)

    def _check_range(self, built: Built) -> None:
        own = next((host for host in built.state.hosts if host.name == self.settings.node), None)
        assert self._host_port is not None
        if own is None:
            # Without this there would be no flows at all. A node that is deleted for good has no pods either.
            raise OSError(f"node {self.settings.node} is not in the cluster any more; the flows stay as they are")
        if own.pods != self._host_port.own:
            log.error("podCIDR changed from %s to %s: starts again", self._host_port.own, own.pods)
            self.stop()
            raise OSError("the range of this host's pods has changed")

    def _switch_changed(self, restarted: bool) -> None:
        if restarted:
            log.warning("ovs-vswitchd was started again; all flows are written anew")
            self._waiting.set()
            self._restarted.set()
            self.duties.neighbours_lost()
        self._wake.set()

    # Requests on the socket.

    def _measured(self, op: str) -> server.Handler:
        def handle(request: dict[str, Any]) -> server.Answer:
            began = time.monotonic()
            result = "error"
            try:
                if self._pods is None:
                    self.ready()
                    raise CniError(TRY_AGAIN, f"GoodNet on {self.settings.node} is not ready")
                answer = pods.handlers(self._pods)[op](request)
                result = "ok"
                return answer
            finally:
                self.metrics.cni.labels(op, result).observe(time.monotonic() - began)

        return handle

    def _provider_changed(self, request: Mapping[str, Any]) -> server.Answer:
        log.info("keepalived: this host is %s", "master" if self.master else "backup")
        self.duties.provider(again=True)
        self.wake()
        return {"master": self.master}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Keeps the tenant network of this host.")
    parser.add_argument("--config", default="/etc/goodnet/agent.yaml", help="configuration file")
    parser.add_argument("--check", action="store_true", help="only check the configuration file")
    for name, default in (("run", Paths.run), ("state", Paths.state), ("switch", Paths.switch)):
        parser.add_argument(f"--{name}-directory", type=Path, default=default, help="default: %(default)s")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = config.load(given.config)
    except config.ConfigError as error:
        log.error("%s", error)
        return 1
    if given.check:
        return 0
    # Many threads wait most of their time: no large stack for each, and one heap for all, which holds a fifth less.
    threading.stack_size(256 * 1024)
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    metrics = Metrics()
    try:
        metrics.serve(*settings.metrics)
    except OSError as error:
        log.error("metrics %s:%d: %s; wanted an address and port that are free", *settings.metrics, error.strerror)
        return 1
    agent = Agent(settings, Paths(given.run_directory, given.state_directory, given.switch_directory), metrics)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
