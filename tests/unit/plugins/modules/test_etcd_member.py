# SPDX-License-Identifier: GPL-3.0-or-later
"""How an etcd member starts: every combination of own data, an earlier founding and the other members."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.modules import etcd_member

FOUNDERS = {"etcd1": "https://10.0.0.1:2380", "etcd2": "https://10.0.0.2:2380", "etcd3": "https://10.0.0.3:2380"}
CLUSTER = "ETCD_INITIAL_CLUSTER=" + ",".join(f"{name}={url}" for name, url in FOUNDERS.items())


class Host:
    """etcd3 with its data directory and a made-up cluster of the others behind etcdctl."""

    def __init__(self, root: Path, program: Callable[[str, str], Path], run: Callable[..., dict[str, Any]]) -> None:
        self.root, self.program, self.run = root, program, run
        self.environment = root / "etc" / "bootstrap.env"
        self.mark = root / "run" / "may-start-empty"
        self.arguments = {
            "name": "etcd3",
            "peer_url": FOUNDERS["etcd3"],
            "endpoints": [url.replace("2380", "2379") for url in FOUNDERS.values()],
            "founders": FOUNDERS,
            "founded": False,
            "data_dir": str(root / "data"),
            "environment_file": str(self.environment),
            "timeout": 0,
            "mark": str(self.mark),
        }

    def data(self) -> None:
        (self.root / "data" / "member" / "wal").mkdir(parents=True)
        (self.root / "data" / "member" / "wal" / "0000000000000000-0000000000000000.wal").touch()

    def failed_start(self) -> None:
        (self.root / "data" / "member" / "snap").mkdir(parents=True)
        (self.root / "data" / "member" / "snap" / "db").touch()

    def cluster(self, members: list[dict[str, Any]], refuse: str = "", healthy: bool = True) -> None:
        """Make up what etcdctl says. `refuse` is a subcommand that fails."""
        (self.root / "members").write_text(json.dumps({"members": members}))
        self.program(
            "etcdctl",
            f"""
case "$*" in
  *"{refuse or "nothing"}"*) echo "refused because" >&2; exit 1 ;;
  *"member list"*) cat {self.root / "members"} ;;
  *health*) exit {0 if healthy else 1} ;;
esac""",
        )
        self.program("systemctl", "")

    def __call__(self, check: bool = False, **more: Any) -> dict[str, Any]:
        return self.run(etcd_member, {**self.arguments, **more}, check)

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture()
def host(
    tmp_path: Path,
    program: Callable[[str, str], Path],
    run_module: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Host:
    original = etcd_member.Etcdctl.__init__

    def init(self: etcd_member.Etcdctl, module: Any) -> None:
        original(self, module)
        self.base[0] = str(tmp_path / "bin" / "etcdctl")

    monkeypatch.setattr(etcd_member.Etcdctl, "__init__", init)
    return Host(tmp_path, program, run_module)


def member(name: str, number: int, started: bool = True) -> dict[str, Any]:
    return {"ID": number, "name": name if started else "", "peerURLs": [f"https://10.0.0.{number}:2380"]}


TWO = [member("etcd1", 1), member("etcd2", 2)]


def test_the_first_run_founds(host: Host) -> None:
    assert host(check=True) == {"changed": True, "how": "founding"} and not host.environment.exists()
    assert not host.mark.exists()
    assert host() == {"changed": True, "how": "founding"}
    assert host.mark.exists()
    assert host.environment.read_text() == f"ETCD_INITIAL_CLUSTER_STATE=new\n{CLUSTER}\n"
    assert host.environment.stat().st_mode & 0o777 == 0o600
    assert host() == {"changed": False, "how": "founding"}
    assert host.calls == []


@pytest.mark.parametrize("founded", [False, True])
def test_a_member_with_data_is_left_alone(host: Host, founded: bool) -> None:
    host.data()
    assert host(founded=founded, check=True) == {"changed": True, "how": "member"} and not host.environment.exists()
    assert host(founded=founded) == {"changed": True, "how": "member"}
    assert host(founded=founded) == {"changed": False, "how": "member"}
    assert host.calls == [] and not host.mark.exists()


@pytest.mark.parametrize(
    ("members", "orders"),
    [
        (TWO, ["member add etcd3 --peer-urls=https://10.0.0.3:2380"]),
        ([*TWO, member("etcd3", 3, started=False)], []),
        (
            [*TWO, member("etcd3", 3)],
            ["member remove 3", "member add etcd3 --peer-urls=https://10.0.0.3:2380"],
        ),
    ],
    ids=["new member", "added by a stopped run", "lost its data"],
)
@pytest.mark.parametrize("failed_start", [False, True])
def test_joining(host: Host, members: list[dict[str, Any]], orders: list[str], failed_start: bool) -> None:
    host.cluster(members)
    if failed_start:
        host.failed_start()
    assert host(founded=True, check=True) == {"changed": True, "how": "joined"} and not host.environment.exists()
    assert not any("member add" in call or "member remove" in call for call in host.calls)
    assert host(founded=True) == {"changed": True, "how": "joined"}
    given = [call.split("10.0.0.2:2379 ")[1] for call in host.calls if "member add" in call or "member remove" in call]
    assert given == orders
    orders = [call for call in host.calls if call.startswith("systemctl")]
    assert orders == ["systemctl daemon-reload", "systemctl stop etcd.service", "systemctl start etcd.service"]
    text = host.environment.read_text()
    assert text.startswith("ETCD_INITIAL_CLUSTER_STATE=existing\n") and "etcd1=https://10.0.0.1:2380" in text
    assert not (host.root / "data" / "member").exists()


def test_a_second_cluster_is_never_founded(host: Host) -> None:
    host.cluster(TWO, refuse="member list")
    answer = host(founded=True)
    assert answer["failed"] and not host.environment.exists()
    assert "no quorum among https://10.0.0.1:2379, https://10.0.0.2:2379" in answer["msg"]
    assert host(founded=True, check=True) == {"changed": True, "how": "joined"}


def test_the_only_member_that_lost_its_data_is_not_founded_again(host: Host) -> None:
    answer = host(founded=True, endpoints=["https://10.0.0.3:2379"], founders={"etcd3": FOUNDERS["etcd3"]})
    assert answer["failed"] and "no quorum among no other members" in answer["msg"]


@pytest.mark.parametrize(
    ("refuse", "healthy", "message"),
    [
        ("member add", True, "the cluster refused to add https://10.0.0.3:2380: refused because"),
        ("member remove", True, "its data is gone and it could not be removed: refused because"),
        ("", False, "joined, but does not answer at https://10.0.0.3:2379"),
    ],
)
def test_what_fails_is_named(host: Host, refuse: str, healthy: bool, message: str) -> None:
    host.cluster([*TWO, member("etcd3", 3)], refuse, healthy)
    answer = host(founded=True)
    assert answer["failed"] and message in answer["msg"]
