# SPDX-License-Identifier: GPL-3.0-or-later
"""External addresses: the word of keepalived, and the frames that tell the network outside."""

from __future__ import annotations

import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from private_host import PrivateHost, inside, run

from goodnet.cluster import client, provider
from goodnet.host import arp, keepalived, links

ADDRESS = IPv4Address("203.0.113.9")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "backup"),
        (b"master\n", "master"),
        (b"backup\n", "backup"),
        (b"", "backup"),
        (b"mast", "backup"),
        (b"\xff\xfe", "backup"),
    ],
)
def test_the_word_that_was_said_last(tmp_path: Path, content: bytes | None, expected: str) -> None:
    file = tmp_path / "provider"
    if content is not None:
        file.write_bytes(content)
    assert keepalived.role(file) == expected


def test_a_word_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "new" / "provider"
    for word in ("master", "master", "backup"):
        keepalived.set_role(file, word)
        assert keepalived.role(file) == word
    with pytest.raises(ValueError, match="found fault, wanted master or backup"):
        keepalived.set_role(file, "fault")
    assert keepalived.role(file) == "backup"


def test_a_frame_announces_an_address() -> None:
    frame = arp.gratuitous_arp(ADDRESS, "0a:00:00:00:00:01")
    assert len(frame) == 60
    assert frame[:22].hex() == "ffffffffffff0a000000000108060001080006040001"
    assert frame[22:42].hex() == "0a0000000001cb007109000000000000cb007109"


def test_an_edge_and_the_network_outside() -> None:
    """The edge has an interface of its own beside the NIC's addresses; the router is found, and learns who has what."""
    with PrivateHost("provider", switch=False) as host:
        router = host.netns("router")
        run("ip", "link", "add", "nic", "type", "veth", "peer", "name", "eth0", "netns", Path(router).name)
        run("ip", "addr", "add", "203.0.113.2/24", "dev", "nic")
        run("ip", "link", "set", "nic", "up")
        inside(router, "ip", "addr", "add", "203.0.113.1/24", "dev", "eth0")
        inside(router, "ip", "link", "set", "eth0", "up")
        # A router that already knows the address of the former edge.
        inside(router, "ip", "neigh", "add", str(ADDRESS), "lladdr", "0a:00:00:00:00:99", "dev", "eth0", "nud", "stale")
        made = links.ensure_macvlan("provider0", "nic")
        assert links.ensure_macvlan("provider0", "nic") == made
        nic = links.link("nic")
        assert nic is not None
        assert (nic.address, made.address) == (IPv4Address("203.0.113.2"), None)
        assert made.mac != nic.mac
        router_mac = inside(router, "cat", "/sys/class/net/eth0/address").strip()
        assert arp.ask("provider0", made.mac, IPv4Address("203.0.113.1")) == router_mac
        assert arp.ask("provider0", made.mac, IPv4Address("203.0.113.77"), seconds=0.2) is None
        arp.announce("provider0", made.mac, [ADDRESS])
        end = time.monotonic() + 5
        while made.mac not in inside(router, "ip", "neigh", "show", str(ADDRESS)) and time.monotonic() < end:
            time.sleep(0.05)
        assert made.mac in inside(router, "ip", "neigh", "show", str(ADDRESS))


def test_an_interface_that_is_missing_is_named() -> None:
    with PrivateHost("provider", switch=False):
        with pytest.raises(OSError, match="found no interface nic on this host"):
            links.ensure_macvlan("provider0", "nic")
        assert links.link("nic") is None
        assert links.link_of(IPv4Address("192.0.2.7")) is None


def test_addresses_are_announced_while_the_lease_cannot_be_written(tmp_path: Path) -> None:
    """The network outside is told at once, and again, although no API answers; as backup nothing is sent any more."""
    sent: list[frozenset[IPv4Address]] = []
    told = threading.Event()

    def send(addresses: frozenset[IPv4Address]) -> None:
        sent.append(addresses)
        told.set()

    holder = provider.Holder(client.Api(tmp_path / "none"), "alpha", send)
    holder.start()
    holder.hold({ADDRESS})
    assert told.wait(2)
    assert sent[0] == {ADDRESS}
    time.sleep(0.5)
    assert len(sent) >= 2
    holder.hold(None)
    time.sleep(0.3)
    count = len(sent)
    time.sleep(1)
    assert len(sent) == count
    holder.stop()
    holder.join(2)
    assert not holder.is_alive()
