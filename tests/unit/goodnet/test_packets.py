# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows with the real thing: hosts and pods as network namespaces, Open vSwitch in user space, the kernel's TCP.

What kube-proxy does on a host is done by a few rules here. A client outside has alpha as its router.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from private_host import WORKER
from test_flows import ALPHA, BETA, CLUSTER, HOST_PORT_MAC, PASSING_MAC, PODS, ROUTER_MAC, SERVICE, SERVICES, state
from virtual import SCHEMA, SECONDS

from goodnet.host import host_port, wiring
from goodnet.model import Pod, Ports
from goodnet.ovs import flows

PREFIX = f"gn-flows-{WORKER}-"
# Two of red, one of blue, one of green, which is open.
USED = {host: pods[:4] for host, pods in PODS.items()}

# A network beside the underlay: the host alpha there, and a client that takes it for its router.
OUTER, CLIENT_OUTSIDE = "198.18.0.1", "198.18.0.2"
# An address of the client in a network that may reach Services by way of hosts, and a Service to ask for.
ROUTED, ROUTED_SERVICE = "198.18.1.2", "10.96.0.11"
# Port of the registry to which builds push.
BUILDS = 5002

# Answers every connection with the address it came from.
SERVER = """
import socket
server = socket.create_server(("", 8080), backlog=64)
while True:
    connection, address = server.accept()
    connection.recv(1)
    connection.sendall(f"{address[0]} ".encode() + bytes(200_000))
    connection.close()
"""
CLIENT = """
import socket, sys
own = (sys.argv[4], 0) if sys.argv[4] else None
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]), own) as connection:
    connection.sendall(b"x")
    data = b""
    while received := connection.recv(65536):
        data += received
sys.stdout.write(data.decode("latin-1").split()[0] if len(data) > 200_000 else "broken")
"""


def run(*command: object, **options: object) -> str:
    texts = [str(word) for word in command]
    done = subprocess.run(texts, text=True, capture_output=True, check=False, timeout=60, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(texts)}: {done.stderr}"
    return str(done.stdout)


def inside(name: str, *command: object, **options: object) -> str:
    return run("ip", "netns", "exec", PREFIX + name, *command, **options)


def configure(name: str, *lines: str) -> None:
    run("ip", "-n", PREFIX + name, "-batch", "-", input="\n".join(lines))


class Lab:
    """Two hosts with a cable between their underlay NICs."""

    def __init__(self, encapsulation: str) -> None:
        self._encapsulation = encapsulation
        self._directory = Path(tempfile.mkdtemp(prefix="goodnet-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._clean()
        for host in (ALPHA, BETA):
            run("ip", "netns", "add", PREFIX + host.name)
        run(
            "ip",
            "link",
            "add",
            "nic",
            "netns",
            PREFIX + "alpha",
            "type",
            "veth",
            "peer",
            "nic",
            "netns",
            PREFIX + "beta",
        )
        for host in (ALPHA, BETA):
            self._host(host.name)
        for name, pods in USED.items():
            for pod in pods:
                self.spawn(f"{name}-{pod.name}", sys.executable, "-c", SERVER)
        for host in (ALPHA, BETA):
            for port in ("8080", "6443", str(BUILDS)):
                self.spawn(host.name, sys.executable, "-c", SERVER.replace("8080", port))
        run("ip", "netns", "add", PREFIX + "outside")
        run(
            "ip",
            "-n",
            PREFIX + "alpha",
            "link",
            "add",
            "outer",
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            PREFIX + "outside",
        )
        inside("alpha", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.outer.rp_filter=0")
        configure("alpha", f"addr add {OUTER}/24 dev outer", "link set outer up", f"route add {ROUTED} dev outer")
        configure(
            "outside",
            f"addr add {CLIENT_OUTSIDE}/24 dev eth0",
            f"addr add {USED['beta'][0].address}/32 dev eth0",
            f"addr add {SERVICE}/32 dev eth0",
            f"addr add {ROUTED}/32 dev eth0",
            "link set eth0 up",
            f"route add default via {OUTER}",
        )
        self.spawn("outside", sys.executable, "-c", SERVER)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._clean()
        shutil.rmtree(self._directory)

    def _clean(self) -> None:
        there = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
        for name in there:
            if name.startswith(PREFIX):
                for pid in run("ip", "netns", "pids", name).split():
                    os.kill(int(pid), signal.SIGKILL)
                run("ip", "netns", "del", name)

    def spawn(self, name: str, *command: object, **options: object) -> None:
        texts = ["ip", "netns", "exec", PREFIX + name, *(str(word) for word in command)]
        self._processes.append(subprocess.Popen(texts, **options))  # type: ignore[call-overload]

    def _host(self, name: str) -> None:
        host = ALPHA if name == "alpha" else BETA
        own = self._directory / name
        own.mkdir()
        env = {**os.environ, "OVS_RUNDIR": str(own), "OVS_LOGDIR": str(own)}
        run("ovsdb-tool", "create", own / "conf.db", SCHEMA)
        database = f"unix:{own}/db.sock"
        with (own / "log").open("wb") as log:
            quiet = {"env": env, "stdout": log, "stderr": log, "cwd": own}
            self.spawn(
                name, "ovsdb-server", own / "conf.db", f"--remote=p{database}", "--no-chdir", "-vsyslog:off", **quiet
            )
            self.spawn(
                name, "ovs-vswitchd", database, "--disable-system", "--no-chdir", "--pidfile", "-vsyslog:off", **quiet
            )
        end = time.monotonic() + SECONDS
        while not (own / "db.sock").exists():
            assert time.monotonic() < end, (own / "log").read_text()
            time.sleep(0.02)
        bridges = f"""
            add-br br-underlay -- set Bridge br-underlay datapath_type=netdev
            -- add-port br-underlay nic
            -- add-br br-goodnet -- set Bridge br-goodnet datapath_type=netdev fail_mode=secure
            -- add-port br-goodnet goodnet-tun -- set Interface goodnet-tun ofport_request=1
            type={self._encapsulation} options:remote_ip=flow options:key=flow
            -- add-port br-goodnet goodnet0 -- set Interface goodnet0 ofport_request=2 type=internal
        """
        ports = [*bridges.split(), f'mac="{HOST_PORT_MAC}"']
        for pod in USED[name]:
            space = f"{name}-{pod.name}"
            run("ip", "netns", "add", PREFIX + space)
            configure(name, f"link add pod{pod.port} mtu 1450 up type veth peer eth0 netns {PREFIX}{space}")
            configure(
                space,
                f"link set eth0 address {pod.mac} mtu 1450 up",
                f"addr add {pod.address}/32 dev eth0",
                "route add default via 169.254.1.1 dev eth0 onlink",
            )
            ports += (
                f"-- add-port br-goodnet pod{pod.port} -- set Interface pod{pod.port} ofport_request={pod.port}".split()
            )
            self._offload_off(space, "eth0")
        self._offload_off(name, "nic")
        run("ovs-vsctl", f"--db={database}", "--timeout=20", "--no-wait", "init")
        run("ovs-vsctl", f"--db={database}", "--timeout=20", *ports)
        configure(
            name,
            "link set nic up",
            f"addr add {host.underlay}/24 dev br-underlay",
            "link set br-underlay up",
            "link set goodnet0 mtu 1450",
            "link set lo up",
        )
        inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        with wiring._inside(f"/run/netns/{PREFIX}{name}"):
            own_way = host_port.HostPort(
                name="goodnet0",
                own=host.pods,
                overlay=(CLUSTER, SERVICES),
                router=ROUTER_MAC,
                passing=PASSING_MAC,
                machines=(ALPHA.underlay,),
                underlay="br-underlay",
                tunnel_ends=(ALPHA.underlay, BETA.underlay),
                routed=(IPv4Network(f"{ROUTED}/32"),),
            )
            host_port.ensure(own_way)
            host_port.filter(own_way)
        backend = USED["beta"][1].address
        rules = f"""
            table ip services {{
                chain services {{
                    type nat hook prerouting priority -100
                    ip daddr {OUTER} tcp dport 30080 dnat to {USED[name][2].address}:8080
                    ip daddr {SERVICE} tcp dport 80 dnat to {backend}:8080
                    ip daddr {ROUTED_SERVICE} tcp dport 80 dnat to {USED[name][2].address}:8080
                    ip daddr {host.underlay} tcp dport 30080 dnat to {USED[name][2].address}:8080
                }}
            }}
        """
        inside(name, "nft", "-f", "-", input=rules)
        self.open(name)
        run("ovs-ofctl", "-O", "OpenFlow14", "set-frags", self._bridge(name), "nx-match")

    def _bridge(self, name: str) -> str:
        return f"unix:{self._directory / name}/br-goodnet.mgmt"

    def open(self, name: str, *ports: int) -> None:
        """Install the flows of a host, with more ports of hosts that pods reach."""
        known = state(name, self._encapsulation)
        more = tuple(Ports("TCP", port) for port in ports)
        config = replace(known.config, open_ports=(*known.config.open_ports, *more))
        file = self._directory / name / "flows"
        file.write_text("\n".join(flows.desired(replace(known, config=config))) + "\n")
        run("ovs-ofctl", "-O", "OpenFlow14", "--bundle", "replace-flows", self._bridge(name), file)

    @staticmethod
    def _offload_off(name: str, interface: str) -> None:
        """Have checksums computed by the kernel: the datapath in user space sends packets on as they are."""
        with wiring._inside(f"/run/netns/{PREFIX}{name}"):
            wiring._set_checksums_off(interface)

    def ask(
        self, client: str, address: object, port: int = 8080, seconds: float = 10, source: object = ""
    ) -> str | None:
        """Fetch from a server. Returns the address it saw, None when there was no answer within the time."""
        command = [
            "ip",
            "netns",
            "exec",
            PREFIX + client,
            sys.executable,
            "-c",
            CLIENT,
            str(address),
            str(port),
            str(seconds),
            str(source),
        ]
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=60)
        return done.stdout if done.returncode == 0 else None


@pytest.fixture(scope="module", params=["vxlan", "gre"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    made = Lab(request.param)
    try:
        made.start()
        # The first packet to another host is lost while its neighbour is looked for, and servers have to listen.
        end = time.monotonic() + SECONDS
        while made.ask(place(RED), THERE.address, seconds=0.5) is None:
            assert time.monotonic() < end, "no answer from the other host"
        yield made
    finally:
        made.stop()


RED, BLUE, OTHER_RED = USED["alpha"][0], USED["alpha"][2], USED["alpha"][1]
RED_AWAY, THERE, GREEN_AWAY = USED["beta"][0], USED["beta"][1], USED["beta"][3]


def place(pod: Pod) -> str:
    """Return the name of a pod's network namespace."""
    return f"{pod.uid.split('-')[0]}-{pod.name}"


@pytest.mark.parametrize(
    ("client", "server", "passes"),
    [
        (RED, OTHER_RED, True),
        (RED, THERE, True),
        (RED_AWAY, OTHER_RED, True),
        (BLUE, GREEN_AWAY, True),
        (BLUE, OTHER_RED, False),
        (BLUE, THERE, False),
    ],
    ids=lambda value: value.uid if isinstance(value, Pod) else str(value),
)
def test_pods_exchange_data_with_those_they_may(lab: Lab, client: Pod, server: Pod, passes: bool) -> None:
    seen = lab.ask(place(client), server.address, seconds=10 if passes else 1)
    assert seen == (str(client.address) if passes else None)


@pytest.mark.parametrize(("client", "passes"), [(RED, True), (RED_AWAY, True), (BLUE, False)])
def test_a_service_works_and_keeps_the_address_of_the_client(lab: Lab, client: Pod, passes: bool) -> None:
    seen = lab.ask(place(client), SERVICE, 80, seconds=10 if passes else 1)
    assert seen == (str(client.address) if passes else None)


def test_a_node_port_keeps_the_address_of_the_client(lab: Lab) -> None:
    assert lab.ask("beta", ALPHA.underlay, 30080) == str(BETA.underlay)


def test_hosts_and_pods_exchange_data(lab: Lab) -> None:
    for pod in (RED, BLUE, THERE, GREEN_AWAY):
        assert lab.ask("alpha", pod.address) == str(ALPHA.pods[1])
    for pod in (BLUE, THERE):
        assert lab.ask(place(pod), ALPHA.pods[1], 6443) == str(pod.address)


@pytest.mark.parametrize("target", [ALPHA.pods[1], ALPHA.underlay, BETA.underlay, BETA.pods[1], OUTER], ids=str)
def test_pods_reach_named_ports_of_hosts_only(lab: Lab, target: object) -> None:
    """The last one is an address of the host that nobody has named."""
    for pod in (RED, BLUE):
        assert lab.ask(place(pod), target, 8080, seconds=1) is None
        assert (lab.ask(place(pod), target, 6443, seconds=10 if target != OUTER else 1) is None) is (target == OUTER)


@pytest.mark.parametrize("target", [ALPHA.underlay, BETA.underlay], ids=str)
def test_pods_reach_the_port_of_builds_while_it_is_named(lab: Lab, target: object) -> None:
    for ports, reached in (((), False), ((BUILDS,), True), ((), False)):
        for name in ("alpha", "beta"):
            lab.open(name, *ports)
        for pod in (RED, BLUE):
            assert (lab.ask(place(pod), target, BUILDS, seconds=10 if reached else 1) is not None) is reached


def test_hosts_reach_each_other_at_any_port(lab: Lab) -> None:
    assert lab.ask("alpha", BETA.underlay) == str(ALPHA.underlay)
    assert lab.ask("alpha", BETA.pods[1]) == str(ALPHA.pods[1])


@pytest.mark.parametrize(("source", "passes"), [(CLIENT_OUTSIDE, False), (ROUTED, True)])
def test_a_host_is_a_router_to_services_for_named_networks_only(lab: Lab, source: str, passes: bool) -> None:
    seen = lab.ask("outside", ROUTED_SERVICE, 80, seconds=10 if passes else 1, source=source)
    assert seen == (source if passes else None)
    # Not to pods.
    for pod in (BLUE, GREEN_AWAY):
        assert lab.ask("outside", pod.address, seconds=1, source=source) is None


def test_programs_on_a_host_reach_pods_and_services(lab: Lab) -> None:
    """As the gateway does, which has all tenants' traffic."""
    assert lab.ask("alpha", BLUE.address) == lab.ask("alpha", THERE.address) == str(ALPHA.pods[1])


def test_the_outside_reaches_pods_by_node_ports_only(lab: Lab) -> None:
    assert lab.ask("outside", OUTER, 30080) == CLIENT_OUTSIDE
    # The host itself serves as well, as an ingress controller does.
    assert lab.ask("outside", OUTER) == CLIENT_OUTSIDE
    for pod in (BLUE, GREEN_AWAY):
        assert lab.ask("outside", pod.address, seconds=1) is None


def test_pods_reach_the_outside_with_the_address_of_their_host(lab: Lab) -> None:
    assert lab.ask(place(BLUE), CLIENT_OUTSIDE) == OUTER


@pytest.mark.parametrize(
    ("source", "passes"), [(CLIENT_OUTSIDE, True), (RED_AWAY.address, False), (SERVICE, False)], ids=str
)
def test_nobody_outside_has_an_address_of_the_overlay(lab: Lab, source: object, passes: bool) -> None:
    code = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0));"
    code += "s.sendto(b'x', (sys.argv[2], 9))"
    with wiring._inside(f"/run/netns/{PREFIX}alpha"):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener:
        listener.bind((OUTER, 9))
        listener.settimeout(1)
        inside("outside", sys.executable, "-c", code, source, OUTER)
        try:
            assert listener.recv(9) == b"x" and passes
        except TimeoutError:
            assert not passes


def test_a_host_speaks_to_the_overlay_with_one_address(lab: Lab) -> None:
    for pod in (BLUE, THERE):
        for source in (ALPHA.underlay, OUTER):
            assert lab.ask("alpha", pod.address, source=source) == str(ALPHA.pods[1])
