# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cache has is what was wanted, a mirror gives the same files, and a damaged file is never handed out."""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from scenario import STATE, module, run

MODULE = "cloudbang.platform.artifacts"
BASE = "image-base-run-base"
MIRROR = STATE / "mirror"


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["crane", "etcdctl", "image-base-run-base", "image-pause"])
def test_the_file_has_the_sha256_that_is_told(name: str) -> None:
    one = module("controller", MODULE, names=[name])["artifacts"][name]
    assert sha256(one["path"]) == one["sha256"]
    assert Path(one["path"]).stat().st_size == one["size"]


def test_programs_run_and_say_the_version_that_was_wanted() -> None:
    found = module("controller", MODULE, names=["crane", "etcdctl"])["artifacts"]
    assert found["etcdctl"]["version"] in run(found["etcdctl"]["path"], "version").stdout
    assert run(found["crane"]["path"], "--help").returncode == 0


def test_the_smallest_base_image_has_what_every_application_needs_and_no_shell() -> None:
    files = {}
    with tarfile.open(module("controller", MODULE, names=[BASE])["artifacts"][BASE]["path"]) as image:
        for layer in json.load(image.extractfile("manifest.json"))[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer), mode="r:gz") as content:
                files.update({info.name: info for info in content})
    assert files["usr/bin/catatonit"].mode == 0o755 and files["etc/ssl/certs/ca-certificates.crt"].size > 100_000
    assert (files["app"].uid, files["app"].mode, files["tmp"].mode) == (10001, 0o755, 0o1777)
    assert "usr/share/zoneinfo/Europe/Prague" in files
    assert not [name for name in files if name.endswith("bin/sh") or name.startswith(("etc/host", "var"))]


def test_what_is_cached_comes_at_once() -> None:
    started = time.monotonic()
    result = module("controller", MODULE, names=["crane", "etcdctl", "image-pause"])
    assert not result["changed"]
    assert time.monotonic() - started < 10


def test_the_mirrors_manifest_tells_every_file() -> None:
    text = (MIRROR / "manifest.json").read_text()
    files = [path for path in MIRROR.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(files) >= 3
    json.loads(text)
    assert [str(path) for path in files if sha256(path) not in text] == []


def test_another_site_gets_the_same_files_from_the_mirror() -> None:
    wanted = module("controller", MODULE, names=["crane", "image-pause"])["artifacts"]
    other: dict[str, Any] = {"source": "mirror", "mirror": str(MIRROR), "cache_dir": str(STATE / "other-cache")}
    result = module("controller", MODULE, names=["crane", "image-pause"], **other)
    assert {name: one["sha256"] for name, one in result["artifacts"].items()} == {
        name: one["sha256"] for name, one in wanted.items()
    }
    assert result["artifacts"]["crane"]["path"].startswith(str(STATE / "other-cache"))


def test_what_the_mirror_lacks_is_named() -> None:
    other: dict[str, Any] = {"source": "mirror", "mirror": str(MIRROR), "cache_dir": str(STATE / "other-cache")}
    result = module("controller", MODULE, names=["traefik"], **other)
    assert result["failed"]
    assert "traefik" in result["msg"]


def test_an_unknown_name_is_refused() -> None:
    result = module("controller", MODULE, names=["no-such-program"])
    assert result["failed"]
    assert "no-such-program" in result["msg"]


@pytest.mark.disruptive
def test_a_damaged_file_of_the_mirror_is_refused() -> None:
    wanted = module("controller", MODULE, names=["crane"])["artifacts"]["crane"]["sha256"]
    damaged = [path for path in MIRROR.rglob("*") if path.is_file() and sha256(path) == wanted]
    assert damaged
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
    other: dict[str, Any] = {"source": "mirror", "mirror": str(MIRROR), "cache_dir": str(STATE / "third-cache")}
    result = module("controller", MODULE, names=["crane"], **other)
    assert result["failed"]
    assert "crane" in result["msg"]
    assert [path for path in (STATE / "third-cache").rglob("*") if path.is_file() and sha256(path) == wanted] == []
