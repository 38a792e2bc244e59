# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions: ranges of all kinds of manifests, and the offered version that each leads to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import versions
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.versions import Offered, Range

OFFERED = Offered(
    {
        "node": ("22.11.0", "18.20.8", "20.19.2", "25.1.0"),
        "python": ("3.13", "3.11"),
        "php": ("8.2", "8.4"),
    },
    {"node": "22.11.0"},
)


@pytest.mark.parametrize(
    ("name", "parse", "text", "chosen"),
    [
        ("node", versions.npm, "^20", "20.19.2"),
        ("node", versions.npm, "20.x", "20.19.2"),
        ("node", versions.npm, "v20", "20.19.2"),
        ("node", versions.npm, ">=18 <23", "22.11.0"),
        ("node", versions.npm, ">= 18.0.0", "25.1.0"),
        ("node", versions.npm, "18 || 20", "20.19.2"),
        ("node", versions.npm, "~20.19", "20.19.2"),
        ("node", versions.npm, "~20.1", ""),
        ("node", versions.npm, "20.10.0", ""),
        ("node", versions.npm, "<=20", "20.19.2"),
        ("node", versions.npm, ">20", "25.1.0"),
        ("node", versions.npm, ">20 <22", ""),
        ("node", versions.npm, "18 - 20", "20.19.2"),
        ("node", versions.npm, "*", "25.1.0"),
        ("node", versions.npm, "^0.10", ""),
        ("python", versions.python, ">=3.11,<3.13", "3.11"),
        ("python", versions.python, "~=3.11", "3.13"),
        ("python", versions.python, "~=3.11.2", "3.11"),
        ("python", versions.python, "==3.11.*", "3.11"),
        ("python", versions.python, "!=3.13.*,>=3.10", "3.11"),
        ("python", versions.python, "^3.11", "3.13"),
        ("python", versions.python, "~3.11", "3.11"),
        ("python", versions.python, ">=3.13.2", "3.13"),
        ("python", versions.python, "<3.13.2", "3.11"),
        ("python", versions.python, "<=3.13", "3.11"),
        ("python", versions.python, "3.12", ""),
        ("python", versions.python, "~> 3.11.0", "3.11"),
        ("php", versions.composer, "^8.1", "8.4"),
        ("php", versions.composer, "~8.2", "8.4"),
        ("php", versions.composer, "~8.2.0", "8.2"),
        ("php", versions.composer, "8.2.* | 8.3.*", "8.2"),
        ("php", versions.composer, ">=7.4 <8.3", "8.2"),
        ("php", versions.composer, "^7.4", ""),
        ("node", versions.at_least, "18.1", "18.20.8"),
        ("node", versions.or_newer, "18.1", "25.1.0"),
        ("python", versions.exactly, "3.13.2", "3.13"),
        ("python", versions.exactly, "3", "3.13"),
        ("node", versions.exactly, "20.x", "20.19.2"),
    ],
)
def test_the_newest_version_of_a_range(name: str, parse: Callable[[str], Range], text: str, chosen: str) -> None:
    assert OFFERED.newest(name, parse(text)) == chosen


@pytest.mark.parametrize("parse", [versions.npm, versions.python, versions.composer])
@pytest.mark.parametrize("text", ["latest", ">=", "1.2.3.4.5.6", "x" * 300, "1 2 banana", "^^1", "==", "lts/*"])
def test_what_is_no_range(parse: Callable[[str], Range], text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("text", ["3.14.0rc1", "", "pypy3.10", "9" * 30, "3.11-dev"])
def test_what_is_no_exact_version(text: str) -> None:
    with pytest.raises(ValueError):
        versions.exactly(text)


def test_defaults() -> None:
    assert OFFERED.default("node") == "22.11.0" and OFFERED.default("python") == "3.13" and OFFERED.default("go") == ""
    assert OFFERED.listed("node") == "18.20.8, 20.19.2, 22.11.0, 25.1.0" and OFFERED.listed("go") == "none"
    assert OFFERED.oldest("node", versions.or_newer("19")) == "20.19.2"


def test_a_finer_version_is_known() -> None:
    assert versions.exactly("3.13.2").finer("3.13") and not versions.exactly("3.13").finer("3.13")
    assert not versions.npm(">=3.13.2").finer("3.13")
