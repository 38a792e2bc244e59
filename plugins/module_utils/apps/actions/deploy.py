# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `app` does: look, decide, deploy, wait, and roll back when the new release does not run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases, render
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.bindings import clashes
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.host_ports import Ports
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import built
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import (
    KINDS,
    SWITCHED,
    Key,
    Live,
    Plan,
    beyond_limits,
    difference,
    digest_on,
    garbage,
    missing_contents,
    place,
    plan_app,
    plan_release,
    removal,
    removal_difference,
    size,
    with_history,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import (
    HEARTBEAT_SECONDS,
    MANAGER,
    Release,
    ReleaseError,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import DeployRequest, Rollout
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.rollout import (
    Verdict,
    judge,
    observed,
    refused,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import Claim, routes_of
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import App
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import objects
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import (
    ApiError,
    Kube,
    KubeError,
    Unknown,
    if_allowed,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import POD_SECURITY, WORKLOADS, Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import Watcher

from . import build_store, host_ports, release_store
from .context import Context, Outcome
from .dependents import left_behind, routed_to
from .evidence import evidence, ready, secrets_in
from .route_claims import of_routes, taken
from .tenant import make as make_tenant

SCALE_MANAGER = "cloudbang-scale"
PARALLEL = 32


class Stuck(PlatformError):
    """A step of a rollout does not get where it should."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(verdict.reason)


def run(context: Context, request: DeployRequest) -> Outcome:
    """Bring the apps of a task to their states."""
    kube = context.kube
    warnings: list[str] = []
    apps = of_builds(kube, request.apps, warnings)
    context.hide(value for app in apps for value in app.secrets)
    tenants: dict[str, list[App]] = {}
    for app in apps:
        tenants.setdefault(app.tenant, []).append(app)
    lives: dict[str, Live] = {}
    for tenant, members in tenants.items():
        found = load(kube, tenant, [app.name for app in members])
        lives.update({f"{tenant}/{name}": live for name, live in found.items()})
    if any(process.host_network for app in apps for process in app.processes):
        share_ports(kube, lives.values())
    findings, absent = namespaces(kube, lives.values())
    plans: dict[str, Plan] = {}
    for app in apps:
        live = lives[app.key]
        if app.state == "absent":
            continue
        if app.image is None and live.newest is None:
            findings.append(
                Finding(f"app {app.key}: image", "no release of it", "an image, or an app that was deployed")
            )
            continue
        plans[app.key] = plan_app(app, live)
    findings += conflicts(kube, plans.values(), absent, warnings)
    going = {(app.name, app.tenant) for app in apps if app.state == "absent"}
    removed = {(app.name, app.tenant) for app in apps if app.state == "absent" and not app.force}
    removed = {node for node in removed if lives[f"{node[1]}/{node[0]}"].exists}
    findings += left_behind(kube, removed, going, warnings)
    ending = sorted({app.tenant for app in apps if app.state == "absent" and lives[app.key].exists})
    routes = {tenant: of_routes(kube, tenant) for tenant in ending}
    findings += routed_to({node: lives[f"{node[1]}/{node[0]}"] for node in removed}, going, routes)
    if findings:
        raise Invalid(findings)
    if not context.check_mode:
        for tenant in sorted(absent):
            if any(app.state != "absent" for app in tenants[tenant]):
                make_tenant(kube, tenant)

    def act(app: App) -> Outcome:
        plan = plans.get(app.key)
        if plan is None:
            own = routes_of(routes.get(app.tenant, []), app.name)
            return _remove(context, lives[app.key], own, request.rollout)
        return deploy(context, plan, request.rollout)

    return _collect(apps, act, warnings)


def of_builds(kube: Kube, apps: Sequence[App], warnings: list[str]) -> list[App]:
    """Return apps, those of a build with its image and with what its plan adds to them."""
    found = []
    for app in apps:
        if app.build is not None and app.state != "absent":
            build = build_store.get(kube, app.tenant, app.name, app.build.number)
            if any(process.name == "release" for process in build.plan.processes):
                warnings.append(
                    f"app {app.key}: the process release of build {build.number} is not run yet: run it first"
                )
            app = built(app, build.image, build.plan)
        found.append(app)
    return found


def load(kube: Kube, tenant: str, names: Iterable[str]) -> dict[str, Live]:
    """Read all there is of a tenant's apps, in one request per kind, and who holds which port in the hosts' network."""
    names = list(names)
    chosen = releases.selector(names)
    released, now = kube.list_version("Secret", tenant, releases.selector(names, "release"))
    lives = with_history(names, tenant, released, kube.warn)
    for kind in possible_kinds(lives.values()):
        place(lives, kind, kube.find(kind, tenant, chosen, after=now))
    place(lives, "content", kube.find("Secret", tenant, releases.selector(names, "content"), metadata=True, after=now))
    if any(release.spec.on_hosts for live in lives.values() for release in live.releases):
        share_ports(kube, lives.values())
    return lives


def possible_kinds(lives: Iterable[Live]) -> list[str]:
    """Return the kinds that apps can have objects of.

    A release is recorded before its objects are made, and forgotten after what no later one has is deleted.
    """
    workloads: set[str] = set()
    for live in lives:
        ran = [release.spec.row.workload for release in live.releases]
        workloads.update(ran or WORKLOADS)
    return [kind for kind in KINDS if kind not in WORKLOADS or kind in workloads]


def share_ports(kube: Kube, lives: Iterable[Live]) -> None:
    """Give apps one view of who holds which port, so that two plans do not choose the same one."""
    held = Ports(host_ports.load(kube))
    for live in lives:
        live.ports = held


def deploy_one(context: Context, plan: Plan, rollout: Rollout) -> Outcome:
    """Carry out a plan, and return the outcome of a task for this one app: `app` has what the module adds to."""
    done = deploy(context, plan, rollout)
    done.values = {"app": {"name": plan.name, "tenant": plan.tenant, "changed": done.changed, **done.values}}
    return done


def _collect(apps: Sequence[App], act: Callable[[App], Outcome], warnings: list[str]) -> Outcome:
    """Act on each app, in parallel, and put the outcomes together; one failure does not stop the others."""

    def attempt(app: App) -> Outcome:
        try:
            done = act(app)
        except Unknown as error:
            done = Outcome().fail(f"app {app.key}: {error}", unknown=True)
        except (KubeError, ReleaseError) as error:
            message = str(error)
            done = Outcome().fail(message if app.name in message else f"app {app.key}: {message}")
        done.values = {"name": app.name, "tenant": app.tenant, **done.values}
        return done

    if len(apps) == 1:
        outcomes = [attempt(apps[0])]
    else:
        with ThreadPoolExecutor(max_workers=min(PARALLEL, len(apps))) as pool:
            outcomes = list(pool.map(attempt, apps))
    together = Outcome(
        changed=any(outcome.changed for outcome in outcomes),
        diff=[entry for outcome in outcomes for entry in outcome.diff or ()],
        warnings=warnings,
        parts={"apps": outcomes},
    )
    failed = [outcome for outcome in outcomes if outcome.failed]
    if failed:
        unknown = any(outcome.unknown for outcome in failed)
        together.fail("; ".join(outcome.message for outcome in failed), unknown or None)
    return together


def _admitted(kube: Kube, plan: Plan, absent: set[str]) -> list[Finding]:
    """Return what keeps the processes in the hosts' network out of the namespace."""
    processes = [process.name for process in plan.spec.on_hosts]
    if not processes:
        return []
    level = "baseline"
    if plan.tenant not in absent:
        found = if_allowed(lambda: kube.get("Namespace", None, plan.tenant))
        level = ((found or {}).get("metadata", {}).get("labels") or {}).get(POD_SECURITY, "")
    if level not in ("baseline", "restricted"):
        return []
    where = f"app {plan.tenant}/{plan.name}: processes.{processes[0]}.host_network"
    wanted = "a tenant with pod_security: privileged, because others do not allow the hosts' network"
    made = "the namespace, which will be created, enforces" if plan.tenant in absent else "its namespace enforces"
    return [Finding(where, f"that {made} the Pod Security standard {level}", wanted)]


def namespaces(kube: Kube, lives: Iterable[Live]) -> tuple[list[Finding], set[str]]:
    """Return what is wrong with the namespaces of apps, and the tenants that have none yet."""
    findings: list[Finding] = []
    absent: set[str] = set()
    for tenant in sorted({live.tenant for live in lives if not live.workloads}):
        try:
            found = kube.get("Namespace", None, tenant)
        except ApiError as error:
            if error.status != 403:
                raise
            continue  # a member of the tenant may work in the namespace without seeing it
        if found is None:
            absent.add(tenant)
        elif found["metadata"].get("deletionTimestamp"):
            wanted = "a namespace that is not being deleted; wait until it is gone"
            findings.append(Finding(f"tenant {tenant}", "a namespace in state Terminating", wanted))
    return findings, absent


def conflicts(kube: Kube, plans: Iterable[Plan], absent: set[str], warnings: list[str]) -> list[Finding]:
    """Return what stands in the way of plans: names taken by others, domains of others, content that is gone."""
    findings: list[Finding] = []
    claims: list[tuple[str, Claim]] = []
    names: dict[tuple[str, str, str], str] = {}
    for plan in plans:
        where = f"app {plan.tenant}/{plan.name}"
        findings += _admitted(kube, plan, absent)
        findings += beyond_limits(plan)
        for name in missing_contents(plan):
            findings.append(Finding(where, f"no Secret {name}, which v{plan.source} refers to", "it to exist"))
        findings += clashes(where, plan.spec)
        for entry in plan.applies:
            key = (entry["kind"], entry["metadata"]["name"])
            if key in plan.live.objects:
                continue
            other_app = names.setdefault((plan.tenant, *key), plan.name)
            if other_app != plan.name:
                found = f"a {key[0]} {key[1]} that app {other_app} of this task also creates"
                findings.append(Finding(where, found, "different names"))
            if plan.tenant in absent:
                continue
            other = kube.get(key[0], plan.tenant, key[1])
            if other is not None:
                owner = (other["metadata"].get("labels") or {}).get(APP)
                of = f"of app {owner}" if owner else "that no app created"
                findings.append(Finding(where, f"a {key[0]} {key[1]} {of} in its namespace", "the name to be free"))
        owner = ("Ingress", plan.name)
        for domain in sorted(set(plan.route.domains) - set(plan.live.route.domains)):
            claims.append((f"{where}: domains", Claim(plan.tenant, owner, plan.name, domain)))
    return findings + taken(kube, claims, warnings)


def _remove(context: Context, live: Live, routes: list[Key], rollout: Rollout) -> Outcome:
    """Delete an app with its history and its routes."""
    kube = context.kube
    found = [*routes, *removal(live)]
    if not found:
        return Outcome(values={"action": "none"})
    releases.refuse_concurrent(live.newest, kube.now())
    outcome = Outcome(True, {"action": "removed"}, [removal_difference(live, found)])
    if context.check_mode:
        return outcome
    for kind, name in found:
        kube.delete(kind, live.tenant, name)
    for holder, number in live.ports.by_holder.items():
        if holder.startswith(f"{live.tenant}/{live.name}/"):
            host_ports.free(kube, number)
    if rollout.wait:
        kinds = {"Pod", *(kind for kind, _name in live.workloads)}
        with contextlib.closing(Watcher(kube, live.tenant, releases.selector([live.name]), kinds)) as watcher:

            def gone() -> bool:
                return not any(watcher.of(kind) for kind in watcher.kinds)

            if not watcher.wait(gone, rollout.timeout):
                left = [pod["metadata"]["name"] for pod in watcher.of("Pod")]
                where = f"app {live.tenant}/{live.name}"
                said = f"removed, but after {rollout.timeout} s pods are still terminating: {', '.join(left)}"
                return Outcome(True).fail(f"{where}: {said}")
    return outcome


def deploy(context: Context, plan: Plan, rollout: Rollout) -> Outcome:
    """Carry out a plan, wait for the rollout, and roll back when it fails."""
    kube, newest = context.kube, plan.live.newest
    diff = difference(plan)
    values = {
        "action": _action(plan),
        "release": plan.version,
        "previous_release": newest.version if newest else None,
        "digest": plan.digest,
        "image": plan.spec.image,
        "drift": plan.drift,
        "replicas": plan.counts(),
    }
    outcome = Outcome(plan.changed, values, [diff] if diff["before"] != diff["after"] else [])
    if context.check_mode or not (plan.changed or plan.unsettled):
        return outcome
    if plan.changed and plan.new_release:
        _settle(kube, plan, newest)
    release = _claim(kube, plan)
    try:
        verdict = _roll_out(kube, plan, release, rollout.timeout, rollout.wait)
    except ApiError as error:
        causes = f" ({'; '.join(error.causes)})" if error.causes else ""
        return _failed(context, plan, release, Verdict(False, True, f"{error}{causes}"), rollout, outcome)
    if not rollout.wait:
        _prune(kube, plan)
        _let_go(kube, plan, release)
        return outcome
    if not verdict.done:
        return _failed(context, plan, release, verdict, rollout, outcome)
    if plan.stopped:
        _let_go(kube, plan, release)
    elif release.status != "good":
        release_store.mark(kube, release, "good")
        outcome.changed = True
    if plan.blue_green and not plan.stopped and any(kind in WORKLOADS for kind, _name in plan.prunes):
        time.sleep(plan.spec.drain)
    _prune(kube, plan)
    _tidy(kube, plan)
    return outcome


def _action(plan: Plan) -> str:
    if plan.new_release:
        return {"rollback": "rolled_back", "promote": "promoted"}.get(plan.action, "deployed")
    if plan.live.restart_key != plan.restart_key:
        return "restarted"
    if plan.applies or plan.contents or plan.prunes or plan.scalers or plan.claims or plan.frees:
        return "repaired"
    if plan.scales:
        return plan.state if plan.state in ("started", "stopped") else "repaired"
    return "none"


def _settle(kube: Kube, plan: Plan, newest: Release | None) -> None:
    """Give the newest release a final status before another one follows it."""
    releases.refuse_concurrent(newest, kube.now())
    if newest is None or newest.status != "pending":
        return
    workloads = list(plan.live.workloads.values())
    its_own = all(digest_on(entry) == newest.digest for entry in workloads)
    if workloads and its_own and any(map(size, workloads)) and judge(workloads, [], None, 0).done:
        release_store.mark(kube, newest, "good")
    else:
        release_store.mark(kube, newest, "superseded", "replaced before it was known to run")


def _claim(kube: Kube, plan: Plan) -> Release:
    """Return the release a plan is for, made now when it is new: that is the lock, so it comes before any change."""
    if plan.new_release:
        return release_store.create(
            kube,
            plan.name,
            plan.tenant,
            plan.version,
            plan.digest,
            plan.salt,
            plan.spec,
            plan.replicas,
            plan.action,
            plan.source,
            plan.from_tenant,
            plan.from_app,
        )
    if plan.live.newest is None:
        raise AssertionError("a plan without a new release continues the newest one, and there is none")
    # Releases are read before objects: what looks like drift may be what a newer release has made since.
    release_store.refuse_newer(kube, plan.live.newest)
    return plan.live.newest


def _let_go(kube: Kube, plan: Plan, release: Release) -> None:
    """End the lock on a release that was not seen running."""
    if plan.new_release:
        release_store.mark(kube, release, "pending")


def _roll_out(kube: Kube, plan: Plan, release: Release, timeout: float, wait: bool) -> Verdict:
    """Make the changes of a plan, in an order that harms nobody, and wait where the next step or the caller wants it.

    Not waiting makes all changes at once, and the verdict says nothing.
    """
    end = time.monotonic() + timeout

    def arrive(keys: list[Key]) -> Verdict:
        verdict = _wait(kube, plan, release, max(end - time.monotonic(), 1.0), timeout, keys)
        if not verdict.done:
            raise Stuck(verdict)
        return verdict

    try:
        for number, holder in plan.claims.items():
            host_ports.claim(kube, number, holder)
        for given in plan.contents:
            kube.apply(render.content(plan.name, plan.tenant, given), MANAGER)
        for kind, name in plan.prunes:
            if kind == "Job":
                # Two releases of a job do not run at the same time.
                kube.delete(kind, plan.tenant, name)
        scales = {(entry["kind"], entry["metadata"]["name"]): entry for entry in plan.scales}
        later = [entry for entry in plan.applies if plan.blue_green and entry["kind"] in SWITCHED]
        for entry in plan.applies:
            if entry in later:
                continue
            key = (entry["kind"], entry["metadata"]["name"])
            _apply(kube, plan, entry, scales.pop(key, None))
            if wait and key in plan.one_by_one and key in plan.live.objects:
                arrive([key])
        for entry in scales.values():
            kube.apply(entry, SCALE_MANAGER)
        if any(kind == "StatefulSet" for kind, _name in plan.keys):
            unstick(kube, plan.tenant, plan.name)
        if plan.stopped:
            # Nothing of it is to run: what it replaces goes now, and not when its successor is ready.
            _prune(kube, plan)
        if later:
            arrive(plan.keys)
        for entry in later:
            _apply(kube, plan, entry, None)
        for entry in plan.scalers:
            kube.apply(entry, SCALE_MANAGER)
        return arrive(plan.keys) if wait else Verdict(False, False)
    except Stuck as stuck:
        return stuck.verdict


def _apply(kube: Kube, plan: Plan, entry: Object, scale: Object | None) -> None:
    """Apply an object for the deployer, and what the scale manager owns of it."""
    key = (entry["kind"], entry["metadata"]["name"])
    found = plan.live.objects.get(key)
    if found is None and scale is not None:
        # It starts in its size: scaling it a moment later would start other pods first.
        kube.apply({**entry, "spec": objects.merged(entry["spec"], scale["spec"])}, MANAGER)
    else:
        if found is not None and key[0] == "Service" and _headless(found) != _headless(entry):
            kube.delete(key[0], plan.tenant, key[1])
        kube.apply(entry, MANAGER)
    if scale is not None:
        kube.apply(scale, SCALE_MANAGER)


def _headless(service: Object) -> bool:
    return bool((service.get("spec") or {}).get("clusterIP") == "None")


def unstick(kube: Kube, tenant: str, app: str) -> None:
    """Delete pods of older revisions that are not ready: a StatefulSet would wait for them and never replace them."""
    with contextlib.closing(Watcher(kube, tenant, releases.selector([app]), ["StatefulSet", "Pod"])) as watcher:
        # A pod that goes before the controller knows the new template comes back from the old one.
        watcher.wait(lambda: all(map(observed, watcher.of("StatefulSet"))), HEARTBEAT_SECONDS)
        newest = {(entry.get("status") or {}).get("updateRevision") for entry in watcher.of("StatefulSet")}
        for pod in watcher.of("Pod"):
            revision = (pod["metadata"].get("labels") or {}).get("controller-revision-hash")
            if revision and revision not in newest and not ready(pod) and not pod["metadata"].get("deletionTimestamp"):
                kube.delete("Pod", tenant, pod["metadata"]["name"])


def _wait(kube: Kube, plan: Plan, release: Release, seconds: float, timeout: float, keys: list[Key]) -> Verdict:
    """Wait until workloads of a plan run what they should, or cannot."""
    started, began = time.monotonic(), kube.now()
    verdict = Verdict(False, False)
    blocked: dict[str, str] = {}
    kinds = {kind for kind, _name in keys}
    with contextlib.closing(Watcher(kube, plan.tenant, releases.selector([plan.name]), {"Pod", *kinds})) as watcher:

        def settled() -> bool:
            nonlocal verdict
            found = {(kind, _name_of(entry)): entry for kind in kinds for entry in watcher.of(kind)}
            gone = [key for key in keys if key not in found]
            if gone:
                verdict = Verdict(False, False, f"{' '.join(gone[0])} is missing; was it deleted during the rollout?")
                return False
            pods = watcher.of("Pod")
            waited = time.monotonic() - started
            verdict = judge([found[key] for key in keys], pods, plan.digest, waited)
            if verdict.done and plan.stopped and pods and plan.spec.row.lasting:
                verdict = Verdict(False, False, f"{len(pods)} pods are still terminating")
            elif not verdict.done and blocked:
                reason = next(iter(blocked.values()))
                verdict = verdict._replace(reason=reason, failed=verdict.failed or refused(reason, waited))
            return verdict.done or verdict.failed

        def pulse() -> None:
            with contextlib.suppress(KubeError):
                if release.status == "pending":
                    release_store.beat(kube, release)
                if kinds & {"StatefulSet", "Job"}:
                    # Only a Deployment says in its status that its pods are refused.
                    blocked.update(_refusals(kube, plan, began))

        if not watcher.wait(settled, seconds, pulse, HEARTBEAT_SECONDS):
            verdict = verdict._replace(reason=f"not ready after {timeout:.0f} s: {verdict.reason}")
    return verdict


def _name_of(entry: Object) -> str:
    name: str = entry["metadata"]["name"]
    return name


def _refusals(kube: Kube, plan: Plan, since: float) -> dict[str, str]:
    """Return why the API refuses pods of a plan's workloads, by workload."""
    names = {name for _kind, name in plan.keys}
    return {
        event["involvedObject"]["name"]: f"{event['involvedObject']['name']}: FailedCreate: {event.get('message')}"
        for event in kube.find("Event", plan.tenant, fieldSelector="reason=FailedCreate")
        if event["involvedObject"].get("name") in names
        and (event.get("lastTimestamp") or "") >= releases.timestamp(since - HEARTBEAT_SECONDS)
    }


def _prune(kube: Kube, plan: Plan) -> None:
    for kind, name in plan.prunes:
        kube.delete(kind, plan.tenant, name)
    for number in plan.frees:
        host_ports.free(kube, number)


def _tidy(kube: Kube, plan: Plan) -> None:
    """Remove releases beyond those kept and the contents only they referred to; never a reason to fail."""
    if not plan.new_release:
        return
    with contextlib.suppress(KubeError):
        live = load(kube, plan.tenant, [plan.name])[plan.name]
        old, unused = garbage(live, plan.keep)
        for release in old:
            kube.delete("Secret", plan.tenant, release.name)
        for name in unused:
            kube.delete("Secret", plan.tenant, name)


def _failed(
    context: Context, plan: Plan, release: Release, verdict: Verdict, rollout: Rollout, outcome: Outcome
) -> Outcome:
    """Record a failed rollout, roll back when that is wanted and possible, and return the outcome with the reason."""
    kube = context.kube
    where = f"app {plan.tenant}/{plan.name}"
    events, log = evidence(kube, plan, verdict)
    context.hide(secrets_in(kube, plan))
    outcome.changed = True
    outcome.values.update(reason=verdict.reason, events=events, log=log)
    message = f"{where}: release v{release.version} failed: {verdict.reason}"
    if release.status == "good":
        message = f"{where}: release v{release.version} does not run: {verdict.reason}"
    elif plan.spec.row.once:
        message += ". " + _end_job(kube, plan, release, verdict, rollout)
    else:
        with contextlib.suppress(KubeError):
            release_store.mark(kube, release, "failed", verdict.reason)
        if rollout.on_failure == "rollback" and not plan.stopped:
            message += ". " + _roll_back(kube, plan, release, rollout, outcome)
    if events:
        message += ". Events: " + " | ".join(events[-3:])
    if log:
        message += ". Last log lines: " + " | ".join(log.splitlines()[-5:])
    return outcome.fail(message)


def _end_job(kube: Kube, plan: Plan, release: Release, verdict: Verdict, rollout: Rollout) -> str:
    """Record a job that failed or takes too long; say what was done. What it has done cannot be taken back."""
    keep = rollout.on_failure == "keep"
    with contextlib.suppress(KubeError):
        if keep and not verdict.failed:
            _let_go(kube, plan, release)
            return "It is left running, and the next run waits for it"
        release_store.mark(kube, release, "failed", verdict.reason)
        if not keep:
            for entry in plan.wanted:
                kube.apply(render.scale(entry, 0), SCALE_MANAGER)
            return "It is stopped, and the next run starts it again, as a new release"
    return "The next run starts it again, as a new release"


def _roll_back(kube: Kube, plan: Plan, release: Release, rollout: Rollout, outcome: Outcome) -> str:
    """Return to the last release that ran, or remove what a first release made; say what was done."""
    try:
        live = load(kube, plan.tenant, [plan.name])[plan.name]
        if live.newest is None or live.newest.version != release.version:
            return "No rollback, because another release was created in the meantime"
        good = releases.last_good(live.releases, release.version)
        if good is None:
            for kind, name in removal(live):
                if kind != "Secret":
                    kube.delete(kind, plan.tenant, name)
            for number in plan.claims:
                host_ports.free(kube, number)
            outcome.values["release"] = None
            return "No earlier release ran: the objects of this one are deleted, and it stays in the history"
        rollback = plan_release(live, good, plan.keep)
        gone = missing_contents(rollback)
        if gone:
            return f"No rollback to v{good.version}, because its Secret {gone[0]} does not exist any more"
        made = _claim(kube, rollback)
        outcome.values.update(release=made.version, rolled_back_to=good.version)
        verdict = _roll_out(kube, rollback, made, rollout.timeout, True)
        if not verdict.done:
            release_store.mark(kube, made, "failed", verdict.reason)
            return f"The rollback to v{good.version} (as v{made.version}) failed, too: {verdict.reason}"
        release_store.mark(kube, made, "good")
        _prune(kube, rollback)
        return f"Rolled back to v{good.version}, as release v{made.version}"
    except (KubeError, ReleaseError) as error:
        outcome.unknown = isinstance(error, Unknown)
        return f"The rollback failed: {error}"
