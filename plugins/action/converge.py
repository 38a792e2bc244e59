# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.converge): render and sign here, converge there in one round trip."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.module_utils import trees
from ansible_collections.cloudbang.platform.plugins.plugin_utils import certificates
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import AuthorityError, require_libraries
from ansible_collections.cloudbang.platform.plugins.plugin_utils.kubeconfig import KubeconfigError, kubeconfig
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import (
    artifacts_of,
    inline,
    not_made_yet,
    render,
    send_blobs,
)

OPTIONS = {"packages", "users", "files", "services", "authorities", "record"}
SOURCES = ("template", "src", "content", "kubeconfig", "certificate", "artifact", "link", "tree")
MODES = {"artifact": "0755", "kubeconfig": "0600"}
KEYS = {*SOURCES, "path", "state", "mode", "owner", "group", "validate", "secret"}
# Of an entry with a certificate: the rest is the same for all.
CERTIFICATE_KEYS = {"path", "certificate", "owner", "group"}
# Content that is known later, and differs from that of the host.
UNKNOWN = {"sha256": ""}
# Of every kubeconfig.
CLUSTER = ("cloudbang_cluster_name", "cloudbang_api_url")


def text_of(value: Any) -> str:
    """Return the text of a file whose content the task has: a mapping or a list as JSON, all else as it is."""
    return f"{json.dumps(value, indent=2)}\n" if isinstance(value, (dict, list)) else str(value)


def embedded(options: Any) -> str | None:
    """Return the path of the certificate that a kubeconfig embeds, None when it embeds none."""
    return options.get("certificate") if isinstance(options, dict) and options.get("embed") else None


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the result of two runs of the module."""
    names = {
        key: list(dict.fromkeys([*first[key], *second.get(key, [])]))
        for key in ("installed", "changed_users", "changed_files", "restarted")
    }
    changed = bool(first["changed"] or second.get("changed"))
    return {**second, **names, "changed": changed, "diff": [*first["diff"], *second.get("diff", [])]}


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
        entries = [dict(entry) for entry in self._task.args.get("files") or []]
        entries.sort(key=lambda entry: entry.get("certificate") is None)
        self._blobs: dict[str, str] = {}
        self._certificates: dict[str, dict[str, Any]] = {}
        for entry in entries:
            if entry.get("certificate") is not None:
                path = str(entry.get("path"))
                if path in self._certificates:
                    raise AnsibleActionFail(f"{path}: found two certificates, wanted a path for each")
                self._certificates[path] = self._wanted(entry)
        # By path without extension, once it is known; None for those that check mode does not issue.
        self._signed: dict[str, str | None] = {}
        directory = self._authorities() if self._certificates else Path()
        files = [self._entry(entry) for entry in entries]
        arguments = {
            "packages": self._task.args.get("packages") or [],
            "users": self._task.args.get("users") or [],
            "files": files,
            "services": self._task.args.get("services") or [],
            # What a task delegates, to the controller, is not part of the host.
            "record": self._task.args.get("record", not self._task.delegate_to),
        }
        answer = self._converge(arguments)
        issued: dict[str, str] = {}
        try:
            if not answer.get("failed"):
                found, due = answer["found"], answer["due"]
                issued = self._sign(directory, found)
                if issued or due:
                    pairs = list(zip(entries, files))
                    files[:] = [self._entry(entry) if self._depends(entry) else made for entry, made in pairs]
                own = [file for entry, file in zip(entries, files) if entry.get("path") in issued]
                replaced = any(found[path]["certificate"] for path in issued)
                answer = self._finish(answer, arguments, bool(issued or due), own if replaced else [])
        except AnsibleError as error:
            answer = {**answer, "failed": True, "msg": str(error)}
        for key in ("invocation", "found", "due"):
            answer.pop(key, None)
        result.update(answer, issued=issued)
        return result

    def _finish(
        self, answer: dict[str, Any], arguments: dict[str, Any], due: bool, first: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Run the module until the host lacks nothing; return the result of all runs.

        answer: that of the run before; due: whether there is something to do; first: files that do not wait for others.
        """
        if first and answer["missing"] and not self._task.check_mode:
            # Sending takes its time, and may fail. What runs with an old certificate gets the new one before.
            missing = answer["missing"]
            answer = {
                **merged(answer, self._converge({**arguments, "files": first, "services": []})),
                "missing": missing,
            }
        # What stopped a dry run hides what large files come after it, so another round may be needed.
        for _round in range(2):
            missing = [] if self._task.check_mode else answer["missing"]
            if answer.get("failed") or not (due or missing):
                break
            answer, due = merged(answer, self._again(arguments, missing)), False
        return answer

    def _again(self, arguments: dict[str, Any], missing: list[str]) -> dict[str, Any]:
        """Run the module again, after sending the large files that the host lacks."""
        contents = {entry["path"]: entry["content"] for entry in arguments["files"] if "content" in entry}
        large = [contents[path] for path in missing if path in contents and "data" not in contents[path]]
        sent = send_blobs(self, [content["sha256"] for content in large], self._blobs) if large else {}
        for content in large:
            content["blob"] = sent[content["sha256"]]
        try:
            return self._converge(arguments)
        finally:
            if sent:
                self._remove_tmp_path(self._connection._shell.tmpdir)

    def _converge(self, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="cloudbang.platform.converge", module_args=arguments, task_vars=self._variables
        )
        return answer

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
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
        if source == "certificate":
            return self._certificate(entry)
        if source == "link":
            return {**plain, "state": "link", "link": entry["link"]}
        plain.setdefault("mode", MODES.get(source, "0644"))
        if source == "kubeconfig":
            plain["secret"] = True
            if self._unsigned(entry[source]):
                return {**plain, "content": UNKNOWN}
        if source == "artifact":
            return {**plain, "content": {"sha256": self._artifact(entry["artifact"])}}
        if source == "tree":
            files = tree_of(Path(self._find_needle("files", entry[source])))
            return {**plain, "state": "tree", "content": {"files": files}}
        try:
            data = self._content(source, entry[source])
        except (AnsibleError, OSError) as error:
            if not_made_yet(self, self._variables):
                return {**plain, "content": UNKNOWN}
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
        contents = {f"{path}.crt": pem.encode() for path, pem in self._signed.items() if pem}
        try:
            return kubeconfig(str(cluster), str(server), options, contents)
        except KubeconfigError as error:
            raise AnsibleActionFail(str(error)) from error

    def _authorities(self) -> Path:
        """Return the directory of the authorities, once it is sure that certificates can be signed."""
        given = self._task.args.get("authorities") or self._templar.template(self._variables.get("cloudbang_pki_dir"))
        if not given:
            raise AnsibleActionFail(
                "converge: certificates without authorities; wanted the option authorities or cloudbang_pki_dir"
            )
        try:
            require_libraries()
        except AuthorityError as error:
            raise AnsibleActionFail(str(error)) from error
        return Path(given).expanduser()

    def _wanted(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a certificate with types and defaults."""
        where, others = entry.get("path", "an entry without path"), set(entry) - CERTIFICATE_KEYS
        if others:
            raise AnsibleActionFail(
                f"{where}: found {', '.join(sorted(others))}, wanted only {', '.join(sorted(CERTIFICATE_KEYS))}"
            )
        try:
            return certificates.checked(entry["certificate"])
        except AuthorityError as error:
            raise AnsibleActionFail(f"{where}: {error}") from error

    def _sign(self, directory: Path, found: dict[str, dict[str, Any]]) -> dict[str, str]:
        """Sign for the keys that the host has; return the reasons by path."""
        try:
            self._signed, issued = certificates.sign(directory, self._certificates, found, bool(self._task.check_mode))
        except AuthorityError as error:
            raise AnsibleActionFail(str(error)) from error
        return issued

    def _certificate(self, entry: dict[str, Any]) -> dict[str, Any]:
        path = str(entry.get("path"))
        owners: dict[str, Any] = {key: entry[key] for key in ("owner", "group") if key in entry}
        if path not in self._signed:
            return {**owners, "path": path, "certificate": self._certificates[path]}
        pem = self._signed[path]
        return {**owners, "path": f"{path}.crt", "mode": "0644", "content": inline(pem.encode()) if pem else UNKNOWN}

    def _depends(self, entry: dict[str, Any]) -> bool:
        """Return whether an entry has a certificate of this task as its content, or embeds it."""
        return entry.get("path") in self._certificates or embedded(entry.get("kubeconfig")) in self._certificates

    def _unsigned(self, options: Any) -> bool:
        """Return whether a kubeconfig embeds a certificate of this task that is not there yet."""
        path = embedded(options)
        if path not in self._certificates:
            return False
        if path in self._signed:
            return self._signed[path] is None
        # One that cannot be read is replaced before it is embedded.
        return not all(os.access(os.path.expanduser(f"{path}{suffix}"), os.R_OK) for suffix in (".crt", ".key"))

    def _artifact(self, name: str) -> str:
        """Return the digest of an artifact; in check mode an empty one when it is not cached."""
        artifact = artifacts_of(self, [name], self._variables).get(name)
        if artifact is None:
            return ""
        self._blobs[artifact.sha256] = str(artifact.path)
        return str(artifact.sha256)
