# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of the collection document, their fragments included."""

from __future__ import annotations

import importlib
from typing import Any

import yaml

PLUGINS = "ansible_collections.cloudbang.platform.plugins"


def documented(module: str) -> dict[str, Any]:
    """Return the options of a module as its documentation has them, by name."""
    document = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{module}").DOCUMENTATION)
    found: dict[str, Any] = document["options"]
    for slug in document.get("extends_documentation_fragment", []):
        name, _dot, variable = slug.removeprefix("cloudbang.platform.").partition(".")
        fragment = importlib.import_module(f"{PLUGINS}.doc_fragments.{name}").ModuleDocFragment
        text = getattr(fragment, variable.upper() or "DOCUMENTATION")
        for option, value in yaml.safe_load(text).get("options", {}).items():
            # As Ansible does it: what the module says of an option goes before what the fragment says.
            found[option] = {**value, **found.get(option, {})}
    return found
