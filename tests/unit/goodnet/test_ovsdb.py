# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges and ports in a real Open vSwitch."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from private_host import PrivateHost, run

from goodnet.model import Pod
from goodnet.ovs.ovsdb import NewPort, Ovsdb, OvsdbError, external_ids, pod_of

BRIDGE = "br-goodnet"
TUNNEL = NewPort("goodnet-tun", "vxlan", {"remote_ip": "flow", "key": "flow"})
POD = Pod("shop", "web-0", "u-1", "c0ffee", IPv4Address("10.244.1.5"), "0a:58:0a:f4:01:05", 0, "acme")


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateHost]:
    with PrivateHost("ovsdb") as made:
        yield made


@pytest.fixture
def database(host: PrivateHost) -> Iterator[Ovsdb]:
    """With a bridge, and two wires w0 and w1 beside it."""
    opened = host.open_database()
    opened.ensure_bridge(BRIDGE, "netdev")
    for name in ("w0", "w1"):
        run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
    yield opened
    opened.stop()
    host.vsctl("--if-exists", "del-br", BRIDGE)
    for name in ("w0", "w1"):
        run("ip", "link", "del", name)


def wait(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 15
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def received(interface: str) -> int:
    """How many packets an interface got."""
    (link,) = json.loads(run("ip", "-s", "-j", "link", "show", interface))
    return int(link["stats64"]["rx"]["packets"])


def test_a_bridge_is_made_once_and_converges(host: PrivateHost, database: Ovsdb) -> None:
    host_port = NewPort("goodnet0", "internal", mac="0a:00:00:00:00:01", mtu=1400)
    made = database.ensure_bridge(BRIDGE, "netdev", [host_port, TUNNEL])
    assert {name: (port.type, port.mac, port.error) for name, port in made.items() if name == "goodnet0"} == {
        "goodnet0": ("internal", "0a:00:00:00:00:01", None)
    }
    assert {made["goodnet0"].ofport, made["goodnet-tun"].ofport} == {1, 2}
    host.vsctl("set-fail-mode", BRIDGE, "standalone")
    host.vsctl("set", "Interface", "goodnet-tun", "options:remote_ip=192.0.2.1")
    again = database.ensure_bridge(BRIDGE, "netdev", [host_port, TUNNEL])
    assert {name: port.ofport for name, port in again.items()} == {name: port.ofport for name, port in made.items()}
    assert host.vsctl("get-fail-mode", BRIDGE).strip() == "secure"
    assert "remote_ip=flow" in host.vsctl("get", "Interface", "goodnet-tun", "options")
    assert "mtu 1400" in run("ip", "link", "show", "goodnet0")


def test_ports_are_added_and_removed_in_one_go(database: Ovsdb) -> None:
    added = database.change(BRIDGE, add=[NewPort("w0")])
    assert added["w0"].ofport == 1 and added["w0"].bridge == BRIDGE
    added = database.change(BRIDGE, add=[NewPort("w1")], remove=["w0", "unknown"])
    assert list(added) == ["w1"] and added["w1"].error is None
    assert set(database.ports()) == {BRIDGE, "w1"}
    database.remove_port(BRIDGE, "w1")
    database.remove_port(BRIDGE, "w1")
    assert set(database.ports()) == {BRIDGE}


def test_an_interface_that_was_made_again_is_a_new_port(host: PrivateHost, database: Ovsdb) -> None:
    database.add_port(BRIDGE, NewPort("w0"))
    run("ip", "link", "del", "w0")
    run("ip", "link", "add", "w0", "type", "veth", "peer", "name", "w0-peer")
    for end in ("w0", "w0-peer"):
        run("ip", "link", "set", end, "up")
    number = database.add_port(BRIDGE, NewPort("w0"))
    # It is the new interface that the switch sends to.
    packet = f"{'ff' * 6}{'02' * 6}0800{'00' * 46}"
    before = received("w0-peer")
    for _ignored in range(3):
        sent = f"in_port=local packet={packet} actions=output:{number}"
        run("ovs-ofctl", "packet-out", f"unix:{host.rundir}/{BRIDGE}.mgmt", sent)
    assert received("w0-peer") >= before + 3


def test_what_the_switch_can_not_use_is_said_and_the_rest_works(database: Ovsdb) -> None:
    added = database.change(BRIDGE, add=[NewPort("w0"), NewPort("missing")])
    assert added["w0"].ofport == 1
    assert added["missing"].ofport == -1 and "missing" in (added["missing"].error or "")
    with pytest.raises(OvsdbError, match=r"can not use missing as a port of br-goodnet: .*No such device"):
        database.add_port(BRIDGE, NewPort("missing"))
    assert "missing" not in database.ports()


def test_a_bridge_that_is_missing_is_said(database: Ovsdb) -> None:
    with pytest.raises(OvsdbError, match="no bridge br-other"):
        database.change("br-other", add=[NewPort("w0")])
    assert database.add_port(BRIDGE, NewPort("w0")) == 1


def test_pods_are_kept_with_their_ports(host: PrivateHost, database: Ovsdb) -> None:
    database.change(BRIDGE, add=[NewPort("w0", external_ids=external_ids(POD, "/run/netns/x", "eth0")), NewPort("w1")])
    expected = Pod("shop", "web-0", "u-1", "c0ffee", POD.address, POD.mac, database.ports()["w0"].ofport or 0, "acme")
    assert database.pods() == (expected,)
    database.set_external_ids({"w0": {"cloudbang-tenant": "other"}, "gone": {"a": "b"}})
    second = host.open_database()
    try:
        assert [(pod.name, pod.tenant) for pod in second.pods()] == [("web-0", "other")]
        assert second.ports()["w0"].external_ids["cloudbang-netns"] == "/run/netns/x"
        assert pod_of(second.ports()["w1"]) is None
    finally:
        second.stop()


def test_keys_of_the_switch_itself(host: PrivateHost, database: Ovsdb) -> None:
    database.set_other_config({"flow-restore-wait": "true"})
    assert "true" in host.vsctl("get", "Open_vSwitch", ".", "other_config:flow-restore-wait")
    database.set_other_config({"flow-restore-wait": None, "unknown": None})
    assert host.vsctl("get", "Open_vSwitch", ".", "other_config").strip() == "{}"


def test_a_change_by_others_is_seen(host: PrivateHost, database: Ovsdb) -> None:
    seen: queue.SimpleQueue[bool] = queue.SimpleQueue()
    database.watch(seen.put)
    host.vsctl("add-port", BRIDGE, "w0")
    assert seen.get(timeout=10) is False
    wait(lambda: "w0" in database.ports())
    host.vsctl("del-port", BRIDGE, "w0")
    wait(lambda: "w0" not in database.ports())


def test_a_restart_of_the_switch_is_told_when_it_has_its_bridges(host: PrivateHost, database: Ovsdb) -> None:
    number = database.add_port(BRIDGE, NewPort("w0"))
    flows: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
    database.watch(lambda restarted: flows.put(host.flows(BRIDGE)) if restarted else None)
    run("ovs-ofctl", "add-flow", f"unix:{host.rundir}/{BRIDGE}.mgmt", "actions=drop")
    for _ignored in range(2):
        host.stop_switch()
        host.start_switch()
        # The bridge answered, and what it had is lost.
        assert flows.get(timeout=15) == []
        assert database.ports()["w0"].ofport == number
    assert database.add_port(BRIDGE, NewPort("w1")) > number


def test_a_restart_of_the_database_is_survived(host: PrivateHost, database: Ovsdb) -> None:
    database.add_port(BRIDGE, NewPort("w0"))
    seen: list[set[str]] = []
    database.watch(lambda _: seen.append(set(database.ports())))
    host.stop_database()
    host.start_database()
    assert database.add_port(BRIDGE, NewPort("w1")) > 0
    assert {"w0", "w1"} <= set(database.ports())
    # Nobody takes the pods' ports for gone meanwhile.
    assert seen and all("w0" in ports for ports in seen)


def test_a_watcher_that_fails_does_no_harm(database: Ovsdb, caplog: pytest.LogCaptureFixture) -> None:
    database.watch(lambda _: 1 // 0)  # type: ignore[arg-type]
    assert database.add_port(BRIDGE, NewPort("w0")) == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_switch_that_does_not_run_is_an_error_in_time(host: PrivateHost, database: Ovsdb) -> None:
    impatient = host.open_database(timeout=1.0)
    host.stop_switch()
    try:
        with pytest.raises(OvsdbError, match=r"within 1 s. See `systemctl status ovs-vswitchd"):
            impatient.change(BRIDGE, add=[NewPort("w0")])
    finally:
        host.start_switch()
        impatient.stop()
    # It has what was asked for when it is back.
    wait(lambda: database.ports()["w0"].ofport == 1)


def test_a_watcher_may_not_wait_for_its_own_thread(host: PrivateHost, database: Ovsdb) -> None:
    problems: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def waits(_ignored: bool) -> None:
        try:
            database.remove_port(BRIDGE, "w0")
        except RuntimeError as error:
            problems.put(error)

    database.watch(waits)
    host.vsctl("add-port", BRIDGE, "w0")
    assert "waits for the thread" in str(problems.get(timeout=10))


def test_without_a_database_there_is_an_error(tmp_path: Path) -> None:
    absent = Ovsdb(tmp_path, timeout=0.5)
    for _ignored in range(2):
        with pytest.raises(OvsdbError, match=r"db\.sock: .*See `systemctl status ovsdb-server`"):
            absent.start()


def test_a_stopped_one_refuses(host: PrivateHost) -> None:
    opened = host.open_database()
    opened.stop()
    with pytest.raises(OvsdbError, match="ended"):
        opened.remove_port(BRIDGE, "w0")
