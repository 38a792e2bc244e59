"""The flows with the real thing: hosts and pods as network namespaces, Open vSwitch in user space, the kernel's TCP.

What kube-proxy and the agent do on a host is done by a few rules here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from goodnet import flows, wiring
from goodnet.model import Pod
from test_flows import ALPHA, BETA, CLUSTER, GATEWAY_MAC, PODS, ROUTER_MAC, SERVICE, SERVICES, state
from virtual import SCHEMA, SECONDS

PREFIX = "gn-flows-"
# Two of red, one of blue, one of green, which is open.
USED = {host: pods[:4] for host, pods in PODS.items()}

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
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as connection:
    connection.sendall(b"x")
    data = b""
    while received := connection.recv(65536):
        data += received
sys.stdout.write(data.decode("latin-1").split()[0] if len(data) > 200_000 else "broken")
"""


def run(*command: object, **options: object) -> str:
    texts = [str(word) for word in command]
    done = subprocess.run(texts, text=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload]
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
        self.spawn("alpha", sys.executable, "-c", SERVER)

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
        ports = [*bridges.split(), f'mac="{GATEWAY_MAC}"']
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
            f"addr add {host.pods[1]}/32 dev goodnet0",
            "link set goodnet0 mtu 1450 up",
            f"neigh add 169.254.1.1 lladdr {ROUTER_MAC} dev goodnet0",
            f"route add {CLUSTER} via 169.254.1.1 dev goodnet0 onlink src {host.pods[1]}",
            f"route add {SERVICES} via 169.254.1.1 dev goodnet0 onlink src {host.pods[1]}",
        )
        inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.goodnet0.send_redirects=0")
        backend = USED["beta"][1].address
        rules = f"""
            table ip services {{
                chain services {{
                    type nat hook prerouting priority -100
                    ip daddr {SERVICE} tcp dport 80 dnat to {backend}:8080
                    ip daddr {host.underlay} tcp dport 30080 dnat to {USED[name][2].address}:8080
                }}
            }}
        """
        inside(name, "nft", "-f", "-", input=rules)
        file = own / "flows"
        file.write_text("\n".join(flows.desired(state(name, self._encapsulation))) + "\n")
        bridge = f"unix:{own}/br-goodnet.mgmt"
        run("ovs-ofctl", "-O", "OpenFlow14", "--bundle", "replace-flows", bridge, file)
        run("ovs-ofctl", "-O", "OpenFlow14", "set-frags", bridge, "nx-match")

    @staticmethod
    def _offload_off(name: str, interface: str) -> None:
        """Have checksums computed by the kernel: the datapath in user space sends packets on as they are."""
        with wiring._inside(f"/run/netns/{PREFIX}{name}"):
            wiring._set_checksums_off(interface)

    def ask(self, client: str, address: object, port: int = 8080, seconds: float = 10) -> str | None:
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
        ]
        done = subprocess.run(command, text=True, capture_output=True, timeout=60)
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
        assert lab.ask(place(pod), ALPHA.pods[1]) == str(pod.address)
