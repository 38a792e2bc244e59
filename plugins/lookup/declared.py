# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of this cluster's roles in meta/platform.yml."""

from __future__ import annotations

DOCUMENTATION = r"""
name: declared
short_description: Declarations of a cluster's roles
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Returns declarations of this collection's roles in C(meta/platform.yml), so that no list of roles is needed.
options:
  _terms:
    description:
      - V(images) are the images in the registry, each with C(artifact), C(repository) and C(tag), of the roles that the
        variables of this cluster select.
      - V(reset) are the leftovers of O(role), or else of all roles, on hosts, in the format of
        M(cloudbang.platform.node_reset).
      - V(packages) are the Debian packages, and V(package_units) the units that come with them, of all roles.
    type: list
    elements: str
    choices: [images, packages, package_units, reset]
    required: true
  role:
    description: Name of a single role for V(reset).
    type: str
"""

EXAMPLES = r"""
- name: Push the images of all roles that are part of this cluster
  cloudbang.platform.registry_images:
    registry: "{{ cloudbang_registry_push }}"
    images: "{{ query('cloudbang.platform.declared', 'images') }}"
"""

RETURN = r"""
_list:
  description: Images, or names, each once.
  type: list
  elements: raw
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.lookup import LookupBase

from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight import options


@cache
def load(path: str) -> Any:
    """Return the content of a YAML file. Preflight evaluates defaults of roles, and with them this, for each host."""
    return yaml_load(Path(path).read_text(encoding="utf-8"))


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        given, defaults = variables or {}, options.defaults(load)

        def value(name: str) -> Any:
            return self._templar.template(given[name]) if name in given else defaults.get(name)

        try:
            everything = declarations.roles(load)
        except declarations.DeclarationError as error:
            raise AnsibleError(str(error)) from error
        answers: dict[str, Callable[[], list[Any]]] = {
            "images": lambda: [
                {"artifact": one.artifact, "repository": one.repository, "tag": one.tag}
                for one in declarations.images(everything, value)
            ],
            "packages": lambda: declarations.packages(everything, value),
            "reset": lambda: [
                # Without tuples, which ansible-core before 2.19 does not keep.
                json.loads(json.dumps({key: found for key, found in asdict(role.reset).items() if found}))
                for role in everything
                if role.reset is not None and kwargs.get("role") in (None, role.name)
            ],
            "package_units": lambda: sorted({unit for role in everything for unit in role.package_units}),
        }
        if unknown := [term for term in terms if term not in answers]:
            raise AnsibleError(f"declared: found {', '.join(unknown)}, wanted some of {', '.join(answers)}")
        return [one for term in terms for one in answers[term]()]
