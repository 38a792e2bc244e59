# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says about itself, on the host that runs the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.host import examine as examine_module
from ansible_collections.cloudbang.platform.plugins.module_utils.host.examine import (
    disks,
    examine,
    fsync_seconds,
    listeners,
    other_services,
    outcome,
    packages_unknown,
    packet_filters,
    probe,
    proxies,
    sizes,
    socket_address,
    swaps_at_boot,
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
    ("lines", "result"),
    [
        ('HTTP_PROXY="http://me:secret@proxy:3128/"\nno_proxy=10.0.0.0/8\n', ("http://***@proxy:3128/", "10.0.0.0/8")),
        ("# http_proxy=x\nexport http_proxy='http://proxy:3128' \n", ("http://proxy:3128", None)),
        ("PATH=/usr/bin\n", (None, None)),
    ],
)
def test_the_proxy_of_the_host_is_found(
    monkeypatch: pytest.MonkeyPatch, lines: str, result: tuple[str | None, str | None]
) -> None:
    monkeypatch.setattr(examine_module, "text", {"/etc/environment": lines}.__getitem__)
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert (proxies().get("http_proxy"), proxies().get("no_proxy")) == result
    monkeypatch.setenv("http_proxy", "http://other:1")
    assert proxies()["http_proxy"] == "http://other:1"


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("/dev/sda2 none swap sw 0 0", ["/dev/sda2"]),
        ("  /swapfile\tswap\tswap\tdefaults", ["/swapfile"]),
        ("UUID=1 none swap sw,noauto 0 0", []),
        ("#/dev/sda2 none swap sw 0 0", []),
        ("/dev/sda1 /swap ext4 defaults 0 1", []),
        ("", []),
    ],
)
def test_swap_of_the_next_boot(monkeypatch: pytest.MonkeyPatch, line: str, result: list[str]) -> None:
    monkeypatch.setattr(examine_module, "text", {"/etc/fstab": line + "\n"}.__getitem__)
    assert swaps_at_boot() == result


SHOWN = """\
Id=containerd.service
LoadState=loaded
ActiveState=active
FragmentPath={place}/containerd.service
UnitFileState=enabled

Id=crio.service
LoadState=not-found
ActiveState=inactive
FragmentPath=
UnitFileState=

Id=docker.service
LoadState=masked
ActiveState=inactive
FragmentPath=/etc/systemd/system/docker.service
UnitFileState=masked
"""


@pytest.mark.parametrize(("place", "found"), [("/usr/lib/systemd/system", True), ("/etc/systemd/system", False)])
def test_services_of_others_are_told_from_ours(monkeypatch: pytest.MonkeyPatch, place: str, found: bool) -> None:
    monkeypatch.setattr(examine_module, "command", lambda *_words: SHOWN.format(place=place))
    monkeypatch.setattr(examine_module, "text", lambda _path: '{"/etc/systemd/system/containerd.service": "file"}')
    services = other_services(["containerd.service", "crio.service", "docker.service"])
    assert list(services) == (["containerd.service"] if found else [])
    assert all(
        one == {"path": f"{place}/containerd.service", "active": "active", "enabled": "enabled"}
        for one in services.values()
    )


def test_a_host_without_systemd_has_no_services_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine_module, "command", lambda *_words: "")
    monkeypatch.setattr(examine_module, "text", lambda _path: "")
    assert other_services(["containerd.service"]) == {}


@pytest.mark.parametrize(
    ("ufw", "firewalld", "result"),
    [
        ("ENABLED=yes\n", {}, ["ufw"]),
        ("# ENABLED=yes\nENABLED=no\n", {"active": "inactive", "enabled": "disabled"}, []),
        ("", {"active": "active", "enabled": "disabled"}, ["firewalld"]),
        ("", {"active": "inactive", "enabled": "enabled"}, ["firewalld"]),
    ],
)
def test_who_manages_the_packet_filter(
    monkeypatch: pytest.MonkeyPatch, ufw: str, firewalld: dict[str, str], result: list[str]
) -> None:
    monkeypatch.setattr(examine_module, "text", {"/etc/ufw/ufw.conf": ufw}.__getitem__)
    assert packet_filters({"firewalld.service": firewalld} if firewalld else {}) == result


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
