# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress messages of long work: frequent enough to show that it runs, rare enough to read."""

from __future__ import annotations

import threading
import time
from typing import Callable

Progress = Callable[[str], None]

INTERVAL_S = 10.0


def silent(message: str) -> None:
    """A progress callback that prints nothing."""


def duration(seconds: float) -> str:
    """75.3 -> 1m15s"""
    total = int(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02}s"
    return f"{total // 3600}h{total % 3600 // 60:02}m"


def mebibytes(size: int) -> str:
    return "%.1f MiB" % (size / 1048576.0)


class Ticker:
    """Calls progress with a fresh message every INTERVAL_S while a block runs, from a thread of its own."""

    def __init__(self, progress: Progress, message: Callable[[float], str], interval: float = INTERVAL_S) -> None:
        self._progress = progress
        self._message = message
        self._interval = interval
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def __enter__(self) -> Ticker:
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._interval):
            self._progress(self._message(self.elapsed))
