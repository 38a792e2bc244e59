# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run kubectl on a management host."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PROGRAM = "/usr/local/bin/kubectl"


def kubectl(module: AnsibleModule, *arguments: str, data: str | None = None) -> tuple[int, str, str]:
    """Run kubectl with the module's option `kubeconfig`; return its exit code, output and errors."""
    command = [PROGRAM, f"--kubeconfig={module.params['kubeconfig']}", *arguments]
    code, out, err = module.run_command(command, data=data)
    return int(code), str(out), str(err)
