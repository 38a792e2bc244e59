# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""artifacts.lock.yml: what upstream or a mirror served the first time, enforced ever after.

version: 1
assets:
  https://.../etcd-v3.6.5-linux-amd64.tar.gz: {sha256: ..., size: ...}
files:
  etcd/3.6.5/amd64/etcd: {sha256: ..., size: ...}
mirror:
  kubernetes/1.36.3/amd64/kubelet: {sha256: ..., size: ...}

`files` has what upstream served, `mirror` what a mirror gave, also of what was built. A mirror is held to both.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

from ansible.module_utils.common.yaml import yaml_dump, yaml_load

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic

from . import oci
from .errors import ArtifactError
from .store import sha256_file

_HEADER = (
    b"# Written by cloudbang.platform.artifacts. Keep it under version control: a file that differs is refused.\n---\n"
)


def fingerprint(kind: str, path: str) -> str:
    """The recorded checksum: the sha256 of a file; of an image, that of its digest, which packing does not change."""
    return oci.read_digest(path)[len("sha256:") :] if kind == "image" else sha256_file(path)


SECTIONS = ("assets", "files", "mirror")
_CHANGED = "the published file was changed: find out why before you remove its entry from the lock file"
_NEXT_STEP = {
    "mirror": "the mirror was changed: when you have written it again from other builds, remove its entries from the "
    "section mirror of the lock file"
}


class LockFile:
    """Recorded checksums; safe to use from several processes and threads."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self._known: tuple[tuple[int, int, int], dict[str, Any]] | None = None

    def check(self, section: str, key: str, sha256: str, subject: str, source: str = "upstream") -> None:
        """Raise when the file is recorded with another checksum."""
        entry = self._read()[section].get(key)
        if entry is not None and entry["sha256"] != sha256:
            raise ArtifactError(
                subject,
                source=source,
                where=key,
                found="sha256 " + sha256,
                wanted="sha256 {}, recorded in {}".format(entry["sha256"], self.path),
                next_step=_NEXT_STEP.get(section, _CHANGED),
                final=True,
            )

    def wanted(self, section: str, key: str) -> str:
        """The recorded checksum, or nothing."""
        entry = self._read()[section].get(key)
        return str(entry["sha256"]) if entry else ""

    def record(self, section: str, entries: dict[str, dict[str, Any]]) -> None:
        """Add entries that are not recorded yet."""
        directory = os.path.dirname(self.path)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "." + os.path.basename(self.path) + ".lock"), "w", encoding="utf-8") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            data = self._parsed()
            new = {key: value for key, value in entries.items() if key not in data[section]}
            if not new:
                return
            data[section].update(new)
            for name in SECTIONS:
                data[name] = dict(sorted(data[name].items()))
            text = yaml_dump(data, default_flow_style=False, sort_keys=False, width=200)
            atomic.write(self.path, _HEADER + text.encode(), 0o644)

    def _read(self) -> dict[str, Any]:
        """The content of the file, parsed again when it has changed. It is not to be changed in place."""
        try:
            state = os.stat(self.path)
            mark = (state.st_mtime_ns, state.st_size, state.st_ino)
        except OSError:
            return self._parsed()
        if self._known is None or self._known[0] != mark:
            self._known = (mark, self._parsed())
        return self._known[1]

    def _parsed(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as stream:
                data = yaml_load(stream)
        except FileNotFoundError:
            data = None
        except Exception as error:
            raise ArtifactError(
                "artifacts_lock_file " + self.path,
                found=str(error),
                wanted="the YAML file that was written",
                final=True,
            ) from error
        if data is None:
            return {"version": 1, **{name: {} for name in SECTIONS}}
        valid = isinstance(data, dict) and data.get("version") == 1
        if valid:
            # A lock file from before mirrors were recorded lacks that section.
            data.setdefault("mirror", {})
            valid = all(_is_section(data.get(name)) for name in SECTIONS)
        if not valid:
            raise ArtifactError(
                "artifacts_lock_file " + self.path,
                found="another format",
                wanted="version: 1 with the mappings assets, files and mirror, each entry with a sha256",
                final=True,
            )
        result: dict[str, Any] = data
        return result


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) for entry in value.values()
    )
