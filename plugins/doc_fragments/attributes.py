# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes of the modules for applications and tenants."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of how modules run. Each module documents its diff mode."""

    DOCUMENTATION = r"""
attributes:
  action:
    description: Has an action plugin, which runs on the controller.
    support: full
  async:
    description: Supports C(async).
    support: none
  bypass_host_loop:
    description: Runs once for all hosts of a play, as with C(run_once).
    support: none
  check_mode:
    description: Returns what would change, and changes nothing.
    support: full
  diff_mode:
    description: Shows what changes.
    support: full
  platform:
    description: Systems that the module runs on.
    support: full
    platforms: posix
"""
