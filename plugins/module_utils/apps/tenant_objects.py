# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Render a tenant to Kubernetes objects: namespace, quota, limits, network policy, service accounts, roles. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from .options import Problem
from .render import KIND, PREFIX, TENANT, VERSIONS, Object
from .tenant_spec import Member, Tenant

# The name of what a tenant has one of, and the field manager of all of it.
NAME = "cloudbang-tenant"
MANAGER = NAME
NETWORK = PREFIX + "network"
# Tells a network that isolates tenants by itself what the network policy says to all others.
PEERS = PREFIX + "peers"
MANAGED_BY = "app.kubernetes.io/managed-by"
POD_SECURITY = "pod-security.kubernetes.io/enforce"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
LOADBALANCER = "node-role.kubernetes.io/loadbalancer"
# The address from which a host reaches pods of other hosts when Calico wraps their packets.
TUNNEL = "projectcalico.org/IPv4VXLANTunnelAddr"
RBAC = "rbac.authorization.k8s.io"
# The kinds of objects in a tenant's namespace that belong to the tenant and not to an app.
KINDS = ("LimitRange", "ResourceQuota", "NetworkPolicy", "ServiceAccount", "RoleBinding")
SUBJECTS = {"user": "User", "group": "Group", "service_account": "ServiceAccount"}
ROLES = ("owner", "developer", "viewer")

_READ = ["get", "list", "watch"]
_WRITE = [*_READ, "create", "update", "patch", "delete", "deletecollection"]

_Resources = tuple[tuple[str, list[str]], ...]

# Nobody in a tenant changes these. Endpoints are among them because who writes them leads the gateway to the pods of
# another tenant.
_SHOWN: _Resources = (
    ("", ["endpoints", "events", "limitranges", "namespaces", "pods/log", "resourcequotas"]),
    ("apps", ["controllerrevisions"]),
    ("discovery.k8s.io", ["endpointslices"]),
    ("events.k8s.io", ["events"]),
    ("metrics.k8s.io", ["pods"]),
    ("networking.k8s.io", ["networkpolicies"]),
)
# What the app modules make and change, besides Secrets.
_APPS: _Resources = (
    ("", ["configmaps", "persistentvolumeclaims", "pods", "services"]),
    ("apps", ["deployments", "deployments/scale", "statefulsets", "statefulsets/scale"]),
    ("autoscaling", ["horizontalpodautoscalers"]),
    ("batch", ["cronjobs", "jobs"]),
    ("networking.k8s.io", ["ingresses"]),
    ("policy", ["poddisruptionbudgets"]),
    ("traefik.io", ["ingressroutes", "ingressroutetcps", "ingressrouteudps", "middlewares", "traefikservices"]),
)
_SECRETS: _Resources = (("", ["secrets"]),)
_OTHERS: _Resources = (
    ("", ["podtemplates", "replicationcontrollers", "serviceaccounts"]),
    ("apps", ["daemonsets", "replicasets", "replicasets/scale"]),
    ("coordination.k8s.io", ["leases"]),
    (RBAC, ["rolebindings", "roles"]),
)


def _rules(resources: _Resources, verbs: list[str]) -> list[dict[str, Any]]:
    return [{"apiGroups": [group], "resources": names, "verbs": verbs} for group, names in resources]


RULES = {
    "viewer": _rules((*_SHOWN, *_APPS, *_OTHERS), _READ),
    "developer": [*_rules((*_SHOWN, *_OTHERS), _READ), *_rules((*_APPS, *_SECRETS), _WRITE)],
    "owner": [
        *_rules(_SHOWN, _READ),
        *_rules((*_APPS, *_SECRETS, *_OTHERS), _WRITE),
        *_rules((("", ["pods/attach", "pods/exec", "pods/portforward"]),), ["get", "create"]),
        *_rules((("", ["pods/eviction", "serviceaccounts/token"]),), ["create"]),
        *_rules((("", ["pods/ephemeralcontainers"]),), ["get", "update", "patch"]),
    ],
}


def cluster_role(role: str) -> str:
    """Return the name of the ClusterRole that has the rights of a role."""
    return f"cloudbang:tenant-{role}"


def head(kind: str, name: str, tenant: str | None = None) -> Object:
    """Return the start of an object of a tenant, or of all tenants."""
    rendered: Object = {
        "apiVersion": VERSIONS.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": name, "labels": {MANAGED_BY: "cloudbang", KIND: "tenant"}},
    }
    if tenant is not None:
        rendered["metadata"]["namespace"] = tenant
        rendered["metadata"]["labels"][TENANT] = tenant
    return rendered


def objects(tenant: Tenant, gateways: Iterable[str]) -> list[Object]:
    """Return what a tenant consists of, in the order in which it is made. gateways: networks in CIDR notation."""
    rendered = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": tenant.name,
                "labels": {
                    MANAGED_BY: "cloudbang",
                    TENANT: tenant.name,
                    NETWORK: tenant.network,
                    POD_SECURITY: tenant.pod_security,
                },
                "annotations": {PEERS: ",".join(tenant.peers)} if tenant.peers else {},
            },
        }
    ]
    if tenant.limits:
        entry = head("LimitRange", NAME, tenant.name)
        entry["spec"] = {"limits": [{"type": "Container", **tenant.limits}]}
        rendered.append(entry)
    if tenant.quota:
        entry = head("ResourceQuota", NAME, tenant.name)
        entry["spec"] = {"hard": dict(tenant.quota)}
        rendered.append(entry)
    if tenant.network == "isolated":
        rendered.append(_policy(tenant, gateways))
    for member in tenant.members:
        if member.kind == "service_account":
            entry = head("ServiceAccount", member.name, tenant.name)
            entry["automountServiceAccountToken"] = False
            rendered.append(entry)
    for role in ROLES:
        members = [member for member in tenant.members if member.role == role]
        if members:
            rendered += _granted(tenant.name, role, members)
    return rendered


def _policy(tenant: Tenant, gateways: Iterable[str]) -> Object:
    sources: list[dict[str, Any]] = [{"podSelector": {}}]
    if tenant.peers:
        # The API sets this label itself, so it cannot be forged.
        named = {"key": NAMESPACE_NAME, "operator": "In", "values": list(tenant.peers)}
        sources.append({"namespaceSelector": {"matchExpressions": [named]}})
    sources += [{"ipBlock": {"cidr": network}} for network in gateways]
    policy = head("NetworkPolicy", NAME, tenant.name)
    policy["spec"] = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": sources}]}
    return policy


def _granted(tenant: str, role: str, members: list[Member]) -> list[Object]:
    allowed = head("ClusterRole", cluster_role(role))
    allowed["rules"] = RULES[role]
    binding = head("RoleBinding", f"{NAME}-{role}", tenant)
    binding["roleRef"] = {"apiGroup": RBAC, "kind": "ClusterRole", "name": cluster_role(role)}
    binding["subjects"] = [subject(tenant, member.kind, member.name) for member in members]
    return [allowed, binding]


def subject(tenant: str, kind: str, name: str) -> dict[str, str]:
    """Return a member as RBAC names it."""
    if kind == "service_account":
        return {"kind": "ServiceAccount", "name": name, "namespace": tenant}
    return {"apiGroup": RBAC, "kind": SUBJECTS[kind], "name": name}


def members_of(bindings: Iterable[Object]) -> list[Member]:
    """Return the members that a tenant's RoleBindings stand for."""
    kinds = {theirs: ours for ours, theirs in SUBJECTS.items()}
    found = [
        Member(kinds[entry["kind"]], entry["name"], role)
        for role in ROLES
        for binding in bindings
        if ours(binding) and binding["roleRef"]["name"] == cluster_role(role)
        for entry in binding.get("subjects") or []
    ]
    return sorted(found)


def ours(entry: Object) -> bool:
    """Say whether an object belongs to a tenant itself."""
    return (entry["metadata"].get("labels") or {}).get(KIND) == "tenant"


def managed(space: Object) -> bool:
    """Say whether a namespace is that of a tenant."""
    marks = space["metadata"].get("labels") or {}
    return marks.get(MANAGED_BY) == "cloudbang" and TENANT in marks


def gateways_of(nodes: Iterable[Object]) -> list[str]:
    """Return from which addresses the gateway's nodes reach pods, as networks of one address, sorted."""
    texts = []
    for node in nodes:
        addresses = (node.get("status") or {}).get("addresses") or []
        texts += [entry["address"] for entry in addresses if entry["type"] == "InternalIP"]
        texts.append((node["metadata"].get("annotations") or {}).get(TUNNEL, ""))
    return sorted({str(ipaddress.ip_network(text)) for text in texts if text})


def namespace_problems(space: Object | None, option: str, adopt: bool) -> list[Problem]:
    """Return why a namespace cannot be that of a tenant."""
    if space is None or managed(space) or adopt:
        return []
    name = space["metadata"]["name"]
    return [Problem(option, f"namespace {name}, which is not that of a tenant", "another name, or adopt: true")]


def holders(space: Object) -> list[str]:
    """Return what keeps a namespace from being gone, as its conditions say."""
    conditions = (space.get("status") or {}).get("conditions") or []
    return [entry["message"] for entry in conditions if entry.get("status") == "True" and entry.get("message")]
