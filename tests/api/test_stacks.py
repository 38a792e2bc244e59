"""Bindings and stacks against a real API."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import client, runner

from .conftest import Api, Nodes

SECRET = "canary-of-the-secret"
PORTS = [{"name": "web", "ports": [8080]}]


def go(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module and make sure that its result shows no secret."""
    result = runner.run(module, options, check)
    assert SECRET not in json.dumps(result)
    return result


def good(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    result = go(module, options, check)
    assert not result.get("failed"), result["msg"]
    return result


def refused(module: str, options: dict[str, Any], text: str) -> dict[str, Any]:
    result = go(module, options)
    assert result.get("failed") and text in result["msg"], result.get("msg", result)
    return result


def told(result: dict[str, Any]) -> str:
    """Return what a result says of its changes. The marks of secrets differ while an app has no release yet."""
    listed = result.get("apps") or [result.get("app") or {}]
    keys = ("name", "action", "release", "changed")
    apps = [{key: app.get(key) for key in keys} for app in listed]
    text = json.dumps([result["changed"], apps, result["diff"]], sort_keys=True)
    return re.sub(r"\((secret|content) [0-9a-f]{12}", r"(\1", text)


def as_checked(module: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run in check mode, run, and run again: the first tells what the second does, and the third changes nothing."""
    before = good(module, options, check=True)
    done = good(module, options)
    assert done["changed"] and told(before) == told(done)
    again = good(module, options)
    assert not again["changed"] and again["diff"] == []
    return done


def apps(api: Api, tenant: str, *names: str) -> None:
    """Deploy small web apps."""
    listed = [{"name": name, "processes": PORTS, "secret_env": {"TOKEN": SECRET + name}} for name in names]
    good("app", api.options(tenant=tenant, image="x/y:1", apps=listed, timeout=30))


def info(api: Api, tenant: str, name: str, **more: Any) -> dict[str, Any]:
    found = good("app_info", api.options(tenant=tenant, name=name, **more))["apps"]
    return dict(found[0]) if found else {"status": "absent", "releases": []}


def environment(api: Api, tenant: str, app: str, process: str = "web") -> dict[str, str]:
    """Return the environment that the pods of an app's Deployment get, as the kubelet puts it together."""
    deployment = api.kube.get("Deployment", tenant, f"{app}-{process}")
    assert deployment is not None
    found: dict[str, str] = {}
    for source in deployment["spec"]["template"]["spec"]["containers"][0].get("envFrom", []):
        secret = api.kube.get("Secret", tenant, source["secretRef"]["name"])
        assert secret is not None
        found.update({key: base64.b64decode(value).decode() for key, value in secret["data"].items()})
    return found


def test_binding_gives_address_and_credentials(api: Api, nodes: Nodes, tenant: str) -> None:
    apps(api, tenant, "web", "api")
    options = api.options(
        name="web",
        tenant=tenant,
        target="api",
        credentials_from={"token": "TOKEN"},
        credentials={"key": SECRET + "-given"},
        timeout=30,
    )
    done = as_checked("app_binding", options)
    assert done["app"]["release"] == 2
    assert environment(api, tenant, "web") == {
        "TOKEN": SECRET + "web",
        "API_HOST": f"api.{tenant}.svc",
        "API_PORT": "8080",
        "API_URL": f"http://api.{tenant}.svc:8080",
        "API_TOKEN": SECRET + "api",
        "API_KEY": SECRET + "-given",
    }
    # Deploying the app without a word about bindings keeps them.
    listed = [{"name": "web", "processes": PORTS, "secret_env": {"TOKEN": SECRET + "new"}, "image": "x/y:2"}]
    deployed = good("app", api.options(tenant=tenant, apps=listed, timeout=30))
    assert deployed["apps"][0]["release"] == 3
    assert environment(api, tenant, "web")["API_TOKEN"] == SECRET + "api"
    assert not good("app", api.options(tenant=tenant, apps=listed))["changed"]
    assert not good("app_binding", options)["changed"]

    gone = api.options(name="web", tenant=tenant, target="api", state="absent", timeout=30)
    assert as_checked("app_binding", gone)["app"]["release"] == 4
    assert environment(api, tenant, "web") == {"TOKEN": SECRET + "new"}
    # The bindings of a release are part of it.
    good("app_release", api.options(name="web", tenant=tenant, version=2, timeout=30))
    assert environment(api, tenant, "web")["API_KEY"] == SECRET + "-given"
    assert [edge["target"] for edge in info(api, tenant, "web")["bindings"]] == ["api"]


def test_several_bindings_make_one_release(api: Api, nodes: Nodes, tenant: str) -> None:
    apps(api, tenant, "web", "api")
    listed = [{"name": "mq", "type": "worker", "image": "x/y:1"}]
    listed[0]["processes"] = [{"name": "broker", "ports": [5672, {"port": 15672, "name": "admin"}]}]  # type: ignore[assignment]
    good("app", api.options(tenant=tenant, apps=listed, timeout=30))
    bindings = [
        {"target": "api", "prefix": "BACKEND"},
        {
            "target": "mq",
            "scheme": "amqp",
            "mapping": {"BROKER": "url", "ADMIN": "ports.admin", "WHERE": "address", "P": "credentials.p"},
            "credentials": {"p": SECRET},
        },
    ]
    options = api.options(name="web", tenant=tenant, bindings=bindings, timeout=30)
    assert as_checked("app_binding", options)["app"]["release"] == 2
    found = environment(api, tenant, "web")
    assert found["BACKEND_URL"] == f"http://api.{tenant}.svc:8080" and found["P"] == SECRET
    assert found["BROKER"] == f"amqp://mq-broker.{tenant}.svc:5672" and found["ADMIN"] == "15672"
    assert api.kube.get("Service", tenant, "mq-broker") is not None

    bindings[0]["state"] = bindings[1]["state"] = "absent"
    bindings[0]["target"], bindings[1]["target"] = "mq", "api"
    assert as_checked("app_binding", options)["app"]["release"] == 3
    assert environment(api, tenant, "web") == {"TOKEN": SECRET + "web"}


def test_bindings_that_are_refused(api: Api, nodes: Nodes, tenant: str) -> None:
    apps(api, tenant, "a", "b", "c")
    for source, target in (("a", "b"), ("b", "c")):
        good("app_binding", api.options(name=source, tenant=tenant, target=target, timeout=30))
    cycle = f"the cycle {tenant}/c -> {tenant}/a -> {tenant}/b -> {tenant}/c"
    refused("app_binding", api.options(name="c", tenant=tenant, target="a"), cycle)
    refused("app_binding", api.options(name="a", tenant=tenant, target="none"), f"no app none in tenant {tenant}")
    refused("app_binding", api.options(name="none", tenant=tenant, target="a"), "an app that was deployed")
    wrong = api.options(name="a", tenant=tenant, target="c", credentials_from={"x": "OTHER"})
    refused("app_binding", wrong, 'credentials_from.x: found "OTHER", wanted one of TOKEN')
    clash = api.options(name="a", tenant=tenant, target="c", mapping={"TOKEN": "host"})
    refused("app_binding", clash, f"TOKEN from the binding to {tenant}/c and from the app's own env")
    clash = api.options(name="a", tenant=tenant, image="x/y:1", processes=PORTS, env={"B_HOST": "x"})
    refused("app", clash, f"B_HOST from the binding to {tenant}/b")
    assert info(api, tenant, "c")["release"] == 1

    gone = api.options(name="b", tenant=tenant, state="absent", timeout=30)
    refused("app", gone, f"app {tenant}/b: found {tenant}/a bound to it")
    assert good("app", {**gone, "force": True})["changed"]
    both = api.options(tenant=tenant, state="absent", apps=[{"name": "a"}, {"name": "c"}], timeout=30)
    assert good("app", both)["changed"]


def test_binding_to_another_tenant(api: Api, nodes: Nodes, tenant: str) -> None:
    other = f"{tenant}-other"
    apps(api, tenant, "web")
    apps(api, other, "api")
    options = api.options(name="web", tenant=tenant, target="api", target_tenant=other, timeout=30)
    as_checked("app_binding", options)
    assert environment(api, tenant, "web")["API_HOST"] == f"api.{other}.svc"
    refused("app", api.options(name="api", tenant=other, state="absent"), f"found {tenant}/web bound to it")
    found = good("app_info", api.options(tenant=tenant, topology="mermaid"))["topology"]
    assert {"from": f"{tenant}/web", "to": f"{other}/api", "kind": "binding"}.items() <= found["edges"][0].items()
    assert "-->|API_HOST, API_PORT, API_URL|" in found["text"]


def test_failed_binding_goes_back(api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apps(api, tenant, "web", "api")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    api.kube.request("POST", f"/api/v1/namespaces/{tenant}/resourcequotas", {}, quota)
    result = go("app_binding", api.options(name="web", tenant=tenant, target="api", timeout=3))
    assert result["failed"] and "Back on v1, as release v3" in result["msg"]
    assert info(api, tenant, "web")["bindings"] == []


def stack(api: Api, tenant: str, image: str = "x/y:1", **more: Any) -> dict[str, Any]:
    """Return the options of a stack of three apps: web is bound to api, and api comes after db."""
    listed = [
        {"name": "web", "image": image, "processes": PORTS, "domains": [f"{tenant}.example.org"]},
        {"name": "api", "image": "x/y:1", "processes": PORTS, "depends_on": ["db"], "secret_env": {"TOKEN": SECRET}},
        {"name": "db", "image": "x/y:1", "processes": [{"name": "web", "ports": [5432]}]},
    ]
    bindings = [
        {"app": "web", "target": "api", "credentials_from": {"token": "TOKEN"}},
        {"app": "api", "target": "db", "prefix": "DB"},
    ]
    return api.options(name="shop", tenant=tenant, **{"apps": listed, "bindings": bindings, "timeout": 30, **more})


def test_life_of_a_stack(api: Api, nodes: Nodes, tenant: str) -> None:
    told = good("app_stack", stack(api, tenant), check=True)
    assert told["changed"] and api.kube.get("Namespace", None, tenant) is None
    done = good("app_stack", stack(api, tenant))
    assert done["stack"]["levels"] == [["db"], ["api"], ["web"]]
    assert [app["release"] for app in done["apps"]] == [app["release"] for app in told["apps"]] == [1, 1, 1]
    assert not good("app_stack", stack(api, tenant))["changed"]
    assert not good("app_stack", stack(api, tenant), check=True)["changed"]
    assert environment(api, tenant, "web")["API_TOKEN"] == SECRET
    assert environment(api, tenant, "api")["DB_PORT"] == "5432"
    made = [api.kube.get("Service", tenant, name) for name in ("db", "api", "web")]
    revisions = [int(entry["metadata"]["resourceVersion"]) for entry in made if entry is not None]
    assert len(revisions) == 3 and revisions == sorted(revisions)
    assert info(api, tenant, "web")["stack"] == "shop"

    changed = as_checked("app_stack", stack(api, tenant, image="x/y:2"))
    assert [app["action"] for app in changed["apps"]] == ["deployed", "none", "none"]
    # A member can be deployed alone, and stays what the stack has made it.
    alone = {"name": "db", "tenant": tenant, "image": "x/y:7", "processes": [{"name": "web", "ports": [5432]}]}
    good("app", api.options(**alone, timeout=30))
    assert info(api, tenant, "db")["stack"] == "shop"

    options = stack(api, tenant, image="x/y:2")
    options["apps"], options["bindings"] = options["apps"][1:], options["bindings"][1:]
    kept = good("app_stack", options)
    assert kept["stack"]["left"] == ["web"] and info(api, tenant, "web")["status"] == "running"
    pruned = as_checked("app_stack", {**options, "prune": True})
    assert pruned["apps"][-1]["action"] == "removed" and info(api, tenant, "web")["status"] == "absent"

    gone = api.options(name="shop", tenant=tenant, state="absent", timeout=30)
    assert good("app_stack", gone, check=True)["changed"]
    removed = good("app_stack", gone)
    assert [app["name"] for app in removed["apps"]] == ["api", "db"]
    assert not good("app_stack", gone)["changed"]
    assert api.kube.find("Secret", tenant, "cloudbang.platform/kind") == []


@pytest.mark.parametrize("on_failure", ["rollback", "hold"])
def test_failed_stack(api: Api, nodes: Nodes, tenant: str, on_failure: str) -> None:
    good("app_stack", stack(api, tenant))
    options = stack(api, tenant, image="x/crash:2", on_failure=on_failure)
    options["apps"][0]["domains"] = []
    options["apps"][2]["image"] = "x/y:2"
    new = {"name": "cache", "image": "x/y:1", "type": "worker"}
    options["apps"].append(new)
    result = go("app_stack", options)
    assert result["failed"] and "CrashLoopBackOff" in result["msg"]
    images = {name: info(api, tenant, name).get("image") for name in ("web", "api", "db", "cache")}
    if on_failure == "hold":
        assert images == {"web": "x/y:1", "api": "x/y:1", "db": "x/y:2", "cache": "x/y:1"}
        assert "cache" in {app["name"] for app in result["apps"] if app["changed"]}
    else:
        assert images == {"web": "x/y:1", "api": "x/y:1", "db": "x/y:1", "cache": None}
        assert info(api, tenant, "web")["domains"] == [f"{tenant}.example.org"]
        assert "db on v1" in result["msg"] and "cache removed" in result["msg"]
        assert {app["name"]: app.get("rolled_back_to") for app in result["apps"]}["db"] == 1
        assert not good("app_stack", stack(api, tenant))["changed"]
    fixed = good("app_stack", {**options, "apps": [{**options["apps"][0], "image": "x/y:3"}, *options["apps"][1:]]})
    assert fixed["changed"] and info(api, tenant, "web")["image"] == "x/y:3"


def test_failed_first_stack_leaves_nothing(api: Api, nodes: Nodes, tenant: str) -> None:
    result = go("app_stack", stack(api, tenant, image="x/crash:1"))
    assert result["failed"] and "db removed" in result["msg"]
    assert good("app_info", api.options(tenant=tenant))["apps"] == []
    assert api.kube.find("Secret", tenant, "cloudbang.platform/kind") == []


def test_stacks_that_are_refused(api: Api, nodes: Nodes, tenant: str) -> None:
    options = stack(api, tenant)
    options["apps"][2]["depends_on"] = ["web"]
    refused("app_stack", options, "the cycle api -> db -> web -> api")
    options = stack(api, tenant)
    options["apps"][0]["image"] = "x/y"
    options["apps"][1]["depends_on"] = ["none"]
    options["bindings"][0]["target"] = "nothing"
    result = go("app_stack", options)
    assert result["failed"] and "apps[0].image" in result["msg"] and "apps[1].depends_on" in result["msg"]
    assert api.kube.get("Namespace", None, tenant) is None
    good("app_stack", stack(api, tenant))
    other = stack(api, tenant)
    refused("app_stack", {**other, "name": "other"}, "a member of the stack shop")
    apps(api, tenant, "outside")
    good("app_binding", api.options(name="outside", tenant=tenant, target="web", timeout=30))
    gone = api.options(name="shop", tenant=tenant, state="absent", timeout=30)
    refused("app_stack", gone, f"{tenant}/outside bound to it")
    back = api.options(name="db", tenant=tenant, target="outside")
    refused("app_binding", back, "the cycle")
    nobody, key = api.authority.issue("nobody")
    path = api.write_kubeconfig("nobody-stack.conf", api.authority.pem, nobody, key)
    for module, more in (("app_stack", stack(api, tenant)), ("app_binding", back)):
        refused(module, {**more, "kubeconfig": str(path)}, "not allowed (403)")
    assert good("app_stack", {**gone, "force": True})["changed"]


def test_namespace_that_is_being_deleted(api: Api, nodes: Nodes, tenant: str) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", client.path("Namespace", None), {}, space)
    keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "finalizers": ["example.org/hold"]}}
    maps = f"/api/v1/namespaces/{tenant}/configmaps"
    api.kube.request("POST", maps, {}, keeper)
    api.kube.delete("Namespace", None, tenant)
    refused("app_stack", stack(api, tenant), "Terminating")
    release = {"metadata": {"finalizers": None}}
    api.kube.request("PATCH", f"{maps}/k", {}, release, content_type=client.MERGE)


COMPOSE = """
services:
  web:
    image: x/y:${TAG:-1}
    command: serve --port 8000
    ports: ["8000"]
    environment:
      MODE: production
      TOKEN: ${TOKEN}
    configs: [{source: settings, target: /etc/web.ini}]
    secrets: [key]
    depends_on:
      cache: {condition: service_healthy}
    healthcheck: {test: [CMD, "true"], interval: 5s, timeout: 1s}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64M}}}
  cache:
    image: x/y:1
    expose: [6379]
configs:
  settings: {file: web.ini}
secrets:
  key: {environment: TOKEN}
"""


def test_stack_from_a_compose_file(api: Api, nodes: Nodes, tenant: str, tmp_path: Path) -> None:
    (tmp_path / "web.ini").write_text("[web]\n")
    path = tmp_path / "compose.yml"
    path.write_text(COMPOSE)
    compose = {"path": str(path), "secret_variables": {"TOKEN": SECRET}}
    options = api.options(name="shop", tenant=tenant, compose=compose, timeout=30)
    done = as_checked("app_stack", options)
    assert done["stack"]["levels"] == [["cache"], ["web"]]
    assert environment(api, tenant, "web") == {"MODE": "production", "TOKEN": SECRET}
    assert done["apps"][0]["replicas"] == {"web-web": 2}
    newer = {**options, "compose": {**compose, "variables": {"TAG": "2"}}}
    assert as_checked("app_stack", newer)["apps"][0]["release"] == 2
    path.write_text(COMPOSE.replace("expose:", "volumes: [data:/data]\n    expose:"))
    refused("app_stack", options, "services.cache.volumes: found volumes, which is not supported here")
    refused("app_stack", {**options, "compose": {"path": str(tmp_path / "none")}}, "No such file")
    assert good("app_stack", {**newer, "state": "absent"})["changed"]
