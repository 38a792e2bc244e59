# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles: the documented variables are the ones that exist, with the same defaults, and no variable is undocumented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
SPECIFIED = sorted(path.name for path in ROLES.iterdir() if (path / "meta/argument_specs.yml").exists())
# Of the role that has no tasks, by the prefix that its variables have: they are the whole cluster's.
PREFIXES = {"cluster": "cloudbang_"}


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text("utf-8")) or {}) if path.exists() else {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of all entry points together."""
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec["options"].items()}


def test_every_role_documents_its_variables() -> None:
    assert sorted(path.name for path in ROLES.iterdir()) == SPECIFIED


def test_the_shared_variables_are_validated_once_and_not_in_every_play() -> None:
    """Ansible adds a task for each host and each play to a role whose specification has the entry point `main`."""
    assert set(load(ROLES / "cluster/meta/argument_specs.yml")["argument_specs"]) == {"variables"}
    assert not (ROLES / "cluster/tasks").exists()


@pytest.mark.parametrize("role", SPECIFIED)
def test_defaults_and_argument_specs_have_the_same_keys(role: str) -> None:
    required = {name for name, option in options(role).items() if option.get("required")}
    assert set(load(ROLES / role / "defaults/main.yml")) | required == set(options(role))


@pytest.mark.parametrize("role", SPECIFIED)
def test_documented_defaults_are_the_real_ones(role: str) -> None:
    defaults = load(ROLES / role / "defaults/main.yml")
    documented = {name: option["default"] for name, option in options(role).items() if "default" in option}
    fixed = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert {name: documented[name] for name in documented if name in fixed} == {
        name: fixed[name] for name in fixed if name in documented
    }


@pytest.mark.parametrize("role", SPECIFIED)
def test_variables_carry_the_name_of_their_role(role: str) -> None:
    assert [name for name in options(role) if not name.startswith(PREFIXES.get(role, f"{role}_"))] == []


@pytest.mark.parametrize("role", [role for role in SPECIFIED if role not in PREFIXES])
def test_entry_points_are_documented(role: str) -> None:
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    assert [entry for entry in specs if not (ROLES / role / "tasks" / f"{entry}.yml").exists()] == []


@pytest.mark.parametrize("role", SPECIFIED)
def test_the_readme_names_every_variable(role: str) -> None:
    text = (ROLES / role / "README.md").read_text("utf-8")
    assert [name for name in load(ROLES / role / "defaults/main.yml") if f"`{name}`" not in text] == []


@pytest.mark.parametrize("role", SPECIFIED)
def test_preflight_checks_all_that_a_specification_says(role: str) -> None:
    """The playbook site runs roles without their own validation: nothing else checks what preflight does not."""
    known = {"description", "type", "default", "choices", "elements", "no_log", "options"}
    for name, option in options(role).items():
        assert set(option) <= known, name
        assert option.get("type", "str") == "str" or "choices" not in option, name
        assert option.get("type") == "list" or "options" not in option, name
