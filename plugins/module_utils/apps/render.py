# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Render a release to Kubernetes objects, and say in what live objects differ from rendered ones. Pure."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import record_schemas, records
from .options import quantity
from .spec import Content, main_process, port_variable

Object = dict[str, Any]

PREFIX = "cloudbang.platform/"
APP = PREFIX + "app"
PROCESS = PREFIX + "process"
TENANT = PREFIX + "tenant"
DIGEST = PREFIX + "digest"
KIND = PREFIX + "kind"
RELEASE = PREFIX + "release"
INSTANCE = PREFIX + "instance"
STOPPED = PREFIX + "stopped-replicas"
RESOURCES = PREFIX + "scaled-resources"
RESTART = PREFIX + "restart-key"
STACK = PREFIX + "stack"
# Going back applies a release again and needs no old ReplicaSet, so only the one before is kept.
HISTORY = 1
MAX_NOTED = 10_000
POD_SECURITY = "pod-security.kubernetes.io/enforce"

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{namespace}/statefulsets",
    "CronJob": "/apis/batch/v1/namespaces/{namespace}/cronjobs",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Event": "/api/v1/namespaces/{namespace}/events",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "ResourceQuota": "/api/v1/namespaces/{namespace}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{namespace}/limitranges",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "Node": "/api/v1/nodes",
    "IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
    "IngressRoute": "/apis/traefik.io/v1alpha1/namespaces/{namespace}/ingressroutes",
    "IngressRouteTCP": "/apis/traefik.io/v1alpha1/namespaces/{namespace}/ingressroutetcps",
    "IngressRouteUDP": "/apis/traefik.io/v1alpha1/namespaces/{namespace}/ingressrouteudps",
    "Middleware": "/apis/traefik.io/v1alpha1/namespaces/{namespace}/middlewares",
    "TraefikService": "/apis/traefik.io/v1alpha1/namespaces/{namespace}/traefikservices",
    "CertificateSigningRequest": "/apis/certificates.k8s.io/v1/certificatesigningrequests",
}
VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "CronJob": "batch/v1",
    "Job": "batch/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Lease": "coordination.k8s.io/v1",
    "Ingress": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "FlowSchema": "flowcontrol.apiserver.k8s.io/v1",
    "CertificateSigningRequest": "certificates.k8s.io/v1",
    "IngressRoute": "traefik.io/v1alpha1",
    "IngressRouteTCP": "traefik.io/v1alpha1",
    "IngressRouteUDP": "traefik.io/v1alpha1",
    "Middleware": "traefik.io/v1alpha1",
    "TraefikService": "traefik.io/v1alpha1",
}


# Kinds that make pods, those of them that have replicas, and those that are stopped by suspending them.
WORKLOADS = ("Deployment", "StatefulSet", "CronJob", "Job")
SCALED = ("Deployment", "StatefulSet")
SPREAD = {"hosts": ("kubernetes.io/hostname",), "zones": ("topology.kubernetes.io/zone", "kubernetes.io/hostname")}
Resources = dict[str, dict[str, str]]


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


def labels(app: str, tenant: str, process: str | None = None) -> dict[str, str]:
    """Return the labels of everything that belongs to an app, or to one of its processes."""
    found = {
        "app.kubernetes.io/managed-by": "cloudbang",
        "app.kubernetes.io/name": app,
        APP: app,
        TENANT: tenant,
    }
    if process is not None:
        found.update({"app.kubernetes.io/component": process, PROCESS: process})
    return found


def head(kind: str, name: str, tenant: str, marks: dict[str, str]) -> Object:
    """Return the start of an object: its version, kind, name, namespace and labels."""
    return {
        "apiVersion": VERSIONS.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": tenant, "labels": marks},
    }


def workload_kind(spec: dict[str, Any]) -> str:
    """Return the kind of object that runs the processes of a release."""
    return {"stateful": "StatefulSet", "cron": "CronJob", "job": "Job"}.get(spec["type"], "Deployment")


def render(
    app: str, tenant: str, spec: dict[str, Any], digest: str, version: int, route: Route, around: Around
) -> list[Object]:
    """Return what a release runs as: per process its workloads and their budget, Services, and an Ingress.

    spec is that of a release (see `spec.release_spec`). The replicas are not in it: they belong to another manager.
    """
    objects: list[Object] = []
    routed = main_process(spec["type"], spec["processes"])
    for process in spec["processes"]:
        name = f"{app}-{process['name']}"
        marks = labels(app, tenant, process["name"])
        selector = {APP: app, PROCESS: process["name"]}
        objects += _workloads(app, tenant, spec, process, digest, version, around)
        if workload_kind(spec) not in SCALED:
            continue
        budget = head("PodDisruptionBudget", name, tenant, marks)
        budget["spec"] = {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        objects.append(budget)
        if spec.get("strategy") == "blue_green":
            selector = {**selector, DIGEST: digest}
        ports = [
            {"name": port["name"], "port": port["port"], "protocol": port["protocol"], "targetPort": port["name"]}
            for port in process["ports"]
        ]
        # Instances that are more than replicas of each other are found one by one, behind a Service without address.
        stateful = spec["type"] == "stateful"
        single = stateful or bool(process.get("host_network"))
        if process is routed or (ports and not single):
            service = head("Service", app if process is routed else name, tenant, marks)
            service["spec"] = {"selector": selector, "ports": ports}
            objects.append(service)
        if single:
            service = head("Service", name, tenant, marks)
            service["spec"] = {"selector": selector, "clusterIP": "None"}
            if stateful:
                # Members find each other before they are ready.
                service["spec"]["publishNotReadyAddresses"] = True
            if ports:
                service["spec"]["ports"] = copy.deepcopy(ports)
            objects.append(service)
    if route.domains and routed is not None:
        objects.append(_ingress(app, tenant, routed, route))
    if around.stack is not None:
        for entry in objects:
            entry["metadata"]["labels"] = {**entry["metadata"]["labels"], STACK: around.stack}
    return objects


def _workloads(
    app: str, tenant: str, spec: dict[str, Any], process: dict[str, Any], digest: str, version: int, around: Around
) -> Iterable[Object]:
    """Yield what makes the pods of a process."""
    kind = workload_kind(spec)
    name = f"{app}-{process['name']}"
    marks = labels(app, tenant, process["name"])
    selector = {APP: app, PROCESS: process["name"]}

    def workload(called: str, extra: dict[str, str], numbers: dict[str, int] | None = None) -> Object:
        found = head(kind, called, tenant, {**marks, **extra})
        found["metadata"]["annotations"] = {RELEASE: str(version)}
        scaled = around.resources.get(process["name"], {})
        notes = {RESTART: around.restart_key} if around.restart_key is not None else {}
        template: Object = {
            "metadata": {"labels": {**marks, **extra, DIGEST: digest}},
            "spec": _pod(spec, process, selector, scaled, numbers),
        }
        if notes:
            template["metadata"]["annotations"] = notes
        found["spec"] = {"template": template}
        return found

    if kind in ("CronJob", "Job"):
        made = workload(name if kind == "CronJob" else f"{name}-v{version}", {})
        run = {**_run(process["run"]), **made["spec"]}
        made["spec"] = _cron(process["schedule"], run) if kind == "CronJob" else run
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
    if spec.get("strategy") == "recreate" or process.get("host_network"):
        strategy = {"type": "Recreate"}
    made_of: list[tuple[str, dict[str, str], dict[str, int] | None]]
    if process.get("host_network"):
        # A host has each port once: the new pod of an instance can only start when the old one has ended.
        made_of = [
            (f"{name}-{number}", {INSTANCE: str(number)}, numbers)
            for number, numbers in enumerate(around.ports.get(process["name"], []))
        ]
    elif spec.get("strategy") == "blue_green":
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


def _run(run: dict[str, int]) -> Object:
    names = (
        ("parallelism", "parallelism"),
        ("completions", "completions"),
        ("retries", "backoffLimit"),
        ("deadline", "activeDeadlineSeconds"),
    )
    return {theirs: run[ours] for ours, theirs in names if ours in run}


def _cron(schedule: dict[str, Any], run: Object) -> Object:
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


def _ingress(app: str, tenant: str, process: dict[str, Any], route: Route) -> Object:
    port = next(port["name"] for port in process["ports"] if port["protocol"] == "TCP")
    backend = {"service": {"name": app, "port": {"name": port}}}
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
    spec: dict[str, Any],
    process: dict[str, Any],
    selector: dict[str, str],
    scaled: Resources,
    numbers: dict[str, int] | None,
) -> dict[str, Any]:
    """Return a pod's spec; numbers are the real ports, by name, of an instance in its host's network."""
    serves = bool(process["ports"])
    placement = process.get("placement", {})
    kind = workload_kind(spec)
    container: dict[str, Any] = {
        "name": process["name"],
        "image": spec["image"],
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    for key in ("command", "args"):
        if process[key]:
            container[key] = list(process[key])
    if process["ports"]:
        container["ports"] = [
            {
                "name": port["name"],
                "containerPort": numbers[port["name"]] if numbers else port["port"],
                "protocol": port["protocol"],
            }
            for port in process["ports"]
        ]
    if numbers:
        first = process["ports"][0]["name"]
        container["env"] = [{"name": "PORT", "value": str(numbers[first])}] + [
            {"name": port_variable(port), "value": str(numbers[port["name"]])} for port in process["ports"]
        ]
    resources = without(process["resources"], scaled)
    if resources:
        container["resources"] = resources
    for probe in ("readiness", "liveness", "startup"):
        if process[probe]:
            container[probe + "Probe"] = _probe(process[probe], process["ports"] if numbers else [])
    if serves and spec["drain"]:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": spec["drain"]}}}
    if spec["env_secret"]:
        container["envFrom"] = [{"secretRef": {"name": spec["env_secret"]}}]
    for edge in spec.get("bindings") or []:
        container.setdefault("envFrom", []).append({"secretRef": {"name": edge["secret"]}})
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": spec["grace"] + (spec["drain"] if serves else 0),
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
    if spec["image_pull_secrets"]:
        pod["imagePullSecrets"] = [{"name": name} for name in spec["image_pull_secrets"]]
    if spec["files"]:
        container["volumeMounts"] = [
            {"name": "files", "mountPath": entry["path"], "subPath": entry["key"], "readOnly": True}
            for entry in spec["files"]
        ]
        items = [{"key": entry["key"], "path": entry["key"], "mode": entry["mode"]} for entry in spec["files"]]
        pod["volumes"] = [{"name": "files", "secret": {"secretName": spec["files_secret"], "items": items}}]
    return pod


def without(resources: Resources, scaled: Resources) -> Resources:
    """Return the resources a release sets itself: those that app_scale has set are left to it."""
    left = {
        kind: {name: amount for name, amount in amounts.items() if name not in scaled.get(kind, {})}
        for kind, amounts in resources.items()
    }
    return {kind: amounts for kind, amounts in left.items() if amounts}


def _probe(probe: dict[str, Any], instance_ports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a probe; with the ports of an instance it goes to one by name, for its number is the instance's own."""
    named = {entry["port"]: entry["name"] for entry in instance_ports if entry["protocol"] == "TCP"}
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
    notes = {}
    if stopped is not None and kind in SCALED:
        notes[STOPPED] = str(stopped)
    resources = scaled_resources(live) if resources is None else resources
    if resources:
        notes[RESOURCES] = json.dumps(resources, sort_keys=True)
        container = {"name": meta["labels"][PROCESS], "resources": resources}
        template = {"template": {"spec": {"containers": [container]}}}
        rendered["spec"].update({"jobTemplate": {"spec": template}} if kind == "CronJob" else template)
    if notes:
        rendered["metadata"]["annotations"] = notes
    return rendered


def containers_of(workload: Object) -> list[Object]:
    """Return the containers of a workload's pods."""
    spec = workload["spec"]
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    containers: list[Object] = spec["template"]["spec"]["containers"]
    return containers


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


def merged(wanted: Any, more: Any) -> Any:
    """Return both of two parts of an object in one; containers are the same by their name."""
    if isinstance(wanted, dict) and isinstance(more, dict):
        return {
            key: merged(wanted[key], more[key]) if key in wanted and key in more else wanted.get(key, more.get(key))
            for key in {**wanted, **more}
        }
    if isinstance(wanted, list) and isinstance(more, list):
        other = {entry["name"]: entry for entry in more}
        return [merged(entry, other[entry["name"]]) if entry["name"] in other else entry for entry in wanted]
    return more


# Mappings that are one value: a key that is not wanted counts as a difference.
_WHOLE = ("selector", "nodeSelector", "matchLabels")
# Keys by which the API server merges lists; other lists are compared as a whole.
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}


def drift(wanted: Object, live: Object | None) -> list[str]:
    """Return in what a live object differs from the fields a rendered one sets; fields of others do not count."""
    name = f"{wanted['kind']} {wanted['metadata']['name']}"
    if live is None:
        return [f"{name}: missing"]
    body = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}
    return [f"{name}: {difference}" for difference in _differences(body, live, "")]


def _differences(wanted: Any, live: Any, where: str) -> list[str]:
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return [f"{where}: found {live!r}, wanted {wanted!r}"]
        if where.rpartition(".")[2] in _WHOLE and set(live) - set(wanted):
            return [f"{where}: found {live!r}, wanted {wanted!r}"]
        return [
            difference
            for key, value in wanted.items()
            for difference in _differences(value, live.get(key), f"{where}.{key}" if where else key)
        ]
    if isinstance(wanted, list):
        return _list_differences(wanted, live, where)
    if wanted == live or (isinstance(wanted, str) and isinstance(live, str) and _same_amount(wanted, live, where)):
        return []
    return [f"{where}: found {live!r}, wanted {wanted!r}"]


def _list_differences(wanted: list[Any], live: Any, where: str) -> list[str]:
    live = live if isinstance(live, list) else []
    field = where.rpartition(".")[2]
    keys = _MERGE_KEYS.get(field)
    if field == "ports" and wanted:
        keys = ("containerPort", "protocol") if "containerPort" in wanted[0] else ("port", "protocol")
    if keys is None:
        if len(wanted) != len(live):
            return [f"{where}: found {live!r}, wanted {wanted!r}"]
        pairs = [(str(number), entry, live[number]) for number, entry in enumerate(wanted)]
    else:
        found = {tuple(entry.get(key) for key in keys): entry for entry in live}
        pairs = [(str(entry[keys[0]]), entry, found.get(tuple(entry.get(key) for key in keys))) for entry in wanted]
    return [difference for name, entry, other in pairs for difference in _differences(entry, other, f"{where}[{name}]")]


def _same_amount(wanted: str, live: str, where: str) -> bool:
    """Say whether two quantities are equal: the API server keeps 1000m as 1."""
    if ".requests." not in where and ".limits." not in where:
        return False
    return quantity(wanted) is not None and quantity(wanted) == quantity(live)
