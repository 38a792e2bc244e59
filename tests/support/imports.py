# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The imports of Python files, for tests of the allowed dependencies between packages."""

from __future__ import annotations

import ast
import functools


@functools.cache
def imports(text: str, package: str) -> tuple[str, ...]:
    """Return the full names of all modules, and of names in modules, that a file of a package imports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += (entry.name for entry in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found += (f"{start}.{entry.name}" for entry in node.names)
    return tuple(found)
