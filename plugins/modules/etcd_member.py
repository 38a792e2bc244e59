#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide how an etcd member starts: it bootstraps a cluster, joins one, or has data already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Bootstrap an etcd cluster, or add a host to the existing one
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Writes the environment file that etcd reads while its data directory is empty. A member with data is left alone.
  - If the cluster exists, the host is added as a new member, which is started and waited for. A member that lost its
    data is removed and added again. Without a quorum the task fails, because an empty member that starts alone would
    bootstrap a second cluster.
  - Otherwise the host bootstraps the cluster together with the other members.
options:
  name:
    description: Name of the member.
    type: str
    required: true
  peer_url:
    description: URL at which the other members reach this one.
    type: str
    required: true
  endpoints:
    description: Client URLs of all members.
    type: list
    elements: str
    required: true
  founders:
    description: Peer URLs of the members that bootstrap the cluster, by name.
    type: dict
    required: true
  founded:
    description: Whether the cluster was bootstrapped before.
    type: bool
    required: true
  data_dir:
    description: Data directory of the member.
    type: path
    required: true
  environment_file:
    description: Path of the environment file.
    type: path
    required: true
  pki_dir:
    description: Directory with C(ca.crt), C(client.crt) and C(client.key).
    type: path
    default: /etc/etcd/pki
  timeout:
    description: Seconds to wait for a member that joins.
    type: int
    default: 60
  mark:
    description: File that allows the unit to start once without data. It is created when the member bootstraps or
      joins.
    type: path
    default: /run/cloudbang/etcd-may-start-empty
attributes:
  check_mode:
    support: full
    description: Returns whether the member would bootstrap or join.
"""

EXAMPLES = r"""
- name: Join or bootstrap the cluster
  cloudbang.platform.etcd_member:
    name: management1
    peer_url: https://10.0.0.11:2380
    endpoints: [https://10.0.0.11:2379]
    founders:
      management1: https://10.0.0.11:2380
    founded: false
    data_dir: /var/lib/etcd
    environment_file: /etc/etcd/bootstrap.env
  throttle: 1
"""

RETURN = r"""
how:
  description: V(member) if it has data already, V(joined) or V(founding).
  type: str
  returned: success
"""

import glob
import json
import os
import shutil
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic


class Etcdctl:
    """etcdctl with the operator's certificate."""

    def __init__(self, module: AnsibleModule) -> None:
        pki = module.params["pki_dir"]
        self.module = module
        self.base = [
            "/usr/local/bin/etcdctl",
            f"--cacert={pki}/ca.crt",
            f"--cert={pki}/client.crt",
            f"--key={pki}/client.key",
            "--dial-timeout=2s",
            "--command-timeout=5s",
        ]

    def run(self, endpoints: list[str], *arguments: str) -> tuple[int, str, str]:
        command = [*self.base, "--endpoints=" + ",".join(endpoints), *arguments]
        code, out, err = self.module.run_command(command)
        return int(code), str(out), str(err)

    def members(self, endpoints: list[str]) -> list[dict[str, Any]] | None:
        """Return the members when the cluster has a quorum, else None."""
        for endpoint in endpoints:
            code, out, _err = self.run([endpoint], "member", "list", "--write-out=json")
            if code == 0:
                found: list[dict[str, Any]] = json.loads(out)["members"]
                return found
        return None


def write(path: str, text: str) -> bool:
    """Write a file with mode 0600 if its text differs; return whether it was written."""
    try:
        with open(path, encoding="utf-8") as stream:
            if stream.read() == text:
                return False
    except OSError:
        pass
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    atomic.write(path, text)
    return True


def allow_empty_start(module: AnsibleModule) -> None:
    """Write the mark file; without it the unit refuses to start a member that has no data."""
    mark = module.params["mark"]
    os.makedirs(os.path.dirname(mark), mode=0o700, exist_ok=True)
    with open(mark, "w", encoding="utf-8"):
        pass


def environment(state: str, members: dict[str, str]) -> str:
    cluster = ",".join(f"{name}={url}" for name, url in sorted(members.items()))
    return f"ETCD_INITIAL_CLUSTER_STATE={state}\nETCD_INITIAL_CLUSTER={cluster}\n"


def join(module: AnsibleModule, etcdctl: Etcdctl, members: list[dict[str, Any]], others: list[str]) -> None:
    """Add this member to a cluster that has a quorum, start it and wait until it answers."""
    name, peer_url = module.params["name"], module.params["peer_url"]
    for member in members:
        if peer_url in member.get("peerURLs", []) and member.get("name"):
            # It was started once and its data is gone: under its old identity it could not catch up.
            code, _out, err = etcdctl.run(others, "member", "remove", f"{member['ID']:x}")
            if code:
                module.fail_json(msg=f"etcd member {name}: its data is gone and it could not be removed: {err.strip()}")
    known = [one for one in members if peer_url in one.get("peerURLs", []) and not one.get("name")]
    if not known:
        code, _out, err = etcdctl.run(others, "member", "add", name, f"--peer-urls={peer_url}")
        if code:
            module.fail_json(
                msg=f"etcd member {name}: the cluster refused to add {peer_url}: {err.strip()}. "
                "Bring all other members up and run again."
            )
    now = etcdctl.members(others) or []
    cluster = {one.get("name") or name: one["peerURLs"][0] for one in now}
    write(module.params["environment_file"], environment("existing", cluster))
    module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    # A start that failed without a log leaves an empty database behind.
    module.run_command(["systemctl", "stop", "etcd.service"])
    shutil.rmtree(os.path.join(module.params["data_dir"], "member"), ignore_errors=True)
    allow_empty_start(module)
    _code, _out, err = module.run_command(["systemctl", "start", "etcd.service"])
    mine = peer_url.rsplit(":", 1)[0] + ":" + module.params["endpoints"][0].rsplit(":", 1)[1]
    deadline = time.monotonic() + module.params["timeout"]
    while etcdctl.run([mine], "endpoint", "health")[0]:
        if time.monotonic() > deadline:
            module.fail_json(
                msg=f"etcd member {name}: joined, but does not answer at {mine} after {module.params['timeout']} s. "
                f"See `journalctl -u etcd` on it. {err.strip()}"
            )
        time.sleep(0.5)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "peer_url": {"type": "str", "required": True},
            "endpoints": {"type": "list", "elements": "str", "required": True},
            "founders": {"type": "dict", "required": True},
            "founded": {"type": "bool", "required": True},
            "data_dir": {"type": "path", "required": True},
            "environment_file": {"type": "path", "required": True},
            "pki_dir": {"type": "path", "default": "/etc/etcd/pki"},
            "timeout": {"type": "int", "default": 60},
            "mark": {"type": "path", "default": "/run/cloudbang/etcd-may-start-empty"},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    path = parameters["environment_file"]
    # What makes a member is its log; etcd makes the directories before it refuses to start.
    if glob.glob(os.path.join(parameters["data_dir"], "member", "wal", "*.wal")):
        text = environment("existing", parameters["founders"])
        missing = not os.path.exists(path)
        if missing and not module.check_mode:
            write(path, text)
        module.exit_json(changed=missing, how="member")
    if parameters["founded"]:
        address = parameters["peer_url"].rsplit(":", 1)[0] + ":"
        others = [one for one in parameters["endpoints"] if not one.startswith(address)]
        etcdctl = Etcdctl(module)
        members = etcdctl.members(others) if others and os.path.exists(etcdctl.base[0]) else None
        if members is None and module.check_mode:
            module.exit_json(changed=True, how="joined")
        if members is None:
            module.fail_json(
                msg=f"etcd member {parameters['name']}: found no data in {parameters['data_dir']} and no quorum among "
                f"{', '.join(others) or 'no other members'}, but this cluster was founded before. Starting now would "
                "found a second, empty cluster. Bring the other members back, or restore a snapshot, and run again."
            )
        elif not module.check_mode:
            join(module, etcdctl, members, others)
        module.exit_json(changed=True, how="joined")
    text = environment("new", parameters["founders"])
    changed = not os.path.exists(path) if module.check_mode else write(path, text)
    if not module.check_mode:
        allow_empty_start(module)
    module.exit_json(changed=changed, how="founding")


if __name__ == "__main__":
    main()
