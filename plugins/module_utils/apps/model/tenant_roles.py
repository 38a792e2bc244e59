# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles of a tenant's members: which kinds each may read and write, and which objects come into being by that. Pure."""

from __future__ import annotations

from typing import Any

RBAC = "rbac.authorization.k8s.io"
ROLES = ("owner", "developer", "viewer")

_READ = ["get", "list", "watch"]
_REMOVE = [*_READ, "delete", "deletecollection"]
_WRITE = [*_READ, "create", "update", "patch", "delete", "deletecollection"]

_Resources = tuple[tuple[str, list[str]], ...]

# Nobody in a tenant changes these. Endpoints are among them because who writes them leads the gateway to the pods of
# another tenant; roles and bindings because who writes them keeps rights that end with nobody's membership.
_SHOWN: _Resources = (
    ("", ["endpoints", "events", "limitranges", "namespaces", "pods/log", "resourcequotas"]),
    ("apps", ["controllerrevisions"]),
    ("discovery.k8s.io", ["endpointslices"]),
    ("events.k8s.io", ["events"]),
    ("metrics.k8s.io", ["pods"]),
    ("networking.k8s.io", ["networkpolicies"]),
    (RBAC, ["rolebindings", "roles"]),
)
# What the app modules make and change, besides Secrets.
_APPS: _Resources = (
    ("", ["configmaps", "persistentvolumeclaims", "pods", "services"]),
    ("apps", ["deployments", "deployments/scale", "statefulsets", "statefulsets/scale"]),
    ("autoscaling", ["horizontalpodautoscalers"]),
    ("batch", ["cronjobs", "jobs"]),
    ("networking.k8s.io", ["ingresses"]),
    ("policy", ["poddisruptionbudgets"]),
)
# What is in these reaches beyond the tenant: the gateway follows them to any host, port and address. So only
# administrators write them; members remove them, so that removing an app removes its routes.
_ROUTES: _Resources = (
    ("traefik.io", ["ingressroutes", "ingressroutetcps", "ingressrouteudps", "middlewares", "traefikservices"]),
)
_SECRETS: _Resources = (("", ["secrets"]),)
_OTHERS: _Resources = (
    ("", ["podtemplates", "replicationcontrollers", "serviceaccounts"]),
    ("apps", ["daemonsets", "replicasets", "replicasets/scale"]),
    ("coordination.k8s.io", ["leases"]),
)


def _rules(resources: _Resources, verbs: list[str]) -> list[dict[str, Any]]:
    return [{"apiGroups": [group], "resources": names, "verbs": verbs} for group, names in resources]


RULES = {
    "viewer": _rules((*_SHOWN, *_APPS, *_ROUTES, *_OTHERS), _READ),
    "developer": [
        *_rules((*_SHOWN, *_OTHERS), _READ),
        *_rules((*_APPS, *_SECRETS), _WRITE),
        *_rules(_ROUTES, _REMOVE),
    ],
    "owner": [
        *_rules(_SHOWN, _READ),
        *_rules((*_APPS, *_SECRETS, *_OTHERS), _WRITE),
        *_rules(_ROUTES, _REMOVE),
        *_rules((("", ["pods/attach", "pods/exec", "pods/portforward"]),), ["get", "create"]),
        *_rules((("", ["pods/eviction", "serviceaccounts/token"]),), ["create"]),
        *_rules((("", ["pods/ephemeralcontainers"]),), ["get", "update", "patch"]),
    ],
}


def cluster_role(role: str) -> str:
    """Return the name of the ClusterRole that has the rights of a role."""
    return f"cloudbang:tenant-{role}"


def creatable(rules: dict[str, list[dict[str, Any]]]) -> set[str]:
    """Return the kinds of which a role's rules allow to create objects, as RESOURCE or RESOURCE.GROUP.

    A subresource is no object of its own.
    """
    return {
        name + (f".{group}" if group else "")
        for granted in rules.values()
        for rule in granted
        if {"create", "*"} & set(rule["verbs"])
        for group in rule["apiGroups"]
        for name in rule["resources"]
        if "/" not in name
    }
