# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in an OCI layout: their manifests and blobs, read within bounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError

from .references import IMAGE_DIGEST

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
MAX_MANIFEST = 4 << 20
# An index refers to manifests, perhaps by another index: one per platform, and what is attested of each.
MAX_LEVELS = 4
MAX_MANIFESTS = 1000
MAX_BLOB = 64 << 30


class RegistryError(PlatformError):
    """A registry refuses a request, or returns an invalid answer."""


@dataclass(frozen=True)
class Image:
    """An image in a layout: the name it has in a stack, and the digest it is known by."""

    image: str
    repository: str
    tag: str
    digest: str
    media_type: str
    size: int


class Blob(NamedTuple):
    """A part of an image as its manifest names it."""

    digest: str
    size: int


class Manifest(NamedTuple):
    """One manifest of an image, or an index of some."""

    digest: str
    media_type: str
    body: bytes
    children: dict[str, str]
    blobs: tuple[Blob, ...]


_DIGEST = records.text(71, IMAGE_DIGEST, "sha256: and 64 hexadecimal digits")
_BLOB = records.record({"digest": _DIGEST, "size": records.number(0, MAX_BLOB)})
_MANIFEST = records.record(
    {},
    {
        "config": _BLOB,
        "layers": records.sequence(_BLOB, 1000),
        "manifests": records.sequence(
            records.record({"digest": _DIGEST, "mediaType": records.choice(*INDEXES, *MANIFESTS)}), MAX_MANIFESTS
        ),
    },
)


def manifests(load: Callable[[str], bytes], digest: str, media_type: str, image: str) -> list[Manifest]:
    """Return the manifests of an image, each once, those that others refer to first.

    load returns the bytes of one. RegistryError when there are too many, too deep in each other, or one is not usable.
    """
    known: dict[str, Manifest] = {}
    levels = [{digest: media_type}]
    while levels[-1]:
        if len(levels) > MAX_LEVELS:
            raise RegistryError(f"image {image}: found more than {MAX_LEVELS} levels of indexes, wanted at most that")
        following: dict[str, str] = {}
        for name, kind in levels[-1].items():
            if name not in known and len(known) >= MAX_MANIFESTS:
                raise RegistryError(f"image {image}: found more than {MAX_MANIFESTS} manifests, wanted at most that")
            if name not in known:
                known[name] = _manifest(load, name, kind, image)
            following.update(known[name].children)
        levels.append(following)
    names = dict.fromkeys(name for level in reversed(levels) for name in level)
    return [known[name] for name in names]


def _manifest(load: Callable[[str], bytes], digest: str, media_type: str, image: str) -> Manifest:
    try:
        body = load(digest)
        content = records.checked(records.parsed(body, MAX_MANIFEST), _MANIFEST)
    except (OSError, records.Wrong) as error:
        reason = getattr(error, "strerror", None) or error
        raise RegistryError(f"image {image}: the manifest {digest} is not usable: {reason}") from error
    blobs = [content["config"]] if "config" in content else []
    blobs += content.get("layers", [])
    children = {entry["digest"]: entry["mediaType"] for entry in content.get("manifests", [])}
    return Manifest(digest, media_type, body, children, tuple(Blob(entry["digest"], entry["size"]) for entry in blobs))


def in_layout(layout: str, image: str) -> Callable[[str], bytes]:
    """Return what loads the manifests of an image from a layout."""

    def load(digest: str) -> bytes:
        path = blob_path(layout, digest)
        if os.path.getsize(path) > MAX_MANIFEST:
            raise RegistryError(f"image {image}: found a manifest {digest} of more than {MAX_MANIFEST} bytes")
        with open(path, "rb") as stream:
            return stream.read()

    return load


def blob_path(layout: str, digest: str) -> str:
    """Return the path of a blob in a layout. RegistryError when the digest is none."""
    if not IMAGE_DIGEST.match(digest):
        raise RegistryError(f"found the digest {digest[:80]}, wanted sha256: and 64 hexadecimal digits")
    return os.path.join(layout, "blobs", *digest.split(":", 1))


def needed(layout: str, image: Image) -> list[str]:
    """Return the digests of all blobs that a layout needs for an image. Raises RegistryError when one is unusable."""
    found: dict[str, None] = {}
    for manifest in manifests(in_layout(layout, image.image), image.digest, image.media_type, image.image):
        found.update(dict.fromkeys([manifest.digest, *(blob.digest for blob in manifest.blobs)]))
    return list(found)
