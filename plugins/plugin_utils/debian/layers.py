# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of container images from root file systems. The same files give the same bytes.

A layer is an uncompressed tar of regular files, directories and symbolic links in the order of their names. Hard links
become files of their own, and extended attributes are left out.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .rootfs import DebianError

# In a layer, an empty file with this before its name removes a path of the layers below.
WHITEOUT = ".wh."

_Described = dict[str, tuple[Any, ...]]


def write(root: Path, archive: Path, since: float, below: Path | None = None) -> None:
    """Write the layer of a root file system.

    since: files changed at or after this time, in seconds since the epoch, get the time 0; others keep theirs.
    below: the layer under this one, all of whose files the new one leaves out if they are the same, and removes if they
    are missing in the root file system.
    """
    known = _described(below) if below else {}
    names = [str(path.relative_to(root)) for path in _walk(root)]
    gone = sorted(set(known) - set(names))
    # With a directory, what is in it goes, too.
    removed = [name for name in gone if os.path.dirname(name) not in gone]
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as layer:
        for name in sorted([*names, *(_whiteout(name) for name in removed)]):
            path = root / name
            if not os.path.lexists(path):
                layer.addfile(tarfile.TarInfo(name))
                continue
            info, data = _read(path, name, since)
            if known.get(name) != _description(info, data):
                layer.addfile(info, io.BytesIO(data))


def select(layer: Path, archive: Path, paths: Iterable[str]) -> None:
    """Write the layer of these paths of another one, relative to the root: with what is in them, and their parents.

    Raises DebianError if the other one has no such path.
    """
    wanted = list(paths)
    with tarfile.open(layer) as source, tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as target:
        members = list(source)
        missing = sorted(set(wanted) - {info.name for info in members})
        if missing:
            raise DebianError(f"keep: found no {', '.join(missing)}; wanted paths of the root file system")
        for info in members:
            if any(f"{info.name}/".startswith(f"{path}/") or f"{path}/".startswith(f"{info.name}/") for path in wanted):
                target.addfile(info, source.extractfile(info) if info.isreg() else None)


def read(layer: Path, name: str) -> bytes:
    """Return the content of a file of a layer. Raises DebianError if there is none."""
    with tarfile.open(layer) as archive:
        stream = archive.extractfile(name) if name in archive.getnames() else None
        if stream is None:
            raise DebianError(f"/{name}: found no such file; wanted one in the layer")
        return stream.read()


def _walk(directory: Path) -> Iterator[Path]:
    for entry in os.scandir(directory):
        path = Path(entry.path)
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)


def _whiteout(name: str) -> str:
    return os.path.join(os.path.dirname(name), WHITEOUT + os.path.basename(name))


def _read(path: Path, name: str, since: float) -> tuple[tarfile.TarInfo, bytes]:
    status = path.lstat()
    info, data = tarfile.TarInfo(name), b""
    info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    info.mtime = 0 if status.st_mtime >= since else int(status.st_mtime)
    if stat.S_ISREG(status.st_mode):
        data = path.read_bytes()
        info.size = len(data)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    else:
        raise DebianError(f"/{name}: found a device, pipe or socket; wanted files, directories and symbolic links")
    return info, data


def _described(layer: Path) -> _Described:
    with tarfile.open(layer) as archive:
        found = {}
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            found[info.name] = _description(info, stream.read() if stream else b"")
    return found


def _description(info: tarfile.TarInfo, data: bytes) -> tuple[Any, ...]:
    """Return all that makes a file another one. The time of a directory does not."""
    time = info.mtime if info.isreg() else 0
    return info.type, info.mode, info.uid, info.gid, info.linkname, time, hashlib.sha256(data).digest()
