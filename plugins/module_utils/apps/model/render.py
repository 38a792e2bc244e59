# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a release to Kubernetes objects. Pure."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import SCALED, VERSIONS, Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head

from . import record_schemas
from .labels import APP, DIGEST, INSTANCE, KIND, PROCESS, RELEASE, RESOURCES, RESTART, STACK, STOPPED, labels
from .release_spec import Port, Process, ReleaseSpec, Resources
from .spec import Content

# Rolling back applies a release again and needs no old ReplicaSet, so only the one before is kept.
HISTORY = 1
MAX_NOTED = 10_000
SPREAD = {"hosts": ("kubernetes.io/hostname",), "zones": ("topology.kubernetes.io/zone", "kubernetes.io/hostname")}


@dataclass(frozen=True)
class Around:
    """What is not part of a release and still goes into its objects.

    `resources` are those that app_scale has set, by process; `ports` those of each instance of a process in the
    hosts' network, by process: one mapping of port name to number per instance.
    """

    restart_key: str | None = None
    resources: Mapping[str, Resources] = field(default_factory=dict)
    ports: Mapping[str, list[dict[str, int]]] = field(default_factory=dict)
    stack: str | None = None


class Route(NamedTuple):
    """Where the gateway takes requests for an app from."""

    domains: tuple[str, ...] = ()
    ingress_class: str | None = None


def render(
    app: str, tenant: str, spec: ReleaseSpec, digest: str, version: int, route: Route, around: Around
) -> list[Object]:
    """Return what a release runs as: per process its workloads and their budget, Services, and an Ingress.

    The replicas are not in it: they belong to another manager.
    """
    objects: list[Object] = []
    routed = spec.main
    for process in spec.processes:
        name = f"{app}-{process.name}"
        own_labels = labels(app, tenant, process.name)
        selector = {APP: app, PROCESS: process.name}
        objects += _workloads(app, tenant, spec, process, digest, version, around)
        if spec.row.workload not in SCALED:
            continue
        budget = head("PodDisruptionBudget", name, tenant, own_labels)
        budget["spec"] = {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        objects.append(budget)
        if spec.strategy == "blue_green":
            selector = {**selector, DIGEST: digest}
        ports = [
            {"name": port.name, "port": port.port, "protocol": port.protocol, "targetPort": port.name}
            for port in process.ports
        ]
        # Instances that are more than replicas of each other are found one by one, behind a Service without address.
        stateful = spec.row.workload == "StatefulSet"
        single = stateful or process.host_network
        if process is routed or (ports and not single):
            service = head("Service", app if process is routed else name, tenant, own_labels)
            service["spec"] = {"selector": selector, "ports": ports}
            objects.append(service)
        if single:
            service = head("Service", name, tenant, own_labels)
            service["spec"] = {"selector": selector, "clusterIP": "None"}
            if stateful:
                # Members find each other before they are ready.
                service["spec"]["publishNotReadyAddresses"] = True
            if ports:
                service["spec"]["ports"] = copy.deepcopy(ports)
            objects.append(service)
    if route.domains and routed is not None and routed.tcp is not None:
        objects.append(_ingress(app, tenant, routed.tcp, route))
    if around.stack is not None:
        for entry in objects:
            entry["metadata"]["labels"] = {**entry["metadata"]["labels"], STACK: around.stack}
    return objects


def _workloads(
    app: str, tenant: str, spec: ReleaseSpec, process: Process, digest: str, version: int, around: Around
) -> Iterable[Object]:
    """Yield what makes the pods of a process."""
    kind = spec.row.workload
    name = f"{app}-{process.name}"
    own_labels = labels(app, tenant, process.name)
    selector = {APP: app, PROCESS: process.name}

    def workload(called: str, extra: dict[str, str], numbers: dict[str, int] | None = None) -> Object:
        found = head(kind, called, tenant, {**own_labels, **extra})
        found["metadata"]["annotations"] = {RELEASE: str(version)}
        scaled = around.resources.get(process.name, {})
        annotations = {RESTART: around.restart_key} if around.restart_key is not None else {}
        template: Object = {
            "metadata": {"labels": {**own_labels, **extra, DIGEST: digest}},
            "spec": _pod(spec, process, selector, scaled, numbers),
        }
        if annotations:
            template["metadata"]["annotations"] = annotations
        found["spec"] = {"template": template}
        return found

    if kind in ("CronJob", "Job"):
        made = workload(name if kind == "CronJob" else f"{name}-v{version}", {})
        run = {**_run(process.run), **made["spec"]}
        made["spec"] = _cron(process.schedule, run) if kind == "CronJob" else run
        yield made
        return
    if kind == "StatefulSet":
        made = workload(name, {})
        made["spec"].update(
            {
                "selector": {"matchLabels": selector},
                "serviceName": name,
                "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate"},
                "revisionHistoryLimit": HISTORY,
            }
        )
        yield made
        return
    strategy: Object = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    if spec.strategy == "recreate" or process.host_network:
        strategy = {"type": "Recreate"}
    made_of: list[tuple[str, dict[str, str], dict[str, int] | None]]
    if process.host_network:
        # A host has each port once: the new pod of an instance can only start when the old one has ended.
        made_of = [
            (f"{name}-{number}", {INSTANCE: str(number)}, numbers)
            for number, numbers in enumerate(around.ports.get(process.name, []))
        ]
    elif spec.strategy == "blue_green":
        made_of = [(f"{name}-{digest[:10]}", {DIGEST: digest}, None)]
    else:
        made_of = [(name, {}, None)]
    for called, extra, numbers in made_of:
        made = workload(called, extra, numbers)
        made["spec"].update(
            {
                "selector": {"matchLabels": {**selector, **extra}},
                "revisionHistoryLimit": HISTORY,
                "strategy": copy.deepcopy(strategy),
            }
        )
        yield made


def _run(run: Mapping[str, int]) -> Object:
    names = (
        ("parallelism", "parallelism"),
        ("completions", "completions"),
        ("retries", "backoffLimit"),
        ("deadline", "activeDeadlineSeconds"),
    )
    return {theirs: run[ours] for ours, theirs in names if ours in run}


def _cron(schedule: Mapping[str, Any], run: Object) -> Object:
    rendered: Object = {
        "schedule": schedule["at"],
        "concurrencyPolicy": schedule["concurrency"].capitalize(),
        "successfulJobsHistoryLimit": schedule["history"]["succeeded"],
        "failedJobsHistoryLimit": schedule["history"]["failed"],
        "jobTemplate": {"spec": run},
    }
    if "time_zone" in schedule:
        rendered["timeZone"] = schedule["time_zone"]
    if "start_deadline" in schedule:
        rendered["startingDeadlineSeconds"] = schedule["start_deadline"]
    return rendered


def _ingress(app: str, tenant: str, port: Port, route: Route) -> Object:
    backend = {"service": {"name": app, "port": {"name": port.name}}}
    ingress = head("Ingress", app, tenant, labels(app, tenant))
    ingress["spec"] = {
        "rules": [
            {"host": domain, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
            for domain in route.domains
        ]
    }
    if route.ingress_class:
        ingress["spec"]["ingressClassName"] = route.ingress_class
    return ingress


def _pod(
    spec: ReleaseSpec,
    process: Process,
    selector: dict[str, str],
    scaled: Resources,
    numbers: dict[str, int] | None,
) -> dict[str, Any]:
    """Return a pod's spec; numbers are the real ports, by name, of an instance in its host's network."""
    serves = bool(process.ports)
    placement = process.placement
    kind = spec.row.workload
    container: dict[str, Any] = {
        "name": process.name,
        "image": spec.image,
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    for key, texts in (("command", process.command), ("args", process.args)):
        if texts:
            container[key] = list(texts)
    if process.ports:
        container["ports"] = [
            {
                "name": port.name,
                "containerPort": numbers[port.name] if numbers else port.port,
                "protocol": port.protocol,
            }
            for port in process.ports
        ]
    if numbers:
        container["env"] = [{"name": "PORT", "value": str(numbers[process.ports[0].name])}] + [
            {"name": port.variable, "value": str(numbers[port.name])} for port in process.ports
        ]
    resources = without(process.resources, scaled)
    if resources:
        container["resources"] = resources
    for name, probe in process.probes.items():
        if probe:
            container[name + "Probe"] = _probe(probe, process.ports if numbers else ())
    if serves and spec.drain:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": spec.drain}}}
    if spec.env_secret:
        container["envFrom"] = [{"secretRef": {"name": spec.env_secret}}]
    for binding in spec.bindings:
        container.setdefault("envFrom", []).append({"secretRef": {"name": binding.secret}})
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": spec.grace + (spec.drain if serves else 0),
        "containers": [container],
    }
    spread = SPREAD.get(placement.get("spread", "hosts"), ())
    if spread:
        # Pods of an old release do not count for where a new one goes; only a ReplicaSet's have the hash.
        hashed = {"matchLabelKeys": ["pod-template-hash"]} if kind == "Deployment" and not numbers else {}
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector},
                **hashed,
            }
            for key in spread
        ]
    if "node_labels" in placement:
        pod["nodeSelector"] = dict(placement["node_labels"])
    if "tolerations" in placement:
        pod["tolerations"] = [{"key": name, "operator": "Exists"} for name in placement["tolerations"]]
    if numbers:
        pod["hostNetwork"] = True
        pod["dnsPolicy"] = "ClusterFirstWithHostNet"
    if kind not in SCALED:
        # Each attempt is a pod of its own, so that the log of one that failed stays.
        pod["restartPolicy"] = "Never"
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    if spec.files:
        container["volumeMounts"] = [
            {"name": "files", "mountPath": entry.path, "subPath": entry.key, "readOnly": True} for entry in spec.files
        ]
        items = [{"key": entry.key, "path": entry.key, "mode": entry.mode} for entry in spec.files]
        pod["volumes"] = [{"name": "files", "secret": {"secretName": spec.files_secret, "items": items}}]
    return pod


def without(resources: Resources, scaled: Resources) -> Resources:
    """Return the resources a release sets itself: those that app_scale has set are left to it."""
    left = {
        kind: {name: amount for name, amount in amounts.items() if name not in scaled.get(kind, {})}
        for kind, amounts in resources.items()
    }
    return {kind: amounts for kind, amounts in left.items() if amounts}


def _probe(probe: Mapping[str, Any], instance_ports: Iterable[Port]) -> dict[str, Any]:
    """Return a probe; with the ports of an instance it goes to one by name, for its number is the instance's own."""
    named: dict[Any, str] = {entry.port: entry.name for entry in instance_ports if entry.protocol == "TCP"}
    port = named.get(probe.get("port"), probe.get("port"))
    if probe.get("http"):
        rendered: dict[str, Any] = {"httpGet": {"path": probe["http"], "port": port}}
    elif probe.get("tcp"):
        rendered = {"tcpSocket": {"port": port}}
    else:
        rendered = {"exec": {"command": list(probe["command"])}}
    names = (
        ("initial_delay", "initialDelaySeconds"),
        ("period", "periodSeconds"),
        ("timeout", "timeoutSeconds"),
        ("failures", "failureThreshold"),
    )
    rendered.update({theirs: probe[ours] for ours, theirs in names if ours in probe})
    rendered.setdefault("periodSeconds", 5)
    return rendered


def content(app: str, tenant: str, given: Content) -> Object:
    """Return the immutable Secret that carries env or files."""
    rendered = head("Secret", given.name, tenant, {**labels(app, tenant), KIND: "content"})
    rendered["immutable"] = True
    rendered["data"] = {key: base64.b64encode(value).decode() for key, value in given.data.items()}
    return rendered


def scale(live: Object, count: int, stopped: int | None = None, resources: Resources | None = None) -> Object:
    """Return all that the scale manager owns of a workload, live or rendered.

    That is the replicas, or whether it is suspended (count 0), the replicas to come back to while it is stopped, and
    the resources set by app_scale; None keeps those that there are.
    """
    kind, meta = live["kind"], live["metadata"]
    rendered = head(kind, meta["name"], meta["namespace"], {})
    del rendered["metadata"]["labels"]
    rendered["spec"] = {"replicas": count} if kind in SCALED else {"suspend": not count}
    annotations = {}
    if stopped is not None and kind in SCALED:
        annotations[STOPPED] = str(stopped)
    resources = scaled_resources(live) if resources is None else resources
    if resources:
        annotations[RESOURCES] = json.dumps(resources, sort_keys=True)
        container = {"name": meta["labels"][PROCESS], "resources": resources}
        template = {"template": {"spec": {"containers": [container]}}}
        rendered["spec"].update({"jobTemplate": {"spec": template}} if kind == "CronJob" else template)
    if annotations:
        rendered["metadata"]["annotations"] = annotations
    return rendered


def scaled_resources(live: Object | None) -> Resources:
    """Return the resources that app_scale has set for a workload."""
    noted = records.part(records.metadata_of(live), "annotations").get(RESOURCES)
    try:
        found: Resources = records.checked(records.parsed(noted or "{}", MAX_NOTED), record_schemas.RESOURCES)
    except records.Wrong:
        return {}
    return found


def scaler(app: str, tenant: str, process: str, target: tuple[str, str], bounds: dict[str, int]) -> Object:
    """Return the autoscaler of a process: between `min` and `max` replicas, aiming at `cpu` and `memory` percent."""
    rendered = head("HorizontalPodAutoscaler", f"{app}-{process}", tenant, labels(app, tenant, process))
    rendered["spec"] = {
        "scaleTargetRef": {"apiVersion": VERSIONS[target[0]], "kind": target[0], "name": target[1]},
        "minReplicas": bounds["min"],
        "maxReplicas": bounds["max"],
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": bounds[name]}},
            }
            for name in ("cpu", "memory")
            if name in bounds
        ],
    }
    return rendered


def bounds_of(autoscaler: Object) -> dict[str, int]:
    """Return what `scaler` made an autoscaler of."""
    spec = autoscaler.get("spec") or {}
    bounds = {"min": spec.get("minReplicas", 1), "max": spec.get("maxReplicas", 1)}
    for metric in spec.get("metrics") or []:
        resource = metric.get("resource") or {}
        aim = (resource.get("target") or {}).get("averageUtilization")
        if aim is not None:
            bounds[resource["name"]] = aim
    return bounds
