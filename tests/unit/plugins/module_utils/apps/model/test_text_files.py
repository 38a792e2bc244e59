# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a compose file names: only regular ones below its own directory, or below what the task allows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import stack
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import text_files
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import Compose

SECRET = "the key of the authority"


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A directory with a compose file, beside one with a secret of the operator."""
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.key").write_text(SECRET)
    root = tmp_path / "team"
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "app.env").write_text("A=1\n")
    (root / "inside").symlink_to("conf")
    (root / "link.env").symlink_to("conf/app.env")
    (root / "pki").symlink_to(tmp_path / "pki")
    (root / "ca.key").symlink_to(tmp_path / "pki" / "ca.key")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize("path", ["conf/app.env", "link.env", "inside/app.env", "conf/../inside/app.env"])
def test_files_below_the_directory_are_read(team: Path, path: str) -> None:
    assert text_files.read_below(str(team / path), [str(team)]) == "A=1\n"


ESCAPES = [
    "../pki/ca.key",
    "conf/../../pki/ca.key",
    "ca.key",
    "pki/ca.key",
    "inside/../../pki/ca.key",
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "..",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_files_elsewhere_are_refused(team: Path, path: str) -> None:
    with pytest.raises(text_files.Outside) as caught:
        text_files.read_below(os.path.join(str(team), path), [str(team)])
    assert caught.value.wanted == f"a file below {team}" and SECRET not in str(caught.value)


def test_a_directory_with_the_same_beginning_is_another(team: Path) -> None:
    other = team.parent / "team-secrets"
    other.mkdir()
    (other / "x").write_text(SECRET)
    with pytest.raises(text_files.Outside):
        text_files.read_below(str(other / "x"), [str(team)])


def test_more_directories_can_be_allowed(team: Path) -> None:
    allowed = [str(team), str(team.parent / "pki")]
    assert text_files.read_below(str(team / "pki" / "ca.key"), allowed) == SECRET
    with pytest.raises(text_files.Outside, match=r"wanted no file of this host"):
        text_files.read_below("/etc/passwd", [])


@pytest.mark.parametrize(
    ("path", "found"),
    [("pipe", "a named pipe"), ("conf", "a directory"), (".", "a directory"), ("loop", "a symbolic link")],
)
def test_only_regular_files_are_read(team: Path, path: str, found: str) -> None:
    began = time.monotonic()
    with pytest.raises(text_files.Refused, match=found):
        text_files.read_below(str(team / path), [str(team)])
    assert time.monotonic() - began < 5


def test_devices_are_refused_where_they_are_allowed() -> None:
    with pytest.raises(text_files.Refused, match=r"which is a device, wanted a regular file"):
        text_files.read_below("/dev/zero", ["/dev"])


def test_huge_files_are_refused(team: Path) -> None:
    with (team / "huge").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(text_files.Refused, match=r"larger than 1000000 bytes"):
        text_files.read_below(str(team / "huge"), [str(team)])
    (team / "full").write_text("x" * text_files.MAX_BYTES)
    assert len(text_files.read_below(str(team / "full"), [str(team)])) == text_files.MAX_BYTES


@pytest.mark.parametrize("swapped", ["conf/app.env", "conf"])
def test_what_becomes_a_link_after_the_check_is_not_followed(
    team: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.path.realpath

    def judged(path: str) -> str:
        found = real(path)
        if path == str(team / "conf/app.env"):
            place = team / swapped
            place.rename(team / "moved")
            (team.parent / "pki" / "app.env").write_text(SECRET)
            place.symlink_to(team.parent / "pki" / ("app.env" if swapped != "conf" else ""))
        return found

    monkeypatch.setattr(os.path, "realpath", judged)
    with pytest.raises(OSError):
        text_files.read_below(str(team / "conf/app.env"), [str(team)])


def from_compose(path: Path | None, **more: Any) -> dict[str, Any]:
    given = {"path": path and str(path), "content": None, "variables": {}, "secret_variables": {}, "allow_paths": []}
    return stack._from_compose(Compose(**{**given, **more}), [])


REFERENCES = [
    "services: {web: {image: x/y:1, env_file: PATH}}",
    "services: {web: {image: x/y:1, env_file: [{path: PATH, required: false}]}}",
    "services: {web: {image: x/y:1, configs: [c]}}\nconfigs: {c: {file: PATH}}",
    "services: {web: {image: x/y:1, secrets: [s]}}\nsecrets: {s: {file: PATH}}",
    'services: {web: {image: x/y:1, secrets: [s]}}\nsecrets: {s: {file: "${UP}ki/ca.key"}}',
]


@pytest.mark.parametrize("text", REFERENCES)
@pytest.mark.parametrize("path", ["../pki/ca.key", "ca.key", "/etc/passwd", "pki/ca.key"])
def test_a_compose_file_reads_nothing_elsewhere(team: Path, text: str, path: str) -> None:
    (team / "compose.yml").write_text(text.replace("PATH", path))
    with pytest.raises(Invalid) as caught:
        from_compose(team / "compose.yml", variables={"UP": "../p"})
    [finding] = caught.value.findings
    assert f"wanted a file below {team}, or its directory in compose.allow_paths" in str(finding)
    assert SECRET not in str(finding)


def test_directories_that_the_task_allows_are_read(team: Path) -> None:
    (team / "compose.yml").write_text(REFERENCES[3].replace("PATH", "../pki/ca.key"))
    spec = from_compose(team / "compose.yml", allow_paths=[str(team.parent / "pki")])
    assert spec["apps"][0]["secret_files"][0]["content"] == SECRET


def test_content_without_a_file_reads_only_what_is_allowed(team: Path) -> None:
    content = REFERENCES[3].replace("PATH", str(team.parent / "pki" / "ca.key"))
    with pytest.raises(Invalid, match=r"wanted no file of this host, or its directory in compose\.allow_paths"):
        from_compose(None, content=content)
    spec = from_compose(None, content=content, allow_paths=[str(team.parent)])
    assert spec["apps"][0]["secret_files"][0]["content"] == SECRET


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.symlink_to("../pki/ca.key"), "which resolves to"),
        (os.mkfifo, "a named pipe"),
        (lambda path: None, "found no file"),
    ],
)
def test_the_compose_file_itself_is_a_regular_file_of_its_directory(team: Path, make: Any, found: str) -> None:
    make(team / "compose.yml")
    with pytest.raises(Invalid) as caught:
        from_compose(team / "compose.yml")
    assert found in str(caught.value) and "compose.path: found" in str(caught.value) and SECRET not in str(caught.value)
