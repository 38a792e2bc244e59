# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that a tenant has forged: operators' tasks for other tenants, and for all, work and report what they skip."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import (
    APP,
    KIND,
    RESOURCES,
    STACK,
    STOPPED,
)

from .conftest import Api, Nodes, namespace_of
from .test_stacks import apps, go, good, refused

CODE = "\x1b]0;PWNED\x07"


@pytest.fixture(scope="module")
def victim(api: Api, nodes: Nodes) -> str:
    """Return a tenant with an app."""
    apps(api, "forged-victim", "vic")
    return "forged-victim"


@pytest.fixture
def attacker(api: Api, nodes: Nodes, victim: str) -> Iterator[str]:
    """Return a tenant whose developers can write Secrets, without the Secrets of an earlier test."""
    tenant = "forged-attacker"
    api.kube.apply(namespace_of(tenant), "test")
    yield tenant
    for entry in api.kube.find("Secret", tenant):
        api.kube.delete("Secret", tenant, entry["metadata"]["name"])


def forge(api: Api, tenant: str, kept: Any, name: str = "bad.v1", app: str = "bad", **labels: str) -> None:
    """Write a Secret that claims to be a release, as anybody with the right to write Secrets in a tenant can."""
    data = kept if isinstance(kept, bytes) else json.dumps(kept).encode()
    marks = {APP: app, KIND: "release", releases.BOUND: "true", **labels}
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": tenant, "labels": marks},
        "data": {"release": base64.b64encode(data).decode()},
    }
    api.kube.apply(body, "attacker")


def copied(api: Api, victim: str, **spec: Any) -> dict[str, Any]:
    """Return the record of the victim's release, changed to that of another app, with changes of its content."""
    [found] = api.kube.find("Secret", victim, releases.selector(["vic"], "release"))
    kept: dict[str, Any] = json.loads(base64.b64decode(found["data"]["release"]))
    kept.update(app="bad", version=1)
    kept["spec"].update(spec)
    return kept


def edge(tenant: str, target: str) -> dict[str, Any]:
    return {"kind": "app", "tenant": tenant, "target": target, "env": {}, "secret_env": {}, "secret": "x"}


FORGED: dict[str, Any] = {
    "empty": {"spec": {}},
    "list": {"spec": ["x"]},
    "text": {"spec": "x"},
    "no-json": b"{",
    "deep": b"[" * 100_000,
    "edges": {"spec": {"bindings": [1]}},
    "terminal": {"app": CODE},
}


@pytest.mark.parametrize("how", sorted(FORGED))
def test_forged_releases_break_no_task_of_others(api: Api, nodes: Nodes, victim: str, attacker: str, how: str) -> None:
    more = FORGED[how]
    base = copied(api, victim)
    forge(api, attacker, {**base, **more} if isinstance(more, dict) else more)

    found = good("app_info", api.options())
    assert {app["name"] for app in found["apps"] if app["tenant"] == victim} == {"vic"}
    [warning] = found["warnings"]
    assert warning.startswith(f"Secret {attacker}/bad.v1: ") and warning.endswith("; it is not used")
    assert warning.isprintable()
    [bad] = [app for app in found["apps"] if app["tenant"] == attacker]
    assert (bad["status"], bad["releases"]) == ("absent", [])

    # Tasks for the victim alone do not even read it, unless they search all tenants.
    assert "warnings" not in good("app_info", api.options(tenant=victim))
    gone = api.options(name="vic", tenant=victim, state="absent")
    checked = good("app", gone, check=True)
    assert checked["changed"] and checked["warnings"] == [warning]


def test_a_forged_binding_keeps_nobody_elses_app(api: Api, nodes: Nodes, victim: str, attacker: str) -> None:
    forge(api, attacker, copied(api, victim, bindings=[edge(victim, "vic")]))
    gone = api.options(name="vic", tenant=victim, state="absent")
    checked = good("app", gone, check=True)
    [warning] = checked["warnings"]
    assert warning.startswith(
        f"app {victim}/vic: releases of {attacker}/bad are bound to it; that does not prevent its removal"
    )

    # For a tenant with the other one among its peers, the binding counts.
    peers(api, victim, attacker)
    result = refused("app", gone, f"app {victim}/vic: found {attacker}/bad bound to it")
    assert "warnings" not in result
    peers(api, victim, "")


def peers(api: Api, tenant: str, others: str) -> None:
    space = namespace_of(tenant)
    space["metadata"]["annotations"] = {"cloudbang.platform/peers": others}
    api.kube.apply(space, "administrator")


def test_a_forged_binding_closes_no_cycle(api: Api, nodes: Nodes, victim: str, attacker: str) -> None:
    forge(api, attacker, copied(api, victim, bindings=[edge(victim, "vic")]))
    bind = api.options(name="vic", tenant=victim, target="bad", target_tenant=attacker)
    checked = good("app_binding", bind, check=True)
    [warning] = checked["warnings"]
    assert f"app {attacker}/bad: its binding to {victim}/vic makes a cycle; it is ignored" in warning
    peers(api, victim, attacker)
    refused("app_binding", bind, "the cycle")
    peers(api, victim, "")


def test_a_forged_release_in_the_way_of_the_next_is_named(api: Api, nodes: Nodes, attacker: str) -> None:
    apps(api, attacker, "own")
    forge(api, attacker, {}, "own.v2", "own")
    newer = api.options(name="own", tenant=attacker, image="x/y:2", processes=[{"name": "web", "ports": [8080]}])
    result = refused(
        "app", newer, f"Secret {attacker}/own.v2: app: found nothing, wanted it; it is not used; wanted no other"
    )
    assert result["warnings"][0].startswith(f"Secret {attacker}/own.v2: ")
    api.kube.delete("Secret", attacker, "own.v2")
    assert good("app", newer)["apps"][0]["release"] == 2
    good("app", api.options(name="own", tenant=attacker, state="absent"))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (gzip.compress(bytes(64 << 20)), "found more than 16777216 bytes when unpacked, wanted at most that"),
        (gzip.compress(b"[]"), "record: found [], wanted a mapping"),
        (b"no gzip", "found no gzip stream"),
    ],
    ids=["large", "other", "damaged"],
)
def test_a_forged_stack_is_an_error_of_that_stack_alone(api: Api, attacker: str, data: bytes, found: str) -> None:
    marks = {KIND: "stack", STACK: "shop"}
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "shop.stack", "namespace": attacker, "labels": marks},
        "data": {"stack": base64.b64encode(data).decode()},
    }
    api.kube.apply(secret, "attacker")
    gone = api.options(name="shop", tenant=attacker, state="absent")
    refused("app_stack", gone, f"Secret {attacker}/shop.stack: {found}; it is not used; wanted the record of a stack")
    made = api.options(name="t", version="1", stack={"name": "shop", "tenant": attacker})
    refused("app_template", made, found)
    assert not good("app_info", api.options()).get("failed")


def test_objects_of_an_app_without_what_this_collection_writes(
    api: Api, nodes: Nodes, victim: str, attacker: str
) -> None:
    marks = {APP: "odd"}
    container = {"name": "c", "image": "x/y:1"}
    notes = {RESOURCES: "[" * 100_000, STOPPED: "-7"}
    objects: list[dict[str, Any]] = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}, "rules": [{}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": marks},
                "template": {"metadata": {"labels": marks}, "spec": {"containers": [container]}},
            },
        },
    ]
    for entry in objects:
        entry["metadata"] = {"name": "odd", "namespace": attacker, "labels": marks, "annotations": notes}
        api.kube.apply(entry, "attacker")
    for topology in ("none", "mermaid"):
        found = good("app_info", api.options(topology=topology))
        assert {"odd", "vic"} <= {app["name"] for app in found["apps"]}
    for entry in objects:
        api.kube.delete(entry["kind"], attacker, "odd")


def test_a_template_that_somebody_has_changed_is_named(api: Api) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "shop.1", "namespace": "cloudbang-templates", "labels": {KIND: "template"}},
        "data": {"template": '{"name": "shop", "version": "1", "stack": {"apps": [1]}}', "images": "{}"},
    }
    api.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudbang-templates"}}, "test")
    api.kube.apply(body, "test")
    wanted = api.options(name="s", tenant="forged-template", template={"name": "shop", "version": "1"})
    result = go("app_stack", wanted)
    assert result["failed"] and "ConfigMap cloudbang-templates/shop.1: template: " in result["msg"]
    assert "unexpected" not in result["msg"]
    api.kube.delete("ConfigMap", "cloudbang-templates", "shop.1")
