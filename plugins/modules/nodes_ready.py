#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label the nodes of a cluster and wait until all are ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nodes_ready
short_description: Label Kubernetes nodes and wait until they are ready
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Runs on a management host. If nodes are not ready in time, the task fails with the reason of each.
options:
  labels:
    description: Labels by node name. The task waits for these nodes.
    type: dict
    required: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 180
  kubeconfig:
    description: Kubeconfig on the host of the task.
    type: path
    default: /etc/kubernetes/super-admin.conf
attributes:
  check_mode:
    support: full
    description: Returns the nodes whose labels would change, and does not wait.
"""

EXAMPLES = r"""
- name: Wait for all nodes
  cloudbang.platform.nodes_ready:
    labels: "{{ groups | cloudbang.platform.node_labels }}"
  run_once: true
"""

RETURN = r"""
labelled:
  description: Names of the nodes whose labels changed.
  type: list
  elements: str
  returned: success
"""

import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils.host.kubectl import kubectl


def nodes(module: AnsibleModule) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the nodes by name, and what went wrong when the API did not answer."""
    code, out, err = kubectl(module, "get", "nodes", "--output=json")
    if code:
        return {}, err.strip()
    return {one["metadata"]["name"]: one for one in json.loads(out)["items"]}, ""


def why_not_ready(node: dict[str, Any] | None) -> str | None:
    if node is None:
        return "has not joined; see `journalctl -u kubelet` on it"
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            return None if condition["status"] == "True" else str(condition.get("message") or condition.get("reason"))
    return "has not said anything yet"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "labels": {"type": "dict", "required": True},
            "timeout": {"type": "int", "default": 180},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/super-admin.conf"},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, dict[str, str]] = module.params["labels"]
    if module.check_mode and not os.path.exists(module.params["kubeconfig"]):
        module.exit_json(changed=True, labelled=sorted(wanted))
    deadline = time.monotonic() + module.params["timeout"]
    labelled: list[str] = []
    while True:
        found, error = nodes(module)
        for name, labels in wanted.items():
            node = found.get(name)
            if node is None or name in labelled or labels.items() <= node["metadata"].get("labels", {}).items():
                continue
            pairs = [f"{key}={value}" for key, value in labels.items()]
            if not module.check_mode and kubectl(module, "label", "--overwrite", "node", name, *pairs)[0]:
                continue
            labelled.append(name)
        waiting = {name: why_not_ready(found.get(name)) for name in wanted if why_not_ready(found.get(name))}
        if module.check_mode or not waiting:
            module.exit_json(changed=bool(labelled), labelled=labelled)
        if time.monotonic() > deadline:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(waiting.items()))
            module.fail_json(msg=f"not ready after {module.params['timeout']} s: {reasons or error}. {error}".strip())
        time.sleep(1)


if __name__ == "__main__":
    main()
