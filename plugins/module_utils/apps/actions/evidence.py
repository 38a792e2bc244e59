# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What explains a failure: the latest warnings of the cluster and the end of a log."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterable

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import labels
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import Plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.rollout import Verdict
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, KubeError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

LOG_LINES = 20
EVENTS = 10
ATTEMPTS = 3


def evidence(kube: Kube, plan: Plan, verdict: Verdict) -> tuple[list[str], str]:
    """Return the latest warnings about an app's objects and the log tail of the pod that shows the failure."""
    events: list[str] = []
    with contextlib.suppress(KubeError):
        events = warnings_of(
            kube.find("Event", plan.tenant, fieldSelector="type=Warning"), [name for _kind, name in plan.keys]
        )[-EVENTS:]
    pod = verdict.pod
    if not pod:
        with contextlib.suppress(KubeError):
            marked = f"{APP}={plan.name},{labels.DIGEST}={plan.digest}"
            pods = kube.find("Pod", plan.tenant, marked)
            pod = next((entry["metadata"]["name"] for entry in pods if not ready(entry)), "")
    return events, _log_tail(kube, plan.tenant, pod) if pod else ""


def _log_tail(kube: Kube, tenant: str, pod: str) -> str:
    """Return the end of the log of a pod's last container that ended, or else of the one that runs."""
    for _attempt in range(ATTEMPTS):
        removed = False
        for previous in (True, False):
            try:
                log = kube.logs(tenant, pod, LOG_LINES, previous=previous).rstrip()
            except KubeError as error:
                # A node keeps one ended container of a pod, and tells a little later which one that is.
                removed = removed or (isinstance(error, ApiError) and error.status == 410)
                continue
            if log:
                return log
        if not removed:
            break
        time.sleep(1)
    return ""


def secrets_in(kube: Kube, plan: Plan) -> list[str]:
    """Return the secrets in the content of a plan, as far as they can be read: a log may show them."""
    spec = plan.spec
    keys = {spec.env_secret: list(spec.secret_env)}
    keys[spec.files_secret] = [entry.key for entry in spec.files if entry.secret]
    keys.update({binding.secret: list(binding.secret_env) for binding in spec.bindings})
    made = {content.name: content.data for content in plan.contents}
    found: list[str] = []
    for name, wanted in keys.items():
        if not name or not wanted:
            continue
        data = made.get(name)
        if data is None:
            with contextlib.suppress(KubeError):
                kept = (kube.get("Secret", plan.tenant, name) or {}).get("data") or {}
                data = {key: base64.b64decode(value) for key, value in kept.items()}
        found += [data[key].decode("utf-8", "replace") for key in wanted if key in data] if data else []
    return found


def warnings_of(events: Iterable[Object], workloads: Iterable[str]) -> list[str]:
    """Return events about workloads, what they make and their pods as lines, oldest first."""
    prefixes = tuple(workloads)
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


def ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)
