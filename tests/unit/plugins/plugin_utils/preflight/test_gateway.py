# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's ports for what is not HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import evaluate

from .good import good

Found = list[tuple[str, str, str, str]]


def findings(name: str, value: Any, *listeners: dict[str, Any]) -> Found:
    """Return what is found when all load balancers have a setting, and the first one these listeners."""
    inventory = good()
    for host in inventory.groups["loadbalancer"]:
        inventory.variables[host][name] = value
        inventory.settings[host][name] = value
    inventory.facts[inventory.groups["loadbalancer"][0]]["listeners"] += listeners
    return [(one.host, one.check, one.variable, one.found) for one in evaluate(inventory)]


def listener(process: str, port: int, protocol: str = "tcp") -> dict[str, Any]:
    return {"protocol": protocol, "address": "0.0.0.0", "port": port, "process": process}


@pytest.mark.parametrize(
    ("value", "check", "found"),
    [
        ("25000-", "port", "25000-"),
        ("0", "port", "0"),
        ("25000,25000", "port", "25000 twice"),
        ("400-450", "port_clash", "443"),
        ("10250", "port_clash", "10250"),
        ("8405", "port_clash", "8405"),
    ],
)
def test_refused(value: str, check: str, found: str) -> None:
    for _host, its_check, variable, text in findings("gateway_tcp_ports", value):
        assert (its_check, variable) == (check, "gateway_tcp_ports") and found in text
    assert len(findings("gateway_tcp_ports", value)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("gateway_tcp_ports", ""), ("gateway_tcp_ports", "25000-25009,5432"), ("gateway_udp_ports", "443,10250")],
)
def test_accepted(name: str, value: str) -> None:
    assert findings(name, value, listener("traefik", 25000), listener("other", 25010)) == []


def test_who_has_a_port() -> None:
    found = findings("gateway_udp_ports", "53", listener("named", 53, "udp"), listener("other", 53))
    assert [(check, variable) for _host, check, variable, _found in found] == [("port_used", "gateway_udp_ports")]
    assert "named" in found[0][3]
