# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of every module of the collection's action group, in every state.

Check mode reports exactly what the run then does and changes nothing, a second run changes nothing, no secret is shown,
and the result has the documented keys. A new module, or a new state of one, needs a row in CASES.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import stack_record
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import arguments
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import PATHS
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import ROOT, Api, Authority, Nodes
from .kubelet import Kubelet
from .test_routes import _define, issue

CANARY = "canary-of-the-secret"
# Values of `returned` in the documentation for keys that every run without an error returns.
SUCCESS = (
    "always",
    "success",
    "when the app exists",
    "when the options are accepted",
    "when the options are valid and the API answers",
    "when the release exists",
)
Task = tuple[str, dict[str, Any]]


class Case(NamedTuple):
    """A task to test and the tasks before it. {tenant} and {directory} in texts are those of the test."""

    module: str
    options: dict[str, Any]
    before: tuple[Task, ...] = ()
    changes: bool = True


SHOP: dict[str, Any] = {
    "name": "shop",
    "tenant": "{tenant}",
    "image": "x/y:1",
    "env": {"MODE": "a"},
    "secret_env": {"PASSWORD": CANARY},
    "files": [{"path": "/etc/shop/config", "content": "1"}],
    "secret_files": [{"path": "/etc/shop/key", "content": CANARY}],
    "processes": [{"name": "web", "ports": [80], "replicas": 2, "resources": {"requests": {"cpu": "100m"}}}],
}
NEWER = {**SHOP, "image": "x/y:2", "secret_env": {"PASSWORD": CANARY + "-2"}}
STAGED = {**SHOP, "tenant": "{tenant}-staging", "image": "x/y:3"}
PROMOTION = {"name": "shop", "tenant": "{tenant}", "state": "promote", "from_tenant": "{tenant}-staging"}
THIS = {"name": "shop", "tenant": "{tenant}"}
STORE = {"name": "store", "tenant": "{tenant}", "image": "x/store:1", "processes": [{"name": "web", "ports": [80]}]}
BINDING = {**THIS, "target": "store", "credentials": {"password": CANARY}}
MEMBERS = [{"name": "ann", "role": "owner"}, {"name": "ci", "role": "developer", "kind": "service_account"}]
TEAM = {"name": "{tenant}", "quota": {"pods": 20, "cpu": "4"}, "members": MEMBERS}
LOGIN = {"tenant": "{tenant}", "member": "ann", "path": "{directory}/ann.conf"}
MEMBER_APPS = [
    {"name": "api", "image": "x/api:1", "processes": [{"name": "web", "ports": [80]}], "secret_env": {"KEY": CANARY}},
    {"name": "front", "image": "x/front:1", "processes": [{"name": "web", "ports": [80]}]},
]
STACK = {"name": "all", "tenant": "{tenant}", "apps": MEMBER_APPS, "bindings": [{"app": "front", "target": "api"}]}
DEFINITION = {
    "description": "a shop",
    "parameters": [{"name": "key", "type": "secret", "generate": True}],
    "stack": {"apps": [{**MEMBER_APPS[0], "secret_env": {"KEY": "${key}"}}]},
}
TEMPLATE = {"name": "{tenant}", "version": "1.0.0"}
ARCHIVE = {"archive": "{directory}/shop.tar.gz", "images": False}
ROUTE = {"app": "shop", "tenant": "{tenant}", "domains": ["{tenant}.example.org"], "wait": False}
BUILD = {**THIS, "source": {"path": "{directory}/src"}}


def of_type(kind: str, image: str = "x/y:1", **process: Any) -> dict[str, Any]:
    return {"name": "shop", "tenant": "{tenant}", "type": kind, "image": image, "processes": [{"name": "p", **process}]}


CASES = {
    "app, first": Case("app", {**SHOP, "domains": ["{tenant}.example.org"]}),
    "app, several": Case(
        "app", {"tenant": "{tenant}", "image": "x/y:1", "type": "worker", "apps": [{"name": "a"}, {"name": "b"}]}
    ),
    "app, new release": Case("app", NEWER, (("app", SHOP),)),
    "app, restart": Case("app", {**SHOP, "restart_key": "now"}, (("app", SHOP),)),
    "app, recreate": Case("app", {**NEWER, "strategy": "recreate"}, (("app", SHOP),)),
    "app, blue_green": Case("app", {**NEWER, "strategy": "blue_green", "drain": 0}, (("app", SHOP),)),
    "app, worker": Case("app", of_type("worker")),
    "app, stateful": Case("app", of_type("stateful", ports=[80], replicas=2)),
    "app, cron": Case("app", of_type("cron", schedule="0 3 * * *")),
    "app, job": Case("app", of_type("job", image="x/task:1")),
    "app, other type": Case("app", of_type("stateful"), (("app", of_type("worker")),)),
    "app, stopped": Case("app", {**THIS, "state": "stopped"}, (("app", SHOP),)),
    "app, started": Case("app", {**THIS, "state": "started"}, (("app", SHOP), ("app", {**THIS, "state": "stopped"}))),
    "app, absent": Case("app", {**THIS, "state": "absent"}, (("app", NEWER),)),
    "app, build": Case("app", {**THIS, "build": 1}, (("tenant", {"name": "{tenant}"}), ("app_build", BUILD))),
    "app_build, first": Case("app_build", BUILD, (("tenant", {"name": "{tenant}"}),)),
    "app_build, other plan": Case(
        "app_build",
        {**BUILD, "processes": {"web": "serve"}},
        (("tenant", {"name": "{tenant}"}), ("app_build", BUILD)),
    ),
    "app_scale, replicas": Case("app_scale", {**THIS, "replicas": 3}, (("app", SHOP),)),
    "app_scale, autoscale": Case("app_scale", {**THIS, "autoscale": {"max": 4, "cpu": 70}}, (("app", SHOP),)),
    "app_scale, resources": Case("app_scale", {**THIS, "resources": {"limits": {"cpu": "1"}}}, (("app", SHOP),)),
    "app_release, rollback": Case("app_release", THIS, (("app", SHOP), ("app", NEWER))),
    "app_release, promote": Case("app_release", PROMOTION, (("app", STAGED), ("app", SHOP))),
    "app_release, promote first": Case("app_release", PROMOTION, (("app", STAGED),)),
    "app_release, promote image": Case(
        "app_release", {**PROMOTION, "scope": "image"}, (("app", STAGED), ("app", SHOP))
    ),
    "app_binding, present": Case("app_binding", BINDING, (("app", SHOP), ("app", STORE))),
    "app_binding, absent": Case(
        "app_binding",
        {**THIS, "target": "store", "state": "absent"},
        (("app", SHOP), ("app", STORE), ("app_binding", BINDING)),
    ),
    "app_route, present": Case("app_route", ROUTE, (("app", SHOP),)),
    "app_route, certificate": Case(
        "app_route", {**ROUTE, "tls": {"certificate": "{certificate}", "key": "{key}"}}, (("app", SHOP),)
    ),
    "app_route, absent": Case("app_route", {**ROUTE, "state": "absent"}, (("app", SHOP), ("app_route", ROUTE))),
    "app_stack, first": Case("app_stack", STACK),
    "app_stack, one less": Case(
        "app_stack", {**STACK, "apps": MEMBER_APPS[:1], "bindings": [], "prune": True}, (("app_stack", STACK),)
    ),
    "app_stack, template": Case(
        "app_stack",
        {"name": "all", "tenant": "{tenant}", "template": TEMPLATE},
        (("app_template", {**TEMPLATE, "definition": DEFINITION}),),
    ),
    "app_stack, absent": Case(
        "app_stack", {"name": "all", "tenant": "{tenant}", "state": "absent"}, (("app_stack", STACK),)
    ),
    "app_template, present": Case("app_template", {**TEMPLATE, "definition": DEFINITION}),
    "app_template, exported": Case(
        "app_template",
        {**TEMPLATE, **ARCHIVE, "state": "exported"},
        (("app_template", {**TEMPLATE, "definition": DEFINITION}),),
    ),
    "app_template, imported": Case(
        "app_template",
        {**ARCHIVE, "state": "imported"},
        (
            ("app_template", {**TEMPLATE, "definition": DEFINITION}),
            ("app_template", {**TEMPLATE, **ARCHIVE, "state": "exported"}),
            ("app_template", {**TEMPLATE, "state": "absent"}),
        ),
    ),
    "app_template, absent": Case(
        "app_template", {**TEMPLATE, "state": "absent"}, (("app_template", {**TEMPLATE, "definition": DEFINITION}),)
    ),
    "app_info": Case(
        "app_info",
        {"tenant": "{tenant}", "events": True, "log_lines": 1, "topology": "dot"},
        (("app", SHOP), ("app", NEWER)),
        changes=False,
    ),
    "tenant, present": Case("tenant", TEAM),
    "tenant, changed": Case("tenant", {**TEAM, "network": "open", "members": MEMBERS[:1]}, (("tenant", TEAM),)),
    "tenant, absent": Case("tenant", {"name": "{tenant}", "state": "absent"}, (("tenant", TEAM),)),
    "tenant_info": Case("tenant_info", {"name": "{tenant}"}, (("tenant", TEAM), ("app", SHOP)), changes=False),
    "tenant_kubeconfig, user": Case("tenant_kubeconfig", LOGIN, (("tenant", TEAM),)),
    "tenant_kubeconfig, service account": Case(
        "tenant_kubeconfig", {**LOGIN, "member": "ci", "kind": "service_account"}, (("tenant", TEAM),)
    ),
    "tenant_kubeconfig, absent": Case(
        "tenant_kubeconfig", {**LOGIN, "state": "absent"}, (("tenant", TEAM), ("tenant_kubeconfig", LOGIN))
    ),
}


def test_every_module_and_state_has_a_case() -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["apps"]
    wanted: set[tuple[str, str | None]] = set()
    for module in group:
        wanted |= {(module, state) for state in arguments(module).get("state", {}).get("choices", [None])}
    found = {
        (case.module, case.options.get("state", arguments(case.module).get("state", {}).get("default")))
        for case in CASES.values()
    }
    assert found == wanted


def test_the_action_group_has_every_module_of_apps_and_tenants() -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["apps"]
    sources = {path.stem: path.read_text() for path in (ROOT / "plugins" / "modules").glob("*.py")}
    assert set(group) == {name for name, source in sources.items() if "module_utils.apps.runner" in source}


@pytest.fixture(scope="module", autouse=True)
def definitions(api: Api) -> None:
    """Routes consist of Traefik's kinds."""
    found = ensure(["traefik-crds"], Settings.from_vars({}), print)
    _define(api, Path(found["traefik-crds"].path).read_text("utf-8"))


class World:
    """Everything that a task can change: objects of a test's tenants, shared objects, and files of a directory."""

    def __init__(self, api: Api, tenant: str, directory: Path) -> None:
        self.api, self.tenant, self.directory = api, tenant, directory
        made = issue(Authority.new("shop-ca"), [f"{tenant}.example.org"])
        self.words = {"tenant": tenant, "directory": str(directory), **made}
        self.shown: list[str] = []
        (directory / "src").mkdir()
        (directory / "src" / "index.html").write_text("hello")

    def options(self, given: dict[str, Any]) -> dict[str, Any]:
        filled: dict[str, Any] = self._filled(given)
        return self.api.options(**filled)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._filled(entry) for entry in value]
        if isinstance(value, str):
            return re.sub(r"(?<!\$)\{(\w+)\}", lambda found: self.words[found[1]], value)
        return value

    def run(self, module: str, given: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Run a module and make sure that its result shows no secret."""
        options = self.options(given)
        if "timeout" in arguments(module):
            options.setdefault("timeout", 60)
        told: list[str] = []
        result = runner.run(module, options, check, told.append)
        assert not result.get("failed"), result["msg"]
        text = json.dumps([result, told])
        secrets = [CANARY, self.words["key"][100:160], "PRIVATE KEY", "eyJ", "client-key-data", *self._generated()]
        assert [secret for secret in secrets if secret in text] == []
        return result

    def _generated(self) -> Iterable[str]:
        """Return the secrets that a template has generated."""
        record: dict[str, Any] = stack_record.read(self.api.kube, self.tenant, "all")
        generated: dict[str, str] = record.get("generated", {})
        return generated.values()

    def objects(self) -> dict[str, Any]:
        """Return all objects and files, without the additions of the cluster itself."""
        found: dict[str, Any] = {}
        for kind in PATHS:
            if kind in ("Pod", "Event", "EndpointSlice"):
                continue
            for entry in self.api.kube.find(kind):
                about = entry["metadata"]
                where = about.get("namespace") or about["name"]
                ours = where == self.tenant or where.startswith((f"{self.tenant}-", "cloudbang"))
                if about["name"] in ("default", "kube-root-ca.crt") or not ours:
                    continue
                notes = {k: v for k, v in (about.get("annotations") or {}).items() if "deployment.kubernetes" not in k}
                rest = {key: value for key, value in entry.items() if key not in ("metadata", "status")}
                found[f"{kind} {where}/{about['name']}"] = [about.get("labels"), notes, rest]
        for path in sorted(self.directory.rglob("*")):
            found[str(path)] = path.read_bytes() if path.is_file() else None
        return found


def told(result: dict[str, Any]) -> list[Any]:
    """Return `changed` and the diff, without fingerprints of secrets, which differ while an app has no release."""
    diff = [
        entry if entry.get("before") else re.sub(r"\b[0-9a-f]{12,16}\b", "(mark)", json.dumps(entry))
        for entry in result.get("diff", [])
    ]
    return [result["changed"], diff]


def documented(module: str) -> dict[str, Any]:
    source = importlib.import_module(f"ansible_collections.cloudbang.platform.plugins.modules.{module}")
    returned: dict[str, Any] = yaml.safe_load(source.RETURN)
    return returned


def missing(result: dict[str, Any], documentation: dict[str, Any], where: str = "") -> list[str]:
    """Return the missing keys of those that are documented as returned after success."""
    found: list[str] = []
    for key, entry in documentation.items():
        if key not in result:
            if entry.get("returned") in SUCCESS:
                found.append(where + key)
            continue
        values = result[key] if isinstance(result[key], list) else [result[key]]
        for value in values:
            if isinstance(value, dict) and entry.get("contains"):
                found += missing(value, entry["contains"], f"{where}{key}.")
    return found


@pytest.mark.parametrize("name", CASES)
def test_contract(api: Api, nodes: Nodes, builder: Kubelet, tenant: str, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    world = World(api, tenant, tmp_path)
    for module, options in case.before:
        world.run(module, options)
    start = world.objects()
    said = world.run(case.module, case.options, check=True)
    assert world.objects() == start
    done = world.run(case.module, case.options)
    assert told(done) == told(said)
    assert done["changed"] is case.changes and bool(done.get("diff")) is case.changes
    end = world.objects()
    assert (end != start) is case.changes
    again = [world.run(case.module, case.options, check) for check in (True, False)]
    assert [told(result) for result in again] == [[False, []]] * 2
    assert world.objects() == end
    for result in (said, done, *again):
        undocumented = set(result) - set(documented(case.module)) - {"changed", "diff", "warnings"}
        assert undocumented == set()
        assert missing(result, documented(case.module)) == []
