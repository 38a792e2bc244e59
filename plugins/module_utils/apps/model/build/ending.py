# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a build is, by its Job and its pod, and why it has failed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import IMAGE_DIGEST
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

from .builder import Limits
from .job import CONTAINERS

# Seconds for a registry that does not answer, and for a pod that the API refuses.
PATIENCE = 60.0
_WAITING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_BROKEN = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError")
_HOPELESS = re.compile(r"not found|denied|unauthorized|forbidden|invalid reference|x509", re.IGNORECASE)
_KILLED = re.compile(r"exit (?:status|code) 137|signal: killed|\bOut of memory\b")
_NO_SPACE = re.compile(r"no space left on device|ephemeral.storage|emptyDir|disk", re.IGNORECASE)
_LONGEST = 500


@dataclass(frozen=True)
class State:
    """How far a build is. `running` is the container that runs, `pod` the name of the pod, "" for none.

    `ended` are the containers that have ended. `digest` is that of the image, "" until it is pushed. `failure` says why
    it failed, "" if it did not; `waiting` why nothing happens.
    """

    pod: str = ""
    running: str = ""
    ended: tuple[str, ...] = ()
    digest: str = ""
    failure: str = ""
    waiting: str = ""


def state_of(
    job: Object | None,
    pods: Iterable[Object],
    limits: Limits,
    seconds: int,
    log: Iterable[str] = (),
    waited: float = 0,
    last: State | None = None,
) -> State:
    """Return how far a build is.

    job: None when it does not exist any more. seconds: how long it may run. log: the last lines of the build. waited:
    seconds since the last change. last: the state while there was a pod.
    """
    if job is None:
        return State(failure="cancelled: its Job was deleted while it ran")
    pod = next(iter(sorted(pods, key=lambda one: one["metadata"].get("creationTimestamp") or "", reverse=True)), None)
    # The second one is there while the pods are being deleted.
    failed = _condition(job, "Failed") or _condition(job, "FailureTarget")
    state = _of_pod(pod, limits, list(log), waited) if pod is not None else State()
    if failed and failed.get("reason") == "DeadlineExceeded":
        there = state if state.pod or last is None else last
        where = f" in {there.running}" if there.running else f" ({there.waiting})" if there.waiting else ""
        return replace(state, failure=f"took longer than {seconds} s{where}; wanted: less work, or a longer timeout")
    if state.failure or state.digest:
        return state
    if failed:
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            found = "its pod was deleted while it ran, by somebody or because its node was lost"
            return replace(state, failure=found)
        return replace(state, failure=_text(failed.get("message") or failed.get("reason") or "its Job failed"))
    if pod is None and job["spec"].get("suspend"):
        return replace(state, waiting="other builds run")
    return state if pod is not None else replace(state, waiting="no pod yet")


def _of_pod(pod: Object, limits: Limits, log: list[str], waited: float) -> State:
    status = pod.get("status") or {}
    state = State(pod=pod["metadata"]["name"])
    if status.get("reason") == "Evicted":
        message = _text(status.get("message") or "no reason given")
        if _NO_SPACE.search(message):
            wanted = f"at most {limits.disk}, builder_disk of the role builder"
            return replace(state, failure=f"evicted, because it used too much disk ({message}); wanted {wanted}")
        return replace(state, failure=f"evicted from its node: {message}; wanted: run the task again")
    for name, found in _containers(pod):
        terminated = found.get("terminated")
        if terminated is not None:
            state = replace(state, ended=(*state.ended, name))
            failure = _ended(name, terminated, limits, log)
            if failure:
                return replace(state, failure=failure)
            if name == CONTAINERS[-1]:
                return _pushed(state, terminated)
        elif found.get("running") is not None:
            return replace(state, running=name)
        elif found.get("waiting"):
            return _waits(state, name, found["waiting"], waited)
    scheduled = _condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return replace(state, waiting=f"no node takes its pod: {_text(scheduled.get('message') or 'no reason given')}")
    if status.get("phase") == "Failed":
        return replace(state, failure=_text(status.get("message") or status.get("reason") or "its pod failed"))
    return state


def _containers(pod: Object) -> list[tuple[str, dict[str, Any]]]:
    """Return the states of the containers that have one, in the order in which they run."""
    status = pod.get("status") or {}
    known = {
        entry["name"]: entry.get("state") or {}
        for key in ("initContainerStatuses", "containerStatuses")
        for entry in status.get(key) or []
    }
    # One that waits for those before it has nothing to report.
    return [
        (name, known[name])
        for name in CONTAINERS
        if name in known and (known[name].get("waiting") or {}).get("reason") != "PodInitializing"
    ]


def _ended(name: str, terminated: dict[str, Any], limits: Limits, log: list[str]) -> str:
    """Return why a container failed, "" if it did not."""
    code = terminated.get("exitCode", 1)
    if terminated.get("reason") == "OOMKilled":
        bound = limits.memory if name == "build" else "a small limit"
        return f"{name} was killed, because it used more memory than {bound}; wanted less, or more in builder_memory"
    if code == 0:
        return ""
    message = _text(terminated.get("message") or terminated.get("reason") or "no output")
    if name == "source":
        return f"the source did not reach the cluster: {message}; wanted: run the task again"
    if name == "bases":
        return f"a base image cannot be pulled: {message}"
    if name == "push":
        refused = "the registry refused the image" if _HOPELESS.search(message) else "the image cannot be pushed"
        return f"{refused}: {message}"
    text = "\n".join(log) + message
    if _KILLED.search(text):
        return f"a command was killed (exit code 137), likely because it used more memory than {limits.memory}"
    if "no space left on device" in text:
        return f"no disk was left; wanted at most {limits.disk}, builder_disk of the role builder"
    return f"the build ended with exit code {code}"


def _pushed(state: State, terminated: dict[str, Any]) -> State:
    digest = str(terminated.get("message") or "").strip()
    if IMAGE_DIGEST.match(digest):
        return replace(state, digest=digest)
    return replace(state, failure=f"the push reported {_text(digest) or 'nothing'}, wanted the digest of the image")


def _waits(state: State, name: str, waiting: dict[str, Any], waited: float) -> State:
    reason, message = waiting.get("reason", ""), _text(waiting.get("message") or "")
    text = f"{name}: {reason}: {message}".rstrip(": ")
    if reason in _BROKEN and waited > 5:
        return replace(state, failure=f"the node does not start {text}")
    if reason in _WAITING and (_HOPELESS.search(message) or waited > PATIENCE):
        return replace(state, failure=f"the builder's image cannot be pulled: {text}")
    return replace(state, waiting=text)


def _condition(entry: Object, kind: str) -> dict[str, Any] | None:
    found = [one for one in (entry.get("status") or {}).get("conditions") or [] if one.get("type") == kind]
    wanted = [one for one in found if one.get("status") == "True" or kind == "PodScheduled"]
    return wanted[0] if wanted else None


def _text(text: str) -> str:
    """Return the end of a message in one line, which is where programs say what went wrong."""
    line = visible(" ".join(str(text).split()))
    return line if len(line) <= _LONGEST else "..." + line[-_LONGEST:]
