# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods the ports of tenants' external addresses lead to: those of their Services of type LoadBalancer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from goodnet.cluster.events import Note
from goodnet.cluster.objects import Object
from goodnet.model import Forward, Tenant


@dataclass(frozen=True)
class Forwards:
    """tenants: with what their addresses forward. looks_into: namespaces whose endpoints have to be known.

    addresses: the external address of each Service that has one. notes: what is wrong, with the uid of the Service.
    """

    tenants: tuple[Tenant, ...]
    looks_into: frozenset[str]
    addresses: Mapping[str, IPv4Address]
    notes: tuple[tuple[Note, str], ...]


def resolve(
    services: Mapping[str, Object],
    slices: Mapping[str, Object],
    tenants: tuple[Tenant, ...],
    of: Mapping[str, str],
) -> Forwards:
    """Give tenants the forwards that Services and EndpointSlices, by namespace/name, describe. of: tenant by namespace.

    Of two Services of a tenant that want one port the first by name has it.
    """
    external = {tenant.name: tenant.external for tenant in tenants if tenant.external is not None}
    owners: dict[tuple[str, str, int], str] = {}
    found: dict[str, list[Forward]] = {}
    addresses: dict[str, IPv4Address] = {}
    notes: list[tuple[Note, str]] = []
    for key, service in sorted(services.items()):
        namespace, _ignored, name = key.partition("/")
        tenant = of.get(namespace, "")
        if tenant not in external:
            continue
        addresses[key] = external[tenant]
        for port in service["ports"]:
            claim = (tenant, port["protocol"], port["port"])
            if owners.setdefault(claim, key) != key:
                message = (
                    f"port {port['port']}/{port['protocol']} of {external[tenant]}: found {owners[claim]} has it; "
                    "wanted another port"
                )
                notes.append((Note("Service", namespace, name, "PortTaken", message), service["uid"]))
                continue
            targets = endpoints(slices, key, port["name"])
            found.setdefault(tenant, []).append(Forward(port["protocol"], port["port"], targets))
    forwarding = tuple(
        replace(tenant, forwards=tuple(found[tenant.name])) if tenant.name in found else tenant for tenant in tenants
    )
    looks_into = frozenset(key.partition("/")[0] for key in addresses)
    return Forwards(forwarding, looks_into, addresses, tuple(notes))


def endpoints(slices: Mapping[str, Object], service: str, port: str) -> tuple[tuple[IPv4Address, int], ...]:
    """Return the addresses and ports behind a port of a Service."""
    return tuple(
        sorted(
            {
                (IPv4Address(address), number)
                for one in slices.values()
                if one["service"] == service
                for name, number in one["ports"]
                if name == port
                for address in one["addresses"]
            }
        )
    )
