# SPDX-License-Identifier: GPL-3.0-or-later
"""The life cycle of an app under load: 200 requests a second on kept connections and 50 on new ones."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from .lab import VIP, Lab, Play, Traffic, traffic, wait_for

PLAYBOOKS = Path(__file__).parent / "playbooks"
TENANT = "e2e-load"
DOMAIN = "load.example.org"
KEPT, NEW = 200, 50
# Longer than any answer takes on a busy machine, so that a slow answer does not count as failed.
TIMEOUT = 20
LONGEST = 180


def play(lab: Lab, playbook: str, **variables: Any) -> Play:
    extra = json.dumps({"e2e_tenant": TENANT, **{f"e2e_{key}": value for key, value in variables.items()}})
    return lab.play(PLAYBOOKS / f"{playbook}.yml", "-e", extra, seconds=LONGEST)


def deploy(lab: Lab, version: str, name: str = "shop", **more: Any) -> dict[str, Any]:
    app: dict[str, Any] = play(lab, "app", name=name, version=version, domains=[], **more).result("Deploy")["apps"][0]
    assert app["changed"]
    return app


def route(lab: Lab, **options: Any) -> None:
    assert play(lab, "routes", route={"domains": [DOMAIN], **options}).result("Route")["changed"]


def version() -> str:
    """Return the version of the release that answers."""
    request = urllib.request.Request(f"http://{VIP}/status/200", headers={"Host": DOMAIN})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return str(answer.headers["X-Version"])


@pytest.fixture(scope="module", autouse=True)
def shop(lab: Lab) -> Iterator[None]:
    deploy(lab, "1")
    route(lab)
    wait_for("the app answers", version, seconds=15)
    yield
    try:
        lab.core().delete_namespace(TENANT)
    except client.ApiException as error:
        assert error.status == 404


@contextmanager
def load(address: str, port: int = 80) -> Iterator[tuple[Traffic, Traffic]]:
    """Send requests continuously, on kept and on new connections."""
    headers = {"Host": DOMAIN}
    with (
        traffic(address, port, "/status/200", headers, clients=20, rate=KEPT, timeout=TIMEOUT) as kept,
        traffic(address, port, "/status/200", headers, None, False, 10, rate=NEW, timeout=TIMEOUT) as new,
    ):
        yield kept, new


def steady(lab: Lab, what: str, action: Callable[[], Any]) -> Any:
    """Run an action under load and assert that no request fails."""
    with load(VIP) as (kept, new):
        time.sleep(1)
        begin = time.monotonic()
        result = action()
        seconds = time.monotonic() - begin
        time.sleep(1)
    lasting = time.monotonic() - kept.started
    figures: dict[str, Any] = {"seconds": round(seconds, 2)}
    for name, seen in (("kept", kept), ("new", new)):
        figures[f"{name} connections"] = {
            "requests": seen.sent,
            "failed": len(seen.failures),
            "requests/s": round(seen.sent / lasting),
            "p99 ms": round(seen.p99 * 1000),
        }
    lab.measured(f"load: {what}", figures)
    assert kept.failures + new.failures == []
    # The test means nothing without the load.
    assert kept.sent + new.sent > lasting * (KEPT + NEW) / 4
    return result


def until_served(lab: Lab, what: str, wanted: str, action: Callable[[], Any]) -> Any:
    """Run an action and measure the seconds until the wanted version answers for the first time."""
    begin = time.monotonic()
    served: list[float] = []
    stop = threading.Event()

    def look() -> None:
        while not served and not stop.wait(0.02):
            try:
                if version() == wanted:
                    served.append(time.monotonic() - begin)
            except (OSError, urllib.error.URLError):
                continue

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        result = action()
        looking.join(30)
    finally:
        stop.set()
    assert served, f"{wanted} never answered"
    lab.measured(f"load: {what}", {"seconds": round(served[0], 2)})
    return result


def ready(lab: Lab) -> int:
    found = client.AppsV1Api(lab.api()).list_namespaced_deployment(TENANT, label_selector="cloudbang.platform/app=shop")
    return sum(entry.status.ready_replicas or 0 for entry in found.items)


def test_time_from_deploying_to_serving(lab: Lab) -> None:
    """The image is on the nodes already; wanted are 5 s."""
    until_served(lab, "deploy to serving, wanted 5 s", "2", lambda: deploy(lab, "2"))


def test_time_from_rollback_to_serving(lab: Lab) -> None:
    """Wanted are 4 s."""
    until_served(
        lab,
        "rollback to serving, wanted 4 s",
        "1",
        lambda: play(lab, "release", release="last_good").result("Roll back"),
    )


def test_new_release(lab: Lab) -> None:
    steady(lab, "new release", lambda: deploy(lab, "3"))
    assert version() == "3"


def test_rollback(lab: Lab) -> None:
    assert steady(lab, "rollback", lambda: play(lab, "release", release="last_good")).result("Roll back")["changed"]
    assert version() == "1"


@pytest.mark.parametrize("replicas", [6, 2])
def test_scale(lab: Lab, replicas: int) -> None:
    result = steady(lab, f"scale to {replicas}", lambda: play(lab, "scale", replicas=replicas)).result("Scale")
    assert result["changed"]
    wait_for("the replicas", lambda: ready(lab) == replicas)


def test_a_tenth_of_the_requests_for_the_next_version(lab: Lab) -> None:
    deploy(lab, "next", name="next")

    def canary() -> Counter[str]:
        route(lab, weights=[{"app": "shop", "weight": 90}, {"app": "next", "weight": 10}])
        wait_for("the next version answers", lambda: version() == "next", seconds=15, pause=0)
        return Counter(version() for _number in range(100))

    seen = steady(lab, "a tenth for the next version", canary)
    assert set(seen) == {"1", "next"} and seen["next"] < seen["1"]
    steady(lab, "all for the first version again", lambda: route(lab))
    wait_for("nobody asks the next version", lambda: {version() for _number in range(50)} == {"1"}, seconds=15)


def test_blue_green(lab: Lab) -> None:
    steady(lab, "from rolling to blue-green", lambda: deploy(lab, "4", strategy="blue_green"))
    steady(lab, "blue-green switch", lambda: deploy(lab, "5", strategy="blue_green"))
    assert version() == "5"


def test_restart(lab: Lab) -> None:
    def restart() -> dict[str, Any]:
        return deploy(lab, "5", strategy="blue_green", restart_key="again")

    assert steady(lab, "restart", restart)["action"] == "restarted"


def test_drain_of_a_node(lab: Lab) -> None:
    pods = lab.core().list_namespaced_pod(TENANT, label_selector="cloudbang.platform/app=shop").items
    node = pods[0].spec.node_name

    def drain() -> None:
        options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={LONGEST - 10}s"]
        lab.kubectl("drain", node, *options, seconds=LONGEST)
        wait_for("the replicas", lambda: ready(lab) == 2)

    try:
        steady(lab, "drain of a node", drain)
    finally:
        lab.kubectl("uncordon", node)
    left = lab.core().list_namespaced_pod(TENANT, label_selector="cloudbang.platform/app=shop").items
    assert node not in {pod.spec.node_name for pod in left if not pod.metadata.deletion_timestamp}
