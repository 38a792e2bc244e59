# SPDX-License-Identifier: GPL-3.0-or-later
"""What the external addresses of tenants forward, from Services and EndpointSlices as the API has them."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from goodnet.cluster import forwards, objects
from goodnet.model import Forward, Tenant

EXTERNAL = IPv4Address("203.0.113.9")
TENANTS = (Tenant("system", 0), Tenant("green", 3, external=EXTERNAL), Tenant("red", 1))
OF = {"green": "green", "green-2": "green", "red": "red"}


def service(*ports: tuple[str, str, int], **spec: Any) -> objects.Object | None:
    entries = [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in ports]
    return objects.reduce_service({"metadata": {"uid": "u"}, "spec": {"ports": entries, **spec}})


def endpoints(namespace: str, name: str, *addresses: str, ready: bool = True, kind: str = "IPv4") -> Any:
    labels = {"kubernetes.io/service-name": name} if name else {}
    return objects.reduce_slice(
        {
            "metadata": {"namespace": namespace, "labels": labels},
            "addressType": kind,
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
            "ports": [{"name": "web", "port": 8080}, {"name": "admin", "port": 9090}, {"name": "none", "port": None}],
        }
    )


def target(address: str, port: int) -> tuple[IPv4Address, int]:
    return IPv4Address(address), port


@pytest.mark.parametrize(
    ("services", "slices", "expected"),
    [
        (
            {"green/a": service(("web", "TCP", 80))},
            {
                "green/a-1": endpoints("green", "a", "10.244.1.9", "10.244.1.2"),
                "green/a-2": endpoints("green", "a", "10.244.1.3"),
            },
            (Forward("TCP", 80, (target("10.244.1.2", 8080), target("10.244.1.3", 8080), target("10.244.1.9", 8080))),),
        ),
        (
            {"green/a": service(("web", "TCP", 80), ("admin", "UDP", 90))},
            {"green/a-1": endpoints("green", "a", "10.244.1.2")},
            (Forward("TCP", 80, (target("10.244.1.2", 8080),)), Forward("UDP", 90, (target("10.244.1.2", 9090),))),
        ),
        # Not ready, of another Service, of the same name elsewhere, not IPv4.
        (
            {"green/a": service(("web", "TCP", 80))},
            {
                "green/1": endpoints("green", "a", "10.244.1.2", ready=False),
                "green/2": endpoints("green", "b", "10.244.1.3"),
                "green-2/3": endpoints("green-2", "a", "10.244.1.4"),
            },
            (Forward("TCP", 80, ()),),
        ),
        ({"red/a": service(("web", "TCP", 80))}, {"red/1": endpoints("red", "a", "10.244.1.2")}, ()),
        ({"gone/a": service(("web", "TCP", 80))}, {}, ()),
        ({}, {}, ()),
    ],
)
def test_forwards(services: dict[str, Any], slices: dict[str, Any], expected: tuple[Forward, ...]) -> None:
    found = forwards.resolve(services, slices, TENANTS, OF)
    assert [tenant.forwards for tenant in found.tenants] == [(), expected, ()]
    assert not found.notes


def test_a_port_belongs_to_one_service() -> None:
    services = {"green/a": service(("web", "TCP", 80)), "green-2/b": service(("web", "TCP", 80), ("web", "UDP", 80))}
    found = forwards.resolve({key: value for key, value in services.items() if value}, {}, TENANTS, OF)
    assert [(forward.protocol, forward.port) for forward in found.tenants[1].forwards] == [("TCP", 80), ("UDP", 80)]
    ((note, uid),) = found.notes
    assert (note.kind, note.namespace, note.name, note.reason, uid) == ("Service", "green", "a", "PortTaken", "u")
    assert "port 80/TCP of 203.0.113.9: found green-2/b has it" in note.message
    assert found.looks_into == {"green", "green-2"}
    assert found.addresses == {"green/a": EXTERNAL, "green-2/b": EXTERNAL}


def test_what_is_not_kept() -> None:
    assert service(("web", "TCP", 80), loadBalancerClass="example.org/other") is None
    assert endpoints("green", "", "10.244.1.2") is None
    assert endpoints("green", "a", "2001:db8::1", kind="IPv6") is None
