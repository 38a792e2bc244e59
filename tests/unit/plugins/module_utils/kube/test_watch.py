# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting on watches, and reads that the credentials may not allow; the API is a list of what it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import (
    ApiError,
    KubeError,
    Unreachable,
    if_allowed,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import until


def pod(name: str, ready: bool, version: str = "2") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}, "status": {"ready": ready}}


class Api:
    """Lists and watches that are answered in turn; the last watch shows nothing for as long as it may."""

    def __init__(self, lists: list[list[dict[str, Any]]], watches: list[Any]) -> None:
        self.lists, self.watches = list(lists), list(watches)

    def list_version(self, _kind: str, _namespace: str, _selector: str) -> tuple[list[dict[str, Any]], str]:
        return self.lists.pop(0), "1"

    def watch(self, *_asked: Any) -> Iterator[dict[str, Any]]:
        if not self.watches:
            time.sleep(5)
            return
        answer = self.watches.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield from answer


def all_ready(pods: list[dict[str, Any]]) -> bool:
    return bool(pods) and all(entry["status"]["ready"] for entry in pods)


def event(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": entry}


@pytest.mark.parametrize(
    ("lists", "watches"),
    [
        ([[pod("a", True)]], []),
        ([[pod("a", False)]], [[event("MODIFIED", pod("a", True))]]),
        ([[]], [[event("ADDED", pod("a", False))], [event("MODIFIED", pod("a", True))]]),
        ([[pod("a", False), pod("b", True)]], [[event("BOOKMARK", pod("a", True)), event("DELETED", pod("a", False))]]),
        ([[pod("a", False)]], [Unreachable("gone"), [event("MODIFIED", pod("a", True))]]),
        ([[pod("a", False)], [pod("a", True)]], [ApiError(410, "too old")]),
        ([[pod("a", False)], [pod("a", True)]], [[event("ERROR", {"code": 410})]]),
    ],
    ids=["at once", "by an event", "over two watches", "by what goes", "without the API", "too old", "told too old"],
)
def test_waiting_ends_when_objects_are_as_wanted(lists: list[Any], watches: list[Any]) -> None:
    api: Any = Api(lists, watches)
    assert until(api, "Pod", "acme", "app=shop", all_ready, 20)


def test_waiting_ends_with_the_time() -> None:
    api: Any = Api([[pod("a", False)]], [])
    started = time.monotonic()
    assert not until(api, "Pod", "acme", "app=shop", all_ready, 0.2)
    assert time.monotonic() - started < 5


def test_a_watch_that_is_refused_is_an_error() -> None:
    api: Any = Api([[pod("a", False)]], [ApiError(403, "not allowed")])
    with pytest.raises(KubeError, match="not allowed"):
        until(api, "Pod", "acme", "app=shop", all_ready, 20)


def test_what_is_not_allowed_is_none() -> None:
    def refused(status: int) -> list[str]:
        raise ApiError(status, "no")

    assert if_allowed(lambda: ["found"]) == ["found"]
    assert if_allowed(lambda: refused(403)) is None
    with pytest.raises(ApiError):
        if_allowed(lambda: refused(404))
