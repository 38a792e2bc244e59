# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that everything here raises."""

from __future__ import annotations

from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError


class ArtifactError(PlatformError):
    """A file is not available: the message has its name, source, value found, value wanted and the next step.

    final: no other source may stand in for this one, as when a published file was changed.
    """

    def __init__(
        self,
        subject: str,
        *,
        found: str,
        wanted: str = "",
        source: str = "",
        where: str = "",
        next_step: str = "",
        final: bool = False,
    ) -> None:
        self.subject = subject
        self.final = final
        self.found = found
        self.wanted = wanted
        self.source = source
        self.where = where
        self.next_step = next_step
        origin = " ".join(part for part in (source, where) if part)
        message = subject + (" from " + origin if origin else "") + ": found " + found
        if wanted:
            message += "; wanted " + wanted
        if next_step:
            message += ". " + next_step[0].upper() + next_step[1:]
        super().__init__(message)


def combined(errors: list[ArtifactError]) -> ArtifactError:
    """One error for several components that failed side by side."""
    if len(errors) == 1:
        return errors[0]
    return ArtifactError(
        f"{len(errors)} components",
        found="; ".join(str(error) for error in errors),
    )


def tail(text: str, lines: int = 15) -> str:
    """The last non-empty lines of a command's output."""
    kept: list[str] = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


def first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if (text or "").strip() else ""
