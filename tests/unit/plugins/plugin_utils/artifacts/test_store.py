# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import store as store_module
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import Store

COLLECTIONS = next(path for path in sys.path if path.endswith("build/collections"))


def make(store: Store, key: str = "a/b", data: bytes = b"data", *, executable: bool = False) -> store_module.Stored:
    def builder(work: str) -> str:
        path = os.path.join(work, "file")
        Path(path).write_bytes(data)
        return path

    return store.get_or_create(key, builder, executable=executable)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "cache"))


def test_a_stored_file_is_found_again(store: Store) -> None:
    made = make(store, executable=True)
    found = store.get("a/b")
    assert found == made
    assert Path(made.path).read_bytes() == b"data"
    assert os.access(made.path, os.X_OK)
    assert made.path.endswith("/blobs/sha256/" + made.sha256)


def test_the_builder_runs_once(store: Store) -> None:
    calls = []

    def builder(work: str) -> str:
        calls.append(work)
        time.sleep(0.2)
        path = os.path.join(work, "file")
        Path(path).write_bytes(b"slow")
        return path

    threads = [threading.Thread(target=store.get_or_create, args=("slow", builder)) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert not os.path.exists(calls[0])


def test_equal_files_are_kept_once(store: Store) -> None:
    assert make(store, "one").path == make(store, "two").path
    assert len(os.listdir(store.path("blobs", "sha256"))) == 1


@pytest.mark.parametrize("damage", [b"DATA", b"longer than it was", b""])
def test_a_damaged_file_is_made_again(store: Store, damage: bytes) -> None:
    made = make(store)
    Path(made.path).write_bytes(damage)
    os.utime(made.path, ns=(1, 1))
    messages: list[str] = []
    assert store.get("a/b", messages.append) is None
    assert "damaged" in messages[0]
    assert Path(make(store).path).read_bytes() == b"data"


def test_a_touched_file_is_hashed_once_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(store)
    os.utime(made.path, ns=(1, 1))
    assert store.get("a/b") is not None
    monkeypatch.setattr(store_module, "sha256_file", lambda path: pytest.fail("hashed again"))
    assert store.get("a/b") is not None


def test_a_silently_damaged_file_does_not_leave_the_store(store: Store) -> None:
    made = make(store)
    store_module.require_intact(made.path)
    before = os.stat(made.path)
    Path(made.path).write_bytes(b"DATA")
    os.utime(made.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.get("a/b") is not None, "size and time tell nothing"
    with pytest.raises(ArtifactError, match=f"found a damaged file .*; wanted sha256 {made.sha256}. .*run again"):
        store_module.require_intact(made.path)
    assert Path(make(store).path).read_bytes() == b"data"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": "x"}', b"null"])
def test_a_damaged_name_is_made_again(store: Store, content: bytes) -> None:
    make(store)
    Path(store.path("refs", "a", "b.json")).write_bytes(content)
    assert store.get("a/b") is None
    assert make(store).size == 4


def test_a_lost_cache_is_made_again(store: Store) -> None:
    made = make(store)
    store_module.remove_tree(store.path("blobs"))
    assert store.get("a/b") is None
    assert make(store) == made or make(store).sha256 == made.sha256


def test_a_failed_builder_leaves_nothing(store: Store) -> None:
    def builder(work: str) -> str:
        Path(work, "half").write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.get_or_create("a/b", builder)
    assert store.get("a/b") is None
    assert os.listdir(store.path("work")) == []


@pytest.mark.parametrize("key", ["", "../x", "a/../b", "/etc", "a//b", ".hidden"])
def test_names_stay_inside(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        store.get(key)


def test_a_killed_builder_holds_up_nobody(store: Store) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        sys.path.insert(0, sys.argv[1])
        from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import Store
        def builder(work):
            open(work + "/half", "w").write("half")
            print("building", flush=True)
            time.sleep(60)
        Store(sys.argv[2]).get_or_create("a/b", builder)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script, COLLECTIONS, store.root], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"building\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert make(store).size == 4


def test_waiting_for_another_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "INTERVAL_S", 0.1)
    messages: list[str] = []

    def hold() -> None:
        with store.lock("x", "x 1.0"):
            time.sleep(0.5)

    thread = threading.Thread(target=hold)
    thread.start()
    time.sleep(0.1)
    with store.lock("x", "x 1.0", messages.append):
        pass
    thread.join()
    assert messages[0].startswith(f"waiting for x 1.0, which is being made by process {os.getpid()}")


def test_a_full_disk_is_named_before_it_is_filled(store: Store) -> None:
    with pytest.raises(ArtifactError, match=r"MiB free in .*; wanted .* MiB.*artifacts_cache_dir"):
        store.require_space(1 << 60, "etcd 3.6.5")
