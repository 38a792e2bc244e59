# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release runs: frozen from the parser to the renderer, and its form in the record of the release. Pure.

The digest of a release is that of its recorded form, so that form never changes: a field with a default is recorded
only when it has another value, and what a later version of this collection has recorded is kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from .types import TYPES, AppType

Resources = dict[str, dict[str, str]]
Node = tuple[str, str]
OTHERS = "others"


@dataclass(frozen=True)
class Port:
    """A port of a process. The name is empty until all ports of the app are known."""

    name: str
    port: int
    protocol: str
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variable(self) -> str:
        """The environment variable that tells an instance in the hosts' network its number of this port."""
        return "PORT_" + self.name.upper().replace("-", "_")


@dataclass(frozen=True)
class Process:
    """A process of an app.

    Probes, `placement`, `schedule` and `run` have the keys of the options of `app`, without those that are not set.
    """

    name: str
    command: tuple[str, ...] | None
    args: tuple[str, ...] | None
    ports: tuple[Port, ...]
    resources: Resources
    readiness: Mapping[str, Any] | None
    liveness: Mapping[str, Any] | None
    startup: Mapping[str, Any] | None
    placement: Mapping[str, Any] = field(default_factory=dict)
    host_network: bool = False
    schedule: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tcp(self) -> Port | None:
        """The first TCP port."""
        return next((port for port in self.ports if port.protocol == "TCP"), None)

    @property
    def probes(self) -> dict[str, Mapping[str, Any] | None]:
        return {"readiness": self.readiness, "liveness": self.liveness, "startup": self.startup}


@dataclass(frozen=True)
class ReleasedFile:
    """A file of all processes: `key` is that in the Secret of the files, `content` a fingerprint."""

    path: str
    key: str
    mode: int
    secret: bool
    content: str
    others: Mapping[str, Any] = field(default_factory=dict)


class ToTarget:
    """What leads to a target: another app, by the name of the kind of binding, its tenant and its name."""

    kind: str
    tenant: str
    target: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.tenant, self.target

    @property
    def node(self) -> Node:
        return self.target, self.tenant


@dataclass(frozen=True)
class ReleasedBinding(ToTarget):
    """A binding to a target, whose environment is in a Secret. `secret_env` has fingerprints."""

    kind: str
    tenant: str
    target: str
    env: Mapping[str, str]
    secret_env: Mapping[str, str]
    secret: str
    others: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Return what results show of it."""
        return {
            "kind": self.kind,
            "tenant": self.tenant,
            "target": self.target,
            "env": dict(self.env),
            "secret_env": {name: f"(secret {mark})" for name, mark in self.secret_env.items()},
        }


@dataclass(frozen=True)
class ReleaseSpec:
    """What a release runs. `secret_env` has fingerprints; the values are in the Secrets that it refers to."""

    image: str
    type: str
    processes: tuple[Process, ...]
    env: Mapping[str, str]
    secret_env: Mapping[str, str]
    files: tuple[ReleasedFile, ...]
    image_pull_secrets: tuple[str, ...]
    drain: int
    grace: int
    env_secret: str | None
    files_secret: str | None
    strategy: str = "rolling"
    restart_key: str | None = None
    bindings: tuple[ReleasedBinding, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> AppType:
        """What the type of the app means."""
        return TYPES[self.type]

    @property
    def on_hosts(self) -> list[Process]:
        """The processes in the hosts' network."""
        return [process for process in self.processes if process.host_network]

    @property
    def main(self) -> Process | None:
        """The process that the app's address and domains lead to."""
        return main_process(self.type, self.processes)

    @property
    def secrets(self) -> list[str]:
        """The names of the Secrets that it refers to."""
        own = [name for name in (self.env_secret, self.files_secret) if name]
        return own + [binding.secret for binding in self.bindings]


Part = TypeVar("Part", Port, Process, ReleasedFile, ReleasedBinding, ReleaseSpec)


def main_process(app_type: str, processes: Iterable[Process]) -> Process | None:
    """Return the process that the app's address and domains lead to: `web`, else the first that has a TCP port."""
    if not TYPES[app_type].routed:
        return None
    listening = [process for process in processes if process.tcp]
    named = [process for process in listening if process.name == "web"]
    return next(iter(named or listening), None)


def read_spec(kept: Mapping[str, Any]) -> ReleaseSpec:
    """Return the spec of a recorded form, which its schema has accepted (`record_schemas.SPEC`)."""
    return _part(
        ReleaseSpec,
        kept,
        processes=tuple(_process(entry) for entry in kept["processes"]),
        files=tuple(_part(ReleasedFile, entry) for entry in kept["files"]),
        image_pull_secrets=tuple(kept["image_pull_secrets"]),
        bindings=tuple(_part(ReleasedBinding, entry) for entry in kept.get("bindings") or []),
    )


def recorded(value: Any) -> Any:
    """Return the recorded form of a spec or of a part of it."""
    if isinstance(value, tuple):
        return [recorded(entry) for entry in value]
    if not is_dataclass(value):
        return value
    found = {
        entry.name: recorded(getattr(value, entry.name))
        for entry in fields(value)
        if entry.name != OTHERS and getattr(value, entry.name) != _default(entry)
    }
    return {**getattr(value, OTHERS), **found}


def _process(kept: Mapping[str, Any]) -> Process:
    command, args = (None if kept[name] is None else tuple(kept[name]) for name in ("command", "args"))
    return _part(Process, kept, command=command, args=args, ports=tuple(_part(Port, entry) for entry in kept["ports"]))


def _part(kind: type[Part], kept: Mapping[str, Any], **parsed: Any) -> Part:
    """Return a part of a spec from its recorded form. What it does not know is among its `others`."""
    defaults = {entry.name: _default(entry) for entry in fields(kind) if entry.name != OTHERS}
    values = {name: parsed.get(name, kept.get(name, default)) for name, default in defaults.items()}
    # Also a default that was recorded all the same, for the digest has it.
    others = {name: value for name, value in kept.items() if name not in values or values[name] == defaults[name]}
    return kind(**values, others=others)


def _default(entry: Field[Any]) -> Any:
    """Return the default of a field, MISSING if it has none."""
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default
