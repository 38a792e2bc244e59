# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, directories, trees and links on a host, brought to their wanted state."""

from __future__ import annotations

import base64
import grp
import hashlib
import json
import os
import pwd
import shlex
import shutil
import stat
import zlib
from typing import TYPE_CHECKING, Any

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic, trees
from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

DIGESTS = "/var/lib/cloudbang/digests.json"
INSTALLED = "/var/lib/cloudbang/installed.json"
REMEMBER_ABOVE = 1 << 20  # bytes: hashing smaller files is cheaper than remembering them


class Digests:
    """SHA-256 of files; those of large files are cached while inode, size, mtime and ctime stay the same."""

    def __init__(self, store: str = DIGESTS) -> None:
        self.store = store
        self.dirty = False
        try:
            with open(store, encoding="utf-8") as stream:
                self.known: dict[str, list[Any]] = json.load(stream)
        except (OSError, ValueError):
            self.known = {}

    def of(self, path: str) -> str | None:
        """Return the hex digest of a regular file, None when there is none."""
        try:
            info = os.stat(path)
        except OSError:
            return None
        if not stat.S_ISREG(info.st_mode):
            return None
        stamp = [info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
        remembered = self.known.get(path)
        if remembered and remembered[:4] == stamp:
            return str(remembered[4])
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                digest.update(chunk)
        if info.st_size > REMEMBER_ABOVE:
            self.known[path] = [*stamp, digest.hexdigest()]
            self.dirty = True
        return digest.hexdigest()

    def save(self) -> None:
        if self.dirty:
            os.makedirs(os.path.dirname(self.store), exist_ok=True)
            atomic.write(self.store, json.dumps(self.known))


def record(entries: list[dict[str, Any]], store: str = INSTALLED) -> None:
    """Record a path before it is created on the host: V(file), V(tree), or V(parent) of either."""
    known = installed(store)
    before = dict(known)
    for entry in entries:
        path = entry["path"]
        if entry["state"] == "absent":
            known.pop(path, None)
            continue
        known[path] = "tree" if entry["state"] in ("directory", "tree") else "file"
        if entry["state"] == "tree":
            known = {other: kind for other, kind in known.items() if not other.startswith(f"{path}/")}
        while (path := os.path.dirname(path)) != "/" and not os.path.isdir(path):
            known.setdefault(path, "parent")
    if known != before:
        os.makedirs(os.path.dirname(store), exist_ok=True)
        atomic.write(store, json.dumps(known, indent=1))


def installed(store: str = INSTALLED) -> dict[str, str]:
    """Return what record noted, by path."""
    try:
        with open(store, encoding="utf-8") as stream:
            return dict(json.load(stream))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HostError(
            f"{store}: found no JSON, wanted what was installed: {error}; remove it and run again"
        ) from error


def owner_ids(entry: dict[str, Any], lenient: bool) -> tuple[int, int] | None:
    """Return uid and gid of an entry. In check mode an owner may be one that an earlier task would have made."""
    if os.geteuid():
        return os.geteuid(), os.getegid()  # only root can give files away
    try:
        return pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid
    except KeyError as error:
        if lenient:
            return None
        raise HostError(f"{entry['path']}: no such user or group: {entry['owner']}:{entry['group']}") from error


def read(path: str) -> bytes | None:
    """Return the content of a file, None when there is none. What a link leads to is not read."""
    try:
        with open(path, "rb", opener=atomic.no_link) as stream:
            return stream.read()
    except OSError:
        return None


class Files:
    """Brings the files of one task to the wanted state, or with `check` finds out what that would change."""

    def __init__(self, module: AnsibleModule, digests: Digests, check: bool) -> None:
        self.module = module
        self.digests = digests
        self.check = check
        self.changed: list[str] = []
        self.missing: list[str] = []
        self.diff: list[dict[str, str]] = []

    def converge(self, entry: dict[str, Any]) -> None:
        try:
            getattr(self, "_" + entry["state"])(entry)
        except OSError as error:
            raise HostError(f"{entry['path']}: {error.strerror or error}; what was there before is kept") from error

    def change(self, path: str) -> bool:
        """Record a change; return whether to make it."""
        if path not in self.changed:
            self.changed.append(path)
        return not self.check

    def parents(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)

    def attributes(self, entry: dict[str, Any], target: str = "") -> None:
        """Set mode and owner of the file or directory at `target`, by default the entry's path, if it exists."""
        target, mode = target or entry["path"], int(entry["mode"], 8)
        ids = owner_ids(entry, self.module.check_mode)
        try:
            info = os.lstat(target)
        except OSError:
            return
        if stat.S_IMODE(info.st_mode) == mode and ids in (None, (info.st_uid, info.st_gid)):
            return
        if not self.change(entry["path"]):
            return
        # A service's user may put a link there meanwhile.
        handle = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if ids:
                os.fchown(handle, *ids)
            os.fchmod(handle, mode)
        finally:
            os.close(handle)

    def _absent(self, entry: dict[str, Any]) -> None:
        path = entry["path"]
        if os.path.lexists(path) and self.change(path):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def _directory(self, entry: dict[str, Any]) -> None:
        path = entry["path"]
        if os.path.lexists(path) and not os.path.isdir(path):
            raise HostError(f"{path}: found a file, wanted a directory; move it away and run again")
        if not os.path.isdir(path):
            if not self.change(path):
                return
            self.parents(path)
            os.mkdir(path, int(entry["mode"], 8))
        # An administrator may have moved it to another disk; others do not choose what is given away.
        owner = os.lstat(path).st_uid
        if os.path.islink(path) and owner not in (0, os.geteuid()):
            raise HostError(f"{path}: found a link that user {owner} made, wanted a directory; remove it and run again")
        self.attributes(entry, os.path.realpath(path))

    def _tree(self, entry: dict[str, Any]) -> None:
        root, files, mode = entry["path"], entry["content"]["files"], int(entry["mode"], 8)
        directories = {root}
        for name in files:
            while (name := os.path.dirname(name)) and os.path.join(root, name) not in directories:
                directories.add(os.path.join(root, name))
        wanted = {os.path.join(root, name): content for name, content in files.items()}
        for path in sorted(directories):
            # What the tree had there before was another kind of thing. Nothing is written through a link.
            if path != root and os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
                self._absent({"path": path})
                if self.check:
                    continue
            self._directory({**entry, "path": path, "mode": oct(mode | (mode & 0o444) >> 2)})
        for path in sorted(wanted):
            if os.path.isdir(path) and not os.path.islink(path):
                self._absent({"path": path})
                if self.check:
                    continue
            self._file({**entry, "path": path, "content": wanted[path]})
        # Last: what needs an old file finds it until the new ones are there.
        for top, inside, names in os.walk(root):
            found = {os.path.join(top, name) for name in (*inside, *names) if not trees.ignored(name)}
            for path in sorted(found - directories - wanted.keys()):
                self._absent({"path": path})
            inside[:] = [name for name in inside if os.path.join(top, name) in directories]

    def _link(self, entry: dict[str, Any]) -> None:
        path, target = entry["path"], entry["link"]
        if os.path.islink(path) and os.readlink(path) == target:
            return
        if self.change(path):
            self.parents(path)
            temporary = path + ".cloudbang"
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(target, temporary)
            os.rename(temporary, path)

    def _file(self, entry: dict[str, Any]) -> None:
        path = entry["path"]
        if os.path.isdir(path):
            raise HostError(f"{path}: found a directory, wanted a file; move it away and run again")
        content = entry["content"]
        if not os.path.islink(path) and self.digests.of(path) == content["sha256"]:
            self.attributes(entry)
            return
        inline = content.get("data") is not None
        if not inline and not content.get("blob"):
            self.missing.append(path)
        if self.missing and (not inline or entry["validate"]):
            # What a command has to check may need the program that is still to come.
            self.change(path)
            return
        data = zlib.decompress(base64.b64decode(content["data"])) if inline else None
        self._show(entry, data)
        if not self.change(path):
            return
        ids = owner_ids(entry, False) or (0, 0)
        self.parents(path)
        with atomic.staged(path, int(entry["mode"], 8), ids) as source:
            self._fill(source, entry, data)
            self._validate(entry, source)

    def _fill(self, source: str, entry: dict[str, Any], data: bytes | None) -> None:
        """Write the new content, from the message or from the cache of what was sent, and verify it."""
        path, content, digest = entry["path"], entry["content"], hashlib.sha256()
        with open(source, "wb", opener=atomic.no_link) as target:
            if data is not None:
                target.write(data)
                digest.update(data)
            else:
                with open(content["blob"], "rb") as blob:
                    for chunk in iter(lambda: blob.read(1 << 20), b""):
                        target.write(chunk)
                        digest.update(chunk)
        if digest.hexdigest() != content["sha256"]:
            raise HostError(f"{path}: arrived with sha256 {digest.hexdigest()}, wanted {content['sha256']}")

    def _validate(self, entry: dict[str, Any], source: str) -> None:
        if not entry.get("validate"):
            return
        command = [part.replace("%s", source) for part in shlex.split(entry["validate"])]
        code, out, err = self.module.run_command(command)
        if code:
            raise HostError(
                f"{entry['path']}: the new version was refused by `{' '.join(command)}` (exit {code}) and the old one "
                f"kept: {(err or out).strip()[-2000:]}"
            )

    def _show(self, entry: dict[str, Any], data: bytes | None) -> None:
        if not self.module._diff or data is None:
            return
        path = entry["path"]
        if entry["secret"] or not int(entry["mode"], 8) & 0o007:
            before, after = "(secret)\n", "(another secret)\n"
        else:
            before = (read(path) or b"").decode("utf-8", errors="replace")
            after = data.decode("utf-8", errors="replace")
        self.diff.append({"before_header": path, "after_header": path, "before": before, "after": after})
