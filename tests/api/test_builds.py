# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds against a real API, with a stand-in for the kubelet that runs them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import job
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builder import (
    NAMESPACE,
    SIGNING,
    read_builder,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .conftest import BUILDER, REGISTRY, Api, Nodes, configure_builder, namespace_of
from .kubelet import Kubelet

GO = {"main.go": "package main\n", "go.mod": "module shop\ngo 1.24\n", "Procfile": "web: ./shop\nworker: ./shop work\n"}


@pytest.fixture
def source(tmp_path: Path, api: Api, tenant: str) -> Path:
    """A source tree, and the namespace of the tenant that builds it."""
    api.kube.request("POST", kinds.path("Namespace", None), {}, namespace_of(tenant))
    root = tmp_path / "source"
    root.mkdir()
    for name, text in GO.items():
        (root / name).write_text(text)
    return root


def build(api: Api, tenant: str, source: Path, check: bool = False, told: list[str] | None = None, **more: Any) -> Any:
    given = {"name": "shop", "tenant": tenant, "source": {"path": str(source)}, "timeout": 60, **more}
    lines = told if told is not None else []
    return runner.run("app_build", api.options(**given), check, lines.append)


def good(result: Any) -> Any:
    assert not result.get("failed"), result["msg"]
    return result


def refused(result: Any) -> str:
    assert result.get("failed"), result
    return str(result["msg"])


def left(api: Api) -> list[str]:
    """Return the objects of builds that are there."""
    selector = f"cloudbang.platform/kind={job.BUILD}"
    return [
        f"{kind} {entry['metadata']['name']}"
        for kind in ("Job", "Secret", "ConfigMap")
        for entry in api.kube.find(kind, NAMESPACE, selector)
    ]


def records(api: Api, tenant: str) -> list[str]:
    found = api.kube.find("ConfigMap", tenant, f"cloudbang.platform/kind={job.BUILD}")
    return sorted(entry["metadata"]["name"] for entry in found)


def test_a_source_becomes_an_image_once(api: Api, builder: Kubelet, nodes: Nodes, tenant: str, source: Path) -> None:
    (source / "big.bin").write_bytes(bytes(range(256)) * 20_000)
    said = good(build(api, tenant, source, check=True))
    assert said["changed"] and said["build"]["image"] is None and said["build"]["number"] == 1
    assert said["build"]["reasons"] and "FROM " in said["build"]["containerfile"]
    assert records(api, tenant) == [] and left(api) == []
    told: list[str] = []
    done = good(build(api, tenant, source, told=told))
    assert done["changed"] and not done["build"]["cached"] and done["diff"] == said["diff"]
    pod = builder.pods[-1]
    data = builder.received[pod]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == sorted([*GO, "big.bin"])
    assert done["build"]["image"] == f"{REGISTRY}/{tenant}/shop@sha256:{hashlib.sha256(data).hexdigest()}"
    assert "STEP 2/2: COPY" in told and "sending the source" in told
    assert records(api, tenant) == ["shop-build-1"] and left(api) == []
    began = time.monotonic()
    again = good(build(api, tenant, source))
    assert not again["changed"] and again["build"]["cached"] and again["build"]["number"] == 1
    assert again["build"]["image"] == done["build"]["image"] and builder.pods[-1] == pod
    assert time.monotonic() - began < 10
    (source / "main.go").write_text("package main // changed\n")
    assert good(build(api, tenant, source))["build"]["number"] == 2


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("fail", "build 1 failed: the build ended with exit code 7"),
        ("oom", "build 1 failed: build was killed, because it used more memory than 4Gi"),
        ("deny", "build 1 failed: the registry refused the image: PUT https://registry: UNAUTHORIZED"),
    ],
)
def test_a_build_that_fails(api: Api, builder: Kubelet, tenant: str, source: Path, does: str, message: str) -> None:
    (source / "does").write_text(does)
    result = build(api, tenant, source)
    assert message in refused(result) and not result["changed"]
    assert "STEP 1/2: FROM base" in result["log"]
    assert does == "deny" or "error: it does not compile" in result["msg"]
    assert records(api, tenant) == [] and left(api) == []
    (source / "does").write_text("well")
    assert good(build(api, tenant, source))["build"]["number"] == 1


def test_a_build_that_takes_too_long(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    (source / "does").write_text("hang")
    message = refused(build(api, tenant, source, timeout=8))
    assert "not done in time: build still runs" in message or "took longer than 8 s in build" in message
    assert records(api, tenant) == [] and left(api) == []


def test_a_pod_that_no_node_takes(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    builder.full = True
    try:
        message = refused(build(api, tenant, source, timeout=8))
    finally:
        builder.full = False
    assert "no node takes its pod: 0/1 nodes are available: 1 Insufficient memory." in message
    assert left(api) == []


@pytest.mark.parametrize(("refusals", "built"), [(2, True), (9, False)])
def test_a_node_that_does_not_take_the_source(
    api: Api, builder: Kubelet, tenant: str, source: Path, refusals: int, built: bool
) -> None:
    builder.refusals = refusals
    try:
        result = build(api, tenant, source)
    finally:
        builder.refusals = 0
    assert bool(result.get("failed")) != built
    if not built:
        assert "the source did not reach the cluster; wanted: run the task again" in refused(result)
    wait_for(lambda: left(api) == [])


def wait_for(condition: Any) -> Any:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("not in time")


def started(api: Api, tenant: str, source: Path, results: list[Any], **more: Any) -> threading.Thread:
    thread = threading.Thread(target=lambda: results.append(build(api, tenant, source, **more)))
    thread.start()
    return thread


def test_a_deleted_job_is_a_cancelled_build(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    (source / "does").write_text("hang")
    results: list[Any] = []
    thread = started(api, tenant, source, results)
    name = job.job_name("shop", tenant)
    wait_for(lambda: any(name in pod and pod in builder.logs for pod in builder.pods))
    api.kube.delete("Job", NAMESPACE, name)
    thread.join(40)
    assert re.search("cancelled: its Job was deleted|its pod was deleted", refused(results[0])) and left(api) == []


def test_two_runs_make_one_build(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    results: list[Any] = []
    first = started(api, tenant, source, results)
    wait_for(lambda: api.kube.get("Job", NAMESPACE, job.job_name("shop", tenant)))
    second = started(api, tenant, source, results)
    for thread in (first, second):
        thread.join(90)
    numbers = [good(result)["build"]["number"] for result in results]
    assert numbers == [1, 1] and sorted(result["changed"] for result in results) == [False, True]
    assert records(api, tenant) == ["shop-build-1"] and left(api) == []


def test_a_build_of_a_controller_that_is_gone_is_replaced(
    api: Api, builder: Kubelet, tenant: str, source: Path
) -> None:
    wanted = job.Wanted("shop", tenant, 1, 1, "0" * 64, (), "FROM scratch\n", by="gone@host")
    config = read_builder({"data": {"builder.json": json.dumps(BUILDER)}})
    old = api.kube.create(job.job(wanted, config, api.kube.now() - 60), "test")
    for entry in (job.config_map(wanted, config, old), job.secret(wanted, config, old)):
        api.kube.create(entry, "test")
    told: list[str] = []
    done = good(build(api, tenant, source, told=told))
    assert "replacing a build of gone@host that was left over" in told
    assert done["build"]["number"] == 1 and left(api) == []


def test_builds_of_controllers_that_are_gone_keep_nobody_waiting(
    api: Api, builder: Kubelet, tenant: str, source: Path
) -> None:
    configure_builder(api, limits={**BUILDER["limits"], "builds": 1})
    try:
        for number, suspended in enumerate((True, False)):
            wanted = job.Wanted(f"gone{number}", tenant, 1, 1, "0" * 64, (), "FROM scratch\n", by="gone@host")
            config = read_builder({"data": {"builder.json": json.dumps(BUILDER)}})
            made = job.job(wanted, config, api.kube.now() - 60)
            made["spec"]["suspend"] = suspended
            api.kube.create(made, "test")
        assert good(build(api, tenant, source))["build"]["number"] == 1
    finally:
        configure_builder(api)
    wait_for(lambda: left(api) == [])


def test_an_app_goes_on_in_a_cluster_that_does_not_build_any_more(
    api: Api, builder: Kubelet, nodes: Nodes, tenant: str, source: Path
) -> None:
    made = good(build(api, tenant, source))["build"]
    good(runner.run("app", api.options(name="shop", tenant=tenant, build=made["number"])))
    api.kube.delete("ConfigMap", NAMESPACE, "builder")
    try:
        again = good(runner.run("app", api.options(name="shop", tenant=tenant, build=made["number"])))
    finally:
        configure_builder(api)
    assert not again["changed"]


def test_a_number_that_nothing_can_follow_is_named(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    good(build(api, tenant, source))
    entry = api.kube.get("ConfigMap", tenant, "shop-build-1") or {}
    labels = entry["metadata"]["labels"]
    about = {"name": "shop-build-999999999", "namespace": tenant, "labels": labels}
    api.kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}, "test")
    (source / "main.go").write_text("package main // changed\n")
    assert "found the ConfigMap shop-build-999999999, wanted no such number" in refused(build(api, tenant, source))


def test_a_build_waits_for_its_turn(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    configure_builder(api, limits={**BUILDER["limits"], "builds": 1})
    (source / "does").write_text("hang")
    results: list[Any] = []
    first = started(api, tenant, source, results)
    try:
        name = job.job_name("shop", tenant)
        wait_for(lambda: any(name in pod and pod in builder.logs for pod in builder.pods))
        told: list[str] = []
        message = refused(build(api, tenant, source, name="other", timeout=6, told=told))
        assert "found that other builds run all the time (at most 1 at once)" in message
        assert "waiting, as 1 builds run at once in this cluster" in told
    finally:
        configure_builder(api)
        api.kube.delete("Job", NAMESPACE, job.job_name("shop", tenant))
        first.join(40)
    assert left(api) == []


def test_an_app_runs_a_build(api: Api, builder: Kubelet, nodes: Nodes, tenant: str, source: Path) -> None:
    (source / "Procfile").write_text(GO["Procfile"] + "release: ./shop migrate\n")
    made = good(build(api, tenant, source))["build"]
    result = good(runner.run("app", api.options(name="shop", tenant=tenant, build=made)))
    assert result["changed"] and result["apps"][0]["image"] == made["image"]
    assert any("the process release of build 1 is not run yet" in text for text in result["warnings"])
    deployed = {entry["metadata"]["name"]: entry for entry in api.kube.find("Deployment", tenant)}
    assert set(deployed) == {"shop-web", "shop-worker"}
    container = deployed["shop-web"]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["./shop"] and container["ports"][0]["containerPort"] == 8080
    assert not good(runner.run("app", api.options(name="shop", tenant=tenant, build=1)))["changed"]
    message = refused(runner.run("app", api.options(name="shop", tenant=tenant, build=7)))
    assert f"app {tenant}/shop: build: found 7, wanted one of those that exist (1)" in message


def test_a_forged_record_is_not_used(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    good(build(api, tenant, source))
    entry = api.kube.get("ConfigMap", tenant, "shop-build-1") or {}
    content = json.loads(entry["data"]["build"])
    content.update(number=2, image=content["image"].replace(f"/{tenant}/", "/victim/"))
    about = {"name": "shop-build-2", "namespace": tenant, "labels": entry["metadata"]["labels"]}
    forged = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"build": json.dumps(content)}}
    api.kube.create(forged, "member")
    again = good(build(api, tenant, source))
    assert again["build"]["number"] == 1
    assert any(f"ConfigMap {tenant}/shop-build-2: image: found" in text for text in again["warnings"])
    message = refused(runner.run("app", api.options(name="shop", tenant=tenant, build=2)))
    assert "found 2, whose ConfigMap shop-build-2 is not usable, wanted one of 1" in message
    (source / "main.go").write_text("package main // changed\n")
    assert good(build(api, tenant, source))["build"]["number"] == 3


def test_builds_that_releases_use_stay(api: Api, builder: Kubelet, nodes: Nodes, tenant: str, source: Path) -> None:
    for number in (1, 2, 3):
        (source / "main.go").write_text(f"package main // {number}\n")
        assert good(build(api, tenant, source, keep=1))["build"]["number"] == number
        if number == 1:
            good(runner.run("app", api.options(name="shop", tenant=tenant, build=1)))
    assert records(api, tenant) == ["shop-build-1", "shop-build-3"]


def test_no_tenant(api: Api, builder: Kubelet, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x")
    message = refused(build(api, "nobody", tmp_path))
    assert "tenant: found no namespace nobody, wanted a tenant that exists" in message


def test_no_builder(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    api.kube.delete("ConfigMap", NAMESPACE, "builder")
    try:
        message = refused(build(api, tenant, source))
        assert "found no ConfigMap cloudbang-builds/builder" in message and "cloudbang_builder_enabled" in message
        configure_builder(api, registry=3)
        assert "ConfigMap cloudbang-builds/builder: registry: found 3" in refused(build(api, tenant, source))
    finally:
        configure_builder(api)
    kept = api.kube.get("Secret", NAMESPACE, SIGNING) or {}
    api.kube.delete("Secret", NAMESPACE, SIGNING)
    try:
        message = refused(build(api, tenant, source))
    finally:
        about = {"name": SIGNING, "namespace": NAMESPACE}
        api.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": kept["data"]}, "test")
    assert "found no Secret cloudbang-builds/builder-signing" in message and left(api) == []


def test_a_member_of_a_tenant_cannot_build(api: Api, builder: Kubelet, tenant: str, source: Path) -> None:
    certificate, key = api.authority.issue("member")
    kubeconfig = api.write_kubeconfig("member.conf", api.authority.pem, certificate, key)
    options = {"name": "shop", "tenant": tenant, "source": {"path": str(source)}, "kubeconfig": str(kubeconfig)}
    message = refused(runner.run("app_build", options))
    assert "not allowed (403)" in message and "ask an administrator" in message


def test_attaching_to_a_pod_that_does_not_exist(api: Api, builder: Kubelet) -> None:
    with pytest.raises(client.ApiError, match="not found"):
        api.kube.attach(NAMESPACE, "none", "source")
    assert list(api.kube.follow(NAMESPACE, "none", "build")) == []
