# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.lockfile import LockFile

A, B = "a" * 64, "b" * 64


def test_the_first_record_stays(tmp_path: Path) -> None:
    lock = LockFile(str(tmp_path / "new" / "artifacts.lock.yml"))
    lock.record("files", {"x/1/amd64/x": {"sha256": A, "size": 1}})
    lock.record("files", {"x/1/amd64/x": {"sha256": B, "size": 2}})
    assert lock.wanted("files", "x/1/amd64/x") == A
    lock.check("files", "x/1/amd64/x", A, "x 1")
    lock.check("files", "unknown", B, "x 1")
    with pytest.raises(ArtifactError, match=f"x 1 from upstream .*found sha256 {B}; wanted sha256 {A}") as caught:
        lock.check("files", "x/1/amd64/x", B, "x 1")
    assert caught.value.final


def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        LockFile(str(tmp_path / "lock.yml")).record("files", {f"x/{number}": {"sha256": A, "size": 1}})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = yaml.safe_load((tmp_path / "lock.yml").read_text())
    assert sorted(data["files"]) == [f"x/{number}" for number in range(8)]


@pytest.mark.parametrize("text", ["[]", "version: 2\nassets: {}\nfiles: {}", "version: 1\nassets: []", "a: [", "x"])
def test_another_file_is_never_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock.yml"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"artifacts_lock_file .*lock\.yml"):
        LockFile(str(path)).record("files", {"x": {"sha256": A, "size": 1}})
    assert path.read_text() == text


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "lock.yml").write_text("---\n")
    LockFile(str(tmp_path / "lock.yml")).record("assets", {"url": {"sha256": A, "size": 1}})
    assert LockFile(str(tmp_path / "lock.yml")).wanted("assets", "url") == A
