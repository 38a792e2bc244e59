# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether keepalived has given the external addresses to this host.

It runs `goodnetctl provider master|backup`, which leaves the word in a file, where an agent that was stopped finds it.
Addresses wait for this, so little is imported.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from goodnet.files import write_durably

MASTER = "master"
BACKUP = "backup"


def role(file: Path) -> str:
    """Return what keepalived said last; backup when it said nothing that is whole."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if file.read_text(encoding="ascii").strip() == MASTER:
            return MASTER
    return BACKUP


def set_role(file: Path, word: str) -> None:
    """Keep what keepalived says. ValueError for another word."""
    if word not in (MASTER, BACKUP):
        raise ValueError(f"role of the provider: found {word}, wanted {MASTER} or {BACKUP}")
    write_durably(file, f"{word}\n")
