# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of converge takes what the module documents, and nothing else."""

from __future__ import annotations

from pathlib import Path

import yaml

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
