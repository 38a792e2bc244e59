# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a route is to be, in one normal form. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding

from . import routes_tls
from .options import LABEL
from .spec import SERVICE_LABEL, AppChecker, names

# What may stand in a path without being percent-encoded (RFC 3986).
PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*\Z")
COOKIE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
SECURED = ("cluster", "certificate")


class Path(NamedTuple):
    """Which requests of a domain are meant. kind: prefix (whole segments) or exact. strip: the app does not see it."""

    path: str = "/"
    kind: str = "prefix"
    strip: bool = False


class Port(NamedTuple):
    """A port of the gateway that leads to one of the app. number None: any free one. target: port, name, or None."""

    number: int | None
    protocol: str
    target: int | str | None


class Backend(NamedTuple):
    """Where requests go: a process of an app (None: its main one), or a Service by its name."""

    app: str | None
    process: str | None
    service: str | None
    weight: int

    def __str__(self) -> str:
        if self.service:
            return f"Service {self.service}"
        return f"app {self.app}" + (f", process {self.process}" if self.process else "")


@dataclass(frozen=True)
class AppRoute:
    """A route as a task wants it. tls: none, cluster, certificate or passthrough."""

    name: str
    tenant: str
    app: str
    state: str
    domains: tuple[str, ...]
    paths: tuple[Path, ...]
    tls: str
    certificate: str
    key: str = field(repr=False)
    to_https: bool
    to_domain: str | None
    permanent: bool
    ports: tuple[Port, ...]
    backends: tuple[Backend, ...]
    cookie: str | None


def shorthand(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a route with `tls: MODE` written out as `tls: {mode: MODE}`."""
    tls = given.get("tls")
    return {**given, "tls": {"mode": tls}} if isinstance(tls, str) else given


def parse_route(values: dict[str, Any]) -> tuple[AppRoute, list[Finding]]:
    """Return the route that the options of app_route make, and what is wrong with them beyond their types."""
    checker = AppChecker("")
    name = values.get("name") or values.get("app")
    if not name:
        checker.wrong("app", None, "the app that gets the requests of the route")
    found = names(name, values.get("tenant"))
    checker.findings += [entry for entry in found if entry.found != "nothing" or entry.where == "tenant"]
    app = values.get("app") or ""
    if values.get("app") and values.get("name") and not SERVICE_LABEL.match(app):
        checker.wrong("app", app, "the name of an app")
    present = values.get("state") != "absent"
    if present and name and not app:
        checker.wrong("app", None, "the app that gets the requests of the route, because state is present")
    domains = checker.domains(values.get("domains") or [])
    ports = _ports(checker, values)
    paths = _paths(checker, values)
    mode, certificate, key = _tls(checker, values, domains)
    to_https, to_domain, permanent = _redirect(checker, values)
    cookie = _cookie(checker, values)
    backends = _backends(checker, values, app)
    if present and not domains and not ports:
        checker.wrong("domains", None, "domains, or ports for other protocols than HTTP, because state is present")
    if not domains:
        given = (("paths", paths), ("redirect", to_https or to_domain), ("sticky", cookie), ("tls", values.get("tls")))
        for option, value in given:
            if value:
                checker.wrong(option, "it without domains", "domains, because connections to ports are only forwarded")
    if to_https and mode not in SECURED:
        checker.wrong("redirect", "https", f"tls: cluster or a certificate, because tls is {mode}")
    if to_domain in domains:
        checker.wrong("redirect.to", to_domain, "another domain than those that are redirected")
    if mode == "passthrough":
        for option, value in (("paths", paths), ("redirect", to_https or to_domain), ("sticky", cookie)):
            if value:
                checker.wrong(option, "it with tls: passthrough", "none, because the gateway does not decrypt")
    route = AppRoute(
        name=name or "",
        tenant=values.get("tenant") or "",
        app=app,
        state="present" if present else "absent",
        domains=domains,
        paths=paths or (Path(),),
        tls=mode,
        certificate=certificate,
        key=key,
        to_https=to_https,
        to_domain=to_domain,
        permanent=permanent,
        ports=ports,
        backends=backends,
        cookie=cookie,
    )
    return route, checker.findings


def _paths(checker: AppChecker, values: dict[str, Any]) -> tuple[Path, ...]:
    paths: list[Path] = []
    for number, given in enumerate(values.get("paths") or []):
        option, path = f"paths[{number}].path", given.get("path")
        if path is None:
            continue
        if not PATH.match(path) or len(path) > 1000:
            checker.wrong(option, path, "a path that starts with /, other than letters, digits and -._~ %-encoded")
        elif path != "/" and path.endswith("/") and given["type"] == "prefix":
            checker.wrong(option, path, f"{path.rstrip('/') or '/'}, which is for everything below it as well")
        elif any((path, given["type"]) == (other.path, other.kind) for other in paths):
            checker.wrong(option, path, "each path once")
        if path == "/" and given["strip"]:
            checker.wrong(f"paths[{number}].strip", True, "false, because there is nothing to strip from /")
        paths.append(Path(path, given["type"], bool(given["strip"])))
    return tuple(paths)


def _ports(checker: AppChecker, values: dict[str, Any]) -> tuple[Port, ...]:
    ports: list[Port] = []
    for number, given in enumerate(values.get("ports") or []):
        option, port, target = f"ports[{number}]", given.get("port"), given.get("target")
        checker.between(option + ".port", port, 1, 65535)
        if port is not None and any((port, given["protocol"]) == other[:2] for other in ports):
            checker.wrong(option + ".port", port, "each port once")
        if isinstance(target, str) and target.isdigit():
            target = int(target)
        if isinstance(target, bool) or not isinstance(target, (int, str, type(None))):
            checker.wrong(option + ".target", target, "the number or the name of a port of the app")
            target = None
        ports.append(Port(port, given.get("protocol") or "TCP", target))
    return tuple(ports)


def _tls(checker: AppChecker, values: dict[str, Any], domains: tuple[str, ...]) -> tuple[str, str, str]:
    given = values.get("tls") or {}
    certificate, key = given.get("certificate") or "", given.get("key") or ""
    mode = given.get("mode")
    if not certificate and not key:
        return mode or "cluster", "", ""
    if mode is not None:
        checker.wrong("tls.mode", mode, "no mode beside a certificate")
    for option, value in (("certificate", certificate), ("key", key)):
        if not value:
            checker.wrong(f"tls.{option}", None, "certificate and key, both in PEM form")
    if certificate and key:
        now = datetime.datetime.now(datetime.timezone.utc)
        checker.findings += routes_tls.findings(certificate, key, domains, now)
    return "certificate", certificate.strip() + "\n", key.strip() + "\n"


def _redirect(checker: AppChecker, values: dict[str, Any]) -> tuple[bool, str | None, bool]:
    given = values.get("redirect")
    if given is None or given == "https":
        return given == "https", None, True
    wanted = "https, or {to: DOMAIN, permanent: true or false}"
    if not isinstance(given, dict) or set(given) - {"to", "permanent"} or not isinstance(given.get("to"), str):
        checker.wrong("redirect", given, wanted)
        return False, None, True
    permanent = given.get("permanent", True)
    if not isinstance(permanent, bool):
        checker.wrong("redirect.permanent", permanent, "true or false")
    before = len(checker.findings)
    checker.domains([given["to"]])
    if len(checker.findings) > before or given["to"].startswith("*"):
        del checker.findings[before:]
        checker.wrong("redirect.to", given["to"], "one lowercase host name such as shop.example.org")
    return False, given["to"], permanent is True


def _cookie(checker: AppChecker, values: dict[str, Any]) -> str | None:
    given = values.get("sticky")
    if given is None or given is False:
        return None
    if given is True:
        return "cloudbang"
    if isinstance(given, dict) and set(given) == {"cookie"} and COOKIE.match(str(given["cookie"])):
        return str(given["cookie"])
    checker.wrong("sticky", given, "true, false or {cookie: NAME} with letters, digits and _ . -")
    return None


def _backends(checker: AppChecker, values: dict[str, Any], app: str) -> tuple[Backend, ...]:
    process = values.get("process")
    if process is not None and not LABEL.match(process):
        checker.wrong("process", process, "the name of a process of the app")
    given = values.get("weights")
    if given is None:
        return (Backend(app, process, None, 1),)
    if process is not None:
        checker.wrong("process", "it beside weights", "process in each entry of weights")
    backends: list[Backend] = []
    for number, entry in enumerate(given):
        option = f"weights[{number}]"
        if (entry.get("app") is None) == (entry.get("service") is None):
            checker.wrong(option, "both" if entry.get("app") else None, "either app or service")
        if entry.get("service") is not None and entry.get("process") is not None:
            checker.wrong(option + ".process", entry["process"], "process only beside app")
        weight = entry.get("weight") or 0
        checker.between(option + ".weight", weight, 0, 1000)
        backend = Backend(entry.get("app"), entry.get("process"), entry.get("service"), weight)
        if any(backend[:3] == other[:3] for other in backends):
            checker.wrong(option, str(backend), "each backend once")
        backends.append(backend)
    if not any(backend.weight for backend in backends):
        checker.wrong("weights", [backend.weight for backend in backends], "at least one weight above 0")
    return tuple(backends)
