# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles that plays run, read from their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PREFIX = "cloudbang.platform."
SITE = Path(__file__).resolve().parents[2] / "playbooks" / "site.yml"
RUNS_A_ROLE = ("ansible.builtin.import_role", "ansible.builtin.include_role")
SECTIONS = ("block", "rescue", "always")
# A cluster has one of them, which a variable names.
NETWORKS = ("calico", "goodnet")


def site() -> list[dict[str, Any]]:
    """Return the plays of the playbook site."""
    return list(yaml.safe_load(SITE.read_text("utf-8")))


def tasks_with_roles(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the options of each task that runs a role, also of those in blocks."""
    for task in tasks:
        for section in SECTIONS:
            yield from tasks_with_roles(task.get(section, []))
        yield from (task[key] for key in RUNS_A_ROLE if key in task)


def roles_of(play: dict[str, Any]) -> Iterator[str]:
    """Return the roles of the collection whose main entry point a play runs, without the collection's name."""
    for role in play.get("roles", []):
        yield (role if isinstance(role, str) else role["role"]).removeprefix(PREFIX)
    for section in ("pre_tasks", "tasks", "post_tasks"):
        for options in tasks_with_roles(play.get(section, [])):
            if options.get("tasks_from", "main") == "main":
                name = options["name"].removeprefix(PREFIX)
                yield from NETWORKS if name == "{{ cloudbang_network }}" else [name]
