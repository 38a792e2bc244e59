# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests that modules make of their options."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import requests
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import AUTH
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.settings import Options
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.source import Source
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import Rollout

APP = {"name": "shop", "tenant": "acme"}
# module, options, the request and what it has
CASES: list[tuple[str, dict[str, Any], type, dict[str, Any]]] = [
    ("app", {**APP, "state": "absent", "wait": "no"}, requests.DeployRequest, {"rollout": Rollout(False)}),
    (
        "app_build",
        {**APP, "source": {"path": "."}, "build": {"version": 3.11}, "keep": "3"},
        requests.BuildRequest,
        {"source": Source("."), "options": Options(version="3.11"), "keep": 3, "timeout": 1800},
    ),
    ("app_scale", {**APP, "replicas": "2"}, requests.ScaleRequest, {"replicas": {"": 2}, "listed": False}),
    (
        "app_scale",
        {**APP, "processes": {"web": "2"}, "timeout": 9},
        requests.ScaleRequest,
        {"replicas": {"web": 2}, "listed": True, "rollout": Rollout(timeout=9, on_failure="keep")},
    ),
    ("app_release", APP, requests.ReleaseRequest, {"state": "rollback", "version": None}),
    (
        "app_release",
        {**APP, "state": "promote", "from_tenant": "test", "on_failure": "keep"},
        requests.ReleaseRequest,
        {"from_tenant": "test", "from_app": "shop", "rollout": Rollout(on_failure="keep")},
    ),
    (
        "app_stack",
        {**APP, "compose": {"content": "x"}, "routes": [{"app": "a"}], "on_failure": "hold"},
        requests.StackRequest,
        {
            "stack": None,
            "compose": requests.Compose(None, "x", {}, {}, [], None, [{"app": "a"}]),
            "on_failure": "hold",
            "rollout": Rollout(),
        },
    ),
    (
        "app_template",
        {"state": "imported", "archive": "a.tar.gz", "registry": {"host": "r:5000"}},
        requests.TemplateRequest,
        {"registry": requests.RegistryLogin("r:5000", "https://r:5000", None, None, None, True)},
    ),
    (
        "app_template",
        {"state": "imported", "archive": "a.tar.gz", "registry": {"host": "r"}, "images": False},
        requests.TemplateRequest,
        {"registry": None},
    ),
    ("app_info", {"log_lines": "3"}, requests.InfoRequest, {"log_lines": 3, "topology": "none"}),
    ("tenant", {"name": "acme", "domains": ["b.c", "a.c"]}, requests.TenantRequest, {"domains": ["b.c", "a.c"]}),
    ("tenant_kubeconfig", {"tenant": "a", "member": "b", "path": "/c"}, requests.KubeconfigRequest, {"path": "/c"}),
    ("tenant_info", {}, requests.TenantInfoRequest, {"name": None}),
]


@pytest.mark.parametrize(("module", "options", "kind", "has"), CASES)
def test_a_request_has_what_the_task_asks_for(
    module: str, options: dict[str, Any], kind: type, has: dict[str, Any]
) -> None:
    request = parse(module, {**options, "api_key": "hunter2", "host": "https://api.example.org"})
    assert isinstance(request, kind)
    assert {name: getattr(request, name) for name in has} == has
    assert not {entry.name for entry in dataclasses.fields(request)} & set(AUTH)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.name = "other"


def test_a_binding_has_its_place_and_the_tenant_of_its_target() -> None:
    request = parse("app_binding", {**APP, "bindings": [{"target": "a"}, {"target": "b", "target_tenant": "blue"}]})
    assert [(one.where, one.app, one.key) for one in request.bindings] == [
        ("bindings[0]", "shop", ("app", "acme", "a")),
        ("bindings[1]", "shop", ("app", "blue", "b")),
    ]


def test_secrets_are_not_in_the_text_of_a_request() -> None:
    compose = {"compose": {"content": "hunter2", "secret_variables": {"A": "hunter2"}}}
    registry = {"host": "r", "password": "hunter2"}
    for module, options in (
        ("app", {**APP, "image": "x/y:1", "type": "worker", "secret_env": {"A": "hunter2"}}),
        ("app_binding", {**APP, "target": "a", "credentials": {"A": "hunter2"}}),
        ("app_stack", {**APP, **compose}),
        ("app_stack", {**APP, "template": {"name": "a", "version": "1", "secret_parameters": {"a": "hunter2"}}}),
        ("app_template", {"state": "imported", "archive": "a.tar.gz", "registry": registry}),
    ):
        assert "hunter2" not in repr(parse(module, options)), module
