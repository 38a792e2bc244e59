# SPDX-License-Identifier: GPL-3.0-or-later
"""Two tenants: connections between them, and from the gateway to both."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .lab import VIP, Lab, Play, wait_for

PLAYBOOK = Path(__file__).parent / "playbooks" / "tenants.yml"
ASK = """
import urllib.request
try:
    print(urllib.request.urlopen("http://{address}:8000/status/200", timeout=3).status)
except OSError as error:
    print("nothing", error)
"""


def play(lab: Lab, directory: Path, **variables: Any) -> Play:
    extra = [part for key, value in variables.items() for part in ("-e", f"e2e_{key}={value}")]
    return lab.play(PLAYBOOK, "-e", f"e2e_directory={directory}", *extra)


@pytest.fixture(scope="module")
def directory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("tenants")
    play(lab, made)
    yield made
    play(lab, made, state="absent")
    names = [space.metadata.name for space in lab.core().list_namespace().items]
    assert "e2e-a" not in names and "e2e-b" not in names


def pods(lab: Lab, tenant: str) -> list[Any]:
    found = lab.core().list_namespaced_pod(tenant, label_selector="cloudbang.platform/app=shop").items
    return [pod for pod in found if not pod.metadata.deletion_timestamp]


def reaches(lab: Lab, tenant: str, other: str) -> bool:
    """Return whether all pods of a tenant reach all pods of another one; fail if only some do."""
    targets = pods(lab, other)
    ways = [(one, two) for one in pods(lab, tenant) for two in targets if one.metadata.name != two.metadata.name]

    def ask(way: tuple[Any, Any]) -> bool:
        source, target = way
        return lab.python(tenant, source.metadata.name, ASK.format(address=target.status.pod_ip)).startswith("200")

    with ThreadPoolExecutor(len(ways)) as pool:
        answers = set(pool.map(ask, ways))
    assert len(answers) == 1, f"{tenant} reaches only some pods of {other}"
    return answers.pop()


def through_the_gateway(tenant: str) -> bool:
    """Return whether the app answers at its domain, with enough requests to reach each of its pods."""
    request = urllib.request.Request(f"http://{VIP}/status/200", headers={"Host": f"{tenant}.example.org"})
    for _number in range(10):
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200
    return True


def test_tenants_are_isolated_from_each_other(lab: Lab, directory: Path) -> None:
    wait_for("isolation", lambda: not reaches(lab, "e2e-a", "e2e-b"), seconds=30)
    assert not reaches(lab, "e2e-b", "e2e-a")
    assert reaches(lab, "e2e-a", "e2e-a")


def test_gateway_reaches_isolated_tenants(lab: Lab, directory: Path) -> None:
    for tenant in ("e2e-a", "e2e-b"):
        assert wait_for("the app answers", lambda tenant=tenant: through_the_gateway(tenant), seconds=30)


def test_a_peer_is_let_in_and_not_the_other_way_round(lab: Lab, directory: Path) -> None:
    play(lab, directory, peers="e2e-a")
    wait_for("the peer has access", lambda: reaches(lab, "e2e-a", "e2e-b"), seconds=30)
    assert not reaches(lab, "e2e-b", "e2e-a")
    assert play(lab, directory, peers="e2e-a").changed == {}


def test_open_network(lab: Lab, directory: Path) -> None:
    play(lab, directory, network="open")
    wait_for("everybody has access", lambda: reaches(lab, "e2e-a", "e2e-b"), seconds=30)
    assert through_the_gateway("e2e-b")


def test_back_to_isolation(lab: Lab, directory: Path) -> None:
    play(lab, directory)
    wait_for("isolation", lambda: not reaches(lab, "e2e-a", "e2e-b"), seconds=30)
    assert through_the_gateway("e2e-b")
