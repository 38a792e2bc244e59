# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units on a host, brought to their wanted state by comparing running processes with files."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic, trees
from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError
from ansible_collections.cloudbang.platform.plugins.module_utils.host.files import Digests

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

RELOADED = "/run/cloudbang"
DROP_IN = "cloudbang.conf"
MARK = "CLOUDBANG_CONFIG"


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


def _unit(service: dict[str, Any]) -> str:
    return str(service["name"]) if "." in service["name"] else f"{service['name']}.service"


class Services:
    """Brings systemd units to the wanted state by comparing running processes with files on disk.

    With `check` it only finds out what that would change. `due` is then whether a run without it does anything, also
    what is no change of a unit, such as marking it.
    """

    def __init__(self, module: AnsibleModule, digests: Digests, changed_files: list[str], check: bool) -> None:
        self.module = module
        self.digests = digests
        self.changed_files = changed_files
        self.check = check
        self.due = False
        self.changed: list[str] = []
        self.stale: list[str] = []

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        code, out, err = self.module.run_command(["systemctl", *arguments])
        if check and code:
            raise HostError(f"`systemctl {' '.join(arguments)}` failed: {(err or out).strip()}")
        return str(out)

    def show(self, unit: str) -> dict[str, str]:
        wanted = "LoadState,ActiveState,SubState,UnitFileState,MainPID,NeedDaemonReload,InvocationID,FragmentPath,Type"
        out = self.systemctl("show", "-p", wanted, unit, check=False)
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def stop(self, services: list[dict[str, Any]]) -> None:
        """Stop the units that are to be stopped, while their files are still there."""
        for service in services:
            if service["state"] == "stopped":
                self._stop(_unit(service), service["name"])

    def converge(self, services: list[dict[str, Any]], files: list[dict[str, Any]]) -> None:
        """Start or restart all other units, in order."""
        everything = [entry["path"] for entry in files if entry["state"] in ("file", "tree")]
        for service in services:
            if service["state"] == "started":
                self._converge(_unit(service), service, service["uses"] if service["uses"] is not None else everything)

    def _converge(self, unit: str, service: dict[str, Any], uses: list[str]) -> None:
        name = service["name"]
        status = self.show(unit)
        if status.get("LoadState") == "not-found" and not os.path.exists(f"/etc/systemd/system/{unit}"):
            if self.check:
                self.changed.append(name)
                return
            raise HostError(f"{unit}: there is no such unit on this host; its files must come before it")
        if self.check and any(
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

    def _stop(self, unit: str, name: str) -> None:
        status = self.show(unit)
        running = status.get("ActiveState") in ("active", "activating", "reloading")
        enabled = status.get("UnitFileState") == "enabled"
        if not running and not enabled:
            return
        self.changed.append(name)
        if not self.check:
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
                inside = []
                for top, directories, names in os.walk(path):
                    directories[:] = [name for name in directories if not trees.ignored(name)]
                    inside += [os.path.join(top, name) for name in names if not trees.ignored(name)]
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
        reload = not same or status.get("NeedDaemonReload") == "yes" or status.get("LoadState") == "not-found"
        if self.check:
            self.due = self.due or reload
            return
        if not same:
            # A oneshot's earlier run is known only by its mark, so the record of that run must not outlive it.
            if status.get("Type") == "oneshot" and status.get("ActiveState") == "active":
                self._record(unit, status.get("InvocationID", ""), self._marked(unit) or "none")
            os.makedirs(os.path.dirname(drop_in), mode=0o755, exist_ok=True)
            atomic.write(drop_in, text)
        if reload:
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
        if not self.check:
            self.systemctl("enable" if service["enabled"] else "disable", unit)

    def _act(self, verb: str, unit: str, service: dict[str, Any], wanted: str, uses: list[str]) -> None:
        name = service["name"]
        if name not in self.changed:
            self.changed.append(name)
        if self.check:
            return
        self.systemctl("reset-failed", unit, check=False)
        code, _out, err = self.module.run_command(["systemctl", verb, unit])
        if code:
            raise HostError(f"{unit}: {verb} failed: {err.strip()}\n{self._journal(unit)}")
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
                raise HostError(f"{unit}: it stopped right after its start.\n{self._journal(unit)}")
            if not command:
                return
            healthy, said = succeeds(command)
            if healthy:
                return
            if time.monotonic() > deadline:
                raise HostError(
                    f"{unit}: not healthy after {service['health_timeout']} s: `{health}` says: {said}\n"
                    f"{self._journal(unit)}"
                )
            time.sleep(0.25)

    def _journal(self, unit: str) -> str:
        _code, out, _err = self.module.run_command(
            ["journalctl", "--no-pager", "--quiet", "--lines=20", "--output=cat", f"--unit={unit}"]
        )
        return f"Last lines of its journal:\n{out.strip()[-4000:]}"
