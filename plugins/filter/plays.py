# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the hosts of a play: groups that have hosts, and the refusal of partial runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible import context
from ansible.errors import AnsibleFilterError

LISTINGS = ("listhosts", "listtags", "listtasks", "syntax")


def groups_pattern(names: Iterable[str], groups: Mapping[str, Iterable[str]]) -> str:
    """Return the pattern of those groups that have hosts; without any the pattern of all hosts, else of localhost."""
    return ":".join(name for name in names if groups.get(name)) or ("all" if groups.get("all") else "localhost")


def whole_run(pattern: str) -> str:
    """Return the pattern as it is; AnsibleFilterError when the command line leaves out some of the tasks."""
    given = context.CLIARGS
    if any(given.get(name) for name in LISTINGS):
        return pattern
    found = []
    if "all" not in (given.get("tags") or ["all"]):
        found.append(f"--tags {','.join(given['tags'])}")
    if given.get("start_at_task"):
        found.append(f"--start-at-task {given['start_at_task']!r}")
    if found:
        raise AnsibleFilterError(
            f"found {' and '.join(found)}, wanted all plays of this playbook, which need what those before them found "
            "and made; use --limit to run it for some hosts. Nothing was changed"
        )
    return pattern


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"groups_pattern": groups_pattern, "whole_run": whole_run}
