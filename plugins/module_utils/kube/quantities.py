# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantities of Kubernetes."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

QUANTITY = re.compile(r"\+?(?P<number>\d+\.?\d*|\.\d+)(?P<suffix>m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?\d+)?\Z")
POWERS = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "m": -3}
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(text: str) -> Decimal | None:
    """Return the value of a Kubernetes quantity such as 100m, 0.5 or 64Mi; None when it is none."""
    match = QUANTITY.match(text.strip())
    if not match:
        return None
    suffix = match["suffix"] or ""
    try:
        number = Decimal(match["number"])
        if suffix in BINARY:
            return number * Decimal(1024) ** BINARY[suffix]
        power = POWERS[suffix] if suffix in POWERS else int(suffix[1:])
        return number.scaleb(power)
    except (InvalidOperation, ValueError):
        return None
