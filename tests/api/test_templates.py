# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates against a real API and real registries."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import urllib3

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import template
from ansible_collections.cloudbang.platform.plugins.module_utils.oci import layout, references, registry
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import Api, Nodes, _free_ports
from .test_stacks import SECRET, as_checked, environment, good, info, refused

NAME = "registry.example:5000"
CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
AUTH = """
auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}
"""


PASSWORD = "canary-of-the-registry"


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The addresses of three empty registries; the last one requires the user `me` with PASSWORD."""
    program = str(ensure(["registry"], Settings.from_vars({}), print)["registry"].path)
    processes = []
    urls = []
    try:
        for number, port in enumerate(_free_ports(3)):
            root = tmp_path_factory.mktemp("registry")
            (root / "htpasswd").write_text(f"me:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
            (root / "config.yml").write_text(
                CONFIG.format(root=root, port=port) + (AUTH.format(root=root) * (number == 2))
            )
            log = (root / "log").open("wb")
            processes.append(subprocess.Popen([program, "serve", str(root / "config.yml")], stdout=log, stderr=log))
            urls.append(f"http://127.0.0.1:{port}")
        for url in urls:
            _wait_for(url)
        yield urls
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait_for(url: str) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            assert urllib3.request("GET", f"{url}/v2/", retries=False, timeout=2).status in (200, 401)
            return
        except urllib3.exceptions.HTTPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def publish(url: str, image: str, index: bool = False) -> str:
    """Push an image of one layer, or an index of it, to a registry and return the digest."""
    parts = references.reference(image)
    there = registry.Registry(parts.host, url)

    def blob(data: bytes) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        path = Path(os.environ["PYTEST_TMP"]) / digest.replace(":", "-")
        path.write_bytes(data)
        there.put_blob(parts.repository, digest, str(path))
        return {"digest": digest, "size": len(data)}

    layer = blob(gzip.compress(image.encode() * 1000, mtime=0))
    config = blob(json.dumps({"os": "linux", "architecture": "amd64", "image": image}).encode())
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFESTS[0],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}],
    }
    body = json.dumps(manifest).encode()
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    there.put_manifest(parts.repository, digest if index else parts.tag, body, layout.MANIFESTS[0])
    if index:
        entry = {"mediaType": layout.MANIFESTS[0], "digest": digest, "size": len(body)}
        body = json.dumps({"schemaVersion": 2, "mediaType": layout.INDEXES[0], "manifests": [entry]}).encode()
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        there.put_manifest(parts.repository, parts.tag, body, layout.INDEXES[0])
    return digest


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


def definition(image: str = f"{NAME}/acme/web:1") -> dict[str, Any]:
    return {
        "description": "A shop",
        "parameters": [
            {"name": "replicas", "type": "int", "default": 2},
            {"name": "domain", "required": True, "description": "the domain of the shop"},
            {"name": "mode", "type": "choice", "choices": ["fast", "safe"], "default": "safe"},
            {"name": "debug", "type": "bool", "default": False},
            {"name": "token", "type": "secret", "generate": True, "length": 24},
            {"name": "key", "type": "secret", "required": True},
        ],
        "stack": {
            "apps": [
                {
                    "name": "web",
                    "image": image,
                    "processes": [{"name": "web", "ports": [8080], "replicas": "${replicas}"}],
                    "domains": ["${domain}"],
                    "env": {"MODE": "${mode}", "DEBUG": "${debug}", "TEXT": "$${HOME} at ${domain}"},
                    "secret_env": {"TOKEN": "${token}", "KEY": "key-${key}"},
                },
                {"name": "api", "image": f"{NAME}/acme/api:1", "processes": [{"name": "web", "ports": [80]}]},
            ],
            "bindings": [{"app": "web", "target": "api"}],
        },
    }


def present(api: Api, name: str, **more: Any) -> dict[str, Any]:
    return api.options(name=name, version="1.0.0", **{"definition": definition(), **more})


def test_life_of_a_template(api: Api, nodes: Nodes, tenant: str) -> None:
    options = present(api, tenant)
    as_checked("app_template", options)
    result = refused(
        "app_template", present(api, tenant, definition=definition("x/y:2")), "because a version never changes"
    )
    assert not result["changed"]
    kept = api.kube.get("ConfigMap", "cloudbang-templates", f"{tenant}.1.0.0")
    assert kept is not None and kept["immutable"]

    template = {"name": tenant, "version": "1.0.0", "parameters": {"domain": f"{tenant}.example.org"}}
    template["secret_parameters"] = {"key": SECRET}
    install = api.options(name="shop", tenant=tenant, template=template, timeout=30)
    done = good("app_stack", install)
    assert done["stack"]["template"]["digest"] == kept["metadata"]["annotations"]["cloudbang.platform/digest"]
    found = environment(api, tenant, "web")
    token = found.pop("TOKEN")
    assert len(token) == 24 and token not in json.dumps(done)
    assert found["KEY"] == f"key-{SECRET}" and found["DEBUG"] == "false" and found["MODE"] == "safe"
    assert found["TEXT"] == f"${{HOME}} at {tenant}.example.org" and found["API_PORT"] == "80"
    assert not good("app_stack", install)["changed"]

    template["parameters"]["replicas"] = 3  # type: ignore[index]
    template["parameters"]["mode"] = "fast"  # type: ignore[index]
    as_checked("app_stack", install)
    assert environment(api, tenant, "web")["TOKEN"] == token
    for parameters, text in (
        ({}, "parameters.domain: found nothing, wanted the domain of the shop"),
        ({"domain": "a.b", "other": 1}, "parameters.other: found an unknown parameter"),
        ({"domain": "a.b", "mode": "slow"}, 'parameters.mode: found "slow", wanted one of fast, safe'),
        ({"domain": "a.b", "replicas": "x"}, "parameters.replicas"),
        ({"domain": "A B"}, "apps[0].domains[0]"),
        ({"domain": "a.b", "key": SECRET}, "it in secret_parameters"),
    ):
        refused("app_stack", {**install, "template": {**template, "parameters": parameters}}, text)
    refused("app_stack", {**install, "template": {**template, "version": "2"}}, "wanted one of 1.0.0")

    gone = api.options(name=tenant, version="1.0.0", state="absent")
    assert good("app_template", gone, check=True)["changed"] and good("app_template", gone)["changed"]
    assert not good("app_template", gone)["changed"]
    assert good("app_stack", api.options(name="shop", tenant=tenant, state="absent", timeout=30))["changed"]


def test_template_of_a_running_stack(api: Api, nodes: Nodes, tenant: str) -> None:
    listed = [
        {
            "name": "web",
            "image": "x/y:1",
            "processes": [{"name": "web", "ports": [80], "command": "run ${HOME}"}],
            "secret_env": {"TOKEN": SECRET},
            "secret_files": [{"path": "/etc/key", "content": SECRET}],
        }
    ]
    good("app_stack", api.options(name="shop", tenant=tenant, apps=listed, timeout=30))
    stack = {"name": "shop", "tenant": tenant}
    parameters = [{"name": "web_token", "type": "secret", "generate": True}]
    options = api.options(name=tenant, version="1", stack=stack, parameters=parameters)
    as_checked("app_template", options)
    kept = api.kube.get("ConfigMap", "cloudbang-templates", f"{tenant}.1")
    assert SECRET not in json.dumps(kept)
    template = {"name": tenant, "version": "1", "secret_parameters": {"web_file_0": SECRET}}
    other = f"{tenant}-other"
    good("app_stack", api.options(name="shop", tenant=other, template=template, timeout=30))
    assert len(environment(api, other, "web")["TOKEN"]) == 32
    deployment = api.kube.get("Deployment", other, "web-web")
    assert deployment is not None
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"] == ["run", "${HOME}"]
    missing = api.options(name=tenant, version="2", stack={"name": "none", "tenant": tenant})
    refused("app_template", missing, f"no stack none in tenant {tenant}")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_archive_carries_a_template_with_its_images(
    api: Api, nodes: Nodes, tenant: str, tmp_path: Path, registries: list[str], kind: str
) -> None:
    image, name = f"{NAME}/{tenant}/web:1", f"{tenant}-shop"
    digests = {image: publish(registries[0], image), f"{NAME}/acme/api:1": ""}
    digests[f"{NAME}/acme/api:1"] = publish(registries[0], f"{NAME}/acme/api:1", index=True)
    good("app_template", present(api, name, definition=definition(image)))
    archive = tmp_path / f"shop.{kind}"
    export = api.options(name=name, version="1.0.0", state="exported", archive=str(archive))
    export["registry"] = {"host": NAME, "url": registries[0]}
    told: list[str] = []
    assert good("app_template", export, check=True)["changed"] and not archive.exists()
    exported = runner.run("app_template", export, False, told.append)
    assert exported["changed"] and exported["template"]["images"] == digests, exported
    assert told[0] == f"image 1 of 2: {NAME}/acme/api:1" and told[-1] == f"writing {archive}"
    assert not good("app_template", export)["changed"]
    before = archive.read_bytes()
    archive.unlink()
    good("app_template", export)
    assert archive.read_bytes() == before

    good("app_template", api.options(name=name, version="1.0.0", state="absent"))
    target = {"host": "other.example:5000", "url": registries[1]}
    options = api.options(state="imported", archive=str(archive), registry=target)
    imported = as_checked("app_template", options)
    assert imported["template"]["images"] == digests
    assert f"other.example:5000/{tenant}/web@{digests[image]}" in imported["pushed"]
    there = registry.Registry("other.example:5000", registries[1])
    assert there.resolve(f"{tenant}/web", "1") == digests[image]
    template = {"name": name, "version": "1.0.0", "parameters": {"domain": f"{tenant}.example.org"}}
    template["secret_parameters"] = {"key": SECRET}
    good("app_stack", api.options(name="shop", tenant=tenant, template=template, timeout=30))
    assert info(api, tenant, "web")["image"] == f"other.example:5000/{tenant}/web@{digests[image]}"
    closed = {"host": "closed.example", "url": registries[2], "username": "me", "password": PASSWORD + "x"}
    said = refused("app_template", {**options, "registry": closed}, "not allowed (401)")
    assert PASSWORD not in json.dumps(said)
    assert good("app_template", {**options, "registry": {**closed, "password": PASSWORD}})["pushed"]
    good("app_template", options)
    # A manifest that the registry has lost is pushed again.
    url = f"{registries[1]}/v2/{tenant}/web/manifests/{digests[image]}"
    assert urllib3.request("DELETE", url).status == 202
    assert as_checked("app_template", options)["pushed"]


def test_archives_that_are_refused(api: Api, nodes: Nodes, tenant: str, tmp_path: Path, registries: list[str]) -> None:
    image = f"{NAME}/{tenant}/web:1"
    for name in (image, f"{NAME}/acme/api:1"):
        publish(registries[0], name)
    good("app_template", present(api, tenant, definition=definition(image)))
    archive = tmp_path / "shop.tar.gz"
    export = api.options(name=tenant, version="1.0.0", state="exported", archive=str(archive))
    export["registry"] = {"host": NAME, "url": registries[0]}
    refused(
        "app_template", {**export, "registry": {"host": "x.y", "url": registries[0]}}, "an image in the registry x.y"
    )
    refused("app_template", {**export, "registry": {"host": NAME, "url": "http://127.0.0.1:1"}}, "does not answer")
    refused("app_template", {**export, "version": "9"}, "wanted one of 1.0.0")
    good("app_template", export)

    # No part of an archive with one wrong byte, wherever it is, gets into a registry or the cluster.
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]
    target = {"host": "third.example:5000", "url": registries[1]}
    damaged = tmp_path / "damaged.tar.gz"
    options = api.options(state="imported", archive=str(damaged), registry=target)
    good("app_template", api.options(name=tenant, version="1.0.0", state="absent"))
    for number in range(len(members)):
        with tarfile.open(damaged, "w:gz") as tar:
            for place, (member, data) in enumerate(members):
                if place == number:
                    data = bytes([data[0] ^ 1]) + data[1:]
                info_of = tarfile.TarInfo(member.name)
                info_of.size = len(data)
                tar.addfile(info_of, io.BytesIO(data))
        result = refused("app_template", options, str(damaged))
        assert number == 0 or f"{members[number][0].name}: found sha256" in result["msg"]
    for data in (b"", b"x" * 100, archive.read_bytes()[:-500], gzip.compress(b"x" * 2000)):
        damaged.write_bytes(data)
        refused("app_template", options, str(damaged))
    assert registry.Registry("third.example:5000", registries[1]).resolve(f"{tenant}/web", "1") is None
    assert api.kube.get("ConfigMap", template.NAMESPACE, f"{tenant}.1.0.0") is None
    wrong = {**options, "archive": str(archive), "version": "2"}
    wrong["name"] = tenant
    refused("app_template", wrong, "version: found 1.0.0 in")
    refused("app_template", {**options, "archive": str(tmp_path / "none.tar.gz")}, "found no file")


def test_templates_are_not_for_everybody(api: Api, nodes: Nodes, tenant: str) -> None:
    nobody, key = api.authority.issue("nobody")
    path = api.write_kubeconfig("nobody-template.conf", api.authority.pem, nobody, key)
    refused("app_template", {**present(api, tenant), "kubeconfig": str(path)}, "not allowed (403)")
