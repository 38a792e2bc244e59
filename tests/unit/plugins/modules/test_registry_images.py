# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image is pushed when its tag has another digest, and counts as pushed when the registry has the wanted one."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.modules import registry_images

WANTED = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
Run = Callable[..., dict[str, Any]]
Program = Callable[[str, str], Path]


@pytest.fixture()
def push(run_module: Run, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the module with a registry that has a tag as one digest and takes pushes as one."""
    with tarfile.open(tmp_path / "image.tar", "w"):
        pass

    def run(there: str, taken: str, sent: bool = True) -> dict[str, Any]:
        script = f'case "$1" in digest) echo {there};; push) echo "registry:1/app@{taken}";; esac'
        monkeypatch.setattr(registry_images, "CRANE", str(program("crane", script)))
        image = {"artifact": "image-app", "repository": "app", "tag": "1", "digest": WANTED}
        image["archive"] = str(tmp_path / "image.tar") if sent else None
        return run_module(registry_images, {"registry": "registry:1", "images": [image]})

    return run


def test_what_is_there_is_not_pushed(push: Run, tmp_path: Path) -> None:
    assert push(WANTED, OTHER) == {"changed": False, "missing": [], "pushed": []}
    assert "push" not in (tmp_path / "calls").read_text()


def test_a_tag_that_somebody_moved_is_put_back(push: Run) -> None:
    assert push(OTHER, WANTED, sent=False) == {"changed": True, "missing": [WANTED], "pushed": []}
    assert push(OTHER, WANTED) == {"changed": True, "missing": [], "pushed": ["app:1"]}


def test_another_digest_than_pods_ask_for_is_a_failure(push: Run) -> None:
    answer = push("", OTHER)
    assert answer["failed"]
    assert OTHER in answer["msg"] and WANTED in answer["msg"]
