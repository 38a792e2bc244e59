# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared of the objects that kubectl shows, and what is tried again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.modules import manifests


def shown(**more: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "n", "uid": "1", "resourceVersion": "5", "generation": 2, "managedFields": []}
    return {"kind": "ConfigMap", "metadata": metadata, "status": {"x": 1}, **more}


@pytest.mark.parametrize(
    ("out", "names"),
    [
        ("", []),
        (" \n", []),
        (json.dumps(shown()), ["ConfigMap/n/a"]),
        (json.dumps({"kind": "List", "items": [shown(), shown(kind="Secret")]}), ["ConfigMap/n/a", "Secret/n/a"]),
        (json.dumps({"kind": "Namespace", "metadata": {"name": "n"}}), ["Namespace/n"]),
    ],
)
def test_objects_by_name(out: str, names: list[str]) -> None:
    assert list(manifests.objects(out)) == names


def test_what_the_server_counts_is_not_compared() -> None:
    one = manifests.objects(json.dumps(shown(data={"k": "v"})))["ConfigMap/n/a"]
    assert one == {"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": "v"}}


@pytest.fixture()
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that makes up what kubectl answers to get and apply."""

    def make(before: dict[str, Any] | None, after: dict[str, Any] | None, refusals: int = 0) -> Path:
        (tmp_path / "before").write_text(json.dumps(before) if before else "")
        (tmp_path / "after").write_text(json.dumps(after) if after else "")
        (tmp_path / "refusals").write_text("x" * refusals)
        program = tmp_path / "kubectl"
        program.write_text(f"""#!/bin/sh
cd {tmp_path}
cat > /dev/null
case "$*" in
  *" get "*) cat before ;;
  *)
    if [ -s refusals ]; then
      truncate --size=-1 refusals; echo "the server is not ready" >&2; exit 1
    fi
    echo "$*" >> orders; cat after ;;
esac
""")
        program.chmod(0o755)
        original = manifests.AnsibleModule.run_command

        def run_command(self: Any, command: list[str], **options: Any) -> Any:
            return original(self, [str(program), *command[1:]], **options)

        monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", run_command)
        monkeypatch.setattr(manifests.time, "sleep", lambda _seconds: None)
        return tmp_path / "orders"

    return make


OLD, NEW = shown(data={"k": "old"}), shown(data={"k": "new"})


@pytest.mark.parametrize(
    ("before", "after", "state", "check", "changed", "orders"),
    [
        (None, NEW, "present", False, True, 1),
        (OLD, NEW, "present", False, True, 1),
        (NEW, NEW, "present", False, False, 1),
        (OLD, NEW, "present", True, True, 1),
        (NEW, NEW, "present", True, False, 1),
        (NEW, None, "absent", False, True, 1),
        (NEW, None, "absent", True, True, 0),
        (None, None, "absent", False, False, 0),
    ],
)
def test_states(
    tmp_path: Path,
    run_module: Callable[..., dict[str, Any]],
    kubectl: Callable[..., Path],
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    state: str,
    check: bool,
    changed: bool,
    orders: int,
) -> None:
    log = kubectl(before, after)
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    answer = run_module(manifests, {"manifest": "x", "state": state, "kubeconfig": str(kubeconfig)}, check)
    assert answer["changed"] is changed
    given = log.read_text().splitlines() if log.exists() else []
    assert len(given) == orders
    if check and state == "present":
        assert "--dry-run=server" in given[0]


def test_an_api_that_comes_up_is_waited_for(
    tmp_path: Path, run_module: Callable[..., dict[str, Any]], kubectl: Callable[..., Path]
) -> None:
    kubectl(None, NEW, refusals=3)
    assert run_module(manifests, {"manifest": "x", "kubeconfig": str(tmp_path)})["objects"] == ["ConfigMap/n/a"]
    kubectl(None, NEW, refusals=3)
    answer = run_module(manifests, {"manifest": "x", "kubeconfig": str(tmp_path), "timeout": -1})
    assert answer["failed"] and "the server is not ready" in answer["msg"]


def test_a_request_that_takes_long_and_fails_is_sent_again(
    tmp_path: Path,
    run_module: Callable[..., dict[str, Any]],
    kubectl: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a slow host, applying many objects takes longer than the timeout for refusals."""
    hours = itertools.count(0, 3600)
    monkeypatch.setattr(manifests.time, "monotonic", lambda: next(hours))
    kubectl(None, NEW, refusals=1)
    assert run_module(manifests, {"manifest": "x", "kubeconfig": str(tmp_path)})["objects"] == ["ConfigMap/n/a"]
