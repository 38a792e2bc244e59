# SPDX-License-Identifier: GPL-3.0-or-later
"""Wires of pods between real network namespaces."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from private_host import PrivateHost, inside, run

from goodnet.errors import BAD_ENVIRONMENT, UNKNOWN_CONTAINER, CniError
from goodnet.host import nft, wiring
from goodnet.host.wiring import Wire

ROUTER = "0a:58:a9:fe:01:01"


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateHost]:
    with PrivateHost("wiring", switch=False) as made:
        yield made


@pytest.fixture
def wire(host: PrivateHost) -> Iterator[Wire]:
    """A wire that is wanted, for a pod whose namespace is there and empty."""
    yield Wire(wiring.host_end("c0ffee"), host.netns("pod"), "eth0", IPv4Address("10.244.1.5"), ROUTER, 1450, False)
    wiring.remove_all(wiring.host_ends())
    host.remove_netns()


def test_names_and_addresses_follow_from_container_and_address(wire: Wire) -> None:
    assert wiring.host_end("c0ffee") == wire.host == "gnfb0288872031"
    assert wire.mac == "0a:58:0a:f4:01:05"


@pytest.mark.parametrize("offload", [True, False])
def test_a_new_wire_is_as_wanted(wire: Wire, offload: bool) -> None:
    wanted = replace(wire, offload=offload)
    wiring.create(wanted)
    assert wiring.check(wanted) == []
    assert wiring.host_ends() == {wire.host}
    # The way out is on the wire, and asks nobody for a MAC.
    assert "via 169.254.1.1 dev eth0 src 10.244.1.5" in inside(wire.netns, "ip", "-o", "route", "get", "192.0.2.1")
    assert f"lladdr {ROUTER} PERMANENT" in inside(wire.netns, "ip", "neigh")


def test_with_checksums_left_to_hardware_a_datapath_in_user_space_is_not_content(wire: Wire) -> None:
    wiring.create(replace(wire, offload=True))
    assert wiring.check(wire) == [
        "checksums of pod's eth0 left to hardware: found True, wanted False",
        f"checksums of host's {wire.host} left to hardware: found True, wanted False",
    ]


DAMAGES = {
    "default route": (["ip", "route", "del", "default"], "routes: found ['169.254.1.1 via None'], wanted"),
    "router's route": (["ip", "route", "flush", "dev", "eth0"], "routes: found [], wanted"),
    "other default route": (
        ["ip", "route", "replace", "default", "dev", "eth0", "scope", "link"],
        "routes: found ['169.254.1.1 via None', 'default via None'], wanted",
    ),
    "address": (["ip", "addr", "flush", "dev", "eth0"], "addresses: found [], wanted ['10.244.1.5/32']"),
    "neighbour": (["ip", "neigh", "flush", "nud", "permanent"], "neighbour 169.254.1.1: found [], wanted"),
    "router's MAC": (
        ["ip", "neigh", "replace", "169.254.1.1", "lladdr", "0a:00:00:00:00:09", "dev", "eth0"],
        "neighbour 169.254.1.1: found ['0a:00:00:00:00:09'], wanted ['0a:58:a9:fe:01:01']",
    ),
    "MAC": (["ip", "link", "set", "eth0", "address", "0a:00:00:00:00:09"], "MAC: found 0a:00:00:00:00:09, wanted"),
    "MTU": (["ip", "link", "set", "eth0", "mtu", "1400"], "MTU of pod's eth0: found 1400, wanted 1450"),
    "down": (["ip", "link", "set", "eth0", "down"], "pod's eth0 up: found False, wanted True"),
    "name": (["sh", "-c", "ip link set eth0 down; ip link set eth0 name x"], "the pod has no interface eth0"),
    "other interface": (
        ["sh", "-c", "ip link set eth0 down; ip link set eth0 name x; ip link add eth0 type bridge"],
        "are not the ends of one wire",
    ),
    "gone": (["ip", "link", "del", "eth0"], "the host's end {host} is gone"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_says_what_somebody_changed_in_the_pod(wire: Wire, damage: str) -> None:
    command, difference = DAMAGES[damage]
    wiring.create(wire)
    inside(wire.netns, *command)
    assert any(difference.format(host=wire.host) in found for found in wiring.check(wire)), wiring.check(wire)


@pytest.mark.parametrize(
    ("change", "difference"),
    [(("mtu", "1400"), "MTU of host's {host}: found 1400, wanted 1450"), (("down",), "host's {host} up: found False")],
)
def test_check_says_what_somebody_changed_on_the_host(wire: Wire, change: tuple[str, ...], difference: str) -> None:
    wiring.create(wire)
    run("ip", "link", "set", wire.host, *change)
    (found,) = wiring.check(wire)
    assert difference.format(host=wire.host) in found


def test_what_the_pod_adds_for_itself_is_no_difference(wire: Wire) -> None:
    wiring.create(wire)
    inside(wire.netns, "ip", "addr", "add", "192.0.2.7/32", "dev", "eth0")
    inside(wire.netns, "ip", "route", "add", "192.0.2.0/24", "via", "169.254.1.1", "dev", "eth0")
    assert wiring.check(wire) == []


def test_a_wire_takes_the_place_of_one_that_is_there(wire: Wire, host: PrivateHost) -> None:
    wiring.create(wire)
    wiring.create(wire)
    assert wiring.check(wire) == []
    moved = replace(wire, netns=host.netns("other"))
    wiring.create(moved)
    assert wiring.check(moved) == []
    assert "eth0" not in inside(wire.netns, "ip", "link")


def test_removing_twice_is_no_problem(wire: Wire) -> None:
    wiring.create(wire)
    wiring.remove(wire.host)
    wiring.remove(wire.host)
    assert wiring.host_ends() == set()
    assert "eth0" not in inside(wire.netns, "ip", "link")


def test_a_namespace_that_is_gone_is_said(wire: Wire, host: PrivateHost) -> None:
    wiring.create(wire)
    assert wiring.netns_lives(wire.netns)
    host.remove_netns(wire.netns)
    assert not wiring.netns_lives(wire.netns)
    assert wiring.check(wire) == [f"the network namespace {wire.netns} is gone"]
    with pytest.raises(CniError) as problem:
        wiring.create(wire)
    assert problem.value.code == UNKNOWN_CONTAINER and wire.netns in problem.value.message
    Path(wire.netns).write_text("")
    try:
        # As a reboot or a failed unmount leaves it.
        assert not wiring.netns_lives(wire.netns)
    finally:
        Path(wire.netns).unlink()


def test_an_interface_of_another_plugin_is_left_alone(wire: Wire) -> None:
    inside(wire.netns, "ip", "link", "add", "eth0", "type", "bridge")
    with pytest.raises(CniError) as problem:
        wiring.create(wire)
    assert problem.value.code == BAD_ENVIRONMENT and "eth0 already" in problem.value.message
    assert wiring.host_ends() == set()
    assert "eth0" in inside(wire.netns, "ip", "link")


def test_a_failure_half_way_leaves_no_wire_and_the_thread_at_home(wire: Wire) -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    with pytest.raises(ValueError, match="non-hexadecimal"):
        wiring.create(replace(wire, router="no MAC"))
    assert os.readlink("/proc/thread-self/ns/net") == home
    assert wiring.host_ends() == set()


def test_many_wires_at_the_same_time(wire: Wire, host: PrivateHost) -> None:
    wires = [
        replace(wire, host=wiring.host_end(f"c{n}"), netns=host.netns(f"p{n}"), address=IPv4Address("10.244.1.10") + n)
        for n in range(12)
    ]
    threads = [threading.Thread(target=wiring.create, args=(one,)) for one in wires]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [wiring.check(one) for one in wires] == [[]] * 12


def test_the_guard_keeps_the_kernel_from_what_pods_send(wire: Wire) -> None:
    wiring.create(wire)
    run("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
    # A pod that sends to the host's end itself instead of to the router, and so goes round the bridge.
    inside(wire.netns, "ip", "neigh", "replace", "169.254.1.1", "lladdr", wire.host_mac, "dev", "eth0")
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 4444))"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("192.0.2.1", 4444))
        service.settimeout(0.5)
        inside(wire.netns, "python3", "-c", code)
        assert service.recv(10) == b"x"
        nft.guard("goodnet-guard", wiring.WIRES)
        nft.guard("goodnet-guard", wiring.WIRES)
        inside(wire.netns, "python3", "-c", code)
        with pytest.raises(TimeoutError):
            service.recv(10)
    assert run("nft", "list", "tables").count("goodnet-guard") == 2
