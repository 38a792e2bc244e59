# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images and their parts."""

from __future__ import annotations

import re
from typing import NamedTuple

IMAGE_PATH = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\Z")
IMAGE_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]+)?\Z")
IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Reference(NamedTuple):
    """The parts of an image's name. host is "" for an image without one, tag "" for one by digest alone."""

    host: str
    repository: str
    tag: str
    digest: str


def reference(image: str) -> Reference:
    """Return the parts of an image's name."""
    rest, _at, digest = image.partition("@")
    host, slash, path = rest.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = "", rest
    path, _colon, tag = path.partition(":")
    return Reference(host, path, tag if tag or digest else "latest", digest)


def well_formed(image: str) -> bool:
    """Return whether every part of an image's name is one that registries accept."""
    parts = reference(image)
    return (
        bool(IMAGE_PATH.match(parts.repository))
        and (not parts.host or bool(IMAGE_HOST.match(parts.host)))
        and (not parts.tag or bool(IMAGE_TAG.match(parts.tag)))
        and (not parts.digest or bool(IMAGE_DIGEST.match(parts.digest)))
        and ("@" in image) == bool(parts.digest)
    )
