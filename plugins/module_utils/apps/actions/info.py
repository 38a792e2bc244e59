# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `app_info` does: show apps, their releases, processes, pods and endpoints."""

from __future__ import annotations

import contextlib
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import labels, releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.history import history
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP, KIND, PROCESS
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import (
    KINDS,
    Live,
    digest_on,
    ended,
    instance_of,
    live_apps,
    process_of,
    remembered,
    size,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.render import bounds_of, scaled_resources
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import InfoRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.rollout import judge
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import summaries
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.topology import FORMS, topology
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube, KubeError, if_allowed
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import SCALED, WORKLOADS, Object

from .context import Context, Outcome
from .evidence import ready, warnings_of
from .route_claims import of_routes
from .tenant_info import quota_of, usage_of

Result = dict[str, Any]


def run(context: Context, request: InfoRequest) -> Outcome:
    """Return what there is of one app, of a tenant's, or of all."""
    kube, name, tenant = context.kube, request.name, request.tenant
    chosen = releases.selector([name] if name else [])
    kinds = [*KINDS, "Pod", "EndpointSlice"]
    listed = {kind: kube.find(kind, tenant, chosen) for kind in kinds}
    listed["release"] = kube.find("Secret", tenant, releases.selector([name] if name else [], "release"))
    listed["ResourceQuota"] = _quotas(kube, tenant)
    routes = summaries(of_routes(kube, tenant))
    events = kube.find("Event", tenant) if request.events else []
    apps: list[Result] = []
    keys = sorted(
        {
            (entry["metadata"]["namespace"], entry["metadata"]["labels"][APP])
            for kind in (*WORKLOADS, "release", "Pod")
            for entry in listed[kind]
        }
    )
    for namespace, app in keys:
        own = {
            kind: [
                entry
                for entry in entries
                if entry["metadata"]["namespace"] == namespace
                and (kind == "ResourceQuota" or entry["metadata"]["labels"].get(APP) == app)
            ]
            for kind, entries in listed.items()
        }
        about = [event for event in events if event["metadata"]["namespace"] == namespace]
        services = {entry["metadata"]["name"] for entry in own["Service"]}
        leading = [
            {key: route[key] for key in ("name", "app", "domains", "ports")}
            for route in routes
            if route["tenant"] == namespace and (route["app"] == app or not services.isdisjoint(route["services"]))
        ]
        apps.append({**_describe(kube, app, namespace, own, about, request.log_lines), "routes": leading})
        if not request.events:
            del apps[-1]["events"]
    values: Result = {"apps": apps}
    if request.topology != "none":
        found = topology(apps)
        values["topology"] = dict(found)
        if request.topology in FORMS:
            values["topology"]["text"] = FORMS[request.topology](found)
    return Outcome(values=values)


def _quotas(kube: Kube, tenant: str | None) -> list[Object]:
    """Return the quotas of tenants, none when these credentials do not show them."""
    return if_allowed(lambda: kube.find("ResourceQuota", tenant, f"{KIND}=tenant")) or []


def _describe(
    kube: Kube, name: str, tenant: str, own: dict[str, list[Object]], events: list[Object], lines: int
) -> Result:
    live = live_apps([name], tenant, {key: own[key] for key in (*KINDS, "release")}, kube.warn)[name]
    newest = live.newest
    pods = []
    logs: dict[str, dict[str, str]] = {}
    for pod in own["Pod"]:
        status = pod.get("status") or {}
        pod_name, process = pod["metadata"]["name"], pod["metadata"]["labels"].get(PROCESS)
        containers = status.get("containerStatuses") or []
        pods.append(
            {
                "name": pod_name,
                "process": process,
                "node": (pod.get("spec") or {}).get("nodeName"),
                "address": status.get("podIP"),
                "phase": status.get("phase"),
                "ready": ready(pod),
                "restarts": sum(container.get("restartCount", 0) for container in containers),
                "digest": pod["metadata"]["labels"].get(labels.DIGEST),
                "image": ((pod.get("spec") or {}).get("containers") or [{}])[0].get("image"),
            }
        )
        if lines:
            with contextlib.suppress(KubeError):
                logs.setdefault(process or "", {})[pod_name] = kube.logs(tenant, pod_name, lines).rstrip()
    result: Result = {
        "name": name,
        "tenant": tenant,
        "status": _status(live, own["Pod"]),
        "release": newest.version if newest else None,
        "image": newest.spec.image if newest else None,
        "digest": newest.digest if newest else None,
        "releases": history(live.releases),
        "processes": _processes(live),
        "domains": list(live.route.domains),
        "stack": live.stack,
        "bindings": [binding.summary() for binding in newest.spec.bindings] if newest else [],
        "services": {
            service["metadata"]["name"]: {
                "address": service["spec"].get("clusterIP"),
                "ports": [port["port"] for port in service["spec"].get("ports") or []],
            }
            for service in own["Service"]
        },
        "endpoints": _endpoints(own["EndpointSlice"]),
        "pods": pods,
        "usage": _usage(name, own),
        "events": _event_lines(events, [name for _kind, name in live.workloads]),
    }
    if lines:
        result["logs"] = logs
    return result


def _usage(app: str, own: dict[str, list[Object]]) -> dict[str, Result]:
    """Return what the pods of an app request, beside what all of its tenant use and may use."""
    amounts = {"pods": 0, "cpu": "0m", "memory": "0Mi", **usage_of(own["Pod"]).get(app, {})}
    quota = quota_of(own["ResourceQuota"])
    return {
        name: {"requested": amount, **quota.get(name, {"hard": None, "used": None})} for name, amount in amounts.items()
    }


def _event_lines(events: list[Object], workloads: list[str]) -> list[str]:
    return warnings_of(events, workloads)[-50:]


def _endpoints(slices: list[Object]) -> list[Result]:
    return [
        {"address": address, "port": port.get("port"), "ready": (endpoint.get("conditions") or {}).get("ready", False)}
        for entry in slices
        for endpoint in entry.get("endpoints") or []
        for address in endpoint.get("addresses") or []
        for port in entry.get("ports") or []
    ]


def _processes(live: Live) -> dict[str, Result]:
    """Return how each process runs; instances in the hosts' network count together."""
    scalers = {
        process_of(entry): entry for (kind, _name), entry in live.objects.items() if kind == "HorizontalPodAutoscaler"
    }
    found: dict[str, Result] = {}
    for process in sorted({process_of(entry) for entry in live.workloads.values()}):
        workloads = live.of(process)
        first = workloads[0]
        if instance_of(first) is None:
            # Beside that of the newest release there may be one that is being replaced.
            workloads = [entry for entry in workloads if digest_on(entry) == digest_on(first)]
        status = first.get("status") or {}
        shown: Result = {"kind": first["kind"]}
        if first["kind"] in SCALED:
            counts = {
                ours: sum((entry.get("status") or {}).get(theirs, 0) for entry in workloads)
                for ours, theirs in (("ready", "readyReplicas"), ("updated", "updatedReplicas"))
            }
            stopped = [count for count in map(remembered, workloads) if count is not None]
            shown |= {
                "replicas": sum(map(size, workloads)),
                **counts,
                "stopped_replicas": sum(stopped) if stopped else None,
                "autoscale": bounds_of(scalers[process]) if process in scalers else None,
                "resources": scaled_resources(first) or None,
            }
        else:
            shown |= {"suspended": not size(first)}
        if first["kind"] == "CronJob":
            shown |= {
                "schedule": first["spec"]["schedule"],
                "last_start": status.get("lastScheduleTime"),
                "last_success": status.get("lastSuccessfulTime"),
                "active": len(status.get("active") or []),
            }
        if first["kind"] == "Job":
            shown |= {key: status.get(key, 0) for key in ("active", "succeeded", "failed")}
        found[process] = shown
    return found


def _status(live: Live, pods: list[Object]) -> str:
    """Return absent, failed, stopped, running, complete, rolling, failing or degraded."""
    workloads = list(live.workloads.values())
    if not workloads:
        return "failed" if live.newest is not None and live.newest.status == "failed" else "absent"
    if all(entry["kind"] == "Job" for entry in workloads) and live.newest and live.newest.status == "failed":
        return "failed"
    if all(remembered(entry) is not None for entry in workloads):
        return "stopped"
    verdict = judge(workloads, pods, None, 0)
    if verdict.done:
        return "complete" if all(entry["kind"] == "Job" and ended(entry) for entry in workloads) else "running"
    if verdict.failed:
        return "failing"
    return "rolling" if live.newest is not None and live.newest.status == "pending" else "degraded"
