# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion of releases from one tenant to another, and what modules show of them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import release_store
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .conftest import Api, Nodes
from .test_apps import SECRET, app, go, good, info, statuses


def promotion(api: Api, origin: str, **more: Any) -> dict[str, Any]:
    """Return the options that promote the app from a tenant to TENANT-live."""
    own = {"name": "shop", "tenant": f"{origin}-live", "from_tenant": origin, "state": "promote", "timeout": 30}
    return api.options(**{**own, **more})


def environment(api: Api, tenant: str, process: str = "web", app: str = "shop") -> dict[str, str]:
    """Return the environment that pods of a process get from Secrets."""
    deployment = api.kube.get("Deployment", tenant, f"{app}-{process}")
    assert deployment is not None
    found: dict[str, str] = {}
    for source in deployment["spec"]["template"]["spec"]["containers"][0].get("envFrom", []):
        secret = api.kube.get("Secret", tenant, source["secretRef"]["name"])
        assert secret is not None
        found.update({key: base64.b64decode(value).decode() for key, value in secret["data"].items()})
    return found


def refused(result: dict[str, Any], text: str) -> None:
    assert result.get("failed") and text in result["msg"], result


def test_all_of_a_release_is_promoted(api: Api, nodes: Nodes, tenant: str) -> None:
    good("app", app(api, tenant, domains=[f"{tenant}.example.org"]))
    options, live = promotion(api, tenant), f"{tenant}-live"
    check = good("app_release", options, check=True)
    assert check["changed"] and api.kube.get("Namespace", None, live) is None
    done = good("app_release", options)
    assert done["diff"] == check["diff"] and done["diff"]
    assert (done["app"]["action"], done["app"]["release"], done["app"]["from_version"]) == ("promoted", 1, 1)
    assert done["app"]["from_tenant"] == tenant
    for again in (True, False):
        second = good("app_release", options, check=again)
        assert not second["changed"] and second["diff"] == []

    there, here = info(api, tenant), info(api, live)
    assert here["digest"] == there["digest"] and here["status"] == "running"
    assert here["domains"] == []
    assert here["processes"]["web"]["replicas"] == 2
    assert [here["releases"][0][key] for key in ("action", "from_tenant", "from_version")] == ["promote", tenant, 1]
    assert environment(api, live) == {"MODE": "production", "WORKERS": "2", "PASSWORD": SECRET}

    # The copy is independent: its source can be removed.
    good("app", api.options(name="shop", tenant=tenant, state="absent", timeout=30))
    assert not good("app", app(api, live), check=True)["changed"]


def test_the_image_alone_is_promoted(api: Api, nodes: Nodes, tenant: str) -> None:
    live = f"{tenant}-live"
    good("app", {**app(api, tenant), "image": "registry.example/shop:2", "env": {"MODE": "staging"}})
    options = promotion(api, tenant, scope="image")
    refused(go("app_release", options), f"scope: found image, and no release of app {live}/shop")
    own = {**app(api, live), "secret_env": {"PASSWORD": f"{SECRET}-of-production"}}
    good("app", own)
    done = good("app_release", options)
    assert (done["app"]["action"], done["app"]["release"]) == ("promoted", 2)
    assert environment(api, live)["PASSWORD"] == f"{SECRET}-of-production"
    assert info(api, live)["image"] == "registry.example/shop:2"
    assert not good("app_release", options)["changed"]
    assert not good("app", {**own, "image": "registry.example/shop:2"})["changed"]
    assert good("app_release", api.options(name="shop", tenant=live, timeout=30))["app"]["from_version"] == 1
    assert good("app_release", options)["app"]["release"] == 4


def test_bindings_stay_those_of_the_tenant(api: Api, nodes: Nodes, tenant: str) -> None:
    live = f"{tenant}-live"
    store = {"name": "store", "image": "x/store:1", "processes": [{"name": "web", "ports": [80]}], "timeout": 30}
    for where in (tenant, live):
        good("app", {**api.options(tenant=where), **store})
        good("app", app(api, where))
    bind = api.options(name="shop", target="store", credentials={"password": f"{SECRET}-of-the-store"}, timeout=30)
    good("app_binding", {**bind, "tenant": tenant})
    good("app", {**app(api, tenant), "image": "registry.example/shop:2"})
    options = promotion(api, tenant)
    (warning,) = good("app_release", options, check=True)["warnings"]
    assert warning.startswith(f"app {live}/shop: not bound to store, as shop is in tenant {tenant}")
    good("app_binding", {**bind, "tenant": live})
    done = good("app_release", options)
    assert done["app"]["action"] == "promoted" and "warnings" not in done
    assert environment(api, live)["STORE_HOST"] == f"store.{live}.svc"
    assert environment(api, live)["STORE_PASSWORD"] == f"{SECRET}-of-the-store"
    assert not good("app_release", options)["changed"]
    assert not good("app_binding", {**bind, "tenant": live})["changed"]


def test_two_releases_of_an_app_side_by_side(api: Api, nodes: Nodes, tenant: str) -> None:
    store = {"name": "store", "image": "x/store:1", "processes": [{"name": "web", "ports": [80]}], "timeout": 30}
    good("app", {**api.options(tenant=tenant), **store})
    good("app", {**app(api, tenant), "image": "registry.example/shop:1"})
    bind = api.options(name="shop", target="store", credentials={"password": f"{SECRET}-of-the-store"}, timeout=30)
    good("app_binding", {**bind, "tenant": tenant})
    good("app", {**app(api, tenant), "image": "registry.example/shop:3"})
    beside = promotion(api, tenant, name="before", tenant=tenant, from_tenant=None, from_app="shop", version=2)
    check = good("app_release", beside, check=True)
    done = good("app_release", beside)
    assert done["diff"] == check["diff"] and "warnings" not in done
    assert (done["app"]["from_app"], done["app"]["from_version"]) == ("shop", 2)
    for again in (True, False):
        assert not good("app_release", beside, check=again)["changed"]
    here = info(api, tenant, "before")
    assert (here["image"], here["status"]) == ("registry.example/shop:1", "running")
    assert here["releases"][0]["from_app"] == "shop"
    assert [binding["target"] for binding in here["bindings"]] == ["store"]
    own = environment(api, tenant, app="before")
    assert own == environment(api, tenant) and own["STORE_PASSWORD"] == f"{SECRET}-of-the-store"
    # Each app has its own copy of the secrets, so one stays when the other is removed.
    good("app", api.options(name="shop", tenant=tenant, state="absent", timeout=30))
    assert environment(api, tenant, app="before") == own
    # An app that would be bound to itself is refused.
    good("app", {**app(api, tenant), "image": "registry.example/shop:1"})
    good("app_binding", api.options(name="shop", tenant=tenant, target="before", process="web", timeout=30))
    refused(go("app_release", {**beside, "version": None}), "the cycle")


def test_only_a_release_that_ran_is_promoted(api: Api, nodes: Nodes, tenant: str) -> None:
    options = promotion(api, tenant)
    refused(go("app_release", options), f"app {tenant}/shop: found no release, wanted an app that was deployed")
    good("app", app(api, tenant))
    go("app", {**app(api, tenant), "image": "x/bad:1", "on_failure": "keep"})
    assert statuses(api, tenant) == {1: "good", 2: "failed"}
    for version in (None, 2, "v2"):
        refused(go("app_release", {**options, "version": version}), "found v2, which is failed, wanted one that ran")
    refused(go("app_release", {**options, "version": 7}), "version: found 7, wanted one of v1 (good), v2 (failed)")
    assert api.kube.get("Namespace", None, f"{tenant}-live") is None
    assert good("app_release", {**options, "version": "last_good"})["app"]["from_version"] == 1


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"from_tenant": None}, "from_tenant: found nothing"),
        ({"from_app": "No"}, 'from_app: found "No"'),
        ({"from_tenant": None, "from_app": "shop"}, 'from_app: found "shop", wanted another app'),
        ({"state": "rollback", "from_tenant": None, "from_app": "store"}, "wanted state: promote beside it"),
        ({"from_tenant": "No"}, 'from_tenant: found "No"'),
        ({"tenant": "same", "from_tenant": "same"}, 'from_tenant: found "same", wanted another tenant'),
        ({"state": "rollback"}, "wanted state: promote beside it"),
        ({"scope": "env"}, 'scope: found "env", wanted one of all, image'),
        ({"version": "newest"}, 'version: found "newest"'),
    ],
)
def test_options_that_are_refused(api: Api, tenant: str, more: dict[str, Any], text: str) -> None:
    refused(go("app_release", promotion(api, tenant, **more)), text)


def test_a_promotion_that_fails_is_rolled_back_and_shows_no_secret(
    api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = f"{tenant}-live"
    good("app", app(api, live))
    good("app", {**app(api, tenant), "image": "x/crash:1", "state": "stopped", "wait": False})
    release = releases.releases(api.kube.find("Secret", tenant, releases.selector(["shop"], "release")), "shop")[0]
    release_store.mark(api.kube, release, "good")
    # There are no kubelets, so there are no logs.
    monkeypatch.setattr(client.Kube, "logs", lambda *_all, **_more: f"cannot log in with {SECRET}")
    result = go("app_release", promotion(api, tenant))
    refused(result, "CrashLoopBackOff")
    assert "Rolled back to v1, as release v3" in result["msg"] and "cannot log in with ********" in result["msg"]
    assert statuses(api, live) == {1: "good", 2: "failed", 3: "good"}


def test_a_tenant_that_is_deleted_or_not_shown(api: Api, nodes: Nodes, tenant: str) -> None:
    live = f"{tenant}-live"
    good("app", app(api, tenant))
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": live, "finalizers": ["example.org/hold"]}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    api.kube.delete("Namespace", None, live)
    refused(go("app_release", promotion(api, tenant)), "Terminating")
    where = kinds.path("Namespace", None, live)
    api.kube.request("PATCH", where, {}, {"metadata": {"finalizers": None}}, content_type=client.MERGE)
    certificate, key = api.authority.issue("nobody")
    path = api.write_kubeconfig("nobody.conf", api.authority.pem, certificate, key)
    refused(go("app_release", {**promotion(api, tenant), "kubeconfig": str(path)}), "not allowed (403)")


def test_what_changed_between_releases_is_shown_by_name(api: Api, nodes: Nodes, tenant: str) -> None:
    first = app(api, tenant)
    good("app", {**first, "files": [{"path": "/etc/shop/a", "content": "1"}]})
    newer = {**first, "image": "registry.example/shop:2", "env": {"WORKERS": 2}, "drain": 7}
    newer["secret_env"] = {"PASSWORD": f"{SECRET}-2", "TOKEN": f"{SECRET}-3"}
    newer["processes"] = [*first["processes"][:1], {"name": "mail"}]
    good("app", newer)
    good("app_release", api.options(name="shop", tenant=tenant, timeout=30))
    one, two, three = (release["changes"] for release in info(api, tenant)["releases"])
    assert one == {
        "image": {"before": None, "after": "registry.example/shop:1"},
        "env": ["MODE", "PASSWORD", "WORKERS"],
        "files": ["/etc/shop/a", "/etc/shop/key.pem"],
        "processes": ["web", "worker"],
        "bindings": [],
        "settings": ["drain", "grace", "strategy", "type"],
    }
    assert two == {
        "image": {"before": "registry.example/shop:1", "after": "registry.example/shop:2"},
        "env": ["MODE", "PASSWORD", "TOKEN"],
        "files": ["/etc/shop/a"],
        "processes": ["mail", "worker"],
        "bindings": [],
        "settings": ["drain"],
    }
    assert {**three, "image": None} == {**two, "image": None}
    good("app", {**newer, "keep_releases": 2})
    assert [release["changes"] is None for release in info(api, tenant)["releases"]] == [True, False]


def test_requests_beside_the_quota_of_the_tenant(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant)
    good("tenant", api.options(name=tenant, quota={"cpu": "2", "pods": 20}, timeout=30))
    options["processes"][1]["resources"] = {"requests": {"cpu": "50m"}}
    good("app", options)
    assert info(api, tenant)["usage"] == {
        "pods": {"requested": 3, "hard": "20", "used": "3"},
        "cpu": {"requested": "250m", "hard": "2", "used": "250m"},
        "memory": {"requested": "2048Mi", "hard": None, "used": None},
    }


def test_log_lines_are_by_process(api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good("app", app(api, tenant))
    monkeypatch.setattr(client.Kube, "logs", lambda _kube, _tenant, pod, lines: f"{pod} {lines}\n")
    shown = good("app_info", api.options(tenant=tenant, name="shop", log_lines=3))["apps"][0]["logs"]
    assert {process: len(pods) for process, pods in shown.items()} == {"web": 2, "worker": 1}
    assert all(text == f"{pod} 3" for pods in shown.values() for pod, text in pods.items())
