# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many objects of each kind a tenant may have, so that none fills the cluster's store. Pure.

etcd holds 8 GiB and refuses all writes when it is full; one object can have 1.5 MiB. The defaults are 4680 objects
together, which is 6.9 GiB at the very most. They are enough for 200 apps of one process: ten releases each and their
environments are 2200 Secrets, and during a rollout a Deployment has three ReplicaSets at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .options import check
from .tenant_roles import RULES, creatable

# What controllers make of the objects of tenants, as often as their owners like.
DERIVED = ("controllerrevisions.apps", "replicasets.apps")
DEFAULTS = {
    "configmaps": 40,
    "controllerrevisions.apps": 150,
    "cronjobs.batch": 40,
    "deployments.apps": 200,
    "horizontalpodautoscalers.autoscaling": 100,
    "ingresses.networking.k8s.io": 200,
    "jobs.batch": 100,
    "persistentvolumeclaims": 40,
    "poddisruptionbudgets.policy": 200,
    "pods": 400,
    "replicasets.apps": 600,
    "secrets": 2300,
    "serviceaccounts": 20,
    "services": 200,
    "statefulsets.apps": 50,
}
# Of a kind that has no line above.
FEW = 10
# The quota knows these by a name without count/ as well. One that is given there takes the place of the default.
NAMED = ("configmaps", "persistentvolumeclaims", "secrets", "services")
COUNT = "count/"


def counted(rules: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Return the kinds of objects that are counted: all that members can make, and what controllers make of them."""
    return sorted({*creatable(dict(rules)), *DERIVED})


def numbers(given: Mapping[str, int], quota: Mapping[str, str]) -> dict[str, int]:
    """Return how many objects of each kind a tenant may have.

    given: numbers by kind that replace the defaults; quota: what else the quota has, in the API's names.
    """
    found = {name: DEFAULTS.get(name, FEW) for name in counted(RULES) if name not in NAMED or name not in quota}
    # The quota's `pods` counts those that are not over, and the ones that are come on top.
    found["pods"] += int(quota.get("pods", 0))
    return dict(sorted({**found, **given}.items()))


def hard(objects: Mapping[str, int]) -> dict[str, str]:
    """Return numbers of objects in the API's names."""
    return {COUNT + name: str(number) for name, number in objects.items()}


def resource_of(name: str, known: Iterable[str]) -> str | None:
    """Return the kind that is meant by deployments.apps, deployments or Deployment; None when there is none."""
    word = name.lower()
    for entry in known:
        if name == entry or entry.partition(".")[0] in (word, word + "s", word + "es"):
            return entry
    return None


def objects_of(given: Mapping[str, Any] | None) -> tuple[dict[str, int], list[Finding]]:
    """Return the numbers by kind that the option `objects` has, and what is wrong with it."""
    found: dict[str, int] = {}
    findings: list[Finding] = []
    known = counted(RULES)
    for name, value in (given or {}).items():
        where = f"objects.{name}"
        resource = resource_of(name, known)
        if resource is None:
            findings.append(Finding(where, "a kind of which tenants create no objects", "one of " + ", ".join(known)))
            continue
        values, wrong = check({name: {"type": "int", "required": True}}, {name: value}, "objects")
        findings += wrong
        if wrong:
            continue
        if values[name] < 0:
            findings.append(Finding(where, shown(value), "0 or more"))
        elif resource in found:
            findings.append(Finding(where, f"{resource} twice", "each kind once"))
        found[resource] = values[name]
    return found, findings
