# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over the inventory: the hosts of the cluster and their addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def nodes(names: Iterable[str], hostvars: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return ``[{name, address}]`` for inventory hosts, sorted by name.

    Sorted, because the order of an inventory is to show in no configuration.

    The address is the host's ``cloudbang_node_address``, else its ``ansible_host``, else its name.
    """
    result = []
    for name in sorted(names):
        if name not in hostvars:
            raise AnsibleFilterError(f"{name!r} is not a host of this inventory")
        variables = hostvars[name]
        address = variables.get("cloudbang_node_address") or variables.get("ansible_host") or name
        result.append({"name": str(name), "address": str(address)})
    return result


def nth_address(cidr: str, number: int) -> str:
    """Return the address ``number`` places after the network address of ``cidr``."""
    try:
        network = ipaddress.ip_network(cidr)
        return str(network[number])
    except (ValueError, IndexError) as error:
        raise AnsibleFilterError(f"no address number {number} in {cidr!r}: {error}") from error


def networks(addresses: Iterable[str], prefix: int) -> list[str]:
    """Return the networks with that prefix length that the addresses are in, each once, in order."""
    try:
        found = {ipaddress.IPv4Network((address, int(prefix)), strict=False) for address in addresses}
    except ValueError as error:
        raise AnsibleFilterError(f"no IPv4 networks of length {prefix!r}: {error}") from error
    return [str(network) for network in sorted(found)]


def ip_blocks(allowed: Iterable[str], excluded: Iterable[str]) -> list[dict[str, Any]]:
    """Return blocks of a NetworkPolicy: the allowed IPv4 networks, each without the excluded ones inside of it.

    An allowed network that is inside of an excluded one, or the same, stays as it is: who names it means it.
    """
    try:
        found = [ipaddress.IPv4Network(one) for one in allowed]
        others = set(map(ipaddress.IPv4Network, excluded))
    except ValueError as error:
        raise AnsibleFilterError(f"no IPv4 networks in CIDR notation: {error}") from error
    blocks = []
    for network in found:
        inside = ipaddress.collapse_addresses(one for one in others if one != network and one.subnet_of(network))
        without = [str(one) for one in inside]
        if without != [str(network)]:
            blocks.append({"cidr": str(network), **({"except": without} if without else {})})
    return blocks


ROLE_LABELS = {
    "management": "node-role.kubernetes.io/control-plane",
    "compute": "node-role.kubernetes.io/compute",
    "loadbalancer": "node-role.kubernetes.io/loadbalancer",
}


def node_labels(
    groups: Mapping[str, Iterable[str]], variables: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, str]]:
    """Return the labels of each Kubernetes node by its name, from the groups of the inventory.

    variables: those of each host, of which kube_node_labels are labels too.
    """
    result: dict[str, dict[str, str]] = {}
    for group, label in ROLE_LABELS.items():
        for name in groups.get(group, ()):
            if name not in result:
                own = variables[name].get("kube_node_labels") if variables else None
                result[str(name)] = {str(key): str(value) for key, value in (own or {}).items()}
            result[name][label] = ""
    return result


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "nodes": nodes,
            "nth_address": nth_address,
            "networks": networks,
            "ip_blocks": ip_blocks,
            "node_labels": node_labels,
        }
