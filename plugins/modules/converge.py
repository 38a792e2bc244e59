#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge files and the systemd units that use them, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: converge
short_description: Converge a list of files and the services that use them
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Renders templates and kubeconfigs, collects copies, artifacts, directories and links on the controller, and
    converges all of them on the host in one round trip. Large files are sent only when the host does not have them
    already.
  - A unit is restarted if the files that it uses differ from those that it was started with, or if its effect is gone.
    Since this is compared at each run, a run repairs an earlier one that stopped after a file had changed.
options:
  files:
    description: Files, directories and links on the host, in order. A file has exactly one source.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path on the host. Missing parent directories are created with mode V(0755).
        type: path
        required: true
      template:
        description: Name of a Jinja2 template, searched as M(ansible.builtin.template) does.
        type: str
      src:
        description: Name of a file on the controller, searched as M(ansible.builtin.copy) does.
        type: str
      tree:
        description:
          - Name of a directory on the controller, searched as M(ansible.builtin.copy) does. O(files[].path) gets all
            files below it, each replaced whole, and loses all others. Hidden files and what Python compiles are neither
            sent nor removed.
        type: str
      content:
        description: Content of the file. A mapping or a list is written as JSON.
        type: raw
      kubeconfig:
        description:
          - Options of a kubeconfig for the cluster of the inventory, with one user and one context.
          - Paths are on the host, or with O(files[].kubeconfig.embed) on the controller.
        type: dict
        suboptions:
          user:
            description: Name of the user.
            type: str
            required: true
          certificate:
            description: Path of the user's certificate and key, without V(.crt) and V(.key).
            type: path
            required: true
          authority:
            description: Path of the certificate of the authority that signed the API server's.
            type: path
            required: true
          context:
            description: Name of the context.
            type: str
            default: default
          embed:
            description: Whether the kubeconfig contains these files instead of their paths.
            type: bool
            default: false
      artifact:
        description: Name of an artifact, fetched or built by M(cloudbang.platform.artifacts) when it is not cached.
        type: str
      link:
        description: Target of the symbolic link at O(files[].path).
        type: str
      state:
        description:
          - Kind of O(files[].path), or V(absent) to remove it. V(link) is implied by O(files[].link), V(tree) by
            O(files[].tree).
        type: str
        choices: [file, directory, link, tree, absent]
        default: file
      mode:
        description:
          - Permission bits in octal. The directories of a tree can be entered by all who can read its files.
          - The default is V(0644), V(0755) for directories and artifacts, V(0600) for kubeconfigs.
        type: str
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      validate:
        description: Command that checks a new version before it replaces the old one. V(%s) is replaced by its path.
        type: str
      secret:
        description: Whether to hide the content in diffs. Files without access for others are always hidden.
        type: bool
        default: false
  services:
    description: systemd units, converged in order after all files.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit; C(.service) is implied.
        type: str
        required: true
      state:
        description: Wanted state of the unit.
        type: str
        choices: [started, stopped]
        default: started
      enabled:
        description: Whether the unit starts at boot.
        type: bool
        default: true
      uses:
        description:
          - Files that the running process depends on, besides its unit file. A directory means all files in it, except
            those that Python compiles.
          - The default is all of O(files) that are regular files or trees.
        type: list
        elements: path
      reload:
        description: Whether to reload the unit instead of restarting it, if only the files changed and its effect
          exists.
        type: bool
        default: false
      rolling:
        description:
          - Whether to start the unit if it is stopped, but not to restart it. A unit that needs a restart is in
            RV(stale), so that a second, throttled task can restart it.
        type: bool
        default: false
      effect:
        description:
          - Command, run without a shell, that succeeds while the unit's effect exists, such as rules in the kernel. A
            unit whose effect is gone is stale, whatever its files. The command runs in check mode, too.
          - Without O(services[].health), the task waits for it after a start.
        type: str
      health:
        description: Command, run without a shell, that succeeds when the started or restarted unit works.
        type: str
      health_timeout:
        description: Seconds to wait for O(services[].health).
        type: int
        default: 60
  record:
    description:
      - Whether M(cloudbang.platform.node_reset) removes O(files) from the host; directories with their content.
      - V(true) by default, and V(false) if the task is delegated.
    type: bool
attributes:
  check_mode:
    support: full
    description: Returns what would change, and changes nothing.
  diff_mode:
    support: full
    description: Shows text files, except secret ones.
"""

EXAMPLES = r"""
- name: Configure and run etcd
  cloudbang.platform.converge:
    files:
      - path: /usr/local/bin/etcd
        artifact: etcd
      - path: /etc/systemd/system/etcd.service
        template: etcd.service.j2
        mode: "0600"
    services:
      - name: etcd
        rolling: true
  register: etcd_files

- name: Restart etcd one member at a time
  cloudbang.platform.converge:
    services:
      - name: etcd
        uses: [/usr/local/bin/etcd]
        health: etcdctl endpoint health
  throttle: 1
  when: "'etcd' in etcd_files.stale"
"""

RETURN = r"""
changed_files:
  description: Paths that were, or in check mode would be, changed.
  type: list
  elements: str
  returned: always
restarted:
  description: Units that were started, restarted, reloaded or stopped.
  type: list
  elements: str
  returned: always
stale:
  description: Rolling units that were started with other files, or whose effect is gone.
  type: list
  elements: str
  returned: always
missing:
  description: Paths of the files whose content the host does not have yet. Empty in the result of a task.
  type: list
  elements: str
  returned: always
"""

import base64
import grp
import hashlib
import json
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import time
import zlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic, trees

DIGESTS = "/var/lib/cloudbang/digests.json"
INSTALLED = "/var/lib/cloudbang/installed.json"
RELOADED = "/run/cloudbang"
DROP_IN = "cloudbang.conf"
MARK = "CLOUDBANG_CONFIG"
REMEMBER_ABOVE = 1 << 20  # bytes: hashing smaller files is cheaper than remembering them


class Problem(Exception):
    """An operation that the host does not allow; the message has the operation, the path and the next step."""


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
        raise Problem(f"{store}: found no JSON, wanted what was installed: {error}; remove it and run again") from error


def owner_ids(entry: dict[str, Any], lenient: bool) -> tuple[int, int] | None:
    """Return uid and gid of an entry. In check mode an owner may be one that an earlier task would have made."""
    if os.geteuid():
        return os.geteuid(), os.getegid()  # only root can give files away
    try:
        return pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid
    except KeyError as error:
        if lenient:
            return None
        raise Problem(f"{entry['path']}: no such user or group: {entry['owner']}:{entry['group']}") from error


def generation(path: str) -> str:
    """Return what differs between two versions of a file even when their content is the same."""
    try:
        info = os.stat(path)
    except OSError:
        return "none"
    return f"{info.st_ino} {info.st_mtime_ns}"


def succeeds(command: list[str]) -> tuple[bool, str]:
    """Return whether a command succeeds within 10 s, and what it says."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]


class Files:
    """Brings the files of one task to the wanted state."""

    def __init__(self, module: AnsibleModule, digests: Digests) -> None:
        self.module = module
        self.digests = digests
        self.changed: list[str] = []
        self.missing: list[str] = []
        self.diff: list[dict[str, str]] = []

    def converge(self, entry: dict[str, Any]) -> None:
        try:
            getattr(self, "_" + entry["state"])(entry)
        except OSError as error:
            raise Problem(f"{entry['path']}: {error.strerror or error}; what was there before is kept") from error

    def _change(self, path: str) -> bool:
        """Record a change; return whether to make it."""
        if path not in self.changed:
            self.changed.append(path)
        return not self.module.check_mode

    def _parents(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)

    def _attributes(self, entry: dict[str, Any]) -> None:
        path, mode = entry["path"], int(entry["mode"], 8)
        ids = owner_ids(entry, self.module.check_mode)
        try:
            info = os.stat(path)
        except OSError:
            return
        if stat.S_IMODE(info.st_mode) != mode and self._change(path):
            os.chmod(path, mode)
        if ids and (info.st_uid, info.st_gid) != ids and self._change(path):
            os.chown(path, *ids)
            os.chmod(path, mode)

    def _absent(self, entry: dict[str, Any]) -> None:
        path = entry["path"]
        if os.path.lexists(path) and self._change(path):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def _directory(self, entry: dict[str, Any]) -> None:
        path = entry["path"]
        if os.path.lexists(path) and not os.path.isdir(path):
            raise Problem(f"{path}: found a file, wanted a directory; move it away and run again")
        if not os.path.isdir(path):
            if not self._change(path):
                return
            self._parents(path)
            os.mkdir(path, int(entry["mode"], 8))
        self._attributes(entry)

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
                if self.module.check_mode:
                    continue
            self._directory({**entry, "path": path, "mode": oct(mode | (mode & 0o444) >> 2)})
        for path in sorted(wanted):
            if os.path.isdir(path) and not os.path.islink(path):
                self._absent({"path": path})
                if self.module.check_mode:
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
        if self._change(path):
            self._parents(path)
            temporary = path + ".cloudbang"
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(target, temporary)
            os.rename(temporary, path)

    def _file(self, entry: dict[str, Any]) -> None:
        path = entry["path"]
        if os.path.isdir(path):
            raise Problem(f"{path}: found a directory, wanted a file; move it away and run again")
        content = entry["content"]
        if self.digests.of(path) == content["sha256"]:
            self._attributes(entry)
            return
        inline = content.get("data") is not None
        if not inline and not content.get("blob"):
            self.missing.append(path)
        if self.missing and (not inline or entry["validate"]):
            # What a command has to check may need the program that is still to come.
            self._change(path)
            return
        data = zlib.decompress(base64.b64decode(content["data"])) if inline else None
        self._show(entry, data)
        if not self._change(path):
            return
        ids = owner_ids(entry, False) or (0, 0)
        self._parents(path)
        with atomic.staged(path, int(entry["mode"], 8), ids) as source:
            self._fill(source, entry, data)
            self._validate(entry, source)

    def _fill(self, source: str, entry: dict[str, Any], data: bytes | None) -> None:
        """Write the new content, from the message or from the cache of what was sent, and verify it."""
        path, content, digest = entry["path"], entry["content"], hashlib.sha256()
        with open(source, "wb") as target:
            if data is not None:
                target.write(data)
                digest.update(data)
            else:
                with open(content["blob"], "rb") as blob:
                    for chunk in iter(lambda: blob.read(1 << 20), b""):
                        target.write(chunk)
                        digest.update(chunk)
        if digest.hexdigest() != content["sha256"]:
            raise Problem(f"{path}: arrived with sha256 {digest.hexdigest()}, wanted {content['sha256']}")

    def _validate(self, entry: dict[str, Any], source: str) -> None:
        if not entry.get("validate"):
            return
        command = [part.replace("%s", source) for part in shlex.split(entry["validate"])]
        code, out, err = self.module.run_command(command)
        if code:
            raise Problem(
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
            try:
                with open(path, encoding="utf-8", errors="replace") as stream:
                    before = stream.read()
            except OSError:
                before = ""
            after = data.decode("utf-8", errors="replace")
        self.diff.append({"before_header": path, "after_header": path, "before": before, "after": after})


class Services:
    """Brings systemd units to the wanted state by comparing running processes with files on disk."""

    def __init__(self, module: AnsibleModule, digests: Digests, changed_files: list[str]) -> None:
        self.module = module
        self.digests = digests
        self.changed_files = changed_files
        self.changed: list[str] = []
        self.stale: list[str] = []

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        code, out, err = self.module.run_command(["systemctl", *arguments])
        if check and code:
            raise Problem(f"`systemctl {' '.join(arguments)}` failed: {(err or out).strip()}")
        return str(out)

    def show(self, unit: str) -> dict[str, str]:
        wanted = "LoadState,ActiveState,SubState,UnitFileState,MainPID,NeedDaemonReload,InvocationID,FragmentPath,Type"
        out = self.systemctl("show", "-p", wanted, unit, check=False)
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def converge(self, services: list[dict[str, Any]], files: list[dict[str, Any]]) -> None:
        everything = [entry["path"] for entry in files if entry["state"] in ("file", "tree")]
        for service in services:
            unit = service["name"] if "." in service["name"] else service["name"] + ".service"
            self._converge(unit, service, service["uses"] if service["uses"] is not None else everything)

    def _converge(self, unit: str, service: dict[str, Any], uses: list[str]) -> None:
        name = service["name"]
        status = self.show(unit)
        if service["state"] == "stopped":
            self._stop(unit, name, status)
            return
        if status.get("LoadState") == "not-found" and not os.path.exists(f"/etc/systemd/system/{unit}"):
            if self.module.check_mode:
                self.changed.append(name)
                return
            raise Problem(f"{unit}: there is no such unit on this host; its files must come before it")
        if self.module.check_mode and any(
            changed == path or changed.startswith(f"{path}/") for changed in self.changed_files for path in uses
        ):
            self.changed.append(name)
            return
        wanted = self._wanted(status.get("FragmentPath") or f"/etc/systemd/system/{unit}", uses)
        self._mark(unit, wanted, status)
        self._enable(unit, name, service, status)
        if status.get("ActiveState") not in ("active", "activating", "reloading"):
            self._act("restart", unit, service, wanted, uses)
            return
        gone = not self._effective(service)
        if not gone and self._running(unit, status) == wanted:
            return
        if service["rolling"]:
            self.stale.append(name)
        else:
            self._act("reload" if service["reload"] and not gone else "restart", unit, service, wanted, uses)

    def _effective(self, service: dict[str, Any]) -> bool:
        """Return whether what the unit has made is there; of a unit that does not say what that is, it is."""
        command = shlex.split(service["effect"] or "")
        return not command or succeeds(command)[0]

    def _stop(self, unit: str, name: str, status: dict[str, str]) -> None:
        running = status.get("ActiveState") in ("active", "activating", "reloading")
        enabled = status.get("UnitFileState") == "enabled"
        if not running and not enabled:
            return
        self.changed.append(name)
        if not self.module.check_mode:
            self.systemctl("disable", "--now", unit)

    def _wanted(self, fragment: str, uses: list[str]) -> str:
        """Return the digest of all that the process of this unit depends on.

        Inode and time tell a repaired file from the one that it replaces: whoever changed that one by hand may have
        restarted the unit with it, and its mark is still that of the content before.
        """
        total = hashlib.sha256()
        for path in sorted({fragment, *uses}):
            inside = [path]
            if os.path.isdir(path):
                walk = ((top, names) for top, _dirs, names in os.walk(path) if os.path.basename(top) != "__pycache__")
                inside = [os.path.join(top, one) for top, names in walk for one in names]
            for one in sorted(inside):
                total.update(f"{one}={self.digests.of(one)} {generation(one)}\n".encode())
        return total.hexdigest()[:32]

    def _running(self, unit: str, status: dict[str, str]) -> str | None:
        """Return the digest that the running process was started, or last reloaded, with."""
        try:
            with open(f"{RELOADED}/{unit}", encoding="utf-8") as stream:
                invocation, digest = stream.read().split()
            if invocation == status.get("InvocationID"):
                return digest
        except (OSError, ValueError):
            pass
        try:
            with open(f"/proc/{int(status.get('MainPID') or 0)}/environ", "rb") as stream:
                environment = stream.read().split(b"\0")
        except OSError:
            return self._marked(unit) if status.get("Type") == "oneshot" else None
        for item in environment:
            if item.startswith(MARK.encode() + b"="):
                return item.split(b"=", 1)[1].decode()
        return None

    def _drop_in(self, unit: str) -> str:
        return f"/etc/systemd/system/{unit}.d/{DROP_IN}"

    def _marked(self, unit: str) -> str | None:
        """Return the digest in the drop-in of a oneshot unit after a boot, when it ran with all that was there."""
        try:
            with open(self._drop_in(unit), encoding="utf-8") as stream:
                return stream.read().rsplit("=", 1)[1].strip()
        except (OSError, IndexError):
            return None

    def _mark(self, unit: str, wanted: str, status: dict[str, str]) -> None:
        drop_in = self._drop_in(unit)
        text = f"[Service]\nEnvironment={MARK}={wanted}\n"
        try:
            with open(drop_in, encoding="utf-8") as stream:
                same = stream.read() == text
        except OSError:
            same = False
        if self.module.check_mode:
            return
        if not same:
            # A oneshot's earlier run is known only by its mark, so the record of that run must not outlive it.
            if status.get("Type") == "oneshot" and status.get("ActiveState") == "active":
                self._record(unit, status.get("InvocationID", ""), self._marked(unit) or "none")
            os.makedirs(os.path.dirname(drop_in), mode=0o755, exist_ok=True)
            atomic.write(drop_in, text)
        if not same or status.get("NeedDaemonReload") == "yes" or status.get("LoadState") == "not-found":
            self.systemctl("daemon-reload")

    def _record(self, unit: str, invocation: str, digest: str) -> None:
        os.makedirs(RELOADED, mode=0o700, exist_ok=True)
        atomic.write(f"{RELOADED}/{unit}", f"{invocation} {digest}\n")

    def _enable(self, unit: str, name: str, service: dict[str, Any], status: dict[str, str]) -> None:
        state = status.get("UnitFileState")
        wrong = state not in ("enabled", "static") if service["enabled"] else state == "enabled"
        if not wrong:
            return
        self.changed.append(name)
        if not self.module.check_mode:
            self.systemctl("enable" if service["enabled"] else "disable", unit)

    def _act(self, verb: str, unit: str, service: dict[str, Any], wanted: str, uses: list[str]) -> None:
        name = service["name"]
        if name not in self.changed:
            self.changed.append(name)
        if self.module.check_mode:
            return
        self.systemctl("reset-failed", unit, check=False)
        code, _out, err = self.module.run_command(["systemctl", verb, unit])
        if code:
            raise Problem(f"{unit}: {verb} failed: {err.strip()}\n{self._journal(unit)}")
        status = self.show(unit)
        if verb == "reload" or status.get("Type") == "oneshot":
            self._record(unit, status.get("InvocationID", ""), wanted)
        self._wait(unit, service)

    def _wait(self, unit: str, service: dict[str, Any]) -> None:
        """Wait until the unit works; fail at once for a unit that keeps crashing."""
        deadline = time.monotonic() + service["health_timeout"]
        health = service["health"] or service["effect"] or ""
        command = shlex.split(health)
        while True:
            status = self.show(unit)
            if status.get("ActiveState") == "failed":
                raise Problem(f"{unit}: it stopped right after its start.\n{self._journal(unit)}")
            if not command:
                return
            healthy, said = succeeds(command)
            if healthy:
                return
            if time.monotonic() > deadline:
                raise Problem(
                    f"{unit}: not healthy after {service['health_timeout']} s: `{health}` says: {said}\n"
                    f"{self._journal(unit)}"
                )
            time.sleep(0.25)

    def _journal(self, unit: str) -> str:
        _code, out, _err = self.module.run_command(
            ["journalctl", "--no-pager", "--quiet", "--lines=20", "--output=cat", f"--unit={unit}"]
        )
        return f"Last lines of its journal:\n{out.strip()[-4000:]}"


def main() -> None:
    kubeconfig_spec = {
        "user": {"type": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "authority": {"type": "path", "required": True},
        "context": {"type": "str", "default": "default"},
        "embed": {"type": "bool", "default": False},
    }
    # The action plugin makes every source a content: its digest; its bytes in base64, compressed by zlib, when it is
    # small; otherwise its path on the host, once it was sent. That of a tree is such contents by relative path.
    file_spec = {
        "path": {"type": "path", "required": True},
        "template": {"type": "str"},
        "src": {"type": "str"},
        "tree": {"type": "str"},
        "content": {"type": "raw", "no_log": True},
        "kubeconfig": {"type": "dict", "options": kubeconfig_spec},
        "artifact": {"type": "str"},
        "state": {"type": "str", "choices": ["file", "directory", "link", "tree", "absent"], "default": "file"},
        "link": {"type": "str"},
        "mode": {"type": "str"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "str"},
        "secret": {"type": "bool", "default": False, "no_log": False},
    }
    service_spec = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        "enabled": {"type": "bool", "default": True},
        "uses": {"type": "list", "elements": "path"},
        "reload": {"type": "bool", "default": False},
        "rolling": {"type": "bool", "default": False},
        "effect": {"type": "str"},
        "health": {"type": "str"},
        "health_timeout": {"type": "int", "default": 60},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_spec},
            "services": {"type": "list", "elements": "dict", "default": [], "options": service_spec},
            "record": {"type": "bool"},
        },
        supports_check_mode=True,
    )
    digests = Digests()
    files = Files(module, digests)
    services = Services(module, digests, files.changed)
    try:
        if module.params["record"] and not module.check_mode and os.geteuid() == 0:
            record(module.params["files"])
        for entry in module.params["files"]:
            files.converge(entry)
        if not files.missing or module.check_mode:
            services.converge(module.params["services"], module.params["files"])
        if not module.check_mode:
            digests.save()
    except (Problem, OSError) as error:
        module.fail_json(
            msg=str(error),
            changed=bool(files.changed),
            changed_files=files.changed,
            restarted=services.changed,
            stale=[],
            missing=files.missing,
        )
    module.exit_json(
        changed=bool(files.changed or services.changed),
        changed_files=files.changed,
        restarted=services.changed,
        stale=services.stale,
        missing=files.missing,
        diff=files.diff,
    )


if __name__ == "__main__":
    main()
