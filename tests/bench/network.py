# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements of a network of the lab: how fast pods start in it, and throughput and latency between them."""

from __future__ import annotations

import json
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from e2e.lab import IMAGE, ROOT, Lab, Node, in_network_of, wait_for

sys.path.insert(0, str(ROOT / "src" / "goodnet"))

from goodnet.model import Config, Host, Pod, State, Tenant
from goodnet.ovs import flows

NAMESPACE = "bench-network"
# Hosts, pods of the measured host, tenants.
SCALES = ((10, 10, 10), (100, 110, 100), (1000, 110, 1000), (3000, 110, 3000))
PLUGINS = {"calico": "calico", "goodnet": "goodnet"}
BURST = 30
PORT = 5201
SECONDS = 5
ROUNDS = 3
PINGS = 3000
# The wrapped plugin keeps its file name, since some plugins read it. Each ADD appends a line with its milliseconds.
WRAPPER = """\
#!/bin/sh
begin=$(date +%s%N)
/opt/cni/bench/{plugin}
status=$?
[ "$CNI_COMMAND" != ADD ] || echo $((($(date +%s%N) - begin) / 1000000)) >>/run/bench-cni
exit $status
"""
# Prints the time of the first answer in seconds since 1970. All nodes share one clock.
FIRST_PACKET = """
import socket, sys, time
while True:
    try:
        socket.create_connection((sys.argv[1], 8000), 0.2).close()
    except OSError:
        continue
    print(time.time(), flush=True)
    time.sleep(3600)
"""
# Reads all data, or sends single bytes back, depending on the first byte.
SERVE = """
import socket, sys, time
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    server.settimeout(20)
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if connection.recv(1) == b"p":
        while data := connection.recv(1):
            connection.sendall(data)
    else:
        taken, begin = 0, time.monotonic()
        while data := connection.recv(1 << 20):
            taken += len(data)
        print(taken * 8 / (time.monotonic() - begin) / 1e6)
"""
SEND = """
import socket, sys, time
address, port, what, amount = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
end = time.monotonic() + 10
while True:
    try:
        connection = socket.create_connection((address, port), 1)
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.1)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
connection.sendall(what.encode())
if what == "p":
    times = []
    for _number in range(int(amount)):
        begin = time.monotonic()
        connection.sendall(b"x")
        connection.recv(1)
        times.append(time.monotonic() - begin)
    times.sort()
    print(times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6)
else:
    block, end = bytes(1 << 17), time.monotonic() + amount
    while time.monotonic() < end:
        connection.sendall(block)
connection.close()
"""


@dataclass
class End:
    """One end of a path: its node, its address, and the prefix of commands that run there."""

    node: Node
    address: str
    prefix: str

    def python(self, code: str, *arguments: Any) -> str:
        words = " ".join(shlex.quote(str(one)) for one in arguments)
        return self.node.sh(f"{self.prefix} python3 -c {shlex.quote(code)} {words}", seconds=60)


@dataclass
class Path:
    """Medians over some rounds: Mbit/s, and the round-trip time of one byte in microseconds."""

    throughput: float
    latency: float
    p99: float


def measure(wanted: dict[str, tuple[End, End]]) -> dict[str, Path]:
    """Measure all paths in turn in each round, so that other work of the machine affects all of them alike."""
    rates: dict[str, list[float]] = {name: [] for name in wanted}
    pings: dict[str, list[list[float]]] = {name: [] for name in wanted}
    with ThreadPoolExecutor(1) as pool:
        for _round in range(ROUNDS):
            for name, (sender, receiver) in wanted.items():
                serving = pool.submit(receiver.python, SERVE, receiver.address, PORT)
                sender.python(SEND, receiver.address, PORT, "t", SECONDS)
                rates[name].append(float(serving.result()))
                serving = pool.submit(receiver.python, SERVE, receiver.address, PORT)
                pings[name].append(
                    [float(one) for one in sender.python(SEND, receiver.address, PORT, "p", PINGS).split()]
                )
                serving.result()
    return {
        name: Path(
            statistics.median(rates[name]),
            statistics.median(one[0] for one in pings[name]),
            statistics.median(one[1] for one in pings[name]),
        )
        for name in wanted
    }


def pod(name: str, host: str, command: list[str] | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "web", "image": IMAGE}
    if command:
        container["command"] = command
    else:
        container["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    spec = {"nodeName": host, "containers": [container], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": name}, "spec": spec}


@contextmanager
def namespace(lab: Lab) -> Iterator[dict[str, End]]:
    """Run one pod more than there are compute hosts, and return the two of the first host and the one of the second."""
    core = lab.core()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    hosts = lab.group("compute")
    wanted = {"one": hosts[0], "two": hosts[0], "three": hosts[1]}
    try:
        for name, node in wanted.items():
            core.create_namespaced_pod(NAMESPACE, pod(name, node.name))
        ends = {}
        for name, node in wanted.items():

            def ready(name: str = name) -> Any:
                status = core.read_namespaced_pod(name, NAMESPACE).status
                return status if status.container_statuses and status.container_statuses[0].ready else None

            status = wait_for(f"pod {name} is ready", ready, seconds=90)
            container = status.container_statuses[0].container_id.removeprefix("containerd://")
            ends[name] = End(node, status.pod_ip, in_network_of(container))
        yield ends
    finally:
        core.delete_namespace(NAMESPACE)
        wait_for(
            "the pods are gone",
            lambda: NAMESPACE not in [one.metadata.name for one in core.list_namespace().items],
            seconds=120,
        )


@contextmanager
def timed_plugin(node: Node, plugin: str) -> Iterator[None]:
    """Record the time of each ADD in /run/bench-cni of a node."""
    wrapper = shlex.quote(WRAPPER.format(plugin=plugin))
    node.sh(
        f"rm -f /run/bench-cni; mkdir -p /opt/cni/bench && mv /opt/cni/bin/{plugin} /opt/cni/bench/ && "
        f"printf %s {wrapper} >/opt/cni/bin/{plugin} && chmod 755 /opt/cni/bin/{plugin}"
    )
    try:
        yield
    finally:
        node.sh(f"mv /opt/cni/bench/{plugin} /opt/cni/bin/{plugin} && rmdir /opt/cni/bench; rm -f /run/bench-cni")


def percentiles(values: list[float], unit: str, digits: int = 0) -> str:
    ordered = sorted(values)
    found = [ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for part in (50, 99)]
    return " / ".join(f"{one:.{digits}f} {unit}" for one in found)


def burst(lab: Lab, network: str, target: str) -> dict[str, str]:
    """Start pods at once on all compute hosts, and return the times of the plugin and until their first packet."""
    core, hosts = lab.core(), lab.group("compute")
    with ExitStack() as stack:
        for node in hosts:
            stack.enter_context(timed_plugin(node, PLUGINS[network]))
        begins = {}
        with ThreadPoolExecutor(8) as pool:

            def create(number: int) -> None:
                name = f"burst-{number}"
                begins[name] = time.time()
                body = pod(name, hosts[number % len(hosts)].name, ["python3", "-c", FIRST_PACKET, target])
                core.create_namespaced_pod(NAMESPACE, body)

            list(pool.map(create, range(BURST)))
        firsts = {}

        def all_have() -> bool:
            for name in begins.keys() - firsts.keys():
                text = core.read_namespaced_pod_log(name, NAMESPACE).strip()
                if text:
                    firsts[name] = float(text.split()[0])
            return len(firsts) == BURST

        wait_for(f"all {BURST} pods sent a packet", all_have, seconds=180, pause=1)
        added = [float(line) for node in hosts for line in node.sh("cat /run/bench-cni").split()]
        for name in begins:
            core.delete_namespaced_pod(name, NAMESPACE)
    return {
        f"CNI ADD, {BURST} pods at once: p50 / p99": percentiles(added, "ms"),
        f"creation of a pod to its first packet, {BURST} at once: p50 / p99": percentiles(
            [firsts[name] - begins[name] for name in begins], "s", 1
        ),
    }


@contextmanager
def by_hand(lab: Lab) -> Iterator[dict[str, End]]:
    """Set up Open vSwitch bridges on two hosts by hand, with the same datapath and a VXLAN tunnel between them."""
    hosts = lab.group("compute")[:2]
    status = json.loads(hosts[0].sh("goodnetctl status --json"))
    mtu = status["mtu"]
    tunnels = {one["name"]: one["underlay"] for one in status["hosts"]}
    ends: dict[str, End] = {}
    try:
        for number, node in enumerate(hosts):
            other = tunnels[hosts[1 - number].name]
            lines = [
                f"ovs-vsctl add-br br-bench -- set bridge br-bench datapath_type={status['datapath']}",
                "ovs-vsctl add-port br-bench bench-tun -- set interface bench-tun type=vxlan "
                f"options:remote_ip={other} options:key=99 options:dst_port=4790",
            ]
            names = {0: ("one", "two"), 1: ("three",)}[number]
            for name in names:
                address = f"10.250.0.{len(ends) + 1}"
                lines += [
                    f"ip netns add bench-{name}",
                    f"ip link add bench-{name} mtu {mtu} type veth peer name eth0 netns bench-{name} mtu {mtu}",
                    f"ip netns exec bench-{name} ethtool -K eth0 tx off >/dev/null",
                    f"ethtool -K bench-{name} tx off >/dev/null",
                    f"ip -n bench-{name} address add {address}/24 dev eth0",
                    f"ip -n bench-{name} link set eth0 up",
                    f"ip link set bench-{name} up",
                    f"ovs-vsctl add-port br-bench bench-{name}",
                ]
                ends[name] = End(node, address, f"ip netns exec bench-{name}")
            node.sh("set -e\n" + "\n".join(lines))
        # The first packet to a host only triggers an ARP request.
        ping = f"{ends['one'].prefix} ping -c 1 -W 1 {ends['three'].address} && echo there"
        wait_for("the hosts reach each other", lambda: "there" in ends["one"].node.sh(ping, check=False), seconds=20)
        yield ends
    finally:
        for node in hosts:
            node.sh(
                "ovs-vsctl --if-exists del-br br-bench; for name in one two three; do ip link del bench-$name; "
                "ip netns del bench-$name; done 2>/dev/null",
                check=False,
            )


def paths(name: str, ends: dict[str, End]) -> dict[str, tuple[End, End]]:
    return {f"{name}, on one host": (ends["one"], ends["two"]), f"{name}, between hosts": (ends["one"], ends["three"])}


def carried(lab: Lab, network: str) -> tuple[dict[str, str], dict[str, Path]]:
    """Return the measurements of the lab's network: how fast pods start, and throughput and latency between them.

    With GoodNet, bridges that are set up by hand in the same datapath are measured, too.
    """
    with namespace(lab) as ends:
        texts = burst(lab, network, ends["one"].address)
        with by_hand(lab) if network == "goodnet" else nullcontext() as wired:
            found = measure({**paths(network, ends), **(paths("wired by hand", wired) if wired else {})})
    return texts, found


def cluster(hosts: int, pods: int, tenants: int, edge: bool) -> State:
    """Return the state that the first host of a cluster knows; on an edge host all tenants have an external address."""
    nodes = tuple(
        Host(
            f"host{number}",
            IPv4Address("100.64.0.1") + number,
            IPv4Address("100.96.0.1") + number,
            IPv4Network((int(IPv4Address("10.0.0.0")) + number * 256, 24)),
        )
        for number in range(hosts)
    )
    several = tuple(
        Tenant(
            f"tenant{number}",
            number + 1,
            external=IPv4Address("20.0.0.0") + 2 * number if edge else None,
            edge="host0" if edge else None,
        )
        for number in range(tenants)
    )
    local = tuple(
        Pod(
            namespace=f"tenant{number % tenants}",
            name=f"pod{number}",
            uid=f"uid{number}",
            container=f"container{number}",
            address=nodes[0].pods[number + 2],
            mac=f"0a:58:0a:00:00:{number + 2:02x}",
            port=number + 10,
            tenant=f"tenant{number % tenants}",
        )
        for number in range(pods)
    )
    config = Config(
        host="host0",
        encapsulation="vxlan",
        cluster=IPv4Network("10.0.0.0/8"),
        services=IPv4Network("172.16.0.0/16"),
        nodes=(IPv4Network("100.64.0.0/16"),),
        tunnel=1,
        host_port=2,
        host_port_mac="0a:58:0a:00:00:01",
        provider=3 if edge else None,
        provider_network=IPv4Network("20.0.0.0/16") if edge else None,
        provider_mac="0a:58:14:00:00:01" if edge else None,
        provider_router_mac="0a:58:14:00:00:02" if edge else None,
    )
    return State(config, nodes, several, local)


def scale(lab: Lab) -> list[list[str]]:
    """Return rows about clusters of several sizes: the number of flows, and the times to compute and to load them.

    They are loaded into a separate bridge.
    """
    node = lab.group("compute")[0]
    datapath = json.loads(node.sh("goodnetctl status --json"))["datapath"]
    rows = []
    try:
        for hosts, pods, tenants in SCALES:
            for edge in (False, True):
                state = cluster(hosts, pods, tenants, edge)
                begin = time.perf_counter()
                wanted = flows.desired(state)
                computed = time.perf_counter() - begin
                node.sh(
                    "ovs-vsctl --if-exists del-br br-bench -- add-br br-bench -- set bridge br-bench fail_mode=secure "
                    f"datapath_type={datapath}\ncat >/run/bench-flows <<'END'\n" + "\n".join(wanted) + "\nEND"
                )
                load = "ovs-ofctl -O OpenFlow14 --bundle replace-flows br-bench /run/bench-flows"
                loaded = node.sh(f"begin=$(date +%s%N); {load} && echo $((($(date +%s%N) - begin) / 1000000))").strip()
                found = node.sh("ovs-ofctl -O OpenFlow14 dump-aggregate br-bench")
                assert f"flow_count={len(wanted)}" in found, found
                what = [str(hosts), str(pods), str(tenants), "edge" if edge else "host"]
                rows.append([*what, str(len(wanted)), f"{computed * 1000:.0f} ms", f"{loaded} ms"])
    finally:
        node.sh("ovs-vsctl --if-exists del-br br-bench; rm -f /run/bench-flows")
    return rows
