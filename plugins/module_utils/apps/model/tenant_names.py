# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tenants share: domains, and names that the gateway puts together from tenant and object. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

from .tenant_annotations import DOMAINS


def listed(space: Object, annotation: str) -> list[str]:
    """Return what an annotation of a Namespace lists."""
    text = (space["metadata"].get("annotations") or {}).get(annotation) or ""
    return [entry for entry in text.split(",") if entry]


def covers(wide: str, narrow: str) -> bool:
    """Say whether who has a domain has another one with it: *.example.org is for all names below example.org."""
    return wide == narrow or (wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:]))


def covered(domain: str, domains: Iterable[str]) -> bool:
    """Say whether a domain is one of some domains, or below one of them."""
    return any(covers(entry, domain) for entry in domains)


def domain_findings(tenant: str, wanted: Iterable[str], spaces: Iterable[Object]) -> list[Finding]:
    """Return which domains other tenants have. spaces: the Namespaces of all tenants."""
    taken = [
        (domain, space["metadata"]["name"])
        for space in spaces
        if space["metadata"]["name"] != tenant
        for domain in listed(space, DOMAINS)
    ]
    findings = []
    for number, domain in enumerate(wanted):
        for other, holder in taken:
            if covers(domain, other) or covers(other, domain):
                found = f"{domain}, and tenant {holder} has {other}"
                wanted = "a domain that does not overlap with those of other tenants"
                findings.append(Finding(f"domains[{number}]", found, wanted))
                break
    return findings


def reserved(tenants: Iterable[str]) -> dict[str, list[str]]:
    """Return for each tenant how names of its objects must not begin.

    The gateway knows an object as TENANT-NAME. So staging-shop of acme would be shop of acme-staging.
    """
    names = sorted(set(tenants))
    return {
        name: [other.removeprefix(f"{name}-") + "-" for other in names if other.startswith(f"{name}-")]
        for name in names
    }


def beginning(names: Iterable[str], prefixes: Iterable[str]) -> list[str]:
    """Return the names that begin with one of the prefixes, or are one without its hyphen.

    The gateway puts more behind a name with a hyphen.
    """
    starts = tuple(prefixes)
    return [name for name in names if f"{name}-".startswith(starts)] if starts else []
