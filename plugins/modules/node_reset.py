#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Remove from a host what the platform put there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_reset
short_description: Remove the platform from a host
version_added: 1.0.0
author: Cloudbang Team (@cloudbang)
description:
  - Stops the platform's units, ends its containers, removes its interfaces, packet filter rules, mounts and files.
  - Rules that others made, SSH and installed packages stay. What is gone already is no error, so that a stopped run
    can be repeated.
options:
  units:
    description: systemd units to stop and disable. Unit files below C(/etc/systemd/system) are removed.
    type: list
    elements: str
    required: true
  paths:
    description: Files and directories to remove.
    type: list
    elements: path
    required: true
attributes:
  check_mode:
    support: full
    description: Says what would be removed.
"""

EXAMPLES = r"""
- name: Remove etcd
  cloudbang.platform.node_reset:
    units: [etcd.service]
    paths: [/var/lib/etcd, /etc/etcd]
"""

RETURN = r"""
removed:
  description: Units, interfaces, tables and paths that were, or in check mode would be, removed.
  type: list
  elements: str
  returned: success
"""

import contextlib
import json
import os
import shutil
import signal
import time

from ansible.module_utils.basic import AnsibleModule

UNIT_DIRECTORY = "/etc/systemd/system"
INTERFACES = ("cali", "vxlan.calico")
CHAINS = ("cali", "CNI-")
MOUNTS = ("/var/lib/kubelet/", "/run/containerd/", "/run/netns/cni-", "/var/run/netns/cni-")


class Reset:
    """Removes one kind of thing after the other; each step may have been done before."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.removed: list[str] = []

    def _note(self, what: str) -> bool:
        self.removed.append(what)
        return not self.module.check_mode

    def units(self, units: list[str]) -> None:
        files = False
        for unit in units:
            _code, out, _err = self.module.run_command(
                ["systemctl", "show", "-p", "ActiveState,UnitFileState,LoadState", unit]
            )
            state = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
            running = state.get("ActiveState") in ("active", "activating", "reloading", "failed")
            if (running or state.get("UnitFileState") == "enabled") and self._note(unit):
                self.module.run_command(["systemctl", "disable", "--now", unit])
            for path in (f"{UNIT_DIRECTORY}/{unit}", f"{UNIT_DIRECTORY}/{unit}.d"):
                files = self._path(path) or files
        if files and not self.module.check_mode:
            self.module.run_command(["systemctl", "daemon-reload"])
            self.module.run_command(["systemctl", "reset-failed"])

    def containers(self) -> None:
        """End shims and what runs in the cgroups of pods; containerd leaves both running when it stops."""
        for _attempt in range(50):
            found = [int(name) for name in os.listdir("/proc") if name.isdigit() and self._of_a_pod(name)]
            if not found:
                return
            if not self._note(f"{len(found)} processes of containers"):
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
                self.module.run_command(["umount", "--lazy", point])

    def interfaces(self) -> None:
        _code, out, _err = self.module.run_command(["ip", "-json", "link", "show"])
        for link in json.loads(out or "[]"):
            if link["ifname"].startswith(INTERFACES) and self._note(link["ifname"]):
                self.module.run_command(["ip", "link", "delete", link["ifname"]])

    def rules(self) -> None:
        """Remove kube-proxy's own tables, and from the shared ones only the rules and chains that are ours."""
        for family in ("ip", "ip6"):
            code, _out, _err = self.module.run_command(["nft", "list", "table", family, "kube-proxy"])
            if code == 0 and self._note(f"nftables table {family} kube-proxy"):
                self.module.run_command(["nft", "delete", "table", family, "kube-proxy"])
        for save, restore in (("iptables-save", "iptables-restore"), ("ip6tables-save", "ip6tables-restore")):
            if not shutil.which(save):
                continue
            _code, out, _err = self.module.run_command([save])
            kept = [line for line in out.splitlines() if not self._ours(line)]
            if len(kept) < len(out.splitlines()) and self._note(f"rules in {save}"):
                self.module.run_command([restore], data="\n".join(kept) + "\n")
        if shutil.which("ipset"):
            _code, out, _err = self.module.run_command(["ipset", "list", "-name"])
            for name in out.split():
                if name.startswith("cali") and self._note(f"ipset {name}"):
                    self.module.run_command(["ipset", "destroy", name])

    def _ours(self, line: str) -> bool:
        if line.startswith(":"):
            return line[1:].startswith(CHAINS)
        words = line.split()
        return line.startswith("-") and any(word.startswith(CHAINS) for word in words[1:])

    def paths(self, paths: list[str]) -> None:
        for path in paths:
            self._path(path)

    def _path(self, path: str) -> bool:
        if not os.path.lexists(path):
            return False
        if self._note(path):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=False)
            else:
                os.unlink(path)
        return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "required": True},
            "paths": {"type": "list", "elements": "path", "required": True},
        },
        supports_check_mode=True,
    )
    reset = Reset(module)
    try:
        reset.units(module.params["units"])
        reset.containers()
        reset.mounts()
        reset.interfaces()
        reset.rules()
        reset.paths(module.params["paths"])
    except OSError as error:
        module.fail_json(msg=f"{error}; mend that and run the reset again", removed=reset.removed)
    module.exit_json(changed=bool(reset.removed), removed=reset.removed)


if __name__ == "__main__":
    main()
