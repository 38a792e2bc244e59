# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of tenants on a lab with GoodNet: reachability on all paths, and behaviour during failures."""

from __future__ import annotations

import http.server
import json
import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client

from .lab import DEMO_DOMAIN, IMAGE, VIP, Lab, Node, in_network_of, traffic, wait_for

# Namespace to tenant. The name of the last one makes it a namespace of the platform.
NAMESPACES = {"e2e-red": "e2e-red", "e2e-more": "e2e-red", "e2e-blue": "e2e-blue", "cloudbang-e2e": ""}
# Name to namespace and host. The first two are servers, the others are clients.
PODS = {
    "near": ("e2e-red", "compute1"),
    "far": ("e2e-red", "compute2"),
    "red": ("e2e-more", "compute1"),
    "blue": ("e2e-blue", "compute1"),
    "platform": ("cloudbang-e2e", "compute1"),
}
TARGETS = ("near", "far")
# Outside of the cluster, in the network of its nodes.
OUTSIDE = "storage1"
EXTERNAL = "10.92.0.200"
# This machine, outside of the nodes' own network: packets to it leave the cluster.
CONTROLLER = "10.93.0.1"
# Seconds without the holder of the external addresses. An address that answers sooner has moved.
AWAY = 10
UDP_PORT, LISTEN_SECONDS = 7777, 12
# Each line of the answer is an address that was reached.
ASK = """
import http.client, sys
from concurrent.futures import ThreadPoolExecutor
def ask(target):
    host, _, port = target.partition(":")
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=3)
        connection.request("GET", "/status/200")
        return target if connection.getresponse().status == 200 else ""
    except OSError:
        return ""
with ThreadPoolExecutor(16) as pool:
    print(*filter(None, pool.map(ask, sys.argv[1:])), sep="\\n")
"""
LISTEN = """
import socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", int(sys.argv[1])))
end = time.monotonic() + float(sys.argv[2])
print("listening", flush=True)
while (left := end - time.monotonic()) > 0:
    udp.settimeout(left)
    try:
        print(udp.recv(200).decode(), flush=True)
    except OSError:
        break
"""
# Writes whole packets: sys.argv[1] is a list of {raw: hex of an IPv4 packet, to: address}.
SEND = """
import json, socket, sys, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _round in range(10):
    for one in json.loads(sys.argv[1]):
        raw.sendto(bytes.fromhex(one["raw"]), (one["to"], 0))
    time.sleep(0.5)
"""


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source: str, target: str, protocol: int, content: bytes) -> bytes:
    """Return an IPv4 packet (RFC 791)."""
    addresses = bytes(int(part) for address in (source, target) for part in address.split("."))
    head = bytes([0x45, 0]) + (20 + len(content)).to_bytes(2, "big") + bytes([0, 1, 0, 0, 64, protocol])
    return head + checksum(head + bytes(2) + addresses).to_bytes(2, "big") + addresses + content


def udp(source: str, target: str, port: int, content: bytes) -> bytes:
    """Return an IPv4 packet with a datagram that has no checksum (RFC 768)."""
    ports = (40000).to_bytes(2, "big") + port.to_bytes(2, "big")
    return ip(source, target, 17, ports + (8 + len(content)).to_bytes(2, "big") + bytes(2) + content)


def vxlan(vni: int, packet: bytes) -> bytes:
    """Return the content of a VXLAN datagram (RFC 7348)."""
    return bytes([8, 0, 0, 0]) + vni.to_bytes(3, "big") + bytes(1) + bytes([2] * 12) + b"\x08\x00" + packet


def gre(key: int, packet: bytes) -> bytes:
    """Return the content of a GRE packet with a key that carries Ethernet (RFC 2784, RFC 2890)."""
    return b"\x20\x00\x65\x58" + key.to_bytes(4, "big") + bytes([2] * 12) + b"\x08\x00" + packet


@dataclass
class Pod:
    name: str
    node: Node
    ip: str
    cluster_ip: str
    node_port: int
    container: str

    def sh(self, command: str, seconds: float = 30) -> str:
        """Run a program of the host in the pod's network."""
        return self.node.sh(f"{in_network_of(self.container)} {command}", seconds=seconds)


@pytest.fixture(scope="module")
def pods(lab: Lab) -> Iterator[dict[str, Pod]]:
    core = lab.core()
    for name, tenant in NAMESPACES.items():
        labels = {"cloudbang.platform/tenant": tenant} if tenant else {}
        core.create_namespace({"metadata": {"name": name, "labels": labels}})
    try:
        for name, (namespace, host) in PODS.items():
            container = {"name": "web", "image": IMAGE, "ports": [{"containerPort": 8000}]}
            container["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
            spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0}
            spec["nodeSelector"] = {"kubernetes.io/hostname": host}
            core.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": {"name": name}}, "spec": spec})
            ports = [{"port": 80, "targetPort": 8000}]
            service = {"selector": {"name": name}, "ports": ports, "type": "NodePort"}
            core.create_namespaced_service(namespace, {"metadata": {"name": name}, "spec": service})
        found = {}
        for name, (namespace, host) in PODS.items():

            def ready(name: str = name, namespace: str = namespace) -> Any:
                status = core.read_namespaced_pod(name, namespace).status
                return status if status.container_statuses and status.container_statuses[0].ready else None

            status = wait_for(f"pod {name} is ready", ready, seconds=90)
            service = core.read_namespaced_service(name, namespace).spec
            container = status.container_statuses[0].container_id.removeprefix("containerd://")
            port = service.ports[0].node_port
            found[name] = Pod(name, lab.nodes[host], status.pod_ip, service.cluster_ip, port, container)
        yield found
    finally:
        for name in NAMESPACES:
            core.delete_namespace(name)


def reached(run: Any, targets: list[str]) -> set[str]:
    """Return the addresses that answer a client; run runs a command on the client."""
    return set(run(f"python3 -c {shlex.quote(ASK)} {' '.join(targets)}").split())


def ways(lab: Lab, pods: dict[str, Pod]) -> dict[tuple[str, str], str]:
    """Return the addresses of all paths to all targets, by (target, path)."""
    found = {}
    for name in TARGETS:
        found[name, "pod"] = f"{pods[name].ip}:8000"
        found[name, "ClusterIP"] = f"{pods[name].cluster_ip}:80"
        for host in ("compute1", "compute2", "loadbalancer1"):
            found[name, f"NodePort of {host}"] = f"{lab.nodes[host].address}:{pods[name].node_port}"
    return found


def test_who_reaches_whom_by_which_way(lab: Lab, pods: dict[str, Pod]) -> None:
    """A NodePort is open to all clients, because those behind it belong to no tenant."""
    every = ways(lab, pods)
    outside = lab.nodes[OUTSIDE]
    routes = [f"{pods[name].ip}/32 via {pods[name].node.address}" for name in TARGETS]
    outside.sh("; ".join(f"ip route replace {route}" for route in routes))
    try:
        askers = {name: pods[name].sh for name in ("red", "blue", "platform")}
        askers |= {name: lab.nodes[name].sh for name in ("compute1", "compute2", "management1", OUTSIDE)}
        with ThreadPoolExecutor(len(askers)) as pool:
            answers = dict(zip(askers, pool.map(lambda run: reached(run, list(every.values())), askers.values())))
    finally:
        outside.sh("; ".join(f"ip route del {route}" for route in routes))
    wrong = []
    for asker, answered in answers.items():
        for (target, way), address in every.items():
            # A client outside of the cluster has no route to Services.
            wanted = way.startswith("NodePort") or asker not in ("blue", OUTSIDE)
            if (address in answered) != wanted:
                wrong.append(f"{asker} {'does not reach' if wanted else 'reaches'} {target} by its {way}")
    tried = {"tried": len(every) * len(askers), "wrong": len(wrong)}
    lab.measured("isolation: ways between hosts, tenants and outside", tried)
    assert wrong == []


def test_what_pods_forge(lab: Lab, pods: dict[str, Pod]) -> None:
    """A pod sends with addresses of another tenant's pod and of a host, and in forged tunnel packets."""
    tenants = json.loads(lab.nodes["compute1"].sh("goodnetctl tenants --json"))
    vni = next(one["vni"] for one in tenants if one["name"] == "e2e-red")
    red, blue, underlay = pods["red"], pods["blue"], {}
    for host in ("compute1", "compute2"):
        hosts = json.loads(lab.nodes[host].sh("goodnetctl status --json"))["hosts"]
        underlay[host] = next(one["underlay"] for one in hosts if one["name"] == host)
    packets: dict[str, list[dict[str, str]]] = {"red": [], "blue": []}

    def add(sender: str, packet: bytes, to: str) -> None:
        packets[sender].append({"raw": packet.hex(), "to": to})

    for name in TARGETS:
        target = pods[name]
        add("red", udp(red.ip, target.ip, UDP_PORT, b"honest"), target.ip)
        for source in (red.ip, pods["platform"].ip, blue.node.address, "198.51.100.1", blue.ip):
            text = f"{'own' if source == blue.ip else 'forged'} {source}".encode()
            add("blue", udp(source, target.ip, UDP_PORT, text), target.ip)
        for source in (red.ip, pods["platform"].ip):
            for number in (vni, 0):
                inner = udp(source, target.ip, UDP_PORT, f"tunnel {source} {number}".encode())
                for host in (target.node.address, underlay[target.node.name]):
                    add("blue", udp(blue.ip, host, 4789, vxlan(number, inner)), host)
                    add("blue", ip(blue.ip, host, 47, gre(number, inner)), host)
    with ThreadPoolExecutor(4) as pool:
        listen = f"python3 -c {shlex.quote(LISTEN)} {UDP_PORT} {LISTEN_SECONDS}"
        heard = [pool.submit(pods[name].sh, listen) for name in TARGETS]
        time.sleep(2)
        sent = [
            pool.submit(pods[name].sh, f"python3 -c {shlex.quote(SEND)} {shlex.quote(json.dumps(content))}")
            for name, content in packets.items()
        ]
        for future in sent:
            future.result()
        texts = {name: future.result() for name, future in zip(TARGETS, heard)}
    heard_of = {name: set(text.split("\n")) - {"listening", ""} for name, text in texts.items()}
    wrong = [f"{name}: {text}" for name, lines in heard_of.items() for text in lines - {"honest"}]
    lab.measured("isolation: forged packets", {"sent": len(packets["blue"]), "wrong": len(wrong)})
    # The honest packet shows that the target was listening.
    assert all("honest" in lines for lines in heard_of.values()), texts
    assert wrong == []


def test_agents_restart_under_load(lab: Lab) -> None:
    """The agents of all hosts are killed, and restarted while systemd starts them again."""
    hosts = lab.kubernetes_nodes
    begin = f"@{time.time():.0f}"
    with traffic(VIP, 80, "/get", {"Host": DEMO_DOMAIN}, clients=20, rate=200, timeout=20) as kept:
        time.sleep(1)
        with ThreadPoolExecutor(len(hosts)) as pool:
            for command in ("systemctl kill --signal=KILL goodnet-agent", "systemctl restart goodnet-agent"):
                list(pool.map(lambda node, command=command: node.sh(command), hosts))
                time.sleep(2)
        wait_for(
            "all agents are ready",
            lambda: all(node.sh("goodnetctl status >/dev/null && echo yes", check=False).strip() for node in hosts),
            seconds=60,
        )
    lab.measured(
        "restart of all agents under load",
        {"requests": kept.sent, "failed": len(kept.failures), "p99 ms": round(kept.p99 * 1000)},
    )
    assert kept.failures == []
    assert kept.sent > 200
    # The existing flows stay: an agent that starts has nothing to change.
    for node in hosts:
        log = node.sh(f"journalctl --unit goodnet-agent --since {begin} --output cat")
        assert "Started goodnet-agent" in log, node.name
        assert [line for line in log.splitlines() if "flows: " in line and "start with" in line] == [], node.name


def test_a_burst_of_pods(lab: Lab) -> None:
    """All pods get an address, and nothing is left of them after their deletion."""
    count, namespace, host = 30, "e2e-burst", lab.nodes["compute2"]
    ports = "ovs-vsctl list-ports br-goodnet | grep -c ^gn"
    before = int(host.sh(ports, check=False) or 0)
    core = lab.core()
    core.create_namespace({"metadata": {"name": namespace}})
    template = {
        "metadata": {"labels": {"app": "burst"}},
        "spec": {
            "nodeName": host.name,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "web", "image": "registry.cloudbang.internal:5000/pause:1"}],
        },
    }
    spec = {"replicas": count, "selector": {"matchLabels": {"app": "burst"}}, "template": template}
    try:
        begin = time.monotonic()
        client.AppsV1Api(lab.api()).create_namespaced_deployment(
            namespace, {"metadata": {"name": "burst"}, "spec": spec}
        )

        def running() -> set[str] | None:
            found = {
                pod.status.pod_ip
                for pod in core.list_namespaced_pod(namespace).items
                if pod.status.phase == "Running" and pod.status.pod_ip
            }
            return found if len(found) == count else None

        wait_for(f"{count} pods run", running, seconds=120)
        lab.measured(f"{count} pods on one host run, seconds", round(time.monotonic() - begin, 1))
    finally:
        core.delete_namespace(namespace)
    wait_for("their ports are gone", lambda: int(host.sh(ports, check=False) or 0) == before, seconds=120)
    kept = json.loads(host.sh("goodnetctl status --json"))
    assert not [pod for pod in kept["pods"] if pod["namespace"] == namespace]


@pytest.fixture
def external(lab: Lab, pods: dict[str, Pod]) -> Iterator[str]:
    """Give the tenant an external address, at which its Service answers."""
    core = lab.core()

    def patch(address: str | None) -> None:
        found = core.read_namespaced_config_map("goodnet-tenants", "cloudbang-goodnet").data["e2e-red"]
        entry = {**json.loads(found), "external": address}
        if address is None:
            del entry["external"]
        core.patch_namespaced_config_map(
            "goodnet-tenants", "cloudbang-goodnet", {"data": {"e2e-red": json.dumps(entry)}}
        )

    patch(EXTERNAL)
    spec = {"type": "LoadBalancer", "selector": {"name": "far"}, "ports": [{"port": 80, "targetPort": 8000}]}
    core.create_namespaced_service("e2e-red", {"metadata": {"name": "outside"}, "spec": spec})
    yield EXTERNAL
    core.delete_namespaced_service("outside", "e2e-red")
    patch(None)


def provider(lab: Lab) -> Node:
    """Return the load balancer that holds the external addresses."""
    lease = client.CoordinationV1Api(lab.api()).read_namespaced_lease("goodnet-provider", "cloudbang-goodnet")
    return lab.nodes[lease.spec.holder_identity]


class Door(http.server.ThreadingHTTPServer):
    """A server outside of the cluster that records the time and the source address of requests."""

    def __init__(self, address: str) -> None:
        self.seen: list[tuple[float, str]] = []
        super().__init__((address, 0), Visitor)


class Visitor(http.server.BaseHTTPRequestHandler):
    server: Door

    def do_GET(self) -> None:
        self.server.seen.append((time.monotonic(), self.client_address[0]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_all: object) -> None:
        pass


@contextmanager
def leaving(pod: Pod) -> Iterator[Door]:
    """Let a pod send requests to a server outside of the cluster continuously."""
    with Door(CONTROLLER) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        url = f"http://{CONTROLLER}:{door.server_address[1]}/"
        script = f"for _ in $(seq 400); do curl --silent --max-time 0.3 --noproxy '*' {url}; sleep 0.05; done"
        asking = threading.Thread(target=pod.sh, args=(f"sh -c {shlex.quote(script)}", 120), daemon=True)
        asking.start()
        yield door
        asking.join(120)
        door.shutdown()


def test_external_addresses_move_with_their_holder(lab: Lab, pods: dict[str, Pod], external: str) -> None:
    """Measures the longest gap of incoming and outgoing connections when the holder loses power; wanted are 3 s."""

    # Through the router, like most clients.
    options: dict[str, Any] = {"keep_alive": False, "pause": 0.05, "timeout": 0.3, "source": CONTROLLER}

    def answers() -> bool:
        with traffic(external, 80, "/get", {}, **options) as seen:
            time.sleep(1)
        return bool(seen.answered) and not seen.failures

    wait_for("the external address answers", answers, seconds=60)
    holder = provider(lab)
    with leaving(pods["far"]) as door, traffic(external, 80, "/get", {}, **options) as seen:
        time.sleep(3)
        holder.stop()
        try:
            time.sleep(AWAY)
            assert provider(lab).name != holder.name
        finally:
            holder.start()
    times = [moment for moment, address in door.seen if address == external]
    out = max(after - before for before, after in zip(times, times[1:]))
    gaps = {"in": round(seen.gap, 2), "out": round(out, 2)}
    lab.measured("holder of the external addresses loses power: longest gap, seconds", gaps)
    # No request left with another address in the meantime.
    assert {address for _moment, address in door.seen} == {external}
    assert max(gaps.values()) < AWAY
    holder.booted()
    lab.healthy()
