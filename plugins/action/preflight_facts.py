# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.preflight_facts): times the round trip, and turns a lost host into a fact."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

OPTIONS = {"plan", "disks"}


def least_skew(before: float, host: float, after: float) -> float:
    """Return by how much a clock is ahead at least, knowing that it was read between two moments of our own."""
    if host > after:
        return host - after
    return host - before if host < before else 0.0


def reason(result: dict[str, Any]) -> str:
    """Return the first useful line of a failed module's result."""
    for key in ("module_stderr", "msg", "module_stdout"):
        lines = [line.strip() for line in str(result.get(key) or "").splitlines() if line.strip()]
        if lines:
            return lines[-1] if key == "module_stderr" else lines[0]
    return "the module gave no answer"


def probes(ways: dict[str, Any], groups: set[str]) -> list[list[Any]]:
    """Return the ways of all keys that name one of some groups, each once."""
    seen: dict[tuple[Any, ...], None] = {}
    for key, some in ways.items():
        if groups & set(str(key).split(",")):
            seen.update(dict.fromkeys(tuple(way) for way in some))
    return [list(way) for way in seen]


class ActionModule(ActionBase):
    """Gathers the facts of a host; an unreachable host is a result, not a failure."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        unknown = set(self._task.args) - OPTIONS
        if unknown:
            raise AnsibleActionFail(f"preflight_facts: unknown options {sorted(unknown)}; wanted {sorted(OPTIONS)}")
        plan = self._task.args.get("plan") or {}
        mine = {
            **(plan.get("hosts") or {}).get(variables["inventory_hostname"], {}),
            "probes": probes(plan.get("ways") or {}, set(variables.get("group_names") or [])),
            "units": plan.get("units") or {},
            "others": plan.get("others") or [],
        }
        before = time.time()
        try:
            answer = self._execute_module(
                module_name="cloudbang.platform.preflight_facts",
                module_args={"plan": mine, "disks": self._task.args.get("disks") or []},
                task_vars=variables,
            )
        except AnsibleError as error:
            answer = {"failed": True, "msg": " ".join(str(error).split())}
        after = time.time()
        facts = answer.get("facts")
        if answer.get("failed") or answer.get("unreachable") or not isinstance(facts, dict):
            facts = {"reached": False, "reason": reason(answer)}
        else:
            facts["skew"] = least_skew(before, float(facts.pop("time")), after)
        result.update(changed=False, facts=facts)
        return result
