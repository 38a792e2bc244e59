# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages are missing, and when apt is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.modules import converge

STATUS = r"""cat <<'END'
installed curl
installed libc6 libc6-2.36
installed nftables
installed mawk awk
installed libssl3:amd64 libssl (= 3.0), libcrypto:amd64
config-files haproxy
unpacked keepalived
END"""

Run = Callable[..., dict[str, Any]]
Program = Callable[[str, str], Path]


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ([], []),
        (["curl", "nftables"], []),
        (["awk"], []),
        (["libssl3", "libcrypto"], []),
        (["haproxy"], ["haproxy"]),
        (["keepalived", "curl", "none"], ["keepalived", "none"]),
    ],
)
def test_what_is_missing(run_module: Run, program: Program, names: list[str], missing: list[str]) -> None:
    program("dpkg-query", STATUS)
    program("apt-get", "exit 1")
    answer = run_module(converge, {"packages": names}, True)
    assert (answer["changed"], answer["installed"]) == (bool(missing), missing)


def test_apt_is_not_asked_for_what_is_there(run_module: Run, program: Program, tmp_path: Path) -> None:
    program("dpkg-query", STATUS)
    program("apt-get", "exit 1")
    answer = run_module(converge, {"packages": ["curl"]})
    assert (answer["changed"], answer["installed"]) == (False, [])
    assert "apt-get" not in (tmp_path / "calls").read_text()


def test_lists_are_updated_only_when_needed(run_module: Run, program: Program, tmp_path: Path) -> None:
    program("dpkg-query", STATUS)
    program("dpkg", "")
    script = f'case "$*" in *update) touch {tmp_path}/updated ;; *) test -e {tmp_path}/updated ;; esac'
    program("apt-get", script)
    answer = run_module(converge, {"packages": ["haproxy"]})
    assert (answer["changed"], answer["installed"]) == (True, ["haproxy"])
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    orders = [f"{call[0]} {call[-1]}" for call in calls if call and call[0] in ("apt-get", "dpkg")]
    assert orders == ["apt-get haproxy", "apt-get update", "dpkg -a", "apt-get haproxy"]


def test_what_apt_says_is_told(run_module: Run, program: Program) -> None:
    program("dpkg-query", STATUS)
    program("dpkg", "")
    program("apt-get", "echo 'E: Unable to locate package haproxy' >&2; exit 100")
    answer = run_module(converge, {"packages": ["haproxy"]})
    assert answer["failed"] and "haproxy (exit 100): E: Unable to locate package haproxy" in answer["msg"]
