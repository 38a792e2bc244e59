# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get images from a registry into an OCI layout, and from there into another one (OCI distribution, version 2)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.cloudbang.platform.plugins.module_utils import records

from .layout import INDEXES, MANIFESTS, MAX_MANIFEST, Blob, Image, RegistryError, blob_path, in_layout, manifests
from .references import reference

try:
    import urllib3
except ImportError:
    urllib3 = None  # type: ignore[assignment]  # the client says so before anything is done here

Progress = Callable[[str], None]

CHUNK = 1 << 20
TIMEOUT = 60.0
EVERY_SECONDS = 10.0
MEBIBYTE = 1048576.0


class Meter:
    """Reports the progress of a transfer, at most every EVERY_SECONDS."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress, self._what = progress, what
        self._next = time.monotonic() + EVERY_SECONDS
        self._size = 0

    def add(self, size: int) -> None:
        self._size += size
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_SECONDS
            self._progress(f"{self._what}: {self._size / MEBIBYTE:.1f} MiB")


@dataclass
class Registry:
    """Requests to one registry. `host` is how images name it, `url` where it is reached."""

    host: str
    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_cert: str | None = None
    validate_certs: bool = True

    def __post_init__(self) -> None:
        if self.ca_cert and not os.path.isfile(self.ca_cert):
            raise RegistryError(f"registry.ca_cert: found no file {self.ca_cert}, wanted a PEM file")
        self._headers = {}
        if self.username is not None:
            self._headers = urllib3.make_headers(basic_auth=f"{self.username}:{self.password or ''}")
        self._pool = urllib3.PoolManager(
            ca_certs=self.ca_cert, cert_reqs="CERT_REQUIRED" if self.validate_certs else "CERT_NONE"
        )
        self._retries = urllib3.Retry(
            3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), raise_on_status=False
        )

    def resolve(self, repository: str, name: str) -> str | None:
        """Return the digest of a tag or digest, None when the registry does not have it."""
        headers = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        response = self._request("HEAD", f"/v2/{repository}/manifests/{name}", headers, ok=(200, 404))
        if response.status == 404:
            return None
        digest: str = response.headers.get("Docker-Content-Digest", "")
        return digest or self.manifest(repository, name)[2]

    def manifest(self, repository: str, name: str) -> tuple[bytes, str, str]:
        """Return the bytes, media type and digest of a manifest. RegistryError when there is none."""
        headers = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        where = f"/v2/{repository}/manifests/{name}"
        response = self._request("GET", where, headers, ok=(200,), preload_content=False)
        try:
            body: bytes = response.read(MAX_MANIFEST + 1)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryError(f"{self.host}/{repository}:{name}: its manifest broke off: {error}") from error
        finally:
            response.close()
        if len(body) > MAX_MANIFEST:
            raise RegistryError(f"{self.host}/{repository}:{name}: found a manifest of more than {MAX_MANIFEST} bytes")
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if name.startswith("sha256:") and digest != name:
            raise RegistryError(f"{self.host}/{repository}: found a manifest with digest {digest}, wanted {name}")
        try:
            said = records.part({"manifest": records.parsed(body)}, "manifest").get("mediaType")
        except records.Wrong as error:
            raise RegistryError(f"{self.host}/{repository}:{name}: its manifest: {error}") from error
        media_type = str(said or response.headers.get("Content-Type") or "")
        if media_type not in INDEXES + MANIFESTS:
            raise RegistryError(f"{self.host}/{repository}:{name}: found {media_type}, wanted an image or an index")
        return body, media_type, digest

    def get_blob(self, repository: str, blob: Blob, path: str, meter: Meter) -> None:
        """Write a blob to a file. RegistryError when its bytes are not those of the digest, or more than its size."""
        digest, left = blob
        where = f"/v2/{repository}/blobs/{digest}"
        response = self._request("GET", where, {}, ok=(200,), preload_content=False)
        found = hashlib.sha256()
        try:
            with open(path + ".part", "wb") as out:
                for chunk in response.stream(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise RegistryError(f"{self.host}{where}: found more than {blob.size} bytes, wanted those")
                    out.write(chunk)
                    found.update(chunk)
                    meter.add(len(chunk))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryError(f"{self.host}{where}: it broke off: {error}") from error
        finally:
            response.release_conn()
        if "sha256:" + found.hexdigest() != digest:
            raise RegistryError(f"{self.host}{where}: found bytes with digest sha256:{found.hexdigest()}")
        os.replace(path + ".part", path)

    def has_blob(self, repository: str, digest: str) -> bool:
        status: int = self._request("HEAD", f"/v2/{repository}/blobs/{digest}", {}, ok=(200, 404)).status
        return status == 200

    def put_blob(self, repository: str, digest: str, path: str) -> None:
        """Send a blob."""
        begun = self._request("POST", f"/v2/{repository}/blobs/uploads/", {"Content-Length": "0"}, ok=(202,))
        # The registry may return URLs with another address than the one of the request.
        location = urlsplit(begun.headers.get("Location", ""))
        where = f"{location.path}?{location.query + '&' if location.query else ''}digest={digest.replace(':', '%3A')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(os.path.getsize(path))}
        with open(path, "rb") as body:
            self._request("PUT", where, headers, ok=(201,), body=body)

    def put_manifest(self, repository: str, name: str, body: bytes, media_type: str) -> None:
        """Store a manifest under a tag or its digest."""
        self._request("PUT", f"/v2/{repository}/manifests/{name}", {"Content-Type": media_type}, ok=(201,), body=body)

    def _request(self, method: str, where: str, headers: dict[str, str], ok: tuple[int, ...], **more: Any) -> Any:
        described = f"registry {self.host} ({self.url})"
        try:
            response = self._pool.request(
                method,
                self.url.rstrip("/") + where,
                headers={**self._headers, **headers},
                timeout=TIMEOUT,
                retries=self._retries,
                **more,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise RegistryError(f"{described} does not answer {method} {where}: {reason}") from error
        if response.status in ok:
            return response
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            response.drain_conn()
        if response.status in (401, 403):
            raise RegistryError(
                f"{described}: not allowed ({response.status}) to {method} {where}; wanted registry.username and "
                "registry.password (basic authentication) of somebody who is"
            )
        if response.status == 404:
            raise RegistryError(f"{described}: found no {where.removeprefix('/v2/')}, wanted it to be there")
        text = (response.data or b"")[:300].decode("utf-8", "replace")
        raise RegistryError(f"{described} answered {response.status} to {method} {where}: {' '.join(text.split())}")


def pull(registry: Registry, image: str, layout: str, progress: Progress) -> Image:
    """Add an image with all it refers to to an OCI layout directory."""
    parts = reference(image)
    body, media_type, digest = registry.manifest(parts.repository, parts.digest or parts.tag)
    meter = Meter(progress, f"pulling {image}")

    def load(name: str) -> bytes:
        return body if name == digest else registry.manifest(parts.repository, name)[0]

    for manifest in manifests(load, digest, media_type, image):
        for blob in manifest.blobs:
            path = blob_path(layout, blob.digest)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                registry.get_blob(parts.repository, blob, path, meter)
        path = blob_path(layout, manifest.digest)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(manifest.body)
    return Image(image, parts.repository, parts.tag, digest, media_type, len(body))


def push(registry: Registry, image: Image, layout: str, progress: Progress) -> None:
    """Push an image of a layout to a registry, by digest and by tag; existing blobs are not sent."""
    meter = Meter(progress, f"pushing {registry.host}/{image.repository}")
    load = in_layout(layout, image.image)
    for manifest in manifests(load, image.digest, image.media_type, image.image):
        if registry.resolve(image.repository, manifest.digest) == manifest.digest:
            continue
        for blob in manifest.blobs:
            if not registry.has_blob(image.repository, blob.digest):
                path = blob_path(layout, blob.digest)
                registry.put_blob(image.repository, blob.digest, path)
                meter.add(os.path.getsize(path))
        registry.put_manifest(image.repository, manifest.digest, manifest.body, manifest.media_type)
    if image.tag:
        registry.put_manifest(image.repository, image.tag, load(image.digest), image.media_type)
