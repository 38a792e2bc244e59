# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of converge takes what the module documents, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.cloudbang.platform.plugins.action import converge
from ansible_collections.cloudbang.platform.plugins.modules import converge as module
from ansible_collections.cloudbang.platform.plugins.plugin_utils import kubeconfig
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import inline


def test_documented_options_are_those_that_are_taken() -> None:
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    files = options["files"]["suboptions"]
    config = files["kubeconfig"]["suboptions"]
    assert set(options) == converge.OPTIONS
    assert set(files) == converge.KEYS
    assert set(config) == kubeconfig.OPTIONS
    assert {name for name, option in config.items() if option.get("required")} == kubeconfig.REQUIRED


def test_a_tree_is_sent_without_what_is_hidden_or_compiled(tmp_path: Path) -> None:
    for name in ("a.py", "inside/b.py", ".hidden", "inside/__pycache__/b.pyc", ".cache/c.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("x\n")
    (tmp_path / "empty").mkdir()
    content = inline(b"x\n")
    assert converge.tree_of(tmp_path) == {"a.py": content, "inside/b.py": content}


def test_a_tree_that_would_empty_a_host_is_refused(tmp_path: Path) -> None:
    """A file, a directory of nothing that is sent, and one with a link, whose target would be left out."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden").write_text("x")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.py").write_text("x")
    (tmp_path / "linked" / "b").symlink_to(tmp_path / "empty")
    for name, found in (("file", "no files"), ("empty", "no files"), ("linked", "the links b")):
        with pytest.raises(AnsibleActionFail, match=f"{name}: found {found}, wanted a directory of regular files"):
            converge.tree_of(tmp_path / name)


class Action(converge.ActionModule):
    """The action of one task, on a host whose answers are given."""

    def __init__(self, entry: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        self._task = SimpleNamespace(
            args={"files": [entry] if "path" in entry else entry["files"]}, delegate_to=None, check_mode=False,
            async_val=0, action="converge",
        )  # fmt: skip
        self._answers, self.asked = answers, []
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"))

    def _find_needle(self, _dirname: str, needle: str) -> str:
        return needle

    def _remove_tmp_path(self, _path: str, force: bool = False) -> None:
        pass

    def _converge(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(copy.deepcopy(arguments))
        return self._answers.pop(0)


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"tree": "x", "state": "absent"}, "found state absent beside tree"),
        ({"content": "x", "state": "tree"}, "found state tree beside content"),
        ({"state": "tree"}, "wanted one of template"),
        ({"state": "link"}, "wanted one of template"),
    ],
)
def test_a_source_goes_with_its_state(entry: dict[str, Any], found: str) -> None:
    with pytest.raises(AnsibleActionFail, match=found):
        Action({"path": "/x", **entry}, [])._entry({"path": "/x", **entry}, {})


def test_a_tree_and_a_file_that_is_sent_go_in_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x\n")
    entries = [{"path": "/opt/tree", "tree": str(tmp_path)}, {"path": "/opt/large", "artifact": "large"}]
    first = {"changed": True, "changed_files": ["/opt/tree/a.py"], "missing": ["/opt/large"]}
    action = Action({"files": entries}, [first, {"changed": True, "changed_files": ["/opt/large"]}])
    monkeypatch.setattr(action, "_artifact", lambda name, blobs: "digest", raising=False)
    monkeypatch.setattr(converge, "send_blobs", lambda _action, missing, _paths: dict.fromkeys(missing, "/tmp/x/blob"))
    monkeypatch.setattr(converge.ActionBase, "run", lambda *_arguments: {})
    result = action.run(None, {})
    assert result["changed_files"] == ["/opt/tree/a.py", "/opt/large"]
    assert [file["content"].get("blob") for file in action.asked[1]["files"]] == [None, "/tmp/x/blob"]
