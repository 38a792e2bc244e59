# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of the collection's own errors."""

from __future__ import annotations


class PlatformError(Exception):
    """Something cannot be done; the message is for whoever runs the task."""
