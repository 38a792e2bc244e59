"""Roles: the documented variables are the ones that exist, with the same defaults, and no variable is undocumented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
# `cloudbang` has no tasks: its variables are judged by preflight, all at once, and not by the roles that use them.
WITH_TASKS = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())
SPECIFIED = [name for name in WITH_TASKS if (ROLES / name / "meta/argument_specs.yml").exists()]


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text("utf-8")) or {}) if path.exists() else {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of all entry points together."""
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec["options"].items()}


def test_every_role_with_tasks_documents_its_variables() -> None:
    assert WITH_TASKS == SPECIFIED
    assert not (ROLES / "cloudbang/meta/argument_specs.yml").exists()


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
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", SPECIFIED)
def test_entry_points_are_documented(role: str) -> None:
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    assert [entry for entry in specs if not (ROLES / role / "tasks" / f"{entry}.yml").exists()] == []


@pytest.mark.parametrize("role", sorted({*WITH_TASKS, "cloudbang"}))
def test_the_readme_names_every_variable(role: str) -> None:
    text = (ROLES / role / "README.md").read_text("utf-8")
    assert [name for name in load(ROLES / role / "defaults/main.yml") if f"`{name}`" not in text] == []
