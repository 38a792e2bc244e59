# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host says about itself, on the host that runs the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.preflight import examine as examine_module
from ansible_collections.cloudbang.platform.plugins.module_utils.preflight.examine import (
    disks,
    examine,
    fsync_seconds,
    listeners,
    outcome,
    packages_unknown,
    probe,
    proxies,
    sizes,
    socket_address,
    versions,
)

SECONDS = {"tcp": 1.0, "udp": 0.3}


def test_a_listener_has_address_port_and_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (one,) = [one for one in listeners() if one["port"] == port and one["protocol"] == "tcp"]
    assert one["address"] == "127.0.0.1"
    assert one["process"] == Path("/proc/self/comm").read_text(encoding="utf-8").strip()


def test_addresses_of_the_kernel_are_read() -> None:
    assert socket_address("0100007F:1F90") == ("127.0.0.1", 8080)
    assert socket_address("00000000000000000000000001000000:0016") == ("::1", 22)


def test_open_closed_and_silent_ports_differ() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        free = closed_port()
        targets = [
            ("127.0.0.1", server.getsockname()[1], "tcp", 0),
            ("127.0.0.1", free, "tcp", 0),
            ("127.0.0.1", free, "udp", 0),
            ("127.0.0.1", silent.getsockname()[1], "udp", 1500),
        ]
        start = time.monotonic()
        assert probe(targets, SECONDS) == ["open", "refused", "refused", "timeout"]
    assert time.monotonic() - start < 1


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_full_packet_is_tried_only_where_it_says_something() -> None:
    assert sizes("tcp", 1500) == (0,)
    assert sizes("udp", 1500) == (0, 1500)
    assert sizes("udp", 0) == (0,)
    assert outcome(90) == "mtu"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    assert fsync_seconds(str(tmp_path / "not" / "there")) is not None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_measured_above(tmp_path: Path) -> None:
    found = disks([str(tmp_path / "later"), str(tmp_path)])
    assert found[str(tmp_path / "later")]["device"] == os.stat(tmp_path).st_dev
    assert len(found) == 2


def test_credentials_of_a_proxy_are_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:3128")
    assert proxies()["https_proxy"] == "http://***@proxy:3128"


@pytest.mark.parametrize(
    ("text", "version"),
    [("Kubernetes v1.36.3\n", "1.36.3"), ("etcd Version: 3.6.5\nGit SHA: x\n", "3.6.5"), ("", None)],
)
def test_versions_are_read(monkeypatch: pytest.MonkeyPatch, text: str, version: str | None) -> None:
    monkeypatch.setattr(examine_module, "command", lambda *_words: text)
    assert versions(["kubelet.service"]).get("kubelet") == version


def test_the_address_that_ssh_came_to_is_found_above_a_changed_environment() -> None:
    inner = "import sys; sys.path[:0] = sys.argv[1].split(':'); "
    inner += f"from {examine_module.__name__} import ssh_address; print(ssh_address())"
    asked = [sys.executable, "-c", inner, ":".join(sys.path)]
    outer = f"import subprocess; subprocess.run({asked!r}, env={{}}, check=True)"
    environment = {"SSH_CONNECTION": "198.51.100.7 50022 192.0.2.21 22"}
    done = subprocess.run([sys.executable, "-c", outer], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "192.0.2.21"


@pytest.mark.skipif(
    not any("_Packages" in path.name for path in Path("/var/lib/apt/lists").glob("*")), reason="apt has no lists here"
)
def test_packages_that_apt_does_not_know() -> None:
    # One that is installed, one that is to be had, one that there is not.
    assert packages_unknown(["dpkg", "zsh", "no-such-package"]) == ["no-such-package"]
    assert packages_unknown([]) == []


@pytest.mark.parametrize(
    ("settings", "result"),
    [
        (
            "cluster_cidr: 10.244.0.0/16\nencapsulation: gre\nmtu: null\n",
            {"name": "goodnet", "encapsulation": "gre", "cluster_cidr": "10.244.0.0/16"},
        ),
        ("", {}),
    ],
)
def test_what_goodnet_runs_with(monkeypatch: pytest.MonkeyPatch, settings: str, result: dict[str, str]) -> None:
    monkeypatch.setattr(examine_module, "text", lambda _path: settings)
    assert examine_module.network() == result


def test_everything_is_there_and_quick() -> None:
    start = time.monotonic()
    found = examine({"disks": ["/var/lib"], "units": {"etcd.service": ""}})
    assert time.monotonic() - start < 3
    assert found["reached"]
    assert found["memory"] > 0
    assert found["cores"] > 0
    assert found["hostname"] == socket.gethostname()
    assert set(found["features"]) == set(examine_module.FEATURES)
