# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that renders the admission policies of tenants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.admission import manifests


def admission_policies(registry: str, shared: Sequence[str]) -> list[dict[str, Any]]:
    """Return the policies as Kubernetes objects, in the order in which they are to be made."""
    if isinstance(shared, str):
        raise AnsibleFilterError(f"shared images: found the text {shared!r}, wanted a list")
    try:
        return manifests(str(registry), [str(entry) for entry in shared])
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"admission_policies": admission_policies}
