# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge rollouts from what the API shows. Pure."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

from .labels import DIGEST, INSTANCE, PROCESS

# What may pass is given this long (seconds) before the release counts as failed: a quota may be taken by a pod that
# is just ending, the cache of a kubelet may lag.
PATIENCE = 20.0
# A container that ends twice in a row, each time within this many seconds of its start, is not going to run.
QUICK = 60.0
PULLING = ("ErrImagePull", "ImagePullBackOff")
CREATING = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
HOPELESS = ("InvalidImageName", "ErrImageNeverPull")
# The registry has answered, and it has no such image. Anything else may be the network, which is waited for.
NO_IMAGE = (
    "code = notfound",
    ": not found",
    "manifest unknown",
    "manifest_unknown",
    "name unknown",
    "name_unknown",
    "repository does not exist",
    "no match for platform",
    "no matching manifest",
)
# The registry does not say whether there is one. Final when the next attempt gets the same answer.
NO_ACCESS = ("unauthorized", "denied", "forbidden", "authentication required")
# The pod refers to what is not there, or asks for what is not allowed.
NO_START = (
    "not found",
    "couldn't find key",
    "runasnonroot",
    "non-root",
    "no such file or directory",
    "permission denied",
)


class Verdict(NamedTuple):
    """How a rollout stands: done, failed (final), or neither. `reason` is the best explanation so far."""

    done: bool
    failed: bool
    reason: str = ""
    pod: str = ""


def judge(workloads: Iterable[Object], pods: Iterable[Object], digest: str | None, waited: float) -> Verdict:
    """Say how the rollout of workloads stands after `waited` seconds; digest None takes the pods of any release.

    Deployments and StatefulSets are done when all replicas are of the newest template and available, a Job when it is
    complete or suspended, a CronJob as soon as it is there.
    """
    done = True
    reasons: list[str] = []
    pods = list(pods)
    for workload in workloads:
        name, kind = workload["metadata"]["name"], workload.get("kind", "Deployment")
        status = workload.get("status") or {}
        own = [pod for pod in pods if _belongs(pod, workload, digest)]
        arrived, progress = _JUDGES[kind](workload)
        if arrived:
            continue
        done = False
        if (workload.get("spec") or {}).get("replicas") == 0:
            # Pods that are about to be deleted may be in any trouble.
            reasons.append(f"{name}: {progress}")
            continue
        for condition in status.get("conditions") or [] if observed(workload) else []:
            text = f"{name}: {condition.get('reason')}: {condition.get('message')}"
            if (condition.get("type"), condition.get("status")) in (("Progressing", "False"), ("Failed", "True")):
                last = _ended(own)
                return Verdict(False, True, text + (f"; {last[1]}" if last else ""), last[0] if last else _first(own))
            if (condition.get("type"), condition.get("status")) == ("ReplicaFailure", "True"):
                if refused(str(condition.get("message")), waited):
                    return Verdict(False, True, text, _first(own))
                reasons.append(text)
        for pod in own:
            final, reason = trouble(pod, waited)
            if final:
                return Verdict(False, True, f"{name}: {reason}", pod["metadata"]["name"])
            if reason:
                reasons.append(f"{name}: {reason}")
        if not reasons:
            reasons.append(f"{name}: {progress}")
    return Verdict(done, False, "; ".join(reasons))


def observed(workload: Object) -> bool:
    """Say whether the status is about what the workload is now; a Job's has no generation, for it does not change."""
    generation: int = (workload.get("status") or {}).get("observedGeneration", 0)
    return workload.get("kind") == "Job" or generation >= workload["metadata"].get("generation", 1)


def _replicated(workload: Object) -> tuple[bool, str]:
    status = workload.get("status") or {}
    wanted = (workload.get("spec") or {}).get("replicas", 1)
    counts = {key: status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    if wanted == 0:
        counts = {"replicas": counts["replicas"]}
    arrived = observed(workload) and all(count == wanted for count in counts.values())
    progress = (
        f"{counts.get('updatedReplicas', 0)} of {wanted} replicas updated, "
        f"{counts.get('availableReplicas', 0)} available, {counts['replicas']} in all"
    )
    return arrived, progress


def _job(workload: Object) -> tuple[bool, str]:
    status, spec = workload.get("status") or {}, workload.get("spec") or {}
    conditions = {entry.get("type") for entry in status.get("conditions") or [] if entry.get("status") == "True"}
    counts = ", ".join(f"{status.get(key, 0)} {key}" for key in ("active", "succeeded", "failed"))
    arrived = "Complete" in conditions or (bool(spec.get("suspend")) and not status.get("active"))
    return arrived, f"has not ended: {counts} pods"


_JUDGES: dict[str, Callable[[Object], tuple[bool, str]]] = {
    "Deployment": _replicated,
    "StatefulSet": _replicated,
    "Job": _job,
    "CronJob": lambda workload: (True, ""),
}


def refused(message: str, waited: float) -> bool:
    """Say whether pods that the API refuses with a message will not come: a quota is waited for a while."""
    text = message.lower()
    return waited >= PATIENCE or ("forbidden" in text and "exceeded quota" not in text)


def trouble(pod: Object, waited: float) -> tuple[bool, str]:
    """Return whether a pod will not start, and what keeps it from being ready ("" when nothing is known)."""
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        text = f"pod {name}: {reason}" + (f": {message}" if message else "")
        said = message.lower()
        if reason == "CrashLoopBackOff" or (container.get("restartCount", 0) and not container.get("ready")):
            return _crashed(name, container)
        if reason in HOPELESS:
            return True, text
        if reason in PULLING:
            again = reason == "ImagePullBackOff" and any(hint in said for hint in NO_ACCESS)
            return again or any(hint in said for hint in NO_IMAGE), text
        if reason in CREATING:
            return waited >= PATIENCE or any(hint in said for hint in NO_START), text
        if state.get("running") is not None and not container.get("ready"):
            return False, f"pod {name}: container {container.get('name')} runs but its readiness probe does not succeed"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return False, f"pod {name}: {condition.get('reason')}: {condition.get('message')}"
    return False, ""


def _crashed(name: str, container: Object) -> tuple[bool, str]:
    """Judge a container that has been restarted and is not ready."""
    state = container.get("state") or {}
    last = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    restarts = container.get("restartCount", 0)
    text = (
        f"pod {name}: CrashLoopBackOff: container {container.get('name')} ended with exit code "
        f"{last.get('exitCode', 'unknown')} ({last.get('reason', 'no reason given')}), {restarts} restarts"
    )
    ended_twice = restarts >= 1 and state.get("running") is None and bool(last)
    return ended_twice and _seconds(last) < QUICK, text


def _seconds(terminated: Object) -> float:
    """Return how long a container ran; 0 when it is not known."""
    try:
        start, end = (
            calendar.timegm(time.strptime(terminated[key], "%Y-%m-%dT%H:%M:%SZ")) for key in ("startedAt", "finishedAt")
        )
    except (KeyError, ValueError, TypeError):
        return 0.0
    return float(end - start)


def _belongs(pod: Object, workload: Object, digest: str | None) -> bool:
    labels = pod["metadata"].get("labels") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return False
    if workload.get("kind") == "Job":
        return bool(labels.get("batch.kubernetes.io/job-name") == workload["metadata"]["name"])
    own = workload["metadata"].get("labels") or {}
    same = all(labels.get(key) == own.get(key) for key in (PROCESS, INSTANCE))
    return same and (digest is None or labels.get(DIGEST) == digest)


def _ended(pods: list[Object]) -> tuple[str, str] | None:
    """Return the name of the pod that failed last and how."""
    found = [
        (str(ended.get("finishedAt")), pod["metadata"]["name"], ended)
        for pod in pods
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        for ended in [(container.get("state") or {}).get("terminated")]
        if ended and ended.get("exitCode")
    ]
    if not found:
        return None
    _when, name, ended = max(found, key=lambda entry: entry[:2])
    return name, f"pod {name} ended with exit code {ended['exitCode']} ({ended.get('reason', 'no reason given')})"


def _first(pods: list[Object]) -> str:
    return pods[0]["metadata"]["name"] if pods else ""
