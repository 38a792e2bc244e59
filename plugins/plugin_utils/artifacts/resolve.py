# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolves names to verified files: checks the cache, chooses a source, fetches or builds missing files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import oci, recipes
from .catalogue import DEFAULT_CATALOGUE, Catalogue, Component
from .errors import ArtifactError, combined
from .lockfile import LockFile
from .mirror import Mirror, manifest_sha256, write_mirror
from .progress import Progress, duration, silent
from .store import Lock, Store, Stored
from .upstream import Upstream, reachable

NAMES = ("source", "cache_dir", "mirror", "mirror_sha256", "versions", "arch", "lock_file")
SOURCES = ("auto", "upstream", "mirror", "build")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
ARCHITECTURES = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Artifact:
    """A verified file.

    kind: executable, data or image. origin: upstream, mirror or build. made: its origin, upstream or build, also when
    it comes from a mirror. created: it was made or fetched by this call.
    digest: "sha256:..." by which a registry knows an image after `crane push`, else "".
    """

    name: str
    component: str
    version: str
    path: str
    sha256: str
    size: int
    kind: str = "executable"
    origin: str = ""
    made: str = ""
    digest: str = ""
    created: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """What ensure would do for a name: origin is where it is cached from, or would come from; None when not known."""

    name: str
    component: str
    version: str
    cached: bool
    origin: str | None


@dataclass(frozen=True)
class Settings:
    """Where artifacts come from and where they are kept. See the artifacts role for the meaning of each."""

    source: str = "auto"
    cache_dir: str = "~/.cache/cloudbang"
    mirror: str | None = None
    mirror_sha256: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    arch: str = "amd64"
    lock_file: str | None = None
    catalogue: str = DEFAULT_CATALOGUE
    answer_timeout: float = 4.0

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ArtifactError("artifacts_source", found=repr(self.source), wanted="one of " + ", ".join(SOURCES))
        if self.arch not in ARCHITECTURES:
            raise ArtifactError("artifacts_arch", found=repr(self.arch), wanted="one of " + ", ".join(ARCHITECTURES))
        if self.source == "mirror" and not self.mirror:
            raise ArtifactError(
                "artifacts_mirror",
                found="nothing",
                wanted="the URL or directory of a mirror, as artifacts_source is mirror",
            )
        object.__setattr__(self, "mirror_sha256", self.mirror_sha256.lower())
        wrong = mirror_finding(self.mirror if self.source == "mirror" else None, self.mirror_sha256)
        if wrong is not None:
            raise ArtifactError("artifacts_mirror_sha256", found=wrong[0], wanted=wrong[1], final=True)
        if not isinstance(self.versions, Mapping):
            raise ArtifactError(
                "artifacts_versions", found=repr(self.versions), wanted="a mapping of component to version"
            )
        object.__setattr__(self, "arch", ARCHITECTURES[self.arch])
        object.__setattr__(self, "versions", dict(self.versions))
        object.__setattr__(self, "cache_dir", os.path.abspath(os.path.expanduser(self.cache_dir)))

    @classmethod
    def from_vars(cls, variables: Mapping[str, Any], template: Callable[[Any], Any] = lambda value: value) -> Settings:
        """Read the variables artifacts_NAME for all NAMES; `template` resolves raw ones."""
        values: dict[str, Any] = {}
        for name in NAMES:
            value = variables.get("artifacts_" + name)
            if value is not None and value != "":
                values[name] = template(value)
        return cls(**{name: value for name, value in values.items() if value not in (None, "")})


def names(settings: Settings, everything: bool = False) -> list[str]:
    """The artifact names of the catalogue: everything, or what every installation needs."""
    catalogue = _Run(settings, silent).catalogue
    return catalogue.names if everything else catalogue.usual


def ensure(wanted: list[str], settings: Settings, progress: Progress = silent) -> dict[str, Artifact]:
    """Fetch or build all missing files. Returns all by name, in the order of the names.

    Components that are missing are fetched or built side by side. Raises ArtifactError for all that failed at once.
    """
    return _Run(settings, progress).ensure(list(wanted))


def plan(wanted: list[str], settings: Settings) -> dict[str, Planned]:
    """What ensure would do, without doing or fetching anything."""
    run = _Run(settings, silent)
    result = {}
    for component_name, files in run.catalogue.owners(list(wanted)).items():
        component = run.catalogue.component(component_name)
        for name in files:
            cached = run.cached(component, name)
            origin = cached.origin if cached else (None if settings.source == "auto" else run.source_of(component))
            result[name] = Planned(name, component.name, component.version, cached is not None, origin)
    return {name: result[name] for name in wanted}


def bundle(root: str, artifacts: Iterable[Artifact], settings: Settings, progress: Progress = silent) -> list[str]:
    """Write these artifacts as a mirror below `root`. Returns the paths that were written."""
    written = write_mirror(root, [artifact.as_dict() for artifact in artifacts], settings.arch, progress)
    progress(f"sites that use this mirror set artifacts_mirror_sha256: {manifest_sha256(root)}")
    return written


def mirror_finding(mirror: str | None, pinned: str) -> tuple[str, str] | None:
    """The error of the checksum that pins a mirror: value found and value wanted. None when it is right."""
    if pinned and not _SHA256.match(pinned):
        return repr(pinned), "64 hexadecimal digits, the sha256 of the mirror's manifest.json"
    if mirror and mirror.lower().startswith("http://") and not pinned:
        wanted = "the sha256 of its manifest.json, which playbooks/bundle.yml prints, or a mirror with https"
        return f"nothing, and {mirror}, where anybody on the way can exchange files", wanted
    return None


class _Run:
    """One call of ensure."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.store = Store(settings.cache_dir)
        self.catalogue = Catalogue(settings.catalogue, settings.versions, settings.arch)
        self.lock_file = LockFile(settings.lock_file or self.store.path("artifacts.lock.yml"))
        self._upstream = Upstream(self.store, self.lock_file, self.progress, self._crane)
        self._mirror: Mirror | None = None
        if settings.mirror:
            self._mirror = Mirror(settings.mirror, self.store, self.lock_file, self.progress, settings.mirror_sha256)
        self._auto: dict[str, str] = {}

    def ensure(self, wanted: list[str]) -> dict[str, Artifact]:
        owners = self.catalogue.owners(wanted)
        found: dict[str, Artifact] = {}
        missing: dict[str, list[str]] = {}
        for component_name, files in owners.items():
            component = self.catalogue.component(component_name)
            for name in files:
                artifact = self.cached(component, name)
                if artifact is None:
                    missing.setdefault(component_name, []).append(name)
                else:
                    found[name] = artifact
        if missing:
            found.update(self._make_all(missing))
        return {name: found[name] for name in wanted}

    def cached(self, component: Component, name: str) -> Artifact | None:
        for origin in self._origins(component):
            stored = self.store.get(_key(origin, component, name), self.progress)
            if stored is not None and (origin != "build" or stored.meta.get("recipe") == component.recipe):
                artifact = _artifact(component, name, stored, origin)
                self._check(component, artifact)
                return artifact
        return None

    def _check(self, component: Component, artifact: Artifact) -> None:
        """Check a cached file against the lock file, which may be newer."""
        sections = {"upstream": ("files",), "mirror": ("files", "mirror")}.get(artifact.origin, ())
        key = "/".join((component.name, component.version, component.arch, artifact.name))
        digest = artifact.digest.removeprefix("sha256:") or artifact.sha256
        for section in sections:
            self.lock_file.check(section, key, digest, f"{artifact.name} of {component}", artifact.origin)

    def source_of(self, component: Component) -> str:
        """Where this component comes from under the configured source."""
        source = self.settings.source
        has_upstream = all(component.upstream_of(name) for name in component.files)
        if source == "upstream":
            return "upstream" if has_upstream else "build"
        if source == "auto":
            if not component.build:
                return "upstream"
            return self._auto.get(component.name, "upstream") if has_upstream else "build"
        return source

    def _origins(self, component: Component) -> tuple[str, ...]:
        """Which cached origins satisfy the configured source, best first."""
        if self.settings.source == "auto":
            return ("upstream", "build")
        return (self.source_of(component),)

    def _make_all(self, missing: Mapping[str, list[str]]) -> dict[str, Artifact]:
        components = [self.catalogue.component(name) for name in missing]
        if self.settings.source == "auto":
            self._choose(components)
        started = time.monotonic()
        self.progress("getting {}".format(", ".join(f"{item} ({self.source_of(item)})" for item in components)))
        made: dict[str, Artifact] = {}
        errors: list[ArtifactError] = []
        with ThreadPoolExecutor(max_workers=max(2, min(len(components), os.cpu_count() or 2))) as pool:
            futures = [pool.submit(self._make, component, missing[component.name]) for component in components]
            for component, future in zip(components, futures):
                try:
                    made.update(future.result())
                except ArtifactError as error:
                    errors.append(error)
                except OSError as error:
                    errors.append(
                        ArtifactError(
                            str(component),
                            source=self.source_of(component),
                            where=self.settings.cache_dir,
                            found=str(error),
                            wanted="a usable cache directory with free space",
                            next_step="check artifacts_cache_dir",
                        )
                    )
        if errors:
            raise combined(errors)
        self.progress(f"got {len(made)} files in {duration(time.monotonic() - started)}")
        return made

    def _make(self, component: Component, wanted: list[str]) -> dict[str, Artifact]:
        with self.store.lock(component.name, str(component), self.progress) as lock:
            result: dict[str, Artifact] = {}
            for name in wanted:
                artifact = self.cached(component, name)
                if artifact is not None:
                    result[name] = artifact
            if len(result) == len(wanted):
                return result
            with self.store.work(component.name) as work:
                return self._make_from(self.source_of(component), component, wanted, work, lock)

    def _make_from(
        self, source: str, component: Component, wanted: list[str], work: str, lock: Lock
    ) -> dict[str, Artifact]:
        if source == "upstream":
            try:
                made = self._upstream.fetch(component, wanted, work)
            except ArtifactError as error:
                if self.settings.source != "auto" or not component.build or error.final:
                    raise
                self.progress(f"{error}; building it instead")
                with self.store.work(component.name) as fresh:
                    return self._make_from("build", component, wanted, fresh, lock)
        elif source == "mirror" and self._mirror is not None:
            made = self._mirror.fetch(component, wanted, work)
        else:
            made = self._build(component, work, lock)
        result = {}
        for name, path in made.items():
            meta = {"recipe": component.recipe} if source == "build" else {}
            if component.files[name].kind == "image":
                meta["digest"] = oci.read_digest(path)
            if source == "mirror" and self._mirror is not None:
                meta["made"] = self._mirror.made(component, name)
            stored = self.store.put(
                _key(source, component, name), path, executable=component.files[name].executable, meta=meta
            )
            result[name] = _artifact(component, name, stored, source, created=True)
        return {name: result[name] for name in wanted}

    def _build(self, component: Component, work: str, lock: Lock) -> dict[str, str]:
        if not component.build:
            raise ArtifactError(
                str(component),
                source="build",
                found="no build recipe in the catalogue",
                wanted="one",
                next_step="use artifacts_source upstream or mirror",
            )
        self.store.require_space(2 << 30, str(component))
        context = recipes.Context(
            component=component,
            work=work,
            store=self.store,
            toolchain=self.catalogue.toolchain,
            need=self._need,
            progress=self.progress,
            keep_open=(lock.descriptor,),
        )
        return recipes.build(context)

    def _need(self, wanted: list[str]) -> dict[str, Artifact]:
        """Files that another one is made of: made in the calling thread."""
        result: dict[str, Artifact] = {}
        for component_name, files in self.catalogue.owners(wanted).items():
            result.update(self._make(self.catalogue.component(component_name), files))
        return result

    def _crane(self) -> str:
        """A crane that runs on this machine, whatever the hosts are."""
        here = ARCHITECTURES.get(os.uname().machine, self.settings.arch)
        if here == self.settings.arch:
            return self._need(["crane"])["crane"].path
        return ensure(["crane"], replace(self.settings, arch=here), self.progress)["crane"].path

    def _choose(self, components: list[Component]) -> None:
        """For source auto: ask each upstream whether it answers, all at once, and remember."""
        needed = self.catalogue.owners([name for item in components for name in item.needs])
        every = [*components, *(self.catalogue.component(owner) for owner in needed)]
        asked = [item for item in every if item.build and all(item.upstream_of(name) for name in item.files)]
        answers = reachable(asked, self.settings.answer_timeout)
        for item in asked:
            self._auto[item.name] = "upstream" if answers[item.name] is None else "build"
        silent_ones = sorted({str(reason) for reason in answers.values() if reason is not None})
        if silent_ones:
            self.progress("source auto: building, because {}".format("; ".join(silent_ones)))
        elif asked:
            self.progress("source auto: upstream answers")


def _key(origin: str, component: Component, name: str) -> str:
    return "/".join((origin, component.name, component.version, component.arch, name))


def _artifact(component: Component, name: str, stored: Stored, origin: str, *, created: bool = False) -> Artifact:
    return Artifact(
        name=name,
        component=component.name,
        version=component.version,
        path=stored.path,
        sha256=stored.sha256,
        size=stored.size,
        kind=component.files[name].kind,
        origin=origin,
        made=str(stored.meta.get("made", origin)),
        digest=str(stored.meta.get("digest", "")),
        created=created,
    )
