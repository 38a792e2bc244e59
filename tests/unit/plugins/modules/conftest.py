# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module's main() in this process, with programs that a test makes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils import basic

Run = Callable[..., dict[str, Any]]


class Done(Exception):
    """What a module answered; its exit_json and fail_json must not return."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(str(answer))
        self.answer = answer


@pytest.fixture()
def run_module(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function (module, arguments, check) that returns the module's answer."""

    def run(module: ModuleType, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
        class Module(basic.AnsibleModule):  # type: ignore[misc]
            def _load_params(self) -> None:
                self.params = {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp"}

            def exit_json(self, **answer: Any) -> None:
                raise Done(answer)

            def fail_json(self, msg: str, **answer: Any) -> None:
                raise Done({"failed": True, "msg": msg, **answer})

        monkeypatch.setattr(module, "AnsibleModule", Module)
        with pytest.raises(Done) as done:
            module.main()
        return done.value.answer

    return run


@pytest.fixture()
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Return a function that puts a shell script on the PATH; each call of it is a line in ``calls``."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=":")

    def make(name: str, script: str) -> Path:
        path = directory / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {json.dumps(str(tmp_path / "calls"))}\n{script}\n')
        path.chmod(0o755)
        return path

    return make
