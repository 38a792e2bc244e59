# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the roles, read from the collection itself."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from .. import declarations
from ..declarations import Load
from .inventory import Option

NAME = re.compile(r"\bcloudbang_\w+")


def role_names() -> tuple[str, ...]:
    """Return the roles that have tasks. The variables of the one that has none carry another prefix than its name."""
    return tuple(sorted(one.name for one in declarations.ROLES.iterdir() if (one / "tasks").is_dir()))


def defaults(load: Load) -> dict[str, Any]:
    """Return the defaults of all roles, untemplated."""
    result: dict[str, Any] = {}
    for path in sorted(declarations.ROLES.glob("*/defaults/main.yml")):
        result.update(load(str(path)) or {})
    return result


def specifications(load: Load) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(declarations.ROLES.glob("*/meta/argument_specs.yml")):
        for entry in ((load(str(path)) or {}).get("argument_specs") or {}).values():
            yield from (entry.get("options") or {}).items()


def guessed(name: str, value: Any) -> Option:
    """Return an option for a default without specification; a string may be Jinja for anything."""
    for kind, word in ((bool, "bool"), (int, "int"), (list, "list"), (dict, "dict")):
        if isinstance(value, kind):
            return Option(name, word)
    plain = isinstance(value, str) and "{{" not in value and "{%" not in value
    return Option(name, "str" if plain else "raw")


def options(load: Load) -> dict[str, Option]:
    """Return every variable of a role or a playbook; a specification takes precedence over a default."""
    known = {name: guessed(name, value) for name, value in defaults(load).items()}
    for name, spec in specifications(load):
        known[name] = Option(
            name,
            str(spec.get("type", "str")),
            tuple(spec.get("choices") or ()),
            str(spec.get("elements") or ""),
            bool(spec.get("no_log")),
            "default" not in spec and not spec.get("required") and name not in known,
            spec.get("options") or {},
        )
    return {**known, **playbook_variables(known)}


def playbook_variables(known: Container[str]) -> dict[str, Option]:
    """Return the variables that the collection's playbooks read and no role has, as those of apps and their tenant."""
    paths = (declarations.ROLES.parent / "playbooks").glob("**/*.yml")
    names = {name for path in paths for name in NAME.findall(path.read_text(encoding="utf-8"))}
    return {name: Option(name, judged=False) for name in sorted(names) if name not in known}


def versions(load: Load) -> dict[str, str]:
    """Return the version of each component of the artifact catalogue."""
    catalogue = declarations.ROLES / "artifacts" / "files" / "catalogue.yml"
    if not catalogue.exists():
        return {}
    components = (load(str(catalogue)) or {}).get("components") or {}
    return {name: str(one.get("version", "")) for name, one in components.items() if isinstance(one, Mapping)}
