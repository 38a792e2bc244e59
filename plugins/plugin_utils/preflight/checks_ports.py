# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of ports: the programs that need them, the programs that use them, and whether other hosts reach them."""

from __future__ import annotations

from collections.abc import Iterator

from ..declarations import Port
from .inventory import WARNING, HostFinding, Inventory, as_address, check

# Who may hold a port of ours without being in the way: a kernel name has 15 characters, and systemd opens sockets.
KERNEL_NAME = 15
ANY = ("0.0.0.0", "::", "*")


def ports(inventory: Inventory) -> list[Port]:
    """Return the ports of the roles that are part of the cluster."""
    return [port for role in inventory.chosen for port in role.ports if inventory.part_of(port.when)]


def members(inventory: Inventory, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the hosts of some groups; ``etcd`` stands for where etcd runs."""
    found = {
        host for group in groups for host in (inventory.etcd if group == "etcd" else inventory.groups.get(group, ()))
    }
    return tuple(host for host in inventory.nodes if host in found)


def number(inventory: Inventory, host: str, port: Port) -> int:
    return inventory.number(host, port.variable, port.number) if port.variable else port.number


def ways(inventory: Inventory) -> dict[str, list[list[str | int]]]:
    """Return the ports that each host needs to reach: ``[name, address, port, protocol]``, keyed by groups of users.

    The key is the names of the groups joined by ``,``, so that the plan stays small however many hosts there are.
    """
    plan: dict[str, list[list[str | int]]] = {}
    etcd = "etcd" if inventory.groups.get("etcd") else "management"
    for port in ports(inventory):
        if not port.users:
            continue
        users = ",".join(dict.fromkeys(etcd if group == "etcd" else group for group in port.users))
        for host in members(inventory, port.groups):
            address = inventory.address(host)
            if address is not None and not address.is_loopback:
                plan.setdefault(users, []).append([host, str(address), number(inventory, host, port), port.protocol])
    return plan


@check("hosts")
def ports_are_free(inventory: Inventory) -> Iterator[HostFinding]:
    everything = ports(inventory)
    for port in everything:
        for host in members(inventory, port.groups):
            facts = inventory.facts.get(host, {})
            if not facts.get("reached"):
                continue
            wanted = number(inventory, host, port)
            ours = {
                one.program[:KERNEL_NAME]
                for one in everything
                # A program may also go from one of its ports to another one.
                if (number(inventory, host, one) == wanted or one.program == port.program)
                and one.unit in facts.get("units", [])
                and host in members(inventory, one.groups)
            }
            vip = str(inventory.get(host, "cloudbang_api_vip") or "")
            if port.listens == "vip" and not vip:
                continue
            for one in facts.get("listeners", []):
                if one.get("port") != wanted or one.get("protocol") != port.protocol:
                    continue
                if not clashes(port, str(one.get("address")), str(inventory.address(host)), vip):
                    continue
                process = str(one.get("process") or "")
                if process in ours or (not process and port.unit in facts.get("units", [])):
                    continue
                yield HostFinding(
                    host,
                    "port_used",
                    port.variable or f"port {wanted}",
                    f"{port.protocol} {one.get('address')}:{wanted} used by {process or 'an unknown process'}",
                    f"free for {port.program or 'VXLAN'}",
                    f"stop it, or change {port.variable}" if port.variable else "stop it",
                )
                break


@check("hosts")
def services_are_where_they_belong(inventory: Inventory) -> Iterator[HostFinding]:
    """A service of a group that a host has left would keep running with its last configuration."""
    groups: dict[str, set[str]] = {}
    for port in (port for role in inventory.declared for port in role.ports):
        groups.setdefault(port.unit, set()).update(port.groups)
    for host in inventory.examined:
        for unit, names in groups.items():
            if unit not in inventory.facts[host].get("units", []) or host in members(inventory, tuple(names)):
                continue
            yield HostFinding(
                host,
                "service_left",
                unit,
                "installed on a host outside its group",
                f"a host of {' or '.join(sorted(names))}, or no such service",
                "put the host back into the group, or reset it with cloudbang.platform.reset --limit",
            )


def clashes(port: Port, taken: str, node: str, vip: str) -> bool:
    """Return whether a listener's address keeps our program from listening."""
    if taken in ANY or taken.startswith("::ffff:0.0.0.0"):
        return True
    address = as_address(taken)
    if port.listens == "loopback":
        return address is not None and address.is_loopback
    if port.listens == "vip":
        return taken == vip
    return taken == node or port.listens == "everywhere"


@check("hosts")
def ways_are_open(inventory: Inventory) -> Iterator[HostFinding]:
    """One finding for each unreachable port of a host, with all hosts that cannot reach it."""
    missed: dict[tuple[str, str, int, str], list[str]] = {}
    for host in inventory.examined:
        for peer, _address, port, protocol, result in inventory.facts[host].get("probes", []):
            if result in ("timeout", "unreachable", "mtu"):
                missed.setdefault((peer, protocol, port, result), []).append(host)
    for (peer, protocol, port, result), sources in missed.items():
        if not inventory.facts.get(peer, {}).get("reached"):
            continue
        busy = any(
            one.get("port") == port and one.get("protocol") == protocol
            for one in inventory.facts[peer].get("listeners", [])
        )
        if protocol == "udp" and busy:
            # An open socket takes the packet and does not answer.
            continue
        found = (
            "large packets do not get through"
            if result == "mtu"
            else ("no answer" if result == "timeout" else "no route")
        )
        yield HostFinding(
            peer,
            "mtu_path" if result == "mtu" else "filtered",
            f"{protocol} port {port}",
            f"{found} from {', '.join(sources[:4])}{' ...' if len(sources) > 4 else ''}",
            "open between these hosts",
            "a firewall between them or on the host",
            WARNING if protocol == "udp" else "error",
        )
