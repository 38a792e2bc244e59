# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action is run with, whoever runs it: a module, a console or a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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
