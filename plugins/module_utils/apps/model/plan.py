# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what an app is with what it is to be, and say which changes lead there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import SCALED, WORKLOADS, Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import drift, merged
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Warn, ignored

from . import render
from .bindings import Binding, with_bindings
from .host_ports import Ports, holder
from .labels import APP, DIGEST, INSTANCE, PROCESS, RESTART, STACK, STOPPED
from .release_spec import ReleaseSpec, Resources, recorded
from .releases import Release, expired, histories, new_salt
from .render import Around, Route, scaled_resources
from .spec import MAX_REPLICAS, App, Content, digest_of, release_spec
from .types import TYPES

# The kinds an app consists of besides its Secrets, in the order in which they are made.
KINDS = (*WORKLOADS, "PodDisruptionBudget", "Service", "Ingress", "HorizontalPodAutoscaler")
# What leads requests to pods. A blue-green deployment changes it when the new pods are ready.
SWITCHED = ("Service", "Ingress")
HOST_PORTS = (20000, 24999)
COUNT = re.compile(r"[0-9]{1,6}\Z")
Key = tuple[str, str]


@dataclass
class Live:
    """What the API shows of one app."""

    name: str
    tenant: str
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    ports: Ports = field(default_factory=lambda: Ports({}))

    @property
    def newest(self) -> Release | None:
        return self.releases[-1] if self.releases else None

    @property
    def workloads(self) -> dict[Key, Object]:
        return {key: entry for key, entry in self.objects.items() if key[0] in WORKLOADS}

    def of(self, process: str) -> list[Object]:
        """Return the workloads of a process, those of the newest release first."""
        found = [entry for entry in self.workloads.values() if process_of(entry) == process]
        digest = self.newest.digest if self.newest else ""
        return sorted(found, key=lambda entry: (digest_on(entry) != digest, instance_of(entry) or 0))

    def instances(self, process: str) -> list[Object]:
        """Return the workloads of a process that are an instance in its host's network each."""
        return [entry for entry in self.of(process) if instance_of(entry) is not None]

    @property
    def on_hosts(self) -> bool:
        return any(instance_of(entry) is not None for entry in self.workloads.values())

    @property
    def restart_key(self) -> str | None:
        for entry in self.workloads.values():
            annotations = (template_of(entry).get("metadata") or {}).get("annotations") or {}
            if RESTART in annotations:
                key: str = annotations[RESTART]
                return key
        return None

    @property
    def stack(self) -> str | None:
        """Return the stack that the app is a member of."""
        found = ((entry["metadata"].get("labels") or {}).get(STACK) for entry in self.objects.values())
        return next((stack for stack in found if stack), None)

    @property
    def resources(self) -> dict[str, Resources]:
        """Return what app_scale has set, by process."""
        found = {process_of(entry): scaled_resources(entry) for entry in self.workloads.values()}
        return {process: amounts for process, amounts in found.items() if amounts}

    @property
    def exists(self) -> bool:
        return bool(self.objects or self.releases or self.contents)

    @property
    def route(self) -> Route:
        ingress = self.objects.get(("Ingress", self.name))
        if ingress is None:
            return Route()
        spec = ingress.get("spec") or {}
        hosts = (rule.get("host") for rule in spec.get("rules") or [])
        return Route(tuple(host for host in hosts if host), spec.get("ingressClassName"))


def live_apps(
    wanted: Iterable[str], tenant: str, objects: dict[str, list[Object]], warn: Warn = ignored
) -> dict[str, Live]:
    """Sort the objects of a namespace by app. objects: kind to list, Secrets as "release" and "content"."""
    found = with_history(wanted, tenant, objects.get("release", []), warn)
    for kind, entries in objects.items():
        if kind != "release":
            place(found, kind, entries)
    return found


def with_history(wanted: Iterable[str], tenant: str, released: list[Object], warn: Warn = ignored) -> dict[str, Live]:
    """Return apps with their releases, and nothing else of them yet."""
    known = histories(released, warn)
    return {name: Live(name, tenant, releases=known.get(name, [])) for name in wanted}


def place(found: dict[str, Live], kind: str, entries: list[Object]) -> None:
    """Give each object of a kind, or of "content", to its app."""
    for entry in entries:
        app = found.get((entry["metadata"].get("labels") or {}).get(APP, ""))
        if app is None:
            continue
        if kind == "content":
            app.contents.add(entry["metadata"]["name"])
        else:
            app.objects[kind, entry["metadata"]["name"]] = {**entry, "kind": kind}


@dataclass
class Plan:
    """The way from what an app is to what it is to be."""

    live: Live
    state: str
    spec: ReleaseSpec
    salt: str
    digest: str
    version: int
    action: str
    source: int | None
    route: Route
    replicas: dict[str, int]
    keep: int
    new_release: bool
    from_tenant: str | None = None
    from_app: str | None = None
    contents: list[Content] = field(repr=False, default_factory=list)
    applies: list[Object] = field(default_factory=list)
    scales: list[Object] = field(default_factory=list)
    scalers: list[Object] = field(default_factory=list)
    prunes: list[Key] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    wanted: list[Object] = field(default_factory=list)
    restart_key: str | None = None
    claims: dict[int, str] = field(default_factory=dict)
    frees: list[int] = field(default_factory=list)
    secrets: list[str] = field(repr=False, default_factory=list)

    @property
    def name(self) -> str:
        return self.live.name

    @property
    def tenant(self) -> str:
        return self.live.tenant

    @property
    def unsettled(self) -> bool:
        """Whether the newest release has still to be seen running."""
        newest = self.live.newest
        ended_badly = self.spec.row.once and newest is not None and newest.status == "failed"
        return newest is not None and newest.status != "good" and not self.stopped and not ended_badly

    @property
    def keys(self) -> list[Key]:
        """Return kind and name of the workloads there are after this."""
        return [(entry["kind"], entry["metadata"]["name"]) for entry in self.wanted]

    @property
    def blue_green(self) -> bool:
        return self.spec.strategy == "blue_green"

    @property
    def one_by_one(self) -> list[Key]:
        """Return the instances that follow each other, so that the others serve meanwhile."""
        if self.spec.strategy == "recreate":
            return []
        return [key for key, entry in zip(self.keys, self.wanted) if instance_of(entry) is not None]

    @property
    def stopped(self) -> bool:
        """Whether no process is to run after this."""
        return bool(self.wanted) and not any(self.sizes().values())

    @property
    def changed(self) -> bool:
        changes = (self.contents, self.applies, self.scales, self.scalers, self.prunes, self.claims, self.frees)
        return self.new_release or any(changes)

    def sizes(self) -> dict[Key, int]:
        """Return the size of each workload after this (see `size`)."""
        sizes = {key: size(self.live.objects.get(key)) for key in self.keys}
        sizes.update({(entry["kind"], entry["metadata"]["name"]): size(entry) for entry in self.scales})
        return sizes

    def counts(self) -> dict[str, int]:
        """Return the replicas of each workload that has some after this."""
        return {name: count for (kind, name), count in self.sizes().items() if kind in SCALED}


def size(workload: Object | None) -> int:
    """Return the replicas a workload asks for; for what has none, 0 when it is suspended and 1 when not."""
    spec = (workload or {}).get("spec") or {}
    if (workload or {}).get("kind") in ("CronJob", "Job"):
        return 0 if spec.get("suspend") else 1
    count: int = spec.get("replicas", 1)
    return count


def template_of(workload: Object) -> dict[str, Any]:
    """Return the template of a workload's pods."""
    spec = workload.get("spec") or {}
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"].get("spec") or {}
    template: dict[str, Any] = spec.get("template") or {}
    return template


def digest_on(workload: Object) -> str:
    """Return the digest of the release a workload's pods are made from."""
    digest: str = ((template_of(workload).get("metadata") or {}).get("labels") or {}).get(DIGEST, "")
    return digest


def process_of(workload: Object) -> str:
    """Return the process a workload runs."""
    process: str = (workload["metadata"].get("labels") or {}).get(PROCESS, "")
    return process


def instance_of(workload: Object) -> int | None:
    """Return the number of an instance in its host's network, None for another workload."""
    number = (workload["metadata"].get("labels") or {}).get(INSTANCE)
    return int(number) if number is not None and COUNT.match(number) else None


def remembered(workload: Object | None) -> int | None:
    """Return the replicas a stopped workload comes back to, None when it is not stopped."""
    if workload is not None and workload.get("kind") in ("CronJob", "Job"):
        return None if size(workload) or ended(workload) else 1
    annotations = ((workload or {}).get("metadata") or {}).get("annotations") or {}
    count = annotations.get(STOPPED, "")
    return int(count) if COUNT.match(count) and int(count) <= MAX_REPLICAS else None


def ended(job: Object) -> bool:
    """Say whether a Job has run to its end, well or not."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(entry.get("type") in ("Complete", "Failed") and entry.get("status") == "True" for entry in conditions)


def plan_app(app: App, live: Live) -> Plan:
    """Return the plan for an app of a task (any state but absent).

    Without an image it keeps the newest release's content; there must be one.
    """
    newest = live.newest
    salt = newest.salt if newest else new_salt()
    key = live.restart_key if app.restart_key is None else app.restart_key
    if TYPES[app.type].once:
        key = None  # it is part of its release, see below
    if app.image is None:
        if newest is None:
            raise AssertionError("an app without an image and without a release should have been refused before")
        return build(
            live, app.state, newest.spec, salt, [], live.route, newest.replicas, app.keep_releases, restart_key=key
        )
    spec, wanted = release_spec(app, salt)
    before = newest.spec.bindings if newest else ()
    spec, bound = with_bindings(spec, before, app.name, salt, app.bindings, app.unbind)
    wanted += bound
    again = False
    if TYPES[app.type].once:
        # A job that has run is not restarted, it runs again: another key makes another release, and so does a failure.
        kept = newest.spec.restart_key if newest else None
        spec = replace(spec, restart_key=kept if app.restart_key is None else app.restart_key)
        again = newest is not None and newest.status == "failed" and app.state != "stopped"
    plan = build(
        live,
        app.state,
        spec,
        salt,
        wanted,
        Route(app.domains, app.ingress_class),
        app.replicas,
        app.keep_releases,
        restart_key=key,
        host_ports=app.host_ports,
        again=again,
        stack=app.stack,
    )
    plan.secrets = app.secrets
    return plan


def plan_release(live: Live, source: Release, keep: int) -> Plan:
    """Return the plan that brings an earlier release's content back as a new release."""
    return build(
        live,
        "present",
        source.spec,
        source.salt,
        [],
        live.route,
        source.replicas,
        keep,
        "rollback",
        source.version,
        restart_key=live.restart_key,
    )


def plan_promotion(
    live: Live, source: Release, spec: ReleaseSpec, salt: str, contents_wanted: list[Content], keep: int
) -> Plan:
    """Return the plan that makes content of another app's or tenant's release the newest release."""
    plan = build(
        live,
        "present",
        spec,
        salt,
        contents_wanted,
        live.route,
        source.replicas,
        keep,
        "promote",
        source.version,
        restart_key=live.restart_key,
    )
    plan.from_tenant = source.tenant
    plan.from_app = source.app if source.app != live.name else None
    return plan


def plan_bindings(
    live: Live, newest: Release, bindings: Iterable[Binding], unbind: Iterable[tuple[str, str, str]], keep: int
) -> Plan:
    """Return the plan that changes the bindings of an app and nothing else."""
    spec, wanted = with_bindings(newest.spec, newest.spec.bindings, live.name, newest.salt, bindings, unbind)
    return build(
        live, "present", spec, newest.salt, wanted, live.route, newest.replicas, keep, restart_key=live.restart_key
    )


def plan_instances(live: Live, newest: Release, counts: dict[str, int], host_ports: tuple[int, int]) -> Plan:
    """Return the plan that gives processes in the hosts' network other numbers of instances."""
    return build(
        live,
        "present",
        newest.spec,
        newest.salt,
        [],
        live.route,
        newest.replicas,
        len(live.releases),
        restart_key=live.restart_key,
        host_ports=host_ports,
        instances=counts,
    )


def build(
    live: Live,
    state: str,
    spec: ReleaseSpec,
    salt: str,
    contents_wanted: list[Content],
    route: Route,
    replicas: dict[str, int],
    keep: int,
    action: str = "deploy",
    source: int | None = None,
    restart_key: str | None = None,
    host_ports: tuple[int, int] = HOST_PORTS,
    instances: dict[str, int] | None = None,
    again: bool = False,
    stack: str | None = None,
) -> Plan:
    """Return the plan for a release's content in a state.

    instances are the wanted numbers of instances in the hosts' network, by process, where they are to change; again
    makes a release although its content is that of the newest.
    """
    newest = live.newest
    digest = digest_of(spec, salt)
    new_release = newest is None or newest.digest != digest or again
    version = (newest.version if newest else 0) + (1 if new_release else 0)
    held = dict(live.ports.by_holder)
    around = Around(
        restart_key=None if spec.row.once else restart_key,
        resources={} if spec.row.once else live.resources,
        ports=_ports(live, spec, replicas, instances or {}, host_ports),
        stack=stack or live.stack,
    )
    objects = render.render(live.name, live.tenant, spec, digest, version, route, around)
    if not new_release and newest is not None and newest.status == "good":
        # A job runs once: one that somebody has cleaned away is not made again.
        objects = [entry for entry in objects if entry["kind"] != "Job" or ("Job", _name(entry)) in live.objects]
    plan = Plan(
        live=live,
        state=state,
        spec=spec,
        salt=salt,
        digest=digest,
        version=version,
        action=action,
        source=source,
        route=route,
        replicas=replicas,
        keep=keep,
        new_release=new_release,
        contents=[entry for entry in contents_wanted if entry.name not in live.contents],
        wanted=[entry for entry in objects if entry["kind"] in WORKLOADS],
        restart_key=restart_key,
    )
    for entry in objects:
        key = (entry["kind"], _name(entry))
        if key[0] == "Job" and key in live.objects:
            continue  # what a Job runs cannot be changed
        differences = drift(entry, live.objects.get(key))
        if differences:
            plan.applies.append(entry)
            plan.drift += differences
    plan.scalers, kept = _scalers(plan)
    names = {(entry["kind"], _name(entry)) for entry in objects} | kept
    plan.prunes = sorted(key for key in live.objects if key not in names)
    used = {
        holder(live.tenant, live.name, process, number, port)
        for process, numbers in around.ports.items()
        for number, ports in enumerate(numbers)
        for port in ports
    }
    plan.claims = {live.ports.by_holder[name]: name for name in sorted(used - set(held))}
    own = f"{live.tenant}/{live.name}/"
    plan.frees = sorted(number for name, number in held.items() if name.startswith(own) and name not in used)
    if not new_release:
        plan.drift += [f"Secret {entry.name}: missing" for entry in plan.contents]
        plan.drift += [f"{kind} {name}: found, wanted absent" for kind, name in plan.prunes]
    else:
        plan.drift = []
    plan.scales = list(_scales(plan))
    return plan


def _name(entry: Object) -> str:
    name: str = entry["metadata"]["name"]
    return name


def _ports(
    live: Live, spec: ReleaseSpec, replicas: dict[str, int], instances: dict[str, int], bounds: tuple[int, int]
) -> dict[str, list[dict[str, int]]]:
    """Return the ports of each instance in the hosts' network, by process: those it has, and new ones."""
    found: dict[str, list[dict[str, int]]] = {}
    for process in spec.on_hosts:
        name = process.name
        count = instances.get(name, len(live.instances(name)) or _present(live, name) or replicas.get(name, 1))
        found[name] = [
            {
                port.name: live.ports.port(holder(live.tenant, live.name, name, number, port.name), bounds)
                for port in process.ports
            }
            for number in range(count)
        ]
    return found


def _present(live: Live, process: str) -> int:
    """Return how many replicas a process has, also when it is stopped."""
    found = [entry for entry in live.of(process) if entry["kind"] in SCALED]
    if not found:
        return 0
    if instance_of(found[0]) is not None:
        return len(live.instances(process))
    stopped = remembered(found[0])
    return size(found[0]) if stopped is None else stopped


def _scales(plan: Plan) -> Iterable[Object]:
    live = plan.live
    # A job that failed was stopped by its own deployment: that is not what somebody wanted of the app.
    given_up = plan.spec.row.once and live.newest is not None and live.newest.status == "failed"
    resting = plan.state == "stopped" or (
        plan.state == "present"
        and not given_up
        and any(remembered(entry) is not None for entry in live.workloads.values())
    )
    for entry in plan.wanted:
        now = live.objects.get((entry["kind"], _name(entry)))
        before = remembered(now)
        if now is None:
            process = process_of(entry)
            alone = instance_of(entry) is not None or entry["kind"] not in SCALED
            # A workload that takes the place of another one of its process takes its size too.
            known = [other for other in live.of(process) if other["kind"] in SCALED]
            count = 1 if alone else _present(live, process) if known else plan.replicas.get(process, 1)
            amounts = live.resources.get(process, {}) if entry["kind"] != "Job" else {}
            yield render.scale(entry, 0 if resting else count, count if resting else None, amounts)
        elif plan.state == "stopped" and not ended(now) and (before is None or size(now) != 0):
            yield render.scale(now, 0, size(now) if before is None else before)
        elif plan.state == "started" and before is not None:
            yield render.scale(now, before)


def _scalers(plan: Plan) -> tuple[list[Object], set[Key]]:
    """Return the autoscalers that have to follow their process to another workload, and all that are kept."""
    moved: list[Object] = []
    kept: set[Key] = set()
    for key, entry in plan.live.objects.items():
        targets = [
            target
            for target in plan.wanted
            if target["kind"] in SCALED and instance_of(target) is None and process_of(target) == process_of(entry)
        ]
        if key[0] != "HorizontalPodAutoscaler" or not targets:
            continue
        kept.add(key)
        target = (targets[0]["kind"], _name(targets[0]))
        wanted = render.scaler(plan.name, plan.tenant, process_of(entry), target, render.bounds_of(entry))
        if drift({"kind": key[0], "metadata": entry["metadata"], "spec": wanted["spec"]}, entry):
            moved.append(wanted)
    return moved, kept


def effective(released: Resources, scaled: Resources) -> Resources:
    """Return the resources of a process: those of its release, with those that app_scale has set over them."""
    both: Resources = merged(released, scaled)
    return both


def exceeded(amounts: Resources, where: str, whose: str) -> list[Finding]:
    """Return where more is requested than the limit allows."""
    requests, limits = amounts.get("requests", {}), amounts.get("limits", {})
    return [
        Finding(f"{where}.requests.{name}", f"{requests[name]} for {whose}", f"no more than its limit {limits[name]}")
        for name in sorted(set(requests) & set(limits))
        if (quantity(requests[name]) or 0) > (quantity(limits[name]) or 0)
    ]


def beyond_limits(plan: Plan) -> list[Finding]:
    """Return where a release and what app_scale has set do not go together."""
    where = f"app {plan.tenant}/{plan.name}: resources"
    return [
        finding
        for process in plan.spec.processes
        if process.name in plan.live.resources
        for finding in exceeded(
            effective(process.resources, plan.live.resources[process.name]),
            where,
            f"process {process.name}, set by app_scale,",
        )
    ]


def missing_contents(plan: Plan) -> list[str]:
    """Return the Secrets the plan's content refers to that neither exist nor are made by it."""
    made = {entry.name for entry in plan.contents}
    return [name for name in plan.spec.secrets if name not in plan.live.contents and name not in made]


def garbage(live: Live, keep: int) -> tuple[list[Release], list[str]]:
    """Return the releases and content Secrets that are not kept."""
    old = expired(live.releases, keep)
    used = {name for release in live.releases if release not in old for name in release.spec.secrets}
    return old, sorted(live.contents - used)


def removal(live: Live) -> list[tuple[str, str]]:
    """Return everything of an app in the order to delete it: traffic first, history last."""
    order = ("Ingress", "Service", "HorizontalPodAutoscaler", *WORKLOADS, "PodDisruptionBudget")
    found = [key for kind in order for key in sorted(live.objects) if key[0] == kind]
    found += [("Secret", name) for name in sorted(live.contents)]
    return found + [("Secret", release.name) for release in reversed(live.releases)]


def difference(plan: Plan) -> dict[str, Any]:
    """Return before and after of a plan for --diff. Secrets appear as a mark that changes when they do."""
    live, newest = plan.live, plan.live.newest
    before = view(newest.spec, live.route, _counts(live), newest.version) if newest else {}
    after = view(plan.spec, plan.route, plan.counts(), plan.version)
    if live.restart_key != plan.restart_key:
        before["restart_key"], after["restart_key"] = live.restart_key, plan.restart_key
    suspended = {name: count == 0 for (kind, name), count in plan.sizes().items() if kind not in SCALED}
    if suspended:
        before["suspended"] = {
            name: not size(entry) for (kind, name), entry in live.workloads.items() if kind not in SCALED
        }
        after["suspended"] = suspended
    if plan.drift:
        before["drift"], after["drift"] = plan.drift, []
    return _diff(plan.live, before, after)


def _counts(live: Live) -> dict[str, int]:
    return {name: size(entry) for (kind, name), entry in sorted(live.workloads.items()) if kind in SCALED}


def removal_difference(live: Live, found: Iterable[Key]) -> dict[str, Any]:
    """Return before and after of removing an app, which has these objects."""
    before = view(live.newest.spec, live.route, _counts(live), live.newest.version) if live.newest else {}
    before["objects"] = [f"{kind} {name}" for kind, name in found]
    return _diff(live, before, {})


def _diff(live: Live, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    header = f"app {live.tenant}/{live.name}"
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def view(spec: ReleaseSpec, route: Route, counts: dict[str, int], version: int) -> dict[str, Any]:
    """Return what people are shown of a release's content."""
    return {
        "release": version,
        "image": spec.image,
        "type": spec.type,
        "strategy": spec.strategy,
        "env": dict(spec.env),
        "secret_env": {name: f"(secret {mark})" for name, mark in spec.secret_env.items()},
        "files": {
            entry.path: f"({'secret' if entry.secret else 'content'} {entry.content}, mode {entry.mode:04o})"
            for entry in spec.files
        },
        "processes": {
            process.name: {
                key: value for key, value in recorded(process).items() if key != "name" and value not in (None, [], {})
            }
            for process in spec.processes
        },
        "bindings": [binding.summary() for binding in spec.bindings],
        "drain": spec.drain,
        "grace": spec.grace,
        "domains": list(route.domains),
        "replicas": dict(sorted(counts.items())),
    }
