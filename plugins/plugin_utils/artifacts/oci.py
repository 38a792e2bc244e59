# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes container images: a tar that is an OCI image layout and a `docker save` archive at once.

The same layers and configuration always give the same bytes, hence the same digest. `crane push`, `ctr images import`,
`docker load` and `buildah pull oci-archive:` all read it. The manifest is, byte for byte, the one that crane makes of a
`docker save` archive, so the digest is known before an image is pushed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Union

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
EPOCH = "1970-01-01T00:00:00Z"
_CHUNK = 1 << 20
_MANIFEST_LIMIT = 4 << 20  # bytes: what registries take as a manifest
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One path of a layer: a file from `source`, a file with `content`, a symbolic link to `link`, else a directory."""

    path: str
    source: str | None = None
    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class FileLayer:
    """A layer from a list of entries. Missing parent directories are added with mode 0755."""

    entries: Sequence[Entry]


@dataclass(frozen=True)
class TarLayer:
    """A layer that exists as an uncompressed tar; its own order, owners and times are kept."""

    path: str


Layer = Union[FileLayer, TarLayer]


@dataclass(frozen=True)
class Image:
    """A written image: its file, and its digest in registries."""

    path: str
    digest: str


class _Hashed(io.RawIOBase):
    """Passes writes on and hashes them."""

    def __init__(self, target: IO[bytes]) -> None:
        super().__init__()
        self._target = target
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)


def write_image(
    layers: Sequence[Layer],
    config: Mapping[str, Any],
    dest: str,
    *,
    arch: str = "amd64",
    name: str = "",
    compression: int = 6,
) -> Image:
    """Write an image archive to `dest`.

    layers: lowest first. config: the "config" object of the OCI image configuration (Entrypoint, Cmd, Env, User,
    WorkingDir, ExposedPorts, Labels). name: "repository:tag" that `ctr images import` gives it, "" for none.
    compression: gzip level of the layers, 0 to 9.
    """
    with tempfile.TemporaryDirectory(prefix=".image-", dir=os.path.dirname(os.path.abspath(dest))) as scratch:
        blobs: dict[str, str | bytes] = {}
        descriptors: list[dict[str, Any]] = []
        diff_ids: list[str] = []
        for number, layer in enumerate(layers):
            path = os.path.join(scratch, str(number))
            diff_id, digest, size = _write_layer(layer, path, compression)
            diff_ids.append(diff_id)
            descriptors.append({"mediaType": LAYER, "size": size, "digest": digest})
            blobs[digest] = path
        image_config = {
            "created": EPOCH,
            "architecture": arch,
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": EPOCH, "created_by": "cloudbang"} for _layer in layers],
        }
        config_blob = _json(image_config)
        config_digest = _digest(config_blob)
        blobs[config_digest] = config_blob
        manifest_blob = _manifest(config_digest, len(config_blob), descriptors)
        blobs[_digest(manifest_blob)] = manifest_blob
        return _write_archive(blobs, manifest_blob, dest, arch, name)


def archive_layout(directory: str, dest: str, *, arch: str = "amd64", name: str = "") -> Image:
    """Pack an OCI layout directory that holds one image (`crane pull --format=oci`) the way write_image does."""
    with open(os.path.join(directory, "index.json"), encoding="utf-8") as stream:
        index = json.load(stream)
    if len(index.get("manifests", [])) != 1:
        raise ValueError(f"{directory} holds {len(index.get('manifests', []))} images, wanted one")
    with open(_blob_path(directory, index["manifests"][0]["digest"]), "rb") as raw:
        manifest = json.load(raw)
    layers = [{"mediaType": LAYER, "size": layer["size"], "digest": layer["digest"]} for layer in manifest["layers"]]
    manifest_blob = _manifest(manifest["config"]["digest"], manifest["config"]["size"], layers)
    blobs: dict[str, str | bytes] = {_digest(manifest_blob): manifest_blob}
    for descriptor in [manifest["config"], *manifest["layers"]]:
        blobs[descriptor["digest"]] = _blob_path(directory, descriptor["digest"])
    return _write_archive(blobs, manifest_blob, dest, arch, name)


def read_digest(path: str) -> str:
    """The manifest digest ("sha256:...") of an image archive. ValueError when it is not that of one image in there."""
    with tarfile.open(path, "r:") as archive:
        index = _json_member(archive, "index.json", path)
        manifests = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(manifests, list) or len(manifests) != 1 or not isinstance(manifests[0], dict):
            raise ValueError(f"{path}: index.json is not that of one image")
        digest = str(manifests[0].get("digest"))
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{path}: found the digest {digest[:80]!r}, wanted sha256: and 64 hexadecimal digits")
        found = _digest(_member_bytes(archive, _member(digest), path))
        if found != digest:
            raise ValueError(f"{path}: found a manifest with the digest {found}, index.json says {digest}")
        return digest


def _json_member(archive: tarfile.TarFile, name: str, path: str) -> Any:
    return json.loads(_member_bytes(archive, name, path))


def _member_bytes(archive: tarfile.TarFile, name: str, path: str) -> bytes:
    try:
        stream = archive.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise ValueError(f"{path} is not an image archive: no {name}")
    return stream.read(_MANIFEST_LIMIT)


def _write_layer(layer: Layer, dest: str, compression: int) -> tuple[str, str, int]:
    """Returns diff id, digest and size of the compressed layer."""
    with open(dest, "wb") as out:
        compressed = _Hashed(out)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=compression, fileobj=compressed, mtime=0) as packed:
            plain = _Hashed(packed)  # type: ignore[arg-type]
            if isinstance(layer, TarLayer):
                with open(layer.path, "rb") as stream:
                    for chunk in iter(lambda: stream.read(_CHUNK), b""):
                        plain.write(chunk)
            else:
                _write_entries(layer.entries, plain)
    return "sha256:" + plain.sha256.hexdigest(), "sha256:" + compressed.sha256.hexdigest(), compressed.size


def _write_entries(entries: Sequence[Entry], out: _Hashed) -> None:
    known = {entry.path.strip("/"): entry for entry in entries}
    for path in list(known):
        parent = os.path.dirname(path)
        while parent and parent not in known:
            known[parent] = Entry(parent)
            parent = os.path.dirname(parent)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(known):
            entry = known[path]
            info = tarfile.TarInfo(path)
            info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, 0
            if entry.source is not None:
                info.size = os.path.getsize(entry.source)
                with open(entry.source, "rb") as stream:
                    archive.addfile(info, stream)
            elif entry.content is not None:
                info.size = len(entry.content)
                archive.addfile(info, io.BytesIO(entry.content))
            elif entry.link is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                archive.addfile(info)
            else:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)


def _write_archive(blobs: Mapping[str, str | bytes], manifest_blob: bytes, dest: str, arch: str, name: str) -> Image:
    manifest = json.loads(manifest_blob)
    digest = _digest(manifest_blob)
    descriptor: dict[str, Any] = {
        "mediaType": manifest.get("mediaType", MANIFEST),
        "digest": digest,
        "size": len(manifest_blob),
        "platform": {"architecture": arch, "os": "linux"},
    }
    if name:
        descriptor["annotations"] = {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
    saved = {
        "Config": _member(manifest["config"]["digest"]),
        "RepoTags": [name] if name else None,
        "Layers": [_member(layer["digest"]) for layer in manifest["layers"]],
    }
    members: dict[str, str | bytes] = {
        "index.json": _json({"schemaVersion": 2, "manifests": [descriptor]}),
        "manifest.json": _json([saved]),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    members.update({_member(blob): content for blob, content in blobs.items()})
    with tarfile.open(dest, "w", format=tarfile.PAX_FORMAT) as archive:
        for directory in ("blobs", "blobs/sha256"):
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for path in sorted(members):
            content = members[path]
            info = tarfile.TarInfo(path)
            info.mode = 0o644
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.size = os.path.getsize(content)
                with open(content, "rb") as stream:
                    archive.addfile(info, stream)
    return Image(dest, digest)


def _manifest(config: str, config_size: int, layers: Sequence[Mapping[str, Any]]) -> bytes:
    """Member order and spacing are those of crane."""
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": config_size, "digest": config},
        "layers": list(layers),
    }
    return json.dumps(value, separators=(",", ":")).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _member(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _blob_path(directory: str, digest: str) -> str:
    return os.path.join(directory, *_member(digest).split("/"))
