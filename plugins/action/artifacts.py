# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.artifacts): everything happens here, nothing on the host."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import (
    ArtifactError,
    Settings,
    bundle,
    ensure,
    names,
    plan,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.mirror import manifest_sha256
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.resolve import NAMES as SETTINGS

OPTIONS = {
    "names": {"type": "list", "elements": "str"},
    "source": {"type": "str", "choices": ["auto", "upstream", "mirror", "build"]},
    "cache_dir": {"type": "str"},
    "mirror": {"type": "str"},
    "mirror_sha256": {"type": "str"},
    "versions": {"type": "dict"},
    "arch": {"type": "str"},
    "lock_file": {"type": "str"},
    "bundle": {"type": "str"},
}


class ActionModule(ActionBase):
    """Fetches or builds on the controller and shows progress while it does."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=OPTIONS)
        variables = {}
        for name in SETTINGS:
            value = options.get(name)
            if value in (None, ""):
                value = self._templar.template((task_vars or {}).get("artifacts_" + name))
            variables["artifacts_" + name] = value
        display = Display()

        def progress(message: str) -> None:
            display.display("artifacts: " + visible(message))

        try:
            settings = Settings.from_vars(variables)
            wanted = options.get("names") or names(settings, everything=bool(options.get("bundle")))
            if self._task.check_mode:
                result.update(self._planned(wanted, settings))
            else:
                result.update(self._ensured(wanted, settings, options.get("bundle"), progress))
        except ArtifactError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _planned(self, wanted: list[str], settings: Settings) -> dict[str, Any]:
        planned = plan(wanted, settings)
        missing = [name for name, item in planned.items() if not item.cached]
        return {
            "changed": bool(missing),
            "missing": missing,
            "artifacts": {
                name: {
                    "component": item.component,
                    "version": item.version,
                    "cached": item.cached,
                    "origin": item.origin,
                }
                for name, item in planned.items()
            },
        }

    def _ensured(self, wanted: list[str], settings: Settings, root: str | None, progress: Any) -> dict[str, Any]:
        found = ensure(wanted, settings, progress)
        answer: dict[str, Any] = {
            "changed": any(artifact.created for artifact in found.values()),
            "missing": [],
            "artifacts": {name: artifact.as_dict() for name, artifact in found.items()},
        }
        if root:
            written = bundle(root, found.values(), settings, progress)
            answer.update(changed=answer["changed"] or bool(written), written=written)
            answer["mirror_sha256"] = manifest_sha256(root)
        return answer
