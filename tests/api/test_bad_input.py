# SPDX-License-Identifier: GPL-3.0-or-later
"""The app modules refuse bad input with one message, also in check mode, and change nothing."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import deploy, release_store
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .conftest import ROOT, Api, Authority, Nodes

TENANT, OTHER, ENDING = "bad-input", "bad-input-other", "bad-input-ending"
DIGEST = "a" * 64
KINDS = ("Deployment", "Service", "Ingress", "Secret")


def shop(**more: Any) -> dict[str, Any]:
    """Return the options of the existing app, as its second release has them."""
    processes = [{"name": "web", "ports": [8000]}, {"name": "queue"}]
    domains = ["shop.example.org"]
    return {"name": "shop", "tenant": TENANT, "image": "x/shop:2", "processes": processes, "domains": domains, **more}


def web(**more: Any) -> dict[str, Any]:
    return shop(processes=[{"name": "web", "ports": [8000], **more}])


def there(**more: Any) -> dict[str, Any]:
    """Return the options of a module that acts on the existing app."""
    return {"name": "shop", "tenant": TENANT, **more}


class World:
    """Two tenants with an app each, a third one that is being deleted, and kubeconfigs that do not work."""

    def __init__(self, api: Api) -> None:
        self.api = api
        for image in ("x/shop:1", "x/shop:2"):
            self.good("app", shop(image=image, keep_releases=5))
        self.good("app", shop(tenant=OTHER, domains=["other.example.org"]))
        self.good("app", there(name="busy", image="x/y:1", type="worker"))
        live = deploy.load(api.kube, TENANT, ["busy"])["busy"].newest
        assert live is not None
        self.running = release_store.create(api.kube, "busy", TENANT, 2, "0" * 16, live.salt, live.spec, {})
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"}}
        api.kube.request("POST", kinds.path("Service", TENANT), {}, {**service, "spec": {"ports": [{"port": 1}]}})
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop-queue"}
        scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "busy-hours"}}
        api.kube.request(
            "POST",
            kinds.path("HorizontalPodAutoscaler", TENANT),
            {},
            {**scaler, "spec": {"scaleTargetRef": target, "maxReplicas": 3}},
        )
        self.maps = f"/api/v1/namespaces/{ENDING}/configmaps"
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ENDING}}
        api.kube.request("POST", kinds.path("Namespace", None), {}, space)
        held = {"name": "k", "finalizers": ["example.org/hold"]}
        api.kube.request("POST", self.maps, {}, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
        api.kube.delete("Namespace", None, ENDING)
        stranger = Authority.new("stranger")
        expired = api.authority.issue("admin", "system:masters", first_day=-3, last_day=-1)
        api.write_kubeconfig("bad-expired.conf", api.authority.pem, *expired)
        api.write_kubeconfig("bad-cluster.conf", stranger.pem, *stranger.issue("admin", "system:masters"))
        api.write_kubeconfig("bad-user.conf", api.authority.pem, *stranger.issue("admin", "system:masters"))
        api.write_kubeconfig("bad-rights.conf", api.authority.pem, *api.authority.issue("nobody"))

    def good(self, module: str, options: dict[str, Any]) -> None:
        result = runner.run(module, self.api.options(**options, timeout=60))
        assert not result.get("failed"), result["msg"]

    def state(self) -> Any:
        """Return everything that a module could have changed, with the generation of objects that controllers write to.

        Namespaces that are being deleted are omitted: their objects disappear whatever the module does.
        """
        found = [space["metadata"] for space in self.api.kube.find("Namespace")]
        spaces = sorted(meta["name"] for meta in found if "deletionTimestamp" not in meta)
        objects = [
            (kind, meta["namespace"], meta["name"], meta.get("generation") or meta["resourceVersion"])
            for kind in KINDS
            for meta in (entry["metadata"] for entry in self.api.kube.find(kind))
            if meta["namespace"] in spaces
        ]
        return spaces, sorted(objects)

    def close(self) -> None:
        release = {"metadata": {"finalizers": None}}
        self.api.kube.request("PATCH", f"{self.maps}/k", {}, release, content_type=client.MERGE)
        release_store.mark(self.api.kube, self.running, "failed")


@pytest.fixture(scope="module")
def world(api: Api, nodes: Nodes) -> Iterator[World]:
    found = World(api)
    yield found
    found.close()


# The row of docs/bad-input.md, the module, its options, and a part of the message.
ROWS: list[tuple[int, str, dict[str, Any], str]] = [
    (48, "app", shop(wait="perhaps"), 'wait: found "perhaps", wanted true or false'),
    (49, "app", shop(domains="shop.example.org"), 'domains: found "shop.example.org", wanted a list'),
    (50, "app", shop(env={"A": None}), "env.A: found nothing, wanted text"),
    (51, "app", shop(timeout="5m"), 'timeout: found "5m", wanted a whole number'),
    (52, "app", shop(imagee="x/shop:3"), "imagee: found an unknown option, wanted one of"),
    (52, "app", shop(type="worker"), 'domains: found ["shop.example.org"], wanted no domains'),
    (52, "app", {"tenant": TENANT, "name": "a", "apps": [{"name": "b", "image": "x:1"}]}, "wanted either name or apps"),
    (86, "app", shop(name="Shop"), 'name: found "Shop", wanted at most 52 lowercase letters'),
    (86, "app", shop(name="s" * 64), "wanted at most 52"),
    (86, "app", shop(name=None), "name: found nothing, wanted the app's name"),
    (86, "app", shop(tenant="Acme Inc"), 'tenant: found "Acme Inc", wanted at most 63'),
    (86, "app", shop(tenant="kube-system"), "wanted a namespace that is not the cluster's own"),
    (86, "app", shop(tenant=ENDING, domains=[]), f"tenant {ENDING}: found a namespace in state Terminating, wanted"),
    (86, "app_info", {"name": "shop"}, "tenant: found nothing, wanted the tenant's name"),
    (87, "app", shop(image=""), 'image: found "", wanted registry/path:tag'),
    (87, "app", shop(image="x/shop:latest"), 'image: found "x/shop:latest", wanted a fixed tag or a digest'),
    (87, "app", shop(image="x/shop@sha256:abc"), "wanted a digest of the form @sha256:"),
    (87, "app", shop(image="x/shop@md5:" + DIGEST), "wanted a digest of the form @sha256:"),
    (87, "app", shop(image="https://x/shop:1"), "image: found"),
    (87, "app", shop(image=None), "wanted the image to run, because state is present"),
    (87, "app", there(name="none", state="started"), "found no release of it, wanted an image, or an app"),
    (88, "app", web(replicas=-1), "processes[0].replicas: found -1, wanted 0 to 10000"),
    (88, "app_scale", there(process="web", replicas=-1), "replicas: found -1, wanted 0 to 10000"),
    (88, "app_scale", there(process="web", replicas="three"), 'replicas: found "three", wanted a whole number'),
    (88, "app_scale", there(process="web", replicas=10**6), "replicas: found 1000000, wanted 0 to 10000"),
    (88, "app_scale", there(process="web"), "replicas: found nothing, wanted replicas, processes,"),
    (88, "app_scale", there(replicas=2), "process: found nothing, wanted one of queue, web"),
    (88, "app_scale", there(process="cron", replicas=2), "found no process cron"),
    (88, "app_scale", there(process="queue", replicas=2), "HorizontalPodAutoscaler busy-hours that scales shop-queue"),
    (88, "app_scale", there(name="none", replicas=2), f"found no app none in tenant {TENANT}, wanted an app that was"),
    (89, "app_release", there(version=9), "found 9, wanted one of v1"),
    (89, "app_release", there(version=0), "wanted the number of a release"),
    (89, "app_release", there(version="previous"), "or last_good"),
    (89, "app_release", there(name="none"), "app that was deployed"),
    (90, "app", web(ports=[0]), "processes[0].ports[0]: found 0, wanted 1 to 65535"),
    (90, "app", web(ports=[70000]), "found 70000, wanted 1 to 65535"),
    (90, "app", web(ports=[80, 80]), "processes[0].ports[1]: found 80, wanted each port once"),
    (90, "app", shop(domains=["a.example.org"] * 2), 'domains[1]: found "a.example.org", wanted each domain once'),
    (90, "app", shop(domains=["other.example.org"]), f"other.example.org, which shop of tenant {OTHER} has, wanted"),
    (90, "app", shop(domains=["10.0.0.1"]), "wanted a host name, not an address"),
    (90, "app", shop(name="taken", domains=[]), "found a Service taken that no app created in its namespace"),
    (91, "app", web(resources={"requests": {"cpu": "1,5"}}), 'cpu: found "1,5", wanted a quantity such as 100m'),
    (91, "app", web(resources={"limits": {"memory": "1gb"}}), 'memory: found "1gb", wanted a quantity such as 64Mi'),
    (
        91,
        "app",
        web(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}),
        'requests.memory: found "2Gi", wanted no more than the limit 1Gi',
    ),
    (92, "app", shop(kubeconfig="/none/admin.conf"), "kubeconfig: found no file /none/admin.conf, wanted a kubeconfig"),
    (92, "app", shop(context="other"), "context: found no other in"),
    (92, "app", shop(kubeconfig="{api}/bad-expired.conf"), "bad-expired.conf) does not accept the credentials (401)"),
    (92, "app", shop(kubeconfig="{api}/bad-cluster.conf"), "wanted the kubeconfig or CA of this cluster"),
    (92, "app", shop(kubeconfig="{api}/bad-user.conf"), "bad-user.conf)"),
    (92, "app", shop(kubeconfig="{api}/bad-rights.conf"), "not allowed (403)"),
    (92, "app_scale", there(process="web", replicas=5, kubeconfig="{api}/bad-rights.conf"), "not allowed (403)"),
]


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize(("number", "module", "options", "text"), ROWS)
def test_refused_before_any_change(
    world: World, number: int, module: str, options: dict[str, Any], text: str, check: bool
) -> None:
    before = world.state()
    given = world.api.options(**options)
    given["kubeconfig"] = given["kubeconfig"].format(api=world.api.directory)
    result = runner.run(module, given, check)
    assert result.get("failed") and not result["changed"], result
    assert text in result["msg"], result["msg"]
    assert world.state() == before


@pytest.mark.parametrize(
    ("module", "more"), [("app", {"image": "x/y:2", "type": "worker"}), ("app_release", {"version": 1})]
)
def test_refused_while_another_rolls_out(world: World, module: str, more: dict[str, Any]) -> None:
    release_store.beat(world.api.kube, world.running)
    before = world.state()
    result = runner.run(module, world.api.options(**there(name="busy", **more)))
    assert result.get("failed") and not result["changed"], result
    assert "release v2 is being rolled out by" in result["msg"], result["msg"]
    assert world.state() == before


def test_everything_wrong_with_a_task_is_in_one_message(world: World) -> None:
    before = world.state()
    apps = [
        {"name": "Shop", "image": "x/shop:latest", "processes": [{"name": "web", "ports": [0], "replicas": -1}]},
        {"name": "shop", "image": "x/shop@sha256:1", "domains": ["10.0.0.1"], "type": "worker", "env": {"1": "x"}},
    ]
    result = runner.run("app", world.api.options(tenant=TENANT, apps=apps, timeout="1h", imagee="x"))
    assert result["failed"] and len(result["problems"]) == 10, result["problems"]
    assert all(
        f"{one['option']}: found {one['found']}, wanted {one['wanted']}" in result["msg"] for one in result["problems"]
    )
    assert world.state() == before


STRANGE = {
    "DOLLAR": "$HOME ${x} $(id) $$",
    "QUOTES": "\"double\" 'single' `back` \\",
    "LINES": "one\ntwo\r\n\n three ",
    "JINJA": "{{ 7 * 7 }} {% if %} {# no #}",
    "YAML": "- a: [b, *c]\n# no comment: yes",
    "OTHER": "ä 字 \u00a0 \t=,;&<>",
}
PLAY = """
- name: Deploy
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Deploy
      cloudbang.platform.app:
        kubeconfig: "{kubeconfig}"
        execute: "{execute}"
        name: shop
        tenant: "{tenant}"
        image: x/y:1
        type: worker
        secret_env: "{{{{ given }}}}"
        wait: false
"""


@pytest.mark.parametrize("execute", ["controller", "target"])
def test_secrets_with_strange_characters_arrive_as_they_are(
    api: Api, tenant: str, tmp_path: Path, execute: str
) -> None:
    play, given = tmp_path / "play.yml", tmp_path / "given.yml"
    play.write_text(PLAY.format(kubeconfig=api.kubeconfig, tenant=tenant, execute=execute))
    lines = [f"  {name}: !unsafe {json.dumps(value)}" for name, value in STRANGE.items()]
    given.write_text("\n".join(["given:", *lines, ""]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    command += ["-e", "ansible_python_interpreter={{ansible_playbook_python}}", "-e", f"@{given}", str(play)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [content] = api.kube.find("Secret", tenant, releases.selector(["shop"], "content"))
    assert {name: base64.b64decode(value).decode() for name, value in content["data"].items()} == STRANGE


def test_every_entry_is_documented() -> None:
    text = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8")
    for number in {row[0] for row in ROWS}:
        [line] = [line for line in text.splitlines() if line.startswith(f"| {number} |")]
        assert "`app" in line, line
