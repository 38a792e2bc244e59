# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic


def test_a_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    atomic.write(tmp_path / "new", "Grüße\n")
    assert (tmp_path / "new").read_bytes() == "Grüße\n".encode()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["new"]


def test_a_file_gets_its_permissions_and_owner(tmp_path: Path) -> None:
    path = tmp_path / "given"
    atomic.write(path, b"\x00", 0o644, (os.getuid(), os.getgid()))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"\x00", 0o644)


def test_who_has_the_old_file_open_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "read"
    path.write_text("old", encoding="utf-8")
    with path.open(encoding="utf-8") as stream:
        atomic.write(path, "new")
        assert stream.read() == "old"
    assert path.read_text("utf-8") == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "kept"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), atomic.staged(path, 0o644) as temporary:
        Path(temporary).write_text("half", encoding="utf-8")
        raise error
    assert path.read_text("utf-8") == "old"
    assert os.listdir(tmp_path) == ["kept"]


def test_nobody_else_reads_the_file_before_it_is_in_its_place(tmp_path: Path) -> None:
    with atomic.staged(tmp_path / "secret", 0o644) as temporary:
        assert stat.S_IMODE(os.stat(temporary).st_mode) == 0o600


def test_a_path_without_a_directory_is_in_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    atomic.write("here", "text")
    assert (tmp_path / "here").read_text("utf-8") == "text"


def test_a_program_can_be_executed_as_soon_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses to execute a file that somebody has open for writing."""
    moved: list[bool] = []

    def rename(source: str, target: Path) -> None:
        handles = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        moved.append(os.path.realpath(source) in handles)
        os.replace(source, target)

    monkeypatch.setattr("os.rename", rename)
    atomic.write(tmp_path / "program", "#!/bin/sh\n", 0o755)
    assert moved == [False] and os.access(tmp_path / "program", os.X_OK)


def test_a_file_that_cannot_be_moved_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError):
        atomic.write(tmp_path / "directory", "x")
    assert os.listdir(tmp_path) == ["directory"]
