# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the app modules: what runs here and what is sent to the target."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.action.app import ActionModule

ROOT = Path(__file__).resolve().parents[4]


class Action(ActionModule):
    """The plugin without a connection; what it sends to the target is kept."""

    def __init__(self, args: dict[str, Any]) -> None:
        environment = [{"K8S_AUTH_KUBECONFIG": "/none/config"}]
        self._task = SimpleNamespace(args=args, check_mode=True, environment=environment)
        self._templar = SimpleNamespace(template=lambda value: value)
        self.sent: dict[str, Any] | None = None

    def _execute_module(self, **arguments: Any) -> dict[str, Any]:
        self.sent = arguments
        return {"changed": False}


@pytest.fixture(autouse=True)
def _no_base_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})


def test_kubernetes_client_is_loaded_with_the_plugin() -> None:
    assert "kubernetes.client" in sys.modules


def test_runs_here_with_the_environment_of_the_task() -> None:
    action = Action({"name": "shop", "tenant": "acme", "state": "absent"})
    result = action.run(None, {})
    assert result["failed"] and "/none/config" in result["msg"] and action.sent is None


def test_bad_options_never_reach_the_target() -> None:
    action = Action({"name": "Shop", "tenant": "acme", "execute": "target", "typo": 1, "state": "absent"})
    result = action.run(None, {})
    assert action.sent is None
    assert [finding["option"] for finding in result["problems"]] == ["typo", "name"]


def test_list_is_complete_when_it_reaches_the_target() -> None:
    action = Action({"execute": "target", "tenant": "a", "image": "x:1", "type": "worker", "apps": [{"name": "one"}]})
    assert not action.run(None, {}).get("failed")
    assert action.sent is not None and action.sent["module_name"] == "cloudbang.platform.app"
    assert action.sent["module_args"] == {
        "execute": "target",
        "apps": [{"name": "one", "tenant": "a", "image": "x:1", "type": "worker"}],
    }


def test_the_module_is_that_of_the_link() -> None:
    link = importlib.import_module("ansible_collections.cloudbang.platform.plugins.action.app_scale")
    assert link.MODULE == "app_scale"


def test_every_module_for_applications_has_the_plugin() -> None:
    group = yaml.safe_load((ROOT / "meta/runtime.yml").read_text("utf-8"))["action_groups"]["apps"]
    plugins = {name: (ROOT / f"plugins/action/{name}.py").resolve() for name in group}
    assert plugins == dict.fromkeys(group, ROOT / "plugins/action/app.py")
