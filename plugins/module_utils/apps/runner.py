# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each app module does: look, decide, act, report. Shared by the action plugins and the modules."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import ledger, render, spec
from .client import ApiError, Kube, KubeError, Unknown, connect
from .ledger import HEARTBEAT_SECONDS, MANAGER, LedgerError, Release
from .plan import (
    KINDS,
    Live,
    Plan,
    difference,
    digest_on,
    garbage,
    live_apps,
    missing_contents,
    plan_app,
    plan_release,
    remembered,
    removal,
    removal_difference,
    replicas_of,
)
from .render import APP, PROCESS, Object
from .rollout import Verdict, Watcher, judge
from .spec import App, Invalid, Problem

SCALE_MANAGER = "cloudbang-scale"
LOG_LINES = 20
EVENTS = 10
PARALLEL = 32
MASK = "********"

Result = dict[str, Any]


class Failed(Exception):
    """An app could not be brought to its state; `details` go into its result."""

    def __init__(self, message: str, **details: Any) -> None:
        self.details = details
        super().__init__(message)


def run(module: str, given: dict[str, Any], check_mode: bool = False) -> Result:
    """Run a module with the options as given and return its result; `failed` and `msg` say what went wrong."""
    hidden: list[str] = [str(given["api_key"])] if given.get("api_key") else []
    try:
        options = spec.parse(module, given)
        hidden += [value for app in options.get("wanted", []) for value in app.secrets]
        result = _MODULES[module](connect(options), options, check_mode)
    except Invalid as error:
        return {
            "failed": True,
            "changed": False,
            "msg": f"{module}: {len(error.problems)} problem(s) with the options: {error}",
            "problems": [problem._asdict() for problem in error.problems],
        }
    except (KubeError, LedgerError) as error:
        result = {"failed": True, "changed": False, "msg": f"{module}: {error}"}
        if isinstance(error, Unknown):
            result["unknown"] = True
    masked: Result = mask(result, hidden)
    return masked


def mask(value: Any, hidden: list[str]) -> Any:
    """Return the value with every secret in its texts replaced."""
    texts = sorted({line for text in hidden for line in (text, *text.splitlines()) if len(line) > 3}, key=len)
    if not texts:
        return value
    pattern = re.compile("|".join(re.escape(text) for text in reversed(texts)))

    def masked(entry: Any) -> Any:
        if isinstance(entry, str):
            return pattern.sub(MASK, entry)
        if isinstance(entry, dict):
            return {key: masked(inner) for key, inner in entry.items()}
        if isinstance(entry, list):
            return [masked(inner) for inner in entry]
        return entry

    return masked(value)


def load(kube: Kube, tenant: str, names: Iterable[str]) -> dict[str, Live]:
    """Read all there is of a tenant's apps, in one request per kind."""
    names = list(names)
    chosen = ledger.selector(names)
    objects = {kind: kube.find(kind, tenant, chosen) for kind in KINDS}
    objects["release"] = kube.find("Secret", tenant, ledger.selector(names, "release"))
    objects["content"] = kube.find("Secret", tenant, ledger.selector(names, "content"), metadata=True)
    return live_apps(names, tenant, objects)


def run_app(kube: Kube, options: dict[str, Any], check_mode: bool) -> Result:
    """Bring the apps of a task to their states."""
    apps: list[App] = options["wanted"]
    tenants: dict[str, list[App]] = {}
    for app in apps:
        tenants.setdefault(app.tenant, []).append(app)
    lives: dict[str, Live] = {}
    for tenant, members in tenants.items():
        found = load(kube, tenant, [app.name for app in members])
        lives.update({f"{tenant}/{name}": live for name, live in found.items()})
    warnings: list[str] = []
    problems, absent = _namespaces(kube, tenants, lives)
    plans: dict[str, Plan] = {}
    for app in apps:
        live = lives[app.key]
        if app.state == "absent":
            continue
        if app.image is None and live.newest is None:
            problems.append(
                Problem(f"app {app.key}: image", "no release of it", "an image, or an app that was deployed")
            )
            continue
        plans[app.key] = plan_app(app, live)
    problems += _conflicts(kube, plans.values(), absent, warnings)
    if problems:
        raise Invalid(problems)
    if not check_mode:
        for tenant in sorted(absent):
            if any(app.state != "absent" for app in tenants[tenant]):
                kube.apply(render.namespace(tenant), MANAGER)

    def act(app: App) -> Result:
        plan = plans.get(app.key)
        if plan is None:
            return _remove(kube, lives[app.key], options, check_mode)
        return _deploy(kube, plan, options, check_mode)

    return _collect("app", apps, act, warnings)


def _collect(module: str, apps: list[App], act: Callable[[App], Result], warnings: list[str]) -> Result:
    """Act on each app, in parallel, and put the outcomes together; one failure does not stop the others."""

    def attempt(app: App) -> Result:
        base: Result = {"name": app.name, "tenant": app.tenant, "changed": False}
        try:
            return {**base, **act(app)}
        except Failed as error:
            return {**base, "failed": True, "msg": str(error), **error.details}
        except Unknown as error:
            return {**base, "failed": True, "unknown": True, "msg": f"app {app.key}: {error}"}
        except (KubeError, LedgerError) as error:
            message = str(error)
            return {**base, "failed": True, "msg": message if app.name in message else f"app {app.key}: {message}"}

    if len(apps) == 1:
        outcomes = [attempt(apps[0])]
    else:
        with ThreadPoolExecutor(max_workers=min(PARALLEL, len(apps))) as pool:
            outcomes = list(pool.map(attempt, apps))
    diffs = [outcome.pop("diff") for outcome in outcomes if "diff" in outcome]
    result: Result = {
        "changed": any(outcome["changed"] for outcome in outcomes),
        "apps": outcomes,
        "diff": [entry for entry in diffs if entry["before"] != entry["after"]],
    }
    if warnings:
        result["warnings"] = warnings
    failed = [outcome for outcome in outcomes if outcome.get("failed")]
    if failed:
        result["failed"] = True
        result["msg"] = "; ".join(outcome["msg"] for outcome in failed)
        if any(outcome.get("unknown") for outcome in failed):
            result["unknown"] = True
    return result


def _namespaces(kube: Kube, tenants: dict[str, list[App]], lives: dict[str, Live]) -> tuple[list[Problem], set[str]]:
    """Return what is wrong with the tenants' namespaces, and the tenants that have none yet."""
    problems: list[Problem] = []
    absent: set[str] = set()
    for tenant, members in tenants.items():
        if all(lives[app.key].deployments for app in members):
            continue
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
            problems.append(Problem(f"tenant {tenant}", "a namespace in state Terminating", wanted))
    return problems, absent


def _conflicts(kube: Kube, plans: Iterable[Plan], absent: set[str], warnings: list[str]) -> list[Problem]:
    """Return what stands in the way of plans: names taken by others, domains of others, content that is gone."""
    problems: list[Problem] = []
    claims: dict[str, Plan] = {}
    names: dict[tuple[str, str, str], str] = {}
    for plan in plans:
        where = f"app {plan.tenant}/{plan.name}"
        for name in missing_contents(plan):
            problems.append(Problem(where, f"no Secret {name}, which v{plan.source} refers to", "it to exist"))
        for entry in plan.applies:
            key = (entry["kind"], entry["metadata"]["name"])
            if key in plan.live.objects:
                continue
            other_app = names.setdefault((plan.tenant, *key), plan.name)
            if other_app != plan.name:
                found = f"a {key[0]} {key[1]} that app {other_app} of this task makes too"
                problems.append(Problem(where, found, "names that do not meet"))
            if plan.tenant in absent:
                continue
            other = kube.get(key[0], plan.tenant, key[1])
            if other is not None:
                owner = (other["metadata"].get("labels") or {}).get(APP)
                of = f"of app {owner}" if owner else "that no app made"
                problems.append(Problem(where, f"a {key[0]} {key[1]} {of} in its namespace", "the name to be free"))
        for domain in set(plan.route.domains) - set(plan.live.route.domains):
            claims[domain] = plan
    if claims:
        problems += _claimed(kube, claims, warnings)
    return problems


def _claimed(kube: Kube, claims: dict[str, Plan], warnings: list[str]) -> list[Problem]:
    try:
        ingresses = kube.find("Ingress")
    except ApiError as error:
        if error.status != 403:
            raise
        warnings.append("domains of other tenants cannot be seen with these credentials: not checked for conflicts")
        return []
    problems = []
    for ingress in ingresses:
        meta = ingress["metadata"]
        for rule in (ingress.get("spec") or {}).get("rules") or []:
            plan = claims.get(rule.get("host", ""))
            if plan is None or (meta["namespace"], meta["name"]) == (plan.tenant, plan.name):
                continue
            owner = (meta.get("labels") or {}).get(APP) or f"Ingress {meta['name']}"
            problems.append(
                Problem(
                    f"app {plan.tenant}/{plan.name}: domains",
                    f"{rule['host']}, which {owner} of tenant {meta['namespace']} has",
                    "a domain that is free",
                )
            )
    return problems


def _remove(kube: Kube, live: Live, options: dict[str, Any], check_mode: bool) -> Result:
    """Delete an app with its history."""
    found = removal(live)
    if not found:
        return {"changed": False, "action": "none"}
    ledger.refuse_concurrent(live.newest, kube.now())
    result: Result = {"changed": True, "action": "removed", "diff": removal_difference(live)}
    if check_mode:
        return result
    for kind, name in found:
        kube.delete(kind, live.tenant, name)
    if options["wait"]:
        with contextlib.closing(Watcher(kube, live.tenant, ledger.selector([live.name]))) as watcher:

            def gone() -> bool:
                return not watcher.of("Deployment", live.name) and not watcher.of("Pod", live.name)

            if not watcher.wait(gone, options["timeout"], _nothing, HEARTBEAT_SECONDS):
                left = [pod["metadata"]["name"] for pod in watcher.of("Pod", live.name)]
                raise Failed(
                    f"app {live.tenant}/{live.name}: removed, but after {options['timeout']} s pods are still ending: "
                    + ", ".join(left),
                    changed=True,
                )
    return result


def _nothing() -> None:
    return None


def _deploy(kube: Kube, plan: Plan, options: dict[str, Any], check_mode: bool) -> Result:
    """Carry out a plan, wait for the rollout, and go back when it fails."""
    newest = plan.live.newest
    result: Result = {
        "changed": plan.changed,
        "action": _action(plan),
        "release": plan.version,
        "previous_release": newest.version if newest else None,
        "digest": plan.digest,
        "image": plan.spec["image"],
        "drift": plan.drift,
        "replicas": plan.counts(),
        "diff": difference(plan),
    }
    if check_mode or not (plan.changed or plan.unsettled):
        return result
    if plan.changed and plan.new_release:
        _settle(kube, plan, newest)
    release = _claim(kube, plan)
    try:
        _carry_out(kube, plan)
    except ApiError as error:
        causes = f" ({'; '.join(error.causes)})" if error.causes else ""
        raise _failure(kube, plan, release, Verdict(False, True, f"{error}{causes}"), options, result) from error
    if not options["wait"]:
        _prune(kube, plan)
        _let_go(kube, plan, release)
        return result
    verdict = _wait(kube, plan, release, options["timeout"])
    if verdict.done:
        if plan.stopped:
            _let_go(kube, plan, release)
        elif release.status != "good":
            ledger.mark(kube, release, "good")
            result["changed"] = True
        _prune(kube, plan)
        _tidy(kube, plan)
        return result
    raise _failure(kube, plan, release, verdict, options, result)


def _action(plan: Plan) -> str:
    if plan.new_release:
        return "rolled_back" if plan.action == "rollback" else "deployed"
    if plan.applies or plan.contents or plan.prunes:
        return "repaired"
    if plan.scales:
        return plan.state if plan.state in ("started", "stopped") else "repaired"
    return "none"


def _settle(kube: Kube, plan: Plan, newest: Release | None) -> None:
    """Give the newest release a final status before another one follows it."""
    ledger.refuse_concurrent(newest, kube.now())
    if newest is None or newest.status != "pending":
        return
    deployments = list(plan.live.deployments.values())
    its_own = all(digest_on(entry) == newest.digest for entry in deployments)
    if deployments and its_own and any(map(replicas_of, deployments)) and judge(deployments, [], None, 0).done:
        ledger.mark(kube, newest, "good")
    else:
        ledger.mark(kube, newest, "superseded", "replaced before it was seen running")


def _claim(kube: Kube, plan: Plan) -> Release:
    """Return the release a plan is for, made now when it is new: that is the lock, so it comes before any change."""
    if plan.new_release:
        return ledger.create(
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
        )
    if plan.live.newest is None:
        raise AssertionError("a plan that makes no release goes on with the newest, and there is none")
    return plan.live.newest


def _let_go(kube: Kube, plan: Plan, release: Release) -> None:
    """End the lock on a release that was not seen running."""
    if plan.new_release:
        ledger.mark(kube, release, "pending")


def _carry_out(kube: Kube, plan: Plan) -> None:
    """Make the changes of a plan."""
    for given in plan.contents:
        kube.apply(render.content(plan.name, plan.tenant, given), MANAGER)
    scales = {entry["metadata"]["name"]: entry for entry in plan.scales}
    for entry in plan.applies:
        name = entry["metadata"]["name"]
        if entry["kind"] == "Deployment" and name in scales and name not in plan.live.deployments:
            entry = {**entry, "spec": {**entry["spec"], "replicas": scales[name]["spec"]["replicas"]}}
        kube.apply(entry, MANAGER)
    for entry in plan.scales:
        kube.apply(entry, SCALE_MANAGER)


def _wait(kube: Kube, plan: Plan, release: Release, timeout: float) -> Verdict:
    """Wait until the Deployments of a plan run what they should, or cannot."""
    started = time.monotonic()
    verdict = Verdict(False, False)
    with contextlib.closing(Watcher(kube, plan.tenant, ledger.selector([plan.name]))) as watcher:

        def settled() -> bool:
            nonlocal verdict
            found = {entry["metadata"]["name"]: entry for entry in watcher.of("Deployment", plan.name)}
            if any(name not in found for name in plan.wanted):
                verdict = Verdict(False, False, "a Deployment is missing: removed while it was rolled out?")
                return False
            pods = watcher.of("Pod", plan.name)
            deployments = [found[name] for name in plan.wanted]
            verdict = judge(deployments, pods, plan.digest, time.monotonic() - started)
            if verdict.done and plan.stopped and pods:
                verdict = Verdict(False, False, f"{len(pods)} pods are still ending")
            return verdict.done or verdict.failed

        def pulse() -> None:
            with contextlib.suppress(KubeError):
                if release.status == "pending":
                    ledger.beat(kube, release)

        if not watcher.wait(settled, timeout, pulse, HEARTBEAT_SECONDS):
            verdict = verdict._replace(reason=f"not ready after {timeout:.0f} s: {verdict.reason}")
    return verdict


def _prune(kube: Kube, plan: Plan) -> None:
    for kind, name in plan.prunes:
        kube.delete(kind, plan.tenant, name)


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


def _failure(
    kube: Kube, plan: Plan, release: Release, verdict: Verdict, options: dict[str, Any], result: Result
) -> Failed:
    """Record a failed rollout, go back when that is wanted and possible, and return the error to raise."""
    where = f"app {plan.tenant}/{plan.name}"
    events, log = _evidence(kube, plan, verdict)
    details: Result = {**result, "changed": True, "reason": verdict.reason, "events": events, "log": log}
    message = f"{where}: release v{release.version} failed: {verdict.reason}"
    if release.status == "good":
        message = f"{where}: release v{release.version} does not run: {verdict.reason}"
    else:
        with contextlib.suppress(KubeError):
            ledger.mark(kube, release, "failed", verdict.reason)
        if options.get("on_failure", "rollback") == "rollback" and not plan.stopped:
            message += ". " + _go_back(kube, plan, release, options, details)
    if events:
        message += ". Events: " + " | ".join(events[-3:])
    if log:
        message += ". Last log lines: " + " | ".join(log.splitlines()[-5:])
    return Failed(message, **details)


def _go_back(kube: Kube, plan: Plan, release: Release, options: dict[str, Any], details: Result) -> str:
    """Return to the last release that ran, or remove what a first release made; say what was done."""
    try:
        live = load(kube, plan.tenant, [plan.name])[plan.name]
        if live.newest is None or live.newest.version != release.version:
            return "Another release was made meanwhile: left to it"
        good = ledger.last_good(live.releases, release.version)
        if good is None:
            for kind, name in removal(live):
                if kind != "Secret":
                    kube.delete(kind, plan.tenant, name)
            details["release"] = None
            return "No earlier release ran: its objects are removed, the record of the release stays"
        back = plan_release(live, good, plan.keep)
        gone = missing_contents(back)
        if gone:
            return f"v{good.version} cannot come back, for its Secret {gone[0]} is gone: left as it is"
        made = _claim(kube, back)
        _carry_out(kube, back)
        details["release"], details["rolled_back_to"] = made.version, good.version
        verdict = _wait(kube, back, made, options["timeout"])
        if not verdict.done:
            ledger.mark(kube, made, "failed", verdict.reason)
            return f"Going back to v{good.version} (as v{made.version}) did not succeed either: {verdict.reason}"
        ledger.mark(kube, made, "good")
        _prune(kube, back)
        return f"Back on v{good.version}, as release v{made.version}"
    except (KubeError, LedgerError) as error:
        details["unknown"] = isinstance(error, Unknown)
        return f"Going back did not succeed: {error}"


def _evidence(kube: Kube, plan: Plan, verdict: Verdict) -> tuple[list[str], str]:
    """Return the latest warnings about an app's objects and the log tail of the pod that shows the failure."""
    events: list[str] = []
    log = ""
    with contextlib.suppress(KubeError):
        events = warnings_of(kube.find("Event", plan.tenant, fieldSelector="type=Warning"), plan.wanted)[-EVENTS:]
    pod = verdict.pod
    if not pod:
        with contextlib.suppress(KubeError):
            marked = f"{APP}={plan.name},{render.DIGEST}={plan.digest}"
            pods = kube.find("Pod", plan.tenant, marked)
            pod = next((entry["metadata"]["name"] for entry in pods if not _ready(entry)), "")
    if pod:
        for previous in (True, False):
            with contextlib.suppress(KubeError):
                log = kube.logs(plan.tenant, pod, LOG_LINES, previous=previous).rstrip()
            if log:
                break
    return events, log


def warnings_of(events: Iterable[Object], deployments: Iterable[str]) -> list[str]:
    """Return events about Deployments, their ReplicaSets and pods as lines, oldest first."""
    prefixes = tuple(deployments)
    about = [
        event
        for event in events
        for name in [(event.get("involvedObject") or {}).get("name", "")]
        if any(name == prefix or name.startswith(prefix + "-") for prefix in prefixes)
    ]
    about.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    lines = []
    for event in about:
        target = event["involvedObject"]
        times = f" (x{event['count']})" if event.get("count", 1) and event.get("count", 1) > 1 else ""
        lines.append(f"{target.get('kind')} {target.get('name')}: {event.get('reason')}: {event.get('message')}{times}")
    return lines


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)


def run_scale(kube: Kube, options: dict[str, Any], check_mode: bool) -> Result:
    """Set the replicas of a process."""
    name, tenant, wanted = options["name"], options["tenant"], options["replicas"]
    deployments = {
        entry["metadata"]["labels"].get(PROCESS, ""): entry
        for entry in kube.find("Deployment", tenant, ledger.selector([name]))
    }
    where = f"app {tenant}/{name}"
    if not deployments:
        raise Invalid([Problem("name", f"no app {name} in tenant {tenant}", "an app that was deployed")])
    process = options["process"] or (next(iter(deployments)) if len(deployments) == 1 else None)
    if process not in deployments:
        found = f"no process {process} of {where}" if process else "nothing"
        raise Invalid([Problem("process", found, "one of " + ", ".join(sorted(deployments)))])
    deployment = deployments[process]
    target = deployment["metadata"]["name"]
    for scaler in kube.find("HorizontalPodAutoscaler", tenant):
        aim = scaler["spec"]["scaleTargetRef"]
        if (aim.get("kind"), aim.get("name")) == ("Deployment", target):
            found = f"HorizontalPodAutoscaler {scaler['metadata']['name']} that scales {target}"
            raise Invalid([Problem("replicas", found, "to change that one, or to remove it first")])
    stopped = remembered(deployment)
    before = replicas_of(deployment) if stopped is None else stopped
    result: Result = {
        "changed": before != wanted,
        "app": {"name": name, "tenant": tenant, "process": process, "replicas": wanted, "previous_replicas": before},
        "diff": [
            {
                "before_header": f"{where} {process}",
                "after_header": f"{where} {process}",
                "before": {"replicas": before},
                "after": {"replicas": wanted},
            }
        ],
    }
    result["app"]["stopped"] = stopped is not None
    if check_mode or not result["changed"]:
        return result
    if stopped is None:
        kube.apply(render.scale(target, tenant, wanted), SCALE_MANAGER)
    else:
        kube.apply(render.scale(target, tenant, 0, wanted), SCALE_MANAGER)
    if options["wait"] and stopped is None:
        verdict = _wait_scaled(kube, name, tenant, target, wanted, options["timeout"])
        if not verdict.done:
            result.update(failed=True, reason=verdict.reason)
            result["msg"] = f"{where}: {process} scaled to {wanted}, but it does not run: {verdict.reason}"
            with contextlib.suppress(KubeError):
                events = kube.find("Event", tenant, fieldSelector="type=Warning")
                result["events"] = warnings_of(events, [target])[-EVENTS:]
                if result["events"]:
                    result["msg"] += ". Events: " + " | ".join(result["events"][-3:])
    return result


def _wait_scaled(kube: Kube, name: str, tenant: str, target: str, wanted: int, timeout: float) -> Verdict:
    started = time.monotonic()
    verdict = Verdict(False, False)
    with contextlib.closing(Watcher(kube, tenant, ledger.selector([name]))) as watcher:

        def settled() -> bool:
            nonlocal verdict
            found = [entry for entry in watcher.of("Deployment", name) if entry["metadata"]["name"] == target]
            if not found or replicas_of(found[0]) != wanted:
                verdict = Verdict(False, False, f"{target} is gone, or scaled by somebody else meanwhile")
                return False
            verdict = judge(found, watcher.of("Pod", name), None, time.monotonic() - started)
            return verdict.done or verdict.failed

        if not watcher.wait(settled, timeout, _nothing, HEARTBEAT_SECONDS):
            verdict = verdict._replace(reason=f"not ready after {timeout:.0f} s: {verdict.reason}")
    return verdict


def run_release(kube: Kube, options: dict[str, Any], check_mode: bool) -> Result:
    """Bring the content of an earlier release back, as a new release."""
    name, tenant = options["name"], options["tenant"]
    where = f"app {tenant}/{name}"
    live = load(kube, tenant, [name])[name]
    try:
        source = ledger.target(live.releases, options["version"])
    except LedgerError as error:
        raise LedgerError(f"{where}: {error}") from error
    if live.newest is not None and live.newest.digest == source.digest:
        source = live.newest
    plan = plan_release(live, source, options["keep_releases"])
    warnings: list[str] = []
    problems = _conflicts(kube, [plan], set(), warnings)
    if problems:
        raise Invalid(problems)
    try:
        outcome = _deploy(kube, plan, options, check_mode)
    except Failed as error:
        outcome = {"failed": True, "msg": str(error), **error.details}
    diff = outcome.pop("diff")
    result: Result = {
        "changed": outcome["changed"],
        "app": {"name": name, "tenant": tenant, **outcome, "from_version": source.version},
        "diff": [diff] if diff["before"] != diff["after"] else [],
    }
    for key in ("failed", "msg", "unknown"):
        if outcome.get(key):
            result[key] = result["app"].pop(key)
    return result


def run_info(kube: Kube, options: dict[str, Any], check_mode: bool) -> Result:
    """Return what there is of one app, of a tenant's, or of all."""
    name, tenant = options["name"], options["tenant"]
    chosen = ledger.selector([name] if name else [])
    kinds = [*KINDS, "Pod", "EndpointSlice"]
    listed = {kind: kube.find(kind, tenant, chosen) for kind in kinds}
    listed["release"] = kube.find("Secret", tenant, ledger.selector([name] if name else [], "release"))
    events = kube.find("Event", tenant) if options["events"] else []
    apps: list[Result] = []
    keys = sorted(
        {
            (entry["metadata"]["namespace"], entry["metadata"]["labels"][APP])
            for kind in ("Deployment", "release", "Pod")
            for entry in listed[kind]
        }
    )
    for namespace, app in keys:
        own = {
            kind: [
                entry
                for entry in entries
                if entry["metadata"]["namespace"] == namespace and entry["metadata"]["labels"].get(APP) == app
            ]
            for kind, entries in listed.items()
        }
        about = [event for event in events if event["metadata"]["namespace"] == namespace]
        apps.append(_describe(kube, app, namespace, own, about, options["log_lines"]))
        if not options["events"]:
            del apps[-1]["events"]
    return {"changed": False, "apps": apps}


def _describe(
    kube: Kube, name: str, tenant: str, own: dict[str, list[Object]], events: list[Object], lines: int
) -> Result:
    live = live_apps([name], tenant, {key: own[key] for key in (*KINDS, "release")})[name]
    newest = live.newest
    pods = []
    logs: dict[str, str] = {}
    for pod in own["Pod"]:
        status = pod.get("status") or {}
        pod_name = pod["metadata"]["name"]
        containers = status.get("containerStatuses") or []
        pods.append(
            {
                "name": pod_name,
                "process": pod["metadata"]["labels"].get(PROCESS),
                "node": (pod.get("spec") or {}).get("nodeName"),
                "address": status.get("podIP"),
                "phase": status.get("phase"),
                "ready": _ready(pod),
                "restarts": sum(container.get("restartCount", 0) for container in containers),
                "digest": pod["metadata"]["labels"].get(render.DIGEST),
                "image": ((pod.get("spec") or {}).get("containers") or [{}])[0].get("image"),
            }
        )
        if lines:
            with contextlib.suppress(KubeError):
                logs[pod_name] = kube.logs(tenant, pod_name, lines).rstrip()
    result: Result = {
        "name": name,
        "tenant": tenant,
        "status": _status(live, own["Pod"]),
        "release": newest.version if newest else None,
        "image": newest.spec["image"] if newest else None,
        "digest": newest.digest if newest else None,
        "releases": [release.summary() for release in live.releases],
        "processes": {
            entry["metadata"]["labels"].get(PROCESS, ""): {
                "replicas": replicas_of(entry),
                "ready": (entry.get("status") or {}).get("readyReplicas", 0),
                "updated": (entry.get("status") or {}).get("updatedReplicas", 0),
                "stopped_replicas": remembered(entry),
            }
            for entry in own["Deployment"]
        },
        "domains": list(live.route.domains),
        "services": {
            service["metadata"]["name"]: {
                "address": service["spec"].get("clusterIP"),
                "ports": [port["port"] for port in service["spec"].get("ports") or []],
            }
            for service in own["Service"]
        },
        "endpoints": _endpoints(own["EndpointSlice"]),
        "pods": pods,
        "events": _event_lines(events, list(live.deployments)),
    }
    if lines:
        result["logs"] = logs
    return result


def _event_lines(events: list[Object], deployments: list[str]) -> list[str]:
    return warnings_of(events, deployments)[-50:]


def _endpoints(slices: list[Object]) -> list[Result]:
    return [
        {"address": address, "port": port.get("port"), "ready": (endpoint.get("conditions") or {}).get("ready", False)}
        for entry in slices
        for endpoint in entry.get("endpoints") or []
        for address in endpoint.get("addresses") or []
        for port in entry.get("ports") or []
    ]


def _status(live: Live, pods: list[Object]) -> str:
    """Return absent, failed, stopped, running, rolling, failing or degraded."""
    deployments = list(live.deployments.values())
    if not deployments:
        return "failed" if live.newest is not None and live.newest.status == "failed" else "absent"
    if all(remembered(entry) is not None for entry in deployments):
        return "stopped"
    verdict = judge(deployments, pods, None, 0)
    if verdict.done:
        return "running"
    if verdict.failed:
        return "failing"
    return "rolling" if live.newest is not None and live.newest.status == "pending" else "degraded"


_MODULES: dict[str, Callable[[Kube, dict[str, Any], bool], Result]] = {
    "app": run_app,
    "app_scale": run_scale,
    "app_release": run_release,
    "app_info": run_info,
}
