# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror: one HTTP root or directory with the files under their names and a manifest with their checksums.

manifest.json
<component>/<version>/<arch>/<name>
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic

from . import download as http
from .catalogue import Component
from .errors import ArtifactError
from .lockfile import LockFile, fingerprint
from .progress import Progress
from .store import Store, sha256_file

MANIFEST = "manifest.json"
MAX_MANIFEST = 64 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def mirror_path(component: str, version: str, arch: str, name: str) -> str:
    return "/".join((component, version, arch, name))


class Mirror:
    """Fetches components from a mirror that write_mirror made."""

    def __init__(self, root: str, store: Store, lock_file: LockFile, progress: Progress, pinned: str = "") -> None:
        self._pinned = pinned
        self._root = root.removeprefix("file://")
        self._remote = self._root.startswith(("http://", "https://"))
        if not self._remote:
            self._root = os.path.abspath(os.path.expanduser(self._root))
        self._root = self._root.rstrip("/")
        self._store = store
        self._lock_file = lock_file
        self._progress = progress
        self._guard = threading.Lock()
        self._files: dict[str, Any] | None = None

    def fetch(self, component: Component, wanted: Sequence[str], work: str) -> dict[str, str]:
        """Returns artifact name -> path below `work`."""
        listed = self._manifest(component)
        paths = {name: mirror_path(component.name, component.version, component.arch, name) for name in wanted}
        missing = [path for path in paths.values() if path not in listed]
        if missing:
            raise ArtifactError(
                str(component),
                source="mirror",
                where=f"{self._root}/{MANIFEST}",
                found="no " + ", ".join(missing) + self._others(component, listed),
                wanted="it in the list",
                next_step="write the mirror again with playbooks/bundle.yml and the same artifacts_versions",
            )
        self._store.require_space(sum(int(listed[path]["size"]) for path in paths.values()), str(component))
        made = {}
        entries: dict[str, dict[str, Any]] = {}
        for name, path in paths.items():
            entry = listed[path]
            subject = f"{name} of {component}"
            made[name] = self._get(path, entry, subject, os.path.join(work, name))
            # The manifest's claims do not matter here: the owner of the mirror has written them.
            digest = fingerprint(component.files[name].kind, made[name])
            for section in ("files", "mirror"):
                self._lock_file.check(section, path, digest, subject, "mirror")
            entries[path] = {"sha256": digest, "size": os.path.getsize(made[name])}
        self._lock_file.record("mirror", entries)
        return made

    def made(self, component: Component, name: str) -> str:
        """The origin of a fetched file: upstream or build."""
        path = mirror_path(component.name, component.version, component.arch, name)
        return str(self._manifest(component)[path].get("made", "build"))

    def _others(self, component: Component, listed: Mapping[str, Any]) -> str:
        versions = sorted({path.split("/")[1] for path in listed if path.startswith(component.name + "/")})
        return " (it has {} {})".format(component.name, ", ".join(versions)) if versions else ""

    def _get(self, path: str, entry: Mapping[str, Any], subject: str, dest: str) -> str:
        where = f"{self._root}/{path}"
        if self._remote:
            digest, size = str(entry["sha256"]), int(entry["size"])
            http.download(self._store, where, digest, dest, subject, "mirror", self._progress, size)
            return dest
        try:
            shutil.copyfile(where, dest)
        except OSError as error:
            raise ArtifactError(
                subject, source="mirror", where=where, found=str(error), wanted="the file that the manifest lists"
            ) from error
        found = sha256_file(dest)
        if found != entry["sha256"]:
            raise ArtifactError(
                subject,
                source="mirror",
                where=where,
                found=f"sha256 {found} ({os.path.getsize(dest)} bytes)",
                wanted=f"sha256 {entry['sha256']} ({entry['size']} bytes)",
                next_step="copy the mirror again",
                final=True,
            )
        return dest

    def _manifest(self, component: Component) -> Mapping[str, Any]:
        with self._guard:
            if self._files is None:
                self._files = self._read(str(component))
            return self._files

    def _read(self, subject: str) -> dict[str, Any]:
        where = f"{self._root}/{MANIFEST}"
        try:
            if self._remote:
                content = http.get_bytes(where, subject, "mirror", limit=MAX_MANIFEST)
            else:
                with open(where, "rb") as stream:
                    content = stream.read(MAX_MANIFEST)
            self._check(content, subject, where)
            data = json.loads(content)
            files: dict[str, Any] = data["files"]
            if data["version"] != 1 or not all(
                _SHA256.match(entry["sha256"]) and isinstance(entry["size"], int) and entry["size"] >= 0
                for entry in files.values()
            ):
                raise ValueError("another format")
            return files
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(
                subject,
                source="mirror",
                where=where,
                found=str(error) or type(error).__name__,
                wanted="the manifest of a mirror",
                next_step="set artifacts_mirror to the directory or URL that playbooks/bundle.yml wrote",
            ) from error

    def _check(self, content: bytes, subject: str, where: str) -> None:
        found = hashlib.sha256(content).hexdigest()
        if self._pinned and found != self._pinned:
            raise ArtifactError(
                subject,
                source="mirror",
                where=where,
                found="sha256 " + found,
                wanted=f"sha256 {self._pinned}, as artifacts_mirror_sha256 says",
                next_step="the mirror was changed: when you have written it again, take the sum that the playbook has "
                "printed",
                final=True,
            )


def manifest_sha256(root: str) -> str:
    """The sum of a mirror's manifest, for artifacts_mirror_sha256."""
    return sha256_file(os.path.join(os.path.abspath(os.path.expanduser(root)), MANIFEST))


def write_mirror(root: str, files: Sequence[Mapping[str, Any]], arch: str, progress: Progress) -> list[str]:
    """Write or complete a mirror directory. files: name, component, version, path, sha256, size, kind, made.

    Returns the paths that were written. The manifest comes last, so a mirror that is listed is whole; what an earlier
    run wrote for other versions stays listed.
    """
    root = os.path.abspath(os.path.expanduser(root))
    manifest_path = os.path.join(root, MANIFEST)
    listed: dict[str, Any] = {}
    try:
        with open(manifest_path, encoding="utf-8") as stream:
            listed = json.load(stream)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        listed = {}
    before = json.dumps(listed, sort_keys=True)
    written = []
    for file in files:
        path = mirror_path(file["component"], file["version"], arch, file["name"])
        dest = os.path.join(root, path)
        if not (os.path.exists(dest) and os.path.getsize(dest) == file["size"] and sha256_file(dest) == file["sha256"]):
            os.makedirs(os.path.dirname(dest), exist_ok=True)
            with atomic.staged(dest, 0o755 if file["kind"] == "executable" else 0o644) as temporary:
                shutil.copyfile(file["path"], temporary)
                if sha256_file(temporary) != file["sha256"]:
                    raise ArtifactError(
                        file["name"], where=dest, found="a copy that differs", wanted="sha256 " + file["sha256"]
                    )
            written.append(path)
            progress(f"wrote {path}")
        listed[path] = {key: file[key] for key in ("sha256", "size", "kind", "made")}
    if json.dumps(listed, sort_keys=True) != before or not os.path.exists(manifest_path):
        text = json.dumps({"version": 1, "files": dict(sorted(listed.items()))}, indent=2)
        atomic.write(manifest_path, text + "\n", 0o644)
        written.append(MANIFEST)
    return written
