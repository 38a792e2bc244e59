# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For what the end-to-end tests do not have: check mode on a converged host finds nothing to change."""

from __future__ import annotations

from scenario import changes, converge


def test_check_mode_on_a_converged_host_changes_nothing() -> None:
    report = converge("--check", "--diff")
    assert changes(report) == []
    assert sum(stats["changed"] for stats in report["stats"].values()) == 0
