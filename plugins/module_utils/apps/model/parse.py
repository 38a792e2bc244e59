# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of a module to its request, or `Invalid` with every problem. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .arguments import APP, AUTH, AUTOSCALE, LISTS, arguments
from .bindings import WantedBinding, found_twice, parse_binding
from .build.builds import UNKNOWN, build_number, with_build
from .build.plan import Plan
from .build.settings import Options, task_options
from .build.source import parse_source
from .options import FALSE, Checker, Invalid, check, plain, unsaid
from .requests import (
    BindRequest,
    BuildRequest,
    Compose,
    DeployRequest,
    InfoRequest,
    Installation,
    KubeconfigRequest,
    RegistryLogin,
    ReleaseRequest,
    Rollout,
    RouteRequest,
    ScaleRequest,
    StackRequest,
    TemplateRequest,
    TenantInfoRequest,
    TenantRequest,
)
from .routes_spec import parse_route, shorthand
from .spec import MAX_REPLICAS, App, AppChecker, WantedBuild, names, parse_app
from .stack_spec import parse_stack
from .template_spec import parse_template
from .tenant_spec import info_findings, kubeconfig_findings, tenant_findings

Values = dict[str, Any]
if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Request = TypeVar("Request", bound="DataclassInstance")


def parse(module: str, given: dict[str, Any]) -> Any:
    """Return the request that the options of a module make, such as the `DeployRequest` of `app`.

    For `app_route` and `tenant` with a list it is a list: the place of each entry in the task, and its request.

    Raises Invalid with every problem of the task.
    """
    given = written_out(module, plain(given))
    listed = module in LISTS and isinstance(given.get(LISTS[module][0]), list)
    values, findings = check(arguments(module), given)
    timeouts = Checker("")
    for option, low in (("timeout", 1), ("request_timeout", 1), ("log_lines", 0)):
        timeouts.between(option, values.get(option), low, 86400)
    findings += timeouts.findings
    if listed:
        findings += _listed(module, values, findings)
    request: Any
    if module == "app":
        request = _deploy(values, findings, listed)
    elif listed:
        request = _entries(module, values, findings)
    else:
        request, found = _PARSERS[module](values)
        found = unsaid(findings, found)
        findings += [finding for finding in found if not _reported(finding, findings)]
    if findings:
        raise Invalid(findings)
    return request


def connection(given: dict[str, Any]) -> dict[str, Any]:
    """Return the checked options of a module that say how to reach the cluster."""
    return check(AUTH, {name: value for name, value in plain(given).items() if name in AUTH})[0]


def written_out(module: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a module without short forms, as its table has them."""
    if module in LISTS:
        given = spread(module, given)
    if module != "app_route":
        return given
    listed = given.get("routes")
    if isinstance(listed, list):
        given = {**given, "routes": [shorthand(entry) if isinstance(entry, dict) else entry for entry in listed]}
    return shorthand(given)


def spread(module: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with those given beside the list moved into each entry that does not set them itself."""
    option, table = LISTS[module]
    listed = given.get(option)
    if not isinstance(listed, list):
        return given
    shared = {key: value for key, value in given.items() if key in table and key != "name" and value is not None}
    entries = [
        {**shared, **{key: value for key, value in entry.items() if value is not None}}
        if isinstance(entry, dict)
        else entry
        for entry in listed
    ]
    return {**{key: value for key, value in given.items() if key not in shared}, option: entries}


def _listed(module: str, values: dict[str, Any], findings: list[Finding]) -> list[Finding]:
    """Return what is wrong with the list of a task as a whole."""
    option = LISTS[module][0]
    found: list[Finding] = []
    if values.get("name") is not None:
        found.append(Finding("name", shown(values["name"]), f"either name or {option}"))
    if not values[option] and not findings and not found:
        found.append(Finding(option, "[]", f"at least one {option[:-1]}"))
    return found


def _entries(module: str, values: Values, findings: list[Finding]) -> list[tuple[str, Any]]:
    """Return the places and requests of the entries of a task's list, and add what is wrong with each."""
    option = LISTS[module][0]
    entries: list[tuple[str, Any]] = []
    seen: set[tuple[Any, Any]] = set()
    for number, entry in enumerate(values.get(option) or []):
        where = f"{option}[{number}]"
        if not entry:
            continue
        request, wrong = _PARSERS[module]({**values, **entry})
        found = [finding.below(f"{where}.") for finding in wrong]
        findings += [finding for finding in unsaid(findings, found) if not _reported(finding, findings)]
        key = (entry.get("tenant"), entry.get("name") or entry.get("app"))
        if key[1] is not None and key in seen:
            findings.append(Finding(f"{where}.name", shown(key[1]), f"each {option[:-1]} once"))
        seen.add(key)
        entries.append((where, request))
    return entries


def _deploy(values: Values, findings: list[Finding], listed: bool) -> DeployRequest:
    apps = _apps(values, findings, listed)
    if not values.get("wait", True):
        for app in apps:
            if app.strategy == "blue_green" and app.image:
                wanted = "true, because it switches after the wait"
                findings.append(Finding("wait", f"false, and app {app.key} is blue_green", wanted))
    return DeployRequest(tuple(apps), _filled(Rollout, values))


def _apps(values: dict[str, Any], findings: list[Finding], listed: bool) -> list[App]:
    """Return the apps of a task and add what is wrong with each, and with them together."""
    entries = values.get("apps") or [] if listed else [{key: values.get(key) for key in APP}]
    broken = {finding.where.split(".")[0] for finding in findings}
    apps: list[App] = []
    seen: dict[str, str] = {}
    domains: dict[str, str] = {}
    for number, entry in enumerate(entries):
        where = f"apps[{number}]" if listed else ""
        if not entry:
            continue
        app, found = _app(entry, where)
        findings += [finding for finding in found if finding not in findings and not _reported(finding, findings)]
        if app is None or where in broken:
            continue
        if app.key in seen:
            findings.append(Finding(f"{where}.name", shown(app.key), "each app of a tenant once"))
        seen[app.key] = where
        for domain in app.domains:
            if domain in domains:
                wanted = f"it at one app only, {domains[domain]} has it"
                findings.append(Finding(f"{where}.domains", shown(domain), wanted))
            domains.setdefault(domain, app.key)
        apps.append(app)
    return apps


# What stands for the image of a build until that is read.
_BUILT = "build/image@sha256:" + "0" * 64


def _app(entry: Values, where: str) -> tuple[App | None, list[Finding]]:
    """Return an app, one of a build with what can be said of it before the build is read."""
    if entry.get("build") is None:
        return parse_app(entry, where)
    checker = Checker(where)
    number = build_number(checker, "build", entry["build"])
    if entry["image"] is not None:
        checker.wrong("image", entry["image"], "either image or build")
    app, found = parse_app(with_build(entry, _BUILT, UNKNOWN), where)
    if app is None or number is None or checker.findings:
        return None, [*checker.findings, *found]
    return replace(app, build=WantedBuild(number, entry, where)), found


def built(app: App, image: str, plan: Plan) -> App:
    """Return an app of a build with its image, and with what its plan adds. Raises Invalid if both do not fit."""
    if app.build is None:
        raise AssertionError(f"app {app.key} is not one of a build")
    made, findings = parse_app(with_build(app.build.options, image, plan), app.build.where)
    if made is None:
        raise Invalid(findings)
    return made


def _reported(finding: Finding, findings: list[Finding]) -> bool:
    """Say whether the option of a follow-up problem, or an option inside it, is in the list already."""
    return any(known.where == finding.where or known.where.startswith(finding.where + ".") for known in findings)


def _filled(kind: type[Request], values: Values, **more: Any) -> Request:
    """Return a request with the options that have the names of its fields, and with more."""
    known = {entry.name: values.get(entry.name) for entry in fields(kind)}
    return kind(**{**known, **more})


def _named(values: Values) -> AppChecker:
    """Return a checker that has looked at the name of an app that exists, and of its tenant."""
    checker = AppChecker("")
    # That a required option is missing is known already.
    found = names(values.get("name"), values.get("tenant"))
    checker.findings += [finding for finding in found if finding.found != "nothing"]
    return checker


def _info(values: Values) -> tuple[InfoRequest, list[Finding]]:
    request = _filled(InfoRequest, values)
    if request.name is None and request.tenant is None:
        return request, []
    found = names(request.name, request.tenant)
    return request, [finding for finding in found if finding.found != "nothing" or finding.where == "tenant"]


def _release(values: Values) -> tuple[ReleaseRequest, list[Finding]]:
    checker = _named(values)
    version = values.get("version")
    if version is not None and version != "last_good" and not re.match(r"v?[1-9][0-9]*\Z", version):
        checker.wrong("version", version, "the number of a release, such as 3, or last_good")
    checker.between("keep_releases", values.get("keep_releases"), 1, 1000)
    own = {"from_app": values.get("name"), "from_tenant": values.get("tenant")}
    origin = {option: values.get(option) for option in own}
    named_ones = [option for option, value in origin.items() if value is not None]
    full = {option: value or own[option] for option, value in origin.items()}
    request = _filled(ReleaseRequest, values, rollout=_filled(Rollout, values), **full)
    if values.get("state") != "promote":
        for option in named_ones:
            checker.wrong(option, origin[option], "state: promote beside it")
        return request, checker.findings
    for finding in names(origin["from_app"] or "app", origin["from_tenant"] or "tenant"):
        checker.findings.append(finding.at(f"from_{'app' if finding.where == 'name' else 'tenant'}"))
    if not named_ones:
        checker.wrong("from_tenant", None, "the tenant to take the release from, or the app in from_app")
    elif all(origin[option] == own[option] for option in named_ones):
        for option in named_ones:
            checker.wrong(option, origin[option], f"another {option[5:]} than the one to promote to")
    return request, checker.findings


def _scale(values: Values) -> tuple[ScaleRequest, list[Finding]]:
    checker = _named(values)
    process, several = values.get("process"), values.get("processes")
    counts: dict[str, int] = {}
    if values.get("replicas") is not None:
        checker.between("replicas", values["replicas"], 0, MAX_REPLICAS)
        counts[process or ""] = values["replicas"]
    if several is not None:
        for option in ("process", "replicas", "autoscale", "resources"):
            if values.get(option) is not None:
                checker.wrong("processes", f"{option} beside it", "one of them")
        if not several:
            checker.wrong("processes", several, "the replicas of each process, such as {web: 4, worker: 2}")
        for name, count in several.items():
            entry, found = check({name: {"type": "int", "required": True}}, {name: count}, "processes")
            checker.findings += found
            checker.between(f"processes.{name}", entry[name], 0, MAX_REPLICAS)
            counts[name] = entry[name]
    host_ports = checker.port_range("host_ports", values["host_ports"])
    autoscale = _autoscale(checker, values.get("autoscale"))
    if autoscale and counts:
        checker.wrong("autoscale", "replicas beside it", "one of them, because the autoscaler sets the replicas")
    resources = values.get("resources")
    if resources is not None:
        resources = checker.resources("resources", resources)
    given = (values.get("replicas"), several, autoscale, resources)
    if all(value is None for value in given) and not checker.findings:
        checker.wrong("replicas", None, "replicas, processes, autoscale or resources")
    request = _filled(
        ScaleRequest,
        values,
        replicas=counts,
        listed=several is not None,
        autoscale=autoscale,
        resources=resources,
        host_ports=host_ports,
        rollout=Rollout(values["wait"], values["timeout"], "keep"),
    )
    return request, checker.findings


def _autoscale(checker: AppChecker, given: Any) -> dict[str, int] | bool | None:
    """Return the bounds and aims of an autoscaler, False for none, None when nothing is said of it."""
    if given is None:
        return None
    if str(given).lower() in FALSE:
        return False
    values, found = check(AUTOSCALE, given if isinstance(given, dict) else {}, "autoscale")
    if not isinstance(given, dict):
        found = [Finding("autoscale", shown(given), "false, or a mapping of min, max, cpu and memory")]
    checker.findings += found
    if found:
        return None
    checker.between("autoscale.max", values["max"], 1, MAX_REPLICAS)
    checker.between("autoscale.min", values["min"], 1, values["max"])
    for name in ("cpu", "memory"):
        checker.between(f"autoscale.{name}", values[name], 1, 1000)
    if values["cpu"] is None and values["memory"] is None:
        checker.wrong("autoscale", "neither cpu nor memory", "one of them, in percent of the request")
    return {name: value for name, value in values.items() if value is not None}


def _build(values: Values) -> tuple[BuildRequest, list[Finding]]:
    checker = _named(values)
    checker.between("keep", values.get("keep"), 1, 1000)
    source, found = parse_source(values.get("source"))
    # That it is missing is known already.
    checker.findings += found if values.get("source") is not None else []
    options = Options()
    try:
        options = task_options(values.get("build"), values.get("processes"), bool(source.archive))
    except Invalid as error:
        checker.findings += error.findings
    return _filled(BuildRequest, values, source=source, options=options), checker.findings


def _bind(values: Values) -> tuple[BindRequest, list[Finding]]:
    checker = _named(values)
    checker.between("keep_releases", values.get("keep_releases"), 1, 1000)
    source = (values.get("name") or "", values.get("tenant") or "")
    several = values.get("bindings")
    entries = [("", values)]
    if several is not None:
        if values.get("target") is not None:
            checker.wrong("bindings", "target beside it", "one of them")
        if not several and not checker.findings:
            checker.wrong("bindings", several, "at least one binding")
        entries = [(f"bindings[{number}]", entry) for number, entry in enumerate(several) if entry]
    elif values.get("target") is None:
        checker.wrong("target", None, "the app to be bound to, or a list of bindings")
    findings = checker.findings
    bindings: list[WantedBinding] = []
    for where, entry in entries:
        binding, found = parse_binding(entry, where, source)
        bindings.append(binding)
        findings += found
    findings += found_twice(binding for binding in bindings if binding.target is not None)
    request = _filled(BindRequest, values, bindings=tuple(bindings), rollout=_filled(Rollout, values))
    return request, findings


def _stack(values: Values) -> tuple[StackRequest, list[Finding]]:
    stack, findings = parse_stack(values, parse)
    compose, template = values.get("compose"), values.get("template")
    request = _filled(
        StackRequest,
        values,
        stack=stack,
        compose=compose and Compose(**compose, bindings=values["bindings"], routes=values["routes"]),
        template=template and Installation(**template),
        rollout=Rollout(values["wait"], values["timeout"]),
    )
    return request, findings


def _template(values: Values) -> tuple[TemplateRequest, list[Finding]]:
    template, findings = parse_template(values, parse)
    stack, registry = values.get("stack"), values.get("registry")
    if registry and values["images"]:
        registry = RegistryLogin(**{**registry, "url": registry["url"] or f"https://{registry['host']}"})
    else:
        registry = None
    stack = stack and (stack["name"], stack["tenant"])
    return _filled(TemplateRequest, values, template=template, stack=stack, registry=registry), findings


def _route(values: Values) -> tuple[RouteRequest, list[Finding]]:
    route, findings = parse_route(values)
    return RouteRequest(route, values["wait"], values["timeout"]), findings


# What makes the request of a module of options whose types are right, and says what else is wrong with them. Where
# something is wrong, nobody gets the request.
_PARSERS: dict[str, Callable[[Values], tuple[Any, list[Finding]]]] = {
    "app_build": _build,
    "app_scale": _scale,
    "app_release": _release,
    "app_binding": _bind,
    "app_stack": _stack,
    "app_template": _template,
    "app_info": _info,
    "app_route": _route,
    "tenant": lambda values: (_filled(TenantRequest, values), tenant_findings(values)),
    "tenant_kubeconfig": lambda values: (_filled(KubeconfigRequest, values), kubeconfig_findings(values)),
    "tenant_info": lambda values: (_filled(TenantInfoRequest, values), info_findings(values)),
}
