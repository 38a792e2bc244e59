# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.manifests): renders the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import artifacts_of, not_made_yet, render


class ActionModule(ActionBase):
    """Hands the module the text."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        variables = task_vars or {}
        if not_made_yet(self, variables):
            return {**result, "changed": True, "objects": []}
        names = arguments.pop("artifacts", None) or []
        artifacts = artifacts_of(self, names, variables) if names else {}
        documents = [Path(artifacts[name].path).read_text("utf-8") for name in artifacts]
        documents += [render(self, name, variables) for name in arguments.pop("templates", None) or []]
        if len(artifacts) < len(names):
            return {**result, "changed": True, "objects": []}
        documents += [arguments["manifest"]] if arguments.get("manifest") else []
        if not documents:
            raise AnsibleActionFail("manifests: found no templates, artifacts or manifest, wanted at least one of them")
        text = "\n---\n".join(documents)
        answer = self._execute_module(
            module_name="cloudbang.platform.manifests", module_args={**arguments, "manifest": text}, task_vars=task_vars
        )
        answer.pop("invocation", None)
        return {**result, **answer}
