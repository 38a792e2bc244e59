# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP downloads that resume, notice truncation and error pages, and never hand out an unverified file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import time
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic

from .errors import ArtifactError
from .progress import Progress, Ticker, mebibytes
from .store import Store, sha256_file

_CHUNK = 1 << 18
_TIMEOUT_S = 30
_RETRY_AFTER_S = (0.5, 2.0, 5.0, 10.0)
_AGENT = "cloudbang-artifacts"


class _TruncatedError(Exception):
    """The connection ended before the announced length."""


def open_http(url: str, timeout: float, headers: dict[str, str] | None = None) -> Any:
    """The response to a GET, proxies and certificates as everywhere in Ansible."""
    from ansible.module_utils.urls import open_url

    return open_url(url, headers=headers or {}, timeout=timeout, http_agent=_AGENT, force=False)


def describe(error: BaseException) -> str:
    """A network error in words: HTTP 404, timed out, connection refused, ..."""
    code = getattr(error, "code", None)
    if code is not None:
        return f"HTTP {code}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.timeout):
        return "no answer in time"
    return str(reason) or type(reason).__name__


def get_text(url: str, subject: str, source: str = "upstream", limit: int = 4 << 20) -> str:
    """A small text file, such as a list of checksums."""
    return get_bytes(url, subject, source, limit).decode("utf-8", "replace")


def get_bytes(url: str, subject: str, source: str = "upstream", limit: int = 4 << 20) -> bytes:
    """A small file."""
    last = ""
    for wait in (*_RETRY_AFTER_S[:2], None):
        try:
            with open_http(url, _TIMEOUT_S) as response:
                data: bytes = response.read(limit)
            _refuse_html(data[:512], response.headers.get("Content-Type", ""), subject, source, url)
            return data
        except (OSError, ValueError) as error:
            last = describe(error)
            if 400 <= (getattr(error, "code", 0) or 0) < 500:
                break
        if wait is not None:
            time.sleep(wait)
    raise ArtifactError(
        subject,
        source=source,
        where=url,
        found=last,
        wanted="the file",
        next_step="check the version, the network and https_proxy, or use another artifacts_source",
    )


def parse_checksum(text: str, file_name: str, subject: str, url: str) -> str:
    """The sha256 of a file out of a checksum file: a bare digest, or lines of `digest  [*][./]name`."""
    bare = re.match(r"^\s*([0-9a-fA-F]{64})\s*$", text)
    if bare:
        return bare.group(1).lower()
    only = []
    for line in text.splitlines():
        match = re.match(r"^([0-9a-fA-F]{64})\s+[*]?(\S+)\s*$", line)
        if match is None:
            continue
        only.append(match.group(1).lower())
        if os.path.basename(match.group(2)) == file_name:
            return match.group(1).lower()
    if len(only) == 1 and len(text.split()) <= 2:
        return only[0]
    raise ArtifactError(
        subject,
        source="upstream",
        where=url,
        found=f"no sha256 of {file_name} in {len(text.splitlines())} lines",
        wanted="a line with it",
        next_step="check that this version exists for this architecture",
    )


def download(
    store: Store, url: str, sha256: str, dest: str, subject: str, source: str, progress: Progress, limit: int = 0
) -> tuple[str, int]:
    """Fetch `url` to `dest`; returns its sha256 and size. An empty `sha256` accepts any file.

    More than `limit` bytes, if that is given, are not fetched.

    A download that was killed or interrupted is kept in the store and resumed.
    """
    name = hashlib.sha256((url + sha256).encode()).hexdigest()[:32]
    part = store.path("partial", name)
    os.makedirs(os.path.dirname(part), exist_ok=True)
    with store.lock("download-" + name, url, progress):
        resumed = os.path.exists(part) and os.path.getsize(part) > 0
        _fetch(url, part, subject, source, progress, limit)
        found = sha256_file(part)
        if sha256 and found != sha256 and resumed:
            progress(f"{subject}: what was kept of an earlier download does not fit; fetching it whole")
            _forget(part)
            _fetch(url, part, subject, source, progress, limit)
            found = sha256_file(part)
        size = os.path.getsize(part)
        if sha256 and found != sha256:
            _forget(part)
            raise ArtifactError(
                subject,
                source=source,
                where=url,
                found=f"sha256 {found} ({size} bytes)",
                wanted="sha256 " + sha256,
                next_step="the file was changed or damaged on the way: try again; if it stays, do not use this source",
                final=True,
            )
        os.rename(part, dest)
        _forget(part)
    return found, size


def _forget(part: str) -> None:
    for path in (part, part + ".json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _fetch(url: str, part: str, subject: str, source: str, progress: Progress, limit: int) -> None:
    last = ""
    for attempt, wait in enumerate((*_RETRY_AFTER_S, None)):
        try:
            _fetch_once(url, part, subject, source, progress, limit)
            return
        except _TruncatedError as error:
            last = str(error)
        except ArtifactError:
            raise
        except OSError as error:
            if error.errno == 28:
                raise
            last = describe(error)
            code = getattr(error, "code", 0) or 0
            if code == 416:
                _forget(part)
            elif 400 <= code < 500 and code not in (408, 425, 429):
                break
        if wait is not None:
            progress(f"{subject}: {last} from {url}; try {attempt + 2} follows")
            time.sleep(wait)
    raise ArtifactError(
        subject,
        source=source,
        where=url,
        found=last,
        wanted="the file",
        next_step="check the version, the network and https_proxy, or use another artifacts_source; "
        "what was fetched is kept and continued",
    )


def _fetch_once(url: str, part: str, subject: str, source: str, progress: Progress, limit: int) -> None:
    have = os.path.getsize(part) if os.path.exists(part) else 0
    validator = _validator(part)
    headers = {"Accept-Encoding": "identity"}
    if have and validator:
        headers.update({"Range": f"bytes={have}-", "If-Range": validator})
    with open_http(url, _TIMEOUT_S, headers) as response:
        appended = response.status == 206 and _starts_at(response.headers.get("Content-Range", "")) == have
        if not appended:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else None
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        atomic.write(part + ".json", json.dumps({"validator": "" if tag.startswith("W/") else tag}), 0o644)
        first = response.read(_CHUNK)
        if have == 0:
            _refuse_html(first[:512], response.headers.get("Content-Type", ""), subject, source, url)
        position = [have]

        def message(_elapsed: float) -> str:
            of = " of " + mebibytes(total) if total else ""
            return f"fetching {subject}: {mebibytes(position[0])}{of}"

        with open(part, "ab" if appended else "wb") as out, Ticker(progress, message):
            chunk = first
            while chunk:
                out.write(chunk)
                position[0] += len(chunk)
                if limit and position[0] > limit:
                    break
                chunk = response.read(_CHUNK)
            out.flush()
            os.fsync(out.fileno())
        if limit and position[0] > limit:
            _forget(part)
            raise ArtifactError(
                subject,
                source=source,
                where=url,
                found=f"more than {limit} bytes",
                wanted=f"{limit} bytes",
                next_step="the file was changed on the way or there: do not use this source",
                final=True,
            )
        if total is not None and position[0] != total:
            raise _TruncatedError(f"{position[0]} of {total} bytes")
        if position[0] == 0:
            raise _TruncatedError("an empty file")


def _validator(part: str) -> str:
    try:
        with open(part + ".json", encoding="utf-8") as stream:
            return str(json.load(stream)["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _starts_at(content_range: str) -> int:
    match = re.match(r"^bytes (\d+)-", content_range)
    return int(match.group(1)) if match else -1


def _refuse_html(start: bytes, content_type: str, subject: str, source: str, url: str) -> None:
    text = start.lstrip().lower()
    if "text/html" in content_type.lower() or text.startswith((b"<!doctype html", b"<html")):
        raise ArtifactError(
            subject,
            source=source,
            where=url,
            found="an HTML page (a login, proxy or error page)",
            wanted="the file",
            next_step="open the URL in a browser from the controller to see what answers",
        )
