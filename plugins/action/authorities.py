# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""M(cloudbang.platform.authorities): what makes a cluster itself, on the controller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import (
    Authority,
    AuthorityError,
    ensure_htpasswd,
    ensure_key_pair,
    ensure_secret,
    locked,
    require_libraries,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.cluster_identity import (
    RECORD,
    another,
    encoded,
    recorded,
)

# Names are those of files, and a user's starts a line of an htpasswd file.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def outdated(directory: Path, addresses: list[str]) -> bool:
    return bool(addresses) and set(recorded(directory)) != set(addresses)


class ActionModule(ActionBase):
    """Creates missing files and keeps existing ones."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(
            {
                "directory": {"type": "path", "required": True},
                "authorities": {"type": "dict", "default": {}},
                "key_pairs": {"type": "list", "elements": "str", "default": []},
                "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
                "htpasswd": {"type": "dict", "default": {}},
                "addresses": {"type": "list", "elements": "str", "default": []},
            }
        )
        directory = Path(options["directory"]).expanduser()
        for kind in ("authorities", "key_pairs", "secrets", "htpasswd"):
            for name in options[kind]:
                if not NAME.fullmatch(str(name)):
                    raise AnsibleActionFail(f"{kind}: found {name!r}, wanted a name of letters, digits and ._-")
        addresses = options["addresses"]
        other = another(directory, addresses)
        if other:
            raise AnsibleActionFail(
                f"{directory}: found the authorities of a cluster with {', '.join(other)}, wanted those of the cluster "
                f"with {', '.join(addresses)}; give each cluster a directory of its own, or remove {RECORD} there when "
                "the cluster has got other addresses"
            )
        if self._task.check_mode:
            names = [f"{name}.crt" for name in options["authorities"]]
            names += [f"{name}.pub" for name in options["key_pairs"]] + options["secrets"]
            names += [f"{user}.htpasswd" for user in options["htpasswd"]]
            made = [name for name in names if not (directory / name).exists()]
            made += [RECORD] if outdated(directory, addresses) else []
            return {**result, "changed": bool(made), "made": made}
        made = []
        try:
            require_libraries()
            with locked(directory):
                for name, common_name in options["authorities"].items():
                    if Authority.ensure(directory, name, str(common_name)):
                        made.append(f"{name}.crt")
                made += [f"{name}.pub" for name in options["key_pairs"] if ensure_key_pair(directory, name)]
                made += [name for name in options["secrets"] if ensure_secret(directory, name)]
                made += [
                    f"{user}.htpasswd"
                    for user, name in options["htpasswd"].items()
                    if ensure_htpasswd(directory, user, name)
                ]
                if outdated(directory, addresses):
                    atomic.write(directory / RECORD, encoded(addresses))
                    made.append(RECORD)
        except (AuthorityError, OSError) as error:
            raise AnsibleActionFail(f"{directory}: {error}") from error
        return {**result, "changed": bool(made), "made": made}
