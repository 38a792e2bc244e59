# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.port_ranges import numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [("", []), (" ", []), ("5", [5]), ("5-7", [5, 6, 7]), ("9, 5-6", [9, 5, 6]), ("65535-65535", [65535])],
)
def test_ports(text: str, found: list[int]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("x", "x between the commas"),
        ("5,", "nothing between"),
        ("5 6", "5 6 between"),
        ("-5", "-5 between"),
        ("7-5", "7-5"),
        ("0", "0"),
        ("65536", "65536"),
        ("5-7,6", "6 twice"),
        ("5\n-7", "between"),
    ],
)
def test_what_are_no_ports(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        numbers(text)
