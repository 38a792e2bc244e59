# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from the cluster what depends on an app: apps that are bound to it, and routes of others that lead to it."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.bindings import cycle, described
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import KIND, TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import Live
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import Node
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import BOUND, Release
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import summaries
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import PEERS
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube, if_allowed
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

BOUND_RELEASES = f"{KIND}=release,{BOUND}=true"


def newest_releases(kube: Kube, tenant: str) -> dict[str, Release]:
    """Return the newest release of each app of a tenant."""
    found = releases.histories(kube.find("Secret", tenant, releases.selector([], "release")), kube.warn)
    return {app: history[-1] for app, history in found.items()}


class Peers:
    """Which tenants let which others in. That is in their Namespaces, which only administrators write."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._peers: dict[str, set[str]] | None = None

    def lets_in(self, tenant: str, other: str) -> bool:
        """Say whether a tenant is another one's or has it among its peers."""
        if tenant == other:
            return True
        if self._peers is None:
            found = if_allowed(lambda: self._kube.find("Namespace", None, TENANT, metadata=True)) or []
            self._peers = {
                entry["metadata"]["name"]: set((entry["metadata"].get("annotations") or {}).get(PEERS, "").split(","))
                for entry in found
            }
        return other in self._peers.get(tenant, ())


def left_behind(kube: Kube, removed: set[Node], going: set[Node], warnings: list[str]) -> list[Finding]:
    """Return the apps that stay and are bound to apps, given as (name, tenant), that are removed.

    Whoever may write Secrets in a tenant can say that an app there is bound to any app of any tenant. So apps of other
    tenants count only when the tenant that loses an app has them among its peers. Others are a warning.
    """
    if not removed:
        return []
    found = if_allowed(lambda: kube.find("Secret", None, BOUND_RELEASES))
    if found is None:
        warnings.append("bindings of other tenants cannot be seen with these credentials: not checked before removing")
        found = [entry for tenant in sorted({tenant for _name, tenant in removed}) for entry in _own(kube, tenant)]
    hits = {
        (release.app, release.tenant, binding.node)
        for entry in found
        for release in [releases.read(entry, kube.warn)]
        if release is not None and (release.app, release.tenant) not in going
        for binding in release.spec.bindings
        if binding.node in removed
    }
    peers = Peers(kube)
    findings = []
    strangers: dict[Node, list[Node]] = {}
    for app, tenant, target in sorted(hits):
        if not peers.lets_in(target[1], tenant):
            strangers.setdefault(target, []).append((app, tenant))
            continue
        theirs = releases.releases(kube.find("Secret", tenant, releases.selector([app], "release")), app, kube.warn)
        now = {binding.node for binding in theirs[-1].spec.bindings} if theirs else set()
        if target in now:
            wanted = "to remove that binding (app_binding), or that app, first, or force: true"
            findings.append(Finding(f"app {described([target])}", f"{described([(app, tenant)])} bound to it", wanted))
    for target, others in sorted(strangers.items()):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        warnings.append(
            f"app {described([target])}: releases of {described(others[:1])}{more} are bound to it; that does not "
            f"prevent its removal, because tenant {target[1]} does not have that tenant among its peers"
        )
    return findings


def routed_to(removed: Mapping[Node, Live], going: set[Node], routes: Mapping[str, list[Object]]) -> list[Finding]:
    """Return the routes of apps that stay and lead to apps that are removed. routes: each tenant's."""
    findings = []
    for node, live in sorted(removed.items()):
        services = {name for kind, name in live.objects if kind == "Service"}
        for route in summaries(routes.get(node[1], [])):
            if services.isdisjoint(route["services"]) or (route["app"], route["tenant"]) in {node, *going}:
                continue
            found = f"route {route['name']} of app {described([(route['app'], route['tenant'])])} with it as backend"
            wanted = "another backend for that route (app_route) first, or force: true"
            findings.append(Finding(f"app {described([node])}", found, wanted))
    return findings


def _own(kube: Kube, tenant: str) -> list[Object]:
    return kube.find("Secret", tenant, BOUND_RELEASES)


class Graph:
    """The bindings between apps, read tenant by tenant as they are followed; `wanted` has those that are to be."""

    def __init__(self, kube: Kube, wanted: dict[Node, set[Node]]) -> None:
        self._kube = kube
        self._wanted = wanted
        self._peers = Peers(kube)
        self._tenants: dict[str, dict[str, Release]] = {}

    def release(self, node: Node) -> Release | None:
        """Return the newest release of an app, given as (name, tenant)."""
        name, tenant = node
        if tenant not in self._tenants:
            self._tenants[tenant] = newest_releases(self._kube, tenant)
        return self._tenants[tenant].get(name)

    def follow(self, node: Node) -> set[Node]:
        """Return the apps that one is bound to.

        A binding that another tenant's release has counts only when the target's tenant has that tenant among its
        peers: nobody keeps others from binding their apps by a release that says so.
        """
        if node in self._wanted:
            return self._wanted[node]
        release = if_allowed(lambda: self.release(node))
        found: set[Node] = set()
        for binding in release.spec.bindings if release else ():
            target = binding.node
            if self._peers.lets_in(target[1], node[1]):
                found.add(target)
            elif target in self._wanted:
                self._kube.warn(
                    f"app {described([node])}: its binding to {described([target])} makes a cycle; it is ignored, "
                    f"because tenant {target[1]} does not have tenant {node[1]} among its peers"
                )
        return found

    def cycles(self) -> list[Finding]:
        """Return the cycles that the wanted bindings close, each once."""
        findings: list[Finding] = []
        known: set[frozenset[Node]] = set()
        for node in sorted(self._wanted):
            path = cycle(node, lambda entry: sorted(self.follow(entry)))
            if path is not None and frozenset(path) not in known:
                known.add(frozenset(path))
                found = f"the cycle {described(path)}"
                findings.append(Finding(f"app {described([node])}: bindings", found, "bindings without a cycle"))
        return findings
