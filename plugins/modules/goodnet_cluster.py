#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what the hosts of a GoodNet share into the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: goodnet_cluster
short_description: Keep what the hosts of a GoodNet share
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Writes the ConfigMap C(goodnet-settings) once. Later runs compare it with what is wanted, and fail when it differs,
    because hosts that run with different settings do not reach each other.
  - Gives tenants numbers and external addresses in the ConfigMap C(goodnet-tenants). Entries of other tenants stay.
  - Runs C(kubectl) on a management host. The namespace C(cloudbang-goodnet) has to exist.
options:
  settings:
    description: What the cluster runs with.
    type: dict
    required: true
  tenants:
    description:
      - Tenants by name, each with C(vni) and C(external), both optional. A tenant without C(vni) gets the lowest free
        one. An empty C(external) takes the address away.
    type: dict
    default: {}
  vni_range:
    description: First and last number that tenants are given.
    type: list
    elements: int
    default: [1, 16777215]
  timeout:
    description: Seconds for which a refusal is tried again while the API comes up.
    type: int
    default: 60
  kubeconfig:
    description: Kubeconfig on the host of the task.
    type: path
    default: /etc/kubernetes/super-admin.conf
attributes:
  check_mode:
    support: full
    description: Says what would change.
"""

EXAMPLES = r"""
- name: Give a tenant an external address
  cloudbang.platform.goodnet_cluster:
    settings: {network: goodnet, encapsulation: vxlan}
    tenants:
      acme: {external: 203.0.113.9}
  run_once: true
"""

RETURN = r"""
objects:
  description: Names of the ConfigMaps that were, or in check mode would be, changed.
  type: list
  elements: str
  returned: success
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError
from ansible_collections.cloudbang.platform.plugins.module_utils.host.kubectl import kubectl

NAMESPACE = "cloudbang-goodnet"
SETTINGS = "goodnet-settings"
TENANTS = "goodnet-tenants"
MAX_VNI = 0xFFFFFF
CHANGE = (
    "A running cluster keeps them: hosts with different settings do not reach each other. Install a second cluster and "
    "move the applications, or remove this one with cloudbang.platform.reset and install it again."
)


class ClusterError(HostError):
    """Something that is not done; the message says why, and what to do."""


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return a sentence for each setting that the cluster does not run with."""
    return [
        f"{name}: found {found[name]}, wanted {value}"
        for name, value in sorted(wanted.items())
        if name in found and found[name] != value
    ]


def entry_of(text: str) -> dict[str, Any]:
    """Return what an entry says; nothing when it is not usable, as it is replaced then."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return dict(value) if isinstance(value, dict) else {}


def number_of(entry: Mapping[str, Any]) -> int | None:
    number = entry.get("vni")
    return number if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_VNI else None


def lowest(taken: Iterable[int], vni_range: tuple[int, int]) -> int:
    used = set(taken)
    for number in range(vni_range[0], vni_range[1] + 1):
        if number not in used:
            return number
    raise ClusterError(
        f"goodnet_vni_range: found all of {vni_range[0]} to {vni_range[1]} in use, wanted a larger range"
    )


def merged(
    data: Mapping[str, str], tenants: Mapping[str, Mapping[str, Any] | None], vni_range: tuple[int, int]
) -> dict[str, str]:
    """Return the data of the ConfigMap with the wanted tenants, and all others as they are."""
    result = dict(data)
    numbers = {name: number for name, text in data.items() if (number := number_of(entry_of(text))) is not None}
    # Numbers that are demanded come before those that are looked for.
    for name in sorted(tenants, key=lambda one: ((tenants[one] or {}).get("vni") is None, one)):
        given = tenants[name] or {}
        where = f"goodnet_tenants.{name}"
        entry = entry_of(data.get(name, ""))
        wanted, present = given.get("vni"), numbers.get(name)
        if wanted is not None and present is not None and int(wanted) != present:
            raise ClusterError(
                f"{where}.vni: found {wanted}, wanted {present}, which the tenant has: its pods on all hosts use it"
            )
        number = present or (int(wanted) if wanted is not None else lowest(numbers.values(), vni_range))
        holder = next((one for one, other in numbers.items() if other == number and one != name), None)
        if holder is not None:
            raise ClusterError(f"{where}.vni: found {number}, which tenant {holder} has; wanted a number of its own")
        numbers[name] = number
        entry["vni"] = number
        if given.get("external"):
            entry["external"] = str(given["external"])
        elif "external" in given:
            entry.pop("external", None)
        if entry != entry_of(data.get(name, "")):
            result[name] = json.dumps(entry)
    return result


class Cluster:
    """The ConfigMaps, by way of kubectl."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.deadline = time.monotonic() + module.params["timeout"]

    def get(self, name: str) -> dict[str, Any] | None:
        """Return a ConfigMap, None when there is none; patiently, as the API may be coming up."""
        while True:
            what = ("get", "configmap", name, f"--namespace={NAMESPACE}", "--ignore-not-found", "--output=json")
            code, out, err = kubectl(self.module, *what)
            if code == 0:
                return dict(json.loads(out)) if out.strip() else None
            if time.monotonic() > self.deadline:
                raise ClusterError(f"ConfigMap {NAMESPACE}/{name} cannot be read: {err.strip()[-2000:]}")
            time.sleep(1)

    def put(self, name: str, found: dict[str, Any] | None, data: dict[str, str]) -> bool:
        """Write a ConfigMap. Returns whether nobody else did in between."""
        if self.module.check_mode:
            return True
        metadata = (found or {}).get("metadata") or {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        verb = "replace" if found else "create"
        code, _out, err = kubectl(self.module, verb, "--filename=-", data=json.dumps(body))
        if code and not any(
            word in err for word in ("Conflict", "conflict", "AlreadyExists", "object has been modified")
        ):
            raise ClusterError(f"ConfigMap {NAMESPACE}/{name} cannot be written: {err.strip()[-2000:]}")
        return code == 0

    def settings(self, wanted: dict[str, str]) -> bool:
        """Have the settings. Returns whether they changed."""
        while True:
            found = self.get(SETTINGS)
            data = dict((found or {}).get("data") or {})
            wrong = differences(data, wanted)
            if wrong:
                raise ClusterError(f"ConfigMap {NAMESPACE}/{SETTINGS}: {'; '.join(wrong)}. {CHANGE}")
            if {**data, **wanted} == data:
                return False
            if self.put(SETTINGS, found, {**data, **wanted}):
                return True

    def tenants(self, wanted: dict[str, Any], vni_range: tuple[int, int]) -> bool:
        """Have the tenants. Returns whether they changed."""
        while wanted:
            found = self.get(TENANTS)
            data = dict((found or {}).get("data") or {})
            changed = merged(data, wanted, vni_range)
            if changed == data:
                return False
            if self.put(TENANTS, found, changed):
                return True
        return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "dict", "required": True},
            "tenants": {"type": "dict", "default": {}},
            "vni_range": {"type": "list", "elements": "int", "default": [1, MAX_VNI]},
            "timeout": {"type": "int", "default": 60},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/super-admin.conf"},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not os.path.exists(given["kubeconfig"]) and module.check_mode:
        module.exit_json(changed=True, objects=[SETTINGS])
    cluster = Cluster(module)
    objects = []
    try:
        if cluster.settings({name: str(value) for name, value in given["settings"].items()}):
            objects.append(SETTINGS)
        if cluster.tenants(given["tenants"], (given["vni_range"][0], given["vni_range"][-1])):
            objects.append(TENANTS)
    except ClusterError as error:
        module.fail_json(msg=str(error), objects=objects)
    module.exit_json(changed=bool(objects), objects=objects)


if __name__ == "__main__":
    main()
