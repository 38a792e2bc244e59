# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the gateway's ports for protocols other than HTTP: valid and free."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.cloudbang.platform.plugins.module_utils.port_ranges import numbers

from .checks_ports import members, number, ports
from .inventory import HostFinding, Inventory, check

SETTINGS = {"tcp": "gateway_tcp_ports", "udp": "gateway_udp_ports"}
WANTED = "ports from 1 to 65535, each once, as numbers and ranges, such as 25000-25009,5432"


def _given(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    """Return host, protocol and text of each setting."""
    for host in members(inventory, ("loadbalancer",)):
        for protocol, name in SETTINGS.items():
            value = inventory.get(host, name, "")
            if isinstance(value, (str, int)):
                yield host, protocol, str(value)


def _numbers(text: str) -> list[int]:
    """Return the ports of a text; none when it is malformed, which is another check's business."""
    try:
        return numbers(text)
    except ValueError:
        return []


@check("inventory")
def ports_of_the_gateway(inventory: Inventory) -> Iterator[HostFinding]:
    for host, protocol, text in _given(inventory):
        name = SETTINGS[protocol]
        try:
            numbers(text)
        except ValueError as error:
            yield HostFinding(host, "port", name, f"{text} ({error})", WANTED)
        wanted = set(_numbers(text))
        for port in ports(inventory):
            taken = number(inventory, host, port)
            if port.protocol == protocol and taken in wanted and host in members(inventory, port.groups):
                holder = f"{port.variable or port.program} has it"
                yield HostFinding(host, "port_clash", name, str(taken), "a port of its own", holder)


@check("hosts")
def ports_of_the_gateway_are_free(inventory: Inventory) -> Iterator[HostFinding]:
    for host, protocol, text in _given(inventory):
        wanted = set(_numbers(text))
        for one in inventory.facts.get(host, {}).get("listeners", []):
            process = str(one.get("process") or "")
            if one.get("protocol") != protocol or one.get("port") not in wanted or process == "traefik":
                continue
            yield HostFinding(
                host,
                "port_used",
                SETTINGS[protocol],
                f"{protocol} {one.get('address')}:{one['port']} used by {process or 'an unknown process'}",
                "free for traefik",
                f"stop it, or change {SETTINGS[protocol]}",
            )
