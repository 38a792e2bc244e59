# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a route to the objects Traefik reads, and read back what such objects claim. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head

from .labels import APP, PREFIX, labels
from .routes_rules import EVERYTHING, bound
from .routes_spec import AppRoute, Path

ROUTE = PREFIX + "route"
# The kinds a route consists of, in the order in which they are made: what is referred to comes first.
KINDS = ("Secret", "Middleware", "TraefikService", "IngressRoute", "IngressRouteTCP", "IngressRouteUDP")
HTTP, HTTPS = "web", "websecure"
# How the name of a Secret ends that has the certificate of a route. Members of a tenant cannot write such Secrets.
CERTIFICATE = ".route-tls"
# A router of an exact domain comes before that of a wildcard and before a plain Ingress, whose priority is the length
# of its rule; among the routers of a domain the longest path comes first.
EXACT_DOMAIN = 1000
WILDCARD_DOMAIN = 25

_ENTRY_POINT = re.compile(r"(tcp|udp)-([0-9]+)\Z")


class Target(NamedTuple):
    """A Service and one of its ports, with its share of the requests."""

    service: str
    port: int | str
    weight: int


class Claim(NamedTuple):
    """What an object has of what there is once. owner is what it is part of: its kind and name."""

    tenant: str
    owner: tuple[str, str]
    app: str | None
    domain: str
    path: Path = Path()

    def __str__(self) -> str:
        holder = self.app or " ".join(self.owner)
        if self.domain == EVERYTHING:
            return f"all domains, which {' '.join(self.owner)} of tenant {self.tenant}"
        return f"{self.domain}{'' if self.path.path == '/' else self.path.path}, which {holder} of tenant {self.tenant}"


def render(route: AppRoute, http: list[Target], ports: dict[tuple[str, int], list[Target]]) -> list[Object]:
    """Return the objects of a route. ports: protocol and number of the gateway's port to where it leads."""
    objects: list[Object] = []

    def add(kind: str, suffix: str, spec: dict[str, Any]) -> str:
        name = route.name + suffix
        entry = head(kind, name, route.tenant, {**labels(route.app, route.tenant), ROUTE: route.name})
        entry["spec"] = spec
        objects.append(entry)
        return name

    if route.tls == "certificate" and route.domains:
        secret = add("Secret", CERTIFICATE, {})
        del objects[-1]["spec"]
        objects[-1]["type"] = "kubernetes.io/tls"
        texts = {"tls.crt": route.certificate, "tls.key": route.key}
        objects[-1]["data"] = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    if route.domains and route.tls == "passthrough":
        match = " || ".join(_domain(domain, "HostSNI") for domain in route.domains)
        spec = {"routes": [{"match": match, "services": _plain(http)}], "tls": {"passthrough": True}}
        add("IngressRouteTCP", "-https", {"entryPoints": [HTTPS], **spec})
    elif route.domains:
        middlewares: dict[str, str] = {}
        if route.to_domain:
            regex = {"regex": r"^(https?)://[^/]+(/.*)?$", "replacement": "${1}://" + route.to_domain + "${2}"}
            middlewares["to"] = add("Middleware", "-to", {"redirectRegex": {**regex, "permanent": route.permanent}})
        if route.to_https:
            scheme = {"scheme": "https", "permanent": True}
            middlewares["https"] = add("Middleware", "-to-https", {"redirectScheme": scheme})
        stripped = [path.path for path in route.paths if path.strip]
        for number, path in enumerate(stripped):
            middlewares[path] = add("Middleware", f"-strip-{number}", {"stripPrefix": {"prefixes": [path]}})
        if route.to_domain or route.to_https:
            # Without a backend, for routers whose middleware answers. Traefik's own that answers nothing is of another
            # provider, and objects of tenants may not refer to one.
            nowhere = [{"kind": "TraefikService", "name": add("TraefikService", "-nowhere", {"weighted": {}})}]
        services = nowhere if route.to_domain else _services(route, http, add)
        routes = {"real": _routes(route, services, middlewares, "to" if route.to_domain else None)}
        if route.to_https:
            routes["redirected"] = _routes(route, nowhere, middlewares, "https")
        add("IngressRoute", "-http", {"entryPoints": [HTTP], "routes": routes.get("redirected", routes["real"])})
        if route.tls != "none":
            tls = {"secretName": secret} if route.tls == "certificate" else {}
            add("IngressRoute", "-https", {"entryPoints": [HTTPS], "routes": routes["real"], "tls": tls})
    for (protocol, number), targets in sorted(ports.items()):
        kind, entry_point = f"IngressRoute{protocol}", f"{protocol.lower()}-{number}"
        one: dict[str, Any] = {"services": _plain(targets)}
        if protocol == "TCP":
            one["match"] = "HostSNI(`*`)"
        add(kind, "-" + entry_point, {"entryPoints": [entry_point], "routes": [one]})
    return sorted(objects, key=lambda entry: KINDS.index(entry["kind"]))


def _plain(targets: list[Target]) -> list[dict[str, Any]]:
    if len(targets) == 1:
        return [{"name": targets[0].service, "port": targets[0].port}]
    return [{"name": entry.service, "port": entry.port, "weight": entry.weight} for entry in targets]


def _services(route: AppRoute, targets: list[Target], add: Any) -> list[dict[str, Any]]:
    """Return what the routers lead to. Sticky requests stay at one app, by a cookie, and at one pod, by another."""
    services = _plain(targets)
    if route.cookie:
        for service in services:
            service["sticky"] = {"cookie": {"name": route.cookie, "httpOnly": True}}
    if len(targets) == 1:
        return services
    weighted: dict[str, Any] = {"services": [{**service, "kind": "Service"} for service in services]}
    if route.cookie:
        weighted["sticky"] = {"cookie": {"name": route.cookie + "-app", "httpOnly": True}}
    return [{"kind": "TraefikService", "name": add("TraefikService", "", {"weighted": weighted})}]


def _routes(
    route: AppRoute, services: list[dict[str, Any]], middlewares: dict[str, str], redirect: str | None
) -> list[dict[str, Any]]:
    routes = []
    for domain in route.domains:
        for path in route.paths:
            wanted = redirect or (path.path if path.strip else None)
            one: dict[str, Any] = {
                "kind": "Rule",
                "match": f"{_domain(domain, 'Host')} && {_path(path)}",
                "priority": _priority(domain, path),
                "services": services,
            }
            if wanted:
                one["middlewares"] = [{"name": middlewares[wanted]}]
            routes.append(one)
    return routes


def _domain(domain: str, matcher: str) -> str:
    if domain.startswith("*."):
        return f"{matcher}Regexp(`^[a-zA-Z0-9-]+{re.escape(domain[1:]).replace(chr(92) + '-', '-')}$`)"
    return f"{matcher}(`{domain}`)"


def _path(path: Path) -> str:
    if path.kind == "exact":
        return f"Path(`{path.path}`)"
    if path.path == "/":
        return "PathPrefix(`/`)"
    return f"(Path(`{path.path}`) || PathPrefix(`{path.path}/`))"


def _priority(domain: str, path: Path) -> int:
    exact = path.kind == "exact"
    if domain.startswith("*."):
        return min(1 + 2 * (path.path.rstrip("/").count("/")) + exact, WILDCARD_DOMAIN)
    return EXACT_DOMAIN + 2 * len(path.path) + exact


def claims(entry: Object) -> list[Claim]:
    """Return the domains and paths that a live Ingress, IngressRoute or IngressRouteTCP takes requests for.

    One that has no domain, or has it in a way that is not understood, claims all of them (EVERYTHING).
    """
    meta, spec = entry["metadata"], entry.get("spec") or {}
    own_labels = meta.get("labels") or {}
    owner = ("route", own_labels[ROUTE]) if ROUTE in own_labels else (entry["kind"], meta["name"])
    found: list[tuple[str, Path]] = []
    if entry["kind"] == "Ingress":
        for rule in spec.get("rules") or []:
            for one in (rule.get("http") or {}).get("paths") or [{}]:
                kind = "exact" if one.get("pathType") == "Exact" else "prefix"
                found.append((rule.get("host") or EVERYTHING, Path(one.get("path") or "/", kind)))
        if spec.get("defaultBackend"):
            found.append((EVERYTHING, Path()))
    elif not _ports_only(spec):
        for one in spec.get("routes") or []:
            domains, paths = bound("" if one.get("syntax") else one.get("match") or "")
            found += [(domain, path) for domain in domains for path in _paths(paths)]
    tenant, app = meta["namespace"], own_labels.get(APP)
    return [Claim(tenant, owner, app, domain, path) for domain, path in dict.fromkeys(found)]


def _ports_only(spec: dict[str, Any]) -> bool:
    """Say whether a router is for ports of the gateway of its own, and so for no domain."""
    points = spec.get("entryPoints") or []
    return bool(points) and all(_ENTRY_POINT.match(point) for point in points)


def _paths(bounds: list[tuple[str, str]]) -> list[Path]:
    prefixes = {text if text == "/" else text.rstrip("/") for text, kind in bounds if kind == "prefix"}
    exact = [text for text, kind in bounds if kind == "exact" and text not in prefixes]
    return [Path(text) for text in sorted(prefixes)] + [Path(text, "exact") for text in exact]


def routes_of(objects: Iterable[Object], app: str) -> list[tuple[str, str]]:
    """Return kind and name of what the routes of an app consist of, in the order in which to delete it."""
    own = [entry for entry in objects if (entry["metadata"].get("labels") or {}).get(APP) == app]
    own.sort(key=lambda entry: KINDS.index(entry["kind"]), reverse=True)
    return [(entry["kind"], entry["metadata"]["name"]) for entry in own]


def summaries(objects: Iterable[Object]) -> list[dict[str, Any]]:
    """Return the routes that live objects are, each with name, tenant, app, domains, ports and services it leads to."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in objects:
        meta, spec = entry["metadata"], entry.get("spec") or {}
        own_labels = meta.get("labels") or {}
        if ROUTE not in own_labels:
            continue
        route = found.setdefault(
            (meta["namespace"], own_labels[ROUTE]),
            {
                "name": own_labels[ROUTE],
                "tenant": meta["namespace"],
                "app": own_labels.get(APP),
                "domains": [],
                "ports": [],
                "services": [],
            },
        )
        route["domains"] += [claim.domain for claim in claims(entry) if claim.domain != EVERYTHING]
        port = port_of(entry)
        if port is not None:
            route["ports"].append({"port": port[1], "protocol": port[0]})
        led = [one for rule in spec.get("routes") or [] for one in rule.get("services") or []]
        led += (spec.get("weighted") or {}).get("services") or []
        route["services"] += [one["name"] for one in led if one.get("kind", "Service") == "Service"]
    for route in found.values():
        route["domains"], route["services"] = sorted({*route["domains"]}), sorted({*route["services"]})
    return [found[key] for key in sorted(found)]


def wanted_claims(route: AppRoute) -> list[Claim]:
    """Return what a route is going to claim."""
    owner = ("route", route.name)
    return [
        Claim(route.tenant, owner, route.app, domain, Path(path.path, path.kind))
        for domain in route.domains
        for path in route.paths
    ]


def in_the_way(wanted: Claim, found: Iterable[Claim]) -> Claim | None:
    """Return who has what is wanted: a domain belongs to one tenant, and each path of it to one app of it.

    Who claims everything is in the way of other tenants, and not in that of its own.
    """
    for other in found:
        if other.domain == EVERYTHING and other.tenant != wanted.tenant:
            return other
        if other.domain != wanted.domain or (other.tenant, other.owner) == (wanted.tenant, wanted.owner):
            continue
        if other.tenant != wanted.tenant or other.path == wanted.path:
            return other
    return None


def port_of(entry: Object) -> tuple[str, int] | None:
    """Return protocol and number of the gateway's port that a live IngressRouteTCP or IngressRouteUDP has."""
    for name in (entry.get("spec") or {}).get("entryPoints") or []:
        found = _ENTRY_POINT.match(name)
        if found:
            return found[1].upper(), int(found[2])
    return None
