# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves a module: results without secrets, texts fit for a terminal, and a message for whatever goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client

CODE = "\x1b]0;PWNED\x07"


class Fake:
    """A client that notes warnings and nothing else."""

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}
        self.changed = False


def run(monkeypatch: pytest.MonkeyPatch, act: Any, progress: Any = runner.silent) -> dict[str, Any]:
    """Run app_info, whose work is done by a function of client and options."""
    monkeypatch.setattr(runner, "connect", lambda _options, _advice: Fake())
    monkeypatch.setitem(runner._MODULES, "app_info", lambda kube, options, _check: act(kube, options))
    return runner.run("app_info", {}, False, progress)


def test_an_unexpected_exception_is_a_message_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(_kube: Any, _options: Any) -> Any:
        return {}["image"]

    result = run(monkeypatch, act)
    assert result["failed"] and result["unknown"]
    assert "app_info: found an unexpected KeyError (\"'image'\") at test_runner.py:" in result["msg"]
    assert ", in act; this is a fault of cloudbang.platform" in result["msg"]


@pytest.mark.parametrize(
    "error", [ValueError("s3cret"), RecursionError("s3cret"), UnicodeDecodeError("utf-8", b"", 0, 0, "s3cret")]
)
def test_the_text_of_an_unexpected_exception_is_not_shown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def act(_kube: Any, _options: Any) -> Any:
        raise error

    assert "s3cret" not in str(run(monkeypatch, act)) and type(error).__name__ in str(run(monkeypatch, act))


def test_warnings_and_messages_cannot_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def act(kube: Any, options: Any) -> Any:
        kube.warnings["from a record " + CODE] = None
        options["progress"]("image " + CODE)
        return {"changed": False, "warnings": ["of the module " + CODE], "failed": True, "msg": "a\nb " + CODE}

    result = run(monkeypatch, act, told.append)
    assert result["warnings"] == [f"{of} \\x1b]0;PWNED\\x07" for of in ("of the module", "from a record")]
    assert result["msg"] == "a\nb \\x1b]0;PWNED\\x07" and told == ["image \\x1b]0;PWNED\\x07"]


def test_warnings_come_with_errors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(kube: Any, _options: Any) -> Any:
        kube.warnings["said before"] = None
        raise client.KubeError("it broke")

    result = run(monkeypatch, act)
    assert result["warnings"] == ["said before"] and result["msg"] == "app_info: it broke"


@pytest.mark.parametrize("changed", [False, True])
def test_an_error_after_a_change_says_that_something_was_changed(
    monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    def act(kube: Any, _options: Any) -> Any:
        kube.changed = changed
        raise client.Unreachable("it does not answer")

    result = run(monkeypatch, act)
    assert result["failed"] and result["changed"] is changed


def test_there_are_not_too_many_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(kube: Any, _options: Any) -> Any:
        kube.warnings.update(dict.fromkeys(map(str, range(1000))))
        return {"warnings": ["0", "0"]}

    warnings = run(monkeypatch, act)["warnings"]
    assert warnings == [*map(str, range(20)), "980 more warnings, which are left out"]


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
