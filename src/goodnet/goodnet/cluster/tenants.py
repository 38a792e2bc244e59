# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tenant a namespace belongs to, and which number (VNI) a tenant has in the overlay.

The numbers are in one ConfigMap that management hosts may write. The API refuses who has not seen its latest version.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from goodnet.cluster.client import METADATA_LIST, Api, ApiError, Unreachable
from goodnet.cluster.objects import NAMESPACE, TENANTS, Object
from goodnet.model import MAX_VNI, SYSTEM, Tenant

log = logging.getLogger(__name__)

LABEL_TENANT = "cloudbang.platform/tenant"
LABEL_NETWORK = "cloudbang.platform/network"
_SYSTEM_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_PLATFORM_PREFIX = "cloudbang-"
# The code of tenants runs there, so it is a tenant of its own.
_UNTRUSTED_NAMESPACES = frozenset({"cloudbang-builds"})
# How long a tenant has to be without namespace before its number is given to others.
RELEASE_SECONDS = 3600.0
# Every refused writer lost to one that succeeded, so this many attempts serve this many writers at once.
_ATTEMPTS = 50
CONFIGMAP = f"{NAMESPACE}/{TENANTS}"
_PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a namespace: reason is a word for programs, message a sentence for people."""

    namespace: str
    reason: str
    message: str


@dataclass(frozen=True)
class Entry:
    """What the ConfigMap says of a tenant."""

    vni: int
    external: IPv4Address | None = None


class Exhausted(Exception):
    """The range has no free number. tenants: those that got none."""

    def __init__(self, tenants: list[str], vni_range: tuple[int, int]) -> None:
        self.tenants = tenants
        first, last = vni_range
        super().__init__(
            f"no VNI is free for {', '.join(tenants)}: found all of {first} to {last} in use, wanted a "
            f"larger vni_range in agent.yaml of every host, or fewer tenants; "
            "numbers of removed tenants are free after an hour"
        )


def tenant_of(name: str, labels: Mapping[str, str], system_namespaces: frozenset[str]) -> tuple[str, Finding | None]:
    """Return the tenant of a namespace, and what is wrong when its label asks for one that it may not have."""
    if name in _UNTRUSTED_NAMESPACES:
        return name, None
    if name in _SYSTEM_NAMESPACES or name.startswith(_PLATFORM_PREFIX):
        return SYSTEM, None
    tenant = labels.get(LABEL_TENANT) or name
    if tenant == SYSTEM and name not in system_namespaces:
        message = (
            f"label {LABEL_TENANT}: found {SYSTEM}, which reaches all tenants; wanted another tenant, or this "
            f"namespace in system_namespaces of the hosts' configuration. Until then the namespace is the tenant {name}"
        )
        # A namespace that is named like the platform's tenant stays outside of it as well.
        return (name if name != SYSTEM else f"{SYSTEM}.namespace"), Finding(name, "TenantRefused", message)
    return tenant, None


def parse(data: Mapping[str, str]) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the usable entries of the ConfigMap, and for each other tenant what is wrong with its entry.

    Of two tenants with one number or address the one that comes first by name keeps it, on every host alike.
    """
    entries: dict[str, Entry] = {}
    wrong: dict[str, str] = {}
    numbers: dict[int, str] = {}
    addresses: dict[IPv4Address, str] = {}
    for tenant in sorted(data):
        try:
            value = json.loads(data[tenant])
            vni = value["vni"]
            external = IPv4Address(value["external"]) if value.get("external") is not None else None
        except (ValueError, KeyError, TypeError, AttributeError):
            wrong[tenant] = (
                f'found {data[tenant][:80]!r}, wanted JSON as {{"vni": 7}}, with an IPv4 address as "external" or none'
            )
            continue
        if not isinstance(vni, int) or isinstance(vni, bool) or not 1 <= vni <= MAX_VNI:
            wrong[tenant] = f"found VNI {vni!r}, wanted a number from 1 to {MAX_VNI}"
        elif tenant == SYSTEM:
            wrong[tenant] = f"found VNI {vni}, wanted no entry, as {SYSTEM} is always 0"
        elif vni in numbers:
            wrong[tenant] = f"found VNI {vni}, which {numbers[vni]} has; wanted a number of its own"
        elif external in addresses:
            wrong[tenant] = f"found external address {external}, which {addresses[external]} has; wanted one of its own"
            numbers[vni] = tenant
            entries[tenant] = Entry(vni)
        else:
            entries[tenant] = Entry(vni, external)
            numbers[vni] = tenant
            if external is not None:
                addresses[external] = tenant
    return entries, wrong


def plan(
    data: Mapping[str, str], wanted: Iterable[str], vni_range: tuple[int, int]
) -> tuple[dict[str, str], list[str]]:
    """Return data with an entry for each wanted tenant, and the tenants that no number was left for.

    Numbers of entries that are not usable as a whole stay taken, as somebody may use them still.
    """
    planned = dict(data)
    taken = {vni for value in data.values() if (vni := _number(value)) is not None}
    refused = []
    candidate = vni_range[0]
    for tenant in sorted(set(wanted) - data.keys() - {SYSTEM}):
        while candidate in taken:
            candidate += 1
        if candidate > vni_range[1]:
            refused.append(tenant)
            continue
        planned[tenant] = json.dumps({"vni": candidate})
        taken.add(candidate)
    return planned, refused


def _number(value: str) -> int | None:
    try:
        number = json.loads(value)["vni"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) else None


def allocate(api: Api, wanted: Iterable[str], vni_range: tuple[int, int]) -> dict[str, str]:
    """Give each wanted tenant a number that no other has, and return the data of the ConfigMap.

    Exhausted is raised after those that there are numbers for have got one.
    """
    tenants = set(wanted)
    refused: list[str] = []

    def change(data: dict[str, str]) -> dict[str, str]:
        planned, refused[:] = plan(data, tenants, vni_range)
        return planned

    data = _change(api, change)
    if refused:
        raise Exhausted(list(refused), vni_range)
    return data


def release(api: Api, unused: Iterable[str], system_namespaces: frozenset[str]) -> list[str]:
    """Remove the entries of these tenants unless a namespace has got one of them by now; return those removed."""
    namespaces = api.request("GET", "/api/v1/namespaces", accept=METADATA_LIST)["items"]
    used = {
        tenant_of(item["metadata"]["name"], item["metadata"].get("labels") or {}, system_namespaces)[0]
        for item in namespaces
    }
    leaving = set(unused) - used
    removed: list[str] = []

    def change(data: dict[str, str]) -> dict[str, str]:
        removed[:] = sorted(leaving & data.keys())
        return {tenant: value for tenant, value in data.items() if tenant not in leaving}

    if leaving:
        _change(api, change)
    return removed


def _change(api: Api, change: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
    """Read the ConfigMap, change its data and write it, again from the start when somebody else wrote in between."""
    path = f"{_PATH}/{TENANTS}"
    for attempt in range(_ATTEMPTS):
        try:
            try:
                found = api.request("GET", path)
            except ApiError as error:
                if error.status != 404:
                    raise
                found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TENANTS}}
            data: dict[str, str] = found.get("data") or {}
            changed = change(data)
            if changed == data:
                return data
            found["data"] = changed
            if "resourceVersion" in found["metadata"]:
                api.request("PUT", path, body=found)
            else:
                api.request("POST", _PATH, body=found)
            return changed
        except ApiError as error:
            if error.status != 409:
                raise
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2 ** min(attempt, 6))))
    raise Unreachable(f"ConfigMap {CONFIGMAP}: found other writers {_ATTEMPTS} times in a row")


class Unused:
    """How long tenants have been without namespace, by a clock that nobody can set."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def over(self, entries: Mapping[str, Entry], used: Iterable[str], in_contact: bool) -> list[str]:
        """Return the tenants whose entries can be released.

        Without contact to the API nobody knows whether a tenant is used, so the time starts again. An external address
        was given by an operator, who takes it back: its tenant keeps the number.
        """
        candidates = {tenant for tenant, entry in entries.items() if entry.external is None} - set(used)
        if not in_contact:
            candidates = set()
        now = self._clock()
        self._since = {tenant: self._since.get(tenant, now) for tenant in candidates}
        return sorted(tenant for tenant, since in self._since.items() if now - since >= RELEASE_SECONDS)


@dataclass(frozen=True)
class Tenants:
    """The tenants of the cluster. of: tenant by namespace. unnumbered: those without VNI yet."""

    tenants: tuple[Tenant, ...]
    of: Mapping[str, str]
    unnumbered: frozenset[str]
    findings: tuple[Finding, ...]


def resolve(
    namespaces: Mapping[str, Object],
    data: Mapping[str, str],
    holder: str | None,
    system_namespaces: frozenset[str],
) -> Tenants:
    """Return the tenants that namespaces and the ConfigMap describe.

    A tenant of several namespaces is open when all of them say so; its peers are those that any of them names.
    """
    entries, wrong = parse(data)
    members: dict[str, list[str]] = {}
    of: dict[str, str] = {}
    findings: list[Finding] = []
    for name in sorted(namespaces):
        tenant, finding = tenant_of(name, namespaces[name]["labels"], system_namespaces)
        of[name] = tenant
        members.setdefault(tenant, []).append(name)
        if finding is not None:
            findings.append(finding)
        network = namespaces[name]["labels"].get(LABEL_NETWORK, "isolated")
        if network not in ("isolated", "open"):
            message = f"label {LABEL_NETWORK}: found {network}, wanted isolated or open; it counts as isolated"
            findings.append(Finding(name, "NetworkUnknown", message))
    found = [Tenant(SYSTEM, 0, open=True)]
    for tenant, entry in sorted(entries.items()):
        own = members.get(tenant, [])
        peers: set[int] = set()
        for name in own:
            unknown = []
            for peer in _split(namespaces[name].get("peers", "")):
                if peer in entries:
                    peers.add(entries[peer].vni)
                elif peer not in members:
                    unknown.append(peer)
            if unknown:
                message = (
                    f"annotation cloudbang.platform/peers: found {', '.join(unknown)}, which no namespace belongs to; "
                    "wanted names of tenants"
                )
                findings.append(Finding(name, "PeerUnknown", message))
        found.append(
            Tenant(
                name=tenant,
                vni=entry.vni,
                open=bool(own) and all(namespaces[name]["labels"].get(LABEL_NETWORK) == "open" for name in own),
                peers=frozenset(peers - {entry.vni}),
                external=entry.external,
                edge=holder if entry.external is not None else None,
            )
        )
    for tenant, message in sorted(wrong.items()):
        where = f"ConfigMap {CONFIGMAP}, key {tenant}"
        findings += [Finding(name, "TenantEntryInvalid", f"{where}: {message}") for name in members.get(tenant, ())]
    unnumbered = frozenset(members) - entries.keys() - wrong.keys() - {SYSTEM}
    return Tenants(tuple(found), of, unnumbered, tuple(findings))


def _split(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]
