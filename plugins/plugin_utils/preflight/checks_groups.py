# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the inventory's shape: groups, members and names of hosts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from .inventory import EVERYWHERE, PLATFORM_GROUPS, REQUIRED_GROUPS, WARNING, HostFinding, Inventory, check

RENAMED = {
    "management": ("master", "control", "manager", "server", "controlplane"),
    "compute": ("worker", "node", "agent", "minion"),
    "loadbalancer": ("lb", "balancer", "haproxy", "edge", "ingress"),
    "storage": ("gluster", "nfs", "registry", "disk"),
}
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# A certificate names a user in 64 characters at most, and cloudbang:calico-node: takes 22 of them.
LONGEST_NAME = 42


def likely(inventory: Inventory, group: str) -> str:
    """Return the inventory's group that was probably meant to be ``group``."""
    others = [name for name in inventory.groups if name not in ("all", "ungrouped", *PLATFORM_GROUPS)]
    close = difflib.get_close_matches(group, others, 1, 0.7)
    if close:
        return close[0]
    for name in others:
        if any(word in name.lower().replace("-", "").replace("_", "") for word in RENAMED.get(group, ())):
            return name
    return ""


@check("inventory")
def groups_exist(inventory: Inventory) -> Iterator[HostFinding]:
    for group in REQUIRED_GROUPS:
        if inventory.groups.get(group):
            continue
        meant = likely(inventory, group)
        hint = f"is group {meant!r} meant to be it?" if meant else "a host may be in several groups"
        found = "no host in it" if group in inventory.groups else "no such group"
        yield HostFinding("inventory", "groups", group, found, "at least one host", hint)


@check("inventory")
def etcd_group_is_used(inventory: Inventory) -> Iterator[HostFinding]:
    if "etcd" in inventory.groups and not inventory.groups["etcd"]:
        yield HostFinding(
            "inventory",
            "etcd_empty",
            "etcd",
            "an empty group",
            "members, or no such group",
            "without the group, etcd runs on the management hosts",
        )


@check("inventory")
def etcd_count(inventory: Inventory) -> Iterator[HostFinding]:
    count = len(inventory.etcd)
    if count and count % 2 == 0:
        group = "etcd" if inventory.groups.get("etcd") else "management"
        yield HostFinding(
            "inventory",
            "etcd_count",
            group,
            f"{count} members",
            "1, 3, 5 or 7",
            f"{count} members survive no more failures than {count - 1}",
        )
    if count > 7:
        yield HostFinding("inventory", "etcd_count", "etcd", f"{count} members", "at most 7", "more make writes slower")


@check("inventory")
def hosts_have_groups(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.hosts:
        if host not in inventory.nodes and host not in ("localhost", "127.0.0.1"):
            yield HostFinding(
                host,
                "no_group",
                "groups",
                "in none of the platform's groups",
                f"in one of {', '.join(PLATFORM_GROUPS)}",
                "nothing is installed on it",
                WARNING,
            )


@check("inventory")
def no_localhost(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        if host in ("localhost", "127.0.0.1", "::1") or host.startswith("localhost."):
            yield HostFinding(
                host,
                "localhost",
                "inventory_hostname",
                repr(host),
                "the machine's own name",
                "other nodes cannot reach it by this name; set ansible_connection: local under its real name",
            )


@check("inventory")
def hostnames(inventory: Inventory) -> Iterator[HostFinding]:
    """An inventory name becomes the node's name in Kubernetes: a DNS subdomain."""
    for host in inventory.nodes:
        fault = ""
        if len(host) > LONGEST_NAME:
            fault = f"{len(host)} characters"
        elif host != host.lower():
            fault = "uppercase letters"
        elif "_" in host:
            fault = "an underscore"
        elif not all(LABEL.fullmatch(label) for label in host.split(".")):
            fault = "characters that a DNS name cannot have"
        if fault:
            yield HostFinding(
                host,
                "hostname",
                "inventory_hostname",
                f"{host!r} with {fault}",
                f"a name of at most {LONGEST_NAME} lower-case letters, digits, '-' and '.'",
                "it becomes the node's name, and part of the names in its certificates",
            )


@check("inventory")
def loadbalancer_count(inventory: Inventory) -> Iterator[HostFinding]:
    """A virtual IP on one host moves nowhere; several load balancers without one are not used together."""
    count = len(inventory.groups.get("loadbalancer", ()))
    for host, vip in inventory.shared("cloudbang_api_vip"):
        if not vip and count > 1:
            yield HostFinding(
                host,
                "vip_missing",
                "cloudbang_api_vip",
                "no address",
                f"an address that {count} load balancers share",
                "without it the API is reached at one management host only",
                WARNING,
            )


@check("inventory")
def same_port_on_one_host(inventory: Inventory) -> Iterator[HostFinding]:
    """The load balancer listens on the virtual IP, and the API server on the node's address, so ports may be equal."""
    for host in inventory.nodes:
        if not inventory.member(host, "loadbalancer"):
            continue
        api = inventory.number(host, "cloudbang_api_port", 6443)
        for name, default in (("gateway_http_port", 80), ("gateway_https_port", 443)):
            if inventory.number(host, name, default) == api:
                yield HostFinding(
                    host, "port_clash", name, str(api), "a port of its own", "cloudbang_api_port is the same"
                )


@check("inventory")
def ports_differ(inventory: Inventory) -> Iterator[HostFinding]:
    names = [name for name in inventory.options if name.startswith("cloudbang_port_") and "registry" not in name]
    for host in inventory.nodes[:1]:
        taken: dict[int, str] = {}
        for name in sorted(names):
            value = inventory.get(host, name)
            if not isinstance(value, int):
                continue
            if value in taken:
                yield HostFinding(
                    EVERYWHERE, "port_clash", name, str(value), "a port of its own", f"{taken[value]} has it"
                )
            taken.setdefault(value, name)
