# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action takes and returns, whoever runs it: a module, a console or a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube


def silent(message: str) -> None:
    """Say nothing about long work."""


@dataclass(frozen=True)
class Context:
    """The cluster to act on, and how. progress is told about long work; `secrets` must not appear in any output."""

    kube: Kube
    check_mode: bool = False
    progress: Callable[[str], None] = silent
    secrets: list[str] = field(default_factory=list, repr=False)

    def hide(self, values: Iterable[str]) -> None:
        """Add secrets, which an action may learn only while it runs."""
        self.secrets.extend(values)


@dataclass
class Outcome:
    """What an action has done, or would do in check mode.

    `values` are the return values that only its module has. `diff` has mappings of before_header, after_header, before
    and after; None when nothing can differ. `parts` are outcomes for each of several apps or routes, by the name of the
    return value that lists them. `unknown` says whether the answer to a change got lost, None when that is no question.
    """

    changed: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    diff: list[dict[str, Any]] | None = None
    warnings: list[str] = field(default_factory=list)
    parts: dict[str, list[Outcome]] = field(default_factory=dict)
    failed: bool = False
    message: str = ""
    unknown: bool | None = None

    def fail(self, message: str = "", unknown: bool | None = None) -> Outcome:
        """Record a failure, after which what was done before stays done, and return the outcome."""
        self.failed, self.message = True, message or self.message
        self.unknown = self.unknown if unknown is None else unknown
        return self
