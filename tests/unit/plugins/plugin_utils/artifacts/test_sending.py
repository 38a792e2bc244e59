# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An artifact on its way from a mirror to a host: where space ends or bytes are damaged, the next run repairs it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure, mirror, plan, store

from .test_action import ANSIBLE_PLAYBOOK, answer, environment

NAME = "kubelet"
PROGRAM = random.Random(7).randbytes(600_000)
# A host that is this machine, but keeps what a host keeps in a mount namespace of its own.
HOST = ["unshare", "--map-root-user", "--mount", "sh", "-euc"]
# A small disk, a run, what it left, more space, another run.
SCRIPT = """
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs -o size=256k,mode=0700 tmpfs small
mkdir -p target "$(dirname "$1")"
echo old > "$1"
chmod 0700 "$1"
PLAY > first.json || true
find target small/target small/tmp -name '.*' > left 2> /dev/null || true
cp "$1" between
mount -o remount,size=4m small
PLAY > second.json || true
cp "$1" after
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a mirror that has one program under a name of the shipped catalogue."""
    [item] = plan([NAME], Settings(source="build", cache_dir=str(tmp_path / "none"))).values()
    path = tmp_path / "program"
    path.write_bytes(PROGRAM)
    entry = {"name": item.name, "component": item.component, "version": item.version, "path": str(path)}
    entry.update(sha256=mirror.sha256_file(str(path)), size=len(PROGRAM), kind="executable", made="build")
    mirror.write_mirror(str(tmp_path / "mirror"), [entry], "amd64", lambda message: None)
    (tmp_path / "small").mkdir()
    return tmp_path


def command(root: Path, target: Path, cache: Path) -> list[str]:
    """Return the command that brings the program to a target."""
    task = {"name": "Send", "cloudbang.platform.converge": {"files": [{"path": str(target), "artifact": NAME}]}}
    variables = {
        "artifacts_source": "mirror",
        "artifacts_mirror": str(root / "mirror"),
        "artifacts_cache_dir": str(cache),
    }
    variables["ansible_python_interpreter"] = sys.executable
    (root / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [task]}])
    )
    return [ANSIBLE_PLAYBOOK, str(root / "play.yml")]


@pytest.mark.parametrize(
    ("target", "cache", "remote_tmp", "message"),
    [
        ("small/target/kubelet", "cache", "tmp", "small/target/kubelet: No space left on device"),
        ("target/kubelet", "cache", "small/tmp", "small/tmp"),
        ("target/kubelet", "small/cache", "tmp", "artifacts_cache_dir"),
    ],
    ids=["target", "temporary", "cache"],
)
def test_a_full_disk_is_named_and_the_next_run_repairs(
    site: Path, target: str, cache: str, remote_tmp: str, message: str
) -> None:
    play = " ".join(command(site, site / target, site / cache))
    done = subprocess.run(
        [*HOST, SCRIPT.replace("PLAY", play), "sh", target],
        cwd=site,
        env=environment(site, ANSIBLE_REMOTE_TMP=str(site / remote_tmp)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, _printed = answer((site / "first.json").read_text())
    assert first.get("failed"), first
    assert message in first["msg"], first["msg"]
    assert (site / "between").read_bytes() == b"old\n"
    assert (site / "left").read_text() == ""
    second, _printed = answer((site / "second.json").read_text())
    assert second.get("changed") and not second.get("failed"), second
    assert (site / "after").read_bytes() == PROGRAM


def damaged(path: Path, keep_time: bool) -> None:
    """Flip a bit; keep_time is what a bad disk does, which no stamp tells."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True], ids=["changed", "silently"])
def test_an_artifact_damaged_in_the_cache_never_arrives(site: Path, keep_time: bool) -> None:
    cache, target = site / "cache", site / "target" / NAME
    settings = Settings(source="mirror", mirror=str(site / "mirror"), cache_dir=str(cache))
    damaged(Path(ensure([NAME], settings)[NAME].path), keep_time)
    target.parent.mkdir()
    target.write_bytes(b"old\n")
    send = [*HOST, 'mount -t tmpfs tmpfs /var/lib; exec "$@"', "sh", *command(site, target, cache)]
    for attempt in range(2):
        done = subprocess.run(send, cwd=site, env=environment(site), capture_output=True, text=True, check=False)
        last, _printed = answer(done.stdout)
        if not last.get("failed"):
            break
        assert attempt == 0, last["msg"]
        assert "a damaged file" in last["msg"] and hashlib.sha256(PROGRAM).hexdigest() in last["msg"]
        assert target.read_bytes() == b"old\n"
        assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == PROGRAM
    assert store.sha256_file(str(ensure([NAME], settings)[NAME].path)) == hashlib.sha256(PROGRAM).hexdigest()
