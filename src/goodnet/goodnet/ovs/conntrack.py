# SPDX-License-Identifier: GPL-3.0-or-later
"""Forgets the connections of pods that are gone, so that those who get their addresses do not inherit them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from goodnet.ovs.flows import ZONE, ZONE_PROVIDER

_SECONDS = 15.0
_ENTRY = re.compile(r"(\w+),orig=\(([^)]*)\),reply=\(([^)]*)\)")
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
_FIELDS = {
    "src": "ct_nw_src", "dst": "ct_nw_dst", "sport": "ct_tp_src", "dport": "ct_tp_dst",
    "id": "icmp_id", "type": "icmp_type", "code": "icmp_code",
}  # fmt: skip


class _Refused(Exception):
    """The switch does not know a command in this form."""


def forget(rundir: Path, datapath: str, addresses: Iterable[IPv4Address]) -> None:
    """Forget all connections from and to these addresses. OSError when the switch does not do it."""
    gone = {str(address) for address in addresses}
    if not gone:
        return
    name = f"{datapath}@ovs-{datapath}"
    try:
        with _Switch(rundir) as switch:
            there = switch.ask("dump-dps").split()
            if name not in there:
                # Not even a bridge is there.
                return
            # Open vSwitch 3.1 refuses to be told the name; without one it takes the only datapath that there is.
            where = [name] if len(there) > 1 else []
            for zone in (ZONE, ZONE_PROVIDER):
                try:
                    # Whoever sends the answers is the destination, also of what was translated.
                    for address in gone:
                        switch.ask("flush-conntrack", *where, f"zone={zone}", f"ct_nw_src={address}")
                        switch.ask("flush-conntrack", *where, f"zone={zone}", "", f"ct_nw_src={address}")
                except _Refused:
                    _one_by_one(switch, where, zone, gone)
    except (OSError, ValueError, _Refused) as error:
        raise OSError(
            f"the connections of {', '.join(sorted(gone))} in Open vSwitch's conntrack cannot be removed: {error}; "
            "look at `systemctl status ovs-vswitchd`"
        ) from error


def _one_by_one(switch: _Switch, where: list[str], zone: int, gone: set[str]) -> None:
    """The same for Open vSwitch before 3.1, which has to be told all of a connection."""
    for kind, original, reply in _ENTRY.findall(switch.ask("dump-conntrack", *where, f"zone={zone}")):
        asked, answered = (dict(word.split("=") for word in side.split(",")) for side in (original, reply))
        if gone & {asked["src"], answered["src"]} and kind in _NUMBERS:
            # The protocol comes first, as it says what the other words mean.
            words = [f"ct_nw_proto={_NUMBERS[kind]}"]
            words += [f"{_FIELDS[key]}={value}" for key, value in asked.items() if key in _FIELDS]
            switch.ask("flush-conntrack", *where, f"zone={zone}", ",".join(words))


class _Switch:
    """ovs-vswitchd's socket for commands, without a process for each of them."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir

    def __enter__(self) -> _Switch:
        pid = int((self._rundir / "ovs-vswitchd.pid").read_text())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(_SECONDS)
            self._socket.connect(str(self._rundir / f"ovs-vswitchd.{pid}.ctl"))
        except OSError:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, command: str, *arguments: str) -> str:
        """Return the answer. _Refused when it is that the command is wrong."""
        request = {"id": 0, "method": f"dpctl/{command}", "params": arguments}
        self._socket.sendall(json.dumps(request).encode())
        data = b""
        while True:
            received = self._socket.recv(1 << 20)
            if not received:
                raise OSError("ovs-vswitchd ended")
            data += received
            if not data.endswith(b"}"):
                continue
            try:
                answer = json.loads(data)
            except ValueError:
                # Its end is still to come.
                continue
            if answer["error"] is not None:
                raise _Refused(str(answer["error"]).strip())
            return str(answer["result"])
