# SPDX-License-Identifier: GPL-3.0-or-later
"""The app modules against a real API."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import deploy, release_store
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import parse, plan, releases
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .conftest import Api, Nodes

SECRET = "canary-of-the-secret"


def app(api: Api, tenant: str, **more: Any) -> dict[str, Any]:
    """Return the options of a small web app."""
    return api.options(
        name="shop",
        tenant=tenant,
        image="registry.example/shop:1",
        processes=[
            {
                "name": "web",
                "ports": [8000],
                "replicas": 2,
                "resources": {"requests": {"cpu": 0.1, "memory": "1024Mi"}},
            },
            {"name": "worker", "command": "work --queue 'a b'"},
        ],
        env={"MODE": "production", "WORKERS": 2},
        secret_env={"PASSWORD": SECRET},
        secret_files=[{"path": "/etc/shop/key.pem", "content": f"{SECRET}\r\n"}],
        timeout=30,
        **more,
    )


def go(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module and make sure that its result shows no secret."""
    result = runner.run(module, options, check)
    assert SECRET not in json.dumps(result)
    return result


def good(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    result = go(module, options, check)
    assert not result.get("failed"), result["msg"]
    return result


def info(api: Api, tenant: str, name: str = "shop") -> dict[str, Any]:
    apps = good("app_info", api.options(tenant=tenant, name=name))["apps"]
    return apps[0] if apps else {"status": "absent", "releases": []}


def statuses(api: Api, tenant: str) -> dict[int, str]:
    return {release["version"]: release["status"] for release in info(api, tenant)["releases"]}


def test_life_of_an_app(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant, domains=[f"{tenant}.example.org"])
    check = good("app", options, check=True)
    assert check["changed"] and check["apps"][0]["release"] == 1
    assert api.kube.get("Namespace", None, tenant) is None
    first = good("app", options)
    assert first["changed"] and first["apps"][0]["action"] == "deployed"
    space = api.kube.get("Namespace", None, tenant)
    assert space is not None
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert not good("app", options, check=True)["changed"]
    second = good("app", options)
    assert not second["changed"] and second["diff"] == [] and second["apps"][0]["drift"] == []
    assert statuses(api, tenant) == {1: "good"}

    scaled = good("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=4, timeout=30))
    assert scaled["changed"] and scaled["app"]["processes"]["web"]["previous_replicas"] == 2
    assert not good("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=4))["changed"]

    newer = good("app", {**options, "image": "registry.example/shop:2"})
    assert newer["apps"][0]["release"] == 2
    assert newer["apps"][0]["replicas"] == {"shop-web": 4, "shop-worker": 1}
    assert statuses(api, tenant) == {1: "good", 2: "good"}

    back = api.options(name="shop", tenant=tenant, version="last_good", timeout=30)
    assert good("app_release", back, check=True)["changed"]
    rolled = good("app_release", back)
    assert rolled["changed"] and rolled["app"]["release"] == 3 and rolled["app"]["from_version"] == 1
    assert not good("app_release", back)["changed"]
    assert not good("app_release", {**back, "version": 1})["changed"]
    replica_sets = api.kube.request("GET", f"/apis/apps/v1/namespaces/{tenant}/replicasets")["items"]
    assert len([entry for entry in replica_sets if entry["metadata"]["name"].startswith("shop-web-")]) == 2
    now = info(api, tenant)
    assert now["status"] == "running" and now["processes"]["web"]["replicas"] == 4
    assert now["image"] == "registry.example/shop:1" and now["domains"] == [f"{tenant}.example.org"]

    stopped = good("app", api.options(name="shop", tenant=tenant, state="stopped", timeout=30))
    assert stopped["changed"] and info(api, tenant)["status"] == "stopped"
    assert not good("app", api.options(name="shop", tenant=tenant, state="stopped"))["changed"]
    assert not good("app", options)["changed"]
    good("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=3))
    started = good("app", api.options(name="shop", tenant=tenant, state="started", timeout=30))
    assert started["apps"][0]["replicas"] == {"shop-web": 3, "shop-worker": 1}
    assert not good("app", api.options(name="shop", tenant=tenant, state="started"))["changed"]

    gone = api.options(name="shop", tenant=tenant, state="absent", timeout=30)
    assert good("app", gone, check=True)["changed"]
    assert good("app", gone)["changed"]
    assert not good("app", gone)["changed"]
    assert info(api, tenant)["status"] == "absent"
    left = api.kube.find("Secret", tenant, releases.selector(["shop"]))
    assert left == []


@pytest.mark.parametrize(
    ("image", "reason"), [("x/bad:1", "ErrImagePull"), ("x/crash:1", "CrashLoopBackOff"), ("x/deaf:1", "readiness")]
)
def test_failed_rollout_is_rolled_back(api: Api, nodes: Nodes, tenant: str, image: str, reason: str) -> None:
    options = app(api, tenant)
    good("app", options)
    failing = {**options, "image": image, "timeout": 5}
    result = go("app", failing)
    assert result["failed"] and reason in result["msg"]
    assert "Rolled back to v1, as release v3" in result["msg"]
    assert result["apps"][0]["rolled_back_to"] == 1
    assert statuses(api, tenant) == {1: "good", 2: "failed", 3: "good"}
    assert not good("app", options)["changed"]
    assert go("app", {**failing, "on_failure": "keep"})["failed"]
    assert statuses(api, tenant)[4] == "failed"
    fixed = good("app", options)
    assert fixed["apps"][0]["release"] == 5


def test_failed_first_deploy_is_repaired_by_the_next(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    result = go("app", {**options, "image": "x/bad:1"})
    assert result["failed"] and "the objects of this one are deleted" in result["msg"]
    assert info(api, tenant)["status"] == "failed"
    assert api.kube.find("Deployment", tenant) == []
    again = go("app", {**options, "image": "x/bad:1"})
    assert again["failed"] and statuses(api, tenant) == {1: "failed"}
    assert good("app", options)["apps"][0]["release"] == 2


def test_drift_is_repaired_without_a_release(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    good("app", options)
    api.kube.delete("Service", tenant, "shop")
    where = kinds.path("Deployment", tenant, "shop-web")
    change = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 9}}}}
    api.kube.request("PATCH", where, {"fieldManager": "someone"}, change, content_type=client.MERGE)
    extra = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "old", "labels": {}}, "spec": {}}
    extra["metadata"]["labels"] = {"cloudbang.platform/app": "shop"}
    extra["spec"] = {"ports": [{"port": 1}]}
    api.kube.request("POST", kinds.path("Service", tenant), {}, extra)
    assert len(good("app", options, check=True)["apps"][0]["drift"]) == 3
    repaired = good("app", options)
    assert repaired["apps"][0]["action"] == "repaired" and repaired["apps"][0]["release"] == 1
    assert not good("app", options)["changed"]
    assert api.kube.get("Service", tenant, "old") is None


def test_reading_at_a_moment(api: Api, nodes: Nodes, tenant: str) -> None:
    good("app", app(api, tenant))
    _entries, now = api.kube.list_version("Secret", tenant, releases.selector(["shop"], "release"))
    newest = api.kube.find("Deployment", tenant)
    assert len(newest) == 2 and api.kube.find("Deployment", tenant, after=now) == newest
    # A resource version that this API server does not have yet.
    assert api.kube.find("Deployment", tenant, after=str(int(now) + 10**6)) == newest


def test_kinds_that_are_read(api: Api, nodes: Nodes, tenant: str) -> None:
    """The kinds of the kept releases; all kinds without a release."""
    options = app(api, tenant)
    web = {"Deployment", "PodDisruptionBudget", "Service", "Ingress", "HorizontalPodAutoscaler"}
    assert set(deploy.possible_kinds(deploy.load(api.kube, tenant, ["shop"]).values())) == set(plan.KINDS)
    good("app", options)
    assert set(deploy.possible_kinds(deploy.load(api.kube, tenant, ["shop"]).values())) == web
    good("app", {**options, "type": "stateful"})
    assert set(deploy.possible_kinds(deploy.load(api.kube, tenant, ["shop"]).values())) == {*web, "StatefulSet"}
    assert api.kube.find("Deployment", tenant) == []


def test_removed_process_and_changed_secret(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    good("app", options)
    good("app", {**options, "processes": options["processes"][:1], "secret_env": {"PASSWORD": SECRET + "-2"}})
    assert {entry["metadata"]["name"] for entry in api.kube.find("Deployment", tenant)} == {"shop-web"}
    back = good("app_release", api.options(name="shop", tenant=tenant, version=1, timeout=30))
    assert back["app"]["replicas"] == {"shop-web": 2, "shop-worker": 1}
    assert not good("app", options)["changed"]


def test_list_of_apps_in_one_task(api: Api, nodes: Nodes, tenant: str) -> None:
    apps = [{"name": f"app-{number}", "processes": [{"name": "web", "ports": [80]}]} for number in range(6)]
    options = api.options(tenant=tenant, image="x/y:1", apps=apps, timeout=60)
    assert len(good("app", options)["apps"]) == 6
    assert not good("app", options)["changed"]
    apps[3]["image"] = "x/crash:1"
    apps[4]["image"] = "x/y:2"
    result = go("app", options)
    assert result["failed"] and "app-3" in result["msg"]
    assert result["apps"][4]["action"] == "deployed" and not result["apps"][4].get("failed")
    assert good("app", {**options, "state": "absent"})["changed"]
    assert good("app_info", api.options(tenant=tenant))["apps"] == []


def test_releases_are_kept_up_to_a_number(api: Api, nodes: Nodes, tenant: str) -> None:
    options = {**app(api, tenant), "keep_releases": 3}
    for number in range(1, 6):
        good("app", {**options, "image": f"x/y:{number}", "env": {"N": number}})
    assert list(statuses(api, tenant)) == [3, 4, 5]
    assert len(api.kube.find("Secret", tenant, releases.selector(["shop"], "content"))) == 4
    for version, text in (("1", "found 1, wanted one of v3"), ("9", "found 9")):
        result = go("app_release", api.options(name="shop", tenant=tenant, version=version))
        assert result["failed"] and text in result["msg"]


def test_two_deployments_at_once(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    good("app", options)
    live = deploy.load(api.kube, tenant, ["shop"])["shop"]
    newest = live.newest
    assert newest is not None
    made = release_store.create(api.kube, "shop", tenant, 2, "0" * 16, newest.salt, newest.spec, {})
    with pytest.raises(releases.ReleaseError, match=r"v2 has just been created by \S+ at 2"):
        release_store.create(api.kube, "shop", tenant, 2, "1" * 16, newest.salt, newest.spec, {})
    result = go("app", options)
    assert result["failed"] and "is being rolled out by" in result["msg"]
    api.kube.patch_metadata("Secret", tenant, made.name, {"annotations": {releases.HEARTBEAT: "1"}}, "test")
    assert good("app", options)["apps"][0]["release"] == 3
    assert statuses(api, tenant) == {1: "good", 2: "superseded", 3: "good"}


def test_a_repair_does_not_undo_a_release_that_was_made_meanwhile(
    api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = app(api, tenant)
    good("app", options)
    api.kube.delete("Service", tenant, "shop")
    seen = deploy.load(api.kube, tenant, ["shop"])
    newest = seen["shop"].newest
    assert newest is not None
    release_store.create(api.kube, "shop", tenant, 2, "0" * 16, newest.salt, newest.spec, {})
    with monkeypatch.context() as patched:
        patched.setattr(deploy, "load", lambda *_all: seen)
        result = go("app", options)
    assert result["failed"] and "release v2 has just been created by" in result["msg"]
    assert api.kube.get("Service", tenant, "shop") is None


def test_unfinished_run_is_finished_by_the_next(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    good("app", options)
    newer = {**options, "image": "x/y:2", "env": {"A": "b"}}
    wanted = parse.parse("app", newer).apps[0]
    live = deploy.load(api.kube, tenant, ["shop"])["shop"]
    made = plan.plan_app(wanted, live)
    release_store.create(api.kube, "shop", tenant, 2, made.digest, made.salt, made.spec, made.replicas)
    result = good("app", newer)
    assert result["changed"] and result["apps"][0]["release"] == 2
    assert statuses(api, tenant) == {1: "good", 2: "good"}
    assert not good("app", newer)["changed"]


def test_quota_is_the_reason(api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.rollout.PATIENCE", 1.0)
    options = app(api, tenant)
    good("app", options)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}}
    api.kube.request("POST", f"/api/v1/namespaces/{tenant}/resourcequotas", {}, quota)
    result = go("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=6, timeout=20))
    assert result["failed"] and "exceeded quota" in result["msg"] and result["events"]


def test_refused_before_any_change(api: Api, nodes: Nodes, tenant: str) -> None:
    domain = f"{tenant}.example.org"
    good("app", app(api, tenant, domains=[domain]))
    other = {**app(api, tenant + "-b", domains=[domain]), "wait": False}
    result = go("app", other)
    assert result["failed"] and f"{domain}, which shop of tenant {tenant} has" in result["msg"]
    assert api.kube.get("Namespace", None, tenant + "-b") is None
    taken = {**app(api, tenant), "name": "shop-web", "processes": [{"name": "web", "ports": [1]}]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop-web"},
        "spec": {"ports": [{"port": 1}]},
    }
    api.kube.request("POST", kinds.path("Service", tenant), {}, service)
    result = go("app", taken)
    assert result["failed"] and "a Service shop-web that no app created" in result["msg"]
    pair = [
        {"name": "a", "processes": [{"name": "web", "ports": [1]}, {"name": "b", "ports": [2]}]},
        {"name": "a-b", "processes": [{"name": "c", "ports": [1]}]},
    ]
    result = go("app", api.options(tenant=tenant, image="x/y:1", apps=pair))
    assert result["failed"] and "a Service a-b that app a of this task also creates" in result["msg"]
    result = go("app", api.options(name="none", tenant=tenant, state="started"))
    assert result["failed"] and "an image, or an app that was deployed" in result["msg"]
    for module, more in (("app_scale", {"replicas": 1}), ("app_release", {})):
        result = go(module, api.options(name="none", tenant=tenant, **more))
        assert result["failed"] and "app that was deployed" in result["msg"]
    result = go("app_scale", api.options(name="shop", tenant=tenant, replicas=1))
    assert result["failed"] and "one of web, worker" in result["msg"]
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop-web"},
            "maxReplicas": 3,
        },
    }
    api.kube.request("POST", kinds.path("HorizontalPodAutoscaler", tenant), {}, scaler)
    result = go("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=1))
    assert result["failed"] and "HorizontalPodAutoscaler h" in result["msg"]


def test_namespace_that_is_being_deleted(api: Api, nodes: Nodes, tenant: str) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "finalizers": ["example.org/hold"]}}
    maps = f"/api/v1/namespaces/{tenant}/configmaps"
    api.kube.request("POST", maps, {}, keeper)
    api.kube.delete("Namespace", None, tenant)
    result = go("app", app(api, tenant))
    assert result["failed"] and "Terminating" in result["msg"]
    release = {"metadata": {"finalizers": None}}
    api.kube.request("PATCH", f"{maps}/k", {}, release, content_type=client.MERGE)


def test_object_the_api_refuses(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    good("app", options)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"services": "1"}},
    }
    where = f"/api/v1/namespaces/{tenant}/resourcequotas"
    api.kube.request("POST", where, {}, quota)
    time.sleep(2)
    more = [*options["processes"], {"name": "admin", "ports": [9000]}]
    result = go("app", {**options, "processes": more})
    assert result["failed"] and "exceeded quota: q" in result["msg"]
    assert "Rolled back to v1, as release v3" in result["msg"]
    assert {entry["metadata"]["name"] for entry in api.kube.find("Deployment", tenant)} == {"shop-web", "shop-worker"}
    assert not good("app", options)["changed"]
    api.kube.request("DELETE", f"{where}/q")
    assert good("app", {**options, "processes": more})["apps"][0]["release"] == 4


def test_deploying_without_waiting_or_stopped_locks_nobody_out(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    for number in range(2, 5):
        good("app", {**options, "image": f"x/y:{number}", "wait": False})
    good("app", {**options, "state": "stopped"})
    good("app", {**options, "image": "x/y:9"})
    good("app", {**options, "image": "x/y:10"})
    assert info(api, tenant)["status"] == "stopped"
    started = good("app", {**options, "image": "x/y:10", "state": "started"})
    assert started["changed"] and statuses(api, tenant)[6] == "good"
