# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of each type of app and each strategy on a real API."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import deploy
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import rollout, tenant_annotations
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .conftest import Api, Nodes, make_tenant


def app(api: Api, tenant: str, **more: Any) -> dict[str, Any]:
    return api.options(**{"name": "shop", "tenant": tenant, "image": "x/y:1", "timeout": 30, **more})


def good(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    result = runner.run(module, options, check)
    assert not result.get("failed"), result["msg"]
    return result


def bad(module: str, options: dict[str, Any]) -> str:
    result = runner.run(module, options)
    assert result.get("failed"), result
    return str(result["msg"])


def settled(options: dict[str, Any]) -> dict[str, Any]:
    """Deploy and return the outcome. Check mode reports what the run does, and a second run changes nothing."""
    check = good("app", options, check=True)
    first = good("app", options)
    assert first["changed"] and check["changed"]
    assert _told(check) == _told(first)
    second = good("app", options)
    assert not second["changed"] and second["diff"] == [], second
    assert not good("app", options, check=True)["changed"]
    outcome: dict[str, Any] = first["apps"][0]
    return outcome


def _told(result: dict[str, Any]) -> Any:
    """Return what check mode can know, without the digest of an app's first release, which has a new key each time."""
    [outcome] = result["apps"]
    told = {key: outcome[key] for key in ("action", "release", "replicas", "drift")}
    after = (result["diff"] or [{"after": {}}])[0]["after"]
    return json.loads(json.dumps([told, after]).replace(outcome["digest"][:10], "digest"))


def info(api: Api, tenant: str) -> dict[str, Any]:
    found: dict[str, Any] = good("app_info", api.options(tenant=tenant, name="shop"))["apps"][0]
    return found


def statuses(api: Api, tenant: str) -> dict[int, str]:
    return {release["version"]: release["status"] for release in info(api, tenant)["releases"]}


def names(api: Api, kind: str, tenant: str) -> list[str]:
    return sorted(entry["metadata"]["name"] for entry in api.kube.find(kind, tenant))


def stop_and_start(api: Api, tenant: str, replicas: dict[str, int]) -> None:
    for state, status in (("stopped", "stopped"), ("started", "running")):
        options = api.options(name="shop", tenant=tenant, state=state, timeout=30)
        assert good("app", options, check=True)["changed"]
        done = good("app", options)
        assert done["changed"] and done["apps"][0]["action"] == state
        assert not good("app", options)["changed"]
        assert info(api, tenant)["status"] == status
    assert done["apps"][0]["replicas"] == replicas


def test_stateful(api: Api, nodes: Nodes, tenant: str) -> None:
    processes = [{"name": "db", "ports": [5432], "replicas": 3}]
    options = app(api, tenant, type="stateful", processes=processes)
    assert settled(options)["replicas"] == {"shop-db": 3}
    assert names(api, "Pod", tenant) == ["shop-db-0", "shop-db-1", "shop-db-2"]
    peers = api.kube.get("Service", tenant, "shop-db")
    assert peers is not None and peers["spec"]["clusterIP"] == "None" and names(api, "Service", tenant)[0] == "shop"
    good("app_scale", api.options(name="shop", tenant=tenant, replicas=2, timeout=30))
    assert good("app", {**options, "image": "x/y:2"})["apps"][0]["replicas"] == {"shop-db": 2}
    stop_and_start(api, tenant, {"shop-db": 2})
    # A StatefulSet waits for the pod of the failed release, which does not get ready; the rollback deletes it.
    message = bad("app", {**options, "image": "x/bad:3"})
    assert "ErrImagePull" in message and "Rolled back to v2, as release v4" in message
    assert {pod["spec"]["containers"][0]["image"] for pod in api.kube.find("Pod", tenant)} == {"x/y:2"}
    assert bad("app", {**options, "image": "x/bad:3", "on_failure": "keep"})
    assert good("app_release", api.options(name="shop", tenant=tenant, version=1, timeout=30))["app"]["release"] == 6
    assert not good("app_release", api.options(name="shop", tenant=tenant, version=1))["changed"]
    big = {"limits": {"memory": "1Gi"}}
    good("app_scale", app_scale(api, tenant, process="db", resources=big))
    limits = [pod["spec"]["containers"][0]["resources"]["limits"] for pod in api.kube.find("Pod", tenant)]
    # The tenant itself sets a limit on local disk.
    assert limits and all(one == {"ephemeral-storage": "10Gi", **big["limits"]} for one in limits)
    assert good("app", api.options(name="shop", tenant=tenant, state="absent", timeout=30))["changed"]
    assert names(api, "StatefulSet", tenant) == [] and names(api, "Service", tenant) == []


def test_type_changes(api: Api, nodes: Nodes, tenant: str) -> None:
    """Another type keeps the number of replicas, and a Service that must become headless is recreated."""
    processes = [{"name": "web", "ports": [80]}, {"name": "cache", "ports": [6379], "replicas": 2}]
    good("app", app(api, tenant, processes=processes))
    good("app_scale", api.options(name="shop", tenant=tenant, process="cache", replicas=3, timeout=30))
    assert settled(app(api, tenant, type="stateful", processes=processes))["replicas"] == {
        "shop-cache": 3,
        "shop-web": 1,
    }
    assert names(api, "Deployment", tenant) == []
    settled(app(api, tenant, type="cron", processes=[{"name": "web", "schedule": "@daily"}]))
    assert names(api, "StatefulSet", tenant) == names(api, "Service", tenant) == []


def test_cron(api: Api, nodes: Nodes, tenant: str) -> None:
    process = {
        "name": "nightly",
        "schedule": "15 3 * * mon-fri",
        "time_zone": "Europe/Berlin",
        "concurrency": "replace",
        "start_deadline": 600,
        "deadline": 3600,
        "history": {"succeeded": 5},
        "retries": 0,
    }
    options = app(api, tenant, type="cron", processes=[process, {"name": "often", "schedule": "* * * * *"}])
    settled(options)
    made = api.kube.get("CronJob", tenant, "shop-nightly")
    assert made is not None
    spec = made["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == (
        "15 3 * * mon-fri",
        "Europe/Berlin",
        "Replace",
    )
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (5, 1)
    assert (spec["jobTemplate"]["spec"]["activeDeadlineSeconds"], spec["jobTemplate"]["spec"]["backoffLimit"]) == (
        3600,
        0,
    )
    stop_and_start(api, tenant, {})
    good("app", api.options(name="shop", tenant=tenant, state="stopped"))
    process["schedule"] = "@hourly"
    assert settled({**options})["release"] == 2
    made = api.kube.get("CronJob", tenant, "shop-nightly")
    assert made is not None and made["spec"]["suspend"] and made["spec"]["schedule"] == "@hourly"
    assert "a process that keeps running" in bad("app_scale", app_scale(api, tenant, process="nightly", replicas=2))
    assert good("app_release", api.options(name="shop", tenant=tenant, version=1))["app"]["release"] == 3


def app_scale(api: Api, tenant: str, **more: Any) -> dict[str, Any]:
    return api.options(name="shop", tenant=tenant, timeout=30, **more)


def test_job_runs_once_for_each_release(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant, type="job", image="x/task:1", processes=[{"name": "migrate", "deadline": 60}])
    settled(options)
    assert names(api, "Job", tenant) == ["shop-migrate-v1"] and info(api, tenant)["status"] == "complete"
    api.kube.delete("Job", tenant, "shop-migrate-v1")
    assert not good("app", options)["changed"]
    assert good("app", {**options, "image": "x/task:2"})["apps"][0]["release"] == 2
    back = good("app_release", api.options(name="shop", tenant=tenant, version=1, timeout=30))
    assert back["app"]["release"] == 3 and names(api, "Job", tenant) == ["shop-migrate-v3"]
    again = {**options, "restart_key": "monday"}
    assert settled(again)["release"] == 4
    assert not good("app", options)["changed"]


def test_job_that_fails_is_a_failed_release_and_runs_again(api: Api, nodes: Nodes, tenant: str) -> None:
    process = {"name": "migrate", "retries": 0}
    options = app(api, tenant, type="job", image="x/fail:1", processes=[process])
    message = bad("app", options)
    assert "BackoffLimitExceeded" in message and "ended with exit code 4" in message
    assert statuses(api, tenant) == {1: "failed"}
    bad("app", options)
    assert statuses(api, tenant) == {1: "failed", 2: "failed"}
    assert good("app", {**options, "image": "x/task:1"})["apps"][0]["release"] == 3


def test_job_that_takes_too_long(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant, type="job", image="x/slow:1", timeout=3, on_failure="keep")
    assert "left running, and the next run waits for it" in bad("app", options)
    assert statuses(api, tenant) == {1: "pending"}
    stopped = good("app", {**options, "state": "stopped"})
    assert stopped["changed"] and info(api, tenant)["status"] == "stopped" and names(api, "Pod", tenant) == []
    assert not good("app", {**options, "state": "stopped"})["changed"]
    assert "It is stopped" in bad("app", {**options, "state": "started", "on_failure": "rollback"})
    assert statuses(api, tenant) == {1: "failed"} and info(api, tenant)["status"] == "failed"
    assert not good("app", api.options(name="shop", tenant=tenant, state="stopped"))["changed"]
    assert "ErrImagePull" in bad("app", {**options, "image": "x/bad:1"})


def test_recreate(api: Api, nodes: Nodes, tenant: str) -> None:
    processes = [{"name": "web", "ports": [80], "replicas": 2}]
    good("app", app(api, tenant, processes=processes))
    settled(app(api, tenant, processes=processes, strategy="recreate"))
    made = api.kube.get("Deployment", tenant, "shop-web")
    assert made is not None and made["spec"]["strategy"] == {"type": "Recreate"}
    settled(app(api, tenant, processes=processes))


def test_placement(api: Api, nodes: Nodes, tenant: str) -> None:
    placement = {"spread": "zones", "node_labels": {"disk": "ssd"}, "tolerations": ["example.org/gpu"]}
    make_tenant(api, tenant, {tenant_annotations.TOLERATIONS: "example.org/gpu"})
    options = app(api, tenant, type="worker", processes=[{"name": "web", "placement": placement}])
    settled(options)
    placement["node_labels"] = {}
    settled(options)
    made = api.kube.get("Deployment", tenant, "shop-web")
    assert made is not None
    pod = made["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod and pod["tolerations"] == [{"key": "example.org/gpu", "operator": "Exists"}]
    keys = [entry["topologyKey"] for entry in pod["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_restart_key(api: Api, nodes: Nodes, tenant: str) -> None:
    processes = [{"name": "web", "ports": [80], "replicas": 2}]
    options = app(api, tenant, processes=processes)
    good("app", options)
    before = set(names(api, "Pod", tenant))
    restarted = settled({**options, "restart_key": "2026-01-01"})
    assert (restarted["action"], restarted["release"]) == ("restarted", 1)
    assert not before & set(names(api, "Pod", tenant))
    assert not good("app", options)["changed"]
    assert good("app", {**options, "image": "x/y:2"})["apps"][0]["release"] == 2
    assert not good("app", {**options, "image": "x/y:2", "restart_key": "2026-01-01"})["changed"]


def selector(api: Api, tenant: str) -> str:
    service = api.kube.get("Service", tenant, "shop")
    assert service is not None
    return str(service["spec"]["selector"].get("cloudbang.platform/digest"))


def test_blue_green(api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [{"name": "web", "ports": [80], "replicas": 2}, {"name": "worker"}]
    options = app(api, tenant, processes=processes, strategy="blue_green", drain=1)
    first = settled(options)
    assert selector(api, tenant) == first["digest"]
    good("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=3, timeout=30))
    old = {pod["metadata"]["uid"] for pod in api.kube.find("Pod", tenant)}

    failing = {**options, "image": "x/bad:2"}
    message = bad("app", failing)
    assert "ErrImagePull" in message and "Rolled back to v1, as release v3" in message
    assert selector(api, tenant) == first["digest"]
    assert {pod["metadata"]["uid"] for pod in api.kube.find("Pod", tenant)} >= old
    assert not good("app", options)["changed"]

    seen: list[tuple[int, bool]] = []
    apply = client.Kube.apply

    def watched(self: client.Kube, wanted: dict[str, Any], manager: str) -> dict[str, Any]:
        if wanted["kind"] == "Service":
            pods = [pod for pod in self.find("Pod", tenant) if pod["spec"]["containers"][0]["image"] == "x/y:2"]
            live = {pod["metadata"]["uid"] for pod in self.find("Pod", tenant)}
            seen.append((sum(map(deploy.ready, pods)), live >= old))
        return apply(self, wanted, manager)

    monkeypatch.setattr(client.Kube, "apply", watched)
    newer = {**options, "image": "x/y:2"}
    second = settled(newer)
    # The Service switched once, when all new pods were ready and all old ones still existed.
    assert seen == [(4, True)]
    assert second["replicas"] == {name: 3 if "web" in name else 1 for name in names(api, "Deployment", tenant)}
    assert len(second["replicas"]) == 2 and selector(api, tenant) == second["digest"]
    back = good("app_release", api.options(name="shop", tenant=tenant, version="last_good", timeout=30))
    assert back["changed"] and selector(api, tenant) == first["digest"]
    assert not good("app_release", api.options(name="shop", tenant=tenant, version="last_good"))["changed"]
    assert "blue_green switches after the wait" in bad(
        "app_release", api.options(name="shop", tenant=tenant, version=4, wait=False)
    )
    assert "true, because it switches after the wait" in bad("app", {**options, "wait": False})
    stopped = good("app", {**newer, "image": "x/y:3", "state": "stopped"})
    assert stopped["changed"] and info(api, tenant)["status"] == "stopped" and names(api, "Pod", tenant) == []
    good("app", {**newer, "image": "x/y:3", "state": "started"})
    settled({**newer, "strategy": "rolling"})
    assert names(api, "Deployment", tenant) == ["shop-web", "shop-worker"] and selector(api, tenant) == "None"


@pytest.mark.parametrize("broken", ["Service", "Deployment"])
def test_blue_green_that_is_cut_off_is_finished_by_the_next_run(
    api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It is interrupted at the switch, or while the old release is removed: the next run continues there."""
    options = app(api, tenant, processes=[{"name": "web", "ports": [80]}], strategy="blue_green", drain=0)
    first = good("app", options)["apps"][0]
    newer = {**options, "image": "x/y:2"}
    apply, delete = client.Kube.apply, client.Kube.delete

    def applies(self: client.Kube, wanted: dict[str, Any], manager: str) -> dict[str, Any]:
        if wanted["kind"] == "Service" == broken:
            raise client.Unknown("cut off")
        return apply(self, wanted, manager)

    def deletes(self: client.Kube, kind: str, namespace: str | None, name: str) -> bool:
        if kind == "Deployment" == broken:
            raise client.Unknown("cut off")
        return delete(self, kind, namespace, name)

    monkeypatch.setattr(client.Kube, "apply", applies)
    monkeypatch.setattr(client.Kube, "delete", deletes)
    assert "cut off" in bad("app", newer)
    assert (selector(api, tenant) == first["digest"]) is (broken == "Service")
    assert len(names(api, "Deployment", tenant)) == 2
    monkeypatch.undo()
    finished = good("app", newer)["apps"][0]
    assert finished["changed"] and finished["release"] == 2 and selector(api, tenant) == finished["digest"]
    assert len(names(api, "Deployment", tenant)) == 1 and statuses(api, tenant) == {1: "good", 2: "good"}
    assert not good("app", newer)["changed"]


def test_pull_that_the_network_keeps_from_working_is_waited_for(
    api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "PATIENCE", 0.5)
    message = bad("app", app(api, tenant, type="worker", image="x/blocked:1", timeout=4))
    assert "not ready after 4 s" in message and "connect: timed out" in message


def test_not_allowed_and_being_deleted(api: Api, nodes: Nodes, tenant: str) -> None:
    certificate, key = api.authority.issue("nobody")
    path = api.write_kubeconfig("nobody-types.conf", api.authority.pem, certificate, key)
    for module, more in (("app", {"image": "x/y:1", "type": "job"}), ("app_scale", {"autoscale": False})):
        message = bad(module, {"kubeconfig": str(path), "name": "shop", "tenant": tenant, **more})
        assert "not allowed (403)" in message
    good("app", app(api, tenant, type="worker"))
    keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "finalizers": ["example.org/hold"]}}
    maps = f"/api/v1/namespaces/{tenant}/configmaps"
    api.kube.request("POST", maps, {}, keeper)
    api.kube.delete("Namespace", None, tenant)
    assert info_until_absent(api, tenant)
    for kind in ("stateful", "cron", "job"):
        process = {"name": "run", **({"schedule": "@daily"} if kind == "cron" else {})}
        assert "Terminating" in bad("app", app(api, tenant, type=kind, processes=[process]))
    assert "app that was deployed" in bad("app_scale", app_scale(api, tenant, autoscale=False))
    api.kube.request("PATCH", f"{maps}/k", {}, {"metadata": {"finalizers": None}}, content_type=client.MERGE)


def info_until_absent(api: Api, tenant: str) -> bool:
    """Wait until no object of the app is left in a namespace that is being deleted."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not good("app_info", api.options(tenant=tenant, name="shop"))["apps"]:
            return True
        time.sleep(0.3)
    return False


@pytest.mark.parametrize(("kind", "image"), [("stateful", "x/y:1"), ("job", "x/task:1"), ("worker", "x/y:1")])
def test_pods_that_are_refused(
    api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch, kind: str, image: str
) -> None:
    monkeypatch.setattr(rollout, "PATIENCE", 1.0)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    api.kube.request("POST", f"/api/v1/namespaces/{tenant}/resourcequotas", {}, quota)
    message = bad("app", app(api, tenant, type=kind, image=image))
    assert "exceeded quota: q" in message and "not ready after" not in message
