# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules that run on nodes share."""

from __future__ import annotations

from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError


class HostError(PlatformError):
    """An operation that the host does not allow; the message has the operation, the path and the next step."""
