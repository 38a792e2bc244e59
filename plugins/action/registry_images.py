# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.registry_images): sends only the images that the registry lacks."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import artifacts_of, image_digest, send_blobs


class ActionModule(ActionBase):
    """Sends the images that the registry lacks to its host, which pushes them."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        wanted = arguments.pop("images")
        artifacts = artifacts_of(self, [one["artifact"] for one in wanted], task_vars or {})
        if len(artifacts) < len({one["artifact"] for one in wanted}):
            return {**result, "changed": True, "digests": {}}
        paths: dict[str, str] = {}
        images: list[dict[str, Any]] = []
        for one in wanted:
            artifact = artifacts[one["artifact"]]
            try:
                digest = image_digest(artifact)
            except ArtifactError as error:
                raise AnsibleActionFail(str(error)) from error
            paths[digest] = artifact.path
            images.append({**one, "digest": digest})
        digests = {f"{one['repository']}:{one['tag']}": one["digest"] for one in images}
        answer = self._ask(arguments, images, task_vars)
        if answer.get("missing") and not answer.get("failed") and not self._task.check_mode:
            sent = send_blobs(self, answer["missing"], paths)
            for image in images:
                image["archive"] = sent.get(image["digest"])
            try:
                answer = self._ask(arguments, images, task_vars)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        answer.pop("invocation", None)
        return {**result, **answer, "digests": digests}

    def _ask(
        self, arguments: dict[str, Any], images: list[dict[str, Any]], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="cloudbang.platform.registry_images",
            module_args={**arguments, "images": images},
            task_vars=task_vars,
        )
        return answer
