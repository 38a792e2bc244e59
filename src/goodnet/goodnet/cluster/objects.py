# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of the API, reduced to what GoodNet needs of them. Pure."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]

NAMESPACE = "cloudbang-goodnet"
TENANTS = "goodnet-tenants"
PROVIDER = "goodnet-provider"
ANNOTATION_UNDERLAY = "cloudbang.platform/underlay-address"
_ANNOTATION_MIRROR = "kubernetes.io/config.mirror"


def reduce_node(node: Object) -> Object | None:
    """Return of a node what others need to reach its pods; None while it has no range of addresses yet."""
    meta = node["metadata"]
    addresses = (node.get("status") or {}).get("addresses") or []
    internal = [
        entry["address"] for entry in addresses if entry.get("type") == "InternalIP" and ":" not in entry["address"]
    ]
    pods = (node.get("spec") or {}).get("podCIDR")
    if not pods or not internal:
        return None
    return {
        "address": internal[0],
        "underlay": (meta.get("annotations") or {}).get(ANNOTATION_UNDERLAY),
        "pods": pods,
    }


def reduce_namespace(namespace: Object) -> Object:
    """Return the labels of a namespace, its uid and the peers that it names."""
    meta = namespace["metadata"]
    reduced: Object = {"uid": meta["uid"], "labels": meta.get("labels") or {}}
    peers = (meta.get("annotations") or {}).get("cloudbang.platform/peers")
    if peers:
        reduced["peers"] = peers
    return reduced


def reduce_policy(policy: Object) -> Object:
    """Return a NetworkPolicy with its spec as text: those of other hosts' pods are many, and are never looked at."""
    meta = policy["metadata"]
    kept = {key: meta[key] for key in ("namespace", "name", "uid")}
    return {"metadata": kept, "spec": json.dumps(policy.get("spec") or {}, separators=(",", ":"))}


def reduce_pod(pod: Object) -> Object | None:
    """Return labels, address and named ports of a pod; None when it has no part in the pods' network.

    uid is the one that the runtime knows: of a static pod, the API has a mirror with another.
    """
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    ports = [
        {"name": port["name"], "port": port["containerPort"], "protocol": port.get("protocol", "TCP")}
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for port in container.get("ports") or ()
        if port.get("name")
    ]
    return {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": (meta.get("annotations") or {}).get(_ANNOTATION_MIRROR, meta["uid"]),
        "labels": meta.get("labels") or {},
        "address": status.get("podIP"),
        "ports": ports,
    }


def reduce_tenants(configmap: Object) -> Object:
    """Return the data of the ConfigMap that says which tenant has which VNI."""
    return dict(configmap.get("data") or {})


def reduce_lease(lease: Object) -> Object:
    """Return who holds a Lease."""
    return {"holder": (lease.get("spec") or {}).get("holderIdentity")}


def reduce_service(service: Object) -> Object | None:
    """Return ports and address of a Service of type LoadBalancer; None when another program serves it."""
    meta, spec = service["metadata"], service.get("spec") or {}
    if spec.get("loadBalancerClass"):
        return None
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return {"uid": meta["uid"], "ports": _ports(spec), "address": ingress[0].get("ip") if ingress else None}


def reduce_cluster_ip(service: Object) -> Object:
    """Return ports and ClusterIP of a Service."""
    spec = service.get("spec") or {}
    return {"ports": _ports(spec), "address": spec.get("clusterIP")}


def _ports(service: Object) -> list[Object]:
    return [
        {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": port["port"]}
        for port in service.get("ports") or ()
    ]


def reduce_slice(found: Object) -> Object | None:
    """Return the addresses and ports that an EndpointSlice has for its Service; None when it has none."""
    meta = found["metadata"]
    service = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    if not service or found.get("addressType") != "IPv4":
        return None
    addresses = [
        address
        for endpoint in found.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    ]
    ports = [[port.get("name") or "", port["port"]] for port in found.get("ports") or () if port.get("port")]
    return {"service": f"{meta['namespace']}/{service}", "addresses": addresses, "ports": ports}
