# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between releases, and which release is promoted: tables of plain data."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.history import changes, history
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import read_spec
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import (
    Release,
    ReleaseError,
    promotable,
)

WEB: dict[str, Any] = {
    "name": "web", "command": None, "args": None, "ports": [], "resources": {},
    "readiness": None, "liveness": None, "startup": None,
}  # fmt: skip
PORT = {"name": "http", "port": 1, "protocol": "TCP"}
SPEC: dict[str, Any] = {
    "image": "x/y:1",
    "type": "web",
    "processes": [WEB],
    "env": {"MODE": "a"},
    "secret_env": {"KEY": "0123456789ab"},
    "files": [{"path": "/a", "key": "fa", "mode": 292, "secret": False, "content": "0123456789ab"}],
    "drain": 5,
    "grace": 30,
    "image_pull_secrets": [],
    "env_secret": "shop.env.1",
    "files_secret": "shop.files.1",
}
EDGE = {"kind": "app", "tenant": "acme", "target": "api", "env": {}, "secret_env": {}, "secret": "shop.bind.1"}
NONE: dict[str, Any] = {"image": None, "env": [], "files": [], "processes": [], "bindings": [], "settings": []}


def release(version: int, status: str = "good", **spec: Any) -> Release:
    origin = {"action": "deploy", "source": None, "created": "", "by": "ann@host", "message": "", "heartbeat": 0.0}
    return Release("shop", "acme", version, "d", "salt", read_spec({**SPEC, **spec}), {}, status=status, **origin)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({}, {}),
        ({"image": "x/y:2"}, {"image": {"before": "x/y:1", "after": "x/y:2"}}),
        ({"env": {"MODE": "b"}}, {"env": ["MODE"]}),
        ({"secret_env": {"KEY": "ba9876543210"}}, {"env": ["KEY"]}),
        ({"env": {}, "secret_env": {"KEY": "0123456789ab", "MODE": "a"}}, {"env": ["MODE"]}),
        ({"files": [{**SPEC["files"][0], "mode": 256}]}, {"files": ["/a"]}),
        ({"files": []}, {"files": ["/a"]}),
        ({"processes": [{**WEB, "ports": [PORT]}, {**WEB, "name": "worker"}]}, {"processes": ["web", "worker"]}),
        ({"bindings": [EDGE]}, {"bindings": ["acme/api"]}),
        ({"strategy": "blue_green", "drain": 6}, {"settings": ["drain", "strategy"]}),
        ({"strategy": "rolling"}, {}),
        ({"image_pull_secrets": ["key"]}, {"settings": ["image_pull_secrets"]}),
    ],
)
def test_changes(more: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert changes(read_spec(SPEC), read_spec({**SPEC, **more})) == {**NONE, **wanted}


def test_a_release_whose_predecessor_is_gone_has_no_changes() -> None:
    shown = history([release(1), release(3, image="x/y:3"), release(4, image="x/y:3")])
    assert [entry["changes"] is None for entry in shown] == [False, True, False]
    assert shown[2]["changes"] == NONE


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (None, "found v3, which is failed, wanted one that ran: v1 (good), v2 (good), v3 (failed)"),
        ("last_good", 2),
        ("1", 1),
        ("v2", 2),
        ("3", "found v3, which is failed"),
        ("4", "found 4, wanted one of v1 (good), v2 (good), v3 (failed)"),
    ],
)
def test_promotable(version: str | None, wanted: int | str) -> None:
    known = [release(1), release(2), release(3, "failed")]
    if isinstance(wanted, int):
        assert promotable(known, version).version == wanted
        return
    with pytest.raises(ReleaseError) as refusal:
        promotable(known, version)
    assert wanted in str(refusal.value)


@pytest.mark.parametrize(
    ("known", "text"), [([], "an app that was deployed"), ([release(1, "pending")], "wanted a release that ran")]
)
def test_nothing_to_promote(known: list[Release], text: str) -> None:
    with pytest.raises(ReleaseError, match=text):
        promotable(known, "last_good")
