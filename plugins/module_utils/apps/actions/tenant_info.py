# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.tenant_info) does: show tenants, what they may use, what they use, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import ceil
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP, KIND, TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import KINDS as APP_KINDS
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import TenantInfoRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_names import listed as entries_of
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import (
    LOADBALANCER,
    MANAGED_BY,
    NAME,
    NAMESPACE_NAME,
    NETWORK,
    POD_SECURITY,
    foreign,
    gateways_of,
    holders,
    managed,
    members_of,
    ours,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_quota import COUNT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_spec import LIMITS, QUOTA, RESOURCES
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import if_allowed
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity

from .changes import ANNOTATIONS
from .context import Context, Outcome
from .tenant import TOKENS

# A quota used to this part is a problem before it refuses anything.
FULL = Decimal("0.9")
LISTS = {option: annotation for option, annotation in ANNOTATIONS.items() if option != "peers"}
OWN = ("ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount")


def run(context: Context, request: TenantInfoRequest) -> Outcome:
    """Return what there is of one tenant, or of all."""
    kube, name = context.kube, request.name
    if name is None:
        spaces = kube.find("Namespace", None, f"{TENANT},{MANAGED_BY}=cloudbang")
    else:
        found = kube.get("Namespace", None, name)
        spaces = [found] if found is not None and managed(found) else []
    if not spaces:
        return Outcome(values={"tenants": []})
    listed = {kind: kube.find(kind, name, f"{KIND}=tenant") for kind in OWN}
    # A label alone says which apps there are, which those may see too who may not read Secrets.
    listed["app"] = [entry for kind in APP_KINDS for entry in kube.find(kind, name, APP, metadata=True)]
    listed["Pod"] = kube.find("Pod", name, APP)
    listed |= {kind: kube.find(kind, name) for kind in ("RoleBinding", "Role")}
    # Only those who read Secrets at all see which of them have tokens.
    listed["Secret"] = if_allowed(lambda: kube.find("Secret", name, metadata=True, fieldSelector=TOKENS)) or []
    nodes = if_allowed(lambda: kube.find("Node", None, LOADBALANCER))
    gateways = None if nodes is None else gateways_of(nodes, kube.warn)
    known = if_allowed(lambda: kube.find("Namespace", None, TENANT))
    names = None if known is None else {entry["metadata"]["name"] for entry in known}
    tenants = []
    for space in sorted(spaces, key=lambda entry: str(entry["metadata"]["name"])):
        own = {
            kind: [entry for entry in entries if entry["metadata"]["namespace"] == space["metadata"]["name"]]
            for kind, entries in listed.items()
        }
        tenants.append(describe(space, own, gateways, names))
    return Outcome(values={"tenants": tenants})


def describe(
    space: Object, own: dict[str, list[Object]], gateways: list[str] | None, tenants: set[str] | None
) -> dict[str, Any]:
    """Return a tenant as results show it. Pure.

    own: kind to the tenant's objects, "app" to those of apps. gateways and tenants: all there are, None when unknown.
    """
    labels = space["metadata"].get("labels") or {}
    name = space["metadata"]["name"]
    policy = next((entry for entry in own["NetworkPolicy"] if entry["metadata"]["name"] == NAME), None)
    peers, addresses = _sources(policy)
    quota = quota_of(own["ResourceQuota"])
    objects = objects_in(own["ResourceQuota"])
    members = members_of(own["RoleBinding"])
    usage = usage_of(own["Pod"])
    apps = sorted({entry["metadata"]["labels"][APP] for entry in own["app"]})
    findings = [f"it is being deleted, blocked by: {text}" for text in holders(space)]
    findings += _quota_findings("quota", quota)
    findings += _quota_findings("objects", objects)
    foreigners = [("RoleBinding", entry) for entry in own["RoleBinding"] if not ours(entry)]
    findings += foreign([*foreigners, *((kind, entry) for kind in ("Role", "Secret") for entry in own[kind])])
    if labels.get(NETWORK) == "isolated" and policy is None:
        findings.append("network: found no NetworkPolicy, wanted isolation")
    if policy is not None and gateways is not None and addresses != gateways:
        findings.append(f"network: allows {_text(addresses)} as the gateway, wanted {_text(gateways)}")
    if tenants is not None:
        findings += [
            f"peers: {peer} is not a tenant; one that is created with that name would have access"
            for peer in peers
            if peer not in tenants
        ]
    accounts = {entry["metadata"]["name"] for entry in own["ServiceAccount"]}
    findings += [
        f"members: found no service account {member.name}, wanted one for the {member.role}"
        for member in members
        if member.kind == "service_account" and member.name not in accounts
    ]
    if findings and not space["metadata"].get("deletionTimestamp"):
        findings = [f"{text}; run the tenant's task again" if "wanted" in text else text for text in findings]
    return {
        "name": name,
        "status": (space.get("status") or {}).get("phase", "Active"),
        "pod_security": labels.get(POD_SECURITY),
        "network": labels.get(NETWORK),
        "peers": peers,
        "members": [member._asdict() for member in members],
        **{option: entries_of(space, annotation) for option, annotation in LISTS.items()},
        "quota": quota,
        "objects": objects,
        "limits": _limits(own["LimitRange"]),
        "apps": len(apps),
        "usage": {app: usage.get(app, _written(Decimal(0), Decimal(0), 0)) for app in apps},
        "problems": findings,
    }


def _text(values: Iterable[str]) -> str:
    return ", ".join(values) or "nobody"


def _sources(policy: Object | None) -> tuple[list[str], list[str]]:
    """Return the peers and the networks that a tenant's policy lets in."""
    peers: list[str] = []
    networks: list[str] = []
    for rule in ((policy or {}).get("spec") or {}).get("ingress") or []:
        for source in rule.get("from") or []:
            expressions = (source.get("namespaceSelector") or {}).get("matchExpressions") or []
            peers += [text for entry in expressions if entry["key"] == NAMESPACE_NAME for text in entry["values"]]
            if "ipBlock" in source:
                networks.append(source["ipBlock"]["cidr"])
    return sorted(peers), sorted(networks)


def quota_of(quotas: list[Object]) -> dict[str, dict[str, str | None]]:
    """Return what the quota allows and how much is used, by the names of the options."""
    names = {theirs: option for option, theirs in QUOTA.items()}
    amounts = _amounts(quotas)
    return {names.get(entry, entry): amounts[entry] for entry in amounts if not entry.startswith(COUNT)}


def objects_in(quotas: list[Object]) -> dict[str, dict[str, str | None]]:
    """Return how many objects of each kind are allowed and how many there are."""
    amounts = _amounts(quotas)
    return {entry.removeprefix(COUNT): amounts[entry] for entry in amounts if entry.startswith(COUNT)}


def _amounts(quotas: list[Object]) -> dict[str, dict[str, str | None]]:
    return {
        resource: {"hard": hard, "used": ((entry.get("status") or {}).get("used") or {}).get(resource)}
        for entry in quotas
        for resource, hard in sorted(((entry.get("spec") or {}).get("hard") or {}).items())
    }


def _quota_findings(option: str, quota: dict[str, dict[str, str | None]]) -> list[str]:
    findings = []
    for name, amounts in quota.items():
        hard, used = (quantity(amounts[key] or "") for key in ("hard", "used"))
        if hard is not None and used is not None and used > 0 and used >= hard * FULL:
            findings.append(f"{option}.{name}: {amounts['used']} of {amounts['hard']} used")
        elif used is None:
            findings.append(f"{option}.{name}: not counted yet")
    return findings


def _limits(ranges: list[Object]) -> dict[str, dict[str, str]]:
    """Return the limits of a container, by the names of the options."""
    names = {theirs: option for option, theirs in RESOURCES.items()}
    return {
        option: {names.get(resource, resource): text for resource, text in item[theirs].items()}
        for entry in ranges
        for item in (entry.get("spec") or {}).get("limits") or []
        for option, theirs in LIMITS.items()
        if item.get("type") == "Container" and item.get(theirs)
    }


def usage_of(pods: Iterable[Object]) -> dict[str, dict[str, Any]]:
    """Return what the pods of each app request, those that are over left out."""
    sums: dict[str, tuple[Decimal, Decimal, int]] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        app = pod["metadata"]["labels"][APP]
        cpu, memory, count = sums.get(app, (Decimal(0), Decimal(0), 0))
        for container in pod["spec"].get("containers") or []:
            requests = (container.get("resources") or {}).get("requests") or {}
            cpu += quantity(requests.get("cpu", "0")) or 0
            memory += quantity(requests.get("memory", "0")) or 0
        sums[app] = (cpu, memory, count + 1)
    return {app: _written(*amounts) for app, amounts in sums.items()}


def _written(cpu: Decimal, memory: Decimal, pods: int) -> dict[str, Any]:
    return {"pods": pods, "cpu": f"{ceil(cpu * 1000)}m", "memory": f"{ceil(memory / 1024**2)}Mi"}
