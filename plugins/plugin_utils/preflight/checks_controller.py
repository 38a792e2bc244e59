# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the controller's configuration: directories, libraries, and trust in hosts and mirrors."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from pathlib import Path

from ..artifacts.resolve import mirror_finding
from .inventory import HostFinding, Inventory, check

HOST = "controller"
# Where roles write on the controller; of the last two it is the directory of the file.
DIRECTORIES = ("cloudbang_state_dir", "cloudbang_pki_dir", "artifacts_cache_dir")
FILES = ("artifacts_lock_file", "kube_control_plane_admin_kubeconfig")


@check("inventory")
def facts_are_no_variables(inventory: Inventory) -> Iterator[HostFinding]:
    """A host returns facts of any name, at any time: as variables they would come before those of the roles."""
    if inventory.inject_facts:
        yield HostFinding(
            HOST,
            "facts_as_variables",
            "inject_facts_as_vars",
            "true, with which a host can set variables such as artifacts_mirror",
            "false",
            "set inject_facts_as_vars = false below [defaults] in ansible.cfg, or ANSIBLE_INJECT_FACT_VARS=false",
        )


def this_user() -> str:
    """Return the name of the user of Ansible, or its number where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


@check("hosts")
def directories_can_be_written(inventory: Inventory) -> Iterator[HostFinding]:
    """Ansible runs as any user, who has to own what an earlier run made, perhaps one as root."""
    # A pipeline that judges the inventory alone installs nothing from where it runs.
    for name in (*DIRECTORIES, *FILES) if inventory.facts else ():
        for _host, value in inventory.shared(name):
            if not isinstance(value, str) or not value:
                continue
            path = Path(value).expanduser()
            place = path.parent if name in FILES else path
            while not os.path.exists(place) and place != place.parent:
                place = place.parent
            if os.path.isdir(place) and os.access(place, os.R_OK | os.W_OK | os.X_OK):
                continue
            user = this_user()
            found = f"{place}, which user {user} may not write" if os.path.isdir(place) else f"{place}, a file"
            hint = f"chown -R {user} it when it should belong to this user, or set {name}"
            yield HostFinding(HOST, "controller", name, found, f"a directory that {user} may read and write", hint)


@check("inventory")
def mirror_is_pinned(inventory: Inventory) -> Iterator[HostFinding]:
    hosts = inventory.nodes or inventory.hosts[:1]
    found = {}
    for host in hosts:
        source, mirror, pinned = (
            str(inventory.get(host, "artifacts_" + name, "")) for name in ("source", "mirror", "mirror_sha256")
        )
        wrong = mirror_finding(mirror if source == "mirror" else None, pinned.lower())
        if wrong is not None:
            found[host] = wrong
    for host, (text, wanted) in found.items():
        yield HostFinding(host, "mirror_unpinned", "artifacts_mirror_sha256", text, wanted)
