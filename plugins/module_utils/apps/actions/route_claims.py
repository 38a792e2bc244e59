# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has which domain, in the whole cluster: what is wrong with the domains that an app or a route asks for."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import KINDS as PARTS
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import (
    ROUTE,
    Claim,
    claims,
    in_the_way,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, if_allowed
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

# The kinds of objects by which the gateway takes requests for a domain.
KINDS = ("Ingress", "IngressRoute", "IngressRouteTCP")
UNSEEN = "domains of other tenants cannot be seen with these credentials: not checked for conflicts"


def everywhere(kube: Kube, kind: str, tenants: Iterable[str]) -> tuple[list[Object], bool]:
    """Return the objects of a kind in all namespaces, and True.

    With credentials that may not see all, those of the tenants, and False. A kind that the cluster does not have has
    no objects.
    """
    seen = if_allowed(lambda: _find(kube, kind, None))
    if seen is not None:
        return seen, True
    found: list[Object] = []
    for tenant in sorted(set(tenants)):
        found += _find(kube, kind, tenant)
    return found, False


def of_routes(kube: Kube, tenant: str | None) -> list[Object]:
    """Return what the routes of a tenant (None: of all) consist of; traffic's way in comes last."""
    return [entry for kind in PARTS for entry in _find(kube, kind, tenant, ROUTE)]


def in_tenant(kube: Kube, kind: str, tenant: str, metadata: bool = False) -> list[Object]:
    """Return the objects of a kind in a tenant. A kind that the cluster does not have has no objects."""
    return _find(kube, kind, tenant, None, metadata)


def _find(
    kube: Kube, kind: str, tenant: str | None, selector: str | None = None, metadata: bool = False
) -> list[Object]:
    try:
        return [{**entry, "kind": kind} for entry in kube.find(kind, tenant, selector, metadata)]
    except ApiError as error:
        if error.status == 404 or (error.status == 403 and tenant is not None):
            return []
        raise


def taken(kube: Kube, wanted: Iterable[tuple[str, Claim]], warnings: list[str]) -> list[Finding]:
    """Return what others have of what is wanted. wanted: the option that a problem is to name, and the claim."""
    pairs = list(wanted)
    if not pairs:
        return []
    found: list[Claim] = []
    complete = True
    for kind in KINDS:
        entries, all_seen = everywhere(kube, kind, [claim.tenant for _option, claim in pairs])
        complete = complete and all_seen
        found += [claim for entry in entries for claim in claims(entry)]
    if not complete:
        warnings.append(UNSEEN)
    findings = []
    for option, claim in pairs:
        other = in_the_way(claim, found)
        if other is not None:
            findings.append(Finding(option, f"{other} has", "a domain that is free"))
    return findings
