# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge that owns a NIC: attached, kept, taken back, refused, on a host with a second one beside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from private_host import PrivateHost, inside, run

from goodnet.host import arp, links, underlay, wiring

PACKAGE = Path(underlay.__file__).resolve().parents[2]
OWN, PEER = "192.0.2.21", "192.0.2.1"
# ICMP: type 8, code 0, checksum, identifier, number.
ECHO = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
    raw.sendto(bytes((8, 0, 0xF7, 0xFD, 0, 1, 0, 1)), (sys.argv[1], 0))
    end, found = time.monotonic() + 0.5, 0
    while (left := end - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            data, (sender, _) = raw.recvfrom(1500)
        except TimeoutError:
            break
        found += sender == sys.argv[1] and data[20] == 0
print(found)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateHost]:
    with PrivateHost("underlay") as made:
        yield made


@pytest.fixture
def peer(host: PrivateHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The other end of the NIC eth1, which has an address and a route behind it."""
    monkeypatch.setenv("OVS_RUNDIR", str(host.rundir))
    other = host.netns("peer")
    run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", Path(other).name)
    run("ip", "address", "add", f"{OWN}/24", "dev", "eth1")
    run("ip", "link", "set", "eth1", "up")
    inside(other, "ip", "address", "add", f"{PEER}/24", "dev", "eth0")
    inside(other, "ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "198.51.100.0/24", "via", PEER, "dev", "eth1")
    yield other
    underlay.detach(tmp_path / "underlay.json")
    # A namespace goes with its interfaces some time later; the next test wants the name.
    run("ip", "link", "del", "eth1")
    host.remove_netns(other)


def addresses(interface: str) -> list[str]:
    found = json.loads(run("ip", "-json", "-4", "address", "show"))
    return [
        entry["local"]
        for link in found
        if link["ifname"] == interface
        for entry in link["addr_info"]
    ]  # fmt: skip


def answers(peer: str) -> int:
    """Send one ICMP echo request from there, and count the answers."""
    return int(inside(peer, sys.executable, "-c", ECHO, OWN))


def reached(peer: str) -> bool:
    return answers(peer) > 0


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "still not so"
        time.sleep(0.1)


def test_the_address_moves_to_the_bridge_and_back(peer: str, tmp_path: Path, host: PrivateHost) -> None:
    state = tmp_path / "underlay.json"
    assert underlay.attach("eth1", ["203.0.113.1"], [PEER], state)
    assert addresses("eth1") == []
    assert addresses(underlay.BRIDGE) == [OWN]
    assert "via 192.0.2.1 dev br-underlay" in run("ip", "route", "show", "198.51.100.0/24")
    assert host.vsctl("get", "Bridge", underlay.BRIDGE, "datapath_type").strip() == "netdev"
    eventually(lambda: reached(peer))
    assert not underlay.attach("eth1", [], [], state)
    with pytest.raises(underlay.UnderlayError, match="found eth1 attached to br-underlay, wanted lo"):
        underlay.attach("lo", [], [], state)

    assert underlay.detach(state)
    assert addresses("eth1") == [OWN]
    assert "via 192.0.2.1 dev eth1" in run("ip", "route", "show", "198.51.100.0/24")
    assert host.vsctl("list-br").split() == []
    assert "goodnet-underlay" not in run("nft", "list", "tables")
    eventually(lambda: reached(peer))
    assert not underlay.detach(state)


def test_the_kernel_does_not_answer_beside_the_bridge(peer: str, tmp_path: Path) -> None:
    underlay.attach("eth1", [], [], tmp_path / "underlay.json")
    eventually(lambda: reached(peer))
    assert [answers(peer) for _ignored in range(3)] == [1, 1, 1]


def test_the_first_packet_to_a_host_that_the_switch_has_heard_of_arrives(
    peer: str, tmp_path: Path, host: PrivateHost
) -> None:
    """Without that it drops what it has to ask for the MAC first."""
    unheard = "192.0.2.2"
    inside(peer, "ip", "address", "add", f"{unheard}/24", "dev", "eth0")
    inside(peer, "sysctl", "-qw", "net.ipv4.conf.all.arp_announce=2")
    underlay.attach("eth1", [], [], tmp_path / "underlay.json")
    tunnel = ("type=vxlan", "options:remote_ip=flow", "options:key=flow", "ofport_request=1")
    host.vsctl("add-br", "br-tun", "--", "set", "Bridge", "br-tun", "datapath_type=netdev", "fail_mode=secure")
    host.vsctl("add-port", "br-tun", "tun", "--", "set", "Interface", "tun", *tunnel)
    link = links.link(underlay.BRIDGE)
    assert link is not None and link.address == IPv4Address(OWN)
    assert links.next_hops(map(IPv4Address, (PEER, "198.51.100.9"))) == {IPv4Address(PEER)}
    arp.request(link.name, link.mac, link.address, [IPv4Address(PEER)])
    process = (host.rundir / "ovs-vswitchd.pid").read_text().strip()
    control = str(host.rundir / f"ovs-vswitchd.{process}.ctl")
    eventually(lambda: PEER in run("ovs-appctl", "-t", control, "tnl/neigh/show"))
    with wiring._inside(peer):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    bridge, frame = f"unix:{host.rundir}/br-tun.mgmt", "ff" * 6 + "0a" * 6 + "1234" + "00" * 46
    try:
        with wire:
            wire.bind(("eth0", 0x0800))
            wire.settimeout(1)
            for address, arrives in ((unheard, False), (PEER, True)):
                actions = f"set_field:{address}->tun_dst,set_field:7->tun_id,output:1"
                run(
                    "ovs-ofctl",
                    "-O",
                    "OpenFlow14",
                    "packet-out",
                    bridge,
                    f"in_port=local,packet={frame},actions={actions}",
                )
                try:
                    assert wire.recv(2000)[30:34] == IPv4Address(address).packed
                    assert arrives
                except TimeoutError:
                    assert not arrives
    finally:
        host.vsctl("del-br", "br-tun")


def test_it_is_kept_over_restarts_and_other_peoples_changes(peer: str, tmp_path: Path, host: PrivateHost) -> None:
    state = tmp_path / "underlay.json"
    underlay.attach("eth1", [], [], state)
    command = [sys.executable, "-m", "goodnet.host.underlay", "--state", str(state), "run"]
    keeper = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, stderr=subprocess.PIPE)
    try:
        eventually(lambda: reached(peer))
        host.stop_switch()
        assert not reached(peer)
        host.start_switch()
        eventually(lambda: reached(peer))
        assert addresses(underlay.BRIDGE) == [OWN]
        # As at a boot, when the system's own configuration gives it the address.
        run("ip", "address", "add", f"{OWN}/24", "dev", "eth1")
        eventually(lambda: addresses("eth1") == [])
        run("ip", "address", "flush", "dev", underlay.BRIDGE)
        eventually(lambda: addresses(underlay.BRIDGE) == [OWN] and reached(peer))
        assert keeper.poll() is None
    finally:
        keeper.terminate()
        keeper.communicate()


def test_without_an_answer_everything_is_as_before(
    peer: str, tmp_path: Path, host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underlay, "_ANSWER_SECONDS", 2.0)
    wait = underlay._wait_for

    def cut(peers: Sequence[str]) -> bool:
        """Have nobody answer as soon as the NIC is in the bridge."""
        inside(peer, "ip", "link", "set", "eth0", "down")
        return wait(peers)

    monkeypatch.setattr(underlay, "_wait_for", cut)
    with pytest.raises(underlay.UnderlayError, match=f"none of {PEER} answers by br-underlay"):
        underlay.attach("eth1", [], [PEER], tmp_path / "underlay.json")
    assert addresses("eth1") == [OWN]
    assert host.vsctl("list-br").split() == []
    assert not (tmp_path / "underlay.json").exists()


@pytest.mark.parametrize(
    ("interface", "never", "message"),
    [
        ("eth7", [], "found no eth7 on this host"),
        ("lo", [], "found no IPv4 address on lo"),
        ("eth1", [OWN], "found eth1, by which this host is managed"),
    ],
)
def test_what_cannot_be_attached_is_left_alone(
    peer: str, tmp_path: Path, interface: str, never: list[str], message: str
) -> None:
    with pytest.raises(underlay.UnderlayError, match=message):
        underlay.attach(interface, never, [], tmp_path / "underlay.json")
    assert addresses("eth1") == [OWN]
    assert list(tmp_path.iterdir()) == []


def test_the_nic_of_the_default_route_is_left_alone(peer: str, tmp_path: Path) -> None:
    run("ip", "route", "add", "default", "via", PEER, "dev", "eth1")
    with pytest.raises(underlay.UnderlayError, match="the default route on eth1"):
        underlay.attach("eth1", [], [], tmp_path / "underlay.json")


def test_a_broken_state_is_told(tmp_path: Path) -> None:
    state = tmp_path / "underlay.json"
    state.write_text('{"interface": "eth1"')
    with pytest.raises(underlay.UnderlayError, match="found no whole state"):
        underlay.load(state)
