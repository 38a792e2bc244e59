# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `app_scale` does: the size of processes, which no deployment resets."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import labels, releases, render
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import (
    Live,
    effective,
    exceeded,
    instance_of,
    plan_instances,
    plan_release,
    remembered,
    size,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import Resources
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import MANAGER
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.render import (
    bounds_of,
    scaled_resources,
    without,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import ScaleRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.rollout import Verdict, judge
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import objects
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, KubeError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import SCALED, Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import Watcher

from .context import Context, Outcome
from .deploy import SCALE_MANAGER, deploy, load, unstick
from .evidence import EVENTS, warnings_of

Result = dict[str, Any]
METRICS = "/apis/metrics.k8s.io/v1beta1"


@dataclass
class Step:
    """What a task wants of one process; None leaves a part as it is."""

    process: str
    workload: Object
    instances: int | None
    scaler: Object | None
    replicas: int | None = None
    autoscale: dict[str, int] | bool | None = None
    resources: Resources | None = None

    @property
    def before(self) -> Result:
        stopped = remembered(self.workload)
        count = size(self.workload) if stopped is None else stopped
        return {
            "replicas": count if self.instances is None else self.instances,
            "autoscale": bounds_of(self.scaler) if self.scaler else None,
            "resources": scaled_resources(self.workload) or None,
        }

    @property
    def after(self) -> Result:
        after = self.before
        if self.replicas is not None:
            after["replicas"] = self.replicas
        if self.autoscale is not None:
            after["autoscale"] = self.autoscale or None
        if self.resources is not None:
            after["resources"] = self.resources or None
        return after

    @property
    def stopped(self) -> bool:
        return remembered(self.workload) is not None


def run(context: Context, request: ScaleRequest) -> Outcome:
    """Set replicas, autoscaler or resources of processes."""
    kube, name, tenant = context.kube, request.name, request.tenant
    where = f"app {tenant}/{name}"
    live = load(kube, tenant, [name])[name]
    if not live.workloads or live.newest is None:
        raise Invalid([Finding("name", f"no app {name} in tenant {tenant}", "an app that was deployed")])
    steps = _steps(live, request)
    findings = [finding for step in steps for finding in _findings(kube, live, step, request.listed)]
    if findings:
        raise Invalid(findings)
    changed = [step for step in steps if step.before != step.after]
    processes = {
        step.process: {**step.after, "previous_replicas": step.before["replicas"], "stopped": step.stopped}
        for step in steps
    }
    outcome = Outcome(
        changed=bool(changed),
        values={"app": {"name": name, "tenant": tenant, "processes": processes}},
        diff=[
            {
                "before_header": f"{where} {step.process}",
                "after_header": f"{where} {step.process}",
                "before": step.before,
                "after": step.after,
            }
            for step in changed
        ],
    )
    if any(step.autoscale for step in steps) and not _has_metrics(kube):
        outcome.warnings.append("this cluster has no metrics API (metrics.k8s.io), which autoscalers need")
    instances = {step.process: step.after["replicas"] for step in changed if step.instances is not None}
    plan = plan_instances(live, live.newest, instances, request.host_ports) if instances else None
    if context.check_mode:
        return outcome
    for step in changed:
        if step.instances is None:
            _change(kube, live, step)
    if plan is not None:
        done = deploy(context, plan, request.rollout)
        if done.failed:
            outcome.values.update({key: done.values[key] for key in ("reason", "events")})
            return outcome.fail(done.message)
    # What an earlier task changed may still not run. Instances that changed were waited for by deploy.
    waited = [step for step in steps if not step.stopped and (step.instances is None or step not in changed)]
    if request.rollout.wait and waited:
        verdict = _wait(kube, live, waited, request.rollout.timeout)
        if not verdict.done:
            targets = [name for step in waited for _kind, name in _targets(live, step)]
            outcome.values["reason"] = verdict.reason
            outcome.fail(f"{where}: {_said(waited, changed)}, but it does not run: {verdict.reason}")
            with contextlib.suppress(KubeError):
                found = kube.find("Event", tenant, fieldSelector="type=Warning")
                events = outcome.values["events"] = warnings_of(found, targets)[-EVENTS:]
                if events:
                    outcome.message += ". Events: " + " | ".join(events[-3:])
    return outcome


def _said(steps: list[Step], changed: list[Step]) -> str:
    said = [
        f"{step.process} was not changed"
        if step not in changed
        else (f"{step.process} scaled to {step.replicas}" if step.replicas is not None else f"{step.process} changed")
        for step in steps
    ]
    return ", ".join(said)


def _targets(live: Live, step: Step) -> list[tuple[str, str]]:
    """Return kind and name of the workloads of a process; each instance in the hosts' network is one."""
    workloads = [step.workload] if step.instances is None else live.of(step.process)
    return [(entry["kind"], entry["metadata"]["name"]) for entry in workloads]


def _steps(live: Live, request: ScaleRequest) -> list[Step]:
    """Return what is wanted of each process that the task names. Invalid when there is none of a name."""
    known = sorted({entry["metadata"]["labels"].get(labels.PROCESS, "") for entry in live.workloads.values()})
    only = known[0] if len(known) == 1 else None
    counts = {process or only or "": count for process, count in request.replicas.items()}
    steps: list[Step] = []
    for process in counts or [request.process or only or ""]:
        if process not in known:
            found = f"no process {process} of app {live.tenant}/{live.name}" if process else "nothing"
            option = f"processes.{process}" if request.listed else "process"
            raise Invalid([Finding(option, found, "one of " + ", ".join(known))])
        workload = live.of(process)[0]
        instances = len(live.instances(process)) if instance_of(workload) is not None else None
        scaler = live.objects.get(("HorizontalPodAutoscaler", f"{live.name}-{process}"))
        steps.append(
            Step(process, workload, instances, scaler, counts.get(process), request.autoscale, request.resources)
        )
    return steps


def _findings(kube: Kube, live: Live, step: Step, listed: bool) -> list[Finding]:
    """Return what keeps a process from what is wanted of it."""
    findings: list[Finding] = []
    kind, name = step.workload["kind"], step.workload["metadata"]["name"]
    where = f"processes.{step.process}" if listed else "replicas"
    if kind not in SCALED and (step.replicas is not None or step.autoscale):
        found = f"process {step.process}, which a {kind} runs"
        findings.append(Finding(where, found, "a process that keeps running; deploy another parallelism"))
    if kind == "Job" and step.resources is not None:
        findings.append(Finding("resources", f"process {step.process}, which a Job runs", "the resources in a release"))
    if step.instances is not None:
        found = f"process {step.process}, which is in the hosts' network"
        if step.replicas == 0:
            findings.append(Finding(where, f"0, for {found}", "1 or more, or the app with state: stopped"))
        if step.autoscale:
            findings.append(Finding("autoscale", found, "a process with replicas"))
        if step.resources is not None:
            findings.append(Finding("resources", found, "the resources in a release"))
    if step.replicas is not None and not (step.scaler and step.autoscale is False):
        for scaler in kube.find("HorizontalPodAutoscaler", live.tenant):
            aim = scaler["spec"]["scaleTargetRef"]
            if (aim.get("kind"), aim.get("name")) == (kind, name):
                found = f"HorizontalPodAutoscaler {scaler['metadata']['name']} that scales {name}"
                findings.append(Finding(where, found, "autoscale: false, or the bounds of that one"))
    released = _released(live, step.process)
    amounts = effective(released, scaled_resources(step.workload) if step.resources is None else step.resources)
    if isinstance(step.autoscale, dict):
        for resource in ("cpu", "memory"):
            if resource in step.autoscale and resource not in amounts.get("requests", {}):
                found = f"process {step.process}, which requests no {resource}"
                findings.append(
                    Finding(f"autoscale.{resource}", found, f"resources.requests.{resource} to be percent of")
                )
    if step.resources is not None:
        findings += exceeded(amounts, "resources", f"process {step.process}")
    return findings


def _released(live: Live, process: str) -> Resources:
    processes = live.newest.spec.processes if live.newest else ()
    return next((entry.resources for entry in processes if entry.name == process), {})


def _has_metrics(kube: Kube) -> bool:
    try:
        kube.request("GET", METRICS)
    except ApiError as error:
        return error.status not in (404, 503)
    return True


def _change(kube: Kube, live: Live, step: Step) -> None:
    """Make the changes to one process."""
    target = step.workload
    name = f"{live.name}-{step.process}"
    if step.scaler is not None and step.autoscale is False:
        kube.delete("HorizontalPodAutoscaler", live.tenant, name)
        # It may have acted since the app was read: the count there is now is the one to keep.
        now = kube.get(target["kind"], live.tenant, target["metadata"]["name"])
        target = {**(now or target), "kind": target["kind"]}
    if step.resources is not None and scaled_resources(target):
        # What is given back to the release gets its value first, so that the pods are replaced only once.
        _give_back(kube, live, step)
    stopped = remembered(target)
    count = size(target)
    if step.replicas is not None and stopped is None:
        count = step.replicas
    elif step.replicas is not None:
        stopped = step.replicas
    if step.replicas is not None or step.resources is not None or step.autoscale is False:
        kube.apply(render.scale(target, count, stopped, step.resources), SCALE_MANAGER)
        if target["kind"] == "StatefulSet" and step.resources is not None:
            unstick(kube, live.tenant, live.name)
    if isinstance(step.autoscale, dict):
        aim = (target["kind"], target["metadata"]["name"])
        kube.apply(render.scaler(live.name, live.tenant, step.process, aim, step.autoscale), SCALE_MANAGER)


def _give_back(kube: Kube, live: Live, step: Step) -> None:
    """Let the deployer own again, with the release's values, the resources that app_scale no longer sets."""
    if live.newest is None or step.resources is None:
        return
    plan = plan_release(live, live.newest, len(live.releases))
    for entry in plan.wanted:
        if entry["metadata"]["name"] == step.workload["metadata"]["name"]:
            [container] = objects.containers_of(entry)
            container["resources"] = without(_released(live, step.process), step.resources)
            kube.apply(entry, MANAGER)


def _wait(kube: Kube, live: Live, steps: list[Step], timeout: float) -> Verdict:
    started = time.monotonic()
    verdict = Verdict(False, False)
    kinds = {step.workload["kind"] for step in steps}
    with contextlib.closing(Watcher(kube, live.tenant, releases.selector([live.name]), {"Pod", *kinds})) as watcher:

        def settled() -> bool:
            nonlocal verdict
            found: list[Object] = []
            for step in steps:
                wanted = step.replicas if step.instances is None else None
                for kind, name in _targets(live, step):
                    now = [entry for entry in watcher.of(kind) if entry["metadata"]["name"] == name]
                    if not now or (wanted is not None and size({**now[0], "kind": kind}) != wanted):
                        verdict = Verdict(False, False, f"{name} was deleted, or scaled by somebody else")
                        return False
                    found.append(now[0])
            verdict = judge(found, watcher.of("Pod"), None, time.monotonic() - started)
            return verdict.done or verdict.failed

        if not watcher.wait(settled, timeout):
            verdict = verdict._replace(reason=f"not ready after {timeout:.0f} s: {verdict.reason}")
    return verdict
