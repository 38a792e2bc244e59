# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HTTP server on the loopback that misbehaves on request, and catalogues that point to it."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, download, recipes


@dataclass
class Site:
    """What the server serves, how it misbehaves and what was asked of it."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)
    ignore_range: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, data: bytes, *, checksum: bool = True) -> str:
        self.files[path] = data
        if checksum:
            name = path.rpartition("/")[2]
            self.files[path + ".sha256"] = f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()
        return self.url + path


class Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, self.path
        wanted = self.headers.get("Range", "")
        site.asked.append((path, wanted))
        statuses = site.status.get(path)
        if statuses:
            self.send_error(statuses.pop(0))
            return
        if path not in site.files:
            self.send_error(404)
            return
        data = site.files[path]
        tag = '"' + hashlib.sha256(data).hexdigest()[:16] + '"'
        start = 0
        fits = self.headers.get("If-Range", tag) == tag
        if wanted.startswith("bytes=") and wanted.endswith("-") and fits and not site.ignore_range:
            start = int(wanted[6:-1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Type", site.types.get(path, "application/octet-stream"))
        self.send_header("ETag", tag)
        self.end_headers()
        cuts = site.cut.get(path)
        self.wfile.write(data[start : start + cuts.pop(0)] if cuts else data[start:])

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def site() -> Iterator[Site]:
    handler = type("SiteHandler", (Handler,), {"site": Site()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    handler.site.url = f"http://127.0.0.1:{server.server_port}"
    yield handler.site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_RETRY_AFTER_S", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class World:
    """A catalogue of two components, a cache and the messages that were printed."""

    site: Site
    root: Path
    messages: list[str] = field(default_factory=list)
    built: list[str] = field(default_factory=list)
    catalogue: dict[str, Any] = field(default_factory=dict)

    def settings(self, **changes: Any) -> Settings:
        path = self.root / "catalogue.yml"
        path.write_text(yaml.safe_dump(self.catalogue))
        values: dict[str, Any] = {"source": "upstream", "cache_dir": str(self.root / "cache"), "catalogue": str(path)}
        values.update(changes)
        return Settings(**values)

    def progress(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def world(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    result = World(site, tmp_path)

    def build(ctx: recipes.Context) -> dict[str, str]:
        result.built.append(ctx.component.name)
        made = {}
        for name in ctx.component.files:
            path = Path(ctx.work) / name
            path.write_bytes(b"built " + name.encode() + b" " + ctx.component.version.encode())
            made[name] = str(path)
        return made

    monkeypatch.setitem(recipes.RECIPES, "test", build)
    site.put("/tool/1.2.3/tool-amd64", b"tool of upstream" * 100)
    site.put("/pack/pack-2.0.tgz", tar_of({"pack-2.0/bin/one": b"one of upstream", "./pack-2.0/bin/two": b"two"}))
    result.catalogue = {
        "components": {
            "tool": {
                "version": "1.2.3",
                "files": {"tool": {}},
                "upstream": {
                    "kind": "file",
                    "url": site.url + "/tool/{version}/{name}-{arch}",
                    "checksum": site.url + "/tool/{version}/{name}-{arch}.sha256",
                },
                "build": {"kind": "test"},
            },
            "pack": {
                "version": "2.0",
                "files": {"one": {}, "two": {"kind": "data"}},
                "upstream": {
                    "kind": "archive",
                    "url": site.url + "/pack/pack-{version}.tgz",
                    "checksum": site.url + "/pack/pack-{version}.tgz.sha256",
                    "member": "pack-{version}/bin/{name}",
                },
                "build": {"kind": "test"},
            },
            "source-only": {"version": "5", "files": {"source-only": {}}, "build": {"kind": "test"}},
        }
    }
    return result
