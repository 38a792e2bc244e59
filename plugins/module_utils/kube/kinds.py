# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of the API: their paths and versions, and what is common to some of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

Object = dict[str, Any]
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


def path(kind: str, namespace: str | None, name: str | None = None) -> str:
    """Return the path of a kind's collection or of one object; without namespace that of all namespaces."""
    if namespace is None:
        where = PATHS[kind].replace("/namespaces/{namespace}", "")
    else:
        where = PATHS[kind].format(namespace=quote(namespace, safe=""))
    return f"{where}/{quote(name, safe='')}" if name is not None else where
