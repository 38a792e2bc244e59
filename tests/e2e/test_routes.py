# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes through the load balancers at the virtual IP."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from .lab import VIP, Lab, traffic, wait_for

PLAYBOOK = Path(__file__).parent / "playbooks" / "routes.yml"
TENANT = "e2e-routes"
DOMAIN = "routes.example.org"


@pytest.fixture(scope="module", autouse=True)
def apps(lab: Lab) -> Iterator[None]:
    lab.play(PLAYBOOK)
    yield
    try:
        lab.core().delete_namespace(TENANT)
    except client.ApiException as error:
        assert error.status == 404


def route(lab: Lab, **options: Any) -> dict[str, Any]:
    """Apply the route, and check that a second run changes nothing."""
    extra = ("-e", json.dumps({"e2e_route": options}))
    first = lab.play(PLAYBOOK, *extra).result("Route")
    assert not lab.play(PLAYBOOK, *extra).result("Route")["changed"]
    return first


def ask(path: str = "/", port: int = 80, domain: str = DOMAIN) -> tuple[int, str, str]:
    """Return the status, the body and the target of a redirect."""
    connection = http.client.HTTPConnection(VIP, port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": domain})
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip(), answer.headers.get("Location", "")
    finally:
        connection.close()


def says(wanted: tuple[int, str], path: str = "/", port: int = 80) -> None:
    wait_for(f"{path} gives {wanted}", lambda: ask(path, port)[:2] == wanted, seconds=10, pause=0.1)


def test_a_path_of_a_domain(lab: Lab) -> None:
    assert route(lab, domains=[DOMAIN], paths=[{"path": "/shop", "strip": True}])["changed"]
    says((200, "shop"), "/shop")
    assert ask("/")[0] == 404


def test_a_tenth_of_the_requests(lab: Lab) -> None:
    route(lab, domains=[DOMAIN], weights=[{"app": "shop", "weight": 90}, {"app": "next", "weight": 10}])
    says((200, "shop"))
    seen = Counter(ask()[1] for _number in range(200))
    lab.measured("routes: weights 90 and 10", dict(seen))
    assert sum(seen.values()) == seen["shop"] + seen["next"] and 10 <= seen["next"] <= 30


def test_no_failed_request_while_both_apps_are_deployed(lab: Lab) -> None:
    with traffic(VIP, 80, "/", {"Host": DOMAIN}) as seen:
        assert lab.play(PLAYBOOK, "-e", "e2e_version=2").result("Deploy")["changed"]
    lab.measured("routes: deploy two apps", {"requests": seen.sent, "failed": len(seen.failures)})
    assert seen.failures == [] and seen.sent > 20


def test_http_leads_to_https(lab: Lab) -> None:
    route(lab, domains=[DOMAIN], redirect="https")
    wait_for("a redirect", lambda: ask("/x")[2] == f"https://{DOMAIN}/x", seconds=10, pause=0.1)


def test_a_port_of_the_gateway(lab: Lab) -> None:
    (port,) = route(lab, ports=[{"target": 8000}])["route"]["ports"]
    says((200, "shop"), port=port["port"])
    assert ask()[0] == 404


def test_a_route_that_is_removed(lab: Lab) -> None:
    route(lab, state="absent")
    says((404, "404 page not found"))
