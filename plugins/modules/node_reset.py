#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the platform from a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_reset
short_description: Remove the platform from a host
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Stops the units of M(cloudbang.platform.converge) and removes all files that it recorded.
  - Removes everything else that the host's roles left, such as interfaces, routes, packet filter rules, mounts and
    processes of containers, by the declaration of each role in C(/etc/cloudbang/reset.d).
  - Packet filter rules of others, SSH, users and installed packages stay. Kernel parameters stay until the next boot.
  - Missing files and units are not errors, so that a stopped run can be repeated.
options:
  declared:
    description:
      - Additional declarations, each in the format of the key C(reset) of a role's C(meta/platform.yml).
      - The declarations of all roles also reset hosts without declarations of their own, after an earlier version or an
        unfinished run.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    support: full
    description: Returns what would be removed.
"""

EXAMPLES = r"""
- name: Remove the platform
  cloudbang.platform.node_reset:
    declared: "{{ query('cloudbang.platform.declared', 'reset') }}"
"""

RETURN = r"""
removed:
  description: Units, interfaces, routes, rules and paths that were, or in check mode would be, removed.
  type: list
  elements: str
  returned: always
"""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

STATE = "/var/lib/cloudbang"
INSTALLED = STATE + "/installed.json"
DECLARED = "/etc/cloudbang/reset.d"
# What the module converge makes for the time until the next boot.
RUNTIME = ("/run/cloudbang",)
UNITS = "/etc/systemd/system"
DROP_IN = "cloudbang.conf"


def declarations(directory: str = DECLARED) -> list[dict[str, Any]]:
    """Return what the roles of this host have declared."""
    found = []
    for path in sorted(glob.glob(f"{directory}/*")):
        try:
            with open(path, encoding="utf-8") as stream:
                found.append(dict(json.load(stream)))
        except (TypeError, ValueError) as error:
            raise OSError(f"{path}: found no JSON, wanted what a role has left on the host: {error}") from error
    return found


def is_ours(rule: str, chains: tuple[str, ...], comments: tuple[str, ...]) -> bool:
    """Return whether a line of iptables-save is a rule of the platform's, by beginnings of chains and comments."""
    words = rule.split()
    if words[0] != "-A":
        return False
    targets = [after for option, after in zip(words, words[1:]) if option in ("-A", "-j", "-g")]
    said = [after.lstrip('"') for option, after in zip(words, words[1:]) if option == "--comment"]
    return any(one.startswith(chains) for one in targets) or any(one.startswith(comments) for one in said)


def removal(saved: str, chains: tuple[str, ...], comments: tuple[str, ...]) -> str:
    """Return the input for iptables-restore --noflush that removes the platform's part of what iptables-save says."""
    script: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            table, rules, made = line, list[str](), list[str]()
        elif line.startswith(":") and line[1:].startswith(chains):
            made.append(line[1:].split()[0])
        elif line.startswith("-A") and is_ours(line, chains, comments) and not line.split()[1].startswith(chains):
            rules.append("-D" + line[2:])
        elif line == "COMMIT" and (rules or made):
            flushes = [f"-F {chain}" for chain in made]
            script += [table, *rules, *flushes, *(f"-X {chain}" for chain in made), "COMMIT"]
    return "".join(f"{line}\n" for line in script)


class Reset:
    """Removes units, processes, rules and files in order; steps that are already done are skipped."""

    def __init__(self, module: AnsibleModule, declared: Iterable[Mapping[str, Any]] = ()) -> None:
        self.module = module
        self.declared = list(declared)
        self.removed: list[str] = []

    def _all(self, key: str) -> tuple[Any, ...]:
        """Return what the declarations have of something, in their order, each once."""
        found: list[Any] = []
        for one in self.declared:
            # An empty beginning would be that of everything.
            found += [value for value in one.get(key) or () if value and value not in found]
        return tuple(found)

    def _note(self, what: str) -> bool:
        self.removed.append(what)
        return not self.module.check_mode

    def _ask(self, *command: str) -> str:
        """Return what a program says, nothing when the host has no such program or not what it asks for."""
        if not shutil.which(command[0]):
            return ""
        code, out, _err = self.module.run_command(list(command))
        return "" if code else str(out)

    def _run(self, *command: str, data: str | None = None) -> None:
        code, _out, err = self.module.run_command(list(command), data=data)
        if code:
            raise OSError(f"`{' '.join(command)}` failed: {err.strip()}")

    def steps(self) -> None:
        """Run the commands of roles that need running services of others, if they are not done yet."""
        for unit in (unit for unit in self._all("stop") if os.path.exists(f"{UNITS}/{unit}")):
            if not self.module.check_mode:
                self.module.run_command(["systemctl", "stop", unit])
        done = set()
        for step in self._all("steps"):
            # The host's own version of a step comes before that of the controller.
            if step["name"] in done or not shutil.which(step["needed"][0]):
                continue
            done.add(step["name"])
            if self.module.run_command(step["needed"])[0] == 0 and self._note(step["name"]):
                for command in step["commands"]:
                    self._run(*command)

    def units(self) -> None:
        """Stop and disable all marked units at once: systemd orders them."""
        marks = sorted(glob.glob(f"{UNITS}/*.d/{DROP_IN}"))
        stop = []
        for mark in marks:
            unit = os.path.basename(os.path.dirname(mark)).removesuffix(".d")
            out = self._ask("systemctl", "show", "--property=LoadState,UnitFileState", unit)
            # Static units are the system's own.
            if "LoadState=loaded" in out and "UnitFileState=static" not in out:
                stop.append(unit)
        for unit in stop:
            self._note(unit)
        if stop and not self.module.check_mode:
            self._run("systemctl", "disable", "--now", *stop)
            self.module.run_command(["systemctl", "reset-failed", *stop])
        for mark in marks:
            self._path(mark)
            self._empty(os.path.dirname(mark))

    def processes(self) -> None:
        """End processes that services leave running when they stop, such as shims and containers of containerd."""
        cgroups, programs = self._all("cgroups"), tuple(f"{one}\0".encode() for one in self._all("programs"))
        for attempt in range(50):
            running = [name for name in os.listdir("/proc") if name.isdigit()]
            found = [int(name) for name in running if self._is_left(name, cgroups, programs)]
            if not found:
                return
            if attempt == 0 and not self._note(f"{len(found)} processes of containers"):
                return
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)

    def _is_left(self, process: str, cgroups: tuple[str, ...], programs: tuple[bytes, ...]) -> bool:
        try:
            with open(f"/proc/{process}/cgroup", encoding="utf-8") as stream:
                text = stream.read()
            with open(f"/proc/{process}/cmdline", "rb") as command:
                return any(one in text for one in cgroups) or command.read().startswith(programs)
        except OSError:
            return False

    def mounts(self) -> None:
        with open("/proc/self/mounts", encoding="utf-8") as stream:
            points = [line.split()[1].replace("\\040", " ") for line in stream]
        for point in sorted(points, reverse=True):
            if point.startswith(self._all("mounts")) and self._note(point):
                self._run("umount", "--lazy", point)

    def network(self) -> None:
        for link in json.loads(self._ask("ip", "-json", "link", "show") or "[]"):
            name = link["ifname"]
            if any(re.fullmatch(one, name) for one in self._all("interfaces")) and self._note(name):
                self._run("ip", "link", "delete", name)
        for routes in self._all("routes"):
            if self._ask("ip", "route", "show", *routes.split()) and self._note(f"routes {routes}"):
                self._run("ip", "route", "flush", *routes.split())

    def rules(self) -> None:
        """Remove the platform's own tables, and from the shared ones only its rules and chains."""
        for table in self._ask("nft", "list", "tables").splitlines():
            if table.split()[-1] in self._all("tables") and self._note(f"nftables {table}"):
                self._run("nft", "delete", *table.split())
        for family in ("iptables", "ip6tables"):
            script = removal(self._ask(f"{family}-save"), self._all("chains"), self._all("comments"))
            if script and self._note(f"rules of {family}"):
                self._run(f"{family}-restore", "--noflush", data=script)
        for name in self._ask("ipset", "list", "-name").split():
            if name.startswith(self._all("sets")) and self._note(f"ipset {name}"):
                self._run("ipset", "destroy", name)

    def files(self) -> None:
        """Remove recorded files and trees, and their recorded parent directories when these are empty."""
        try:
            with open(INSTALLED, encoding="utf-8") as stream:
                recorded: dict[str, str] = json.load(stream)
        except FileNotFoundError:
            recorded = {}
        except ValueError as error:
            raise OSError(f"{INSTALLED}: found no JSON, wanted what was installed: {error}") from error
        # First, since with the files the declarations go that name them.
        for pattern in (*RUNTIME, *self._all("runtime")):
            for path in glob.glob(pattern):
                self._path(path)
        for path in sorted(recorded, reverse=True):
            if recorded[path] != "parent":
                self._path(path)
        for path in sorted(recorded, reverse=True):
            if recorded[path] == "parent":
                self._empty(path)
        if self.removed and not self.module.check_mode:
            self._run("systemctl", "daemon-reload")
        # Last, since a run that is stopped before starts from it again.
        self._path(STATE)

    def _path(self, path: str) -> None:
        if not os.path.lexists(path) or not self._note(path):
            return
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
            return
        for name in os.listdir(path):
            inside = os.path.join(path, name)
            if os.path.isdir(inside) and not os.path.islink(inside):
                shutil.rmtree(inside)
            else:
                os.unlink(inside)
        if not os.path.ismount(path):
            os.rmdir(path)

    def _empty(self, path: str) -> None:
        """Remove an empty directory."""
        if not self.module.check_mode:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"declared": {"type": "list", "elements": "dict", "default": []}}, supports_check_mode=True
    )
    reset = Reset(module)
    try:
        reset.declared = [*declarations(), *module.params["declared"]]
        reset.steps()
        reset.units()
        reset.processes()
        reset.mounts()
        reset.network()
        reset.rules()
        reset.files()
    except OSError as error:
        module.fail_json(msg=f"{error}; mend that and run the reset again", removed=reset.removed)
    module.exit_json(changed=bool(reset.removed), removed=reset.removed)


if __name__ == "__main__":
    main()
