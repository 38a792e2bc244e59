# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `app_build` does: read the source, decide, and run one build in the cluster unless it was run before.

The Job of an app has one name, so that its creation is the lock between concurrent builds. A Job that nobody waits for
any more, because its controller is gone, is replaced by the next run. What is known of a build is kept when its image
is in the registry, and not before.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import cache, images, job, token
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builder import NAMESPACE, Builder
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builds import LOG_LINES, Build, same
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.containerfile import containerfile
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.ending import State, state_of
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.job import (
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    MANAGER,
    NUMBER,
    Wanted,
    alive,
    finished,
    heartbeat,
    job_name,
    may_start,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import Plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.tree import Tree, joined
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP, KIND, TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import BuildRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import (
    MERGE,
    ApiError,
    Attached,
    Kube,
    KubeError,
    Unreachable,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object, path
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import Watcher
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

from . import build_store
from .build_source import Prepared, prepared
from .build_store import BuildError
from .context import Context, Outcome
from .evidence import warnings_of
from .release_store import who

ALL_BUILDS = f"{KIND}={job.BUILD}"
# Frames of a stream to a container.
CHUNK = 32 << 10
EVERY_SECONDS = 10.0
MEBIBYTE = 1048576.0
# A token outlives the build that it is for.
MARGIN_SECONDS = 300
SHOWN_LINES = 20
# Lines of a log that wait to be shown.
WAITING_LINES = 10_000
ATTACHMENTS = 3
# Within these the container that gets the source ends by itself when its connection is lost.
LOST_SECONDS = 10.0
GONE_SECONDS = 60.0
LOG_ATTEMPTS = 3


@dataclass(frozen=True)
class Decision:
    """The decision about a build: plan, Containerfile, the images in its FROM instructions, and cache key."""

    plan: Plan
    text: str
    images: tuple[str, ...]
    key: cache.Key
    warnings: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """Return what results show of it."""
        plan = self.plan
        return {
            "key": self.key.digest,
            "language": plan.language,
            "versions": {version.name: version.value for version in plan.versions},
            "processes": [{"name": one.name, "command": one.command, "source": one.source} for one in plan.processes],
            "port": plan.port,
            "reasons": list(plan.reasons),
            "rejected": [{"language": one.language, "why": one.why} for one in plan.rejected],
            "warnings": list(self.warnings),
            "plan": plan.stored(),
            "containerfile": self.text,
        }


def run(context: Context, request: BuildRequest) -> Outcome:
    """Build the image of an app, or return the build that has the same key."""
    began = time.monotonic()
    kube = context.kube
    context.hide(request.source.secrets)
    builder = build_store.configured(kube)
    if kube.get("Namespace", None, request.tenant) is None:
        found = Finding("tenant", f"no namespace {request.tenant}", "a tenant that exists (module tenant)")
        raise Invalid([found])
    with prepared(request.source, context.progress, request.timeout) as (source, scratch):
        decision = decide(source, request, builder)
        history, number = build_store.load(kube, request.tenant, request.name, builder.registry)
        known = same(history, decision.key)
        if known is not None:
            return _known(known, decision)
        outcome = Outcome(True, {"build": {**decision.values(), **_unbuilt(number, source)}})
        outcome.warnings = list(decision.warnings)
        outcome.diff = [_difference(request, history, decision, source)]
        if context.check_mode:
            return outcome
        tar = os.path.join(scratch, "source.tar")
        size, sha256 = source.pack(tar)
        wanted = Wanted(
            app=request.name,
            tenant=request.tenant,
            number=number,
            size=size,
            sha256=sha256,
            images=decision.images,
            containerfile=images.localized(
                decision.text,
                decision.images,
                () if decision.plan.containerfile else job.stage_environment(builder),
            ),
            context=decision.plan.root if decision.plan.containerfile else ".",
            ignored=bool(decision.plan.containerfile),
            seconds=min(request.timeout, builder.limits.seconds),
            by=who(),
            nonce=secrets.token_hex(4),
        )
        running = _Running(context, builder, wanted, tar, began + request.timeout)
        made = running.take(decision.key)
        if made is not None:
            return _known(made, decision)
        return _build(running, request, decision, source, outcome)


def decide(source: Prepared, request: BuildRequest, builder: Builder) -> Decision:
    """Decide how to build a source. Raises Invalid with everything that is wrong."""
    tree = source.tree
    plan = detect(tree, builder.offered, request.options)
    missing = [name for name in plan.bases if name not in builder.bases]
    if missing:
        there = ", ".join(sorted(builder.bases)) or "none"
        wanted = f"one of those of the cluster ({there}): add its language to builder_languages of the role builder"
        raise Invalid(
            Finding("build.language", f"{plan.language}, with the base image {one}", wanted) for one in missing
        )
    warnings = [*source.warnings, *plan.warnings]
    if plan.containerfile:
        text, chosen = _own(tree, plan, request, builder)
        warnings += [
            f"FROM {image}: the image may change under its name, and no build notices: name it by digest"
            for image in images.moving(chosen)
        ]
    else:
        text = containerfile(plan, builder.images)
        chosen = tuple(dict.fromkeys(builder.images[name] for name in plan.bases))
    key = cache.image(tree, plan, builder.images, {})
    return Decision(plan, text, chosen, key, tuple(visible(one) for one in warnings))


def _own(tree: Tree, plan: Plan, request: BuildRequest, builder: Builder) -> tuple[str, tuple[str, ...]]:
    """Return the Containerfile of the author and the images that it begins with."""
    place = joined(plan.root, plan.containerfile)
    text = tree.read(place)
    if len(text.encode()) > 500_000:
        raise Invalid([Finding(place, f"{len(text)} characters", "at most 500000 bytes")])
    return text, images.named(text, place, builder.registry, request.tenant)


def _unbuilt(number: int, source: Prepared) -> dict[str, Any]:
    return {"number": number, "image": None, "commit": source.commit, "seconds": 0, "cached": False}


def _known(build: Build, decision: Decision) -> Outcome:
    """Return the outcome for a build that was run before."""
    values = {**decision.values(), "number": build.number, "image": build.image, "commit": build.commit}
    done = Outcome(False, {"build": {**values, "seconds": build.seconds, "cached": True}}, [])
    done.warnings = list(decision.warnings)
    return done


def _difference(request: BuildRequest, history: list[Build], decision: Decision, source: Prepared) -> dict[str, Any]:
    """Return how the build differs from the last one: by the parts of its key, so without what only a build knows."""
    last = history[-1] if history else None
    before = dict(last.key.parts) if last else {}
    after = dict(decision.key.parts)
    where = f"builds of app {request.tenant}/{request.name}"

    def listed(parts: dict[str, str], commit: str) -> str:
        lines = [f"commit: {commit}"] if commit else []
        return "".join(f"{line}\n" for line in [*lines, *(f"{name}: {value}" for name, value in sorted(parts.items()))])

    return {
        "before_header": where,
        "after_header": where,
        "before": listed(before, last.commit) if last else "",
        "after": listed(after, source.commit),
    }


def _build(running: _Running, request: BuildRequest, decision: Decision, source: Prepared, outcome: Outcome) -> Outcome:
    """Run a build whose Job is this run's, keep what came of it, and clean up."""
    kube, wanted = running.kube, running.wanted
    result = outcome.values["build"]
    result["number"] = wanted.number
    began = time.monotonic()
    try:
        state = running.run()
        result["seconds"] = int(time.monotonic() - began)
        if state.failure:
            return _failed(running, state, outcome)
        build = Build(
            app=request.name,
            tenant=request.tenant,
            number=wanted.number,
            key=decision.key,
            plan=decision.plan,
            image=f"{running.builder.registry}/{wanted.repository}@{state.digest}",
            source=visible(request.source.described()),
            commit=source.commit,
            created=releases.timestamp(kube.now()),
            by=wanted.by,
            seconds=result["seconds"],
            log=tuple(running.tail),
        )
        build_store.create(kube, build)
        result["image"] = build.image
    finally:
        running.clean()
    build_store.tidy(kube, request.tenant, request.name, running.builder.registry, request.keep)
    return outcome


def _failed(running: _Running, state: State, outcome: Outcome) -> Outcome:
    wanted = running.wanted
    lines = list(running.tail)
    outcome.values["log"] = "\n".join(lines)
    # Nothing of it stays.
    outcome.changed = False
    message = f"app {wanted.tenant}/{wanted.app}: build {wanted.number} failed: {state.failure}"
    if lines:
        message += ". Last log lines:\n" + "\n".join(lines[-SHOWN_LINES:])
    return outcome.fail(message)


class _Running:
    """One build: its objects in the cluster, and what its containers write."""

    def __init__(self, context: Context, builder: Builder, wanted: Wanted, tar: str, end: float) -> None:
        self.context, self.builder, self.wanted, self._tar = context, builder, wanted, tar
        self.kube: Kube = context.kube
        self.name = job_name(wanted.app, wanted.tenant)
        self.tail: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._lines: queue.Queue[str] = queue.Queue(WAITING_LINES)
        self._left_out = 0
        self._attached = 0
        self._followed: dict[str, threading.Thread] = {}
        self._end = end
        self._uid = ""
        self._selector = f"{ALL_BUILDS},{APP}={wanted.app},{TENANT}={wanted.tenant}"
        self._said = ""
        self._sent = False
        self._beaten = 0.0

    def _say(self, message: str) -> None:
        """Tell of progress, of the same only once."""
        if message != self._said:
            self._said = message
            self.context.progress(message)

    def take(self, key: cache.Key) -> Build | None:
        """Create the Job of the app after another run's; return the build that is wanted if that one has made it."""
        where = f"app {self.wanted.tenant}/{self.wanted.app}"
        while True:
            history, number = build_store.load(self.kube, self.wanted.tenant, self.wanted.app, self.builder.registry)
            known = same(history, key)
            if known is not None:
                return known
            number = build_store.free_number(self.kube, self.wanted.tenant, self.wanted.app, number)
            self.wanted = replace(self.wanted, number=number)
            try:
                made = self.kube.create(job.job(self.wanted, self.builder, self.kube.now()), MANAGER)
                self._uid = made["metadata"]["uid"]
                return self._taken(key)
            except ApiError as error:
                if error.status != 409:
                    raise
            other = self.kube.get("Job", NAMESPACE, self.name)
            if other is None:
                continue
            left = self._end - time.monotonic()
            if build_store.live(other) and not alive(other, self.kube.now()):
                _since, by = heartbeat(other)
                self._say(f"replacing a build of {visible(by)} that was left over")
                _delete(self.kube, self.name, other["metadata"]["uid"])
                continue
            if left <= 0:
                _since, by = heartbeat(other)
                number_of = (other["metadata"].get("labels") or {}).get(NUMBER, "?")
                wanted = "wait until it has finished, or a longer timeout"
                raise BuildError(f"{where}: build {number_of} is being run by {visible(by)}; wanted: {wanted}")
            self._say(f"waiting for another build of {where}")
            time.sleep(min(2.0, left))

    def _taken(self, key: cache.Key) -> Build | None:
        """Look once more, now that no other run can build this app: one may have ended just before."""
        try:
            history, number = build_store.load(self.kube, self.wanted.tenant, self.wanted.app, self.builder.registry)
            known = same(history, key)
            if known is None and number > self.wanted.number:
                raise BuildError(
                    f"app {self.wanted.tenant}/{self.wanted.app}: build {self.wanted.number} has just been made; "
                    "wanted: run the task again"
                )
        except BaseException:
            self.clean()
            raise
        if known is not None:
            self.clean()
        return known

    def run(self) -> State:
        """Run the build and return how it ended."""
        signer = build_store.signer(self.kube)
        with contextlib.closing(Watcher(self.kube, NAMESPACE, ALL_BUILDS, ["Job"])) as jobs:
            self._queue(jobs)
        self._provide(signer)
        with contextlib.closing(Watcher(self.kube, NAMESPACE, self._selector, ["Job", "Pod"])) as watcher:
            self._resume()
            return self._follow(watcher)

    def _queue(self, jobs: Watcher) -> None:
        """Wait until it is this build's turn."""
        most = self.builder.limits.builds

        def turn() -> bool:
            if not any(entry["metadata"].get("uid") == self._uid for entry in jobs.of("Job")):
                where = f"app {self.wanted.tenant}/{self.wanted.app}: build {self.wanted.number}"
                raise BuildError(f"{where} failed: cancelled: its Job was deleted while it waited")
            for entry in jobs.of("Job"):
                # Whoever waited for it is gone: it keeps nobody waiting.
                uid = entry["metadata"]["uid"]
                left = build_store.live(entry) and not finished(entry) and not alive(entry, self.kube.now())
                if left and uid != self._uid:
                    _discard(self.kube, entry["metadata"]["name"], uid)
            if may_start(jobs.of("Job"), self.name, most, self.kube.now()):
                return True
            self._say(f"waiting, as {most} builds run at once in this cluster")
            return False

        if not jobs.wait(turn, max(self._end - time.monotonic(), 1.0), self._beat, HEARTBEAT_SECONDS):
            raise BuildError(
                f"app {self.wanted.tenant}/{self.wanted.app}: found that other builds run all the time (at most "
                f"{most} at once), wanted a longer timeout, or more in builder_max_builds of the role builder"
            )

    def _provide(self, signer: token.Signer) -> None:
        """Create what the pod of the Job mounts."""
        owner: Object = {"metadata": {"name": self.name, "uid": self._uid}}
        wanted = self.wanted
        content = token.claims(
            self.builder.issuer,
            self.builder.service,
            f"build:{wanted.tenant}/{wanted.app}:{wanted.number}",
            job.pulled(wanted),
            [wanted.repository],
            int(self.kube.now()),
            wanted.seconds + MARGIN_SECONDS,
            secrets.token_hex(16),
        )
        made = token.signed(signer, content)
        self.context.hide([made])
        self.wanted = replace(wanted, token=made)
        for entry in (
            job.config_map(self.wanted, self.builder, owner),
            job.secret(self.wanted, self.builder, owner),
        ):
            self.kube.create(entry, MANAGER)

    def _resume(self) -> None:
        change = {"metadata": {"uid": self._uid}, "spec": {"suspend": False}}
        where = path("Job", NAMESPACE, self.name)
        self.kube.request("PATCH", where, {"fieldManager": MANAGER}, change, content_type=MERGE)

    def _beat(self) -> None:
        """Show that somebody waits for the build."""
        if time.monotonic() - self._beaten < HEARTBEAT_SECONDS / 2:
            return
        self._beaten = time.monotonic()
        change = {"annotations": {HEARTBEAT: f"{self.kube.now():.0f}"}}
        with contextlib.suppress(KubeError):
            self.kube.patch_metadata("Job", NAMESPACE, self.name, change, MANAGER)

    def _follow(self, watcher: Watcher) -> State:
        """Send the source, tell of the log, and return how the build ended."""
        state, since = State(), time.monotonic()
        last: State | None = None
        broken = ""

        def settled() -> bool:
            nonlocal state, since, broken, last
            self._drain()
            own = [entry for entry in watcher.of("Job") if entry["metadata"].get("uid") == self._uid]
            pods = [entry for entry in watcher.of("Pod") if self._mine(entry)]
            waited = time.monotonic() - since
            found = state_of(
                own[0] if own else None, pods, self.builder.limits, self.wanted.seconds, self.tail, waited, last
            )
            if replace(found, failure="") != replace(state, failure=""):
                since = time.monotonic()
            state = found
            if state.pod:
                last = state
                for name in ("build", "push"):
                    if name == state.running or name in state.ended:
                        self._listen(state.pod, name)
            if state.running and not state.failure:
                self._say(
                    {"bases": "pulling base images", "build": "building", "push": "pushing the image"}.get(
                        state.running, "sending the source"
                    )
                )
            elif state.waiting:
                self._say(f"waiting: {state.waiting}")
            if state.running == "source" and not self._sent:
                broken = self._send(state.pod)
            elif state.running == "source" and broken and waited > LOST_SECONDS:
                wanted = "wanted: run the task again"
                state = replace(state, failure=f"the source did not reach the cluster; {wanted}")
            return bool(state.failure or state.digest)

        def pulse() -> None:
            nonlocal state
            self._beat()
            if not state.pod:
                refused = self._refused()
                if refused:
                    state = replace(state, waiting=refused)

        left = max(self._end - time.monotonic(), 1.0)
        if not watcher.wait(settled, left, pulse, HEARTBEAT_SECONDS):
            reason = state.waiting or (f"{state.running} still runs" if state.running else "its pod has not started")
            events = self._events(state.pod)
            more = ". Events: " + " | ".join(events[-3:]) if events else ""
            state = replace(state, failure=f"not done in time: {reason}{more}")
        self._finish()
        if broken and state.failure:
            state = replace(state, failure=f"{state.failure} ({broken})")
        return state

    def _mine(self, pod: Object) -> bool:
        owners = pod["metadata"].get("ownerReferences") or []
        return any(owner.get("uid") == self._uid for owner in owners)

    def _refused(self) -> str:
        """Return why the API refuses the pod of the Job, "" if it does not."""
        lines = self._events("")
        return lines[-1] if lines else ""

    def _events(self, pod: str) -> list[str]:
        with contextlib.suppress(KubeError):
            found = self.kube.find("Event", NAMESPACE, fieldSelector="type=Warning")
            return [visible(line)[:500] for line in warnings_of(found, [pod or self.name])]
        return []

    def _send(self, pod: str) -> str:
        """Send the source to the pod; return why it broke off, "" if it did not. The pod's own end says the rest.

        Its standard input is one that a second connection gets nothing of, so only the first one is tried again.
        """
        self._attached += 1
        self._sent = self._attached >= ATTACHMENTS
        try:
            with contextlib.closing(self.kube.attach(NAMESPACE, pod, "source")) as stream:
                self._sent = True
                self._stream(stream)
                # The container ends when it has all; a connection that is closed before may lose the rest.
                self._drained(pod)
        except (Unreachable, ApiError) as error:
            # The API server says so of a kubelet that it does not reach.
            if isinstance(error, ApiError) and error.status < 500:
                raise
            return str(error)
        return ""

    def _stream(self, stream: Attached) -> None:
        sent, told = 0, time.monotonic()
        with open(self._tar, "rb") as tar:
            for chunk in iter(lambda: tar.read(CHUNK), b""):
                stream.send(chunk)
                sent += len(chunk)
                self._beat()
                if time.monotonic() - told > EVERY_SECONDS:
                    told = time.monotonic()
                    self._say(f"sending the source: {sent / MEBIBYTE:.0f} of {self.wanted.size / MEBIBYTE:.0f} MiB")

    def _drained(self, pod: str) -> None:
        """Wait until the container `source` has ended, as long as the build may take."""
        while time.monotonic() < self._end:
            entry = self.kube.get("Pod", NAMESPACE, pod)
            statuses = ((entry or {}).get("status") or {}).get("initContainerStatuses") or []
            states = [one.get("state") or {} for one in statuses if one.get("name") == "source"]
            if entry is None or not states or "running" not in states[0]:
                return
            self._beat()
            time.sleep(0.3)

    def _listen(self, pod: str, container: str) -> None:
        """Follow the log of a container, once."""
        if container in self._followed:
            return

        def follow() -> None:
            # The node may know the container a little later than the API does.
            for _attempt in range(LOG_ATTEMPTS):
                empty = True
                for line in self.kube.follow(NAMESPACE, pod, container):
                    empty = False
                    try:
                        self._lines.put_nowait(line)
                    except queue.Full:
                        self._left_out += 1
                if not empty:
                    return
                time.sleep(0.5)

        self._followed[container] = threading.Thread(target=follow, daemon=True)
        self._followed[container].start()

    def _drain(self) -> None:
        for line in self._written():
            text = visible(line.rstrip("\r\n").rpartition("\r")[2])
            self.tail.append(text)
            self.context.progress(text)
        if self._left_out:
            self.context.progress(f"{self._left_out} lines of the log are left out")
            self._left_out = 0

    def _written(self) -> Iterator[str]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._lines.get_nowait()

    def _finish(self) -> None:
        """Take what the followed containers have written until their end."""
        for thread in self._followed.values():
            thread.join(timeout=3)
        self._drain()

    def clean(self) -> None:
        """Delete the objects of the build; never a reason to fail."""
        for kind in ("Secret", "ConfigMap"):
            with contextlib.suppress(KubeError):
                self.kube.delete(kind, NAMESPACE, self.wanted.mounted)
        with contextlib.suppress(KubeError):
            _delete(self.kube, self.name, self._uid)
        # A node that is lost does not confirm that its pods have ended, and they count in the quota until then.
        with contextlib.suppress(KubeError):
            for pod in self.kube.find("Pod", NAMESPACE, self._selector):
                if self._mine(pod):
                    where = path("Pod", NAMESPACE, pod["metadata"]["name"])
                    self.kube.request("DELETE", where, {}, {"gracePeriodSeconds": 0})


def _discard(kube: Kube, name: str, uid: str) -> bool:
    """Delete a Job and its pods; return False if it is not the one of this uid any more."""
    body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
    try:
        kube.request("DELETE", path("Job", NAMESPACE, name), {}, body)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        return False
    return True


def _delete(kube: Kube, name: str, uid: str) -> None:
    """Delete a Job and its pods, if it still is the one of this uid, and wait until it is gone."""
    end = time.monotonic() + GONE_SECONDS
    if not _discard(kube, name, uid):
        return
    while time.monotonic() < end:
        entry = kube.get("Job", NAMESPACE, name)
        if entry is None or entry["metadata"].get("uid") != uid:
            return
        time.sleep(0.3)
