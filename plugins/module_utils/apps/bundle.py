# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
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
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from .client import KubeError
from .registry import Image, blob_path, needed
from .spec import IMAGE_PATH, IMAGE_TAG, canonical

FORMAT = "cloudbang-template/1"
MAX_MANIFEST = 16 << 20
CHUNK = 1 << 20


class BundleError(KubeError):
    """An archive is not usable."""


@dataclass(frozen=True)
class Bundle:
    """What an archive has: the content of a template and its images. `layout` is where the images are unpacked."""

    digest: str
    template: dict[str, Any]
    images: tuple[Image, ...]
    layout: str


@contextlib.contextmanager
def scratch(archive: str) -> Iterator[str]:
    """Give a directory to work in, beside the archive if possible: images are large and /tmp may be small."""
    beside = os.path.dirname(os.path.abspath(archive))
    with tempfile.TemporaryDirectory(prefix=".template-", dir=beside if os.access(beside, os.W_OK) else None) as path:
        yield path


def write(archive: str, digest: str, template: dict[str, Any], images: Iterable[Image], layout: str) -> None:
    """Write an archive, in one step: there is never a part of one at its path."""
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
    directory = os.path.dirname(os.path.abspath(archive))
    handle, partial = tempfile.mkstemp(prefix=".template-", dir=directory)
    os.close(handle)
    try:
        with _packing(archive, partial) as out, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "manifest.json", json.dumps(manifest, indent=1).encode())
            for path, part in parts.items():
                _add(tar, path, part)
        os.replace(partial, archive)
    except OSError as error:
        raise BundleError(f"archive {archive}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def read(archive: str, directory: str) -> Bundle:
    """Unpack an archive into a directory and verify every part. BundleError says which one is wrong."""
    if not os.path.isfile(archive):
        raise BundleError(f"archive: found no file {archive}, wanted an archive that state=exported has written")
    try:
        with _unpacking(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            manifest = _manifest(archive, tar)
            _parts(archive, tar, manifest, directory)
        with open(os.path.join(directory, "template.json"), "rb") as source:
            template = json.load(source)
        images = tuple(Image(**entry) for entry in manifest["images"])
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"archive {archive}: damaged or no template: {error}; wanted it exported again") from error
    except OSError as error:
        raise BundleError(f"archive {archive}: cannot be read: {error.strerror or error}") from error
    layout = os.path.join(directory, "oci")
    for image in images:
        if not IMAGE_PATH.match(image.repository) or (image.tag and not IMAGE_TAG.match(image.tag)):
            raise BundleError(
                f"archive {archive}: found the image {image.repository}:{image.tag}, which is no name of one"
            )
        for blob in needed(layout, image):
            if not os.path.isfile(blob_path(layout, blob)):
                raise BundleError(
                    f"archive {archive}: image {image.image}: found no blob {blob}, wanted it exported again"
                )
    return Bundle(str(manifest["digest"]), template, images, layout)


def _manifest(archive: str, tar: tarfile.TarFile) -> dict[str, Any]:
    member = tar.next()
    stream = tar.extractfile(member) if member is not None and member.name == "manifest.json" else None
    if member is None or stream is None or member.size > MAX_MANIFEST:
        found = member.name if member is not None else "nothing"
        raise BundleError(f"archive {archive}: found {found} as its first part, wanted manifest.json")
    manifest = json.loads(stream.read())
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        said = manifest.get("format") if isinstance(manifest, dict) else "no mapping"
        raise BundleError(f"archive {archive}: found the format {said}, wanted {FORMAT}")
    return manifest


def _parts(archive: str, tar: tarfile.TarFile, manifest: dict[str, Any], directory: str) -> None:
    left = {entry["path"]: entry for entry in manifest["parts"]}
    # Not by iteration, which starts with the first part again.
    while (member := tar.next()) is not None:
        entry = left.pop(member.name, None)
        stream = tar.extractfile(member) if entry is not None and member.isreg() else None
        if entry is None or stream is None or ".." in member.name.split("/") or member.name.startswith("/"):
            raise BundleError(f"archive {archive}: found a part {member.name} that its manifest does not have")
        if member.size != entry["size"]:
            raise BundleError(f"archive {archive}: {member.name}: found {member.size} bytes, wanted {entry['size']}")
        target = os.path.join(directory, *member.name.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        found = hashlib.sha256()
        with open(target, "wb") as out:
            for chunk in iter(lambda source=stream: source.read(CHUNK), b""):  # type: ignore[misc]
                out.write(chunk)
                found.update(chunk)
        if found.hexdigest() != entry["sha256"]:
            raise BundleError(
                f"archive {archive}: {member.name}: found sha256 {found.hexdigest()}, wanted {entry['sha256']}; "
                "it is damaged, get it again"
            )
        if member.name.startswith("oci/blobs/") and member.name != f"oci/blobs/sha256/{entry['sha256']}":
            raise BundleError(
                f"archive {archive}: {member.name}: found sha256 {entry['sha256']}, wanted that of its name"
            )
    if left:
        raise BundleError(
            f"archive {archive}: found no {', '.join(sorted(left)[:5])}; it is not complete, get it again"
        )


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
def _unpacking(archive: str) -> Iterator[IO[bytes]]:
    with open(archive, "rb") as source:
        if archive.endswith(".gz"):
            with gzip.GzipFile(fileobj=source) as plain:
                yield plain  # type: ignore[misc]
            return
        with _zstd(["-q", "-d", "-c"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            if process.stdout is None:
                raise AssertionError("a pipe was asked for")
            try:
                yield process.stdout
                # What comes after the end of the tar is read, so that damage there is found too.
                while process.stdout.read(CHUNK):
                    pass
            finally:
                process.stdout.close()
                code = process.wait()
            if code:
                raise BundleError(f"archive {archive}: damaged: zstd ended with {code}; get it again")


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
