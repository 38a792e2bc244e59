# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack from a template on the lab: order, environment from a binding, and a failure that rolls everything back."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from .lab import VIP, Lab, Play, wait_for

PLAYBOOK = Path(__file__).parent / "playbooks" / "stack.yml"
TENANT = "e2e-stack"


@pytest.fixture(scope="module", autouse=True)
def tenant(lab: Lab) -> Iterator[None]:
    yield
    try:
        lab.core().delete_namespace(TENANT)
    except client.ApiException as error:
        assert error.status == 404


def play(lab: Lab, check: bool = True, **variables: Any) -> Play:
    extra = [part for key, value in variables.items() for part in ("-e", f"e2e_{key}={value}")]
    return lab.play(PLAYBOOK, *extra, check=check)


def status() -> int:
    request = urllib.request.Request(f"http://{VIP}/status/200", headers={"Host": "front.example.org"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(answer.status)


def inside(lab: Lab, script: str) -> str:
    """Return the output of a Python script in a pod of the front app."""
    pods = lab.core().list_namespaced_pod(TENANT, label_selector="cloudbang.platform/app=front").items
    running = next(pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None)
    return lab.python(TENANT, running, script)


def releases(lab: Lab) -> dict[str, str]:
    deployments = client.AppsV1Api(lab.api()).list_namespaced_deployment(TENANT).items
    return {entry.metadata.name: entry.metadata.annotations["cloudbang.platform/release"] for entry in deployments}


def test_stack_comes_up_in_its_order(lab: Lab) -> None:
    done = play(lab).result("Deploy the stack")
    assert done["changed"] and done["stack"]["levels"] == [["back"], ["front"]]
    assert wait_for("the front app answers", status, seconds=15) == 200
    assert play(lab).result("Deploy the stack")["changed"] is False


def test_binding_leads_to_the_other_app(lab: Lab) -> None:
    script = (
        "import os, urllib.request as r; "
        "print(r.urlopen(os.environ['BACK_URL'] + '/status/200').status, len(os.environ['BACK_TOKEN']))"
    )
    assert inside(lab, script).split() == ["200", "32"]


def test_failure_takes_everything_back(lab: Lab) -> None:
    failed = play(lab, check=False, version=2, command="/bin/false")
    assert failed.result("Deploy the stack")["failed"]
    done = {app["name"]: app["rolled_back_to"] for app in failed.result("Deploy the stack")["apps"]}
    assert done == {"front": 1, "back": 1}
    assert status() == 200
    assert play(lab).result("Deploy the stack")["changed"] is False


def test_removal_leaves_nothing(lab: Lab) -> None:
    play(lab, state="absent")
    assert releases(lab) == {}
    assert lab.core().list_namespaced_secret(TENANT, label_selector="cloudbang.platform/kind").items == []
