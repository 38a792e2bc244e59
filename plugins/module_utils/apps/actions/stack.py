# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.app_stack) does: deploy several apps in their order, and all or none of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import compose, releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.bindings import Binding, WantedBinding
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP, STACK
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import Live, build
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import Node
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import Release, ReleaseError
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import (
    Compose,
    DeployRequest,
    Rollout,
    StackRequest,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import App, release_spec
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.stack_spec import Stack, members
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.template_spec import complete, substitute
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.text_files import read_below, unreadable
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube, KubeError, Unknown
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import WORKLOADS

from . import deploy, stack_record, stack_routes
from .bind import resolve_all
from .context import Context, Outcome
from .dependents import Graph, left_behind
from .stack_record import Record
from .template import find as find_template


def run(context: Context, request: StackRequest) -> Outcome:
    """Bring a stack to its state."""
    record = stack_record.read(context.kube, request.tenant, request.name)
    act = _remove if request.state == "absent" else _deploy
    return act(context, request, record)


def _deploy(context: Context, request: StackRequest, record: Record) -> Outcome:
    kube, name, tenant, prune = context.kube, request.name, request.tenant, request.prune
    warnings: list[str] = []
    stack, origin, generated = _wanted(context, request, record, warnings)
    lives = deploy.load(kube, tenant, [app.name for app in stack.apps])
    apps = _bound(kube, stack, name, tenant, lives, record)
    context.hide(value for app in apps for value in app.secrets)
    others = {app.name for app in apps}
    left = sorted(_members(kube, tenant, name, record) - others)
    new_record: Record = {
        "apps": sorted({*others, *([] if prune else left)}),
        "levels": stack.levels,
        "bindings": sorted([entry.app, *entry.key] for entry in stack.bindings),
        "routes": stack_routes.names(stack.routes),
        "spec": stack.given,
        "origin": origin,
        "generated": generated,
    }
    # While the run is under way the record has what was and what is to be, so that one that is killed loses nothing.
    under_way = {
        **new_record,
        "apps": sorted({*others, *left}),
        "routes": sorted({*stack_routes.names(stack.routes), *record.get("routes", [])}),
        "bindings": sorted(
            [*new_record["bindings"], *(old for old in record.get("bindings", []) if old not in new_record["bindings"])]
        ),
    }
    stack_record.secret_of(name, tenant, under_way)
    gone = {(member, tenant) for member in left} if prune else set()
    stay = gone | {(app.name, tenant) for app in apps}
    findings = left_behind(kube, set() if request.force else gone, stay, warnings)
    if findings:
        raise Invalid(findings)
    removals = [_absent(tenant, member) for member in left] if prune else []
    dry = dataclasses.replace(context, check_mode=True)
    checked = deploy.run(dry, DeployRequest((*apps, *removals), request.rollout))
    old_routes = sorted(set(record.get("routes", [])) - set(new_record["routes"]))
    if not prune:
        new_record["routes"] = under_way["routes"]
    no_routes = old_routes if prune else []
    coming = any(not live.workloads for live in lives.values())
    routed = stack_routes.settle(dry, request, stack.routes, no_routes, coming)
    kept = record == new_record
    described = {"name": name, "tenant": tenant, "levels": stack.levels, "left": [] if removals else left, **origin}
    outcome = Outcome(
        changed=checked.changed or not kept or any(entry.changed for entry in routed),
        values={"stack": described},
        diff=[entry for part in (checked, *routed) for entry in part.diff or ()],
        warnings=[*warnings, *checked.warnings],
        parts={**checked.parts, "routes": routed},
    )
    if context.check_mode:
        return outcome
    if not kept:
        stack_record.write(kube, name, tenant, under_way)
    outcomes: dict[str, Outcome] = {}
    routed = []
    failure = _levels(context, stack, apps, request.rollout, outcomes)
    if failure is None:
        routed = stack_routes.settle(context, request, stack.routes, no_routes)
        failure = next((entry for entry in routed if entry.failed), None)
        if failure is not None and request.on_failure == "rollback":
            said = stack_routes.restore(context, request, routed, record)
            failure = dataclasses.replace(failure, message=failure.message + (f". {said}" if said else ""))
    if failure is None:
        if removals:
            done = deploy.run(context, DeployRequest(tuple(removals), request.rollout))
            outcomes.update(_by_name(done))
            failure = done if done.failed else None
        if not kept and failure is None:
            stack_record.write(kube, name, tenant, new_record)
    elif request.on_failure == "rollback":
        wanted = {app.name: app for app in apps}
        failure = _roll_back(context, stack.levels, wanted, lives, request.rollout, outcomes, failure)
        if record:
            stack_record.write(kube, name, tenant, record)
        else:
            kube.delete("Secret", tenant, stack_record.name_of(name))
    order = [app.name for app in (*apps, *removals)]
    finished = [
        outcomes.get(member) or Outcome(values={"name": member, "tenant": tenant, "action": "skipped"})
        for member in order
    ]
    outcome.parts = {"apps": finished, "routes": routed}
    outcome.changed = not kept or any(entry.changed for entry in (*finished, *routed))
    if failure is not None:
        outcome.fail(f"stack {tenant}/{name}: {failure.message}", failure.unknown)
    return outcome


def _by_name(done: Outcome) -> dict[str, Outcome]:
    return {entry.values["name"]: entry for entry in done.parts["apps"]}


def _wanted(
    context: Context, request: StackRequest, record: Record, warnings: list[str]
) -> tuple[Stack, dict[str, Any], dict[str, str]]:
    """Return the stack from the task, a compose file or a template, where it is from, and generated secrets to keep."""
    if request.stack is not None:
        return request.stack, {}, {}
    origin: dict[str, Any] = {}
    generated: dict[str, str] = {}
    wanted = request.template
    if request.compose is not None:
        context.hide(str(value) for value in request.compose.secret_variables.values())
        spec, where = _from_compose(request.compose, warnings), "compose"
    elif wanted is not None:
        template, images = find_template(context.kube, wanted.name, wanted.version)
        origin = {"template": {"name": template.name, "version": template.version, "digest": template.digest}}
        same = (record.get("origin") or {}).get("template", {}).get("name") == template.name
        kept = record.get("generated", {}) if same else {}
        values, findings = complete(template, wanted.parameters, wanted.secret_parameters, kept)
        if findings:
            raise Invalid(findings)
        context.hide(values.secrets)
        spec, where = substitute(template.stack, values.values), f"template {template.name} {template.version}"
        for app in spec.get("apps") or []:
            app["image"] = images.get(app.get("image"), app.get("image"))
        generated = values.generated
    else:
        raise AssertionError("a stack without members should have been refused before")
    stack, findings = members(spec, request.tenant, parse)
    if stack is None:
        raise Invalid(finding.below(f"{where}: ") for finding in findings)
    return stack, origin, generated


def _from_compose(given: Compose, warnings: list[str]) -> dict[str, Any]:
    """Return the spec that a compose file describes, with what the task adds to it."""
    where, content, directory = "compose.content", given.content, None
    allowed = list(given.allow_paths)
    if given.path is not None:
        where, directory = given.path, os.path.dirname(os.path.abspath(given.path))
        allowed.insert(0, directory)
        try:
            content = read_below(where, allowed)
        except (OSError, ValueError) as error:
            raise Invalid([unreadable("compose.path", where, error, "a docker compose file")]) from error
    spec, told, findings = compose.convert(
        content,
        where,
        lambda path: read_below(path, allowed),
        directory,
        given.variables,
        given.secret_variables,
    )
    if findings:
        raise Invalid(findings)
    warnings += told
    return {**spec, "bindings": given.bindings, "routes": given.routes}


def _bound(kube: Kube, stack: Stack, name: str, tenant: str, lives: dict[str, Live], record: Record) -> tuple[App, ...]:
    """Return the apps with their stack and bindings. Bindings that no run of this stack has made stay."""
    findings = [
        Finding(f"app {tenant}/{app.name}", f"a member of the stack {other}", "an app of no other stack")
        for app in stack.apps
        for other in [lives[app.name].stack]
        if other not in (None, name)
    ]
    by_app: dict[str, list[WantedBinding]] = {}
    for entry in stack.bindings:
        by_app.setdefault(entry.app, []).append(entry)
    planned = {(app.name, tenant): (release_spec(app, "")[0], {**app.env, **app.secret_env}) for app in stack.apps}
    made = {(member, tuple(key)) for member, *key in record.get("bindings", [])}
    wanted: dict[Node, set[Node]] = {}
    unbind: dict[str, list[tuple[str, str, str]]] = {}
    for app in stack.apps:
        newest = lives[app.name].newest
        keys = [binding.key for binding in newest.spec.bindings] if newest else []
        listed = [entry.key for entry in by_app.get(app.name, [])]
        unbind[app.name] = [key for key in keys if (app.name, key) in made and key not in listed]
        staying = {*keys, *listed} - set(unbind[app.name])
        wanted[app.name, tenant] = {(target, of) for _kind, of, target in staying}
    graph = Graph(kube, wanted)
    bindings: dict[str, list[Binding]] = {}
    for app in stack.apps:
        bindings[app.name], found = resolve_all(kube, graph, by_app.get(app.name, []), planned)
        findings += found
    findings += graph.cycles()
    if findings:
        raise Invalid(findings)
    return tuple(
        dataclasses.replace(app, stack=name, bindings=tuple(bindings[app.name]), unbind=tuple(unbind[app.name]))
        for app in stack.apps
    )


def _levels(
    context: Context, stack: Stack, apps: Iterable[App], rollout: Rollout, outcomes: dict[str, Outcome]
) -> Outcome | None:
    """Deploy level after level; return the outcome of the one that failed."""
    by_name = {app.name: app for app in apps}
    for level in stack.levels:
        try:
            done = deploy.run(context, DeployRequest(tuple(by_name[member] for member in level), rollout))
        except (KubeError, ReleaseError, Invalid) as error:
            return Outcome().fail(str(error), isinstance(error, Unknown) or None)
        outcomes.update(_by_name(done))
        if done.failed:
            return done
    return None


def _roll_back(
    context: Context,
    levels: list[list[str]],
    apps: dict[str, App],
    before: dict[str, Live],
    rollout: Rollout,
    outcomes: dict[str, Outcome],
    failure: Outcome,
) -> Outcome:
    """Roll every member back to what it ran before, the last one first, and return the failure with what was done."""
    said = []
    for level in reversed(levels):
        names = [name for name in level if name in outcomes and outcomes[name].changed]

        def roll_back(name: str) -> str:
            try:
                return _roll_back_app(context, apps[name], before[name], rollout, outcomes[name])
            except (KubeError, ReleaseError) as error:
                outcomes[name].fail()
                return f"{name} failed: {error}"

        said += [text for text in _parallel(roll_back, names) if text]
    unknown = any(entry.unknown for entry in (failure, *outcomes.values()))
    told = f"{failure.message}. Rollback: {'; '.join(said)}" if said else failure.message
    return Outcome().fail(told, unknown or None)


def _parallel(act: Callable[[str], str], names: list[str]) -> list[str]:
    if len(names) < 2:
        return [act(name) for name in names]
    with ThreadPoolExecutor(max_workers=min(deploy.PARALLEL, len(names))) as pool:
        return list(pool.map(act, names))


def _roll_back_app(context: Context, app: App, before: Live, rollout: Rollout, outcome: Outcome) -> str:
    """Roll one app back to what it ran before, and say so."""
    name, tenant = before.name, before.tenant
    source = _ran(before)
    if source is None:
        done = deploy.run(context, DeployRequest((_absent(tenant, name),), rollout))
        outcome.values.update(action="removed", release=None)
        if done.failed:
            raise KubeError(done.message)
        return f"{name} removed"
    if source.spec.row.once:
        return f"{name} is a job, whose run cannot be undone"
    live = deploy.load(context.kube, tenant, [name])[name]
    plan = build(
        live,
        "present",
        source.spec,
        source.salt,
        [],
        before.route,
        source.replicas,
        app.keep_releases,
        "rollback",
        source.version,
        restart_key=before.restart_key,
    )
    done = deploy.deploy(context, plan, dataclasses.replace(rollout, on_failure="keep"))
    if done.failed:
        raise KubeError(done.message)
    outcome.values.update(release=done.values["release"], rolled_back_to=source.version)
    return f"{name} to v{source.version}"


def _ran(live: Live) -> Release | None:
    """Return the release that an app ran: the newest that is known to have run, else the newest."""
    newest = live.newest
    if newest is None:
        return None
    return releases.last_good(live.releases, newest.version + 1) or (newest if live.workloads else None)


def _remove(context: Context, request: StackRequest, record: Record) -> Outcome:
    """Remove the members of a stack, those that others depend on last."""
    kube, name, tenant = context.kube, request.name, request.tenant
    found = _members(kube, tenant, name, record)
    warnings: list[str] = []
    nodes = {(member, tenant) for member in found}
    findings = left_behind(kube, set() if request.force else nodes, nodes, warnings)
    if findings:
        raise Invalid(findings)
    order = [[member for member in level if member in found] for level in reversed(record.get("levels", []))]
    known = {member for level in order for member in level}
    order.insert(0, sorted(found - known))
    steps = [[_absent(tenant, member) for member in level] for level in order if level]
    if context.check_mode:
        steps = [[app for step in steps for app in step]] if steps else []
    described = {"name": name, "tenant": tenant, "levels": [[app.name for app in step] for step in steps], "left": []}
    routed = stack_routes.settle(context, request, [], record.get("routes", []))
    diff = [entry for route in routed for entry in route.diff or ()]
    gone: list[Outcome] = []
    outcome = Outcome(bool(record), {"stack": described}, diff, warnings, {"apps": gone, "routes": routed})
    failed = [route.message for route in routed if route.failed]
    if failed:
        return outcome.fail(f"stack {tenant}/{name}: {failed[0]}")
    for step in steps:
        done = deploy.run(context, DeployRequest(tuple(step), request.rollout))
        gone += done.parts["apps"]
        diff += done.diff or ()
        outcome.changed = outcome.changed or done.changed
        if done.failed:
            return outcome.fail(f"stack {tenant}/{name}: {done.message}", done.unknown)
    if record and not context.check_mode:
        kube.delete("Secret", tenant, stack_record.name_of(name))
    return outcome


def _absent(tenant: str, name: str) -> App:
    request: DeployRequest = parse("app", {"tenant": tenant, "name": name, "state": "absent", "force": True})
    return request.apps[0]


def _members(kube: Kube, tenant: str, name: str, record: Record) -> set[str]:
    """Return the apps of a stack: those with its label, and those of its record that exist."""
    found: set[str] = set()
    for kind in WORKLOADS:
        for entry in kube.find(kind, tenant, f"{STACK}={name}", metadata=True):
            found.add(entry["metadata"]["labels"][APP])
    unseen = sorted(set(record.get("apps", [])) - found)
    if unseen:
        lives = deploy.load(kube, tenant, unseen)
        found |= {member for member, live in lives.items() if live.exists and live.stack in (None, name)}
    return found
