# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the registry's users and push networks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .checks_ports import members
from .inventory import EVERYWHERE, HostFinding, Inventory, as_network, check

# It is a line of an htpasswd file, and the name of a file on the controller.
USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
OWN = {"cloudbang_registry_user": "cloudbang", "cloudbang_registry_pull_user": "node"}


@check("inventory")
def registry_users(inventory: Inventory) -> Iterator[HostFinding]:
    for host in members(inventory, ("storage",)):
        taken = {str(inventory.get(host, name, default)): name for name, default in OWN.items()}
        if len(taken) < len(OWN):
            found = inventory.get(host, "cloudbang_registry_user")
            yield HostFinding(
                host, "registry_user", "cloudbang_registry_pull_user", repr(found), "another than who pushes"
            )
        users = inventory.get(host, "registry_users", [])
        for number, one in enumerate(users if isinstance(users, list) else []):
            where = f"registry_users[{number}]"
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str):
                # The checks of all variables report it.
                continue
            if not USER.fullmatch(name):
                wanted = "a name of 1 to 64 letters, digits and ._-"
                yield HostFinding(host, "registry_user", where, repr(name)[:80], wanted)
            elif name in taken:
                yield HostFinding(
                    host, "registry_user", where, repr(name), "a name of its own", f"{taken[name]} has it"
                )
            else:
                taken[name] = where


@check("inventory")
def networks_that_push(inventory: Inventory) -> Iterator[HostFinding]:
    for host in members(inventory, ("storage",)):
        networks = inventory.get(host, "registry_push_networks", [])
        for number, text in enumerate(networks if isinstance(networks, list) else []):
            network = as_network(text)
            if network is None or network.version != 4 or str(network) != text:
                wanted = "an IPv4 network in CIDR notation without host bits"
                yield HostFinding(host, "cidr", f"registry_push_networks[{number}]", repr(text), wanted)


@check("inventory")
def registry_ports_differ(inventory: Inventory) -> Iterator[HostFinding]:
    for host in members(inventory, ("storage",))[:1]:
        pull = inventory.number(host, "cloudbang_port_registry", 5000)
        if inventory.number(host, "cloudbang_port_registry_push", 5001) == pull:
            other, wanted = "cloudbang_port_registry has it", "a port of its own"
            yield HostFinding(EVERYWHERE, "port_clash", "cloudbang_port_registry_push", str(pull), wanted, other)
