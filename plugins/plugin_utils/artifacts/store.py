# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A content-addressed store of files that survives being killed, being shared and being lost.

Layout below the root:
    blobs/sha256/<hex>     the files, never changed in place
    refs/<key>.json        {"sha256", "size", "mtime_ns", "executable", "meta"}: a name for a blob
    locks/<name>.lock      flock; held while something is made
    work/<name>/           scratch space, only touched under the lock of the same name
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Callable

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic

from .errors import ArtifactError
from .progress import INTERVAL_S, Progress, duration, silent

_SEGMENT = re.compile(r"^[0-9A-Za-z][0-9A-Za-z._+-]*$")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A verified file in the store."""

    key: str
    path: str
    sha256: str
    size: int
    meta: Mapping[str, Any]


def sha256_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def require_intact(blob: str) -> None:
    """Hash a stored file before it leaves the store: a disk that loses bits changes neither size nor time.

    Raises ArtifactError when it does not match its name; the file is removed then, so that the next run recreates it.
    """
    found, wanted = sha256_file(blob), os.path.basename(blob)
    if found != wanted:
        os.unlink(blob)
        raise ArtifactError(
            blob,
            found=f"a damaged file with sha256 {found}",
            wanted=f"sha256 {wanted}",
            next_step="it is dropped: run again to get it anew, and look at the disk that it was on",
        )


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Lock:
    """A held lock; its descriptor can be inherited by a child, which then keeps the lock for as long as it lives."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @property
    def descriptor(self) -> int:
        return self._stream.fileno()


class Store:
    """See the module's text. All methods may be called from several processes and threads at once."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self._blobs = os.path.join(self.root, "blobs", "sha256")

    def path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    def get(self, key: str, progress: Progress = silent) -> Stored | None:
        """The file of this name, or None. Hashed again only when its size or time is not what it was when stored."""
        ref = self._read_ref(key)
        if ref is None:
            return None
        blob = os.path.join(self._blobs, ref["sha256"])
        try:
            status = os.stat(blob)
        except OSError:
            return None
        if status.st_size != ref["size"] or status.st_mtime_ns != ref["mtime_ns"]:
            found = sha256_file(blob)
            if found != ref["sha256"]:
                progress("the cached {} is damaged (sha256 {}, wanted {}): dropped".format(key, found, ref["sha256"]))
                with contextlib.suppress(OSError):
                    os.unlink(blob)
                return None
            ref["mtime_ns"] = status.st_mtime_ns
            self._write_ref(key, ref)
        return Stored(key, blob, ref["sha256"], ref["size"], ref["meta"])

    def put(self, key: str, source: str, *, executable: bool = False, meta: Mapping[str, Any] | None = None) -> Stored:
        """Move the file `source`, which must lie in work(), into the store under this name."""
        digest = sha256_file(source)
        blob = os.path.join(self._blobs, digest)
        os.makedirs(self._blobs, exist_ok=True)
        os.chmod(source, 0o755 if executable else 0o644)
        handle = os.open(source, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if os.path.exists(blob) and sha256_file(blob) == digest:
            os.chmod(blob, os.stat(blob).st_mode | (0o111 if executable else 0))
            os.unlink(source)
        else:
            os.rename(source, blob)
            _sync_directory(self._blobs)
        status = os.stat(blob)
        ref = {
            "sha256": digest,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "executable": executable,
            "meta": dict(meta or {}),
        }
        self._write_ref(key, ref)
        return Stored(key, blob, digest, status.st_size, dict(meta or {}))

    def get_or_create(
        self,
        key: str,
        builder: Callable[[str], str],
        *,
        executable: bool = False,
        meta: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Stored:
        """The file of this name, made by `builder(empty_directory) -> path of the file in it` when it is not there.

        Several callers at once make it once. Put what the content depends on into the key.
        """
        found = self.get(key, progress)
        if found is not None:
            return found
        name = key.replace("/", "_")
        with self.lock(name, key, progress):
            found = self.get(key, progress)
            if found is not None:
                return found
            with self.work(name) as directory:
                return self.put(key, builder(directory), executable=executable, meta=meta)

    @contextlib.contextmanager
    def lock(self, name: str, what: str, progress: Progress = silent) -> Iterator[Lock]:
        """Hold the named lock; while another process or thread holds it, report that and wait."""
        path = self.path("locks", _segment(name) + ".lock")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a+", encoding="utf-8") as stream:
            started = said = time.monotonic()
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    now = time.monotonic()
                    if now - said >= INTERVAL_S:
                        said = now
                        stream.seek(0)
                        holder = stream.read().strip() or "another process"
                        progress(f"waiting for {what}, which is being made by {holder}: {duration(now - started)}")
                    time.sleep(0.1)
            stream.truncate(0)
            stream.write(f"process {os.getpid()}")
            stream.flush()
            try:
                yield Lock(stream)
            finally:
                fcntl.flock(stream, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def work(self, name: str) -> Iterator[str]:
        """An empty directory on the store's file system. The caller holds the lock of the same name."""
        directory = self.path("work", _segment(name))
        remove_tree(directory)
        os.makedirs(directory)
        try:
            yield directory
        finally:
            remove_tree(directory)

    def require_space(self, size: int, subject: str) -> None:
        os.makedirs(self.root, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < size:
            raise ArtifactError(
                subject,
                found=f"{free >> 20} MiB free in {self.root}",
                wanted=f"{size >> 20} MiB",
                next_step="free some space or set artifacts_cache_dir to a larger file system",
            )

    def _ref_path(self, key: str) -> str:
        return self.path("refs", *[_segment(part) for part in key.split("/")]) + ".json"

    def _read_ref(self, key: str) -> dict[str, Any] | None:
        path = self._ref_path(key)
        try:
            with open(path, encoding="utf-8") as stream:
                ref: dict[str, Any] = json.load(stream)
            return ref if {"sha256", "size", "mtime_ns", "meta"} <= set(ref) else None
        except (OSError, ValueError, TypeError):
            return None

    def _write_ref(self, key: str, ref: Mapping[str, Any]) -> None:
        os.makedirs(os.path.dirname(self._ref_path(key)), exist_ok=True)
        atomic.write(self._ref_path(key), json.dumps(ref, sort_keys=True), 0o644)


def _segment(text: str) -> str:
    if not _SEGMENT.match(text):
        raise ValueError(f"{text!r} is not usable in the name of a stored file")
    return text


def remove_tree(path: str) -> None:
    """Remove a directory that may hold read-only directories, as Go's module cache does."""
    if not os.path.lexists(path):
        return
    for directory, _names, _files in os.walk(path):
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
    shutil.rmtree(path)
