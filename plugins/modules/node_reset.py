#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove from a host what the platform put there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_reset
short_description: Remove the platform from a host
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Gives the NIC of GoodNet's tunnels its address back, and removes GoodNet's bridges from Open vSwitch.
  - Stops the units that M(cloudbang.platform.files) runs, ends their containers, and removes their interfaces, routes,
    packet filter rules and mounts, and all files that M(cloudbang.platform.files) recorded.
  - Rules that others made, SSH, users and installed packages stay. Kernel parameters stay until the next boot.
  - What is gone already is no error, so that a stopped run can be repeated.
attributes:
  check_mode:
    support: full
    description: Says what would be removed.
"""

EXAMPLES = r"""
- name: Remove the platform
  cloudbang.platform.node_reset:
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

from ansible.module_utils.basic import AnsibleModule

STATE = "/var/lib/cloudbang"
INSTALLED = STATE + "/installed.json"
UNITS = "/etc/systemd/system"
DROP_IN = "cloudbang.conf"
INTERFACES = ("cali", "vxlan.calico", "goodnet0", "provider0")
# Wires of GoodNet's pods: a prefix and twelve hexadecimal digits.
WIRE = re.compile(r"gn[0-9a-f]{12}")
ROUTES = ("proto", "80")  # all that Calico makes
CHAINS = ("cali-", "KUBE-", "CNI-", "GOODNET-")
TABLES = (
    "cloudbang",
    "cloudbang-vrrp",
    "kube-proxy",
    "kube-proxy-loopback",
    "traefik-loopback",
    "goodnet",
    "goodnet-guard",
    "goodnet-underlay",
    "cloudbang-registry",
)
IPSETS = ("cali", "goodnet-")
COMMENT = '"cali:'
GOODNET = ("goodnet-agent.service", "goodnet-underlay.service")
UNDERLAY = "/var/lib/goodnet/underlay.json"
SWITCH = "/run/openvswitch/db.sock"
LIBRARY = "/usr/local/lib/cloudbang"
MOUNTS = ("/var/lib/kubelet/", "/run/containerd/", "/run/netns/cni-", "/var/run/netns/cni-")
# What the services make for the time until the next boot.
RUNTIME = ("/run/calico", "/run/cloudbang", "/run/containerd", "/run/goodnet", "/run/nri", "/run/netns/cni-*")


def is_ours(rule: str) -> bool:
    """Return whether a line of iptables-save is a rule of the platform's."""
    words = rule.split()
    if words[0] != "-A":
        return False
    targets = [after for option, after in zip(words, words[1:]) if option in ("-A", "-j", "-g")]
    comments = [after for option, after in zip(words, words[1:]) if option == "--comment"]
    return any(one.startswith(CHAINS) for one in targets) or any(one.startswith(COMMENT) for one in comments)


def removal(saved: str) -> str:
    """Return the input for iptables-restore --noflush that removes the platform's part of what iptables-save says."""
    script: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            table, rules, chains = line, list[str](), list[str]()
        elif line.startswith(":") and line[1:].startswith(CHAINS):
            chains.append(line[1:].split()[0])
        elif line.startswith("-A") and is_ours(line) and not line.split()[1].startswith(CHAINS):
            rules.append("-D" + line[2:])
        elif line == "COMMIT" and (rules or chains):
            flushes = [f"-F {chain}" for chain in chains]
            script += [table, *rules, *flushes, *(f"-X {chain}" for chain in chains), "COMMIT"]
    return "".join(f"{line}\n" for line in script)


class Reset:
    """Removes one kind of thing after the other; each step may have been done before."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.removed: list[str] = []

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

    def bridges(self) -> None:
        """Give back the NIC and remove the bridges, while Open vSwitch runs; those of others stay."""
        for unit in (unit for unit in GOODNET if os.path.exists(f"{UNITS}/{unit}")):
            if not self.module.check_mode:
                self.module.run_command(["systemctl", "stop", unit])
        if os.path.exists(UNDERLAY) and self._note("br-underlay") and os.path.isdir(f"{LIBRARY}/goodnet"):
            self.module.run_command(["systemctl", "start", "openvswitch-switch.service"])
            detach = ["env", f"PYTHONPATH={LIBRARY}", "/usr/bin/python3", "-m", "goodnet.underlay", "detach"]
            self._run(*detach)
        if not os.path.exists(SWITCH):
            return
        if "br-goodnet" in self._ask("ovs-vsctl", "--timeout=10", "list-br").split() and self._note("br-goodnet"):
            restore = ["--", "remove", "Open_vSwitch", ".", "other_config", "flow-restore-wait"]
            self._run("ovs-vsctl", "--timeout=30", "--if-exists", "del-br", "br-goodnet", *restore)

    def units(self) -> None:
        """Stop and disable all that carries the mark, at once: systemd knows the order."""
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

    def containers(self) -> None:
        """End shims and what runs in the cgroups of pods; containerd leaves both running when it stops."""
        for attempt in range(50):
            found = [int(name) for name in os.listdir("/proc") if name.isdigit() and self._of_a_pod(name)]
            if not found:
                return
            if attempt == 0 and not self._note(f"{len(found)} processes of containers"):
                return
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)

    def _of_a_pod(self, process: str) -> bool:
        try:
            with open(f"/proc/{process}/cgroup", encoding="utf-8") as stream:
                if "/kubepods" in stream.read():
                    return True
            with open(f"/proc/{process}/cmdline", "rb") as stream:
                return stream.read().startswith(b"/usr/local/bin/containerd-shim-runc-v2\0")
        except OSError:
            return False

    def mounts(self) -> None:
        with open("/proc/self/mounts", encoding="utf-8") as stream:
            points = [line.split()[1].replace("\\040", " ") for line in stream]
        for point in sorted(points, reverse=True):
            if point.startswith(MOUNTS) and self._note(point):
                self._run("umount", "--lazy", point)

    def network(self) -> None:
        for link in json.loads(self._ask("ip", "-json", "link", "show") or "[]"):
            name = link["ifname"]
            if (name.startswith(INTERFACES) or WIRE.fullmatch(name)) and self._note(name):
                self._run("ip", "link", "delete", name)
        if self._ask("ip", "route", "show", *ROUTES) and self._note("routes of pods"):
            self._run("ip", "route", "flush", *ROUTES)

    def rules(self) -> None:
        """Remove our and kube-proxy's own tables, and from the shared ones only the rules and chains that are ours."""
        for table in self._ask("nft", "list", "tables").splitlines():
            if table.endswith(tuple(f" {name}" for name in TABLES)) and self._note(f"nftables {table}"):
                self._run("nft", "delete", *table.split())
        for family in ("iptables", "ip6tables"):
            script = removal(self._ask(f"{family}-save"))
            if script and self._note(f"rules of {family}"):
                self._run(f"{family}-restore", "--noflush", data=script)
        for name in self._ask("ipset", "list", "-name").split():
            if name.startswith(IPSETS) and self._note(f"ipset {name}"):
                self._run("ipset", "destroy", name)

    def files(self) -> None:
        """Remove what was recorded: files, trees, and what was made to hold them when it holds nothing else."""
        try:
            with open(INSTALLED, encoding="utf-8") as stream:
                recorded: dict[str, str] = json.load(stream)
        except FileNotFoundError:
            recorded = {}
        except ValueError as error:
            raise OSError(f"{INSTALLED}: found no JSON, wanted what was installed: {error}") from error
        for path in sorted(recorded, reverse=True):
            if recorded[path] != "parent":
                self._path(path)
        for path in sorted(recorded, reverse=True):
            if recorded[path] == "parent":
                self._empty(path)
        for pattern in RUNTIME:
            for path in glob.glob(pattern):
                self._path(path)
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
        """Remove a directory that holds nothing."""
        if not self.module.check_mode:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    reset = Reset(module)
    try:
        reset.bridges()
        reset.units()
        reset.containers()
        reset.mounts()
        reset.network()
        reset.rules()
        reset.files()
    except OSError as error:
        module.fail_json(msg=f"{error}; mend that and run the reset again", removed=reset.removed)
    module.exit_json(changed=bool(reset.removed), removed=reset.removed)


if __name__ == "__main__":
    main()
