# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ask of the agent over its socket: how things are, and why a packet passes or does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from goodnet.cluster.client import Api, ApiError, Unreachable
from goodnet.cluster.objects import reduce_pod
from goodnet.cluster.state import Built
from goodnet.cluster.watches import Cluster
from goodnet.config import Settings
from goodnet.diagnostics import explain
from goodnet.errors import BAD_ENVIRONMENT, FAILED, TRY_AGAIN, CniError
from goodnet.model import Host, Pod, State

Answer = dict[str, Any]
_SECONDS = 15


@dataclass(frozen=True)
class End:
    """One end of a packet's way. pod: when it is on this host; host: that of its address; tenant: None when unknown."""

    address: IPv4Address
    pod: Pod | None = None
    host: Host | None = None
    tenant: str | None = None


class Agent(Protocol):
    """What answers are found in."""

    settings: Settings
    api: Api
    cluster: Cluster
    built: Built | None
    not_ready: str | None

    @property
    def master(self) -> bool:
        """Whether keepalived has given the external addresses to this host."""


class Questions:
    """Answers from the agent's present state. switch: the directory of Open vSwitch's sockets."""

    def __init__(self, agent: Agent, switch: Path) -> None:
        self._agent = agent
        self._switch = switch

    def show(self, _request: Mapping[str, Any]) -> Answer:
        """Return the state of this host and what it knows of the cluster."""
        agent = self._agent
        answer: Answer = {
            "node": agent.settings.node,
            "ready": agent.not_ready is None,
            "why": agent.not_ready,
            "encapsulation": agent.settings.encapsulation,
            "datapath": agent.settings.datapath,
            "lists": agent.cluster.in_contact,
            "provider": {"edge": agent.settings.edge, "master": agent.master, "holder": agent.cluster.view().holder},
            "hosts": [],
            "tenants": [],
            "pods": [],
            "policies": [],
            "problems": [],
        }
        if agent.built is None:
            return answer
        state, found = agent.built.state, agent.built.tenants
        answer["mtu"] = state.config.mtu
        answer["hosts"] = [
            {
                "name": host.name,
                "address": str(host.node),
                "underlay": str(host.underlay),
                "pods": str(host.pods),
                "edge": host.edge,
            }
            for host in state.hosts
        ]
        names = {tenant.vni: tenant.name for tenant in state.tenants}
        answer["tenants"] = [
            {
                "name": tenant.name,
                "vni": tenant.vni,
                "network": "open" if tenant.open else "isolated",
                "peers": sorted(names.get(vni, str(vni)) for vni in tenant.peers),
                "namespaces": sorted(name for name, owner in found.of.items() if owner == tenant.name),
                "pods": sum(pod.tenant == tenant.name for pod in state.pods),
                "external": str(tenant.external) if tenant.external is not None else None,
                "edge": tenant.edge,
            }
            for tenant in state.tenants
        ]
        answer["pods"] = [
            {
                "namespace": pod.namespace,
                "name": pod.name,
                "address": str(pod.address),
                "tenant": pod.tenant,
                "port": pod.port,
            }
            for pod in state.pods
        ]
        answer["policies"] = [f"{policy.namespace}/{policy.name}" for policy in state.policies]
        answer["problems"] = [
            f"{note.kind} {note.name}: {note.reason}: {note.message}" for note, _uid in agent.built.notes
        ]
        return answer

    def trace(self, request: Mapping[str, Any]) -> Answer:
        """Return why a packet from one pod to another passes or is dropped, as the first one of a connection."""
        agent = self._agent
        if agent.built is None:
            raise CniError(TRY_AGAIN, f"GoodNet on {agent.settings.node} is not ready: {agent.not_ready}")
        state = agent.built.state
        source, destination = self._end(state, request["source"]), self._end(state, request["destination"])
        flow = trace_flow(state, source, destination, str(request.get("protocol", "tcp")), int(request.get("port", 80)))
        text = self._ofproto_trace(flow)
        found = explain.explain(text, state)
        return {
            "passes": found.passes,
            "steps": list(found.steps),
            "verdict": found.verdict,
            "advice": found.advice,
            "flow": flow,
            "trace": text,
        }

    def _ofproto_trace(self, flow: str) -> str:
        command = ["ovs-appctl", "ofproto/trace", "br-goodnet", flow]
        environment = {**os.environ, "OVS_RUNDIR": str(self._switch)}
        try:
            done = subprocess.run(
                command, env=environment, text=True, capture_output=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise CniError(TRY_AGAIN, f"The switch did not answer `{' '.join(command)}` within {_SECONDS} s") from error
        if done.returncode:
            raise CniError(FAILED, f"`{' '.join(command)}` failed: {done.stderr.strip()}")
        return done.stdout

    def _end(self, state: State, name: str) -> End:
        """Return the pod or address that people mean by a name."""
        for pod in state.pods:
            if name in (f"{pod.namespace}/{pod.name}", str(pod.address)):
                return End(pod.address, pod, _host_of(state, pod.address), pod.tenant)
        try:
            address = IPv4Address(name)
        except ValueError:
            return self._remote(state, name)
        return End(address, host=_host_of(state, address))

    def _remote(self, state: State, name: str) -> End:
        namespace, separator, pod_name = name.partition("/")
        if not separator or not pod_name:
            raise CniError(BAD_ENVIRONMENT, f"Pod: found {name!r}, wanted NAMESPACE/NAME or an IPv4 address")
        agent = self._agent
        try:
            path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod_name, safe='')}"
            pod = reduce_pod(agent.api.request("GET", path))
        except (ApiError, Unreachable) as error:
            raise CniError(FAILED, f"Pod {name} is not on {agent.settings.node}, and {error}") from error
        if pod is None or not pod["address"]:
            raise CniError(
                FAILED, f"Pod {name} has no address in the pods' network: it ended, waits, or uses the host's network"
            )
        address = IPv4Address(pod["address"])
        assert agent.built is not None
        return End(address, None, _host_of(state, address), agent.built.tenants.of.get(namespace))


def _host_of(state: State, address: IPv4Address) -> Host | None:
    return next((host for host in state.hosts if address in host.pods), None)


def trace_flow(state: State, source: End, destination: End, protocol: str, port: int) -> str:
    """Return the packet in the syntax of ofproto/trace, as it arrives at this host's bridge."""
    if protocol not in explain.PROTOCOLS:
        raise CniError(BAD_ENVIRONMENT, f"Protocol: found {protocol!r}, wanted one of {', '.join(explain.PROTOCOLS)}")
    if not 0 < port < 65536:
        raise CniError(BAD_ENVIRONMENT, f"Port: found {port}, wanted 1 to 65535")
    config = state.config
    own = next(host for host in state.hosts if host.name == config.host)
    if source.pod is not None:
        way = f"in_port={source.pod.port},dl_src={source.pod.mac},dl_dst={config.mac}"
    elif source.host is None:
        way = f"in_port={config.host_port},dl_src={config.host_port_mac},dl_dst={config.mac}"
    elif source.host.name == own.name:
        raise CniError(FAILED, f"No pod on {own.name} has {source.address}")
    elif destination.host is None or destination.host.name != own.name:
        where = source.host.name
        raise CniError(
            FAILED, f"Neither end is on {own.name}", f"Ask where the sender is: `goodnetctl trace` on {where}."
        )
    else:
        vni = next((tenant.vni for tenant in state.tenants if tenant.name == source.tenant), None)
        if vni is None:
            raise CniError(
                FAILED, f"The tenant of {source.address} is not known here", "Name the pod as NAMESPACE/NAME."
            )
        way = f"in_port={config.tunnel},tun_src={source.host.underlay},tun_dst={own.underlay},tun_id={vni:#x},"
        way += f"dl_dst={config.mac}"
    what = "icmp_type=8,icmp_code=0" if protocol == "icmp" else f"tp_src=40000,tp_dst={port}"
    return f"{protocol},{way},nw_src={source.address},nw_dst={destination.address},nw_ttl=64,{what}"
