# SPDX-License-Identifier: GPL-3.0-or-later
"""Bindings and stacks against a real API."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import ROOT, Api, Nodes, namespace_of
from .test_routes import _define

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
    """Return the changes in a result, without fingerprints of secrets: they differ while an app has no release yet."""
    listed = result.get("apps") or [result.get("app") or {}]
    keys = ("name", "action", "release", "changed")
    apps = [{key: app.get(key) for key in keys} for app in listed]
    text = json.dumps([result["changed"], apps, result["diff"]], sort_keys=True)
    return re.sub(r"\((secret|content) [0-9a-f]{12}", r"(\1", text)


def as_checked(module: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run in check mode, run, and run again: the first reports what the second does, and the third changes nothing."""
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
    """Return the environment of the pods of an app's Deployment, assembled as the kubelet does it."""
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
    # A deployment of the app without bindings keeps them.
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
    gone = api.options(name="api", tenant=other, state="absent")
    # Only bindings of a tenant's peers prevent the removal of its apps.
    [warning] = good("app", gone, check=True)["warnings"]
    assert f"app {other}/api: releases of {tenant}/web are bound to it; that does not prevent its removal" in warning
    space = namespace_of(other)
    space["metadata"]["annotations"] = {"cloudbang.platform/peers": f"somebody,{tenant}"}
    api.kube.apply(space, "administrator")
    refused("app", gone, f"found {tenant}/web bound to it")
    found = good("app_info", api.options(tenant=tenant, topology="mermaid"))["topology"]
    assert {"from": f"{tenant}/web", "to": f"{other}/api", "kind": "binding"}.items() <= found["edges"][0].items()
    assert "-->|API_HOST, API_PORT, API_URL|" in found["text"]


def test_failed_binding_is_rolled_back(api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apps(api, tenant, "web", "api")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
    api.kube.request("POST", f"/api/v1/namespaces/{tenant}/resourcequotas", {}, quota)
    result = go("app_binding", api.options(name="web", tenant=tenant, target="api", timeout=3))
    assert result["failed"] and "Rolled back to v1, as release v3" in result["msg"]
    assert info(api, tenant, "web")["bindings"] == []


def test_log_of_a_failure_shows_no_secret(api: Api, nodes: Nodes, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also none that are not in the task: those of the app itself and of earlier bindings."""
    apps(api, tenant, "web", "api")
    credentials = {"key": SECRET + "-bound"}
    good("app_binding", api.options(name="web", tenant=tenant, target="api", credentials=credentials, timeout=30))
    lines = {"last": f"cannot log in with {SECRET}-bound"}
    monkeypatch.setattr(client.Kube, "logs", lambda *arguments, **more: lines["last"])
    listed = [{"name": "web", "processes": PORTS, "image": "x/crash:1"}]
    result = go("app", api.options(tenant=tenant, apps=listed, timeout=30))
    assert result["failed"] and "cannot log in with ****" in result["apps"][0]["log"]
    own = {**listed[0], "secret_env": {"A": SECRET + "-own"}}
    good("app", api.options(tenant=tenant, apps=[own], wait=False))
    lines["last"] = f"cannot log in with {SECRET}-own"
    gone = go("app_binding", api.options(name="web", tenant=tenant, target="api", state="absent", timeout=30))
    assert gone["failed"] and "cannot log in with ****" in gone["app"]["log"]


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
    # A member can be deployed alone, and stays a member of the stack.
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
        assert "db to v1" in result["msg"] and "cache removed" in result["msg"]
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
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
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
    refused(
        "app_stack",
        {**options, "compose": {"path": f"{tmp_path}/none"}},
        f"compose.path: found no file {tmp_path}/none",
    )
    assert good("app_stack", {**newer, "state": "absent"})["changed"]


def test_routes_of_a_stack(api: Api, nodes: Nodes, tenant: str) -> None:
    found = ensure(["traefik-crds"], Settings.from_vars({}), print)
    _define(api, Path(found["traefik-crds"].path).read_text("utf-8"))
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    ready = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 8080}],
    }
    api.kube.request("POST", kinds.path("EndpointSlice", tenant), {}, ready)

    def hosts() -> list[str]:
        rules = [entry["spec"]["routes"][0]["match"] for entry in api.kube.find("IngressRoute", tenant)]
        return sorted({rule.partition("`")[2].partition("`")[0] for rule in rules})

    domain = f"{tenant}.example.org"
    options = stack(api, tenant, routes=[{"app": "web", "domains": [domain]}], prune=True)
    options["apps"][0]["domains"] = []
    as_checked("app_stack", options)
    assert hosts() == [domain]
    options["routes"] = [{"app": "web", "domains": [f"www.{domain}"]}]
    as_checked("app_stack", options)
    assert hosts() == [f"www.{domain}"]
    # A route to an app without an endpoint fails, and everything is rolled back.
    failing = {**options, "timeout": 3, "apps": [{**options["apps"][0], "image": "x/y:2"}, *options["apps"][1:]]}
    failing["routes"] = [{"app": "web", "domains": [domain]}, {"app": "api", "domains": [f"api.{domain}"]}]
    result = go("app_stack", failing)
    assert result["failed"] and "found no ready endpoint of Service api" in result["msg"]
    assert hosts() == [f"www.{domain}"] and info(api, tenant, "web")["image"] == "x/y:1"
    assert not good("app_stack", options)["changed"]
    refused(
        "app_stack",
        {**options, "routes": [{"app": "web", "domains": ["A B"], "state": "absent"}]},
        "routes[0].domains[0]",
    )
    options["routes"] = []
    as_checked("app_stack", options)
    assert hosts() == []
    options["routes"] = [{"app": "web", "domains": [domain]}]
    good("app_stack", options)
    gone = api.options(name="shop", tenant=tenant, state="absent", timeout=30)
    assert good("app_stack", gone, check=True)["changed"] and good("app_stack", gone)["changed"]
    assert hosts() == [] and not good("app_stack", gone)["changed"]


PLAY = """
- name: Deploy
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/cloudbang.platform.apps:
      kubeconfig: "{kubeconfig}"
      execute: "{execute}"
  tasks:
    - name: Make a template
      cloudbang.platform.app_template:
        name: "{tenant}"
        version: "{execute}"
        definition:
          parameters:
            - {{name: token, type: secret, required: true}}
          stack:
            apps:
              - name: api
                image: x/y:1
                processes: [{{name: web, ports: [80]}}]
                secret_env: {{TOKEN: "${{token}}"}}
    - name: Install it
      cloudbang.platform.app_stack:
        name: shop
        tenant: "{tenant}"
        template:
          name: "{tenant}"
          version: "{execute}"
          secret_parameters: {{token: canary-in-template}}
        timeout: 60
    - name: Deploy another stack
      cloudbang.platform.app_stack: &web
        name: front
        tenant: "{tenant}"
        apps:
          - {{name: web, image: "x/y:1", processes: [{{name: web, ports: [80]}}], secret_env: {{A: canary-in-stack}}}}
        timeout: 60
    - name: Bind one to the other
      cloudbang.platform.app_binding:
        name: web
        tenant: "{tenant}"
        target: api
        credentials: {{key: canary-in-binding}}
        credentials_from: {{token: TOKEN}}
        timeout: 60
    - name: Deploy the other stack again
      cloudbang.platform.app_stack: *web
      register: again
    - name: Deploy what fails
      cloudbang.platform.app_stack:
        name: front
        tenant: "{tenant}"
        apps:
          - name: web
            image: x/crash:1
            processes: [{{name: web, ports: [80]}}]
            secret_env: {{A: canary-in-failure}}
        timeout: 60
      register: failure
      failed_when: not failure.failed
    - name: Look
      cloudbang.platform.app_info: {{name: web, tenant: "{tenant}", topology: dot}}
      register: info
    - name: Check
      ansible.builtin.assert:
        that:
          - again is not changed
          - failure.apps[0].rolled_back_to == 2
          - info.apps[0].bindings[0].env.API_PORT == '80'
          - "'digraph' in info.topology.text"
"""


@pytest.mark.parametrize("execute", ["controller", "target"])
def test_play_shows_no_secret(api: Api, nodes: Nodes, tenant: str, tmp_path: Path, execute: str) -> None:
    play = tmp_path / "play.yml"
    play.write_text(PLAY.format(kubeconfig=api.kubeconfig, tenant=tenant, execute=execute))
    python = "ansible_python_interpreter={{ansible_playbook_python}}"
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", python, "-vvvv", "--diff", str(play)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    assert "canary" not in output


def examples(page: str, tenant: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the modules and options of the examples in a page, for a tenant of this test."""
    texts = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    source = (
        "\n".join(texts).replace("tenant: acme", f"tenant: {tenant}").replace("example.org", f"{tenant}.example.org")
    )
    source = source.replace("name: shop\n", f"name: shop-{tenant}\n") if page == "templates.md" else source
    source = re.sub(r"{{ vault_\w+ }}", SECRET, source)
    found = []
    for task in yaml.safe_load(source):
        found += [(key.rpartition(".")[2], value) for key, value in task.items() if key.startswith("cloudbang.")]
    return found


def test_examples_of_the_pages_do_what_they_say(api: Api, nodes: Nodes, tenant: str, tmp_path: Path) -> None:
    pages = [options for page in ("stacks.md", "templates.md") for options in examples(page, tenant)]
    binding, _look, shop, _compose, version, version_of_stack, install, _export, _import = pages
    listed = [{"name": "shop"}, {"name": "api", "secret_env": {"API_TOKEN": SECRET}}, {"name": "queue"}]
    shared = {"image": "x/y:1", "processes": PORTS, "timeout": 30}
    good("app", api.options(tenant=tenant, apps=listed, **shared))
    as_checked(binding[0], api.options(**binding[1], timeout=30))
    found = environment(api, tenant, "shop")
    assert found["API_URL"] == f"http://api.{tenant}.svc:8080" and found["API_TOKEN"] == SECRET
    assert found["BROKER_URL"] == f"amqp://queue.{tenant}.svc:8080" and found["BROKER_PASSWORD"] == SECRET
    good("app", api.options(tenant=tenant, apps=[{"name": app["name"]} for app in listed], state="absent", timeout=30))

    shop[1].pop("routes")
    done = as_checked(shop[0], api.options(**shop[1], timeout=30))
    assert done["stack"]["levels"] == [["migrate"], ["api"], ["web"]]
    as_checked(version[0], api.options(**version[1]))
    version_of_stack[1]["stack"]["name"] = "shop"
    as_checked(version_of_stack[0], api.options(**version_of_stack[1]))
    other = f"{tenant}-other"
    # The archive determines the repositories of its images in the registry.
    good("tenant", api.options(name=other, images=["acme/"]))
    as_checked(install[0], api.options(**{**install[1], "tenant": other}, timeout=30))
    assert environment(api, other, "web")["PUBLIC_URL"] == f"https://shop.{tenant}.example.org"
