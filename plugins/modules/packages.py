#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install Debian packages on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Queries dpkg, and calls apt only if a package is missing. If all are installed, this takes about ten milliseconds
    and needs neither the network nor the package C(python3-apt) that M(ansible.builtin.apt) installs.
options:
  name:
    description: Names of packages.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: Returns the packages that would be installed.
"""

EXAMPLES = r"""
- name: Install HAProxy
  cloudbang.platform.packages:
    name: [haproxy]
"""

RETURN = r"""
installed:
  description: Packages that were, or in check mode would be, installed.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
APT = ["apt-get", "--yes", "--quiet", "-o", "DPkg::Lock::Timeout=300"]


def missing(module: AnsibleModule, names: list[str]) -> list[str]:
    """Return the names that are not installed, those of packages that others provide included."""
    _code, out, _err = module.run_command(["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Provides}\n"])
    present: set[str] = set()
    for line in out.splitlines():
        status, _space, rest = line.partition(" ")
        if status == "installed":
            present.update(word.strip(",").split(":")[0] for word in rest.split())
    return [name for name in names if name not in present]


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    wanted = missing(module, module.params["name"])
    if wanted and not module.check_mode:
        install = [*APT, "--no-install-recommends", "install", *wanted]
        code, out, err = module.run_command(install, environ_update=ENVIRONMENT)
        if code:
            module.run_command([*APT, "update"], environ_update=ENVIRONMENT)
            # A stopped run may have left packages unpacked but not configured.
            module.run_command(["dpkg", "--configure", "-a"], environ_update=ENVIRONMENT)
            code, out, err = module.run_command(install, environ_update=ENVIRONMENT)
        if code:
            module.fail_json(
                msg=f"apt-get could not install {', '.join(wanted)} (exit {code}): {(err or out).strip()[-2000:]}"
            )
    module.exit_json(changed=bool(wanted), installed=wanted)


if __name__ == "__main__":
    main()
