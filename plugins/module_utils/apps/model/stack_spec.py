# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack consists of, in one normal form: its apps, their order and their bindings. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .arguments import STACK
from .bindings import WantedBinding, found_twice, parse_binding
from .options import Invalid, check, unsaid
from .routes_spec import AppRoute
from .spec import App, names

if TYPE_CHECKING:
    from .requests import DeployRequest, RouteRequest

Parse = Callable[[str, dict[str, Any]], Any]
SOURCES = ("apps", "compose", "template")
# What a route has of its stack.
FIXED = ("tenant", "state", "wait", "timeout")


@dataclass(frozen=True)
class Stack:
    """The members of a stack, and the order of their names in `levels`. `given` is what all of it was made from."""

    apps: tuple[App, ...]
    levels: list[list[str]]
    bindings: tuple[WantedBinding, ...]
    routes: tuple[AppRoute, ...]
    given: dict[str, Any] = field(repr=False)


def parse_stack(values: dict[str, Any], parse: Parse) -> tuple[Stack | None, list[Finding]]:
    """Return the stack, if the task itself has it, and what is wrong with the options beyond their types."""
    found = names(values.get("name"), values.get("tenant"))
    findings = [finding for finding in found if finding.found != "nothing"]
    if values.get("state") != "present":
        return None, findings
    sources = [name for name in SOURCES if values.get(name) is not None]
    if len(sources) != 1:
        findings.append(Finding("apps", " and ".join(sources) or "nothing", "one of apps, compose and template"))
    compose = values.get("compose")
    if compose is not None:
        given = [name for name in ("path", "content") if compose.get(name) is not None]
        if len(given) != 1:
            findings.append(Finding("compose", " and ".join(given) or "nothing", "one of path and content"))
        both = set(compose.get("variables") or {}) & set(compose.get("secret_variables") or {})
        for name in sorted(both):
            findings.append(Finding(f"compose.secret_variables.{name}", "the same name in variables", "one of them"))
    if values.get("template") is not None and values.get("bindings") is not None:
        findings.append(Finding("bindings", "template beside it", "the bindings in the template"))
    if sources != ["apps"]:
        return None, findings
    stack, found = members({name: values.get(name) for name in STACK}, values.get("tenant"), parse)
    return stack, findings + found


def members(
    spec: Mapping[str, Any], tenant: str | None, parse: Parse, where: str = ""
) -> tuple[Stack | None, list[Finding]]:
    """Return the stack that a spec of apps, bindings and routes describes, or None and the problems."""
    values, findings = check(STACK, dict(spec), where)
    prefix = where + "." if where else ""
    entries = [entry for entry in values.get("apps") or [] if entry]
    if not entries and not findings:
        findings.append(Finding(prefix + "apps", shown(values.get("apps")), "at least one app"))
    apps: tuple[App, ...] = ()
    if entries and tenant is not None:
        own = [{name: value for name, value in entry.items() if name != "depends_on"} for entry in entries]
        try:
            request: DeployRequest = parse("app", {"tenant": tenant, "apps": own})
            apps = request.apps
        except Invalid as error:
            findings += unsaid(findings, [finding.below(prefix) for finding in error.findings])
    known = [entry["name"] for entry in entries]
    after: dict[str, set[str]] = {}
    for number, entry in enumerate(entries):
        after[entry["name"] or ""] = set(entry["depends_on"] or [])
        for name in entry["depends_on"] or []:
            if name not in known or name == entry["name"]:
                wanted = "another app of the stack: " + ", ".join(str(other) for other in known)
                findings.append(Finding(f"{prefix}apps[{number}].depends_on", shown(name), wanted))
    bindings, found = _bindings(values.get("bindings") or [], known, tenant or "", prefix, after)
    findings += found
    routes, found = _routes(values.get("routes") or [], tenant, prefix, parse)
    findings += found
    order, path = levels(after)
    if path:
        findings.append(Finding(prefix + "apps", f"the cycle {' -> '.join(path)}", "apps that can start in an order"))
    if findings:
        return None, findings
    given = {name: value for name, value in spec.items() if name in STACK and value is not None}
    return Stack(apps, order, bindings, routes, given), []


def _bindings(
    given: list[dict[str, Any]], known: list[str], tenant: str, prefix: str, after: dict[str, set[str]]
) -> tuple[tuple[WantedBinding, ...], list[Finding]]:
    """Return the bindings, and let each app come after the members that it is bound to."""
    bindings: dict[str, list[WantedBinding]] = {}
    findings: list[Finding] = []
    for number, entry in enumerate(given):
        where = f"{prefix}bindings[{number}]"
        if not entry or entry["app"] is None or entry["target"] is None:
            continue
        if entry["app"] not in known:
            wanted = "an app of the stack: " + ", ".join(str(other) for other in known)
            findings.append(Finding(f"{where}.app", shown(entry["app"]), wanted))
        binding, found = parse_binding(entry, where, (entry["app"], tenant))
        findings += found
        if binding.tenant == tenant and binding.target in known:
            after.setdefault(binding.app, set()).add(binding.target)
        bindings.setdefault(binding.app, []).append(binding)
    for entries in bindings.values():
        findings += found_twice(entries)
    return tuple(binding for entries in bindings.values() for binding in entries), findings


def _routes(
    given: list[dict[str, Any]], tenant: str | None, prefix: str, parse: Parse
) -> tuple[tuple[AppRoute, ...], list[Finding]]:
    """Return the routes, each of which has the tenant of the stack."""
    routes: list[AppRoute] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    for number, entry in enumerate(given):
        where = f"{prefix}routes[{number}]"
        fixed = [
            Finding(f"{where}.{name}", shown(entry[name]), "none: it is that of the stack")
            for name in FIXED
            if name in entry
        ]
        findings += fixed
        try:
            request: RouteRequest = parse("app_route", {**entry, "tenant": tenant or "tenant"})
        except Invalid as error:
            findings += [finding.below(f"{where}.") for finding in error.findings]
            continue
        routes.append(request.route)
        if request.route.name in seen:
            findings.append(Finding(f"{where}.name", shown(request.route.name), "each route once"))
        seen.add(request.route.name)
    return tuple(routes), findings


def levels(after: Mapping[str, Iterable[str]]) -> tuple[list[list[str]], list[str]]:
    """Return the names in levels, each after all that it comes after, and a path around when there is no order."""
    left = {name: {other for other in others if other in after} for name, others in after.items()}
    order: list[list[str]] = []
    while left:
        ready = sorted(name for name, others in left.items() if not others & set(left))
        if not ready:
            return order, _around(left)
        order.append(ready)
        for name in ready:
            del left[name]
    return order, []


def _around(left: Mapping[str, set[str]]) -> list[str]:
    path = [min(left)]
    while path[-1] not in path[:-1]:
        path.append(min(other for other in left[path[-1]] if other in left))
    return path[path.index(path[-1]) :]
