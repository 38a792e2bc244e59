# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that roll out a release."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of waiting for a rollout, and of its failure."""

    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until the release runs, or has ended.
      - Without waiting, the task does not notice a failed rollout, and does not roll it back.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
  on_failure:
    description:
      - Action if the rollout fails or does not finish in time. The task fails either way, with the reason, events and
        log.
      - V(rollback) rolls back to the last release that ran, as a new release. Without one, the objects of the app are
        removed and the record of the failed release stays.
      - V(keep) leaves everything as it is.
    type: str
    choices: [rollback, keep]
    default: rollback
"""
