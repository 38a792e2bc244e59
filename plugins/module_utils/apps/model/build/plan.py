# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A build plan: how an image is made of a source tree, and why so. Frozen, with a digest and a stored form. Pure.

Paths of the plan are relative to `root`, the directory of the context that becomes /app in the image, both while it is
built and while it runs. The reader accepts the stored forms that `Plan.stored` writes, and no others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Schema, Wrong
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from ..options import LABEL
from ..spec import canonical
from .commands import MAX_LINE, PORT, argv
from .tree import plain

# The form of plans: another one makes other digests, and no layer of an older one is used.
FORMAT = 1
APP = "/app"


@dataclass(frozen=True)
class Version:
    """The version of a language or tool, and what asked for it."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Process:
    """A process of the app by its command line, and what says so."""

    name: str
    command: str
    source: str

    @property
    def argv(self) -> tuple[str, ...]:
        """The words that run it."""
        return argv(self.command)


@dataclass(frozen=True)
class Step:
    """A command of a build stage. `network`: it installs from mirrors, and gets the credentials for them.

    caches: directories for downloads that are kept from one build to the next and are in no layer.
    """

    command: tuple[str, ...]
    directory: str = "."
    network: bool = False
    caches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """A file or directory of the build stage and its place in the image, as absolute paths."""

    source: str
    target: str


@dataclass(frozen=True)
class Assets:
    """A Node stage beside another language: what it makes of the source is the source of that language's stage."""

    base: str
    tool: str
    manifests: tuple[str, ...]
    install: tuple[Step, ...]
    build: tuple[Step, ...]


@dataclass(frozen=True)
class Rejected:
    """A language that has files in the tree, and why it is not the one of the plan."""

    language: str
    why: str


@dataclass(frozen=True)
class Plan:
    """How an image is made.

    `manifests` are the files that the install steps need; "./" is the whole source, and a path with a slash at its end
    a directory. `containerfile` is the file that describes the image instead of all this, "" without one.
    `generated_lock` is a lock file that the install steps make because the tree has none.
    """

    language: str
    tool: str
    versions: tuple[Version, ...] = ()
    root: str = "."
    subdir: str = "."
    build_base: str = ""
    run_base: str = ""
    manifests: tuple[str, ...] = ()
    install: tuple[Step, ...] = ()
    build: tuple[Step, ...] = ()
    assets: Assets | None = None
    outputs: tuple[Output, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    processes: tuple[Process, ...] = ()
    port: int = PORT
    apt_build: tuple[str, ...] = ()
    apt_run: tuple[str, ...] = ()
    generated_lock: str = ""
    containerfile: str = ""
    reasons: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """The directory of the app, from the root of the image's source."""
        return self.subdir if self.root == "." else self.subdir[len(self.root) + 1 :] or "."

    @property
    def bases(self) -> tuple[str, ...]:
        """The names of the base images that it needs."""
        named = (self.assets.base if self.assets else "", self.build_base, self.run_base)
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def main(self) -> Process | None:
        """The process that the image runs by default: web, else the only one that is not run before the rollout."""
        lasting = [process for process in self.processes if process.name != "release"]
        named = [process for process in lasting if process.name == "web"]
        return next(iter(named or (lasting if len(lasting) == 1 else [])), None)

    @property
    def digest(self) -> str:
        """The digest of all that decides what is built: not of reasons and warnings, which a new version may reword."""
        kept = {name: value for name, value in _stored(self).items() if name not in ("reasons", "rejected", "warnings")}
        return "sha256:" + hashlib.sha256(canonical({"format": FORMAT, **kept})).hexdigest()

    def stored(self) -> dict[str, Any]:
        """Return the form that records and results have."""
        return {"format": FORMAT, "digest": self.digest, **_stored(self)}


def _stored(value: Any) -> Any:
    if is_dataclass(value):
        return {entry.name: _stored(getattr(value, entry.name)) for entry in fields(value)}
    return [_stored(entry) for entry in value] if isinstance(value, tuple) else value


def read_plan(kept: Any) -> Plan:
    """Return the plan of a stored form. Raises Wrong for anything that `Plan.stored` would not write."""
    records.checked(kept, _PLAN, "plan")
    plan: Plan = _part(Plan, {name: value for name, value in kept.items() if name not in ("format", "digest")})
    if plan.stored() != kept:
        raise Wrong(f"plan.digest: found {shown(kept['digest'])}, wanted {plan.digest}")
    return plan


def _part(kind: Any, kept: Mapping[str, Any]) -> Any:
    """Return a part of a plan from its stored form, which its schema has accepted."""
    return kind(**{name: _value(_PARTS.get(name), value) for name, value in kept.items()})


def _value(kind: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(kind, entry) for entry in value)
    return _part(kind, value) if isinstance(value, dict) else value


_PARTS = {
    "versions": Version,
    "install": Step,
    "build": Step,
    "assets": Assets,
    "outputs": Output,
    "processes": Process,
    "rejected": Rejected,
}


def _exactly(schemas: Mapping[str, Schema]) -> Schema:
    """Accept mappings with these keys and no others."""

    def check(value: Any, place: str) -> str:
        said = records.record(schemas)(value, place)
        others = sorted(set(value) - set(schemas)) if not said else []
        return said or (f"{place}: found the key {shown(others[0])}, wanted none of this name" if others else "")

    return check


def _path(value: Any, place: str) -> str:
    """Accept relative paths without a meaning for a shell or a Containerfile; one with a slash at its end too."""
    known = isinstance(value, str) and plain(value[:-1] if value.endswith("/") else value)
    return "" if known else f"{place}: found {shown(value)}, wanted a relative path"


def _absolute(value: Any, place: str) -> str:
    known = isinstance(value, str) and value[:1] == "/" and plain(value[1:].removesuffix("/"))
    return "" if known else f"{place}: found {shown(value)}, wanted an absolute path"


def _optional_path(value: Any, place: str) -> str:
    return "" if value == "" else _path(value, place)


def _pair(value: Any, place: str) -> str:
    """Accept an environment variable: its name and its value."""
    said = records.sequence(records.text(4096), 2, 2)(value, place)
    known = not said and ENVIRONMENT_NAME.match(value[0])
    return said or ("" if known else f"{place}: found {shown(value[0])}, wanted the name of a variable")


BASE = re.compile(r"(build|run)/[a-z0-9]{1,30}\Z")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}\Z")
WORD = re.compile(r"[a-z0-9.-]{1,40}\Z")
VERSION = re.compile(r"[A-Za-z0-9.+-]{1,60}\Z")
ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_BASE = records.text(40, re.compile(rf"({BASE.pattern[:-2]})?\Z"), "the name of a base image")
_WORD = records.text(40, WORD, "lowercase letters, digits, . and -")
_PATHS = records.sequence(_path, 1000)
_SENTENCES = records.sequence(records.text(2000), 200)
_PACKAGES = records.sequence(records.text(100, PACKAGE, "the name of a Debian package"), 200)
_STEPS = records.sequence(
    _exactly(
        {
            "command": records.sequence(records.text(60_000), 1000, 1),
            "directory": _path,
            "network": records.flag,
            "caches": records.sequence(_absolute, 10),
        }
    ),
    100,
)
_PLAN = _exactly(
    {
        "format": records.number(FORMAT, FORMAT),
        "digest": records.text(71, _DIGEST, "a digest"),
        "language": _WORD,
        "tool": _WORD,
        "versions": records.sequence(
            _exactly({"name": _WORD, "value": records.text(60, VERSION, "a version"), "source": records.text(400)}), 20
        ),
        "root": _path,
        "subdir": _path,
        "build_base": _BASE,
        "run_base": _BASE,
        "manifests": _PATHS,
        "install": _STEPS,
        "build": _STEPS,
        "assets": records.maybe(
            _exactly({"base": _BASE, "tool": _WORD, "manifests": _PATHS, "install": _STEPS, "build": _STEPS})
        ),
        "outputs": records.sequence(_exactly({"source": _absolute, "target": _absolute}), 50),
        "environment": records.sequence(_pair, 50),
        "processes": records.sequence(
            _exactly(
                {
                    "name": records.text(40, LABEL, "the name of a process"),
                    "command": records.text(MAX_LINE),
                    "source": records.text(400),
                }
            ),
            50,
        ),
        "port": records.number(1, 65535),
        "apt_build": _PACKAGES,
        "apt_run": _PACKAGES,
        "generated_lock": _optional_path,
        "containerfile": _optional_path,
        "reasons": _SENTENCES,
        "rejected": records.sequence(_exactly({"language": _WORD, "why": records.text(2000)}), 50),
        "warnings": _SENTENCES,
    }
)
