#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply Kubernetes manifests from a management host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: manifests
short_description: Apply Kubernetes manifests with server-side apply
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Renders templates on the controller and applies them on a management host with C(kubectl apply --server-side).
  - The controller itself needs no access to the API.
options:
  templates:
    description: Names of templates, each with one or more YAML documents.
    type: list
    elements: str
    default: []
  artifacts:
    description: Names of artifacts that are manifests; applied before O(templates).
    type: list
    elements: str
    default: []
  manifest:
    description: YAML documents as they are; applied after O(templates).
    type: str
  state:
    description: Whether the objects exist.
    type: str
    choices: [present, absent]
    default: present
  timeout:
    description: Seconds to retry refused requests while the API starts, from the first refusal.
    type: int
    default: 60
  kubeconfig:
    description: Kubeconfig on the host of the task.
    type: path
    default: /etc/kubernetes/super-admin.conf
attributes:
  check_mode:
    support: full
    description: Compares with a server-side dry run.
"""

EXAMPLES = r"""
- name: Apply the objects of cluster DNS
  cloudbang.platform.manifests:
    templates: [coredns.yaml.j2]
  run_once: true
"""

RETURN = r"""
objects:
  description: Names of the objects that changed.
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

IGNORED = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")


def objects(out: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a JSON answer by kind, namespace and name, without what the server counts."""
    if not out.strip():
        return {}
    found = {}
    answer = json.loads(out)
    for one in answer.get("items", [answer]):
        metadata = one["metadata"]
        for key in IGNORED:
            metadata.pop(key, None)
        one.pop("status", None)
        found["/".join(filter(None, (one["kind"], metadata.get("namespace"), metadata["name"])))] = one
    return found


def patiently(module: AnsibleModule, text: str, *arguments: str) -> str:
    """Run kubectl until the API accepts the request, or the timeout after the first refusal ends.

    A request itself may take longer than the timeout on a slow host, and must not use it up.
    """
    refused = None
    while True:
        code, out, err = kubectl(module, *arguments, data=text)
        if code == 0:
            return out
        now = time.monotonic()
        refused = now if refused is None else refused
        if now - refused > module.params["timeout"]:
            module.fail_json(msg=f"`kubectl {' '.join(arguments[:2])}` was refused: {err.strip()[-3000:]}")
        time.sleep(1)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "templates": {"type": "list", "elements": "str", "default": []},
            "artifacts": {"type": "list", "elements": "str", "default": []},
            "manifest": {"type": "str", "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "timeout": {"type": "int", "default": 60},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/super-admin.conf"},
        },
        supports_check_mode=True,
    )
    text = module.params["manifest"] or ""
    if not os.path.exists(module.params["kubeconfig"]) and module.check_mode:
        module.exit_json(changed=True, objects=[])
    _code, out, _err = kubectl(module, "get", "--ignore-not-found", "--output=json", "--filename=-", data=text)
    before = objects(out)
    if module.params["state"] == "absent":
        if before and not module.check_mode:
            patiently(module, text, "delete", "--ignore-not-found", "--wait=false", "--filename=-")
        module.exit_json(changed=bool(before), objects=sorted(before))
    arguments = ["apply", "--server-side", "--force-conflicts", "--field-manager=cloudbang", "--output=json"]
    if module.check_mode:
        code, out, _err = kubectl(module, *arguments, "--dry-run=server", "--filename=-", data=text)
        # A dry run refuses objects whose namespace or kind does not exist yet: those would be made.
        changed = code != 0 or objects(out) != before
        module.exit_json(changed=changed, objects=[])
    after = objects(patiently(module, text, *arguments, "--filename=-"))
    changed_objects = sorted(name for name, one in after.items() if before.get(name) != one)
    module.exit_json(changed=bool(changed_objects), objects=changed_objects)


if __name__ == "__main__":
    main()
