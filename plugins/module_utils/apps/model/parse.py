# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checked options of each app module. Pure: plain data in, plain data out, or `Invalid` with every problem."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .arguments import APP, AUTOSCALE, LISTS, arguments
from .bindings import binding_problems, found_twice
from .options import FALSE, Checker, Invalid, Problem, check, plain, unsaid
from .routes_spec import route_problems, shorthand
from .spec import MAX_REPLICAS, App, AppChecker, names, parse_app
from .stack_spec import options_problems as stack_problems
from .template_spec import options_problems as template_problems
from .tenant_spec import info_problems, kubeconfig_problems, tenant_problems


def parse(module: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the checked options of a module.

    For `app` the key `wanted` has the list of `App`. For another module that was given a list, the key `several` has
    the options of each entry, and its place.

    Raises Invalid with every problem of the task.
    """
    given = written_out(module, plain(given))
    listed = module in LISTS and isinstance(given.get(LISTS[module][0]), list)
    values, problems = check(arguments(module), given)
    timeouts = Checker("")
    for option, low in (("timeout", 1), ("request_timeout", 1), ("log_lines", 0)):
        timeouts.between(option, values.get(option), low, 86400)
    problems += timeouts.problems
    if listed:
        problems += _listed(module, values, problems)
    if module == "app":
        values["wanted"] = _apps(values, problems, listed)
        if not values.get("wait", True):
            for app in values["wanted"]:
                if app.strategy == "blue_green" and app.image:
                    problems.append(
                        Problem("wait", f"false, and app {app.key} is blue_green", "true: it waits to switch")
                    )
    elif listed:
        values["several"] = _entries(module, values, problems)
    else:
        found = unsaid(problems, _CHECKS[module](values))
        problems += [problem for problem in found if not _reported(problem, problems)]
    if problems:
        raise Invalid(problems)
    return values


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


def _listed(module: str, values: dict[str, Any], problems: list[Problem]) -> list[Problem]:
    """Return what is wrong with the list of a task as a whole."""
    option = LISTS[module][0]
    found: list[Problem] = []
    if values.get("name") is not None:
        found.append(Problem("name", shown(values["name"]), f"either name or {option}"))
    if not values[option] and not problems and not found:
        found.append(Problem(option, "[]", f"at least one {option[:-1]}"))
    return found


def _entries(module: str, values: dict[str, Any], problems: list[Problem]) -> list[tuple[str, dict[str, Any]]]:
    """Return the places and options of the entries of a task's list, and add what is wrong with each."""
    option = LISTS[module][0]
    entries: list[tuple[str, dict[str, Any]]] = []
    seen: set[tuple[Any, Any]] = set()
    for number, entry in enumerate(values.get(option) or []):
        where = f"{option}[{number}]"
        if not entry:
            continue
        found = [problem._replace(option=f"{where}.{problem.option}") for problem in _CHECKS[module](entry)]
        problems += [problem for problem in unsaid(problems, found) if not _reported(problem, problems)]
        key = (entry.get("tenant"), entry.get("name") or entry.get("app"))
        if key[1] is not None and key in seen:
            problems.append(Problem(f"{where}.name", shown(key[1]), f"each {option[:-1]} once"))
        seen.add(key)
        entries.append((where, entry))
    return entries


def _apps(values: dict[str, Any], problems: list[Problem], listed: bool) -> list[App]:
    """Return the apps of a task and add what is wrong with each, and with them together."""
    entries = values.get("apps") or [] if listed else [{key: values.get(key) for key in APP}]
    broken = {problem.option.split(".")[0] for problem in problems}
    apps: list[App] = []
    seen: dict[str, str] = {}
    domains: dict[str, str] = {}
    for number, entry in enumerate(entries):
        where = f"apps[{number}]" if listed else ""
        if not entry:
            continue
        app, found = parse_app(entry, where)
        problems += [problem for problem in found if problem not in problems and not _reported(problem, problems)]
        if app is None or where in broken:
            continue
        if app.key in seen:
            problems.append(Problem(f"{where}.name", shown(app.key), "each app of a tenant once"))
        seen[app.key] = where
        for domain in app.domains:
            if domain in domains:
                problems.append(Problem(f"{where}.domains", shown(domain), f"it at one app, {domains[domain]} has it"))
            domains.setdefault(domain, app.key)
        apps.append(app)
    return apps


def _reported(problem: Problem, problems: list[Problem]) -> bool:
    """Say whether the option of a follow-up problem, or an option inside it, is in the list already."""
    return any(known.option == problem.option or known.option.startswith(problem.option + ".") for known in problems)


def named(values: dict[str, Any]) -> AppChecker:
    """Return a checker that has looked at the name of an app that exists, and of its tenant."""
    checker = AppChecker("")
    # That a required option is missing is known already.
    found = names(values.get("name"), values.get("tenant"))
    checker.problems += [problem for problem in found if problem.found != "nothing"]
    return checker


def _info(values: dict[str, Any]) -> list[Problem]:
    if values.get("name") is None and values.get("tenant") is None:
        return []
    found = names(values.get("name"), values.get("tenant"))
    return [problem for problem in found if problem.found != "nothing" or problem.option == "tenant"]


def _release(values: dict[str, Any]) -> list[Problem]:
    checker = named(values)
    version = values.get("version")
    if version is not None and version != "last_good" and not re.match(r"v?[1-9][0-9]*\Z", version):
        checker.wrong("version", version, "the number of a release, such as 3, or last_good")
    checker.between("keep_releases", values.get("keep_releases"), 1, 1000)
    own = {"from_app": values.get("name"), "from_tenant": values.get("tenant")}
    origin = {option: values.get(option) for option in own}
    named_ones = [option for option, value in origin.items() if value is not None]
    if values.get("state") != "promote":
        for option in named_ones:
            checker.wrong(option, origin[option], "state: promote beside it")
        return checker.problems
    for problem in names(origin["from_app"] or "app", origin["from_tenant"] or "tenant"):
        checker.problems.append(problem._replace(option=f"from_{'app' if problem.option == 'name' else 'tenant'}"))
    if not named_ones:
        checker.wrong("from_tenant", None, "the tenant to take the release from, or the app in from_app")
    elif all(origin[option] == own[option] for option in named_ones):
        for option in named_ones:
            checker.wrong(option, origin[option], f"another {option[5:]} than the one to promote to")
    values.update({option: origin[option] or own[option] for option in own})
    return checker.problems


def _scale(values: dict[str, Any]) -> list[Problem]:
    """Check the options of app_scale; `counts` becomes the replicas by process ("" for the one not named)."""
    checker = named(values)
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
            checker.problems += found
            checker.between(f"processes.{name}", entry[name], 0, MAX_REPLICAS)
            counts[name] = entry[name]
    values["counts"] = counts
    values["host_ports"] = checker.port_range("host_ports", values["host_ports"])
    values["autoscale"] = _autoscale(checker, values.get("autoscale"))
    if values["autoscale"] and counts:
        checker.wrong("autoscale", "replicas beside it", "one of them, for the autoscaler sets the replicas")
    if values.get("resources") is not None:
        values["resources"] = checker.resources("resources", values["resources"])
    given = [values.get(option) for option in ("replicas", "processes", "autoscale", "resources")]
    if all(value is None for value in given) and not checker.problems:
        checker.wrong("replicas", None, "replicas, processes, autoscale or resources")
    return checker.problems


def _autoscale(checker: AppChecker, given: Any) -> dict[str, int] | bool | None:
    """Return the bounds and aims of an autoscaler, False for none, None when nothing is said of it."""
    if given is None:
        return None
    if str(given).lower() in FALSE:
        return False
    values, found = check(AUTOSCALE, given if isinstance(given, dict) else {}, "autoscale")
    if not isinstance(given, dict):
        found = [Problem("autoscale", shown(given), "false, or a mapping of min, max, cpu and memory")]
    checker.problems += found
    if found:
        return None
    checker.between("autoscale.max", values["max"], 1, MAX_REPLICAS)
    checker.between("autoscale.min", values["min"], 1, values["max"])
    for name in ("cpu", "memory"):
        checker.between(f"autoscale.{name}", values[name], 1, 1000)
    if values["cpu"] is None and values["memory"] is None:
        checker.wrong("autoscale", "neither cpu nor memory", "one of them, in percent of what is requested")
    return {name: value for name, value in values.items() if value is not None}


def _binding(values: dict[str, Any]) -> list[Problem]:
    """Check the options of app_binding; `entries` becomes its bindings, each with its place."""
    checker = named(values)
    checker.between("keep_releases", values.get("keep_releases"), 1, 1000)
    source = (values.get("name") or "", values.get("tenant") or "")
    several = values.get("bindings")
    entries = [("", values)]
    if several is not None:
        if values.get("target") is not None:
            checker.wrong("bindings", "target beside it", "one of them")
        if not several and not checker.problems:
            checker.wrong("bindings", several, "at least one binding")
        entries = [(f"bindings[{number}]", entry) for number, entry in enumerate(several) if entry]
    elif values.get("target") is None:
        checker.wrong("target", None, "the app to be bound to, or a list of bindings")
    problems = checker.problems
    for where, entry in entries:
        problems += binding_problems(entry, where, source)
    problems += found_twice(
        (f"{where}.target", (entry.get("target_tenant") or source[1], entry["target"]))
        for where, entry in entries
        if entry.get("target") is not None
    )
    values["entries"] = entries
    return problems


def _stack(values: dict[str, Any]) -> list[Problem]:
    return stack_problems(values, parse)


def _template(values: dict[str, Any]) -> list[Problem]:
    return template_problems(values, parse)


# What checks the options of a module beyond their types: it may replace values by their normal form.
_CHECKS: dict[str, Callable[[dict[str, Any]], list[Problem]]] = {
    "app_scale": _scale,
    "app_release": _release,
    "app_binding": _binding,
    "app_stack": _stack,
    "app_template": _template,
    "app_info": _info,
    "app_route": route_problems,
    "tenant": tenant_problems,
    "tenant_kubeconfig": kubeconfig_problems,
    "tenant_info": info_problems,
}
