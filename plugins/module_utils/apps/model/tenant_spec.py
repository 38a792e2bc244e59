# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wants of a tenant: checked as a whole, and in one normal form. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import IMAGE_PATH
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .options import LABEL
from .requests import TenantRequest
from .spec import DOMAIN, SYSTEM_TENANTS
from .tenant_quota import numbers, objects_of

# Names of the quota's options, and what the API calls them.
QUOTA = {
    "cpu": "requests.cpu",
    "memory": "requests.memory",
    "limits_cpu": "limits.cpu",
    "limits_memory": "limits.memory",
    "ephemeral_storage": "requests.ephemeral-storage",
    "storage": "requests.storage",
    "volume_claims": "persistentvolumeclaims",
    "pods": "pods",
    "services": "services",
    "node_ports": "services.nodeports",
    "load_balancers": "services.loadbalancers",
    "secrets": "secrets",
    "config_maps": "configmaps",
}
AMOUNTS = ("cpu", "memory", "limits_cpu", "limits_memory", "ephemeral_storage", "storage")
# What a tenant has none of unless its quota says so: these are ports of all hosts.
NONE = ("node_ports", "load_balancers")
# Names of the limits' options, and what the API calls them.
LIMITS = {"default": "default", "default_request": "defaultRequest", "max": "max", "min": "min"}
# What a container that says nothing gets when a quota would refuse it otherwise.
DEFAULT_REQUEST = {"cpu": "100m", "memory": "128Mi"}
DEFAULT_LIMIT = {"cpu": "1", "memory": "512Mi"}
# Names of the resources of a container in the options, and what the API calls them.
RESOURCES = {"cpu": "cpu", "memory": "memory", "ephemeral_storage": "ephemeral-storage"}
# Space on its node's disk that a container gets which does not say how much. It requests none of it: a node that does
# not count such space has none to give, and the scheduler would place nothing there.
EPHEMERAL_LIMIT = "10Gi"
EPHEMERAL_REQUEST = "0"
TAINT = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
LIFETIME = re.compile(r"([1-9][0-9]*)(m|h|d)\Z")
SECONDS = {"m": 60, "h": 3600, "d": 86400}
# The API issues nothing shorter.
SHORTEST = 600
LONGEST = 365 * 86400
# The API issues no token of a service account for longer (--service-account-max-token-expiration).
LONGEST_TOKEN = 86400


class Member(NamedTuple):
    """Who may do what in a tenant. kind: user, group or service_account; role: owner, developer or viewer."""

    kind: str
    name: str
    role: str


@dataclass(frozen=True)
class Tenant:
    """A tenant as one task wants it. quota, objects and limits are in the API's names."""

    name: str
    pod_security: str
    quota: dict[str, str]
    objects: dict[str, int]
    limits: dict[str, dict[str, str]]
    network: str
    peers: tuple[str, ...]
    members: tuple[Member, ...]
    domains: tuple[str, ...]
    tolerations: tuple[str, ...]
    priority_classes: tuple[str, ...]
    images: tuple[str, ...]


def tenant_of(request: TenantRequest) -> Tenant:
    """Return the normal form of a tenant that a task wants."""
    given = {name: value for name, value in (request.quota or {}).items() if value is not None}
    quota = {QUOTA[name]: str(value) for name, value in {**dict.fromkeys(NONE, 0), **given}.items()}
    return Tenant(
        name=request.name,
        pod_security=request.pod_security,
        quota=quota,
        objects=numbers(objects_of(request.objects)[0], quota),
        limits=_limits(request.limits or {}, quota),
        network=request.network,
        peers=tuple(sorted(request.peers)),
        members=tuple(sorted(Member(entry["kind"], entry["name"], entry["role"]) for entry in request.members)),
        domains=tuple(sorted(request.domains)),
        tolerations=tuple(sorted(request.tolerations)),
        priority_classes=tuple(sorted(request.priority_classes)),
        images=tuple(sorted(request.images)),
    )


def _limits(given: dict[str, Any], quota: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return the limits in the API's names, with defaults where the API would refuse containers that say nothing.

    It also fills in the request where the API would take the default limit or the maximum for it, which is too much.
    """
    limits: dict[str, dict[str, str]] = {}
    for name, resource in RESOURCES.items():
        own = {option: (given.get(option) or {}).get(name) for option in LIMITS}
        if name == "ephemeral_storage":
            low = own["default_request"] or own["min"]
            own["default"] = own["default"] or _between(EPHEMERAL_LIMIT, low, own["max"])
            own["default_request"] = own["default_request"] or own["min"] or EPHEMERAL_REQUEST
        high = own["default"] or own["max"]
        if own["default_request"] is None and (high is not None or f"requests.{resource}" in quota):
            own["default_request"] = _between(DEFAULT_REQUEST[resource], own["min"], high)
        if own["default"] is None and f"limits.{resource}" in quota:
            low = own["default_request"] or own["min"]
            own["default"] = _between(DEFAULT_LIMIT[resource], low, own["max"])
            own["default_request"] = own["default_request"] or _between(DEFAULT_REQUEST[resource], own["min"], None)
        for option, text in own.items():
            if text is not None:
                limits.setdefault(LIMITS[option], {})[resource] = text
    return limits


def _between(text: str, low: str | None, high: str | None) -> str:
    """Return the quantity, or the bound that it is beyond."""
    value = quantity(text) or 0
    if low is not None and value < (quantity(low) or 0):
        return low
    if high is not None and value > (quantity(high) or 0):
        return high
    return text


def seconds_of(lifetime: str) -> int | None:
    """Return the seconds of a lifetime such as 90m, 8h or 7d; None when it is none."""
    match = LIFETIME.match(lifetime)
    return int(match[1]) * SECONDS[match[2]] if match else None


def tenant_findings(values: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with the options of M(cloudbang.platform.tenant), beyond their types."""
    findings = info_findings(values)
    if values.get("name") is None:
        findings.append(Finding("name", "nothing", "the name of the tenant"))
    findings += _quota_findings(values.get("quota") or {})
    findings += _limit_findings(values.get("limits") or {})
    findings += objects_of(values.get("objects"))[1]
    findings += _peer_findings(values)
    findings += _list_findings(values)
    return findings + _member_findings(values.get("members") or [])


def info_findings(values: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with the options of M(cloudbang.platform.tenant_info), beyond their types."""
    return name_findings("name", values["name"]) if values.get("name") is not None else []


def kubeconfig_findings(values: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with the options of M(cloudbang.platform.tenant_kubeconfig), beyond their types."""
    findings = name_findings("tenant", values["tenant"]) if values.get("tenant") is not None else []
    if values.get("member") is not None and values.get("kind"):
        findings += member_findings("member", values["kind"], values["member"])
    seconds = seconds_of(values.get("lifetime") or "")
    if values.get("lifetime") is not None and (seconds is None or not SHORTEST <= seconds <= LONGEST):
        findings.append(Finding("lifetime", shown(values["lifetime"]), "10m to 365d, such as 30m, 8h or 7d"))
    elif values.get("kind") == "service_account" and seconds is not None and seconds > LONGEST_TOKEN:
        wanted = "at most 24h, because service accounts get no token for longer; run the task again in time"
        findings.append(Finding("lifetime", shown(values["lifetime"]), wanted))
    return findings


def name_findings(option: str, name: str) -> list[Finding]:
    """Return what is wrong with the name of a tenant."""
    if len(name) > 63 or not LABEL.match(name):
        return [Finding(option, shown(name), "at most 63 lowercase letters, digits and - (RFC 1123 label)")]
    # Neither has the gateway to take names of kube for those of kube-system.
    if name in SYSTEM_TENANTS or name == "default" or f"{name}-".startswith(("kube-", "cloudbang-")):
        return [Finding(option, shown(name), "a namespace that is not the cluster's own")]
    return []


def _quota_findings(given: dict[str, Any]) -> list[Finding]:
    findings = []
    for name, value in given.items():
        if value is None or name not in QUOTA:
            continue
        if name in AMOUNTS:
            findings += _amount_findings(f"quota.{name}", "cpu" if name.endswith("cpu") else "memory", value)
        elif value < 0:
            findings.append(Finding(f"quota.{name}", shown(value), "0 or more"))
    for resource in ("cpu", "memory"):
        requests, limits = (quantity(given.get(name) or "") for name in (resource, f"limits_{resource}"))
        if requests is not None and limits is not None and limits < requests:
            found = shown(given[f"limits_{resource}"])
            findings.append(Finding(f"quota.limits_{resource}", found, f"{given[resource]} or more, like the requests"))
    return findings


def _amount_findings(option: str, resource: str, text: str) -> list[Finding]:
    value = quantity(text)
    example = "a quantity such as 500m, 0.5 or 8" if resource == "cpu" else "a quantity such as 64Mi, 512M or 16Gi"
    if value is None or value < 0 or (resource != "cpu" and 0 < value < 1024**2):
        return [Finding(option, shown(text), example)]
    return []


def _limit_findings(given: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    for option, amounts in given.items():
        for resource, text in (amounts or {}).items():
            if text is not None:
                findings += _amount_findings(f"limits.{option}.{resource}", resource, text)
    if findings:
        return findings
    order = ("min", "default_request", "default", "max")
    for resource in RESOURCES:
        known = [(option, given[option][resource]) for option in order if (given.get(option) or {}).get(resource)]
        for (lower, low), (higher, high) in zip(known, known[1:]):
            if (quantity(low) or 0) > (quantity(high) or 0):
                findings.append(Finding(f"limits.{lower}.{resource}", shown(low), f"no more than {higher}, {high}"))
    return findings


def _peer_findings(values: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    peers = values.get("peers") or []
    if peers and values.get("network") == "open":
        findings.append(Finding("peers", shown(peers), "no peers, because everybody can reach an open network"))
    for number, peer in enumerate(peers):
        where = f"peers[{number}]"
        if len(peer) > 63 or not LABEL.match(peer):
            findings.append(Finding(where, shown(peer), "the name of a tenant (RFC 1123 label)"))
        elif peer == values.get("name"):
            findings.append(Finding(where, shown(peer), "another tenant, because a tenant always reaches itself"))
        elif peer in peers[:number]:
            findings.append(Finding(where, shown(peer), "each peer once"))
    return findings


def _list_findings(values: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with the lists that become annotations, in which a comma ends an entry."""
    findings: list[Finding] = []
    for option, (good, wanted) in _LISTS.items():
        entries = values.get(option) or []
        for number, entry in enumerate(entries):
            where = f"{option}[{number}]"
            if not isinstance(entry, str) or not good(entry):
                findings.append(Finding(where, shown(entry), wanted))
            elif entry in entries[:number]:
                findings.append(Finding(where, shown(entry), "each one once"))
    return findings


def _is_domain(text: str) -> bool:
    """Say whether a text is a domain. One of a single label would be a whole top-level domain with its wildcard."""
    return (
        len(text) <= 253
        and bool(DOMAIN.match(text))
        and all(len(label) <= 63 for label in text.split("."))
        and "." in text.removeprefix("*.")
        and not text.rpartition(".")[2].isdigit()
    )


def _is_priority_class(text: str) -> bool:
    return len(text) <= 253 and bool(DOMAIN.match(text)) and not text.startswith(("*", "system-"))


def _is_image_prefix(text: str) -> bool:
    """Say whether a text is a repository, or with a slash at its end the beginning of several."""
    return len(text) <= 255 and "/" in text and bool(IMAGE_PATH.match(text.removesuffix("/")))


_LISTS: dict[str, tuple[Callable[[str], bool], str]] = {
    "domains": (_is_domain, "a lowercase domain such as shop.example.org, or *.example.org for all names below it"),
    "tolerations": (lambda text: len(text) <= 317 and bool(TAINT.match(text)), "the key of a taint"),
    "priority_classes": (_is_priority_class, "the name of a PriorityClass that is not the cluster's own (system-)"),
    "images": (_is_image_prefix, "repositories, with a slash, such as tools/ for all below it or tools/curl"),
}


def _member_findings(members: list[dict[str, Any]]) -> list[Finding]:
    findings: list[Finding] = []
    seen: dict[tuple[str, str], str] = {}
    for number, entry in enumerate(members):
        if not entry or entry.get("name") is None or entry.get("kind") is None:
            continue
        where = f"members[{number}].name"
        findings += member_findings(where, entry["kind"], entry["name"])
        key = (entry["kind"], entry["name"])
        if key in seen:
            findings.append(Finding(where, shown(entry["name"]), f"each member once, {seen[key]} is the same"))
        seen.setdefault(key, f"members[{number}]")
    return findings


def member_findings(option: str, kind: str, name: str) -> list[Finding]:
    """Return what is wrong with the name of a member."""
    if kind == "service_account":
        if len(name) > 253 or not DOMAIN.match(name) or name.startswith("*"):
            return [Finding(option, shown(name), "a service account's name of lowercase letters, digits, - and .")]
        if name == "default":
            return [Finding(option, shown(name), "a service account of its own: every pod may run as default")]
    elif not name or len(name) > 64 or not name.isprintable() or name != name.strip():
        return [Finding(option, shown(name), f"the name of a {kind}, 1 to 64 printable characters")]
    elif name.startswith(("system:", "cloudbang:")):
        return [Finding(option, shown(name), "a name that does not start with system: or cloudbang:")]
    return []
