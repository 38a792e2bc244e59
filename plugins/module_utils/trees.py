# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that hosts get as a whole."""

from __future__ import annotations


def ignored(name: str) -> bool:
    """Return whether a name in a tree is neither sent nor removed: it is hidden, or what Python compiles."""
    return name.startswith(".") or name == "__pycache__"
