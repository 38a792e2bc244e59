# SPDX-License-Identifier: GPL-3.0-or-later
"""The life cycle of an app with the modules, while a client with keep-alive connections sends requests continuously."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from .lab import VIP, Lab, Play, traffic, wait_for

PLAYBOOKS = Path(__file__).parent / "playbooks"
DOMAIN = "shop.example.org"
TENANT = "e2e"


@pytest.fixture(scope="module", autouse=True)
def tenant(lab: Lab) -> Iterator[None]:
    yield
    try:
        lab.core().delete_namespace(TENANT)
    except client.ApiException as error:
        assert error.status == 404


def play(lab: Lab, name: str, check: bool = True, mode: tuple[str, ...] = (), **variables: Any) -> Play:
    extra = [part for key, value in variables.items() for part in ("-e", f"e2e_{key}={value}")]
    return lab.play(PLAYBOOKS / f"{name}.yml", *extra, *mode, check=check)


def version(path: str = "/status/200") -> str:
    """Return the version of the release that answers."""
    request = urllib.request.Request(f"http://{VIP}{path}", headers={"Host": DOMAIN})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return str(answer.headers["X-Version"])


def deploy(lab: Lab, **variables: Any) -> dict[str, Any]:
    return play(lab, "app", **variables).result("Deploy")["apps"][0]


def ready(lab: Lab) -> int:
    return client.AppsV1Api(lab.api()).read_namespaced_deployment("shop-web", TENANT).status.ready_replicas or 0


def test_deploy(lab: Lab) -> None:
    app = deploy(lab, version=1)
    assert (app["changed"], app["release"], app["action"]) == (True, 1, "deployed")
    assert wait_for("the app answers", version, seconds=15) == "1"


def test_deploy_again_changes_nothing(lab: Lab) -> None:
    app = deploy(lab, version=1)
    assert (app["changed"], app["release"]) == (False, 1)


def test_check_mode_says_what_would_change_and_changes_nothing(lab: Lab) -> None:
    assert deploy(lab, version=2, mode=("--check",))["changed"]
    assert not deploy(lab, version=1, mode=("--check",))["changed"]
    assert version() == "1"


def test_pods_are_on_two_hosts(lab: Lab) -> None:
    pods = lab.core().list_namespaced_pod(TENANT).items
    assert {pod.spec.node_name for pod in pods} == {"compute1", "compute2"}


def steady(lab: Lab, what: str, action: Any) -> Any:
    """Run an action and assert that no request fails."""
    with traffic(VIP, 80, "/status/200", {"Host": DOMAIN}) as seen:
        result = action()
    lab.measured(f"apps: {what}", {"requests": seen.sent, "failed": len(seen.failures)})
    assert seen.failures == []
    assert seen.sent > 20
    return result


@pytest.mark.parametrize("replicas", [4, 2])
def test_scale(lab: Lab, replicas: int) -> None:
    result = steady(lab, f"scale to {replicas}", lambda: play(lab, "scale", replicas=replicas)).result("Scale")
    assert result["changed"]
    wait_for("the replicas", lambda: ready(lab) == replicas, seconds=60)
    assert not play(lab, "scale", replicas=replicas).result("Scale")["changed"]


def test_new_release_keeps_the_scale(lab: Lab) -> None:
    play(lab, "scale", replicas=3)
    app = steady(lab, "new release", lambda: deploy(lab, version=2))
    assert (app["changed"], app["release"]) == (True, 2)
    assert (version(), ready(lab)) == ("2", 3)


def test_rollback_to_the_last_good_release(lab: Lab) -> None:
    result = steady(lab, "rollback", lambda: play(lab, "release", release="last_good")).result("Roll back")
    assert result["changed"]
    assert version() == "1"
    assert not play(lab, "release", release="last_good").result("Roll back")["changed"]


def test_rollback_to_a_number(lab: Lab) -> None:
    assert play(lab, "release", release=2).result("Roll back")["changed"]
    assert version() == "2"


@pytest.fixture
def quota(lab: Lab, what: str) -> Iterator[None]:
    """A quota that allows no additional pod."""
    if what != "exceeded quota":
        yield
        return
    space = {"metadata": {"name": "e2e"}, "spec": {"hard": {"pods": str(ready(lab))}}}
    lab.core().create_namespaced_resource_quota(TENANT, space)
    yield
    lab.core().delete_namespaced_resource_quota("e2e", TENANT)


def test_a_release_that_never_was_is_refused(lab: Lab) -> None:
    done = play(lab, "release", check=False, release=77)
    assert done.returncode
    assert "77" in done.result("Roll back")["msg"]


@pytest.mark.parametrize(
    ("what", "variables", "reasons"),
    [
        ("missing image", {"image": "registry.cloudbang.internal:5000/demo/httpbin:missing"}, ["missing", "not found"]),
        ("crash", {"version": "broken"}, ["this release does not start"]),
        (
            "failing probe",
            {"probe": "/status/500", "timeout": 10},
            ["statuscode: 500", "its readiness probe does not succeed"],
        ),
        ("exceeded quota", {}, ["exceeded quota: e2e", "pods=3"]),
    ],
)
def test_a_release_that_fails_says_why_and_is_rolled_back(
    lab: Lab, quota: None, what: str, variables: dict[str, str], reasons: list[str]
) -> None:
    done = steady(lab, f"failed release, {what}", lambda: play(lab, "app", check=False, **{"version": 3, **variables}))
    assert done.returncode
    message = done.result("Deploy")["msg"]
    for reason in reasons:
        assert reason in message
    assert version() == "2"
    assert deploy(lab, version=2)["action"] == "none"


def test_stopped_and_started(lab: Lab) -> None:
    assert play(lab, "state", state="stopped").result("Start, stop or remove")["changed"]
    with pytest.raises(urllib.error.HTTPError):
        version()
    assert play(lab, "state", state="started").result("Start, stop or remove")["changed"]
    assert wait_for("the app answers", version, seconds=15) == "2"
    assert ready(lab) == 3


def test_absent(lab: Lab) -> None:
    done = play(lab, "state", state="absent")
    assert done.result("Start, stop or remove")["changed"]
    assert done.result("Get the apps of the tenant")["apps"] == []
    with pytest.raises(urllib.error.HTTPError):
        version()
    core = lab.core()
    left = [item.metadata.name for item in core.list_namespaced_secret(TENANT).items]
    left += [item.metadata.name for item in core.list_namespaced_service(TENANT).items]
    assert left == []
    assert not play(lab, "state", state="absent").result("Start, stop or remove")["changed"]
