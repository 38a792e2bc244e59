# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of a template: `manifest.json`, which has the sha256 of every other part, first; then
`template.json` and the images as the OCI layout `oci/`. The same content makes the same bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic, records
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import canonical
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.oci import layout as oci_layout
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.layout import (
    INDEXES,
    MANIFESTS,
    Image,
    blob_path,
    needed,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import (
    IMAGE_DIGEST,
    IMAGE_PATH,
    IMAGE_TAG,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

FORMAT = "cloudbang-template/1"
MAX_MANIFEST = 16 << 20
MAX_TEMPLATE = 2 << 20
MAX_HEADERS = 1 << 20
MAX_IMAGES = 1000
MAX_PARTS = 20_000
MAX_SIZE = 256 << 30
CHUNK = 1 << 20


class BundleError(PlatformError):
    """An archive is not usable."""


@dataclass(frozen=True)
class Bundle:
    """What an archive has: the content of a template and its images. `layout` is where the images are unpacked,
    `digest` the template's and `archive_digest` that of all of the archive.
    """

    digest: str
    template: dict[str, Any]
    images: tuple[Image, ...]
    layout: str
    archive_digest: str


_IMAGE_FIELDS = {
    "image": records.text(4096),
    "repository": records.text(4096),
    "tag": records.text(128),
    "digest": records.text(71, IMAGE_DIGEST, "a digest"),
    "media_type": records.choice(*INDEXES, *MANIFESTS),
    "size": records.number(0, oci_layout.MAX_MANIFEST),
}
_PART = records.record(
    {
        "path": records.text(255),
        "sha256": records.text(64, re.compile(r"[0-9a-f]{64}\Z"), "64 hexadecimal digits"),
        "size": records.number(0, oci_layout.MAX_BLOB),
    }
)
_MANIFEST = records.record(
    {
        "digest": records.text(71, IMAGE_DIGEST, "a digest"),
        "images": records.sequence(records.record(_IMAGE_FIELDS), MAX_IMAGES),
        "parts": records.sequence(_PART, MAX_PARTS),
    }
)


@contextlib.contextmanager
def scratch(archive: str) -> Iterator[str]:
    """Give a directory to work in, beside the archive if possible: images are large and /tmp may be small."""
    beside = os.path.dirname(os.path.abspath(archive))
    with tempfile.TemporaryDirectory(prefix=".template-", dir=beside if os.access(beside, os.W_OK) else None) as path:
        yield path


def write(archive: str, digest: str, template: dict[str, Any], images: Iterable[Image], layout: str) -> str:
    """Write an archive, in one step, so that there is never a part of one at its path. Return its digest."""
    images = list(images)
    os.makedirs(layout, exist_ok=True)
    descriptors = [
        {
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": image.size,
            "annotations": {"org.opencontainers.image.ref.name": image.image},
        }
        for image in images
    ]
    parts: dict[str, bytes | str] = {"template.json": canonical(template)}
    parts["oci/oci-layout"] = canonical({"imageLayoutVersion": "1.0.0"})
    parts["oci/index.json"] = canonical({"schemaVersion": 2, "manifests": descriptors})
    for blob in sorted({blob for image in images for blob in needed(layout, image)}):
        parts["oci/blobs/" + blob.replace(":", "/")] = blob_path(layout, blob)
    listed = [{"path": path, "sha256": _sha256(part), "size": _size(part)} for path, part in parts.items()]
    manifest = {
        "format": FORMAT,
        "name": template["name"],
        "version": template["version"],
        "digest": digest,
        "images": [asdict(image) for image in images],
        "parts": listed,
    }
    text = json.dumps(manifest, indent=1).encode()
    try:
        with (
            atomic.staged(archive) as partial,
            _packing(archive, partial) as out,
            tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            _add(tar, "manifest.json", text)
            for path, part in parts.items():
                _add(tar, path, part)
    except OSError as error:
        raise BundleError(f"archive {archive}: cannot be written: {error.strerror or error}") from error
    return digest_of(text)


def read(archive: str, directory: str, pinned: str | None = None) -> Bundle:
    """Unpack an archive into a directory and verify every part. BundleError says which one is wrong.

    pinned is the digest that the archive must have: that of its manifest, which has those of all other parts.
    """
    if not os.path.isfile(archive):
        raise BundleError(f"archive: found no file {archive}, wanted an archive that state=exported has written")
    try:
        with _unpacking(archive) as source, tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as tar:
            text = _first(archive, tar)
            found = digest_of(text)
            if pinned is not None and found != pinned:
                raise BundleError(f"archive {archive}: found the digest {found}, wanted {pinned}, the value of digest")
            manifest = _manifest(archive, text)
            _room(archive, manifest, directory)
            _parts(archive, tar, source, manifest, directory)
        with open(os.path.join(directory, "template.json"), "rb") as stream:
            template = records.checked(records.parsed(stream.read(), MAX_TEMPLATE), records.mapping(records.anything))
        images = tuple(Image(**{key: entry[key] for key in _IMAGE_FIELDS}) for entry in manifest["images"])
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError, RecursionError) as error:
        raise BundleError(f"archive {archive}: damaged or not a template: {error}; export it again") from error
    except OSError as error:
        raise BundleError(f"archive {archive}: cannot be read: {error.strerror or error}") from error
    layout = os.path.join(directory, "oci")
    for image in images:
        if not IMAGE_PATH.match(image.repository) or (image.tag and not IMAGE_TAG.match(image.tag)):
            raise BundleError(
                f"archive {archive}: found the image {image.repository}:{image.tag}, which is not a valid name"
            )
        for blob in needed(layout, image):
            if not os.path.isfile(blob_path(layout, blob)):
                raise BundleError(
                    f"archive {archive}: image {image.image}: found no blob {blob}; export the template again"
                )
    return Bundle(manifest["digest"], template, images, layout, found)


def digest_of(manifest: bytes) -> str:
    """Return the digest that an archive is known by."""
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def _first(archive: str, tar: tarfile.TarFile) -> bytes:
    """Return the manifest, which is the first part of an archive."""
    member = tar.next()
    stream = tar.extractfile(member) if member is not None and member.name == "manifest.json" else None
    if member is None or stream is None or member.size > MAX_MANIFEST:
        found = member.name if member is not None else "nothing"
        raise BundleError(f"archive {archive}: found {shown(found)} as its first part, wanted manifest.json")
    return stream.read()


def _manifest(archive: str, text: bytes) -> dict[str, Any]:
    manifest = records.parsed(text, MAX_MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        said = shown(manifest.get("format")) if isinstance(manifest, dict) else "no mapping"
        raise BundleError(f"archive {archive}: found the format {said}, wanted {FORMAT}")
    checked: dict[str, Any] = records.checked(manifest, _MANIFEST, "manifest.json")
    return checked


def _room(archive: str, manifest: dict[str, Any], directory: str) -> None:
    """Refuse an archive whose parts are larger together than they may be, or than the space there is for them."""
    size = sum(entry["size"] for entry in manifest["parts"])
    free = shutil.disk_usage(directory if os.path.isdir(directory) else os.path.dirname(directory)).free
    if size > min(MAX_SIZE, free):
        limit = f"at most {MAX_SIZE}" if size > MAX_SIZE else f"at most the {free} free bytes of {directory}"
        raise BundleError(f"archive {archive}: found {size} bytes when unpacked, wanted {limit}")


def _parts(archive: str, tar: tarfile.TarFile, source: _Bounded, manifest: dict[str, Any], directory: str) -> None:
    left = {entry["path"]: entry for entry in manifest["parts"]}
    while True:
        # What stands between two parts, such as a name that is too long for its field, is kept in memory.
        source.allow(MAX_HEADERS)
        # Not by iteration, which starts with the first part again.
        member = tar.next()
        if member is None:
            break
        entry = left.pop(member.name, None)
        stream = tar.extractfile(member) if entry is not None and member.isreg() else None
        if entry is None or stream is None or ".." in member.name.split("/") or member.name.startswith("/"):
            raise BundleError(f"archive {archive}: found a part {shown(member.name)} that its manifest does not have")
        if member.size != entry["size"]:
            raise BundleError(f"archive {archive}: {member.name}: found {member.size} bytes, wanted {entry['size']}")
        source.allow(entry["size"] + MAX_HEADERS)
        target = os.path.join(directory, *member.name.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        found = hashlib.sha256()
        with open(target, "wb") as out:
            for chunk in iter(lambda stream=stream: stream.read(CHUNK), b""):  # type: ignore[misc]
                out.write(chunk)
                found.update(chunk)
        if found.hexdigest() != entry["sha256"]:
            raise BundleError(
                f"archive {archive}: {member.name}: found sha256 {found.hexdigest()}, wanted {entry['sha256']}; "
                "it is damaged, copy it again"
            )
        if member.name.startswith("oci/blobs/") and member.name != f"oci/blobs/sha256/{entry['sha256']}":
            raise BundleError(
                f"archive {archive}: {member.name}: found sha256 {entry['sha256']}, wanted that of its name"
            )
    if left:
        raise BundleError(
            f"archive {archive}: found no {', '.join(sorted(left)[:5])}; it is not complete, copy it again"
        )


class _Bounded:
    """A stream of unpacked bytes that ends with an error when more come than were allowed."""

    def __init__(self, archive: str, stream: IO[bytes], size: int) -> None:
        self._archive, self._stream, self._left = archive, stream, size

    def allow(self, size: int) -> None:
        """Allow so many bytes from here on."""
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BundleError(f"archive {self._archive}: found more data than its parts have; it is not a template")
        return data


@contextlib.contextmanager
def _packing(archive: str, partial: str) -> Iterator[IO[bytes]]:
    with open(partial, "wb") as out:
        if archive.endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as packed:
                yield packed  # type: ignore[misc]
            return
        with _zstd(["-q", "-3", "-c"], stdin=subprocess.PIPE, stdout=out) as process:
            if process.stdin is None:
                raise AssertionError("a pipe was asked for")
            yield process.stdin
            process.stdin.close()
            if process.wait():
                raise BundleError(f"archive {archive}: zstd ended with {process.returncode}")


@contextlib.contextmanager
def _unpacking(archive: str) -> Iterator[_Bounded]:
    """Give the unpacked bytes of an archive, of which the first ones may be a manifest and its header."""
    with open(archive, "rb") as source:
        if archive.endswith(".gz"):
            with gzip.GzipFile(fileobj=source) as plain:
                bounded = _Bounded(archive, cast("IO[bytes]", plain), MAX_MANIFEST + MAX_HEADERS)
                yield bounded
                _drain(bounded)
            return
        with _zstd(["-q", "-d", "-c"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            if process.stdout is None:
                raise AssertionError("a pipe was asked for")
            try:
                bounded = _Bounded(archive, process.stdout, MAX_MANIFEST + MAX_HEADERS)
                yield bounded
                _drain(bounded)
            finally:
                process.stdout.close()
                code = process.wait()
            if code:
                raise BundleError(f"archive {archive}: damaged: zstd ended with {code}; copy it again")


def _drain(source: _Bounded) -> None:
    """Read what comes after the end of the tar, so that damage there is found too."""
    source.allow(MAX_HEADERS)
    while source.read(CHUNK):
        pass


def _zstd(arguments: list[str], **more: Any) -> subprocess.Popen[bytes]:
    program = shutil.which("zstd")
    if program is None:
        raise BundleError("archive: found no program zstd, wanted it for .tar.zst (package zstd), or a .tar.gz")
    return subprocess.Popen([program, *arguments], **more)


def _add(tar: tarfile.TarFile, path: str, part: bytes | str) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = _size(part), 0o644, 0
    if isinstance(part, bytes):
        tar.addfile(info, io.BytesIO(part))
        return
    with open(part, "rb") as stream:
        tar.addfile(info, stream)


def _size(part: bytes | str) -> int:
    return len(part) if isinstance(part, bytes) else os.path.getsize(part)


def _sha256(part: bytes | str) -> str:
    found = hashlib.sha256()
    if isinstance(part, bytes):
        found.update(part)
    else:
        with open(part, "rb") as stream:
            for chunk in iter(lambda: stream.read(CHUNK), b""):
                found.update(chunk)
    return found.hexdigest()
