# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases as their projects publish them, verified by the checksum files they publish beside them."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from . import download as http
from . import gobuild, oci
from .catalogue import Component
from .errors import ArtifactError, tail
from .lockfile import LockFile, fingerprint
from .progress import Progress, Ticker, duration
from .store import Store


def probe_url(component: Component) -> str:
    """A small thing that this component's upstream has when it is reachable."""
    for name in component.files:
        entry = component.upstream_of(name)
        if entry is not None:
            if "image" in entry:
                return "https://{}/v2/".format(entry["image"].split("/")[0])
            return str(entry.get("checksum") or entry["url"])
    return ""


def reachable(components: Sequence[Component], timeout: float) -> dict[str, str | None]:
    """Ask all upstreams at once. Component -> None when it answers, else the reason why not."""
    urls = {component.name: probe_url(component) for component in components}
    if not urls:
        return {}
    with ThreadPoolExecutor(max_workers=len(urls)) as pool:
        return dict(zip(urls, pool.map(lambda url: _probe(url, timeout), urls.values())))


def _probe(url: str, timeout: float) -> str | None:
    host = url.split("/")[2]
    try:
        with http.open_http(url, timeout, {"Range": "bytes=0-1023"}) as response:
            if "text/html" in response.headers.get("Content-Type", "").lower():
                return f"{host} answers with an HTML page"
    except (OSError, ValueError) as error:
        if url.endswith("/v2/") and getattr(error, "code", None) == 401:
            return None
        return f"{host} gives {http.describe(error)}"
    return None


class Upstream:
    """Fetches components from where their projects publish them."""

    def __init__(self, store: Store, lock_file: LockFile, progress: Progress, crane: Callable[[], str]) -> None:
        self._store = store
        self._lock_file = lock_file
        self._progress = progress
        self._crane = crane

    def fetch(self, component: Component, wanted: Sequence[str], work: str) -> dict[str, str]:
        """Returns artifact name -> path below `work`, at least for the wanted ones."""
        made: dict[str, str] = {}
        groups: dict[str, list[str]] = {}
        for name in wanted:
            entry = component.upstream_of(name)
            if entry is None:
                raise ArtifactError(
                    f"{name} of {component}",
                    source="upstream",
                    found="no upstream entry in the catalogue",
                    next_step="use artifacts_source build or mirror",
                )
            groups.setdefault(str(entry.get("url") or entry["image"]), []).append(name)
        for number, (_where, names) in enumerate(groups.items()):
            directory = os.path.join(work, str(number))
            os.makedirs(directory)
            entries = {name: component.upstream_of(name) or {} for name in names}
            kind = str(entries[names[0]]["kind"])
            made.update(_KINDS[kind](self, component, entries, directory))
        self._check(component, made)
        return made

    def _check(self, component: Component, made: Mapping[str, str]) -> None:
        """Compare the result with the lock file, and record it."""
        entries = {}
        for name, path in made.items():
            key = "/".join((component.name, component.version, component.arch, name))
            digest = fingerprint(component.files[name].kind, path)
            self._lock_file.check("files", key, digest, f"{name} of {component}")
            entries[key] = {"sha256": digest, "size": os.path.getsize(path)}
        self._lock_file.record("files", entries)

    def _asset(self, component: Component, entry: Mapping[str, Any], directory: str) -> str:
        """Download and verify one published file."""
        url = str(entry["url"])
        subject = f"{component} ({os.path.basename(url)})"
        wanted = ""
        if entry.get("checksum"):
            text = http.get_text(str(entry["checksum"]), subject)
            wanted = http.parse_checksum(text, os.path.basename(url), subject, str(entry["checksum"]))
            self._lock_file.check("assets", url, wanted, subject)
        wanted = wanted or self._lock_file.wanted("assets", url)
        dest = os.path.join(directory, "asset")
        digest, size = http.download(self._store, url, wanted, dest, subject, "upstream", self._progress)
        if not wanted:
            self._progress(
                f"{subject}: its project publishes no checksum; recorded sha256 {digest} in {self._lock_file.path}"
            )
        self._lock_file.record("assets", {url: {"sha256": digest, "size": size}})
        self._progress(f"fetched {subject}")
        return dest

    def _file(self, component: Component, entries: Mapping[str, Mapping[str, Any]], directory: str) -> dict[str, str]:
        ((name, entry),) = entries.items()
        return {name: self._asset(component, entry, directory)}

    def _archive(
        self, component: Component, entries: Mapping[str, Mapping[str, Any]], directory: str
    ) -> dict[str, str]:
        """Members of a tar. All files of the component that are in this archive, the wanted ones at least."""
        first = next(iter(entries.values()))
        asset = self._asset(component, first, directory)
        wanted = {}
        for name in component.files:
            entry = component.upstream_of(name)
            if entry is not None and entry.get("url") == first["url"]:
                wanted[os.path.normpath(str(entry["member"]))] = name
        made = {}
        for member, path in _extract(asset, directory, component, lambda path: path in wanted).items():
            made[wanted[member]] = path
        _require(component, str(first["url"]), {m for m, name in wanted.items() if name in entries}, made, wanted)
        return made

    def _archive_concat(
        self, component: Component, entries: Mapping[str, Mapping[str, Any]], directory: str
    ) -> dict[str, str]:
        ((name, entry),) = entries.items()
        asset = self._asset(component, entry, directory)
        pattern = str(entry["member"])
        members = _extract(asset, directory, component, lambda path: fnmatch.fnmatch(path, pattern))
        if not members:
            raise ArtifactError(str(component), source="upstream", where=str(entry["url"]), found="no " + pattern)
        dest = os.path.join(directory, "joined")
        gobuild.concatenate([members[member] for member in sorted(members)], dest)
        return {name: dest}

    def _image(self, component: Component, entries: Mapping[str, Mapping[str, Any]], directory: str) -> dict[str, str]:
        ((name, entry),) = entries.items()
        reference = self._pinned(component, str(entry["image"]))
        layout = os.path.join(directory, "layout")
        self._run_crane(component, ["pull", "--format=oci", self._platform(component), reference, layout], directory)
        dest = os.path.join(directory, "image.tar")
        repository = "cloudbang.invalid/{}:{}".format(component.name.replace("image-", "", 1), component.version)
        oci.archive_layout(layout, dest, arch=component.arch, name=repository)
        shutil.rmtree(layout)
        return {name: dest}

    def _image_file(
        self, component: Component, entries: Mapping[str, Mapping[str, Any]], directory: str
    ) -> dict[str, str]:
        image = str(next(iter(entries.values()))["image"])
        reference = self._pinned(component, image)
        exported = os.path.join(directory, "rootfs.tar")
        self._run_crane(component, ["export", self._platform(component), reference, exported], directory)
        wanted = {os.path.normpath(str(entry["member"])): name for name, entry in entries.items()}
        found = _extract(exported, directory, component, lambda path: path in wanted)
        made = {wanted[member]: path for member, path in found.items()}
        os.unlink(exported)
        _require(component, image, set(wanted), made, wanted)
        return made

    def _pinned(self, component: Component, image: str) -> str:
        """The image by digest: a digest of the registry is what a checksum file is elsewhere."""
        output = self._run_crane(component, ["digest", self._platform(component), image], "/")
        digest = output.strip().splitlines()[-1] if output.strip() else ""
        if not digest.startswith("sha256:"):
            raise ArtifactError(str(component), source="upstream", where=image, found=repr(output), wanted="a digest")
        key = f"{image} {component.arch}"
        self._lock_file.check("assets", key, digest[len("sha256:") :], f"{component} ({image})")
        self._lock_file.record("assets", {key: {"sha256": digest[len("sha256:") :]}})
        repository = image.rpartition(":")[0] if ":" in image.rpartition("/")[2] else image
        return f"{repository}@{digest}"

    def _platform(self, component: Component) -> str:
        return "--platform=linux/" + component.arch

    def _run_crane(self, component: Component, arguments: Sequence[str], cwd: str) -> str:
        crane = self._crane()

        def message(elapsed: float) -> str:
            return f"fetching {component}: {duration(elapsed)}, image {arguments[-2]}"

        with Ticker(self._progress, message):
            done = subprocess.run(
                [crane, *arguments],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise ArtifactError(
                str(component),
                source="upstream",
                where="crane " + " ".join(arguments),
                found=tail(done.stderr, 3),
                wanted="the image",
                next_step="check the network and https_proxy, or use another artifacts_source",
            )
        return done.stdout


_Fetcher = Callable[[Upstream, Component, Mapping[str, Mapping[str, Any]], str], dict[str, str]]
_KINDS: dict[str, _Fetcher] = {
    "file": Upstream._file,
    "archive": Upstream._archive,
    "archive-concat": Upstream._archive_concat,
    "image": Upstream._image,
    "image-file": Upstream._image_file,
}


def _extract(
    archive_path: str, directory: str, component: Component, selected: Callable[[str], bool]
) -> dict[str, str]:
    """Regular files of a tar by their normalised member name -> path. Names never become paths on this machine."""
    found: dict[str, str] = {}
    try:
        with tarfile.open(archive_path) as archive:
            for info in archive:
                name = os.path.normpath(info.name).lstrip("/")
                if not selected(name) or name in found:
                    continue
                stream = archive.extractfile(info)
                if stream is None:
                    continue
                path = os.path.join(directory, f"member-{len(found)}")
                with open(path, "wb") as out:
                    shutil.copyfileobj(stream, out, 1 << 20)
                found[name] = path
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ArtifactError(
            str(component), source="upstream", where=archive_path, found=str(error), wanted="a readable tar archive"
        ) from error
    return found


def _require(
    component: Component, where: str, members: set[str], made: Mapping[str, str], names: Mapping[str, str]
) -> None:
    missing = sorted(member for member in members if names[member] not in made)
    if missing:
        raise ArtifactError(
            str(component),
            source="upstream",
            where=where,
            found="an archive without " + ", ".join(missing),
            wanted=", ".join(sorted(members)),
            next_step="correct `member` in the catalogue",
        )
