# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""System users of services on a host."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

SHELL = "/usr/sbin/nologin"


def create(module: AnsibleModule, users: Iterable[Mapping[str, Any]]) -> list[str]:
    """Create system users without a login, and correct home, shell and a given group of those that exist.

    users: `name`, `home`, which is not created, and `group`, the primary group, or None for one with the user's name.
    Returns the names of those that were, or in check mode would be, created or changed. Raises HostError.
    """
    changed = []
    for user in users:
        command = _command(user["name"], user["home"], user["group"])
        if not command:
            continue
        changed.append(user["name"])
        if module.check_mode:
            continue
        program = module.get_bin_path(command[0], required=True)
        code, _out, err = module.run_command([program, *command[1:], user["name"]])
        if code:
            raise HostError(f"user {user['name']}: `{' '.join(command)}` failed (exit {code}): {err.strip()}")
    return changed


def _command(name: str, home: str, group: str | None) -> list[str]:
    """Return the command, without the name of the user, that creates or corrects it; nothing when it is as wanted."""
    try:
        known = pwd.getpwnam(name)
    except KeyError:
        own = ["--gid", group or name] if group or _group_id(name) is not None else ["--user-group"]
        return ["useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", SHELL, *own]
    options = ["--home", home] if known.pw_dir != home else []
    options += ["--shell", SHELL] if known.pw_shell != SHELL else []
    options += ["--gid", group] if group and _group_id(group) != known.pw_gid else []
    return ["usermod", *options] if options else []


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
