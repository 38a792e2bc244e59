# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.converge): render everything here, converge it in one round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.module_utils import trees
from ansible_collections.cloudbang.platform.plugins.plugin_utils.kubeconfig import KubeconfigError, kubeconfig
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import (
    artifacts_of,
    inline,
    not_made_yet,
    render,
    send_blobs,
)

OPTIONS = {"files", "services", "record"}
SOURCES = ("template", "src", "content", "kubeconfig", "artifact", "link", "tree")
MODES = {"artifact": "0755", "kubeconfig": "0600"}
KEYS = {*SOURCES, "path", "state", "mode", "owner", "group", "validate", "secret"}
# Of every kubeconfig.
CLUSTER = ("cloudbang_cluster_name", "cloudbang_api_url")


def text_of(value: Any) -> str:
    """Return the text of a file whose content the task has: a mapping or a list as JSON, all else as it is."""
    return f"{json.dumps(value, indent=2)}\n" if isinstance(value, (dict, list)) else str(value)


def tree_of(root: Path) -> dict[str, dict[str, str]]:
    """Return the contents of all files below a directory by relative path, but for what a module ignores there.

    Raises AnsibleActionFail when there are none, as the host would lose what it has, and for a link, which would be
    left out.
    """
    names = {path.relative_to(root): path for path in sorted(root.rglob("*"))}
    found = {name: path for name, path in names.items() if not any(map(trees.ignored, name.parts))}
    links = [str(name) for name, path in found.items() if path.is_symlink()]
    files = {str(name): inline(path.read_bytes()) for name, path in found.items() if path.is_file()}
    if links or not files:
        what = f"the links {', '.join(links)}" if links else "no files"
        raise AnsibleActionFail(f"tree {root}: found {what}, wanted a directory of regular files")
    return files


class ActionModule(ActionBase):
    """Converts the task's options to the input of the module on the host."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        unknown = set(self._task.args) - OPTIONS
        if unknown:
            raise AnsibleActionFail(
                f"converge: unknown options {sorted(unknown)}; wanted: {', '.join(sorted(OPTIONS))}"
            )
        blobs: dict[str, str] = {}
        files = [self._entry(dict(entry), blobs) for entry in self._task.args.get("files") or []]
        arguments = {
            "files": files,
            "services": self._task.args.get("services") or [],
            # What a task delegates, to the controller, is not part of the host.
            "record": self._task.args.get("record", not self._task.delegate_to),
        }
        answer = self._converge(arguments)
        if answer.get("missing") and not answer.get("failed") and not self._task.check_mode:
            first = answer
            contents = {entry["path"]: entry["content"] for entry in files if "content" in entry}
            wanted = [contents[path]["sha256"] for path in first["missing"] if path in contents]
            sent = send_blobs(self, wanted, blobs)
            for content in (one for one in contents.values() if "sha256" in one):
                content["blob"] = sent.get(content["sha256"])
            try:
                answer = self._converge(arguments)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)
            if not answer.get("failed"):
                answer["changed"] = True
                answer["changed_files"] = [
                    *first["changed_files"],
                    *(path for path in answer["changed_files"] if path not in first["changed_files"]),
                ]
                answer["diff"] = [*first.get("diff", []), *answer.get("diff", [])]
        answer.pop("invocation", None)
        result.update(answer)
        return result

    def _converge(self, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="cloudbang.platform.converge", module_args=arguments, task_vars=self._variables
        )
        return answer

    def _entry(self, entry: dict[str, Any], blobs: dict[str, str]) -> dict[str, Any]:
        """Return the module's form of one entry: content here, or a digest whose blob is sent when it is missing."""
        where = entry.get("path", "an entry without path")
        unknown = set(entry) - KEYS
        given = [source for source in SOURCES if entry.get(source) is not None]
        if unknown:
            raise AnsibleActionFail(f"{where}: unknown options {sorted(unknown)}; wanted some of {sorted(KEYS)}")
        if len(given) > 1:
            raise AnsibleActionFail(f"{where}: found {' and '.join(given)}, wanted one source")
        plain = {key: value for key, value in entry.items() if key not in SOURCES}
        state = entry.get("state", "file")
        if not given:
            if state not in ("directory", "absent"):
                raise AnsibleActionFail(f"{where}: wanted one of {', '.join(SOURCES)}, or state directory or absent")
            plain.setdefault("mode", "0755")
            return plain
        source = given[0]
        # A link and a tree are states too.
        if state not in ("file", source):
            raise AnsibleActionFail(f"{where}: found state {state} beside {source}, wanted one of them")
        if source == "link":
            return {**plain, "state": "link", "link": entry["link"]}
        plain.setdefault("mode", MODES.get(source, "0644"))
        if source == "kubeconfig":
            plain["secret"] = True
        if source == "artifact":
            return {**plain, "content": {"sha256": self._artifact(entry["artifact"], blobs)}}
        if source == "tree":
            files = tree_of(Path(self._find_needle("files", entry[source])))
            return {**plain, "state": "tree", "content": {"files": files}}
        try:
            data = self._content(source, entry[source])
        except (AnsibleError, OSError) as error:
            if not_made_yet(self, self._variables):
                return {**plain, "content": {"sha256": ""}}
            raise AnsibleActionFail(f"{where}: {source}: {error}") from error
        return {**plain, "content": inline(data)}

    def _content(self, source: str, value: Any) -> bytes:
        if source == "content":
            return text_of(value).encode()
        if source == "kubeconfig":
            return self._kubeconfig(value).encode()
        if source == "src":
            return Path(self._find_needle("files", value)).read_bytes()
        return render(self, value, self._variables).encode()

    def _kubeconfig(self, options: Any) -> str:
        if not isinstance(options, dict):
            raise AnsibleActionFail(f"kubeconfig: found {options!r}, wanted a mapping")
        cluster, server = (self._templar.template(self._variables.get(name)) for name in CLUSTER)
        if not cluster or not server:
            raise AnsibleActionFail(f"kubeconfig: wanted the variables {' and '.join(CLUSTER)} of the role cluster")
        try:
            return kubeconfig(str(cluster), str(server), options)
        except KubeconfigError as error:
            raise AnsibleActionFail(str(error)) from error

    def _artifact(self, name: str, blobs: dict[str, str]) -> str:
        """Return the digest of an artifact; in check mode an empty one when it is not cached."""
        artifact = artifacts_of(self, [name], self._variables).get(name)
        if artifact is None:
            return ""
        blobs[artifact.sha256] = str(artifact.path)
        return str(artifact.sha256)
