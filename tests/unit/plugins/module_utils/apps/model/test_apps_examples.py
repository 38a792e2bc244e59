# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation are accepted, and options are completed from the environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.documentation import documented

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import arguments, from_environment
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import connection, parse

ROOT = Path(__file__).resolve().parents[6]
MODULES = ("app", "app_scale", "app_release", "app_info", "app_binding", "app_stack", "app_template", "app_build")
PAGES = ("apps.md", "builds.md", "stacks.md", "templates.md")


def tasks(source: str) -> list[dict[str, Any]]:
    entries = yaml.safe_load(source)
    # A mapping is of variables of an inventory.
    return [task for entry in entries for task in entry.get("tasks", [entry])] if isinstance(entries, list) else []


def examples() -> list[tuple[str, dict[str, Any]]]:
    pages = "".join((ROOT / "docs" / page).read_text() for page in PAGES)
    texts = re.findall(r"```yaml\n(.*?)```", pages, re.DOTALL)
    for module in MODULES:
        source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
        texts += re.findall(r'EXAMPLES = r"""\n(.*?)"""', source, re.DOTALL)
    found = []
    for text in texts:
        for task in tasks(text):
            found += [
                (key.rpartition(".")[2], filled(task[key])) for key in task if key.startswith("cloudbang.platform.")
            ]
    return found


def filled(value: Any) -> Any:
    """Return options with a number in place of each text that is a template."""
    if isinstance(value, dict):
        return {key: filled(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [filled(entry) for entry in value]
    return "1" if isinstance(value, str) and re.fullmatch(r"\{\{.*\}\}", value) else value


@pytest.mark.parametrize(("module", "options"), examples())
def test_examples_are_accepted(module: str, options: dict[str, Any]) -> None:
    parse(module, options)


@pytest.mark.parametrize("module", MODULES)
def test_documentation_has_every_option(module: str) -> None:
    found = documented(module)
    assert set(found) == set(arguments(module))
    for name, option in arguments(module).items():
        assert found[name].get("default") == option.get("default"), name


def test_environment_stands_in_for_options() -> None:
    environment = {"K8S_AUTH_KUBECONFIG": "/a", "K8S_AUTH_HOST": "https://x", "K8S_AUTH_VERIFY_SSL": "no", "OTHER": "y"}
    found = from_environment("app_info", {"host": "https://given"}, environment)
    assert found == {"host": "https://given", "kubeconfig": "/a", "validate_certs": "no"}
    assert connection(found)["validate_certs"] is False
