# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of a namespace, kept current by watches: one connection for each kind."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from .client import ApiError, ConfigError, Kube, KubeError
from .kinds import Object

WATCH_SECONDS = 60


def nothing() -> None:
    """Do nothing."""


class Watcher:
    """The objects of some kinds that match a selector in a namespace, kept current by watches until closed."""

    def __init__(self, kube: Kube, namespace: str, selector: str, kinds: Iterable[str]) -> None:
        self._kube, self._namespace, self._selector = kube, namespace, selector
        self.kinds = sorted(set(kinds))
        self._changed = threading.Condition()
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in self.kinds}
        self._closed = False
        self._error: KubeError | None = None
        versions = {kind: self._load(kind) for kind in self.kinds}
        for kind in self.kinds:
            threading.Thread(target=self._follow, args=(kind, versions[kind]), daemon=True).start()

    def close(self) -> None:
        """Stop following."""
        self._closed = True

    def of(self, kind: str) -> list[Object]:
        """Return the current objects of a kind."""
        with self._changed:
            return list(self._objects[kind].values())

    def wait(
        self, settled: Callable[[], Any], seconds: float, pulse: Callable[[], None] = nothing, every: float = math.inf
    ) -> Any:
        """Return what `settled` returns as soon as it is true, None after the time.

        pulse is called every so many seconds meanwhile.
        """
        end = time.monotonic() + seconds
        next_pulse = time.monotonic() + every
        while True:
            if self._error is not None:
                raise self._error
            answer = settled()
            if answer:
                return answer
            now = time.monotonic()
            if now >= end:
                return None
            if now >= next_pulse:
                pulse()
                next_pulse = now + every
            with self._changed:
                self._changed.wait(min(1.0, end - now))

    def note(self, entry: Object) -> None:
        """Store an object that a request has just returned, so that no older one is evaluated."""
        with self._changed:
            self._keep(entry["kind"], entry)

    def _load(self, kind: str) -> str:
        items, version = self._kube.list_version(kind, self._namespace, self._selector)
        with self._changed:
            self._objects[kind] = {entry["metadata"]["name"]: {**entry, "kind": kind} for entry in items}
            self._changed.notify_all()
        return version

    def _follow(self, kind: str, version: str) -> None:
        while not self._closed:
            try:
                version = self._stream(kind, version) or self._load(kind)
            except (ConfigError, ApiError) as error:
                if isinstance(error, ApiError) and error.status in (410, 429, 500, 503, 504):
                    time.sleep(1)
                    version = ""
                    continue
                self._error = error
                return
            except KubeError:
                time.sleep(0.5)
            time.sleep(0.05)

    def _stream(self, kind: str, version: str) -> str:
        """Follow one watch to its end; return the version to continue from, "" when a new list is needed."""
        if not version:
            return ""
        for event in self._kube.watch(kind, self._namespace, self._selector, version, WATCH_SECONDS):
            entry = event.get("object") or {}
            if self._closed:
                return version
            if event.get("type") == "ERROR":
                return ""
            version = entry["metadata"]["resourceVersion"]
            if event.get("type") == "BOOKMARK":
                continue
            with self._changed:
                if event["type"] == "DELETED":
                    self._objects[kind].pop(entry["metadata"]["name"], None)
                    self._changed.notify_all()
                else:
                    self._keep(kind, entry)
        return version

    def _keep(self, kind: str, entry: Object) -> None:
        """Store an object unless a newer generation of it is known: a watch may lag behind an answer."""
        meta = entry["metadata"]
        known = (self._objects[kind].get(meta["name"]) or {}).get("metadata") or {}
        if known.get("uid") != meta.get("uid") or known.get("generation", 0) <= meta.get("generation", 0):
            self._objects[kind][meta["name"]] = entry
        self._changed.notify_all()


def until(
    kube: Kube, kind: str, namespace: str, selector: str, settled: Callable[[list[Object]], bool], seconds: float
) -> bool:
    """Watch the objects of a kind that match a selector until they are as wanted; return False on timeout."""
    with contextlib.closing(Watcher(kube, namespace, selector, [kind])) as watcher:
        return bool(watcher.wait(lambda: settled(watcher.of(kind)), seconds))
