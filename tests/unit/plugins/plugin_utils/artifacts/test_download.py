# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import download as http
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import Store

from .conftest import Site

DATA = bytes(range(256)) * 8192
SHA = hashlib.sha256(DATA).hexdigest()


def fetch(site: Site, root: Path, path: str = "/big", sha256: str = SHA) -> bytes:
    dest = root / "dest"
    store = Store(str(root / "cache"))
    http.download(store, site.url + path, sha256, str(dest), "big 1.0", "upstream", lambda message: None)
    return dest.read_bytes()


def test_a_whole_file_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA)
    assert fetch(site, tmp_path) == DATA
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_a_truncated_answer_is_continued(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA)
    site.cut["/big"] = [700000, 500000]
    assert fetch(site, tmp_path) == DATA
    assert [wanted for _path, wanted in site.asked] == ["", "bytes=700000-", "bytes=1200000-"]


def test_what_an_earlier_run_fetched_is_continued(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA)
    site.cut["/big"] = [100000, 0, 0, 0]
    with pytest.raises(ArtifactError, match="kept and continued"):
        fetch(site, tmp_path)
    site.asked.clear()
    site.cut.clear()
    assert fetch(site, tmp_path) == DATA
    assert site.asked == [("/big", "bytes=100000-")]


def test_a_server_without_ranges_sends_it_whole_again(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA)
    site.ignore_range = True
    site.cut["/big"] = [100000]
    assert fetch(site, tmp_path) == DATA


def test_a_file_that_changed_between_two_tries_is_not_mixed(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA[::-1])
    site.cut["/big"] = [100000, 0, 0, 0]
    with pytest.raises(ArtifactError):
        fetch(site, tmp_path)
    site.cut.clear()
    site.put("/big", DATA)
    assert fetch(site, tmp_path) == DATA


def test_a_damaged_part_is_fetched_whole(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA)
    site.cut["/big"] = [100000, 0, 0, 0]
    with pytest.raises(ArtifactError):
        fetch(site, tmp_path)
    site.cut.clear()
    (part,) = (path for path in (tmp_path / "cache" / "partial").iterdir() if not path.suffix)
    part.write_bytes(b"x" * 100000)
    assert fetch(site, tmp_path) == DATA


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.put("/big", DATA)
    site.status["/big"] = [503, 429]
    assert fetch(site, tmp_path) == DATA


@pytest.mark.parametrize(
    ("prepare", "found", "requests"),
    [
        pytest.param(lambda site: None, "HTTP 404", 1, id="missing"),
        pytest.param(lambda site: site.put("/big", b"other"), "sha256 ", 1, id="wrong-checksum"),
        pytest.param(lambda site: site.put("/big", b"<!DOCTYPE html><title>Log in"), "an HTML page", 1, id="html"),
        pytest.param(
            lambda site: (site.put("/big", DATA), site.types.update({"/big": "text/html"})),
            "an HTML page",
            1,
            id="html-type",
        ),
        pytest.param(lambda site: site.put("/big", b""), "an empty file", 4, id="empty"),
        pytest.param(lambda site: site.status.update({"/big": [500] * 9}), "HTTP 500", 4, id="broken-server"),
    ],
)
def test_what_cannot_be_had_is_named(site: Site, tmp_path: Path, prepare, found: str, requests: int) -> None:
    prepare(site)
    with pytest.raises(ArtifactError) as caught:
        fetch(site, tmp_path)
    assert f"big 1.0 from upstream {site.url}/big: found {found}" in str(caught.value)
    assert not (tmp_path / "dest").exists()
    assert len(site.asked) == requests


def test_a_dead_host_is_named(tmp_path: Path) -> None:
    site = Site(url="http://127.0.0.1:1")
    with pytest.raises(ArtifactError, match="refused"):
        fetch(site, tmp_path)


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"{A}\n", A),
        (A.upper(), A),
        (f"{A}  tool.tgz\n", A),
        (f"{A} *tool.tgz", A),
        (f"{B}  other.tgz\n{A}  ./tool.tgz\n", A),
        (f"{B}  other.tgz\n{A}  dist/tool.tgz\n", A),
        (f"{A}  renamed.tgz", A),
        (f"{B}  other.tgz\n{A}  another.tgz\n", None),
        (f"{B}  tool.tgz.sig\n{B}  x\n", None),
        ("not found", None),
        ("", None),
    ],
)
def test_checksum_files(text: str, wanted: str | None) -> None:
    if wanted is None:
        with pytest.raises(ArtifactError, match=r"no sha256 of tool\.tgz"):
            http.parse_checksum(text, "tool.tgz", "tool", "url")
    else:
        assert http.parse_checksum(text, "tool.tgz", "tool", "url") == wanted
