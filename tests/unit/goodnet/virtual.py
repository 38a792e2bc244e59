# SPDX-License-Identifier: GPL-3.0-or-later
"""A private Open vSwitch without any network device, and the packets that are sent through it.

Ports take packets from the test and keep what they send in a file, so tunnels, flows and connection tracking are the
real ones, and nothing of the machine is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import ClassVar

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SECONDS = 20.0


class Switch:
    """An ovsdb-server and an ovs-vswitchd of their own, in a directory of their own, with the bridge br-goodnet."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="goodnet-"))
        self._database = f"unix:{self.directory}/db.sock"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._socket: socket.socket | None = None

    def start(self) -> None:
        env = {**os.environ, "OVS_RUNDIR": str(self.directory), "OVS_LOGDIR": str(self.directory)}
        subprocess.run(["ovsdb-tool", "create", "conf.db", SCHEMA], cwd=self.directory, check=True)
        common = ["--no-chdir", "--pidfile", "-vsyslog:off"]
        database = [
            "ovsdb-server",
            "conf.db",
            f"--remote=p{self._database}",
            f"--unixctl={self.directory}/db.ctl",
            *common,
        ]
        vswitchd = [
            *("ovs-vswitchd", self._database, f"--unixctl={self.directory}/vswitchd.ctl", *common),
            *("--enable-dummy", "--disable-system", "--disable-system-route"),
        ]
        for command, made in ((database, "db.sock"), (vswitchd, "vswitchd.ctl")):
            with (self.directory / f"{command[0]}.log").open("wb") as log:
                # They end with the tests, also when those are killed.
                bound = ["setpriv", "--pdeathsig", "KILL", *command]
                process = subprocess.Popen(bound, cwd=self.directory, env=env, stdout=log, stderr=log)
            self._processes.append(process)
            end = time.monotonic() + SECONDS
            while not (self.directory / made).exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"{command[0]} does not start: {(self.directory / log.name).read_text()}")
                time.sleep(0.01)
        self.vsctl("--no-wait", "init")
        self.vsctl("add-br", "br-goodnet", *self._bridge("br-goodnet", "secure"))
        self.fragments("nx-match")

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        for process in reversed(self._processes):
            process.terminate()
            process.wait(SECONDS)
        shutil.rmtree(self.directory)

    @staticmethod
    def _bridge(name: str, fail_mode: str) -> list[str]:
        return [
            "--",
            "set",
            "Bridge",
            name,
            "datapath_type=dummy",
            f"fail_mode={fail_mode}",
            "protocols=OpenFlow10,OpenFlow14",
        ]

    def vsctl(self, *arguments: str) -> str:
        command = ["ovs-vsctl", f"--db={self._database}", "--timeout=20", *arguments]
        return subprocess.run(command, cwd=self.directory, check=True, text=True, capture_output=True).stdout

    def add_underlay(self, address: str, neighbours: dict[str, str]) -> None:
        """Make the bridge that owns the underlay NIC `nic`; neighbours: MAC addresses of the hosts in the same /24."""
        self.vsctl("add-br", "br-underlay", *self._bridge("br-underlay", "standalone"))
        self.vsctl("set", "Bridge", "br-underlay", f"other-config:hwaddr={neighbours[address]}")
        self.add_port("nic", 1, "br-underlay")
        self.appctl("netdev-dummy/ip4addr", "br-underlay", f"{address}/24")
        self.appctl("ovs/route/add", f"{address}/24", "br-underlay")
        for neighbour, mac in neighbours.items():
            self.appctl("tnl/neigh/set", "br-underlay", neighbour, mac)

    def add_tunnel(self, number: int, encapsulation: str) -> None:
        self.vsctl(
            *("add-port", "br-goodnet", "goodnet-tun", "--", "set", "Interface", "goodnet-tun"),
            *(f"type={encapsulation}", f"ofport_request={number}", "options:remote_ip=flow", "options:key=flow"),
        )

    def add_port(self, name: str, number: int, bridge: str = "br-goodnet") -> None:
        capture = self.directory / f"{name}.pcap"
        self.vsctl(
            *("add-port", bridge, name, "--", "set", "Interface", name, "type=dummy"),
            *(f"ofport_request={number}", f"options:tx_pcap={capture}"),
        )
        self._ports[name] = number
        self._read[name] = 24

    def appctl(self, *arguments: str) -> str:
        """Ask ovs-vswitchd, over one connection that stays: a process for each of a thousand packets takes too long."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(SECONDS)
            self._socket.connect(str(self.directory / "vswitchd.ctl"))
        self._socket.sendall(json.dumps({"id": 0, "method": arguments[0], "params": list(arguments[1:])}).encode())
        data = b""
        while True:
            received = self._socket.recv(1 << 20)
            assert received, "ovs-vswitchd has gone"
            data += received
            try:
                answer = json.loads(data)
            except ValueError:
                continue
            assert answer["error"] is None, answer["error"]
            return str(answer["result"])

    def install(self, flows: list[str], *, forget: bool = True) -> None:
        """Make these all the flows of br-goodnet. forget: all connections, too."""
        file = self.directory / "flows"
        file.write_text("\n".join(flows) + "\n")
        bridge = f"unix:{self.directory}/br-goodnet.mgmt"
        command = ["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "replace-flows", bridge, str(file)]
        subprocess.run(command, check=True)
        # Decisions made with the former flows are taken back by other threads: soon, but not at once.
        self.appctl("revalidator/purge")
        if forget:
            self.forget()

    def fragments(self, mode: str) -> None:
        """Say whether flows see the ports of first fragments: nx-match, as GoodNet wants it, or normal."""
        bridge = f"unix:{self.directory}/br-goodnet.mgmt"
        subprocess.run(["ovs-ofctl", "-O", "OpenFlow14", "set-frags", bridge, mode], check=True)
        self.appctl("revalidator/purge")

    def forget(self) -> None:
        """Forget all connections."""
        self.appctl("dpctl/flush-conntrack")

    def trace(self, flow: str, *arguments: str) -> str:
        return self.appctl("ofproto/trace", "br-goodnet", flow, *arguments)

    def inject(self, port: str, frame: bytes) -> dict[str, list[bytes]]:
        """Let a packet come in through a port. Returns what was sent because of it, by port."""
        before = self._received(port)
        self.appctl("netdev-dummy/receive", port, frame.hex())
        end = time.monotonic() + SECONDS
        # The thread that counts a packet has also sent what follows from it.
        while self._received(port) == before:
            assert time.monotonic() < end, f"{port} took no packet"
        sent = {}
        for name in self._ports:
            if frames := self._sent(name):
                sent[name] = frames
        return sent

    def _received(self, port: str) -> int:
        lines = iter(self.appctl("dpctl/show", "-s").splitlines())
        for line in lines:
            if line.split()[:1] == ["port"] and line.split()[2] == port:
                return int(next(lines).split()[1].removeprefix("packets:"))
        raise AssertionError(f"there is no port {port}")

    def _sent(self, port: str) -> list[bytes]:
        frames = []
        data = (self.directory / f"{port}.pcap").read_bytes()
        start = self._read[port]
        while start < len(data):
            length = struct.unpack_from("=I", data, start + 8)[0]
            frames.append(data[start + 16 : start + 16 + length])
            start += 16 + length
        self._read[port] = start
        return frames


NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "sctp": 132}
NUMBERS |= {"ipip": 4, "ipv6": 41, "ah": 51, "ospf": 89, "pim": 103, "vrrp": 112}
SYN, ACK = 2, 16


@dataclass(frozen=True)
class Packet:
    """An IPv4 packet. payload follows the header of the transport protocol."""

    source: str
    destination: str
    protocol: str = "udp"
    sport: int = 40000
    dport: int = 80
    flags: int = SYN
    payload: bytes = field(default=b"data", compare=False)

    def back(self, flags: int = SYN | ACK) -> Packet:
        """Return the answer."""
        flags = flags if self.protocol == "tcp" else SYN
        return Packet(self.destination, self.source, self.protocol, self.dport, self.sport, flags)

    def later(self) -> Packet:
        """Return the same packet when the connection is established."""
        return replace(self, flags=ACK) if self.protocol == "tcp" else self

    def encode(self) -> bytes:
        source, destination = IPv4Address(self.source).packed, IPv4Address(self.destination).packed
        number = NUMBERS[self.protocol]
        if self.protocol == "udp":
            body = struct.pack("!HHHH", self.sport, self.dport, 8 + len(self.payload), 0) + self.payload
        elif self.protocol == "tcp":
            body = (
                struct.pack("!HHIIBBHHH", self.sport, self.dport, 1, 1, 5 << 4, self.flags, 65535, 0, 0) + self.payload
            )
            pseudo = source + destination + struct.pack("!HH", number, len(body))
            body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
        elif self.protocol == "sctp":
            body = struct.pack("!HHII", self.sport, self.dport, 0, 0) + self.payload
        elif self.protocol == "icmp":
            # sport is the type, dport the code.
            body = struct.pack("!BBHI", self.sport, self.dport, 0, 0) + self.payload
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        else:
            body = self.payload
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, number, 0) + source + destination
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body

    def frame(self, source: str, destination: str) -> bytes:
        return _mac(destination) + _mac(source) + b"\x08\x00" + self.encode()

    def fragments(self, size: int) -> list[Fragment]:
        """Return the packet in two parts, the first with this many bytes of it."""
        data = self.encode()
        return [Fragment(data[:20], 0x2000, data[20 : 20 + size]), Fragment(data[:20], size // 8, data[20 + size :])]

    @staticmethod
    def decode(frame: bytes) -> Packet:
        assert frame[12:14] == b"\x08\x00", frame
        number, source, destination = frame[23], IPv4Address(frame[26:30]), IPv4Address(frame[30:34])
        protocol = next(name for name, value in NUMBERS.items() if value == number)
        sport, dport = struct.unpack_from("!BB" if protocol == "icmp" else "!HH", frame, 34)
        flags = frame[47] if protocol == "tcp" else SYN
        head = {"udp": 8, "tcp": 20, "sctp": 12, "icmp": 8, "gre": 0}[protocol]
        return Packet(str(source), str(destination), protocol, sport, dport, flags, frame[34 + head :])


@dataclass(frozen=True)
class Fragment:
    """A part of a packet: the header of the whole, flags and offset, data."""

    head: bytes
    offset: int
    data: bytes

    def frame(self, source: str, destination: str) -> bytes:
        length = struct.pack("!HHH", 20 + len(self.data), 1, self.offset)
        head = self.head[:2] + length + self.head[8:10] + bytes(2) + self.head[12:]
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return _mac(destination) + _mac(source) + b"\x08\x00" + head + self.data


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def encapsulate(encapsulation: str, source: str, destination: str, vni: int, inner: bytes) -> Packet:
    """Return what a host sends to another when a packet goes through the tunnel."""
    if encapsulation == "vxlan":
        head = struct.pack("!II", 0x08000000, vni << 8)
        return Packet(source, destination, "udp", 50000, 4789, payload=head + inner)
    return Packet(source, destination, "gre", payload=struct.pack("!HHI", 0x2000, 0x6558, vni) + inner)


def arp(operation: int, sender: str, sender_mac: str, target: str, target_mac: str = "00:00:00:00:00:00") -> bytes:
    """Return an ARP frame: operation 1 asks everybody, 2 answers the target."""
    to = "ff:ff:ff:ff:ff:ff" if operation == 1 else target_mac
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    addresses = _mac(sender_mac) + IPv4Address(sender).packed + _mac(target_mac) + IPv4Address(target).packed
    return _mac(to) + _mac(sender_mac) + b"\x08\x06" + body + addresses


def macs(frame: bytes) -> tuple[str, str]:
    """Return source and destination MAC address of a frame."""
    return frame[6:12].hex(":"), frame[:6].hex(":")


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


class Underlay:
    """Two hosts, alpha and beta, with tunnels to each other, each with a host port, provider and six pods' ports."""

    TUNNEL, HOST_PORT, PROVIDER, FIRST_POD = 1, 2, 3, 10
    ADDRESSES: ClassVar = {"alpha": "172.16.0.1", "beta": "172.16.0.2"}
    # A third host is known to the others, but what they send to it gets no further than their NIC.
    MACS: ClassVar = {f"172.16.0.{number}": f"0a:00:00:00:00:0{number}" for number in (1, 2, 3)}

    def __init__(self, encapsulation: str) -> None:
        self.encapsulation = encapsulation
        self.hosts = {name: Switch() for name in self.ADDRESSES}
        self._names = {_mac(self.MACS[address]): name for name, address in self.ADDRESSES.items()}

    def start(self) -> None:
        for name, switch in self.hosts.items():
            switch.start()
            switch.add_underlay(self.ADDRESSES[name], self.MACS)
            switch.add_tunnel(self.TUNNEL, self.encapsulation)
            switch.add_port("host_port", self.HOST_PORT)
            switch.add_port("provider", self.PROVIDER)
            for number in range(self.FIRST_POD, self.FIRST_POD + 6):
                switch.add_port(f"pod{number}", number)

    def stop(self) -> None:
        for switch in self.hosts.values():
            switch.stop()

    def send(self, host: str, port: str, frame: bytes) -> list[tuple[str, str, bytes]]:
        """Send a packet and carry it through the underlay. Returns where it, or an answer, came out."""
        arrived = []
        for name, frames in self.hosts[host].inject(port, frame).items():
            for sent in frames:
                if name == "nic" and sent[:6] in self._names:
                    arrived += self.send(self._names[sent[:6]], "nic", sent)
                else:
                    arrived.append((host, name, sent))
        return arrived
