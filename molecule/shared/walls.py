# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the walls between the hosts' network, hosts and pods share."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scenario import in_pod, inside, kubectl, node, objects, wait_for

# Prints those of the given ADDRESS:PORT that take a TCP connection.
PROBE = """
import concurrent.futures, socket, sys
def opens(target):
    address, port = target.rsplit(":", 1)
    try:
        socket.create_connection((address, int(port)), 2).close()
    except OSError:
        return
    print(target)
with concurrent.futures.ThreadPoolExecutor(40) as pool:
    list(pool.map(opens, sys.argv[1:]))
"""
# Sends a datagram to a pod inside of VXLAN: NODE VNI MAC SOURCE POD PORT.
INJECT = """
import socket, struct, sys
node, vni, mac, source, pod, port = sys.argv[1:]
text = b"injected"
udp = struct.pack("!HHHH", 9, int(port), 8 + len(text), 0) + text
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, *map(socket.inet_aton, (source, pod)))
total = sum(struct.unpack("!10H", head))
total = (total & 0xFFFF) + (total >> 16)
head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000001") + b"\\x08\\x00" + head + udp
vxlan = struct.pack("!II", 0x08000000, int(vni) << 8)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
    for _number in range(3):
        way.sendto(vxlan + frame, (node, 4789))
"""
# What the gateway may read, and needs.
TRAEFIK = [
    *(f"/etc/traefik/{name}" for name in ("client.key", "gateway.key", "kubeconfig", "traefik.yaml")),
    *(f"/etc/traefik/dynamic/{name}.yaml" for name in ("http", "tls", "udp")),
]
VRRP = Path(__file__).with_name("vrrp.py").read_text("utf-8")


def python(program: str, *words: str) -> str:
    """Return a shell command that runs a program of these texts on a node."""
    coded = base64.b64encode(program.encode()).decode()
    return f"echo {coded} | base64 -d | python3 - {' '.join(map(shlex.quote, words))}"


def open_from_pod(pod: dict[str, Any], *targets: str) -> set[str]:
    done = in_pod(pod, python(PROBE, *targets))
    assert done.rc == 0, done.stderr
    return set(done.stdout.split())


def open_from(host: str, *targets: str) -> set[str]:
    return set(node(host).check_output(python(PROBE, *targets)).split())


def open_from_unit(host: str, unit: str, *targets: str) -> set[str]:
    """Return what whoever breaks into a unit reaches."""
    done = inside(host, unit, python(PROBE, *targets))
    assert done.rc == 0, done.stderr
    return set(done.stdout.split())


def dropped(host: str, chain: str, match: str, table: str = "cloudbang") -> int:
    """Return how many packets the rules of a chain with this match have dropped on a host."""
    lines = node(host).check_output(f"nft list chain inet {table} {chain}").splitlines()
    found = [int(one[1]) for one in (re.search(r"packets (\d+)", line) for line in lines if match in line) if one]
    assert found, (match, lines)
    return sum(found)


def address_of(host: str, interface: str) -> str:
    (link,) = json.loads(node(host).check_output(f"ip -json -4 address show dev {interface}"))
    return str(link["addr_info"][0]["local"])


@contextmanager
def route(host: str, target: str, by: str) -> Iterator[None]:
    words = f"{target} via {by}"
    node(host).check_output(f"ip route add {words}")
    try:
        yield
    finally:
        node(host).check_output(f"ip route del {words}")


@contextmanager
def witness(host: str, match: str) -> Iterator[Callable[[], int]]:
    """Count the packets that come to a host, before a rule of its own drops them."""
    chain = "chain inet witness arriving"
    hook = "{ type filter hook prerouting priority -400 ; }"
    node(host).check_output("nft %s", f"add table inet witness; add {chain} {hook}")
    try:
        node(host).check_output("nft %s", f"add rule inet witness arriving {match} counter")
        yield lambda: dropped(host, "arriving", "counter", "witness")
    finally:
        node(host).check_output("nft delete table inet witness")


def takes_vxlan(pod: dict[str, Any], sender: str, words: tuple[str, str, str, str], port: int) -> bool:
    """Return whether a datagram that a host sends in VXLAN comes to a port of a pod.

    words: address of the pod's host, VNI, MAC address of that end of the tunnel, source address within.
    """
    program = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        f's.bind(("", {port})); print(s.recv(99).decode(), flush=True)'
    )
    file, host = f"/run/injected-{port}", node(pod["spec"]["nodeName"])
    in_pod(pod, f"{{ timeout 15 python3 -c '{program}' > {file} 2>&1 < /dev/null & }}")
    try:
        wait_for(lambda: in_pod(pod, f"ss -Hlun sport = {port}").stdout)
        node(sender).check_output(python(INJECT, *words, pod["status"]["podIP"], str(port)))
        host.check_output("sleep 2")
        return str(host.check_output(f"cat {file}")) == "injected"
    finally:
        host.check_output(f"rm -f {file}")


def closed_of_the_platform() -> set[str]:
    """Return what of the platform's pods is for nobody else. Each listens: its own host is told so."""
    ports = {"coredns": (9153, 8080, 8181), "metrics-server": (10250,), "calico-kube-controllers": (9094,)}
    found = set()
    kubectl("wait", "--for=condition=Ready", "--timeout=90s", "--namespace=kube-system", "pod", "--all")
    for pod in objects("pods", "--namespace=kube-system"):
        own = {f"{pod['status']['podIP']}:{port}" for port in ports[pod["metadata"]["name"].rsplit("-", 2)[0]]}
        assert open_from(pod["spec"]["nodeName"], *own) == own
        found |= own
    return found
