# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge that owns the second NIC of a host whose Open vSwitch runs in user space.

Tunnels of such a switch only leave by a bridge that has their address, so the NIC becomes its port and the address
moves there. `attach` does it once and goes back when nobody can be reached any more; `run` keeps it so, over restarts
of the switch and of the host; `detach` undoes it.
"""

from __future__ import annotations

import argparse
import json
import logging
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from goodnet.files import write_durably
from goodnet.host import arp, nft
from goodnet.host.systemd import notify

log = logging.getLogger(__name__)

BRIDGE = "br-underlay"
STATE = Path("/var/lib/goodnet/underlay.json")
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10
# Changes that come within this time are put right together.
_GATHER = 0.3
_CHECK_SECONDS = 30.0
_ANSWER_SECONDS = 20.0
_GUARD = "goodnet-underlay"


class UnderlayError(Exception):
    """The NIC cannot be attached. The message says why, and what to do."""


@dataclass(frozen=True)
class State:
    """What was moved. addresses: with prefix. routes: as words for `ip route`, without the interface."""

    interface: str
    addresses: tuple[str, ...]
    routes: tuple[str, ...]


def load(path: Path = STATE) -> State | None:
    """Return what was moved, None when nothing is attached."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return State(data["interface"], tuple(data["addresses"]), tuple(data["routes"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnderlayError(
            f"{path}: found no whole state of the underlay ({error}); remove the file, give the address back to the "
            f"NIC and run the role goodnet again"
        ) from error


def attach(interface: str, never: Iterable[str], peers: Sequence[str], path: Path = STATE) -> bool:
    """Give the NIC to the bridge. Returns whether anything changed.

    never: addresses by which this host is managed. peers: addresses in the NIC's network. If some of them answer
    before, and none does afterwards, everything is as before and UnderlayError is raised.
    """
    known = load(path)
    if known is not None:
        if known.interface != interface:
            raise UnderlayError(
                f"underlay: found {known.interface} attached to {BRIDGE}, wanted {interface}; run "
                "`PYTHONPATH=/usr/local/lib/cloudbang python3 -m goodnet.host.underlay detach` on this host first; its "
                "pods are cut off from other hosts until the role has attached the other one"
            )
        ensure(known)
        return False
    state = _found(interface, set(never))
    answered = _answering(interface, peers)
    log.info("%s with %s becomes a port of %s", interface, ", ".join(state.addresses), BRIDGE)
    try:
        # First, so that a host that dies half way is put right by `run`.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, json.dumps(asdict(state)))
        ensure(state)
        if answered and not _wait_for(answered):
            raise UnderlayError(
                f"underlay: none of {', '.join(answered)} answers by {BRIDGE}, and they did by {interface}; "
                f"{interface} is as before. Look whether the network lets a NIC be used by a bridge (promiscuous mode)"
            )
    except (UnderlayError, OSError):
        try:
            detach(path)
        except OSError as error:
            log.error("%s", error)
        raise
    return True


def detach(path: Path = STATE) -> bool:
    """Give the address back to the NIC and remove the bridge. Returns whether there was anything to do."""
    state = load(path)
    if state is None:
        return False
    try:
        _run("ovs-vsctl", "--timeout=10", "--no-wait", "--if-exists", "del-br", BRIDGE)
    finally:
        nft.remove_guard(_GUARD)
        if state.interface in _links():
            _give(state, state.interface)
    path.unlink()
    return True


def ensure(state: State) -> None:
    """Have bridge, addresses and routes as they are to be, whatever is there. OSError when the host refuses."""
    nic = state.interface
    links = _links()
    if nic not in links:
        raise OSError(f"underlay: found no interface {nic} on this host")
    ports = _run("ovs-vsctl", "--timeout=10", "list-ports", BRIDGE, check=False).split()
    if nic not in ports or BRIDGE not in links:
        _run(
            "ovs-vsctl", "--timeout=15", "--may-exist", "add-br", BRIDGE,
            "--", "set", "Bridge", BRIDGE, "datapath_type=netdev", "fail_mode=standalone",
            f'other_config:hwaddr="{links[nic]["address"]}"',
            "--", "--may-exist", "add-port", BRIDGE, nic,
        )  # fmt: skip
    nft.guard(_GUARD, f'iifname "{nic}"')
    # What a NIC merges or leaves to be filled in does not fit into a tunnel. Not all can be told.
    _run("ethtool", "-K", nic, "tx", "off", "gro", "off", "lro", "off", check=False)
    if _addresses(links[nic]):
        _run("ip", "-4", "address", "flush", "dev", nic, "scope", "global")
    _give(state, BRIDGE)


def _give(state: State, interface: str) -> None:
    """Have addresses and routes on this interface."""
    link = _links().get(interface)
    if link is None:
        raise OSError(f"underlay: found no interface {interface} on this host; look at `systemctl status ovs-vswitchd`")
    missing = [one for one in state.addresses if one not in _addresses(link)]
    if "UP" not in link["flags"]:
        _run("ip", "link", "set", interface, "up")
    elif not missing:
        return
    for address in missing:
        _run("ip", "address", "replace", address, "dev", interface)
    for route in state.routes:
        _run("ip", "route", "replace", *route.split(), "dev", interface)
    log.info("%s has %s", interface, ", ".join(state.addresses))


def _found(interface: str, never: set[str]) -> State:
    """Return what there is to be moved."""
    link = _links().get(interface)
    if link is None:
        raise UnderlayError(f"goodnet_underlay_interface: found no {interface} on this host, wanted one of its NICs")
    addresses = _addresses(link)
    if not addresses:
        raise UnderlayError(f"goodnet_underlay_interface: found no IPv4 address on {interface}, wanted a static one")
    plain = {address.partition("/")[0] for address in addresses}
    if plain & never:
        raise UnderlayError(
            f"goodnet_underlay_interface: found {interface}, by which this host is managed "
            f"({', '.join(sorted(plain & never))}); wanted a NIC of its own, as the connection would be cut"
        )
    routes = [_route(one) for one in _ip("-4", "route", "show", "dev", interface) if one.get("protocol") != "kernel"]
    if any(route.startswith("default") for route in routes):
        raise UnderlayError(
            f"goodnet_underlay_interface: found the default route on {interface}; wanted a NIC of its own"
        )
    return State(interface, tuple(addresses), tuple(routes))


def _route(found: dict[str, Any]) -> str:
    words = [found["dst"]]
    for key, word in (("gateway", "via"), ("prefsrc", "src"), ("metric", "metric"), ("scope", "scope")):
        if found.get(key) is not None:
            words += [word, str(found[key])]
    return " ".join(words)


def _links() -> dict[str, dict[str, Any]]:
    return {link["ifname"]: link for link in _ip("address", "show")}


def _addresses(link: dict[str, Any]) -> list[str]:
    entries = [one for one in link.get("addr_info", []) if one["family"] == "inet" and one["scope"] == "global"]
    return [f"{one['local']}/{one['prefixlen']}" for one in entries]


def _answering(interface: str, peers: Iterable[str]) -> list[str]:
    """Return those that answer ARP on the network of the interface."""
    mac = _links()[interface]["address"]
    return [peer for peer in peers if arp.ask(interface, mac, IPv4Address(peer)) is not None]


def _wait_for(peers: Sequence[str]) -> bool:
    end = time.monotonic() + _ANSWER_SECONDS
    while not _answering(BRIDGE, peers):
        if time.monotonic() > end:
            return False
    return True


def run(path: Path = STATE) -> None:
    """Keep it as it is to be, for ever: at each change of the NIC or the bridge, and from time to time."""
    state = load(path)
    if state is None:
        raise UnderlayError(f"{path}: found no such file, wanted that of an attached NIC; run the role goodnet")
    names = [name.encode() + b"\0" for name in (state.interface, BRIDGE)]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))
        netlink.setblocking(False)
        ready = False
        while True:
            try:
                ensure(state)
                if not ready:
                    notify("READY=1")
                    ready = True
                pause = _CHECK_SECONDS
            except OSError as error:
                log.warning("%s; tried again", error)
                pause = 1.0
            _wait(netlink, names, pause)


def _wait(netlink: socket.socket, names: Sequence[bytes], seconds: float) -> None:
    """Wait until something happens to one of these interfaces, or the time is over."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not select.select([netlink], [], [], left)[0]:
            return
        time.sleep(_GATHER)
        if _concerned(netlink, names):
            return


def _concerned(netlink: socket.socket, names: Sequence[bytes]) -> bool:
    """Read all there is; whether any of it names one of these interfaces."""
    found = False
    while True:
        try:
            data = netlink.recv(65536)
        except BlockingIOError:
            return found
        except OSError:
            # There was more than the kernel keeps.
            return True
        found = found or any(name in data for name in names)


def _ip(*arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(_run("ip", "-json", *arguments) or "[]"))


def _run(*command: str, check: bool = True) -> str:
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=30)
    except subprocess.TimeoutExpired:
        raise OSError(f"`{' '.join(command)}` did not end within 30 s") from None
    except FileNotFoundError:
        if check:
            raise
        return ""
    if check and done.returncode:
        raise OSError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="goodnet-underlay", description="Keeps the bridge that owns the second NIC.")
    parser.add_argument("--state", type=Path, default=STATE, help="default: %(default)s")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    one = commands.add_parser("attach", help="give the NIC to the bridge; prints `changed` when it was not there yet")
    one.add_argument("interface")
    one.add_argument("--never", action="append", default=[], help="an address that the NIC must not have")
    one.add_argument("--peer", action="append", default=[], help="an address that has to answer afterwards")
    commands.add_parser("detach", help="give the address back to the NIC")
    commands.add_parser("run", help="keep it so")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        if given.command == "run":
            run(given.state)
        elif given.command == "attach":
            print("changed" if attach(given.interface, given.never, given.peer, given.state) else "attached")
        else:
            print("changed" if detach(given.state) else "not attached")
    except (UnderlayError, OSError) as error:
        print(f"goodnet-underlay: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
