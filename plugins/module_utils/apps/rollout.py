# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge rollouts from what the API shows, and wait for them on watches.

`judge` and `gone` are pure. `Watcher` follows the Deployments and pods of apps in one namespace, for all of them with
two connections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .client import ApiError, ConfigError, Kube, KubeError
from .render import APP, DIGEST, PROCESS, Object

# A pod that cannot start is given this long (seconds) before the release counts as failed: a registry may blink, a
# quota may be taken by a pod that is just ending.
PATIENCE = 20.0
CRASHES = 2
STARTING = (
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
HOPELESS = ("InvalidImageName", "ErrImageNeverPull")
HOPELESS_TEXT = ("not found", "manifest unknown", "unauthorized", "denied", "no match for platform")
WATCH_SECONDS = 60


class Verdict(NamedTuple):
    """How a rollout stands: done, failed (final), or neither. `reason` is the best explanation so far."""

    done: bool
    failed: bool
    reason: str = ""
    pod: str = ""


def judge(deployments: Iterable[Object], pods: Iterable[Object], digest: str | None, waited: float) -> Verdict:
    """Say how the rollout of Deployments stands after `waited` seconds; digest None takes the pods of any release."""
    done = True
    reasons: list[str] = []
    pods = list(pods)
    for deployment in deployments:
        name = deployment["metadata"]["name"]
        spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
        wanted = spec.get("replicas", 1)
        observed = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
        counts = {key: status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
        if observed and all(count == wanted for count in counts.values()):
            continue
        done = False
        process = (deployment["metadata"].get("labels") or {}).get(PROCESS, "")
        own = [pod for pod in pods if _belongs(pod, process, digest)]
        if observed:
            for condition in status.get("conditions") or []:
                text = f"{name}: {condition.get('reason')}: {condition.get('message')}"
                if condition.get("type") == "Progressing" and condition.get("status") == "False":
                    return Verdict(False, True, text, _first(own))
                if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                    if waited >= PATIENCE:
                        return Verdict(False, True, text, _first(own))
                    reasons.append(text)
        for pod in own:
            final, reason = trouble(pod, waited)
            if final:
                return Verdict(False, True, f"{name}: {reason}", pod["metadata"]["name"])
            if reason:
                reasons.append(f"{name}: {reason}")
        if not reasons:
            reasons.append(
                f"{name}: {counts['updatedReplicas']} of {wanted} replicas updated, "
                f"{counts['availableReplicas']} available, {counts['replicas']} in all"
            )
    return Verdict(done, False, "; ".join(reasons))


def trouble(pod: Object, waited: float) -> tuple[bool, str]:
    """Return whether a pod will not start, and what keeps it from being ready ("" when nothing is known)."""
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        text = f"pod {name}: {reason}" + (f": {message}" if message else "")
        restarts = container.get("restartCount", 0)
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if reason == "CrashLoopBackOff" or (restarts >= CRASHES and ended and not container.get("ready")):
            text = (
                f"pod {name}: CrashLoopBackOff: container {container.get('name')} ended with exit code "
                f"{ended.get('exitCode', 'unknown')} ({ended.get('reason', 'no reason given')}), "
                f"{restarts} restarts"
            )
            return reason == "CrashLoopBackOff" and restarts >= CRASHES, text
        if reason in HOPELESS:
            return True, text
        if reason in STARTING:
            hopeless = any(hint in message.lower() for hint in HOPELESS_TEXT) and reason == "ImagePullBackOff"
            return hopeless or waited >= PATIENCE, text
        running = (container.get("state") or {}).get("running")
        if running is not None and not container.get("ready"):
            return False, f"pod {name}: container {container.get('name')} runs but its readiness probe does not succeed"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return False, f"pod {name}: {condition.get('reason')}: {condition.get('message')}"
    return False, ""


def _belongs(pod: Object, process: str, digest: str | None) -> bool:
    marks = pod["metadata"].get("labels") or {}
    ending = pod["metadata"].get("deletionTimestamp")
    return not ending and marks.get(PROCESS) == process and (digest is None or marks.get(DIGEST) == digest)


def _first(pods: list[Object]) -> str:
    return pods[0]["metadata"]["name"] if pods else ""


class Watcher:
    """The Deployments and pods of a namespace's apps, kept current by watches until closed."""

    KINDS = ("Deployment", "Pod")

    def __init__(self, kube: Kube, tenant: str, selector: str) -> None:
        self._kube, self._tenant, self._selector = kube, tenant, selector
        self._changed = threading.Condition()
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in self.KINDS}
        self._closed = False
        self._error: KubeError | None = None
        versions = {kind: self._load(kind) for kind in self.KINDS}
        for kind in self.KINDS:
            threading.Thread(target=self._follow, args=(kind, versions[kind]), daemon=True).start()

    def close(self) -> None:
        """Stop following."""
        self._closed = True

    def of(self, kind: str, app: str) -> list[Object]:
        """Return the current objects of an app."""
        with self._changed:
            known = list(self._objects[kind].values())
        return [entry for entry in known if (entry["metadata"].get("labels") or {}).get(APP) == app]

    def wait(self, settled: Callable[[], Any], seconds: float, pulse: Callable[[], None], every: float) -> Any:
        """Return what `settled` returns as soon as it is true, None after the time; call pulse now and then."""
        end = time.monotonic() + seconds
        next_pulse = time.monotonic() + every
        while True:
            if self._error is not None:
                raise self._error
            answer = settled()
            if answer:
                return answer
            now = time.monotonic()
            if now >= end:
                return None
            if now >= next_pulse:
                pulse()
                next_pulse = now + every
            with self._changed:
                self._changed.wait(min(1.0, end - now))

    def note(self, entry: Object) -> None:
        """Take in an object that a request has just returned, so that nothing older is judged."""
        with self._changed:
            self._keep(entry["kind"], entry)

    def _load(self, kind: str) -> str:
        items, version = self._kube.list_version(kind, self._tenant, self._selector)
        with self._changed:
            self._objects[kind] = {entry["metadata"]["name"]: {**entry, "kind": kind} for entry in items}
            self._changed.notify_all()
        return version

    def _follow(self, kind: str, version: str) -> None:
        while not self._closed:
            try:
                version = self._stream(kind, version) or self._load(kind)
            except (ConfigError, ApiError) as error:
                if isinstance(error, ApiError) and error.status in (410, 429, 500, 503, 504):
                    time.sleep(1)
                    version = ""
                    continue
                self._error = error
                return
            except KubeError:
                time.sleep(0.5)
            time.sleep(0.05)

    def _stream(self, kind: str, version: str) -> str:
        """Follow one watch to its end; return the version to go on from, "" when a new list is needed."""
        if not version:
            return ""
        for event in self._kube.watch(kind, self._tenant, self._selector, version, WATCH_SECONDS):
            entry = event.get("object") or {}
            if self._closed:
                return version
            if event.get("type") == "ERROR":
                return ""
            version = entry["metadata"]["resourceVersion"]
            if event.get("type") == "BOOKMARK":
                continue
            with self._changed:
                if event["type"] == "DELETED":
                    self._objects[kind].pop(entry["metadata"]["name"], None)
                    self._changed.notify_all()
                else:
                    self._keep(kind, entry)
        return version

    def _keep(self, kind: str, entry: Object) -> None:
        """Store an object unless a newer generation of it is known: a watch may lag behind an answer."""
        meta = entry["metadata"]
        known = (self._objects[kind].get(meta["name"]) or {}).get("metadata") or {}
        if known.get("uid") != meta.get("uid") or known.get("generation", 0) <= meta.get("generation", 0):
            self._objects[kind][meta["name"]] = entry
        self._changed.notify_all()
