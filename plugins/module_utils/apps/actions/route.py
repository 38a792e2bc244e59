# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.app_route) does: look at a route's objects, change those that differ, wait for endpoints.

A route is no part of a release: deploying, rolling back and scaling leave it alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import port_ranges
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import routes_tls
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP, PREFIX, PROCESS
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import RouteRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import (
    KINDS,
    ROUTE,
    Target,
    port_of,
    render,
    wanted_claims,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_spec import AppRoute, Backend, Port
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, KubeError, Unknown
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import until

from . import route_claims
from .changes import Change
from .context import Context, Outcome

MANAGER = "cloudbang-route"
SERVICE = "kubernetes.io/service-name"
GATEWAY = "cloudbang"
PORTS = {"TCP": PREFIX + "tcp-ports", "UDP": PREFIX + "udp-ports"}

Key = tuple[str, str]
Allocation = dict[tuple[str, int], Port]


def run(context: Context, request: RouteRequest) -> Outcome:
    """Bring a route to its state."""
    kube, route = context.kube, request.route
    context.hide([route.key] if route.key else [])
    live = _live(kube, route)
    warnings: list[str] = []
    allocated: Allocation = {}
    watched: list[str] = []
    objects: list[Object] = []
    if route.state == "present":
        findings = route_claims.taken(kube, [("domains", claim) for claim in wanted_claims(route)], warnings)
        services = _services(kube, route, findings)
        serves = route.domains and not route.to_domain
        http = _targets(route, services, Port(None, "TCP", None), findings) if serves else []
        allocated = _allocate(kube, route, live, findings) if route.ports else {}
        led = {key: _targets(route, services, port, findings) for key, port in allocated.items()}
        if findings:
            raise Invalid(findings)
        objects = render(route, http, {key: targets for key, targets in led.items() if targets})
        used = [*http, *(target for targets in led.values() for target in targets)]
        watched = list(dict.fromkeys(target.service for target in used if target.weight))
    changes = _changes(kube, route, objects, live)
    outcome = Outcome(
        changed=bool(changes),
        values={"route": _described(route, allocated), "changes": [str(change) for change in changes]},
        diff=_difference(route, changes),
        warnings=warnings,
    )
    if context.check_mode:
        return outcome
    _carry_out(kube, route, changes, outcome)
    if changes and not outcome.failed:
        _confirm(kube, route, allocated, live, outcome)
    if request.wait and watched and not outcome.failed:
        missing = _wait(kube, route.tenant, watched, request.timeout)
        if missing:
            outcome.fail(
                f"app_route: {route.tenant}/{route.name}: the route is in place, but after {request.timeout} s "
                f"found no ready endpoint of Service {', '.join(missing)}; wanted a ready pod of it"
            )
    return outcome


def _live(kube: Kube, route: AppRoute) -> dict[Key, Object]:
    live: dict[Key, Object] = {}
    for kind in KINDS:
        try:
            found = kube.find(kind, route.tenant, f"{ROUTE}={route.name}")
        except ApiError as error:
            if error.status != 404:
                raise
            if route.state == "absent":
                continue
            wanted = "a gateway with support for routes: run cloudbang.platform.site of this version"
            raise Invalid([Finding("app_route", f"a cluster without the kind {kind}", wanted)]) from error
        live.update({(kind, entry["metadata"]["name"]): {**entry, "kind": kind} for entry in found})
    return live


def _services(kube: Kube, route: AppRoute, findings: list[Finding]) -> dict[Backend, Object]:
    """Return the Service of each backend."""
    services: dict[Backend, Object] = {}
    option = "weights" if len(route.backends) > 1 or route.backends[0].service else "app"
    for backend in route.backends:
        if backend.service:
            found = kube.get("Service", route.tenant, backend.service)
            if found is None:
                wanted = "an existing Service"
                findings.append(Finding(option, f"no Service {backend.service} in tenant {route.tenant}", wanted))
            else:
                services[backend] = found
            continue
        offered = kube.find("Service", route.tenant, f"{APP}={backend.app}")
        chosen = _of_process(offered, backend)
        if chosen is not None:
            services[backend] = chosen
        elif not offered:
            found_text = f"no app {backend.app} with ports in tenant {route.tenant}"
            findings.append(Finding(option, found_text, "an app that was deployed and has a port"))
        else:
            processes = sorted({entry["metadata"]["labels"].get(PROCESS, "") for entry in offered})
            found_text = f"no {backend}" if backend.process else f"app {backend.app} without a main process"
            findings.append(Finding("process", found_text, "one with ports: " + ", ".join(filter(None, processes))))
    return services


def _of_process(offered: list[Object], backend: Backend) -> Object | None:
    """Return the Service of a process: the app's own name stands for its main one."""
    own = [entry for entry in offered if entry["metadata"]["name"] == backend.app]
    if backend.process is None:
        return own[0] if own else None
    found = [entry for entry in offered if entry["metadata"]["labels"].get(PROCESS) == backend.process]
    found.sort(key=lambda entry: (entry not in own, (entry.get("spec") or {}).get("clusterIP") == "None"))
    return next((entry for entry in found if (entry.get("spec") or {}).get("ports")), None)


def _targets(route: AppRoute, services: dict[Backend, Object], port: Port, findings: list[Finding]) -> list[Target]:
    """Return the port of each backend's Service that a port leads to; by its name, which outlives its number."""
    targets: list[Target] = []
    for backend in route.backends:
        if backend not in services:
            continue
        service = services[backend]
        offered = [
            entry
            for entry in (service.get("spec") or {}).get("ports") or []
            if entry.get("protocol", "TCP") == port.protocol
        ]
        fitting = [entry for entry in offered if port.target in (None, entry["port"], entry.get("name"))]
        if fitting:
            name = service["metadata"]["name"]
            targets.append(Target(name, fitting[0].get("name") or fitting[0]["port"], backend.weight))
            continue
        known = ", ".join(f"{entry['port']} ({entry.get('name')})" for entry in offered) or "none"
        found = f"{backend} without a {port.protocol} port" + (f" {port.target}" if port.target is not None else "")
        findings.append(Finding("ports", found, f"one of its {port.protocol} ports: {known}"))
    return targets


def _allocate(kube: Kube, route: AppRoute, live: dict[Key, Object], findings: list[Finding]) -> Allocation:
    """Return which of the gateway's ports the route has: those it asks for, those it had, and else free ones."""
    offered = _offered(kube)
    holders: dict[tuple[str, int], str] = {}
    for protocol in sorted({port.protocol for port in route.ports}):
        entries, complete = route_claims.everywhere(kube, f"IngressRoute{protocol}", [route.tenant])
        if not complete:
            found = f"credentials that cannot list IngressRoute{protocol} of other tenants, which may use the port"
            findings.append(Finding("ports", found, "credentials that can list them in all namespaces"))
        holders.update(_holders(entries, route))
    had = [key for key in map(port_of, live.values()) if key is not None]
    allocated: Allocation = {}
    for port in sorted(route.ports, key=lambda entry: entry.number is None):
        numbers = offered[port.protocol]
        if port.number is not None:
            key = (port.protocol, port.number)
            if port.number not in numbers:
                wanted = f"one of {_shown(numbers)}, which gateway_{port.protocol.lower()}_ports has"
                findings.append(Finding("ports", f"{port.number}/{port.protocol}", wanted))
            elif key in holders:
                findings.append(Finding("ports", f"{port.number}/{port.protocol}, which {holders[key]} has", "another"))
            allocated[key] = port
            continue
        kept = [number for protocol, number in had if protocol == port.protocol and number in numbers]
        free = (number for number in (*sorted(kept), *numbers) if (port.protocol, number) not in {*holders, *allocated})
        number = next(free, None)
        if number is None:
            found = f"no free {port.protocol} port of {_shown(numbers)}"
            findings.append(Finding("ports", found, f"more of them in gateway_{port.protocol.lower()}_ports"))
        else:
            allocated[port.protocol, number] = port
    return allocated


def _holders(entries: Iterable[Object], route: AppRoute) -> dict[tuple[str, int], str]:
    """Return who else has which of the gateway's ports."""
    holders: dict[tuple[str, int], str] = {}
    for entry in entries:
        key, meta = port_of(entry), entry["metadata"]
        labels = meta.get("labels") or {}
        if key is not None and (meta["namespace"], labels.get(ROUTE)) != (route.tenant, route.name):
            holders[key] = f"{labels.get(APP) or entry['kind'] + ' ' + meta['name']} of tenant {meta['namespace']}"
    return holders


def _offered(kube: Kube) -> dict[str, list[int]]:
    """Return the ports of the gateway, which its role records at the IngressClass."""
    found = kube.get("IngressClass", None, GATEWAY) or {"metadata": {}}
    annotations = found["metadata"].get("annotations") or {}
    return {protocol: port_ranges.numbers(annotations.get(name, "")) for protocol, name in PORTS.items()}


def _shown(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) if numbers else "those of the gateway, which has none"


def _changes(kube: Kube, route: AppRoute, objects: list[Object], live: dict[Key, Object]) -> list[Change]:
    """Return what has to change. The API itself says what an object would become, so defaults do not count."""
    changes: list[Change] = []
    findings: list[Finding] = []
    names = {(entry["kind"], entry["metadata"]["name"]) for entry in objects}
    for entry in objects:
        key = (entry["kind"], entry["metadata"]["name"])
        now = live.get(key)
        if now is None:
            if kube.get(key[0], route.tenant, key[1]) is not None:
                found = f"a {key[0]} {key[1]} in its namespace that is not of this route"
                findings.append(Finding("name", found, "the name to be free"))
            changes.append(Change("created", *key, {}, _view(entry), entry))
            continue
        after = kube.apply(entry, MANAGER, dry=True)
        if _content(after) != _content(now):
            changes.append(Change("changed", *key, _view(now), _view(after), entry))
    if findings:
        raise Invalid(findings)
    for kind in reversed(KINDS):
        for key, now in live.items():
            if key[0] == kind and key not in names:
                changes.append(Change("removed", *key, _view(now), {}, None))
    return changes


def _content(entry: Object) -> dict[str, Any]:
    """Return what counts of an object."""
    left_out = ("apiVersion", "kind", "metadata", "status")
    content: dict[str, Any] = {key: value for key, value in entry.items() if key not in left_out}
    return {"labels": entry["metadata"].get("labels") or {}, **content}


def _view(entry: Object) -> dict[str, Any]:
    """Return what a diff shows of an object: of a Secret the certificate's description, and no key."""
    shown = _content(entry)
    if entry["kind"] == "Secret":
        texts = {name: base64.b64decode(value).decode("utf-8", "replace") for name, value in shown["data"].items()}
        shown["data"] = {"tls.crt": routes_tls.described(texts.get("tls.crt", "")), "tls.key": "(not shown)"}
    return shown


def _difference(route: AppRoute, changes: Iterable[Change]) -> list[dict[str, Any]]:
    before = {f"{change.kind} {change.name}": change.before for change in changes if change.before}
    after = {f"{change.kind} {change.name}": change.after for change in changes if change.after}
    header = f"route {route.tenant}/{route.name}"
    if before == after:
        return []
    return [{"before_header": header, "after_header": header, "before": before, "after": after}]


def _described(route: AppRoute, allocated: Allocation) -> dict[str, Any]:
    """Return what a route is, for its result."""
    described: dict[str, Any] = {"name": route.name, "tenant": route.tenant, "app": route.app, "state": route.state}
    if route.state == "absent":
        return described
    scheme = "http" if route.tls == "none" else "https"
    return {
        **described,
        "domains": list(route.domains),
        "urls": [f"{scheme}://{domain}{path.path}" for domain in route.domains for path in route.paths],
        "tls": route.tls if route.domains else None,
        "ports": [
            {"port": number, "protocol": protocol, "target": port.target}
            for (protocol, number), port in sorted(allocated.items())
        ],
    }


def _carry_out(kube: Kube, route: AppRoute, changes: list[Change], outcome: Outcome) -> None:
    """Make the changes; what goes wrong is put into the outcome, with what had been done by then."""
    for number, change in enumerate(changes):
        try:
            if change.wanted is None:
                kube.delete(change.kind, route.tenant, change.name)
            else:
                kube.apply(change.wanted, MANAGER)
        except KubeError as error:
            made = [str(entry) for entry in changes[:number]]
            outcome.changed, outcome.values["changes"] = bool(made), made
            what = f"{change.kind} {change.name} could not be {change.verb}"
            outcome.fail(f"app_route: {route.tenant}/{route.name}: {what}: {error}", isinstance(error, Unknown))
            return


def _confirm(kube: Kube, route: AppRoute, allocated: Allocation, before: dict[Key, Object], outcome: Outcome) -> None:
    """Give new ports back that somebody else took at the same time: neither has then been told that it is theirs."""
    for protocol, number in allocated:
        kind, name = f"IngressRoute{protocol}", f"{route.name}-{protocol.lower()}-{number}"
        if (kind, name) in before:
            continue
        entries, _complete = route_claims.everywhere(kube, kind, [route.tenant])
        rival = _holders(entries, route).get((protocol, number))
        if rival is not None:
            kube.delete(kind, route.tenant, name)
            found = f"port {number}/{protocol} has just been taken by {rival}: run the task again"
            outcome.fail(f"app_route: {route.tenant}/{route.name}: {found}")
            return


def _wait(kube: Kube, tenant: str, services: list[str], timeout: float) -> list[str]:
    """Wait until each Service has a ready endpoint; return those that have none when the time is over."""
    missing = services

    def settled(slices: list[Object]) -> bool:
        nonlocal missing
        missing = _without_endpoint(services, slices)
        return not missing

    until(kube, "EndpointSlice", tenant, f"{SERVICE} in ({','.join(services)})", settled, timeout)
    return missing


def _without_endpoint(services: Iterable[str], slices: Iterable[Object]) -> list[str]:
    ready = {
        entry["metadata"]["labels"][SERVICE]
        for entry in slices
        for endpoint in entry.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
    }
    return [name for name in services if name not in ready]
