# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service accounts of a tenant that are recreated, which ends all their tokens.

Who could act in a tenant could take tokens of its service accounts, by request or with a pod. When somebody no longer
can, the service accounts that are members are recreated. Until then no RoleBinding of the tenant names them, because an
API server accepts a token for some seconds after its service account is gone, and RBAC knows service accounts by their
names: an old token would have the rights of the new service account, and could take a token of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import PREFIX
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import subject
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_roles import cluster_role
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_spec import Tenant
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

from .changes import Change, view_of

# An annotation of the Namespace while service accounts are being recreated.
RECREATING = PREFIX + "recreating-service-accounts"
# An API server caches a token that it accepted for 10 seconds (TokenSuccessCacheTTL of kube-apiserver).
CACHE_SECONDS = 11.0
TAKERS = ("owner", "developer")
# ClusterRoles that read, and no Secrets; view is one of Kubernetes' own.
READERS = (cluster_role("viewer"), "view")
Key = tuple[str, str]


def lost(tenant: Tenant, live: Mapping[Key, Object], changes: Iterable[Change]) -> list[str]:
    """Return who could take tokens of the tenant's service accounts and no longer can with these changes."""
    kept = [subject(tenant.name, one.kind, one.name) for one in tenant.members if one.role in TAKERS]
    found = set()
    for change in changes:
        now = live.get((change.kind, change.name))
        if change.kind != "RoleBinding" or now is None or _reads_only(now):
            continue
        after = [*kept, *(change.after.get("subjects") or [])]
        found |= {one["name"] for one in now.get("subjects") or [] if not any(_same(one, other) for other in after)}
    return sorted(found)


def _reads_only(binding: Object) -> bool:
    return binding["roleRef"]["kind"] == "ClusterRole" and binding["roleRef"]["name"] in READERS


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("kind", "name", "namespace"))


def recreating(space: Object | None) -> bool:
    """Return whether a run stopped before it had recreated all service accounts."""
    return space is not None and RECREATING in (space["metadata"].get("annotations") or {})


def recreated(tenant: str, wanted: Iterable[Object], live: Mapping[Key, Object], changes: list[Change]) -> list[Change]:
    """Return the changes with those that recreate all service accounts that are members."""
    accounts = {entry["metadata"]["name"]: entry for entry in wanted if entry["kind"] == "ServiceAccount"}
    begun = [_marked(tenant, True)] if accounts or recreating(live.get(("Namespace", tenant))) else []
    ended = [_marked(tenant, False)] if begun else []
    without, within = [], []
    for entry in wanted:
        others = [one for one in entry.get("subjects") or [] if one["kind"] != "ServiceAccount"]
        if entry["kind"] == "RoleBinding" and len(others) < len(entry["subjects"]):
            key = ("RoleBinding", entry["metadata"]["name"])
            without += _without_accounts(key, live.get(key), {**entry, "subjects": others})
            within.append(Change("changed" if others else "created", *key, {}, view_of(entry), entry))
    away = [
        Change("removed", "ServiceAccount", name, view_of(live["ServiceAccount", name]), {}, None)
        for name in accounts
        if ("ServiceAccount", name) in live
    ]
    anew = [
        Change(
            "created", "ServiceAccount", name, {}, view_of(entry), entry, kept=_kept(live.get(("ServiceAccount", name)))
        )
        for name, entry in accounts.items()
    ]
    anew[:1] = [one._replace(pause=CACHE_SECONDS) for one in anew[:1]]
    done = {(change.kind, change.name) for change in (*within, *anew)}
    rest = [change for change in changes if (change.kind, change.name) not in done]
    return [*begun, *without, *rest, *away, *anew, *within, *ended]


def _marked(tenant: str, begun: bool) -> Change:
    """Return the change that notes in the Namespace that service accounts are being recreated, or no longer are."""
    patch = {"metadata": {"annotations": {RECREATING: "true" if begun else None}}}
    kind = "Recreation of the service accounts of"
    return Change("started" if begun else "finished", kind, tenant, {}, {}, None, patch)


def _without_accounts(key: Key, now: Object | None, entry: Object) -> list[Change]:
    if now is None:
        return []
    if not entry["subjects"]:
        return [Change("removed", *key, view_of(now), {}, None)]
    verb = "changed" if now.get("roleRef") == entry["roleRef"] else "replaced"
    return [Change(verb, *key, view_of(now), view_of(entry), entry)]


def _kept(account: Object | None) -> Object | None:
    """Return what others gave a service account and pods need: the names of credentials for registries."""
    secrets = (account or {}).get("imagePullSecrets")
    return {"imagePullSecrets": secrets} if secrets else None
