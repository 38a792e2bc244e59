# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a tenant to Kubernetes objects: namespace, quota, limits, network policy, service accounts, roles. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import VERSIONS, Object
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .labels import KIND, PREFIX, TENANT
from .tenant_annotations import DOMAINS, IMAGES, PRIORITY_CLASSES, TOLERATIONS
from .tenant_quota import hard
from .tenant_roles import RBAC, ROLES, RULES, cluster_role
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
# The kinds of objects in a tenant's namespace that belong to the tenant and not to an app.
KINDS = ("LimitRange", "ResourceQuota", "NetworkPolicy", "ServiceAccount", "RoleBinding")
SUBJECTS = {"user": "User", "group": "Group", "service_account": "ServiceAccount"}
# What the level of priority is called that the role kube_control_plane makes for all tenants.
PRIORITY_LEVEL = "cloudbang-tenants"
# After the flows of the cluster's own parts and of its administrators, before those of all service accounts.
PRECEDENCE = 5000


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
                "annotations": _annotations(tenant),
            },
        }
    ]
    entry = head("LimitRange", NAME, tenant.name)
    entry["spec"] = {"limits": [{"type": "Container", **tenant.limits}]}
    rendered.append(entry)
    entry = head("ResourceQuota", NAME, tenant.name)
    entry["spec"] = {"hard": {**tenant.quota, **hard(tenant.objects)}}
    rendered += [entry, _flow(tenant)]
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


def _annotations(tenant: Tenant) -> dict[str, str]:
    lists = {
        PEERS: tenant.peers,
        DOMAINS: tenant.domains,
        TOLERATIONS: tenant.tolerations,
        PRIORITY_CLASSES: tenant.priority_classes,
        IMAGES: tenant.images,
    }
    return {name: ",".join(entries) for name, entries in lists.items() if entries}


def flow_name(tenant: str) -> str:
    """Return the name of a tenant's FlowSchema."""
    return f"{NAME}-{tenant}"


def _flow(tenant: Tenant) -> Object:
    """Return the FlowSchema that makes all requests of a tenant one flow, which waits behind itself alone.

    Of members it takes what they ask for in the tenant, for they can be in others as well; of the tenant's service
    accounts everything.
    """
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    accounts: dict[str, Any] = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": tenant.name, "name": "*"}}],
        "resourceRules": [everything],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    rules = [accounts]
    subjects = [
        {"kind": SUBJECTS[kind], kind: {"name": name}}
        for kind, name in sorted({(member.kind, member.name) for member in tenant.members})
        if kind != "service_account"
    ]
    if subjects:
        own = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": [tenant.name]}
        rules.append({"subjects": subjects, "resourceRules": [own]})
    flow = head("FlowSchema", flow_name(tenant.name))
    flow["metadata"]["labels"][TENANT] = tenant.name
    flow["spec"] = {
        "priorityLevelConfiguration": {"name": PRIORITY_LEVEL},
        "matchingPrecedence": PRECEDENCE,
        "rules": rules,
    }
    return flow


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


def foreign_subjects(binding: Object, gone: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the subjects that a RoleBinding has besides those that are no longer members."""
    ended = {(entry["kind"], entry["name"], entry.get("namespace")) for entry in gone}
    return [
        entry
        for entry in binding.get("subjects") or []
        if (entry["kind"], entry["name"], entry.get("namespace")) not in ended
    ]


def grants_membership(binding: Object) -> bool:
    """Say whether a RoleBinding gives the rights of a member."""
    kind, name = str(binding["roleRef"]["kind"]), str(binding["roleRef"]["name"])
    return kind == "ClusterRole" and name.startswith(cluster_role(""))


def foreign(entries: Iterable[tuple[str, Object]]) -> list[str]:
    """Return what gives rights in a tenant and is not of its making, and what to do about it.

    entries: RoleBindings, Roles and Secrets with tokens of service accounts, each with its kind.
    """
    texts = []
    for kind, entry in entries:
        name = entry["metadata"]["name"]
        if kind == "Secret":
            texts.append(
                f"Secret {name} has a token of a service account that does not expire; delete it, and use "
                "tenant_kubeconfig instead"
            )
        elif kind == "RoleBinding":
            role = f"{entry['roleRef']['kind']} {entry['roleRef']['name']}"
            who = ", ".join(f"{one['kind']} {one['name']}" for one in entry.get("subjects") or []) or "nobody"
            if grants_membership(entry):
                beside = f"RoleBinding {name}, which makes {who} a member"
                texts.append(f"members: found {beside}, wanted only members of the task")
            else:
                texts.append(f"RoleBinding {name} gives {role} to {who}, member or not; delete it if nobody needs it")
        else:
            texts.append(f"Role {name} was not created by the module tenant; delete it if nobody needs it")
    return texts


def ours(entry: Object) -> bool:
    """Say whether an object belongs to a tenant itself."""
    return (entry["metadata"].get("labels") or {}).get(KIND) == "tenant"


def managed(space: Object) -> bool:
    """Say whether a namespace is that of a tenant."""
    labels = space["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == "cloudbang" and TENANT in labels


def gateways_of(nodes: Iterable[Object], warn: Callable[[str], None]) -> list[str]:
    """Return from which addresses the gateway's nodes reach pods, as networks of one address, sorted.

    A node writes these addresses itself. What is not an address is left out, and a warning names the node.
    """
    found: set[str] = set()
    for node in nodes:
        meta, addresses = node["metadata"], (node.get("status") or {}).get("addresses") or []
        texts = [entry["address"] for entry in addresses if entry["type"] == "InternalIP"]
        for text in (*texts, (meta.get("annotations") or {}).get(TUNNEL)):
            if not text:
                continue
            try:
                found.add(_network(text))
            except ValueError:
                warn(f"node {meta['name']}: found the address {shown(text)}, wanted one IP address: it gets no access")
    return sorted(found)


def _network(text: str) -> str:
    """Return the network of one address. ValueError for what is not one, or one that a network policy cannot have."""
    address = ipaddress.ip_address(text)
    if "%" in text or getattr(address, "ipv4_mapped", None):
        raise ValueError(text)
    return str(ipaddress.ip_network(address))


def namespace_findings(space: Object | None, option: str, adopt: bool) -> list[Finding]:
    """Return why a namespace cannot be that of a tenant."""
    if space is None or managed(space) or adopt:
        return []
    name = space["metadata"]["name"]
    return [Finding(option, f"namespace {name}, which is not that of a tenant", "another name, or adopt: true")]


def holders(space: Object) -> list[str]:
    """Return what keeps a namespace from being gone, as its conditions say."""
    conditions = (space.get("status") or {}).get("conditions") or []
    return [entry["message"] for entry in conditions if entry.get("status") == "True" and entry.get("message")]
