# SPDX-License-Identifier: GPL-3.0-or-later
"""goodnetctl: what it prints and how it ends, with a server on a real socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from goodnet import ctl
from goodnet.cni import server

SHOWN: dict[str, Any] = {
    "node": "alpha",
    "ready": True,
    "why": None,
    "encapsulation": "vxlan",
    "datapath": "netdev",
    "mtu": 1450,
    "lists": {"nodes": True, "pods": True},
    "provider": {"edge": True, "master": True, "holder": "alpha"},
    "hosts": [
        {"name": "alpha", "address": "192.0.2.1", "underlay": "172.16.0.1", "pods": "10.244.1.0/24", "edge": True},
        {"name": "beta", "address": "192.0.2.2", "underlay": "172.16.0.2", "pods": "10.244.2.0/24", "edge": False},
    ],
    "tenants": [
        {
            "name": "red",
            "vni": 1,
            "network": "isolated",
            "peers": ["blue"],
            "namespaces": ["red", "red-test"],
            "pods": 1,
            "external": "203.0.113.9",
            "edge": None,
        },
        {
            "name": "blue",
            "vni": 2,
            "network": "open",
            "peers": [],
            "namespaces": ["blue"],
            "pods": 0,
            "external": None,
            "edge": None,
        },
    ],
    "pods": [{"namespace": "red", "name": "web", "address": "10.244.1.2", "tenant": "red", "port": 10}],
    "policies": ["red/closed"],
    "problems": [],
}
STATUS = """\
node      alpha
ready     yes
network   vxlan over the netdev datapath, MTU 1450
API       in contact
policies  red/closed
problems  none

HOST   PODS           TUNNEL
alpha  10.244.1.0/24  172.16.0.1  edge
beta   10.244.2.0/24  172.16.0.2

POD      ADDRESS     TENANT  PORT
red/web  10.244.1.2  red     10
"""
TENANTS = """\
TENANT  VNI  NETWORK          PODS  EXTERNAL                NAMESPACES
red     1    isolated, +blue  1     203.0.113.9 on no host  red,red-test
blue    2    open             0                             blue
"""
PROVIDER = """\
holder    alpha
this host an edge host, master

TENANT  EXTERNAL     HOLDER
red     203.0.113.9
"""
TRACED: dict[str, Any] = {
    "passes": False,
    "steps": ["table  0: it comes in from a pod's port"],
    "verdict": "It is dropped in table 10: because.",
    "advice": "Do this.",
    "flow": "tcp",
    "trace": "Flow: tcp\n",
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the agent answers, by op; with what it was asked under "asked"."""
    given: dict[str, Any] = {"show": SHOWN, "trace": TRACED, "provider": {"master": True}, "asked": []}

    def handler(op: str) -> server.Handler:
        def handle(request: dict[str, Any]) -> server.Answer:
            given["asked"].append(request)
            answer: server.Answer = given[op]
            return answer

        return handle

    running = server.Server(tmp_path / "agent.sock", {op: handler(op) for op in ("show", "trace", "provider")})
    running.start()
    yield given
    running.stop()


@pytest.fixture
def goodnetctl(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(ctl, "ROLE_FILE", tmp_path / "provider")

    def call(*arguments: str) -> tuple[int, str, str]:
        status = ctl.main([arguments[0], *arguments[1:]], socket=str(tmp_path / "agent.sock"))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.mark.parametrize(("command", "expected"), [("status", STATUS), ("tenants", TENANTS), ("provider", PROVIDER)])
def test_tables(answers: dict[str, Any], goodnetctl: Run, command: str, expected: str) -> None:
    assert goodnetctl(command) == (0, expected, "")


@pytest.mark.parametrize(
    ("command", "expected"), [("status", SHOWN), ("tenants", SHOWN["tenants"]), ("trace red/web red/db", TRACED)]
)
def test_json(answers: dict[str, Any], goodnetctl: Run, command: str, expected: Any) -> None:
    _ignored, printed, _ignored = goodnetctl(*command.split(), "--json")
    found = json.loads(printed)
    assert (found if isinstance(found, list) else {key: found[key] for key in expected}) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"ready": False, "why": "the API has not told of the cluster yet"},
            "no: the API has not told of the cluster yet",
        ),
        ({"ready": False, "why": "x", "lists": {"nodes": False, "pods": True}}, "away for nodes; the last state stays"),
        (
            {"ready": False, "problems": ["Node beta: bad", "Node c: bad"]},
            "problems  Node beta: bad\n          Node c: bad",
        ),
    ],
)
def test_a_host_that_is_not_ready(answers: dict[str, Any], goodnetctl: Run, change: dict[str, Any], said: str) -> None:
    answers["show"] = {**SHOWN, **change}
    status, printed, _ignored = goodnetctl("status")
    assert status == ctl.NO
    assert said in printed


def test_a_trace_asks_for_what_was_said(answers: dict[str, Any], goodnetctl: Run) -> None:
    status, printed, _ignored = goodnetctl("trace", "red/web", "10.244.2.9", "--port", "53", "--protocol", "udp")
    assert status == ctl.NO
    assert printed == "table  0: it comes in from a pod's port\n\nIt is dropped in table 10: because.\nDo this.\n"
    wanted = {"op": "trace", "source": "red/web", "destination": "10.244.2.9", "port": 53, "protocol": "udp"}
    assert answers["asked"] == [wanted]
    answers["trace"] = {**TRACED, "passes": True}
    status, printed, _ignored = goodnetctl("trace", "red/web", "red/db", "--verbose")
    assert (status, printed.endswith("\n\nFlow: tcp\n")) == (ctl.OK, True)


def test_keepalived_is_heard_with_and_without_agent(goodnetctl: Run, request: pytest.FixtureRequest) -> None:
    status, _ignored, said = goodnetctl("provider", "master")
    assert (status, ctl.ROLE_FILE.read_text()) == (0, "master\n")
    assert "the agent does not run and will see it" in said
    answers = request.getfixturevalue("answers")
    assert goodnetctl("provider", "backup") == (0, "", "")
    assert ctl.ROLE_FILE.read_text() == "backup\n"
    assert answers["asked"] == [{"op": "provider"}]


def test_without_agent_people_are_told_where_to_look(goodnetctl: Run) -> None:
    status, printed, said = goodnetctl("status")
    assert (status, printed) == (ctl.ERROR, "")
    assert "systemctl status goodnet-agent" in said


def test_flows_are_counted_by_table() -> None:
    dump = """\
OFPST_FLOW reply (OF1.4) (xid=0x2):
 cookie=0x676e00030af40102, duration=1.2s, table=10, n_packets=7, n_bytes=9, priority=100,ip actions=goto_table:20
 cookie=0x676e000000000000, duration=1.2s, table=10, n_packets=3, n_bytes=9, priority=200,udp,tp_dst=4789 actions=drop
 cookie=0x676e0001c0000202, duration=1.2s, table=30, n_packets=0, n_bytes=0, idle_age=1, priority=190,ip actions=drop
"""
    rows = ctl.flow_rows(dump)
    assert [(row["table"], row["name"], row["flows"], row["packets"], row["dropped"]) for row in rows] == [
        (10, "from pod", 2, 10, 3),
        (30, "route", 1, 0, 0),
    ]
    assert rows[0]["kinds"] == {"pods": 1, "pipeline": 1}
    last = ctl.flows_text(rows).splitlines()[-1]
    assert last.split() == ["all", "3", "10", "3"]
