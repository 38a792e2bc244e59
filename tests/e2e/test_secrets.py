# SPDX-License-Identifier: GPL-3.0-or-later
"""The site playbook with full verbosity and diffs shows no secret of the cluster and leaves none anywhere."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .lab import ROOT, STATE, Lab, Node

SITE = "cloudbang.platform.site"
# These files are changed, because a diff only shows secrets that are written again.
SPOILT = {
    "management1": ["/etc/kubernetes/encryption.yaml", "/etc/kubernetes/pki/sa.key", "/etc/kubernetes/pki/ca.key"],
    "storage1": [
        "/etc/cloudbang-registry/htpasswd",
        "/etc/cloudbang-registry/docker/config.json",
        "/etc/cloudbang-registry/pull/htpasswd",
    ],
}
# find fails on hosts without a kubelet, and if directories of pods disappear while it runs, but still prints the files
# that it found. That it printed some is asserted.
KEYS = "find /etc /var/lib/kubelet -name '*.key' -exec sed -n 2p {} + 2> /dev/null || true"
# Patterns are passed on a file descriptor, so that the search itself puts none into a command line.
SEARCH = """
journalctl --no-pager --output=cat --since=@{start} | grep --text --fixed-strings --count --file=/dev/fd/3 3<<'PATTERNS'
{patterns}
PATTERNS
grep --recursive --text --fixed-strings --files-with-matches --file=/dev/fd/3 \\
    /root/.ansible /tmp /var/tmp /var/log 2> /dev/null 3<<'PATTERNS'
{patterns}
PATTERNS
true
"""


def secrets(lab: Lab) -> set[str]:
    """Return a part of each private key and secret of the cluster, in plain form and in the form of kubeconfigs."""
    pki = STATE / "pki"
    found = {(pki / "encryption.key").read_text().strip()}
    for user, name in (("cloudbang", "registry-push"), ("node", "registry-pull")):
        password = (pki / f"{name}.password").read_text().strip()
        found |= {password, base64.b64encode(f"{user}:{password}".encode()).decode()}
    found |= {path.read_text().strip().partition(":")[2] for path in pki.glob("*.htpasswd")}
    for path in pki.glob("*.key"):
        data = path.read_bytes()
        if b"PRIVATE KEY" in data:
            found |= {data.decode().splitlines()[1], base64.b64encode(data).decode()[60:120]}
    with ThreadPoolExecutor(len(lab.nodes)) as pool:
        for lines in pool.map(lambda node: node.sh(KEYS), lab.nodes.values()):
            assert lines.split(), "a host without a key to look for"
            found |= set(lines.split())
    assert all(len(one) >= 16 for one in found), "a secret that is too short to look for"
    return found


def command_lines() -> set[str]:
    """Return the arguments of all processes on this machine, including those in the lab's containers."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.add(path.read_text(errors="replace"))
    return found


def left_on(node: Node, patterns: set[str], start: int) -> list[str]:
    """Return the places in a node's journal, logs and temporary files that contain one of the patterns."""
    count, *files = node.sh(SEARCH.format(start=start, patterns="\n".join(sorted(patterns)))).split("\n")
    return [*([f"{count} lines of the journal"] if count.strip() != "0" else []), *(name for name in files if name)]


@pytest.mark.parametrize(
    "arguments", [pytest.param(("--check",), marks=pytest.mark.drill, id="check"), pytest.param((), id="run")]
)
def test_no_secret_is_shown_or_left(lab: Lab, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for name, paths in SPOILT.items():
        lab.nodes[name].sh("".join(f"echo >> {path}\n" for path in paths))
    patterns = secrets(lab)
    start = int(time.time())
    environment = {**lab.environment(), "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_LOG_PATH": str(tmp_path / "log")}
    environment.update(ANSIBLE_LOCAL_TEMP=str(tmp_path / "local"))
    seen: set[str] = set()
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(
            lab.command(SITE, "-vvvv", "--diff", *arguments), cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        while run.poll() is None:
            seen |= command_lines()
            time.sleep(0.1)
    assert run.returncode == 0, (tmp_path / "output").read_text()[-4000:]
    text = (tmp_path / "output").read_text(errors="replace")
    for path in SPOILT["management1"]:
        assert path in text, f"{path} was not written again"
    places = [path for path in (*tmp_path.rglob("*"), *Path.home().joinpath(".ansible").rglob("*")) if path.is_file()]
    hits = []
    for path in places:
        # Another run of Ansible on this machine may remove its own file meanwhile.
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            hits += [str(path) for one in patterns if one.encode() in content]
    hits += [f"command line {line[:60]!r}" for line in seen for one in patterns if one in line]
    with ThreadPoolExecutor(len(lab.nodes)) as pool:
        for node, found in zip(
            lab.nodes.values(), pool.map(lambda node: left_on(node, patterns, start), lab.nodes.values())
        ):
            hits += [f"{node.name}: {one}" for one in found]
    assert hits == []


def test_the_search_finds_what_is_there(lab: Lab) -> None:
    """A test of the search itself: it finds a canary in a journal, a temporary file and a command line."""
    node, canary, start = lab.nodes["storage1"], "canary-0123456789abcdef", int(time.time())
    node.sh(f"echo {canary} | systemd-cat; echo {canary} > /tmp/canary; sleep 1")
    try:
        assert {"1 lines of the journal", "/tmp/canary"} <= set(left_on(node, {canary}, start - 1))
    finally:
        node.sh("rm /tmp/canary")
    with subprocess.Popen(["sh", "-c", "sleep 5", canary]) as process:
        assert any(canary in line for line in command_lines())
        process.kill()
