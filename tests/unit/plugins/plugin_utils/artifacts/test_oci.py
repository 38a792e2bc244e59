# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import oci

from .conftest import tar_of

CONFIG = {"Entrypoint": ["/bin/app"], "User": "65532:65532"}


def entries(root: Path) -> list[oci.Entry]:
    program = root / "program"
    program.write_bytes(b"\x7fELF" + b"x" * 5000)
    return [
        oci.Entry("/bin/app", source=str(program)),
        oci.Entry("/tmp", mode=0o1777),
        oci.Entry("/etc/hostname", content=b"app\n", mode=0o644, uid=5, gid=6),
        oci.Entry("/bin/sh", link="app"),
    ]


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for info in archive:
            stream = archive.extractfile(info)
            if stream is not None:
                found[info.name] = stream.read()
        return found


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    layers = [oci.FileLayer(entries(tmp_path))]
    first = oci.write_image(layers, CONFIG, str(tmp_path / "1.tar"))
    (tmp_path / "program").touch()
    second = oci.write_image([oci.FileLayer(entries(tmp_path)[::-1])], CONFIG, str(tmp_path / "2.tar"))
    assert first.digest == second.digest
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_every_blob_is_what_its_name_says_and_every_reference_exists(tmp_path: Path) -> None:
    (tmp_path / "base.tar").write_bytes(gzip.decompress(tar_of({"etc/os-release": b"ID=test\n"})))
    layers: list[oci.Layer] = [oci.TarLayer(str(tmp_path / "base.tar")), oci.FileLayer(entries(tmp_path))]
    image = oci.write_image(layers, CONFIG, str(tmp_path / "image.tar"), name="example.invalid/app:1", arch="arm64")
    found = members(tmp_path / "image.tar")
    for name, data in found.items():
        if name.startswith("blobs/"):
            assert name == "blobs/sha256/" + hashlib.sha256(data).hexdigest()
    index = json.loads(found["index.json"])
    assert index["manifests"][0]["digest"] == image.digest == oci.read_digest(image.path)
    assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux"}
    manifest = json.loads(found["blobs/sha256/" + image.digest[7:]])
    config = json.loads(found["blobs/sha256/" + manifest["config"]["digest"][7:]])
    plain = [gzip.decompress(found["blobs/sha256/" + layer["digest"][7:]]) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(data).hexdigest() for data in plain]
    assert config["config"] == CONFIG
    assert config["architecture"] == "arm64"
    saved = json.loads(found["manifest.json"])[0]
    assert saved["RepoTags"] == ["example.invalid/app:1"]
    assert all(path in found for path in [saved["Config"], *saved["Layers"]])


def test_a_layer_has_parents_owners_modes_and_no_times(tmp_path: Path) -> None:
    image = oci.write_image([oci.FileLayer(entries(tmp_path))], CONFIG, str(tmp_path / "image.tar"))
    found = members(Path(image.path))
    manifest = json.loads(found["blobs/sha256/" + image.digest[7:]])
    (tmp_path / "layer.tar").write_bytes(gzip.decompress(found["blobs/sha256/" + manifest["layers"][0]["digest"][7:]]))
    with tarfile.open(tmp_path / "layer.tar") as layer:
        infos = layer.getmembers()
    assert [info.name for info in infos] == ["bin", "bin/app", "bin/sh", "etc", "etc/hostname", "tmp"]
    assert {info.mtime for info in infos} == {0}
    by_name = {info.name: info for info in infos}
    assert (by_name["tmp"].mode, by_name["bin/app"].mode) == (0o1777, 0o755)
    assert (by_name["etc/hostname"].uid, by_name["etc/hostname"].gid) == (5, 6)
    assert by_name["bin/sh"].linkname == "app"


def test_a_pulled_layout_gets_the_digest_of_its_push(tmp_path: Path) -> None:
    made = oci.write_image([oci.FileLayer(entries(tmp_path))], CONFIG, str(tmp_path / "image.tar"))
    for name, data in members(Path(made.path)).items():
        path = tmp_path / "layout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    packed = oci.archive_layout(str(tmp_path / "layout"), str(tmp_path / "packed.tar"))
    assert packed.digest == made.digest


def archive_of(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def index_of(*digests: object) -> bytes:
    return json.dumps({"manifests": [{"digest": one} for one in digests]}).encode()


REAL = "sha256:" + hashlib.sha256(b"{}").hexdigest()
BLOB = "blobs/sha256/" + REAL[7:]
OTHER = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no index.json"),
        ({"index.json": b"[]"}, "is not that of one image"),
        ({"index.json": b"{"}, "Expecting property name"),
        ({"index.json": index_of()}, "is not that of one image"),
        ({"index.json": index_of(REAL, REAL), BLOB: b"{}"}, "is not that of one image"),
        ({"index.json": index_of(None)}, "found the digest 'None'"),
        # What comes from a mirror gets into the manifests of the platform's pods.
        ({"index.json": index_of(REAL + '"\n    hostPath: /'), BLOB: b"{}"}, "wanted sha256: and 64 hex"),
        ({"index.json": index_of("sha256:../../x")}, "wanted sha256: and 64 hex"),
        ({"index.json": index_of(REAL)}, f"no {BLOB}"),
        ({"index.json": index_of(OTHER), f"blobs/sha256/{'ab' * 32}": b"{}"}, f"{REAL}, index.json says {OTHER}"),
    ],
)
def test_a_digest_that_is_not_the_manifests_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        oci.read_digest(archive_of(tmp_path / "image.tar", files))


def test_a_digest_is_that_of_the_manifest(tmp_path: Path) -> None:
    assert oci.read_digest(archive_of(tmp_path / "image.tar", {"index.json": index_of(REAL), BLOB: b"{}"})) == REAL


def test_a_layout_of_many_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"manifests": []}')
    with pytest.raises(ValueError, match="holds 0 images"):
        oci.archive_layout(str(tmp_path), str(tmp_path / "packed.tar"))
