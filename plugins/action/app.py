# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the modules for applications and tenants: runs them in the controller's process, or sends them.

The plugins of the other modules are links to this file: each is loaded by the name of its link, which is the module's.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import AUTH, from_environment
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid, plain
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse, written_out
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import run

MODULE = __name__.rpartition(".")[2]


class ActionModule(ActionBase):
    """Everything runs here unless `execute: target` asks for the module on the host.

    The kubernetes client is imported with this file, which the strategy loads before it forks: workers inherit it.
    """

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = plain(dict(self._task.args))
        if given.get("execute") == "target":
            result.update(self._on_target(given, task_vars or {}))
            return result
        options = from_environment(MODULE, given, self._environment())
        result.update(run(MODULE, options, bool(self._task.check_mode), self._progress))
        return result

    def _progress(self, message: str) -> None:
        Display().display(f"{MODULE}: {message}")

    def _on_target(self, given: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Check the options here, so that all that is wrong is told at once, and run the module over there."""
        unset = {key: value for key, value in given.items() if key not in AUTH}
        try:
            parse(MODULE, unset)
        except Invalid:
            return run(MODULE, unset, True)
        answer: dict[str, Any] = self._execute_module(
            module_name=f"cloudbang.platform.{MODULE}",
            module_args=written_out(MODULE, given),
            task_vars=task_vars,
        )
        return answer

    def _environment(self) -> dict[str, str]:
        """Return this process's environment with the task's `environment` over it."""
        variables = dict(os.environ)
        for entry in self._task.environment or []:
            values = self._templar.template(entry)
            if isinstance(values, dict):
                variables.update({str(key): str(value) for key, value in values.items()})
        return variables
