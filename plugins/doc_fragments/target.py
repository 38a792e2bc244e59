# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that name an app."""

from __future__ import annotations


class ModuleDocFragment:
    """Name and tenant of an app."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the app.
    type: str
    required: true
  tenant:
    description: Name of the app's tenant.
    type: str
    required: true
"""
