# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers: the same files give the same bytes, and layers on each other give the root file system that they are of."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.debian import layers
from ansible_collections.cloudbang.platform.plugins.plugin_utils.debian.rootfs import DebianError

START = 1_700_000_000


def tree(root: Path, files: dict[str, str | None], changed: float = START - 5) -> Path:
    """Make files of these contents, directories where it is None, and links where it begins with ->."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
        os.utime(path, (changed, changed), follow_symlinks=False)
    return root


def members(layer: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer) as archive:
        return {info.name: info for info in archive}


def unpack(root: Path, *stack: Path) -> Path:
    """Apply layers as a container runtime does."""
    root.mkdir()
    for layer in stack:
        for name in members(layer):
            head, base = os.path.split(name)
            if base.startswith(layers.WHITEOUT):
                path = root / head / base.removeprefix(layers.WHITEOUT)
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        with tarfile.open(layer) as archive:
            for info in archive:
                if not os.path.basename(info.name).startswith(layers.WHITEOUT):
                    (root / info.name).unlink() if (root / info.name).is_symlink() else None
                    archive.extract(info, root)
    return root


def content(root: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text(),
        )
        for path in root.rglob("*")
    }


LOWER: dict[str, str | None] = {
    "bin": "->usr/bin",
    "etc/passwd": "root",
    "usr/bin/sh": "shell",
    "usr/lib/old/a": "a",
    "usr/lib/old/b/c": "c",
    "usr/lib/one": "1",
    "var/gone": "x",
}


def test_files_made_at_another_time_and_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    for number, order in enumerate((LOWER, dict(reversed(LOWER.items())))):
        root = tree(tmp_path / f"root{number}", order)
        layers.write(tree(root, {"etc/new": "n"}, START + number), tmp_path / f"{number}.tar", START)
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
    found = members(tmp_path / "0.tar")
    assert list(found) == sorted(found)
    # Python takes byte code for old if its source has another time.
    assert (found["etc/passwd"].mtime, found["etc/new"].mtime) == (START - 5, 0)
    assert {(info.uname, info.gname) for info in found.values()} == {("", "")}


def test_layers_on_each_other_give_the_root_file_system(tmp_path: Path) -> None:
    lower = tree(tmp_path / "lower", LOWER)
    upper = tree(tmp_path / "upper", {**LOWER, "bin": None, "etc/passwd": "root, app", "opt/x": "x"})
    shutil.rmtree(upper / "usr/lib/old")
    (upper / "var/gone").unlink()
    (upper / "usr/lib/one").chmod(0o600)
    layers.write(lower, tmp_path / "lower.tar", START)
    layers.write(upper, tmp_path / "upper.tar", START, tmp_path / "lower.tar")
    assert content(unpack(tmp_path / "unpacked", tmp_path / "lower.tar", tmp_path / "upper.tar")) == content(upper)
    names = {name for name, info in members(tmp_path / "upper.tar").items() if not info.isdir()}
    assert names == {"etc/passwd", "opt/x", "usr/lib/.wh.old", "usr/lib/one", "var/.wh.gone"}


def test_a_hard_link_does_not_need_a_file_of_the_layer_below(tmp_path: Path) -> None:
    layers.write(tree(tmp_path / "root", {"a": "same"}), tmp_path / "lower.tar", START)
    os.link(tmp_path / "root/a", tmp_path / "root/b")
    layers.write(tmp_path / "root", tmp_path / "upper.tar", START, tmp_path / "lower.tar")
    with tarfile.open(tmp_path / "upper.tar") as archive:
        assert archive.getnames() == ["b"]
        stream = archive.extractfile("b")
        assert stream is not None and archive.getmember("b").isreg() and stream.read() == b"same"


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tree(tmp_path / "root", {"run": None}) / "run/pipe")
    with pytest.raises(DebianError, match="/run/pipe: found a device, pipe or socket; wanted files"):
        layers.write(tmp_path / "root", tmp_path / "layer.tar", START)


def test_selected_paths_have_their_content_and_parents(tmp_path: Path) -> None:
    layers.write(tree(tmp_path / "root", LOWER), tmp_path / "all.tar", START)
    layers.select(tmp_path / "all.tar", tmp_path / "some.tar", ["usr/lib/old", "bin"])
    wanted = ["bin", "usr", "usr/lib", "usr/lib/old", "usr/lib/old/a", "usr/lib/old/b", "usr/lib/old/b/c"]
    assert list(members(tmp_path / "some.tar")) == wanted
    assert layers.read(tmp_path / "some.tar", "usr/lib/old/a") == b"a"
    with pytest.raises(DebianError, match="keep: found no usr/li, usr/nothing; wanted paths"):
        layers.select(tmp_path / "all.tar", tmp_path / "none.tar", ["usr/nothing", "usr/li", "bin"])


@pytest.mark.parametrize("name", ["usr/lib", "usr/nothing"])
def test_only_files_can_be_read(name: str, tmp_path: Path) -> None:
    layers.write(tree(tmp_path / "root", LOWER), tmp_path / "all.tar", START)
    with pytest.raises(DebianError, match=f"/{name}: found no such file"):
        layers.read(tmp_path / "all.tar", name)
