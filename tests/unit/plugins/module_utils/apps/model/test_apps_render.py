# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering, comparing, planning, releases and judging of rollouts, all on plain data."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import (
    host_ports,
    labels,
    parse,
    plan,
    releases,
    render,
    rollout,
    spec,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import Live
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import Release, ReleaseError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import containers_of, drift, merged

OPTIONS: dict[str, Any] = {
    "name": "shop",
    "tenant": "acme",
    "image": "x/shop:1",
    "processes": [
        {
            "name": "web",
            "ports": [8000],
            "replicas": 2,
            "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
        },
        {"name": "worker", "command": "work", "ports": [{"port": 9000, "name": "admin"}]},
        {"name": "clock", "args": ["tick"]},
    ],
    "env": {"A": "1"},
    "secret_env": {"B": "hidden-value"},
    "files": [{"path": "/etc/b", "content": "b"}, {"path": "/etc/a", "content": "a"}],
    "domains": ["shop.example.org"],
}


def wanted(**more: Any) -> spec.App:
    app: spec.App = parse.parse("app", {**copy.deepcopy(OPTIONS), **more}).apps[0]
    return app


def objects(**more: Any) -> dict[tuple[str, str], dict[str, Any]]:
    app = wanted(**more)
    content, _wanted = spec.release_spec(app, "salt")
    route = render.Route(app.domains, app.ingress_class)
    found = render.render(app.name, app.tenant, content, "d1", 3, route, render.Around())
    return {(entry["kind"], entry["metadata"]["name"]): entry for entry in found}


def test_what_an_app_is_made_of() -> None:
    assert sorted(objects()) == [
        ("Deployment", "shop-clock"),
        ("Deployment", "shop-web"),
        ("Deployment", "shop-worker"),
        ("Ingress", "shop"),
        ("PodDisruptionBudget", "shop-clock"),
        ("PodDisruptionBudget", "shop-web"),
        ("PodDisruptionBudget", "shop-worker"),
        ("Service", "shop"),
        ("Service", "shop-worker"),
    ]


def test_pods_are_confined_and_drained() -> None:
    deployment = objects()["Deployment", "shop-web"]
    assert "replicas" not in deployment["spec"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["terminationGracePeriodSeconds"] == 35
    [container] = pod["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False}
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert container["readinessProbe"] == {"tcpSocket": {"port": 8000}, "periodSeconds": 5}
    clock = objects()["Deployment", "shop-clock"]["spec"]["template"]["spec"]
    assert "lifecycle" not in clock["containers"][0] and clock["terminationGracePeriodSeconds"] == 30
    assert "hidden-value" not in json.dumps(list(objects().values()))


def test_route_and_service() -> None:
    found = objects(ingress_class="public")
    service = found["Service", "shop"]["spec"]
    assert service["selector"] == {labels.APP: "shop", labels.PROCESS: "web"}
    assert service["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP", "targetPort": "http"}]
    ingress = found["Ingress", "shop"]["spec"]
    assert ingress["ingressClassName"] == "public"
    backend = ingress["rules"][0]["http"]["paths"][0]["backend"]
    assert backend == {"service": {"name": "shop", "port": {"name": "http"}}}


def test_digest_follows_content_alone() -> None:
    def digest(salt: str = "salt", **more: Any) -> str:
        return spec.digest_of(spec.release_spec(wanted(**more), salt)[0], salt)

    same = digest()
    assert digest(files=list(reversed(OPTIONS["files"]))) == same
    assert digest(domains=[], keep_releases=3, wait=False) == same
    scaled = copy.deepcopy(OPTIONS["processes"])
    scaled[0]["replicas"] = 7
    assert digest(processes=scaled) == same
    for change in ({"image": "x/shop:2"}, {"secret_env": {"B": "other"}}, {"env": {"A": "2"}}, {"drain": 6}):
        assert digest(**change) != same
    assert digest(files=[{"path": "/etc/a", "content": "a\r\n"}]) != digest(
        files=[{"path": "/etc/a", "content": "a\n"}]
    )
    assert digest("pepper") != same


@pytest.mark.parametrize(
    ("path", "value", "drifts"),
    [
        ("spec.template.spec.containers.0.resources.requests", {"cpu": "1", "memory": "1Gi"}, False),
        ("spec.template.spec.containers.0.resources.requests", {"cpu": "2", "memory": "1Gi"}, True),
        ("spec.template.spec.containers.0.image", "x/shop:9", True),
        ("spec.template.spec.containers.0.imagePullPolicy", "Always", False),
        ("spec.template.spec.containers.1", {"name": "sidecar"}, False),
        ("spec.replicas", 9, False),
        ("spec.paused", True, False),
        ("spec.strategy.rollingUpdate.maxUnavailable", "25%", True),
        ("metadata.labels.extra", "x", False),
        ("spec.template.metadata.labels", {}, True),
    ],
)
def test_drift(path: str, value: Any, drifts: bool) -> None:
    deployment = objects()["Deployment", "shop-web"]
    live: Any = copy.deepcopy(deployment)
    assert drift(deployment, live) == []
    place = live
    *parents, last = path.split(".")
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    if isinstance(place, list):
        place.append(value)
    else:
        place[last] = value
    assert bool(drift(deployment, live)) is drifts


def test_drift_of_lists() -> None:
    service = objects()["Service", "shop"]
    live = copy.deepcopy(service)
    live["spec"]["ports"].append({"name": "x", "port": 1, "protocol": "TCP"})
    assert drift(service, live) == []
    ingress = objects()["Ingress", "shop"]
    live = copy.deepcopy(ingress)
    live["spec"]["rules"].append({"host": "other"})
    assert "spec.rules" in drift(ingress, live)[0]
    assert drift(ingress, None) == ["Ingress shop: missing"]


def release(version: int, status: str = "good", digest: str = "", action: str = "deploy") -> Release:
    return Release(
        app="shop",
        tenant="acme",
        version=version,
        digest=digest or f"d{version}",
        salt="salt",
        spec=replace(spec.release_spec(wanted(), "salt")[0], env_secret=f"shop.env.{version}", files_secret=None),
        replicas={},
        action=action,
        source=None,
        created="2026-01-01T00:00:00Z",
        by="me@here",
        status=status,
        message="",
        heartbeat=0.0,
    )


@pytest.mark.parametrize(
    ("history", "version", "expected"),
    [
        ([release(1), release(2)], "last_good", 1),
        ([release(1), release(2, "failed"), release(3)], "last_good", 1),
        ([release(1), release(2), release(3, digest="d1", action="rollback")], "last_good", 3),
        ([release(1), release(2), release(3, digest="d2"), release(4)], "last_good", 3),
        ([release(1), release(2), release(3, digest="d2")], "last_good", 1),
        ([release(1), release(2, "failed")], "last_good", 1),
        ([release(1), release(2), release(3)], "1", 1),
        ([release(1), release(2), release(3)], "v2", 2),
        ([release(1), release(2), release(3, digest="d1", action="rollback")], "1", 1),
        ([release(1)], "1", 1),
    ],
)
def test_rollback_target(history: list[Release], version: str, expected: int) -> None:
    assert releases.target(history, version).version == expected


@pytest.mark.parametrize(
    ("history", "version", "text"),
    [
        ([], "last_good", "found no release"),
        ([release(1)], "last_good", "an earlier release that ran"),
        ([release(1, "failed"), release(2)], "last_good", "an earlier release that ran"),
        ([release(3), release(4)], "1", r"found 1, wanted one of v3 \(good\), v4 \(good\)"),
        ([release(1, "failed"), release(2)], "1", "found v1, which is failed"),
    ],
)
def test_rollback_target_refused(history: list[Release], version: str, text: str) -> None:
    with pytest.raises(ReleaseError, match=text):
        releases.target(history, version)


def test_garbage_keeps_what_ran() -> None:
    live = Live("shop", "acme")
    live.releases = [release(1), release(2), *(release(number, "failed") for number in range(3, 7))]
    live.contents = {f"shop.env.{number}" for number in range(7)}
    old, unused = plan.garbage(live, 2)
    assert [entry.version for entry in old] == [1, 3, 4]
    assert unused == ["shop.env.0", "shop.env.1", "shop.env.3", "shop.env.4"]


def test_release_survives_the_round_trip() -> None:
    assert releases.read({"metadata": {"namespace": "x"}, "data": {"release": "!"}}) is None
    assert releases.read({}) is None
    data = base64.b64encode(b'{"version": 1}').decode()
    assert releases.read({"metadata": {"namespace": "x"}, "data": {"release": data}}) is None


def live_of(**more: Any) -> tuple[spec.App, Live]:
    """Return an app and what the API shows after its deployment."""
    app = wanted(**more)
    made = plan.plan_app(app, Live("shop", "acme"))
    live = Live("shop", "acme")
    for entry in made.applies:
        live.objects[entry["kind"], entry["metadata"]["name"]] = copy.deepcopy(entry)
    for entry in made.scales:
        live.objects["Deployment", entry["metadata"]["name"]]["spec"]["replicas"] = entry["spec"]["replicas"]
    live.contents = {entry.name for entry in made.contents}
    kept = release(1, digest=made.digest)
    live.releases = [
        Release(**{**kept.__dict__, "salt": made.salt, "spec": made.spec, "replicas": made.replicas}),
    ]
    return app, live


def test_plan_of_an_unchanged_app_is_empty() -> None:
    app, live = live_of()
    again = plan.plan_app(app, live)
    assert not again.changed and again.version == 1 and again.drift == []
    difference = plan.difference(again)
    assert difference["before"] == difference["after"]


def test_plan_keeps_scale_and_stop() -> None:
    app, live = live_of()
    web = live.objects["Deployment", "shop-web"]
    web["spec"]["replicas"] = 5
    newer = plan.plan_app(wanted(image="x/shop:2"), live)
    assert newer.new_release and newer.version == 2 and newer.scales == []
    assert newer.counts()["shop-web"] == 5
    stop = plan.plan_app(wanted(state="stopped"), live)
    assert not stop.new_release
    assert [(entry["metadata"]["name"], entry["metadata"]["annotations"]) for entry in stop.scales] == [
        ("shop-web", {labels.STOPPED: "5"}),
        ("shop-worker", {labels.STOPPED: "1"}),
        ("shop-clock", {labels.STOPPED: "1"}),
    ]
    for entry in stop.scales:
        deployment = live.objects["Deployment", entry["metadata"]["name"]]
        deployment["spec"]["replicas"] = 0
        deployment["metadata"].setdefault("annotations", {}).update(entry["metadata"]["annotations"])
    assert not plan.plan_app(app, live).changed
    start = plan.plan_app(wanted(state="started"), live)
    assert {entry["metadata"]["name"]: entry["spec"]["replicas"] for entry in start.scales} == {
        "shop-web": 5,
        "shop-worker": 1,
        "shop-clock": 1,
    }


def test_difference_masks_secrets_and_shows_that_they_changed() -> None:
    _kube, live = live_of()
    difference = plan.difference(plan.plan_app(wanted(secret_env={"B": "another-value"}), live))
    text = json.dumps(difference)
    assert "hidden-value" not in text and "another-value" not in text
    assert difference["before"]["secret_env"] != difference["after"]["secret_env"]


def deployment(**status: Any) -> dict[str, Any]:
    conditions = status.pop("conditions", [])
    replicas = status.pop("wanted", 2)
    return {
        "kind": "Deployment",
        "metadata": {"name": "shop-web", "generation": 3, "labels": {labels.PROCESS: "web"}},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 3, "conditions": conditions, **status},
    }


def pod(
    name: str = "p", digest: str = "d1", conditions: list[dict[str, Any]] | None = None, **container: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {labels.PROCESS: "web", labels.DIGEST: digest}},
        "status": {"containerStatuses": [{"name": "web", **container}], "conditions": conditions or []},
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return pod(state={"waiting": {"reason": reason, "message": message}}, **more)


def refusal(message: str) -> dict[str, Any]:
    """Return the status of a Deployment whose pods the API refuses."""
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return {"replicas": 1, "updatedReplicas": 0, "availableReplicas": 1, "conditions": [condition]}


FULL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
HALF = {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}


def ran(code: int, seconds: int) -> dict[str, Any]:
    """Return the state of a container that ended."""
    end = f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"
    return {"terminated": {"exitCode": code, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": end}}


BACK_OFF = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}


@pytest.mark.parametrize(
    ("status", "pods", "waited", "done", "failed", "text"),
    [
        (FULL, [], 0, True, False, ""),
        ({**FULL, "observedGeneration": 2}, [], 0, False, False, "2 of 2"),
        (HALF, [], 999, False, False, "1 of 2 replicas updated, 2 available, 3 in all"),
        ({"wanted": 0}, [], 0, True, False, ""),
        ({"wanted": 0, "replicas": 1}, [], 0, False, False, ""),
        ({"wanted": 0, "replicas": 1}, [waiting("InvalidImageName")], 0, False, False, "1 in all"),
        (HALF, [waiting("ImagePullBackOff", "x: not found")], 0, False, True, "ImagePullBackOff: x: not found"),
        (HALF, [waiting("ImagePullBackOff", "timeout")], 5, False, False, "ImagePullBackOff: timeout"),
        (HALF, [waiting("ImagePullBackOff", "timeout")], 99, False, False, "ImagePullBackOff: timeout"),
        (HALF, [waiting("ErrImagePull", "rpc error: code = NotFound desc = x")], 0, False, True, "ErrImagePull: rpc"),
        (HALF, [waiting("ErrImagePull", "manifest unknown")], 0, False, True, "manifest unknown"),
        (HALF, [waiting("ErrImagePull", "dial tcp: lookup registry: no such host")], 99, False, False, "no such host"),
        (HALF, [waiting("ErrImagePull", "pull access denied")], 99, False, False, "denied"),
        (HALF, [waiting("ImagePullBackOff", "pull access denied")], 0, False, True, "denied"),
        (HALF, [waiting("CreateContainerConfigError", 'secret "x" not found')], 0, False, True, "not found"),
        (HALF, [waiting("CreateContainerConfigError", "failed to sync secret cache")], 5, False, False, "sync"),
        (HALF, [waiting("InvalidImageName")], 0, False, True, "InvalidImageName"),
        (HALF, [waiting("CreateContainerConfigError", "secret")], 30, False, True, "secret"),
        (HALF, [waiting("ContainerCreating")], 999, False, False, "1 of 2"),
        (HALF, [waiting("ImagePullBackOff", "not found", digest="old")], 30, False, False, "1 of 2"),
        (HALF, [pod(restartCount=1, **BACK_OFF)], 0, False, True, "exit code 1"),
        (HALF, [pod(restartCount=3, **BACK_OFF)], 0, False, True, "CrashLoopBackOff"),
        (HALF, [pod(restartCount=1, **{**BACK_OFF, "lastState": ran(7, 130)})], 0, False, False, "exit code 7"),
        (HALF, [pod(restartCount=1, **{**BACK_OFF, "lastState": ran(7, 3)})], 0, False, True, "exit code 7"),
        (HALF, [pod(restartCount=1, state=ran(8, 3), lastState=ran(7, 3))], 0, False, True, "exit code 8"),
        (HALF, [pod(restartCount=1, state={"running": {}}, lastState=ran(7, 3))], 0, False, False, "exit code 7"),
        (HALF, [pod(restartCount=0, state=ran(7, 3))], 0, False, False, "1 of 2"),
        (HALF, [pod(state={"running": {}}, ready=False)], 60, False, False, "readiness probe"),
        (
            HALF,
            [
                pod(
                    conditions=[
                        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2"}
                    ]
                )
            ],
            60,
            False,
            False,
            "Unschedulable: 0/2",
        ),
        (
            {**HALF, "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
            [],
            0,
            False,
            True,
            "ProgressDeadlineExceeded",
        ),
        (
            {**HALF, "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}]},
            [],
            1,
            False,
            False,
            "FailedCreate",
        ),
        (
            {**HALF, "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}]},
            [],
            60,
            False,
            True,
            "FailedCreate",
        ),
        (refusal("pods is forbidden: exceeded quota: q"), [], 1, False, False, "exceeded quota"),
        (refusal("pods is forbidden: exceeded quota: q"), [], 60, False, True, "exceeded quota"),
        (refusal("pods is forbidden: violates PodSecurity"), [], 0, False, True, "violates PodSecurity"),
    ],
)
def test_judge(
    status: dict[str, Any], pods: list[dict[str, Any]], waited: float, done: bool, failed: bool, text: str
) -> None:
    verdict = rollout.judge([deployment(**status)], pods, "d1", waited)
    assert (verdict.done, verdict.failed) == (done, failed)
    assert text in verdict.reason


def workload(kind: str, spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    own = {labels.PROCESS: "web"}
    return {"kind": kind, "metadata": {"name": "w", "labels": own}, "spec": spec, "status": status}


def failed_pod() -> dict[str, Any]:
    entry = pod(name="w-abc", state=ran(5, 3))
    entry["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "w"
    return entry


@pytest.mark.parametrize(
    ("entry", "pods", "done", "failed", "text"),
    [
        (workload("CronJob", {}), [], True, False, ""),
        (workload("StatefulSet", {"replicas": 2}, observedGeneration=1, **FULL), [], True, False, ""),
        (workload("StatefulSet", {"replicas": 2}, **FULL), [], False, False, "2 of 2"),
        (workload("StatefulSet", {"replicas": 2}, observedGeneration=1, **HALF), [], False, False, "1 of 2"),
        (workload("Job", {}, active=1), [], False, False, "has not ended: 1 active, 0 succeeded, 0 failed pods"),
        (workload("Job", {}, conditions=[{"type": "Complete", "status": "True"}]), [], True, False, ""),
        (workload("Job", {"suspend": True}), [], True, False, ""),
        (workload("Job", {"suspend": True}, active=1), [], False, False, "1 active"),
        (
            workload("Job", {}, conditions=[{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]),
            [failed_pod()],
            False,
            True,
            "w: DeadlineExceeded: None; pod w-abc ended with exit code 5",
        ),
    ],
)
def test_judge_other_kinds(
    entry: dict[str, Any], pods: list[dict[str, Any]], done: bool, failed: bool, text: str
) -> None:
    verdict = rollout.judge([entry], pods, "d1", 0)
    assert (verdict.done, verdict.failed) == (done, failed) and text in verdict.reason
    assert verdict.pod == ("w-abc" if pods else "")


def test_ports_are_given_once_and_kept() -> None:
    ports = host_ports.Ports({2000: "a/b/c/0/http"})
    assert ports.port("a/b/c/0/http", (2000, 2002)) == 2000
    assert [ports.port(f"a/b/c/{number}/http", (2000, 2002)) for number in (1, 2, 1)] == [2001, 2002, 2001]
    with pytest.raises(Invalid, match="every port is taken"):
        ports.port("a/b/c/3/http", (2000, 2002))


def test_merged_resources_meet_in_the_container() -> None:
    entry = objects()["Deployment", "shop-web"]
    scaled = {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}
    scale = render.scale(entry, 4, None, scaled)
    [container] = containers_of({"spec": merged(entry["spec"], scale["spec"])})
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "1024Mi"}, "limits": {"cpu": "3"}}
    assert container["image"] == "x/shop:1" and render.scaled_resources(scale) == scaled
    assert render.without({"requests": {"cpu": "1", "memory": "1Gi"}}, scaled) == {"requests": {"memory": "1Gi"}}


def test_text_of_any_character_is_sent_as_yaml() -> None:
    strange = {"a": "\U0001f512 \\ud83d\\udd12 \\\U0001f512 ü \x7f \x85 \ufeff \n\r"}
    assert yaml.safe_load(client._encoded(strange)) == strange == json.loads(client._encoded(strange))


def test_mask() -> None:
    value = {"log": ["token=s3cret-a s3cret", "x"], "n": 3, "l1": "line one", "ab": "ab"}
    masked = runner.mask(value, ["s3cret", "s3cret-a", "line one\nline two", "ab"])
    assert masked == {"log": ["token=******** ********", "x"], "n": 3, "l1": "********", "ab": "ab"}
