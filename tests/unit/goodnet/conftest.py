# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests import GoodNet's package the way hosts do: as goodnet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "src" / "goodnet"
if str(PACKAGE) not in sys.path:
    sys.path.insert(0, str(PACKAGE))

from virtual import Underlay


@pytest.fixture(scope="session", params=["vxlan", "gre"])
def underlay(request: pytest.FixtureRequest) -> Iterator[Underlay]:
    """Two hosts with a virtual Open vSwitch each, once for every encapsulation."""
    made = Underlay(request.param)
    try:
        made.start()
        yield made
    finally:
        made.stop()
