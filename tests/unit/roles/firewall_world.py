# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with its firewall, pods, the network that it is in and one of tunnels, each a network namespace.

Runs in namespaces of its own, which end with it. Reads JSON: `address` of the host, `tunnel` and `pod` the names of
its interfaces, `rules` for nft, `traefik` the number of the gateway's user (that of all programs here is 0), and
`asked`, a list of who asks and what: ADDRESS:PORT for TCP, else the number of a protocol, or udp/PORT, and an address.
Prints the answers: whether the connection is open, or whether the packet arrived.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OTHER, STRANGER, POD, FAR = "192.0.2.41", "192.0.2.91", "10.244.1.2", "10.244.2.2"
VIRTUAL, END = "192.0.2.100", "192.0.2.12"
METADATA, CLUSTER_IP = "169.254.169.254", "10.96.0.7"
# Services whose endpoints are hosts: this one, at its address and at that of its pods' network, and another.
HOST_SERVICES = {"2201": "{own}:22", "2202": "10.244.1.1:22", "2203": f"{OTHER}:22", "2204": f"{OTHER}:10250"}
# What kube-proxy and the pods' network do.
TRANSLATION = f"""
table ip translation {{
  chain before {{
    type nat hook prerouting priority dstnat;
    ip daddr {CLUSTER_IP} tcp dport 80 dnat to {POD}:8080
    fib daddr type local tcp dport 30080 dnat to {POD}:8080
  }}
  chain own {{
    type nat hook output priority -100;
    ip daddr {CLUSTER_IP} tcp dport 80 dnat to {POD}:8080
    @services@
  }}
  chain after {{
    type nat hook postrouting priority srcnat;
    oifname "eth0" ip saddr 10.244.0.0/16 masquerade
  }}
}}
"""
LISTEN = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    ready.register(socket.create_server(("0.0.0.0", port), backlog=64), selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _event in ready.select():
        key.fileobj.accept()[0].close()
"""
PROBE = """
import concurrent.futures, socket, sys
def ask(target):
    address, port = target.rsplit(":", 1)
    try:
        socket.create_connection((address, int(port)), 2).close()
    except OSError:
        return "closed"
    return "open"
with concurrent.futures.ThreadPoolExecutor(40) as pool:
    print(*pool.map(ask, sys.argv[1:]))
"""
# A protocol is sent as it is; UDP to a port, as anybody can who may not do the former.
SEND = """
import socket, sys
protocol, address, source = sys.argv[1:]
udp = protocol.startswith("udp/")
kind = (socket.SOCK_DGRAM, 0) if udp else (socket.SOCK_RAW, int(protocol))
with socket.socket(socket.AF_INET, *kind) as way:
    way.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    way.bind((source, 0))
    try:
        way.sendto(b"x" * 20, (address, int(protocol[4:]) if udp else 0))
    except PermissionError:
        pass
"""
RECEIVE = """
import socket, sys
udp = sys.argv[1].startswith("udp/")
kind = (socket.SOCK_DGRAM, 0) if udp else (socket.SOCK_RAW, int(sys.argv[1]))
with socket.socket(socket.AF_INET, *kind) as way:
    if udp:
        way.bind(("0.0.0.0", int(sys.argv[1][4:])))
    print("ready", flush=True)
    # The packet was sent.
    sys.stdin.readline()
    way.settimeout(0.5)
    try:
        way.recv(99)
        print("open")
    except OSError:
        print("closed")
"""


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def within(name: str, *command: str, stdin: str = "") -> str:
    return run("ip", "netns", "exec", name, *command, stdin=stdin)


def start(name: str, program: str, *words: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", name, sys.executable, "-c", program, *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def connect(name: str, interface: str, other: str, other_interface: str) -> None:
    run("ip", "link", "add", interface, "netns", name, "type", "veth", "peer", "name", other_interface, "netns", other)
    for place, link in ((name, interface), (other, other_interface)):
        within(place, "ip", "link", "set", link, "up")


def addresses(name: str, *pairs: tuple[str, str]) -> None:
    for address, interface in pairs:
        within(name, "ip", "address", "add", address, "dev", interface)


def tunnel(wanted: dict[str, Any]) -> None:
    """Connect the host to the pods of another one, whose end is not in their namespace."""
    for name, link, own, other in (
        ("host", wanted["tunnel"], wanted["address"], END),
        ("end", "far", END, wanted["address"]),
    ):
        way = ("id", "4096", "dstport", "4789", "local", own, "remote", other)
        within(name, "ip", "link", "add", link, "type", "vxlan", *way)
    within("end", "ip", "link", "set", "far", "netns", "far", "name", "eth0")
    within("host", "ip", "link", "set", wanted["tunnel"], "up")
    within("far", "ip", "link", "set", "eth0", "up")


def build(wanted: dict[str, Any]) -> list[subprocess.Popen[str]]:
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    Path("/run/passwd").write_text(f"root:x:0:0::/:/bin/sh\ntraefik:x:{wanted['traefik']}:0::/:/bin/false\n")
    run("mount", "--bind", "/run/passwd", "/etc/passwd")
    for name in ("host", "lan", "other", "stranger", "pod", "end", "far"):
        run("ip", "netns", "add", name)
        within(name, "ip", "link", "set", "lo", "up")
        # As the role node_base has it.
        within(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
    within("lan", "ip", "link", "add", "lan", "type", "bridge")
    within("lan", "ip", "link", "set", "lan", "up")
    for name, address in (("host", wanted["address"]), ("other", OTHER), ("stranger", STRANGER), ("end", END)):
        connect(name, "eth0", "lan", name)
        within("lan", "ip", "link", "set", name, "master", "lan")
        addresses(name, (f"{address}/24", "eth0"))
    # Held by another load balancer.
    addresses("other", (f"{VIRTUAL}/24", "eth0"))
    connect("host", wanted["pod"], "pod", "eth0")
    addresses("host", ("10.244.1.1/24", wanted["pod"]))
    addresses("pod", (f"{POD}/24", "eth0"))
    within("pod", "ip", "route", "add", "default", "via", "10.244.1.1")
    if wanted["tunnel"] != wanted["pod"]:
        tunnel(wanted)
        addresses("host", ("10.244.2.1/24", wanted["tunnel"]))
        addresses("far", (f"{FAR}/24", "eth0"))
        within("far", "ip", "route", "add", "default", "via", "10.244.2.1")
    addresses("host", (f"{METADATA}/32", "lo"))
    within("host", "ip", "route", "add", "169.254.7.7", "via", STRANGER)
    # GoodNet leads Services to its bridge.
    router = POD if wanted["tunnel"] == wanted["pod"] else STRANGER
    within("host", "ip", "route", "add", "10.96.0.0/16", "via", router)
    addresses("stranger", ("169.254.7.7/32", "lo"))
    for name in ("stranger", "other"):
        for network in ("10.244.0.0/16", "10.96.0.0/16"):
            within(name, "ip", "route", "add", network, "via", wanted["address"])
    services = "\n".join(
        f"ip daddr {CLUSTER_IP} tcp dport {port} dnat to {end.format(own=wanted['address'])}"
        for port, end in HOST_SERVICES.items()
    )
    within("host", "nft", "--file", "-", stdin=TRANSLATION.replace("@services@", services))
    within("host", "nft", "--file", "-", stdin=wanted["rules"])
    ports = ("22", "53", "80", "443", "2379", "2380", "5000", "5002", "6443", "8080", "10250", "20000", "30000")
    return [start(name, LISTEN, *ports) for name in ("host", "other", "stranger", "pod", "far")]


def arrives(wanted: dict[str, Any], who: str, what: str) -> str:
    protocol, target = what.split()
    receiver = start("host" if target == wanted["address"] else "other", RECEIVE, protocol)
    source = {"pod": POD, "stranger": STRANGER, "gateway": wanted["address"]}[who]
    within("host" if who == "gateway" else who, sys.executable, "-c", SEND, protocol, target, source)
    return receiver.communicate("\n")[0].strip()


def main() -> None:
    wanted = json.load(sys.stdin)
    asked = [tuple(pair) for pair in wanted["asked"]]
    started = build(wanted)
    answers = {}
    try:
        for name in sorted({who for who, _what in asked}):
            targets = [what for who, what in asked if who == name and ":" in what]
            place = "host" if name == "gateway" else name
            said = within(place, sys.executable, "-c", PROBE, *targets).split()
            answers |= {(name, target): one for target, one in zip(targets, said)}
        for who, what in asked:
            if ":" not in what:
                answers[who, what] = arrives(wanted, who, what)
        print(json.dumps([answers[one] for one in asked]))
    finally:
        for process in started:
            process.kill()


main()
