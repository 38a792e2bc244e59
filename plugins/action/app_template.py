# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.app_template)."""

from __future__ import annotations

from ansible_collections.cloudbang.platform.plugins.plugin_utils.app_action import AppAction


class ActionModule(AppAction):
    """Runs M(cloudbang.platform.app_template) in the controller's process."""

    MODULE = "app_template"
