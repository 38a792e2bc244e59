# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Controller side of M(cloudbang.platform.manifests): renders the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.module_utils.sending import artifacts_of, render


class ActionModule(ActionBase):
    """Hands the module the text."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        template, artifact = arguments.pop("template", None), arguments.pop("artifact", None)
        if bool(template) == bool(artifact):
            raise AnsibleActionFail("manifests: wanted either template or artifact")
        if template:
            text = render(self, template, task_vars or {})
        else:
            text = Path(artifacts_of(self, [artifact], task_vars or {})[artifact].path).read_text("utf-8")
        answer = self._execute_module(
            module_name="cloudbang.platform.manifests", module_args={**arguments, "manifest": text}, task_vars=task_vars
        )
        answer.pop("invocation", None)
        return {**result, **answer}
