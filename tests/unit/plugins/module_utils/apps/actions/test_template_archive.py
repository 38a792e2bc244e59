# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of templates: whoever has written one, reading it takes bounded space, memory and time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import template_archive
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.layout import (
    INDEXES,
    MANIFESTS,
    Image,
    RegistryError,
    manifests,
    needed,
)

INDEX, MANIFEST = INDEXES[0], MANIFESTS[0]
TEMPLATE = {"name": "shop", "version": "1", "description": "", "parameters": [], "stack": {"apps": []}}


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def put(layout: Path, content: Any) -> str:
    """Store a blob in a layout and return its digest."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path = layout / "blobs" / "sha256" / digest(data)[7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest(data)


def image_of(name: str, content: str, media_type: str = MANIFEST) -> Image:
    return Image("x/y:1", "x/y", "1", content, media_type, 1)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout with an index of one image of one layer."""
    root = tmp_path / "layout"
    layer = put(root, b"layer" * 100)
    config = put(root, {"os": "linux"})
    parts = [{"digest": layer, "size": 500}]
    manifest = put(root, {"config": {"digest": config, "size": 15}, "layers": parts})
    put(root, {"manifests": [{"digest": manifest, "mediaType": MANIFEST, "size": 1}]})
    return root


def top(layout: Path) -> Image:
    [found] = [
        digest(path.read_bytes()) for path in layout.rglob("*") if path.is_file() and b"manifests" in path.read_bytes()
    ]
    return image_of("x", found, INDEX)


@pytest.fixture
def archive(tmp_path: Path, layout: Path) -> Path:
    path = tmp_path / "shop.tar.gz"
    template_archive.write(str(path), digest(b""), TEMPLATE, [top(layout)], str(layout))
    return path


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.zst"])
def test_what_is_written_is_read(tmp_path: Path, layout: Path, ending: str) -> None:
    path = str(tmp_path / ("shop" + ending))
    known = template_archive.write(path, digest(b""), TEMPLATE, [top(layout)], str(layout))
    found = template_archive.read(path, str(tmp_path / "work"), known)
    assert (found.archive_digest, found.template, found.images) == (known, TEMPLATE, (top(layout),))
    assert known == template_archive.write(path, digest(b""), TEMPLATE, [top(layout)], str(layout))


def test_an_archive_can_be_pinned(tmp_path: Path, archive: Path) -> None:
    found = template_archive.read(str(archive), str(tmp_path / "one"))
    template_archive.write(str(archive), digest(b""), {**TEMPLATE, "description": "other"}, [], str(tmp_path / "none"))
    with pytest.raises(template_archive.BundleError, match=rf"wanted {found.archive_digest}, the value of digest"):
        template_archive.read(str(archive), str(tmp_path / "two"), found.archive_digest)
    assert not (tmp_path / "two").exists()


def pack(path: Path, members: Iterable[tuple[str, bytes]], after: bytes = b"", **headers: str) -> str:
    with gzip.open(path, "wb") as out:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                info.pax_headers = headers if name != "manifest.json" else {}
                tar.addfile(info, io.BytesIO(data))
        out.write(after)
    return str(path)


def manifest_of(content: dict[str, bytes], **more: Any) -> bytes:
    listed = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in content.items()
    ]
    return json.dumps(
        {"format": template_archive.FORMAT, "digest": digest(b""), "images": [], "parts": listed, **more}
    ).encode()


def refused(path: str, tmp_path: Path) -> str:
    """Return why an archive is refused, which takes little memory, space and time."""
    work = tmp_path / "work"
    began = time.monotonic()
    tracemalloc.start()
    with pytest.raises(template_archive.BundleError) as caught:
        template_archive.read(path, str(work))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert time.monotonic() - began < 20
    assert sum(entry.stat().st_size for entry in work.rglob("*") if entry.is_file()) < 1 << 20
    return str(caught.value)


GOOD = {"template.json": json.dumps(TEMPLATE).encode()}


def test_parts_larger_than_the_free_space_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.tar.gz", [("manifest.json", manifest_of(GOOD)), *GOOD.items()])
    assert template_archive.read(path, str(tmp_path / "fits")).template == TEMPLATE
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert "wanted at most the 10 free bytes of" in refused(path, tmp_path)


def test_parts_larger_than_an_archive_may_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_archive, "MAX_SIZE", 10)
    path = pack(tmp_path / "a.tar.gz", [("manifest.json", manifest_of(GOOD)), *GOOD.items()])
    assert "bytes when unpacked, wanted at most 10" in refused(path, tmp_path)


def test_a_part_that_is_larger_than_listed_is_refused(tmp_path: Path) -> None:
    bomb = {"template.json": bytes(64 << 20)}
    path = pack(tmp_path / "a.tar.gz", [("manifest.json", manifest_of({"template.json": b"{}"})), *bomb.items()])
    assert "template.json: found 67108864 bytes, wanted 2" in refused(path, tmp_path)


def test_what_comes_after_the_parts_is_bounded(tmp_path: Path) -> None:
    members = [("manifest.json", manifest_of(GOOD)), *GOOD.items()]
    path = pack(tmp_path / "a.tar.gz", members, after=bytes(256 << 20))
    assert Path(path).stat().st_size < 1 << 20
    assert "found more data than its parts have" in refused(path, tmp_path)


def test_what_stands_between_the_parts_is_bounded(tmp_path: Path) -> None:
    members = [("manifest.json", manifest_of(GOOD)), *GOOD.items()]
    path = pack(tmp_path / "a.tar.gz", members, comment="x" * (8 << 20))
    assert "found more data than its parts have" in refused(path, tmp_path)


def test_a_first_part_that_is_huge_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar.gz", [("manifest.json", bytes(64 << 20))])
    assert "wanted manifest.json" in refused(path, tmp_path)


@pytest.mark.parametrize(
    ("manifest", "found"),
    [
        (b"[" * 200_000, "nested too deep"),
        (b"[]", "found the format no mapping"),
        (json.dumps({"format": "\x1b[2J"}).encode(), 'found the format "\\u001b[2J"'),
        (manifest_of(GOOD, images=[{}]), "images[0].image: found nothing"),
        (manifest_of(GOOD, images=7), "images: found 7, wanted a list"),
        (manifest_of(GOOD, parts=[{"path": 1, "sha256": "", "size": 0}]), "parts[0].path"),
        (manifest_of(GOOD, parts=[{"path": "x", "sha256": "0" * 64, "size": -1}]), "parts[0].size"),
        (manifest_of(GOOD, parts=[{"path": "x", "sha256": "0" * 64, "size": 1}] * 30_000), "found 30000 entries"),
        (manifest_of(GOOD, digest="x"), "digest: found"),
    ],
)
def test_a_manifest_has_a_schema(tmp_path: Path, manifest: bytes, found: str) -> None:
    assert found in refused(pack(tmp_path / "a.tar.gz", [("manifest.json", manifest), *GOOD.items()]), tmp_path)


def test_a_deep_template_is_refused(tmp_path: Path) -> None:
    deep = {"template.json": b'{"a":' * 100_000}
    path = pack(tmp_path / "a.tar.gz", [("manifest.json", manifest_of(deep)), *deep.items()])
    assert "nested too deep" in refused(path, tmp_path)


def chain(layout: Path, depth: int, width: int) -> str:
    """Return the top of a layout in which each index refers to the same one below so many times."""
    below, kind = put(layout, {"layers": []}), MANIFEST
    for _level in range(depth):
        entries = [{"digest": below, "mediaType": kind, "size": number} for number in range(width)]
        below, kind = put(layout, {"manifests": entries}), INDEX
    return below


@pytest.mark.parametrize(("depth", "found"), [(3, 4), (4, None), (16, None), (5000, None)])
def test_indexes_in_each_other_are_visited_once_and_not_too_deep(tmp_path: Path, depth: int, found: int | None) -> None:
    image = image_of("x", chain(tmp_path, depth, 2), INDEX)
    began = time.monotonic()
    if found is None:
        with pytest.raises(RegistryError, match="found more than 4 levels of indexes"):
            needed(str(tmp_path), image)
    else:
        assert len(needed(str(tmp_path), image)) == found
    assert time.monotonic() - began < 5


def test_there_are_not_too_many_manifests(tmp_path: Path) -> None:
    inner = [put(tmp_path, {"layers": [], "number": number}) for number in range(1001)]
    entries = [{"digest": entry, "mediaType": MANIFEST} for entry in inner]
    halves = [put(tmp_path, {"manifests": part}) for part in (entries[:600], entries[600:])]
    whole = put(tmp_path, {"manifests": [{"digest": entry, "mediaType": INDEX} for entry in halves]})
    with pytest.raises(RegistryError, match="found more than 1000 manifests"):
        needed(str(tmp_path), image_of("x", whole, INDEX))


def test_manifests_come_after_those_they_refer_to() -> None:
    bodies = {
        "sha256:" + "a" * 64: {"manifests": [{"digest": "sha256:" + one * 64, "mediaType": MANIFEST} for one in "bc"]},
        "sha256:" + "b" * 64: {"manifests": [{"digest": "sha256:" + "c" * 64, "mediaType": MANIFEST}]},
        "sha256:" + "c" * 64: {"layers": []},
    }
    asked: list[str] = []

    def load(name: str) -> bytes:
        asked.append(name)
        return json.dumps(bodies[name]).encode()

    found = manifests(load, "sha256:" + "a" * 64, INDEX, "x")
    assert [entry.digest[7] for entry in found] == ["c", "b", "a"] and len(asked) == 3


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"[" * 100_000, "nested too deep"),
        ({"layers": [{"digest": "../../etc/passwd", "size": 1}]}, "layers[0].digest"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "size": -1}]}, "layers[0].size"),
        ({"manifests": [{"digest": "sha256:" + "0" * 64, "mediaType": "text/html"}]}, "manifests[0].mediaType"),
        ({"manifests": [{"digest": "sha256:" + "0" * 64, "mediaType": MANIFEST}]}, "No such file"),
        (b" " * (5 << 20), "more than 4194304 bytes"),
    ],
)
def test_manifests_that_are_not_usable_are_explained(tmp_path: Path, content: Any, found: str) -> None:
    with pytest.raises(RegistryError) as caught:
        needed(str(tmp_path), image_of("x", put(tmp_path, content)))
    assert found in str(caught.value)


@given(st.binary(max_size=300), st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_damaged_archive_is_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int) -> None:
    root = tmp_path_factory.mktemp("damaged")
    plain = gzip.decompress(
        Path(pack(root / "a.tar.gz", [("manifest.json", manifest_of(GOOD)), *GOOD.items()])).read_bytes()
    )
    place %= len(plain)
    spoilt = plain[:place] + data + plain[place + len(data) :]
    (root / "a.tar.gz").write_bytes(gzip.compress(spoilt))
    try:
        found = template_archive.read(str(root / "a.tar.gz"), str(root / "work"))
    except template_archive.BundleError:
        return
    assert found.template == TEMPLATE
