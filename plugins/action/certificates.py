# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.certificates): signs certificates for the host's keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import (
    Authority,
    AuthorityError,
    Wanted,
    require_libraries,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import inline

DEFAULTS: dict[str, Any] = {
    "organizations": [],
    "names": [],
    "usages": ["client"],
    "days": 365,
    "renew_before": 30,
    "owner": "root",
    "group": "root",
}
REQUIRED = ("path", "authority", "common_name")


class ActionModule(ActionBase):
    """Compares the certificates on the host with the wanted ones and issues those that differ."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        directory = Path(self._task.args["authorities"]).expanduser()
        wanted = [self._entry(one) for one in self._task.args["certificates"]]
        answer = self._execute_module(
            module_name="cloudbang.platform.certificates",
            module_args={"authorities": str(directory), "certificates": wanted},
            task_vars=task_vars,
        )
        if answer.get("failed"):
            answer.pop("invocation", None)
            return {**result, **answer}
        try:
            require_libraries()
            issued, files = self._decide(directory, wanted, answer["found"])
        except AuthorityError as error:
            raise AnsibleActionFail(str(error)) from error
        written = (
            self._execute_module(
                module_name="cloudbang.platform.converge",
                module_args={"files": files, "record": False},
                task_vars=task_vars,
            )
            if files and not (self._task.check_mode and answer["made"])
            else {}
        )
        if written.get("failed"):
            written.pop("invocation", None)
            return {**result, **written}
        result.update(changed=bool(answer["changed"] or issued or written.get("changed")), issued=issued)
        return result

    def _entry(self, given: dict[str, Any]) -> dict[str, Any]:
        unknown = set(given) - {*DEFAULTS, *REQUIRED}
        missing = [key for key in REQUIRED if not given.get(key)]
        if unknown or missing:
            raise AnsibleActionFail(
                f"certificate {given.get('path', '?')}: unknown options {sorted(unknown)}, missing options {missing}"
            )
        return {**DEFAULTS, **given}

    def _decide(
        self, directory: Path, wanted: list[dict[str, Any]], found: dict[str, Any]
    ) -> tuple[dict[str, str], list[dict[str, Any]]]:
        """Return the reasons by path, and the entries for the module converge that put right what is wrong."""
        authorities: dict[str, Authority] = {}
        issued: dict[str, str] = {}
        files: list[dict[str, Any]] = []
        for entry in wanted:
            name = entry["authority"]
            if self._task.check_mode and not (directory / f"{name}.crt").exists():
                issued[entry["path"]] = "its authority does not exist yet"
                continue
            authority = authorities.setdefault(name, Authority(directory, name))
            leaf = Wanted(
                str(entry["common_name"]),
                tuple(str(one) for one in entry["organizations"]),
                tuple(str(one) for one in entry["names"]),
                tuple(entry["usages"]),
                int(entry["days"]),
                int(entry["renew_before"]),
            )
            state = found[entry["path"]]
            if state["public_key"] is None:
                issued[entry["path"]] = "there is no key"
                continue
            reason = authority.unfit(state["certificate"], state["public_key"], leaf)
            pem = state["certificate"]
            if reason:
                issued[entry["path"]] = reason
                pem = authority.issue(state["public_key"], leaf)
            if reason or not state["readable"]:
                files.append(self._file(entry, pem))
        return issued, files

    def _file(self, entry: dict[str, Any], pem: str) -> dict[str, Any]:
        return {
            "path": entry["path"] + ".crt",
            "content": inline(pem.encode()),
            "mode": "0644",
            "owner": entry["owner"],
            "group": entry["group"],
        }
