# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests import the collection the way ansible does: as ansible_collections.cloudbang.platform."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "build" / "collections"
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))
# Last, as programs there have the names of libraries.
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
