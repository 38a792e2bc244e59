# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages on a host.

dpkg is asked, and apt only for what is missing. If all are installed, this takes about ten milliseconds and needs
neither the network nor the package python3-apt that M(ansible.builtin.apt) installs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
APT = ["apt-get", "--yes", "--quiet", "-o", "DPkg::Lock::Timeout=300"]


def missing(module: AnsibleModule, names: list[str]) -> list[str]:
    """Return the names that are not installed, those of packages that others provide included."""
    if not names:
        return []
    _code, out, _err = module.run_command(["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Provides}\n"])
    present: set[str] = set()
    for line in out.splitlines():
        status, _space, rest = line.partition(" ")
        if status == "installed":
            present.update(word.strip(",").split(":")[0] for word in rest.split())
    return [name for name in names if name not in present]


def install(module: AnsibleModule, names: list[str]) -> list[str]:
    """Install packages; return those that were, or in check mode would be, installed. Raises HostError."""
    wanted = missing(module, names)
    if not wanted or module.check_mode:
        return wanted
    command = [*APT, "--no-install-recommends", "install", *wanted]
    code, out, err = module.run_command(command, environ_update=ENVIRONMENT)
    if code:
        module.run_command([*APT, "update"], environ_update=ENVIRONMENT)
        # A stopped run may have left packages unpacked but not configured.
        module.run_command(["dpkg", "--configure", "-a"], environ_update=ENVIRONMENT)
        code, out, err = module.run_command(command, environ_update=ENVIRONMENT)
    if code:
        raise HostError(f"apt-get could not install {', '.join(wanted)} (exit {code}): {(err or out).strip()[-2000:]}")
    return wanted
