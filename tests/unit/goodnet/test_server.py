# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods come and go on a real host: addresses, wires, ports and flows, also with an agent killed between two steps."""

from __future__ import annotations

import errno
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from private_host import PrivateHost, inside, run
from test_cni import Plugin
from test_underlay import ECHO

from goodnet.cni.ipam import Ipam
from goodnet.cni.pods import Pods, Settings, handlers
from goodnet.cni.server import Server
from goodnet.errors import BAD_ENVIRONMENT, DIFFERS, FAILED, NO_ADDRESS, TRY_AGAIN, UNKNOWN_CONTAINER, CniError
from goodnet.host import wiring
from goodnet.model import Pod
from goodnet.ovs import conntrack, flows
from goodnet.ovs.ofctl import Flows
from goodnet.ovs.ovsdb import Ovsdb

BRIDGE = "br-goodnet"
SETTINGS = Settings(BRIDGE, router="0a:58:a9:fe:01:01", mtu=1450, offload=False)


class Agent:
    """The least that an agent does: flows that let the pods of this host reach each other."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        self._flows = Flows(BRIDGE, rundir)
        self.slow = threading.Event()
        self.rounds = 0
        self.away: list[CniError] = []
        self.stuck = False

    def ready(self) -> None:
        for problem in self.away:
            raise problem

    def tenant(self, namespace: str) -> str:
        if namespace == "unknown":
            raise CniError(TRY_AGAIN, f"The namespace {namespace} is not known yet")
        return f"tenant-of-{namespace}"

    def await_labels(self, uid: str) -> None:
        if uid == "slow":
            self.slow.wait(10)

    def forget(self, addresses: Iterable[IPv4Address]) -> None:
        conntrack.forget(self._rundir, "netdev", addresses)

    def install(self, pods: Sequence[Pod]) -> None:
        self.rounds += 1
        if self.stuck:
            raise RuntimeError("The flows can not be written")
        # Through conntrack, so that there is something to forget.
        self._flows.write(
            [
                f"priority=10,ip,nw_dst={pod.address},actions=ct(commit,zone={flows.ZONE}),"
                f"mod_dl_dst:{pod.mac},output:{pod.port}"
                for pod in pods
            ]
        )


class Life:
    """One life of the agent's process, but in this one."""

    def __init__(self, host: PrivateHost, journal: Path) -> None:
        self.host = host
        self.database = host.open_database()
        self.database.ensure_bridge(BRIDGE, "netdev")
        self.ipam = Ipam(journal, IPv4Network("10.244.1.0/26"))
        self.agent = Agent(host.rundir)
        self.pods = Pods(SETTINGS, self.database, self.ipam, self.agent)
        self.agent.install(self.database.pods())

    def end(self) -> None:
        self.database.stop()

    def traces(self) -> dict[str, int]:
        """How much of each kind there is on the host."""
        return {
            "addresses": len(self.ipam.leases()),
            "wires": len(wiring.host_ends()),
            "ports": len([name for name in self.database.ports() if name.startswith(wiring.PREFIX)]),
            "flows": len(self.host.flows(BRIDGE)),
        }


NOTHING = {"addresses": 0, "wires": 0, "ports": 0, "flows": 0}
ONE = {"addresses": 1, "wires": 1, "ports": 1, "flows": 1}


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateHost]:
    with PrivateHost("server") as made:
        yield made


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "ipam.json"


@pytest.fixture
def lives(host: PrivateHost, journal: Path) -> Iterator[Callable[[], Life]]:
    """Starts a life; after the test the host is as empty as before it."""
    begun: list[Life] = []

    def begin() -> Life:
        begun.append(Life(host, journal))
        return begun[-1]

    yield begin
    for life in begun:
        life.end()
    host.vsctl("--if-exists", "del-br", BRIDGE)
    wiring.remove_all(wiring.host_ends())
    host.remove_netns()


@pytest.fixture
def life(lives: Callable[[], Life]) -> Life:
    return lives()


def request(container: str, netns: str, **other: str) -> dict[str, Any]:
    pod = {"namespace": "shop", "name": f"pod-{container}", "uid": f"uid-{container}"}
    return {"container": container, "netns": netns, "ifname": "eth0", **pod, **other}


def reaches(netns: str, address: str) -> bool:
    """Whether an answer comes back from there: that nobody listens on the port is one."""
    code = f"import socket; s = socket.socket(); s.settimeout(5); print(s.connect_ex(('{address}', 9)))"
    return inside(netns, sys.executable, "-c", code).strip() == str(errno.ECONNREFUSED)


def test_a_pod_comes_and_goes(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    answer = life.pods.add(request("c1", netns))
    assert answer == {
        "address": "10.244.1.2",
        "mac": "0a:58:0a:f4:01:02",
        "host": wiring.host_end("c1"),
        "host_mac": "0e:58:0a:f4:01:02",
        "mtu": 1450,
    }
    (pod,) = life.database.pods()
    assert (pod.namespace, pod.name, pod.uid, pod.container) == ("shop", "pod-c1", "uid-c1", "c1")
    assert (str(pod.address), pod.mac, pod.tenant) == ("10.244.1.2", "0a:58:0a:f4:01:02", "tenant-of-shop")
    assert life.traces() == ONE
    assert life.pods.check(request("c1", netns, addresses=["10.244.1.2"])) == {}  # type: ignore[arg-type]
    assert life.pods.status({}) == {"pods": 1, "addresses": 61, "taken": 1}
    life.pods.delete(request("c1", netns))
    assert life.traces() == NOTHING


def test_pods_reach_each_other_when_add_returns(life: Life, host: PrivateHost) -> None:
    spaces = [host.netns("p1"), host.netns("p2")]
    answers = [life.pods.add(request(f"c{number}", netns)) for number, netns in enumerate(spaces)]
    assert reaches(spaces[0], answers[1]["address"])
    # Much data by TCP stalls where checksums are left to hardware.
    serve = (
        "import socket; c, _ = socket.create_server(('', 80)).accept(); n = 0\n"
        "while d := c.recv(65536): n += len(d)\n"
        "print(n)"
    )
    send = f"import socket; socket.create_connection(('{answers[1]['address']}', 80), 5).sendall(bytes(2000000))"
    command = ["ip", "netns", "exec", Path(spaces[1]).name, sys.executable, "-c", serve]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        until = time.monotonic() + 10
        while ":80 " not in inside(spaces[1], "ss", "-ltn") and time.monotonic() < until:
            time.sleep(0.05)
        inside(spaces[0], sys.executable, "-c", send)
        assert server.communicate(timeout=10)[0] == "2000000\n"


def test_add_twice_gives_the_same(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    first = life.pods.add(request("c1", netns))
    port = life.database.ports()[first["host"]].ofport
    assert life.pods.add(request("c1", netns)) == first
    assert life.database.ports()[first["host"]].ofport == port
    assert life.traces() == ONE


def test_add_again_mends_what_was_broken(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    first = life.pods.add(request("c1", netns))
    inside(netns, "ip", "route", "del", "default")
    assert life.pods.add(request("c1", netns)) == first
    assert life.pods.check(request("c1", netns, addresses=[first["address"]])) == {}  # type: ignore[arg-type]
    assert life.traces() == ONE


def test_a_container_in_another_namespace_moves_with_its_address(life: Life, host: PrivateHost) -> None:
    first = life.pods.add(request("c1", host.netns("p1")))
    assert life.pods.add(request("c1", host.netns("p2"))) == first
    assert life.traces() == ONE
    assert life.ipam.leases()["c1"].netns.endswith("p2")


def test_a_second_interface_of_a_pod_is_refused(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    life.pods.add(request("c1", netns))
    with pytest.raises(CniError) as problem:
        life.pods.add(request("c1", netns, ifname="net1"))
    assert problem.value.code == BAD_ENVIRONMENT and "eth0" in problem.value.message
    life.pods.delete(request("c1", netns, ifname="net1"))
    assert life.traces() == ONE


def test_delete_twice_and_of_what_never_was(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    life.pods.add(request("c1", netns))
    rounds = life.agent.rounds
    for container in ("c1", "c1", "never"):
        assert life.pods.delete(request(container, "")) == {}
    assert life.agent.rounds == rounds + 1
    assert life.traces() == NOTHING


def test_flows_that_can_not_be_written_keep_no_pod_from_going(life: Life, host: PrivateHost) -> None:
    life.pods.add(request("c1", host.netns("p1")))
    life.agent.stuck = True
    assert life.pods.delete(request("c1", "")) == {}
    assert life.traces() == {**NOTHING, "flows": 1}


def test_check_says_what_is_missing(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    address = life.pods.add(request("c1", netns))["address"]
    inside(netns, "ip", "route", "del", "default")
    with pytest.raises(CniError) as problem:
        life.pods.check(request("c1", netns, addresses=["10.0.0.9"]))  # type: ignore[arg-type]
    assert problem.value.code == DIFFERS and "shop/pod-c1" in problem.value.message
    assert "routes: found ['169.254.1.1 via None'], wanted" in problem.value.details
    assert f"['10.0.0.9'] in the result of ADD, wanted {address}" in problem.value.details
    for other in (request("c2", netns), request("c1", netns, ifname="net1")):
        with pytest.raises(CniError) as problem:
            life.pods.check({**other, "addresses": [address]})
        assert problem.value.code == UNKNOWN_CONTAINER


def test_gc_removes_what_the_runtime_does_not_name(life: Life, host: PrivateHost) -> None:
    for number in range(4):
        life.pods.add(request(f"c{number}", host.netns(f"p{number}")))
    rounds = life.agent.rounds
    assert life.pods.collect({"valid": [["c0", "eth0"], ["c2", "eth0"], ["other", "eth0"]]}) == {
        "removed": ["c1", "c3"]
    }
    assert [pod.container for pod in life.database.pods()] == ["c0", "c2"]
    assert life.traces() == {"addresses": 2, "wires": 2, "ports": 2, "flows": 2}
    assert life.agent.rounds == rounds + 1
    assert life.pods.collect({"valid": []}) == {"removed": ["c0", "c2"]}
    assert life.traces() == NOTHING


def test_gc_leaves_alone_what_is_being_added(life: Life, host: PrivateHost) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def tenant(namespace: str) -> str:
        begun.set()
        assert go_on.wait(10)
        return namespace

    life.agent.tenant = tenant  # type: ignore[method-assign]
    life.ipam.allocate("c1", "/run/netns/former")
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(life.pods.add, request("c1", host.netns("p1")))
        assert begun.wait(10)
        assert life.pods.collect({"valid": []}) == {"removed": []}
        assert life.pods.repair() == []
        go_on.set()
        assert adding.result()["address"] == "10.244.1.2"
    assert life.traces() == ONE


@pytest.mark.parametrize("why", ["not ready", "namespace", "no netns", "taken name", "flows", "switch", "full"])
def test_an_add_that_fails_leaves_nothing(life: Life, host: PrivateHost, journal: Path, why: str) -> None:
    netns = host.netns("p1")
    asked, code, word = request("c1", netns), TRY_AGAIN, "not known yet"
    if why == "not ready":
        life.agent.away = [CniError(TRY_AGAIN, "The namespaces are not known yet")]
    elif why == "namespace":
        asked = request("c1", netns, namespace="unknown")
    elif why == "no netns":
        asked, code, word = request("c1", netns + "-gone"), UNKNOWN_CONTAINER, netns + "-gone"
    elif why == "taken name":
        inside(netns, "ip", "link", "add", "eth0", "type", "bridge")
        code, word = BAD_ENVIRONMENT, "eth0 already"
    elif why == "flows":
        life.agent.stuck = True
        code, word = 0, "flows can not be written"
    elif why == "switch":
        run("ovs-vsctl", f"--db=unix:{host.rundir}/db.sock", "del-br", BRIDGE)
        code, word = 0, f"no bridge {BRIDGE}"
    else:
        for number in range(61):
            life.ipam.allocate(f"other{number}", netns)
        code, word = NO_ADDRESS, "All 61 addresses"
    with pytest.raises(Exception, match=word) as problem:
        life.pods.add(asked)
    assert getattr(problem.value, "code", 0) == code
    assert "c1" not in life.ipam.leases()
    assert wiring.host_ends() == set()
    assert life.database.pods() == ()


def test_repair_of_a_healthy_host_does_nothing(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    life.pods.add(request("c1", netns))
    port = life.database.pods()
    assert life.pods.repair() == []
    assert life.database.pods() == port and life.traces() == ONE


def test_repair_removes_pods_whose_namespace_is_gone(life: Life, host: PrivateHost) -> None:
    spaces = [host.netns(f"p{number}") for number in range(3)]
    for number, netns in enumerate(spaces):
        life.pods.add(request(f"c{number}", netns))
    host.remove_netns(*spaces[:2])
    rounds = life.agent.rounds
    assert life.pods.repair() == [f"removed what was left of container c{number}" for number in range(2)]
    assert life.agent.rounds == rounds + 1
    assert life.traces() == ONE


def test_repair_wires_a_pod_again_that_lost_its_wire(life: Life, host: PrivateHost) -> None:
    spaces = [host.netns("p1"), host.netns("p2")]
    answers = [life.pods.add(request(f"c{number}", netns)) for number, netns in enumerate(spaces)]
    inside(spaces[0], "ip", "link", "del", "eth0")
    assert life.pods.repair() == ["wired pod shop/pod-c0 again"]
    assert reaches(spaces[0], answers[1]["address"])
    assert life.pods.repair() == []


def test_repair_removes_wires_of_no_pod(life: Life, host: PrivateHost) -> None:
    run("ip", "link", "add", "gn0123456789ab", "type", "veth", "peer", "name", "peer0")
    run("ip", "link", "add", "gnome", "type", "veth", "peer", "name", "peer1")
    assert life.pods.repair() == ["removed the wire gn0123456789ab of no pod"]
    assert "gnome" in run("ip", "link")
    run("ip", "link", "del", "gnome")


def test_a_new_life_knows_pods_and_addresses(lives: Callable[[], Life], host: PrivateHost, journal: Path) -> None:
    life = lives()
    netns = host.netns("p1")
    address = life.pods.add(request("c1", netns))["address"]
    life.end()
    journal.unlink()
    again = lives()
    assert again.traces() == ONE
    assert again.pods.add(request("c1", netns))["address"] == address
    assert again.pods.add(request("c2", host.netns("p2")))["address"] != address
    again.pods.delete(request("c1", netns))
    assert again.traces() == ONE


# What is done in an ADD and a DEL, in this order; a process is killed right after it.
STEPS: dict[str, tuple[Any, str]] = {
    "address": (Ipam, "allocate"),
    "namespace entered": (wiring, "_configure"),
    "wire": (wiring, "create"),
    "port": (Ovsdb, "change"),
    "flows": (Agent, "install"),
    "wire removed": (wiring, "remove_all"),
}


def die_after(step: str) -> None:
    """From now on this process kills itself right after that step. Started by the tests in a process of its own."""
    owner, name = STEPS[step]
    original = getattr(owner, name)

    def last(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, last)


DOOMED = """
import sys
from pathlib import Path
import test_server
from private_host import PrivateHost
host = PrivateHost("server")
life = test_server.Life(host, Path(sys.argv[1]))
test_server.die_after(sys.argv[3])
getattr(life.pods, sys.argv[2])(test_server.request("c1", sys.argv[4]))
"""


def killed(journal: Path, what: str, step: str, netns: str) -> None:
    """An agent does that, and is killed right after the step."""
    command = [sys.executable, "-c", DOOMED, str(journal), what, step, netns]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("then", ["delete", "add", "gone", "gc"])
@pytest.mark.parametrize("step", ["address", "namespace entered", "wire", "port", "flows"])
def test_killed_in_an_add(lives: Callable[[], Life], host: PrivateHost, journal: Path, step: str, then: str) -> None:
    netns = host.netns("p1")
    killed(journal, "add", step, netns)
    life = lives()
    if then == "delete":
        life.pods.delete(request("c1", netns))
    elif then == "gone":
        host.remove_netns(netns)
        assert life.pods.repair() == ["removed what was left of container c1"]
    elif then == "gc":
        assert life.pods.collect({"valid": []}) == {"removed": ["c1"]}
    else:
        other = life.pods.add(request("c2", host.netns("p2")))
        mine = life.pods.add(request("c1", netns))
        assert mine["address"] == "10.244.1.2" and other["address"] == "10.244.1.3"
        assert reaches(netns, other["address"])
        life.pods.delete(request("c2", ""))
        assert life.traces() == ONE
        life.pods.delete(request("c1", netns))
    assert life.traces() == NOTHING
    assert life.pods.repair() == []


@pytest.mark.parametrize("then", ["delete", "gone"])
@pytest.mark.parametrize("step", ["port", "flows", "wire removed"])
def test_killed_in_a_delete(lives: Callable[[], Life], host: PrivateHost, journal: Path, step: str, then: str) -> None:
    netns = host.netns("p1")
    before = lives()
    before.pods.add(request("c1", netns))
    before.end()
    killed(journal, "delete", step, netns)
    life = lives()
    assert "c1" in life.ipam.leases()
    if then == "delete":
        life.pods.delete(request("c1", netns))
    else:
        host.remove_netns(netns)
        assert life.pods.repair() == ["removed what was left of container c1"]
    assert life.traces() == NOTHING
    assert life.pods.repair() == []


def test_add_and_delete_of_one_container_do_not_mix(life: Life, host: PrivateHost) -> None:
    netns = host.netns("p1")
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(what, request("c1", netns)) for what in (life.pods.add, life.pods.delete) * 3]
        for one in asked:
            one.result()
    life.pods.add(request("c1", netns))
    assert life.traces() == ONE
    assert life.pods.repair() == []


def test_one_bad_pod_does_not_spoil_the_others_of_its_round(life: Life, host: PrivateHost) -> None:
    spaces = [host.netns(f"p{number}") for number in range(6)]
    taken = spaces[3]
    inside(taken, "ip", "link", "add", "eth0", "type", "bridge")

    def add(number: int) -> str:
        try:
            return str(life.pods.add(request(f"c{number}", spaces[number]))["address"])
        except CniError as problem:
            return problem.message

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(add, range(6)))
    assert f"The network namespace {taken} has an interface eth0 already" in found
    assert life.traces() == {"addresses": 5, "wires": 5, "ports": 5, "flows": 5}


def test_a_burst_of_pods_by_the_real_plugin(life: Life, host: PrivateHost, tmp_path: Path, capsys: Any) -> None:
    plugin = Plugin(tmp_path)
    server = Server(plugin.socket, handlers(life.pods))
    server.start()
    spaces = [host.netns(f"p{number}") for number in range(30)]
    start = threading.Barrier(len(spaces))

    def add(number: int) -> tuple[float, str]:
        environment = {
            "CNI_CONTAINERID": f"c{number}",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": spaces[number],
            "CNI_ARGS": f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-{number};K8S_POD_UID=u{number}",
        }
        start.wait()
        began = time.monotonic()
        code, result = plugin("ADD", environment)
        assert code == 0, result
        return time.monotonic() - began, result["ips"][0]["address"].partition("/")[0]

    rounds = life.agent.rounds
    with ThreadPoolExecutor(len(spaces)) as pool:
        done = list(pool.map(add, range(len(spaces))))
    rounds = life.agent.rounds - rounds
    server.stop()
    times = sorted(1000 * seconds for seconds, _ignored in done)
    with capsys.disabled():
        print(f"\n30 ADDs: p50 {statistics.median(times):.0f} ms, p99 {times[-1]:.0f} ms, in {rounds} rounds")
    assert len({address for _ignored, address in done}) == 30
    assert life.traces() == dict.fromkeys(NOTHING, 30)
    assert rounds < 30
    assert reaches(spaces[0], done[29][1])
    assert life.pods.repair() == []


def connections(host: PrivateHost) -> str:
    """Return what the switch remembers of connections in the overlay."""
    process = (host.rundir / "ovs-vswitchd.pid").read_text().strip()
    target = str(host.rundir / f"ovs-vswitchd.{process}.ctl")
    return run("ovs-appctl", "-t", target, "dpctl/dump-conntrack", f"zone={flows.ZONE}")


@pytest.mark.parametrize("partial", [True, False], ids=["partly told", "told one by one"])
def test_connections_of_a_pod_go_with_it(
    life: Life, host: PrivateHost, monkeypatch: pytest.MonkeyPatch, partial: bool
) -> None:
    if not partial:
        # As before Open vSwitch 3.1, which asks for the ports as well.
        original = conntrack._Switch.ask

        def older(switch: conntrack._Switch, command: str, *arguments: str) -> str:
            if command == "flush-conntrack" and "ct_nw_proto" not in arguments[-1]:
                raise conntrack._Refused("ports are missing")
            return original(switch, command, *arguments)

        monkeypatch.setattr(conntrack._Switch, "ask", older)
    spaces = [host.netns(f"p{number}") for number in range(3)]
    addresses = [life.pods.add(request(f"c{number}", netns))["address"] for number, netns in enumerate(spaces)]
    for source, destination in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 2)):
        assert reaches(spaces[source], addresses[destination])
    assert inside(spaces[1], sys.executable, "-c", ECHO, addresses[0]).strip() == "1"
    assert connections(host).count(f"={addresses[1]},") >= 8
    life.pods.delete(request("c1", spaces[1]))
    assert addresses[1] not in connections(host)
    assert addresses[0] in connections(host)


def test_an_address_whose_connections_cannot_be_forgotten_is_not_given_away(
    life: Life, host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    netns = host.netns("p1")
    life.pods.add(request("c1", netns))
    with monkeypatch.context() as patch:
        patch.setattr(conntrack, "ZONE", "nonsense")
        with pytest.raises(OSError, match=r"connections of 10\.244\.1\.2 .* cannot be removed"):
            life.pods.delete(request("c1", netns))
    assert "c1" in life.ipam.leases()
    life.pods.delete(request("c1", netns))
    assert life.traces() == NOTHING


def test_a_pod_whose_labels_are_not_known_yet_holds_up_nobody_else(life: Life, host: PrivateHost) -> None:
    life.pods.add(request("c1", host.netns("p1")))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(life.pods.add, request("c2", host.netns("p2"), uid="slow"))
        try:
            while len(life.ipam.leases()) < 2:
                time.sleep(0.01)
            life.pods.add(request("c3", host.netns("p3")))
            life.pods.delete(request("c1", ""))
            assert not slow.done()
        finally:
            life.agent.slow.set()
        assert slow.result()["address"] == "10.244.1.3"


def test_a_request_that_lacks_something_is_answered(life: Life, tmp_path: Path) -> None:
    plugin = Plugin(tmp_path)
    server = Server(plugin.socket, {**handlers(life.pods), "trace": lambda asked: {"pods": asked["pods"]}})
    server.start()
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(sys.argv[2].encode()); print(s.makefile().readline())"
    )
    try:
        first = run(sys.executable, "-c", code, str(plugin.socket), '{"op": "trace", "pods": ["a", "b"]}\n')
        second = run(sys.executable, "-c", code, str(plugin.socket), '{"op": "trace"}\n')
    finally:
        server.stop()
    assert '"pods": ["a", "b"]' in first
    assert f'"code": {FAILED}' in second and "KeyError: 'pods'" in second
