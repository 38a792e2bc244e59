# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the app modules: what runs here and what is sent to the target."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.action.app import ActionModule


class Action(ActionModule):
    """The plugin without a connection; what it sends to the target is kept."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._task = SimpleNamespace(args=args, check_mode=True, environment=[{"K8S_AUTH_KUBECONFIG": "/none/config"}])
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
    assert [problem["option"] for problem in result["problems"]] == ["typo", "name"]


def test_list_is_complete_when_it_reaches_the_target() -> None:
    action = Action({"execute": "target", "tenant": "a", "image": "x:1", "type": "worker", "apps": [{"name": "one"}]})
    assert not action.run(None, {}).get("failed")
    assert action.sent is not None and action.sent["module_name"] == "cloudbang.platform.app"
    assert action.sent["module_args"] == {
        "execute": "target",
        "apps": [{"name": "one", "tenant": "a", "image": "x:1", "type": "worker"}],
    }
