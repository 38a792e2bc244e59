# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports written as numbers and ranges with commas between them, such as 25000-25009,5432."""

from __future__ import annotations

import re

_PART = re.compile(r"([0-9]{1,5})(-([0-9]{1,5}))?\Z")


def numbers(text: str) -> list[int]:
    """Return the ports in the order of the text. Raises ValueError with the reason."""
    found: list[int] = []
    for part in text.split(",") if text.strip() else []:
        match = _PART.match(part.strip())
        if match is None:
            raise ValueError(f"{part.strip() or 'nothing'} between the commas")
        low, high = int(match[1]), int(match[3] or match[1])
        if not 1 <= low <= high <= 65535:
            raise ValueError(part.strip())
        twice = [port for port in range(low, high + 1) if port in found]
        if twice:
            raise ValueError(f"{twice[0]} twice")
        found += range(low, high + 1)
    return found
