# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compare what an app is with what it is to be, and say which changes lead there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import render
from .ledger import Release, contents, digest_of, expired, new_salt, releases
from .render import APP, DIGEST, PROCESS, STOPPED, Object, Route
from .spec import App, Content, release_spec

# The kinds an app consists of besides its Secrets, in the order in which they are made.
KINDS = ("Deployment", "PodDisruptionBudget", "Service", "Ingress")


@dataclass
class Live:
    """What the API shows of one app."""

    name: str
    tenant: str
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)

    @property
    def newest(self) -> Release | None:
        return self.releases[-1] if self.releases else None

    @property
    def deployments(self) -> dict[str, Object]:
        return {name: entry for (kind, name), entry in self.objects.items() if kind == "Deployment"}

    @property
    def exists(self) -> bool:
        return bool(self.objects or self.releases or self.contents)

    @property
    def route(self) -> Route:
        ingress = self.objects.get(("Ingress", self.name))
        if ingress is None:
            return Route()
        spec = ingress.get("spec") or {}
        return Route(tuple(rule["host"] for rule in spec.get("rules") or []), spec.get("ingressClassName"))


def live_apps(wanted: Iterable[str], tenant: str, objects: dict[str, list[Object]]) -> dict[str, Live]:
    """Sort the objects of a namespace by app. objects: kind to list, Secrets as "release" and "content"."""
    found = {name: Live(name, tenant) for name in wanted}
    for kind, entries in objects.items():
        for entry in entries:
            app = found.get((entry["metadata"].get("labels") or {}).get(APP, ""))
            if app is None or kind == "release":
                continue
            if kind == "content":
                app.contents.add(entry["metadata"]["name"])
            else:
                app.objects[kind, entry["metadata"]["name"]] = {**entry, "kind": kind}
    for name, app in found.items():
        app.releases = releases(objects.get("release", []), name)
    return found


@dataclass
class Plan:
    """The way from what an app is to what it is to be."""

    live: Live
    state: str
    spec: dict[str, Any]
    salt: str
    digest: str
    version: int
    action: str
    source: int | None
    route: Route
    replicas: dict[str, int]
    keep: int
    new_release: bool
    contents: list[Content] = field(repr=False, default_factory=list)
    applies: list[Object] = field(default_factory=list)
    scales: list[Object] = field(default_factory=list)
    prunes: list[tuple[str, str]] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
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
        return newest is not None and newest.status not in ("good",) and not self.stopped

    @property
    def stopped(self) -> bool:
        """Whether no process is to run after this."""
        return bool(self.wanted) and all(count == 0 for count in self.counts().values())

    @property
    def changed(self) -> bool:
        return bool(self.new_release or self.contents or self.applies or self.scales or self.prunes)

    def counts(self) -> dict[str, int]:
        """Return the replicas of each Deployment after this."""
        counts = {name: replicas_of(self.live.deployments.get(name)) for name in self.wanted}
        counts.update({entry["metadata"]["name"]: entry["spec"]["replicas"] for entry in self.scales})
        return counts


def replicas_of(deployment: Object | None) -> int:
    """Return the replicas a Deployment asks for."""
    count: int = ((deployment or {}).get("spec") or {}).get("replicas", 1)
    return count


def digest_on(deployment: Object) -> str:
    """Return the digest of the release a Deployment's pods are made from."""
    template = (deployment.get("spec") or {}).get("template") or {}
    digest: str = ((template.get("metadata") or {}).get("labels") or {}).get(DIGEST, "")
    return digest


def remembered(deployment: Object | None) -> int | None:
    """Return the replicas a stopped Deployment comes back to, None when it is not stopped."""
    notes = ((deployment or {}).get("metadata") or {}).get("annotations") or {}
    try:
        return int(notes[STOPPED])
    except (KeyError, ValueError):
        return None


def plan_app(app: App, live: Live) -> Plan:
    """Return the plan for an app of a task (any state but absent).

    Without an image it keeps the newest release's content; there must be one.
    """
    newest = live.newest
    salt = newest.salt if newest else new_salt()
    if app.image is None:
        if newest is None:
            raise AssertionError("an app without an image and without a release was to be refused before")
        return build(live, app.state, newest.spec, salt, [], live.route, newest.replicas, app.keep_releases)
    spec, wanted = release_spec(app, salt)
    route = Route(app.domains, app.ingress_class)
    plan = build(live, app.state, spec, salt, wanted, route, app.replicas, app.keep_releases)
    plan.secrets = app.secrets
    return plan


def plan_release(live: Live, source: Release, keep: int, replicas: dict[str, int] | None = None) -> Plan:
    """Return the plan that brings an earlier release's content back as a new release."""
    kept = {**source.replicas, **(replicas or {})}
    return build(live, "present", source.spec, source.salt, [], live.route, kept, keep, "rollback", source.version)


def build(
    live: Live,
    state: str,
    spec: dict[str, Any],
    salt: str,
    contents_wanted: list[Content],
    route: Route,
    replicas: dict[str, int],
    keep: int,
    action: str = "deploy",
    source: int | None = None,
) -> Plan:
    """Return the plan for a release's content in a state."""
    newest = live.newest
    digest = digest_of(spec, salt)
    new_release = newest is None or newest.digest != digest
    version = (newest.version if newest else 0) + (1 if new_release else 0)
    objects = render.render(live.name, live.tenant, spec, digest, version, route)
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
        wanted=[entry["metadata"]["name"] for entry in objects if entry["kind"] == "Deployment"],
    )
    for entry in objects:
        key = (entry["kind"], entry["metadata"]["name"])
        differences = render.drift(entry, live.objects.get(key))
        if differences:
            plan.applies.append(entry)
            plan.drift += differences
    names = {(entry["kind"], entry["metadata"]["name"]) for entry in objects}
    plan.prunes = sorted(key for key in live.objects if key not in names)
    if not new_release:
        plan.drift += [f"Secret {entry.name}: missing" for entry in plan.contents]
        plan.drift += [f"{kind} {name}: found, wanted absent" for kind, name in plan.prunes]
    else:
        plan.drift = []
    plan.scales = list(_scales(plan, objects))
    return plan


def _scales(plan: Plan, objects: list[Object]) -> Iterable[Object]:
    live = plan.live.deployments
    resting = plan.state == "stopped" or (
        plan.state == "present" and any(remembered(entry) is not None for entry in live.values())
    )
    for entry in objects:
        if entry["kind"] != "Deployment":
            continue
        name = entry["metadata"]["name"]
        now = live.get(name)
        before = remembered(now)
        if now is None:
            count = plan.replicas.get(entry["metadata"]["labels"][PROCESS], 1)
            yield render.scale(name, plan.tenant, 0 if resting else count, count if resting else None)
        elif plan.state == "stopped" and (before is None or replicas_of(now) != 0):
            count = replicas_of(now) if before is None else before
            yield render.scale(name, plan.tenant, 0, count)
        elif plan.state == "started" and before is not None:
            yield render.scale(name, plan.tenant, before)


def missing_contents(plan: Plan) -> list[str]:
    """Return the Secrets the plan's content refers to that neither exist nor are made by it."""
    refers = [name for name in (plan.spec.get("env_secret"), plan.spec.get("files_secret")) if name]
    made = {entry.name for entry in plan.contents}
    return [name for name in refers if name not in plan.live.contents and name not in made]


def garbage(live: Live, keep: int) -> tuple[list[Release], list[str]]:
    """Return the releases and content Secrets that are not kept."""
    old = expired(live.releases, keep)
    used = {name for release in live.releases if release not in old for name in contents(release)}
    return old, sorted(live.contents - used)


def removal(live: Live) -> list[tuple[str, str]]:
    """Return everything of an app in the order to delete it: traffic first, history last."""
    order = ("Ingress", "Service", "Deployment", "PodDisruptionBudget")
    found = [key for kind in order for key in sorted(live.objects) if key[0] == kind]
    found += [("Secret", name) for name in sorted(live.contents)]
    return found + [("Secret", release.name) for release in reversed(live.releases)]


def difference(plan: Plan) -> dict[str, Any]:
    """Return before and after of a plan for --diff. Secrets appear as a mark that changes when they do."""
    live, newest = plan.live, plan.live.newest
    counts = {name: replicas_of(entry) for name, entry in sorted(live.deployments.items())}
    before = view(newest.spec, live.route, counts, newest.version) if newest else {}
    after = view(plan.spec, plan.route, plan.counts(), plan.version)
    if plan.drift:
        before["drift"], after["drift"] = plan.drift, []
    return _diff(plan.live, before, after)


def removal_difference(live: Live) -> dict[str, Any]:
    """Return before and after of removing an app."""
    counts = {name: replicas_of(entry) for name, entry in sorted(live.deployments.items())}
    before = view(live.newest.spec, live.route, counts, live.newest.version) if live.newest else {}
    before["objects"] = [f"{kind} {name}" for kind, name in removal(live)]
    return _diff(live, before, {})


def _diff(live: Live, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    header = f"app {live.tenant}/{live.name}"
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def view(spec: dict[str, Any], route: Route, counts: dict[str, int], version: int) -> dict[str, Any]:
    """Return what people are shown of a release's content."""
    return {
        "release": version,
        "image": spec["image"],
        "type": spec["type"],
        "env": spec["env"],
        "secret_env": {name: f"(secret {mark})" for name, mark in spec["secret_env"].items()},
        "files": {
            entry[
                "path"
            ]: f"({'secret' if entry['secret'] else 'content'} {entry['content']}, mode {entry['mode']:04o})"
            for entry in spec["files"]
        },
        "processes": {
            process["name"]: {
                key: value for key, value in process.items() if key != "name" and value not in (None, [], {})
            }
            for process in spec["processes"]
        },
        "drain": spec["drain"],
        "grace": spec["grace"],
        "domains": list(route.domains),
        "replicas": dict(sorted(counts.items())),
    }
