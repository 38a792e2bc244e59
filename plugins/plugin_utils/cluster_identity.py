# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose authorities a directory of the controller has: a record of the addresses of their cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

RECORD = "cluster.json"


def recorded(directory: Path) -> list[str]:
    """Return the addresses of the cluster whose authorities are in a directory, nothing when nobody recorded any."""
    try:
        found = json.loads((directory / RECORD).read_text(encoding="utf-8"))["addresses"]
        return [str(one) for one in found]
    except (OSError, ValueError, TypeError, LookupError):
        return []


def encoded(addresses: Iterable[str]) -> bytes:
    """Return the record of a cluster with some addresses."""
    return json.dumps({"addresses": sorted(set(addresses))}, indent=1).encode() + b"\n"


def another(directory: Path, addresses: Iterable[str]) -> list[str]:
    """Return the recorded addresses when they are of another cluster than one with these: none of them is the same."""
    found, mine = recorded(directory), set(addresses)
    return found if mine and not mine & set(found) else []
