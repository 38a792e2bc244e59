# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves a module: results without secrets, texts fit for a terminal, and a message for whatever goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions.context import Outcome
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client

CODE = "\x1b]0;PWNED\x07"


class Fake:
    """A client that notes warnings and nothing else."""

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}
        self.changed = False


def run(monkeypatch: pytest.MonkeyPatch, act: Any, progress: Any = runner.silent) -> dict[str, Any]:
    """Run app_info, whose work is done by a function of client and context."""
    monkeypatch.setattr(runner, "connect", lambda _options, _advice: Fake())
    monkeypatch.setitem(runner._ACTIONS, "app_info", lambda context, _request: act(context.kube, context))
    return runner.run("app_info", {}, False, progress)


def test_an_unexpected_exception_is_a_message_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(_kube: Any, _context: Any) -> Any:
        return {}["image"]

    result = run(monkeypatch, act)
    assert result["failed"] and result["unknown"]
    assert "app_info: found an unexpected KeyError (\"'image'\") at test_runner.py:" in result["msg"]
    assert ", in act; this is a bug in cloudbang.platform" in result["msg"]


@pytest.mark.parametrize(
    "error", [ValueError("s3cret"), RecursionError("s3cret"), UnicodeDecodeError("utf-8", b"", 0, 0, "s3cret")]
)
def test_the_text_of_an_unexpected_exception_is_not_shown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def act(_kube: Any, _context: Any) -> Any:
        raise error

    assert "s3cret" not in str(run(monkeypatch, act)) and type(error).__name__ in str(run(monkeypatch, act))


def test_warnings_and_messages_cannot_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def act(kube: Any, context: Any) -> Any:
        kube.warnings["from a record " + CODE] = None
        context.progress("image " + CODE)
        return Outcome(warnings=["of the module " + CODE], failed=True, message="a\nb " + CODE)

    result = run(monkeypatch, act, told.append)
    assert result["warnings"] == [f"{of} \\x1b]0;PWNED\\x07" for of in ("of the module", "from a record")]
    assert result["msg"] == "a\nb \\x1b]0;PWNED\\x07" and told == ["image \\x1b]0;PWNED\\x07"]


def test_warnings_come_with_errors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(kube: Any, _context: Any) -> Any:
        kube.warnings["said before"] = None
        raise client.KubeError("it broke")

    result = run(monkeypatch, act)
    assert result["warnings"] == ["said before"] and result["msg"] == "app_info: it broke"


@pytest.mark.parametrize("changed", [False, True])
def test_an_error_after_a_change_says_that_something_was_changed(
    monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    def act(kube: Any, _context: Any) -> Any:
        kube.changed = changed
        raise client.Unreachable("it does not answer")

    result = run(monkeypatch, act)
    assert result["failed"] and result["changed"] is changed


def test_there_are_not_too_many_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(kube: Any, _context: Any) -> Any:
        kube.warnings.update(dict.fromkeys(map(str, range(1000))))
        return Outcome(warnings=["0", "0"])

    warnings = run(monkeypatch, act)["warnings"]
    assert warnings == [*map(str, range(20)), "980 more warnings are not shown"]


@pytest.mark.parametrize(
    ("hidden", "value", "shown"),
    [
        ([], {"msg": "as it is"}, {"msg": "as it is"}),
        (["hunter2"], {"a": ["xhunter2x"]}, {"a": ["x********x"]}),
        (["one\nother"], {"a": "it is other"}, {"a": "it is ********"}),
        # A short one is a word of what somebody wrote, or found by chance.
        (["ab1"], {"msg": "password ab1!", "log": "ab1"}, {"msg": "password ********!", "log": "********"}),
        (["at"], {"logs": {"web": {"p": "at cat=at"}}}, {"logs": {"web": {"p": "******** cat=********"}}}),
        (["1", "true", "Off"], {"msg": "1 is true, Off"}, {"msg": "1 is true, Off"}),
        (["ab1"], {"msg": "cab1le", "name": "ab1"}, {"msg": "cab1le", "name": "ab1"}),
        (["12"], {"version": 12, "image": "x/y:12"}, {"version": 12, "image": "x/y:12"}),
        # A name that the task gave stays, as a value in a file of environment is often the same word.
        (["shop"], {"name": "shop", "msg": "app shop"}, {"name": "shop", "msg": "app ********"}),
        (["shop"], {"name": "shop-1"}, {"name": "********-1"}),
    ],
)  # fmt: skip
def test_secrets_are_masked(hidden: list[str], value: Any, shown: Any) -> None:
    assert runner.mask(value, hidden) == shown


def test_an_action_hides_what_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(_kube: Any, context: Any) -> Any:
        context.hide(["hunter2"])
        return Outcome(values={"app": "hunter2 here"}, warnings=["hunter2"]).fail("with hunter2")

    result = run(monkeypatch, act)
    assert (result["app"], result["warnings"], result["msg"]) == ("******** here", ["********"], "with ********")


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Outcome(), {"changed": False}),
        (Outcome(True, {"app": {}}, []), {"changed": True, "app": {}, "diff": []}),
        (Outcome().fail("a", False), {"changed": False, "failed": True, "msg": "a", "unknown": False}),
        (Outcome(True, message="a").fail(), {"changed": True, "failed": True, "msg": "a"}),
        (Outcome(unknown=True).fail("a"), {"changed": False, "failed": True, "msg": "a", "unknown": True}),
        # The diff of a part is in that of the whole.
        (
            Outcome(diff=[{}], parts={"apps": [Outcome(True, {"name": "a"}, [{}], ["b"])]}),
            {"changed": False, "diff": [{}], "apps": [{"changed": True, "name": "a", "warnings": ["b"]}]},
        ),
    ],
)
def test_the_result_of_an_outcome(outcome: Outcome, result: dict[str, Any]) -> None:
    assert runner.result_of(outcome) == result


def routes(monkeypatch: pytest.MonkeyPatch, act: Any, **options: Any) -> dict[str, Any]:
    """Run app_route, whose work is done by a function of client and route."""
    monkeypatch.setattr(runner, "connect", lambda _options, _advice: Fake())
    monkeypatch.setitem(runner._ACTIONS, "app_route", lambda context, request: act(context.kube, request.route))
    return runner.run("app_route", {"tenant": "acme", "domains": ["shop.example.org"], **options})


def test_each_route_of_a_list_has_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(_kube: Any, route: Any) -> Outcome:
        changed = route.app == "blog"
        return Outcome(changed, {"route": {"name": route.name}, "changes": []}, [route.name] * changed)

    result = routes(monkeypatch, act, routes=[{"app": "shop"}, {"app": "blog"}])
    assert result["changed"] and "failed" not in result and result["diff"] == ["blog"]
    assert [(one["route"]["name"], one["changed"]) for one in result["routes"]] == [("shop", False), ("blog", True)]


def test_routes_after_one_that_fails_are_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def act(kube: Any, route: Any) -> Outcome:
        seen.append(route.name)
        if route.name == "one":
            kube.changed = True
            raise client.Unknown("no answer")
        if route.name == "two":
            raise Invalid([Finding("domains", "a", "b")])
        return Outcome(values={"route": {}})

    result = routes(monkeypatch, act, routes=[{"app": "one"}, {"app": "two"}, {"app": "three"}])
    assert seen == ["one", "two", "three"]
    assert result["failed"] and result["changed"] and result["unknown"]
    assert [(one.get("failed", False), one["changed"]) for one in result["routes"]] == [
        (True, True),
        (True, False),
        (False, False),
    ]
    assert [one["option"] for one in result["problems"]] == ["routes[1].domains"]
    assert "no answer" in result["msg"] and "routes[1].domains" in result["msg"]


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("app_route", {"tenant": "a", "app": "b", "domains": ["c.example.org"], "tls": {"key": "s3cret-s3cret"}}),
        ("app_route", {"tenant": "a", "routes": [{"app": "b", "tls": {"key": "s3cret-s3cret"}}]}),
        ("app_stack", {"name": "a", "tenant": "b", "routes": [{"app": "c", "tls": {"key": "s3cret-s3cret"}}]}),
        ("app_template", {"definition": {"stack": {"apps": [{"secret_env": {"A": "s3cret-s3cret"}}]}}}),
    ],
)
def test_a_target_neither_logs_nor_returns_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, options: dict[str, Any]
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, **_more: logged.append(str(text)))
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda _self, text: logged.append(str(text)))
    monkeypatch.setattr(runner, "run", lambda *_arguments: {"changed": False})
    with patch_module_args(options), pytest.raises(SystemExit):
        runner.on_target(module)
    assert "s3cret" not in "".join(logged) + capsys.readouterr().out
