# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Render a release to Kubernetes objects, and say in what live objects differ from rendered ones. Pure."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from .spec import Content, main_process, quantity

Object = dict[str, Any]

PREFIX = "cloudbang.platform/"
APP = PREFIX + "app"
PROCESS = PREFIX + "process"
TENANT = PREFIX + "tenant"
DIGEST = PREFIX + "digest"
KIND = PREFIX + "kind"
RELEASE = PREFIX + "release"
STOPPED = PREFIX + "stopped-replicas"
HISTORY = 10

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Event": "/api/v1/namespaces/{namespace}/events",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers",
}
VERSIONS = {
    "Deployment": "apps/v1",
    "Ingress": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
}


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


def render(app: str, tenant: str, spec: dict[str, Any], digest: str, version: int, route: Route) -> list[Object]:
    """Return what a release runs as: per process a Deployment and its budget, Services, and an Ingress.

    spec is that of a release (see `spec.release_spec`). The replicas are not in it: they belong to another manager.
    """
    objects: list[Object] = []
    routed = main_process(spec["type"], spec["processes"])
    for process in spec["processes"]:
        name = f"{app}-{process['name']}"
        marks = labels(app, tenant, process["name"])
        selector = {APP: app, PROCESS: process["name"]}
        deployment = head("Deployment", name, tenant, marks)
        deployment["metadata"]["annotations"] = {RELEASE: str(version)}
        deployment["spec"] = {
            "selector": {"matchLabels": selector},
            "revisionHistoryLimit": HISTORY,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {**marks, DIGEST: digest}},
                "spec": _pod(spec, process, selector),
            },
        }
        objects.append(deployment)
        budget = head("PodDisruptionBudget", name, tenant, marks)
        budget["spec"] = {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        objects.append(budget)
        if process["ports"]:
            service = head("Service", app if process is routed else name, tenant, marks)
            service["spec"] = {
                "selector": selector,
                "ports": [
                    {
                        "name": port["name"],
                        "port": port["port"],
                        "protocol": port["protocol"],
                        "targetPort": port["name"],
                    }
                    for port in process["ports"]
                ],
            }
            objects.append(service)
    if route.domains and routed is not None:
        objects.append(_ingress(app, tenant, routed, route))
    return objects


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


def _pod(spec: dict[str, Any], process: dict[str, Any], selector: dict[str, str]) -> dict[str, Any]:
    serves = bool(process["ports"])
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
            {"name": port["name"], "containerPort": port["port"], "protocol": port["protocol"]}
            for port in process["ports"]
        ]
    if process["resources"]:
        container["resources"] = {kind: dict(amounts) for kind, amounts in process["resources"].items()}
    for kind in ("readiness", "liveness", "startup"):
        if process[kind]:
            container[kind + "Probe"] = _probe(process[kind])
    if serves and spec["drain"]:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": spec["drain"]}}}
    if spec["env_secret"]:
        container["envFrom"] = [{"secretRef": {"name": spec["env_secret"]}}]
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": spec["grace"] + (spec["drain"] if serves else 0),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "containers": [container],
    }
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


def _probe(probe: dict[str, Any]) -> dict[str, Any]:
    if probe.get("http"):
        rendered: dict[str, Any] = {"httpGet": {"path": probe["http"], "port": probe["port"]}}
    elif probe.get("tcp"):
        rendered = {"tcpSocket": {"port": probe["port"]}}
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


def namespace(tenant: str) -> Object:
    """Return a tenant's namespace, which enforces the baseline Pod Security standard."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": tenant,
            "labels": {
                "app.kubernetes.io/managed-by": "cloudbang",
                TENANT: tenant,
                "pod-security.kubernetes.io/enforce": "baseline",
            },
        },
    }


def content(app: str, tenant: str, given: Content) -> Object:
    """Return the immutable Secret that carries env or files."""
    rendered = head("Secret", given.name, tenant, {**labels(app, tenant), KIND: "content"})
    rendered["immutable"] = True
    rendered["data"] = {key: base64.b64encode(value).decode() for key, value in given.data.items()}
    return rendered


def scale(name: str, tenant: str, replicas: int, stopped: int | None = None) -> Object:
    """Return what the scale manager owns of a Deployment: the replicas, and while stopped those to come back to."""
    rendered = head("Deployment", name, tenant, {})
    del rendered["metadata"]["labels"]
    rendered["spec"] = {"replicas": replicas}
    if stopped is not None:
        rendered["metadata"]["annotations"] = {STOPPED: str(stopped)}
    return rendered


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
