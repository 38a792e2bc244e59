# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bindings: what an app gets of another one as environment. Pure.

A binding is part of the release of the app that has it (key `bindings` of its spec), so a release, and rolling
back to it, has the bindings that belong to it, and there is no second record that could differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .options import Checker
from .release_spec import Node, Process, ReleasedBinding, ReleaseSpec, ToTarget
from .spec import ENV_NAME, SERVICE_LABEL, Content, content_of, fingerprint, names

SOURCES = ("host", "port", "address", "url", "ports.NAME", "credentials.NAME")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")


@dataclass(frozen=True)
class WantedBinding(ToTarget):
    """A binding as a task wants it: at its place in the task (`where`), of an app to a target in a tenant."""

    where: str
    app: str
    kind: str
    tenant: str
    target: str
    state: str
    process: str | None
    prefix: str | None
    mapping: dict[str, str] | None
    scheme: str
    credentials: dict[str, Any] = field(repr=False)
    credentials_from: dict[str, str]


@dataclass(frozen=True)
class Binding(ToTarget):
    """What an app gets of a target: environment, and environment that no output shows."""

    kind: str
    tenant: str
    target: str
    env: dict[str, str] = field(default_factory=dict)
    secret_env: dict[str, str] = field(default_factory=dict, repr=False)


def with_bindings(
    spec: ReleaseSpec,
    before: Iterable[ReleasedBinding],
    app: str,
    salt: str,
    bindings: Iterable[Binding],
    unbind: Iterable[tuple[str, str, str]] = (),
) -> tuple[ReleaseSpec, list[Content]]:
    """Return the spec with other bindings, and the Secrets that the new ones refer to.

    It has those of `before`, without those of `unbind`, and with `bindings`.
    """
    bindings = list(bindings)
    gone = {*unbind, *(binding.key for binding in bindings)}
    released = [one for one in before if one.key not in gone]
    contents = []
    for binding in bindings:
        data = {name: value.encode() for name, value in sorted({**binding.env, **binding.secret_env}.items())}
        contents.append(content_of(app, "bind", data, salt))
        released.append(
            ReleasedBinding(
                kind=binding.kind,
                tenant=binding.tenant,
                target=binding.target,
                env=dict(sorted(binding.env.items())),
                secret_env={
                    name: fingerprint(salt, value.encode(), 12) for name, value in sorted(binding.secret_env.items())
                },
                secret=contents[-1].name,
            )
        )
    return replace(spec, bindings=tuple(sorted(released, key=lambda one: one.key))), contents


def clashes(where: str, spec: ReleaseSpec) -> list[Finding]:
    """Return the names of environment that a release has from two sources."""
    findings = []
    sources = dict.fromkeys([*spec.env, *spec.secret_env], "the app's own env")
    for binding in spec.bindings:
        label = f"the binding to {binding.tenant}/{binding.target}"
        for name in sorted({*binding.env, *binding.secret_env}):
            if name in sources:
                found = f"{name} from {label} and from {sources[name]}"
                findings.append(Finding(where, found, "it from one of them: give the binding another prefix"))
            sources.setdefault(name, label)
    return findings


def cycle(start: Node, follow: Callable[[Node], Iterable[Node]]) -> list[Node] | None:
    """Return a path from an app over its bindings back to itself, None when there is none."""
    done: set[Node] = set()
    path = [(start, iter(list(follow(start))))]
    while path:
        node = next(path[-1][1], None)
        if node is None:
            path.pop()
        elif node == start:
            return [entry for entry, _rest in path] + [start]
        elif node not in done:
            done.add(node)
            path.append((node, iter(list(follow(node)))))
    return None


def parse_binding(values: dict[str, Any], where: str, source: Node) -> tuple[WantedBinding, list[Finding]]:
    """Return the binding that the checked options of one of an app make, and what is wrong with it."""
    checker = Checker(where)
    target, tenant = values.get("target"), values.get("target_tenant") or source[1]
    if target is not None:
        found = names(target, tenant)
        renamed = {"name": "target", "tenant": "target_tenant"}
        checker.findings += [
            entry.at(checker.where + renamed[entry.where]) for entry in found if entry.found != "nothing"
        ]
        if (target, tenant) == source:
            checker.wrong("target", target, "another app")
    if values.get("prefix") is not None:
        if values.get("mapping") is not None:
            checker.wrong("mapping", "prefix beside it", "one of them")
        if not ENV_NAME.match(values["prefix"]):
            checker.wrong("prefix", values["prefix"], "letters, digits and _, no digit first, such as API")
    if values.get("process") is not None and not SERVICE_LABEL.match(values["process"]):
        checker.wrong("process", values["process"], "the name of a process of the target")
    if values.get("scheme") is not None and not SCHEME.match(values["scheme"]):
        checker.wrong("scheme", values["scheme"], "the scheme of a URL, such as http or grpc")
    given = {"credentials": values.get("credentials") or {}, "credentials_from": values.get("credentials_from") or {}}
    for option, entries in given.items():
        for name, value in entries.items():
            secret = option == "credentials"
            if not ENV_NAME.match(name):
                checker.wrong(f"{option}.{name}", name, "a name of letters, digits and _ that does not start with one")
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                checker.wrong(f"{option}.{name}", value, "text", secret)
            elif not secret and not ENV_NAME.match(str(value)):
                checker.wrong(f"{option}.{name}", value, "a name in the target's env or secret_env")
    for name in sorted(set(given["credentials"]) & set(given["credentials_from"])):
        checker.wrong(f"credentials_from.{name}", "the same name in credentials", "it in one of them")
    for name, value in (values.get("mapping") or {}).items():
        place = f"mapping.{name}"
        if not ENV_NAME.match(name):
            checker.wrong(place, name, "a name of letters, digits and _ that does not start with a digit")
        kind, dot, rest = str(value).partition(".")
        if not isinstance(value, str) or (f"{kind}.NAME" if dot else kind) not in SOURCES or (dot and not rest):
            checker.wrong(place, value, "one of " + ", ".join(SOURCES))
        elif kind == "credentials" and rest not in {**given["credentials"], **given["credentials_from"]}:
            checker.wrong(place, value, "the name of one of the binding's credentials")
    wanted_binding = WantedBinding(
        where=where,
        app=source[0],
        kind=values["kind"],
        tenant=tenant,
        target=values["target"],
        state=values.get("state") or "present",
        process=values["process"],
        prefix=values["prefix"],
        mapping=values["mapping"],
        scheme=values["scheme"],
        **given,
    )
    return wanted_binding, checker.findings


def resolve(
    wanted: WantedBinding, target_spec: ReleaseSpec, target_env: Mapping[str, str]
) -> tuple[Binding | None, list[Finding]]:
    """Return the binding that is wanted of a target, whose spec and environment are given."""
    checker = Checker(wanted.where)
    target, tenant = wanted.node
    process, service = _service(checker, wanted, target_spec)
    secret = {name: str(value) for name, value in wanted.credentials.items()}
    for name, source in wanted.credentials_from.items():
        if source in target_env:
            secret[name] = target_env[source]
        else:
            known_names = "one of " + ", ".join(sorted(target_env)) if target_env else "a target with env or secret_env"
            checker.wrong(f"credentials_from.{name}", source, known_names)
    if process is None or checker.findings:
        return None, checker.findings
    ports = {port.name: str(port.port) for port in process.ports}
    first = process.tcp or process.ports[0]
    host, number = f"{service}.{tenant}.svc", str(first.port)
    known = {"host": host, "port": number, "address": f"{host}:{number}"}
    known["url"] = f"{wanted.scheme}://{host}:{number}"
    if wanted.mapping is not None:
        return _mapped(checker, wanted, wanted.mapping, known, ports, secret)
    prefix = wanted.prefix or re.sub(r"[^A-Z0-9]", "_", target.upper())
    env = {f"{prefix}_{name.upper()}": known[name] for name in ("host", "port", "url")}
    for name, port in ports.items():
        if name != first.name:
            env[f"{prefix}_PORT_{name.upper().replace('-', '_')}"] = port
    secret_env: dict[str, str] = {}
    for name, value in secret.items():
        variable = f"{prefix}_{name.upper()}"
        if variable in env or variable in secret_env:
            checker.wrong("credentials", name, f"another name, because {variable} has another value")
        secret_env[variable] = value
    binding = Binding(*wanted.key, env, secret_env)
    return (None if checker.findings else binding), checker.findings


def _mapped(
    checker: Checker,
    wanted: WantedBinding,
    mapping: dict[str, str],
    known: dict[str, str],
    ports: dict[str, str],
    secret: dict[str, str],
) -> tuple[Binding | None, list[Finding]]:
    env: dict[str, str] = {}
    secret_env: dict[str, str] = {}
    for name, source in mapping.items():
        kind, _dot, rest = source.partition(".")
        if kind == "credentials":
            secret_env[name] = secret[rest]
        elif kind == "ports" and rest not in ports:
            checker.wrong(f"mapping.{name}", source, "one of the ports " + ", ".join(ports))
        else:
            env[name] = ports[rest] if kind == "ports" else known[kind]
    binding = Binding(*wanted.key, env, secret_env)
    return (None if checker.findings else binding), checker.findings


def _service(checker: Checker, binding: WantedBinding, spec: ReleaseSpec) -> tuple[Process | None, str]:
    """Return the process of the target that is meant, and its Service."""
    routed = spec.main
    listening = {entry.name: entry for entry in spec.processes if entry.ports}
    process = routed
    if binding.process is not None:
        process = listening.get(binding.process)
        if process is None:
            wanted = "one of " + ", ".join(listening) if listening else "a target that listens on a port"
            checker.wrong("process", binding.process, wanted)
            return None, ""
    elif process is None and len(listening) == 1:
        process = next(iter(listening.values()))
    if process is None:
        wanted = f"the process, one of {', '.join(listening)}" if listening else "a target that listens on a port"
        checker.wrong("target", binding.target, wanted)
        return None, ""
    if process is not routed and process.host_network:
        checker.wrong("process", process.name, "a process whose ports are not those of its hosts")
        return None, ""
    return process, binding.target if process is routed else f"{binding.target}-{process.name}"


def described(path: Iterable[Node]) -> str:
    """Return how a message shows a path of apps, given as (name, tenant)."""
    return " -> ".join(f"{tenant}/{name}" for name, tenant in path)


def found_twice(bindings: Iterable[WantedBinding]) -> list[Finding]:
    """Return which bindings of an app are to a target that another one of it has too."""
    seen: dict[Node, str] = {}
    findings = []
    for binding in bindings:
        where = f"{binding.where}.target"
        if binding.node in seen:
            found = shown(f"{binding.tenant}/{binding.target}")
            findings.append(Finding(where, found, f"each target once, {seen[binding.node]} has it"))
        seen.setdefault(binding.node, where)
    return findings
