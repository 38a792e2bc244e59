# SPDX-License-Identifier: GPL-3.0-or-later
"""The admission policies of tenants, against objects that members write with their own credentials.

RBAC lets the members write these objects; the policies restrict their content.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import (
    admission,
    tenant_annotations,
    tenant_objects,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import MAX_CONTENT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import argument_spec
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import REGISTRY, Api, Nodes, policy_path
from .test_routes import _define

Object = dict[str, Any]
DRY = {"dryRun": "All"}
STRATEGIC = "application/strategic-merge-patch+json"
DAEMONS = "node.kubernetes.io/disk-pressure"
TEAM = "walls-team"
ANNOTATIONS = {
    tenant_annotations.DOMAINS: "shop.example.org, *.team.example.org",
    tenant_annotations.TOLERATIONS: "example.org/gpu",
    tenant_annotations.PRIORITY_CLASSES: "batch",
    tenant_annotations.IMAGES: "tools/,base/debian",
    tenant_annotations.RESERVED_NAMES: "staging-",
}
GROUPS = {
    "Pod": ("v1", "pods"),
    "ReplicationController": ("v1", "replicationcontrollers"),
    "PodTemplate": ("v1", "podtemplates"),
    "Deployment": ("apps/v1", "deployments"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
    "Service": ("v1", "services"),
    "Secret": ("v1", "secrets"),
    "ConfigMap": ("v1", "configmaps"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Role": ("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings"),
    "IngressRoute": ("traefik.io/v1alpha1", "ingressroutes"),
    "IngressRouteTCP": ("traefik.io/v1alpha1", "ingressroutetcps"),
    "IngressRouteUDP": ("traefik.io/v1alpha1", "ingressrouteudps"),
    "Middleware": ("traefik.io/v1alpha1", "middlewares"),
    "TraefikService": ("traefik.io/v1alpha1", "traefikservices"),
}
MAKERS = tuple(kind for kind in list(GROUPS)[:9])


def where(kind: str, namespace: str, name: str = "") -> str:
    version, plural = GROUPS[kind]
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def head(kind: str, name: str, **metadata: Any) -> Object:
    return {"apiVersion": GROUPS[kind][0], "kind": kind, "metadata": {"name": name, **metadata}}


def maker(kind: str, spec: Object, name: str = "one", **metadata: Any) -> Object:
    """Return a pod, or an object that creates pods, with the given spec and metadata of the pod."""
    labels = {"app": name}
    template: Object = {"metadata": {"labels": labels, **metadata}, "spec": copy.deepcopy(spec)}
    if kind in ("Job", "CronJob"):
        template["spec"]["restartPolicy"] = "Never"
    entry = head(kind, name)
    if kind == "Pod":
        return {**head(kind, name, **metadata), "spec": template["spec"]}
    if kind == "PodTemplate":
        return {**entry, "template": template}
    if kind == "Job":
        return {**entry, "spec": {"template": template}}
    if kind == "CronJob":
        return {**entry, "spec": {"schedule": "@yearly", "jobTemplate": {"spec": {"template": template}}}}
    selector: Object = labels if kind == "ReplicationController" else {"matchLabels": labels}
    entry["spec"] = {"selector": selector, "template": template}
    if kind == "StatefulSet":
        entry["spec"]["serviceName"] = name
    return entry


def pod(image: str = "x/y:1", **more: Any) -> Object:
    return {"containers": [{"name": "main", "image": image}], "terminationGracePeriodSeconds": 0, **more}


def also(field: str, **container: Any) -> Object:
    """Return a pod with another container in one of its lists."""
    spec = pod()
    spec[field] = [*spec.get(field, []), {"name": "other", "image": "x/y:1", **container}]
    return spec


def tolerating(**toleration: Any) -> Object:
    return pod(tolerations=[toleration])


def mounting(**volume: Any) -> Object:
    return pod(volumes=[{"name": "data", **volume}])


def probing(handler: str, action: str, container: str = "containers") -> Object:
    """Return a pod whose kubelet would connect to another host for a probe or a lifecycle hook."""
    asked = {action: {"host": "192.0.2.1", "port": 80}}
    wanted: Object = {"lifecycle": {handler: asked}} if handler in ("postStart", "preStop") else {handler: asked}
    return also(container, **wanted, **({"restartPolicy": "Always"} if container == "initContainers" else {}))


def adding(name: str) -> Object:
    return also("containers", securityContext={"capabilities": {"add": [name]}})


IMAGES = "images in tenant walls-team: found {}; wanted repositories of .* below walls-team, shared, tools, base/debian"
OWN = f"{REGISTRY}/{TEAM}/web:1"
OTHERS = f"{REGISTRY}/other/web:1"
VOLUMES = "volumes in tenant walls-team: found data; wanted volumes of the types"
PROBES = "hosts of probes and of lifecycle hooks in tenant walls-team: found 192.0.2.1|violates PodSecurity"
TOLERATIONS = "tolerations in tenant walls-team: found {}; wanted keys of taints among these: example.org/gpu"
# Pods that a developer tries to create, and the message of the refusal.
ATTACKS: list[tuple[Object, str]] = [
    (pod(OTHERS), IMAGES.format(OTHERS)),
    (pod(f"{REGISTRY}/{TEAM}"[:-1] + "/web:1"), IMAGES.format(".*")),
    (pod(f"{REGISTRY}/{TEAM}x/web:1"), IMAGES.format(".*")),
    (pod(f"{REGISTRY.upper()}/other/web:1"), IMAGES.format(".*")),
    (pod(f"{REGISTRY}/{TEAM}/../other/web:1"), IMAGES.format(".*")),
    (pod(f"{REGISTRY}/toolsmith/web:1"), IMAGES.format(".*")),
    (pod(f"{REGISTRY}/coredns:current"), IMAGES.format(".*")),
    (pod(f"{REGISTRY}/other/web@sha256:{'0' * 64}"), IMAGES.format(".*")),
    (also("initContainers", image=OTHERS), IMAGES.format(OTHERS)),
    (mounting(image={"reference": OTHERS}), IMAGES.format(OTHERS)),
    (pod(f"sha256:{'0' * 64}"), "IDs of images in tenant walls-team: found sha256:0"),
    (pod("sha256:0123"), "IDs of images in tenant walls-team: found sha256:0123"),
    (pod(nodeName="management1"), "nodeName in tenant walls-team: found management1; wanted no nodeName"),
    (tolerating(operator="Exists"), TOLERATIONS.format("of every taint")),
    (tolerating(operator="Exists", effect="NoExecute"), TOLERATIONS.format("of every taint")),
    (
        tolerating(key="node-role.kubernetes.io/control-plane", operator="Exists"),
        TOLERATIONS.format("node-role.kubernetes.io/control-plane"),
    ),
    (tolerating(key="node.kubernetes.io/not-ready", operator="Exists"), TOLERATIONS.format(".*not-ready")),
    (tolerating(key=DAEMONS, operator="Exists", effect="NoSchedule"), TOLERATIONS.format(DAEMONS)),
    (pod(priorityClassName="system-node-critical"), "priorityClassName in .* found system-node-critical; .*: batch"),
    (pod(priorityClassName="system-cluster-critical"), "priorityClassName in .*; wanted no class or one of these: b"),
    (mounting(nfs={"server": "192.0.2.1", "path": "/"}), VOLUMES),
    (mounting(iscsi={"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:x", "lun": 0}), VOLUMES),
    (mounting(rbd={"monitors": ["192.0.2.1"], "image": "x"}), VOLUMES),
    (mounting(cephfs={"monitors": ["192.0.2.1"]}), VOLUMES),
    (mounting(flexVolume={"driver": "x/y"}), VOLUMES),
    *(
        (probing(handler, action), PROBES)
        for handler in ("livenessProbe", "readinessProbe", "startupProbe", "postStart", "preStop")
        for action in ("httpGet", "tcpSocket")
    ),
    (probing("livenessProbe", "httpGet", "initContainers"), PROBES),
    (adding("NET_RAW"), "added capabilities in tenant walls-team: found NET_RAW|violates PodSecurity"),
    (pod(terminationGracePeriodSeconds=90001), "terminationGracePeriodSeconds in .* found 90001; wanted 90000 at most"),
]
# Similar pods that are allowed.
NEIGHBOURS: list[Object] = [
    pod(),
    pod("other.example.org/other/web:1"),
    pod(OWN),
    pod(f"{REGISTRY}/{TEAM}/deep/er/web@sha256:{'0' * 64}"),
    pod(f"{REGISTRY}/shared/web"),
    pod(f"{REGISTRY}/tools/web:1"),
    pod(f"{REGISTRY}/base/debian:13"),
    also("initContainers", image=OWN),
    mounting(image={"reference": OWN}),
    mounting(emptyDir={}),
    mounting(secret={"secretName": "x"}),
    mounting(persistentVolumeClaim={"claimName": "x"}),
    pod(nodeSelector={"kubernetes.io/hostname": "compute1"}),
    tolerating(key="example.org/gpu", operator="Exists"),
    tolerating(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute", tolerationSeconds=5),
    also("containers", readinessProbe={"httpGet": {"port": 80}}, lifecycle={"preStop": {"httpGet": {"port": 80}}}),
    adding("NET_BIND_SERVICE"),
    pod(terminationGracePeriodSeconds=90000),
    pod(priorityClassName="batch"),
]


CALICO = "cni.projectcalico.org/"
JOB = "batch.kubernetes.io/job-tracking"
MARKS = "annotations of pods in tenant walls-team: found {}; wanted none that the network trusts"
KEPT = "finalizers of pods in tenant walls-team: found {}; wanted none but that of Jobs"
# Metadata of pods and of their templates that a developer tries, and the message of the refusal.
METADATA: list[tuple[Object, str]] = [
    ({"finalizers": ["example.org/stay"]}, KEPT.format("example.org/stay")),
    ({"finalizers": [JOB]}, KEPT.format(JOB)),
    *(
        ({"annotations": {key: "x"}}, MARKS.format(key))
        for key in (CALICO + "ipAddrs", CALICO + "podIP", CALICO + "podIPs")
    ),
]


@dataclass
class Team:
    """A tenant, and the clients of its members and of an administrator."""

    api: Api
    name: str
    clients: dict[str, client.Kube] = field(default_factory=dict)

    def create(self, who: str, wanted: Object, query: dict[str, str] | None = None) -> Object:
        kube = self.clients[who]
        return kube.request("POST", where(wanted["kind"], self.name), DRY if query is None else query, wanted)

    def put(self, who: str, wanted: Object) -> Object:
        """Change an existing object as a dry run."""
        return self.change(who, wanted["kind"], wanted["metadata"]["name"], wanted)

    def change(self, who: str, kind: str, name: str, change: Object, sub: str = "") -> Object:
        path = where(kind, self.name, name) + sub
        content_type = client.MERGE if "traefik" in path else STRATEGIC
        return self.clients[who].request("PATCH", path, DRY, change, content_type=content_type)


def annotate(api: Api, namespace: str, annotations: dict[str, str], labels: dict[str, str] | None = None) -> None:
    change: Object = {"metadata": {"annotations": annotations, "labels": labels or {}}}
    path = kinds.path("Namespace", None, namespace)
    api.kube.request("PATCH", path, {}, change, content_type=client.MERGE)


def login(api: Api, name: str, group: str = "") -> client.Kube:
    certificate, key = api.authority.issue(name, group)
    path = api.write_kubeconfig(f"{name}.conf", api.authority.pem, certificate, key)
    return client.connect({"kubeconfig": str(path)})


def soon(check: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until a check is true, since caches of the API and controllers lag behind, and return its value."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)


def good(module: str, options: dict[str, Any]) -> dict[str, Any]:
    result = runner.run(module, options, False)
    assert not result.get("failed"), result["msg"]
    return result


@pytest.fixture(scope="module")
def team(api: Api) -> Iterator[Team]:
    """A tenant with a developer and an owner, whom RBAC also lets write all kinds of Traefik and of RBAC itself."""
    _define(api, Path(ensure(["traefik-crds"], Settings.from_vars({}), print)["traefik-crds"].path).read_text("utf-8"))
    members = [{"name": f"walls-{role}", "role": role} for role in ("developer", "owner")]
    good("tenant", api.options(name=TEAM, members=members, network="open"))
    annotate(api, TEAM, ANNOTATIONS)
    found = Team(api, TEAM, {"administrator": login(api, "walls-admin", "cloudbang:administrators")})
    for role in ("developer", "owner"):
        found.clients[role] = login(api, f"walls-{role}")
    # RBAC would refuse these kinds first, and only the policies are tested here.
    for name, groups in (("walls-writer", ["traefik.io", "rbac.authorization.k8s.io"]), ("walls-all", ["*"])):
        rules = [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
        api.kube.apply({**role, "rules": rules}, "test")
    for name, role, user in (
        ("walls-writer-developer", "walls-writer", "walls-developer"),
        ("walls-writer-owner", "walls-writer", "walls-owner"),
        ("walls-administrator", "walls-all", "walls-admin"),
    ):
        binding = head("RoleBinding", name, namespace=TEAM)
        binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        binding["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
        api.kube.apply(binding, "test")
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "batch"},
        "value": 7,
    }
    api.kube.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {}, priority)
    soon(lambda: api.kube.get("ServiceAccount", TEAM, "default"))
    for who in found.clients:
        soon(lambda one=who: _works(found, one))
    yield found
    api.kube.request("DELETE", "/apis/scheduling.k8s.io/v1/priorityclasses/batch")
    api.kube.delete("Namespace", None, TEAM)


def _works(team: Team, who: str) -> bool:
    """Return whether the API's caches have a member's rights and the namespace's annotations."""
    try:
        team.create(who, maker("Pod", tolerating(key="example.org/gpu", operator="Exists")))
    except client.ApiError:
        return False
    return True


def refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(client.ApiError, match=message) as caught:
        call()
    assert caught.value.status == 403


@pytest.mark.parametrize(("spec", "message"), ATTACKS, ids=[str(number) for number in range(len(ATTACKS))])
def test_a_pod_and_all_that_makes_pods_is_refused(team: Team, spec: Object, message: str) -> None:
    for kind in MAKERS:
        if "securityContext" in str(spec) and kind == "Pod":
            continue
        for who in ("owner", "administrator"):
            refused(lambda one=kind, by=who: team.create(by, maker(one, spec)), message)
    for kind in ("Pod", "Deployment", "CronJob"):
        refused(lambda one=kind: team.create("developer", maker(one, spec)), message)


@pytest.mark.parametrize("spec", NEIGHBOURS, ids=[str(number) for number in range(len(NEIGHBOURS))])
def test_what_is_next_to_it_goes(team: Team, spec: Object) -> None:
    for kind in MAKERS:
        team.create("owner", maker(kind, spec))
    for kind in ("Pod", "Deployment", "CronJob"):
        team.create("developer", maker(kind, spec))


@pytest.mark.parametrize(("metadata", "message"), METADATA, ids=[str(number) for number in range(len(METADATA))])
def test_the_metadata_of_a_pod_and_of_all_that_makes_pods_is_judged(team: Team, metadata: Object, message: str) -> None:
    for kind in MAKERS:
        for who in ("owner", "administrator", *(["developer"] if kind in ("Pod", "Deployment", "CronJob") else [])):
            refused(lambda one=kind, by=who: team.create(by, maker(one, pod(), **metadata)), message)
    team.create("developer", maker("Pod", pod(), annotations={"example.org/x": "y"}))


def test_no_pod_is_taken_for_one_of_a_kubelets_files(team: Team) -> None:
    """GoodNet trusts the UID in this annotation of a mirror pod. Kubernetes requires a nodeName with it."""
    mirror = {"annotations": {"kubernetes.io/config.mirror": "the UID of another pod"}}
    for who in ("developer", "owner"):
        for kind in ("Pod", "Deployment"):
            wanted = maker(kind, pod(nodeName="compute1"), **mirror)
            refused(
                lambda one=wanted, by=who: team.create(by, one), "nodeName in .* found compute1|a mirror pod may not"
            )
        with pytest.raises(client.ApiError, match=r"must set spec\.nodeName if mirror pod annotation is set"):
            team.create(who, maker("Pod", pod(), **mirror))
    team.create("developer", maker("Pod", pod(OWN), "mirrored"), {})
    with pytest.raises(client.ApiError, match=r"kubernetes\.io/config\.mirror"):
        team.change("developer", "Pod", "mirrored", {"metadata": mirror})


def test_a_pod_that_runs_gets_no_finalizer_and_no_annotation_of_the_network(team: Team) -> None:
    team.create("developer", maker("Pod", pod(OWN), "marked"), {})
    for metadata, message in METADATA:
        refused(lambda one=metadata: team.change("developer", "Pod", "marked", {"metadata": one}), message)
    # As Calico does, through the subresource status.
    written = {"metadata": {"annotations": {CALICO + "podIP": "10.0.0.7"}}}
    path = where("Pod", TEAM, "marked") + "/status"
    team.api.kube.request("PATCH", path, {}, written, content_type=client.MERGE)
    forged = {"metadata": {"annotations": {CALICO + "podIP": "10.0.0.8"}}}
    refused(lambda: team.change("developer", "Pod", "marked", forged), MARKS.format(CALICO + "podIP"))
    for change in ({"metadata": {"labels": {"a": "b"}}}, {"spec": {"activeDeadlineSeconds": 60}}):
        team.change("developer", "Pod", "marked", change)


def test_a_pod_of_a_job_stays_with_the_controller_that_lets_it_go(team: Team) -> None:
    """The job controller removes its finalizer from pods without a controller, but not from those of another one."""
    team.create("developer", maker("Job", pod(OWN), "tracked"), {})
    made = soon(lambda: team.api.kube.find("Pod", TEAM, "job-name=tracked"))[0]
    assert made["metadata"]["finalizers"] == [JOB]
    name, owner = made["metadata"]["name"], made["metadata"]["ownerReferences"][0]
    stranger = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "0", "controller": True}
    change: Object = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner["uid"]}, stranger]}}
    refused(lambda: team.change("developer", "Pod", name, change), KEPT.format(f"{JOB} with another controller"))
    change["metadata"]["ownerReferences"].pop()
    team.change("developer", "Pod", name, change)
    path = where("Job", TEAM, "tracked")
    team.clients["developer"].request("DELETE", path, {"propagationPolicy": "Background"})
    soon(lambda: not team.api.kube.find("Pod", TEAM, "job-name=tracked"), 60)


LONG = "gracePeriodSeconds in tenant walls-team: found 1000000000; wanted 90000 at most"


def bind(team: Team, name: str) -> None:
    """Assign a pod to a node. Without one it would be deleted at once, whatever its grace period."""
    target = {"apiVersion": "v1", "kind": "Node", "name": "nowhere"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    team.api.kube.request("POST", where("Pod", TEAM, name) + "/binding", {}, binding)


def test_no_deletion_and_no_eviction_stops_drains(team: Team) -> None:
    """Another deletion can only shorten the grace period of a pod, and drains wait for its end."""
    team.create("developer", maker("Pod", pod(OWN), "deleted"), {})
    bind(team, "deleted")
    path = where("Pod", TEAM, "deleted")
    for who in ("developer", "owner"):
        kube = team.clients[who]
        for query, body in (
            ({"gracePeriodSeconds": "1000000000"}, None),
            ({}, {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 10**9, "dryRun": ["All"]}),
        ):
            refused(lambda one=query, of=body, by=kube: by.request("DELETE", path, {**DRY, **one}, of), LONG)
            many = {**DRY, **query, "fieldSelector": "metadata.name=deleted"}
            refused(lambda one=many, of=body, by=kube: by.request("DELETE", where("Pod", TEAM), one, of), LONG)
        for seconds in ("0", "90000"):
            kube.request("DELETE", path, {**DRY, "gracePeriodSeconds": seconds})
        kube.request("DELETE", path, DRY)
    refused(lambda: evict(team, "owner", "deleted", 10**9), LONG)
    evict(team, "owner", "deleted", 90000)
    evict(team, "owner", "deleted", None)
    team.clients["administrator"].request("DELETE", path, {**DRY, "gracePeriodSeconds": "1000000000"})


def evict(team: Team, who: str, name: str, grace: int | None) -> Object:
    """Evict a pod as a dry run. grace: seconds."""
    entry: Object = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    if grace is not None:
        entry["deleteOptions"] = {"gracePeriodSeconds": grace}
    return team.clients[who].request("POST", where("Pod", TEAM, name) + "/eviction", DRY, entry)


def test_nothing_blocks_the_deletion_of_its_pod(team: Team) -> None:
    """A pod that is deleted in the foreground would stay as long as its dependent, which could stay for ever."""
    owner = team.create("developer", maker("Pod", pod(OWN), "owner"), {})["metadata"]

    def owned(block: bool, kind: str = "Pod") -> list[Object]:
        reference = {"apiVersion": "v1", "kind": kind, "name": "owner", "uid": owner["uid"]}
        return [{**reference, **({"blockOwnerDeletion": True} if block else {})}]

    message = "ownerReferences with blockOwnerDeletion in tenant walls-team: found owner; wanted none"
    for entry in (head("ConfigMap", "owned"), head("Secret", "owned"), claim("owned"), head("Lease", "owned")):
        # The garbage collector matches the UID and ignores the kind.
        for kind in ("Pod", "ConfigMap"):
            entry["metadata"]["ownerReferences"] = owned(True, kind)
            refused(lambda one=entry: team.create("owner", one), message)
        entry["metadata"]["ownerReferences"] = owned(False)
        team.create("owner", entry)
    team.create("developer", head("ConfigMap", "owned", ownerReferences=owned(False)), {})
    change = {"metadata": {"ownerReferences": owned(True)}}
    refused(lambda: team.change("developer", "ConfigMap", "owned", change), message)
    path = where("Pod", TEAM, "owner")
    team.clients["developer"].request("DELETE", path, {"propagationPolicy": "Foreground"})
    soon(lambda: not _there(team, path), 60)


def claim(name: str = "data", volume: str = "", **metadata: Any) -> Object:
    entry = head("PersistentVolumeClaim", name, **metadata)
    entry["spec"] = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "resources": {"requests": {"storage": "1Mi"}},
        **({"volumeName": volume} if volume else {}),
    }
    return entry


def test_a_claim_names_no_volume(team: Team) -> None:
    """A volume without a claimRef would be bound to any claim that names it; otherwise the binder chooses a volume."""
    message = "volumeName in tenant walls-team: found of-others; wanted none"
    for who in ("developer", "owner"):
        refused(lambda by=who: team.create(by, claim(volume="of-others")), message)
    team.create("administrator", claim(volume="of-others"))
    team.create("developer", claim("walls-claim"), {})
    change = {"spec": {"volumeName": "of-others"}}
    refused(lambda: team.change("developer", "PersistentVolumeClaim", "walls-claim", change), message)
    # Controllers also create claims, from templates that members wrote.
    lasting = maker("StatefulSet", pod(OWN), "lasting")
    lasting["spec"]["volumeClaimTemplates"] = [claim(volume="of-others")]
    team.create("developer", lasting, {})

    def told() -> list[str]:
        found = [one for one in team.api.kube.find("Event", TEAM) if one["involvedObject"]["name"] == "lasting"]
        return [one["message"] for one in found if "volumeName in tenant" in one["message"]]

    soon(told, 60)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "walls-volume"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Mi"},
            "hostPath": {"path": "/nowhere"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    team.api.kube.request("POST", "/api/v1/persistentvolumes", {}, volume)
    try:
        path = where("PersistentVolumeClaim", TEAM, "walls-claim")
        soon(lambda: team.api.kube.request("GET", path)["spec"].get("volumeName") == "walls-volume", 60)
    finally:
        team.clients["developer"].request("DELETE", path)
        team.api.kube.request("DELETE", "/api/v1/persistentvolumes/walls-volume")


# The template of a Job cannot be changed at all.
@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "Job"])
def test_a_change_is_judged_like_a_new_object(team: Team, kind: str) -> None:
    made = maker(kind, pod(OWN), f"change-{kind.lower()}")
    team.create("owner", made, {})
    worse = maker(kind, pod(OTHERS), made["metadata"]["name"])
    refused(lambda: team.put("owner", worse), IMAGES.format(OTHERS))
    better = maker(kind, pod(f"{REGISTRY}/{TEAM}/web:2"), made["metadata"]["name"])
    team.put("owner", better)


def test_a_pod_that_runs_gets_no_other_taints(team: Team) -> None:
    team.create("developer", maker("Pod", pod(OWN), "taints"), {})
    live = team.clients["developer"].request("GET", where("Pod", TEAM, "taints"))
    for key, message in (("example.org/gpu", ""), (DAEMONS, TOLERATIONS.format(DAEMONS))):
        more = [*live["spec"]["tolerations"], {"key": key, "operator": "Exists", "effect": "NoSchedule"}]
        change = {"spec": {"tolerations": more}}
        if message:
            refused(lambda one=change: team.change("developer", "Pod", "taints", one), message)
        else:
            team.change("developer", "Pod", "taints", change)


def test_ephemeral_containers_are_judged(team: Team) -> None:
    team.create("owner", maker("Pod", pod(OWN), "debugged"), {})

    def debug(query: dict[str, str], **container: Any) -> Object:
        path = where("Pod", TEAM, "debugged") + "/ephemeralcontainers"
        live = team.clients["owner"].request("GET", path)
        more = [*live["spec"].get("ephemeralContainers", []), container]
        change = {"spec": {"ephemeralContainers": more}}
        return team.clients["owner"].request("PATCH", path, query, change, content_type=client.MERGE)

    refused(lambda: debug(DRY, name="a", image=OTHERS), IMAGES.format(OTHERS))
    refused(lambda: debug(DRY, name="a", image="sha256:0123"), "IDs of images")
    raw = {"capabilities": {"add": ["NET_RAW"]}}
    refused(lambda: debug(DRY, name="a", image=OWN, securityContext=raw), "added capabilities|violates PodSecurity")
    # The second one shows that existing containers stay unchanged.
    for name in ("a", "b"):
        debug({}, name=name, image=OWN)
    live = team.clients["owner"].request("GET", where("Pod", TEAM, "debugged"))
    assert [one["securityContext"] for one in live["spec"]["ephemeralContainers"]] == [
        {"capabilities": {"drop": ["NET_RAW"]}}
    ] * 2


CONTEXTS: list[tuple[Object | None, Object]] = [
    (None, {"capabilities": {"drop": ["NET_RAW"]}}),
    ({}, {"capabilities": {"drop": ["NET_RAW"]}}),
    ({"runAsUser": 0}, {"runAsUser": 0, "capabilities": {"drop": ["NET_RAW"]}}),
    ({"capabilities": {}}, {"capabilities": {"drop": ["NET_RAW"]}}),
    ({"capabilities": {"add": ["CHOWN"]}}, {"capabilities": {"add": ["CHOWN"], "drop": ["NET_RAW"]}}),
    ({"capabilities": {"drop": ["KILL"]}}, {"capabilities": {"drop": ["KILL", "NET_RAW"]}}),
    ({"capabilities": {"drop": ["net_raw"]}}, {"capabilities": {"drop": ["net_raw", "NET_RAW"]}}),
    ({"capabilities": {"drop": ["NET_RAW"]}}, {"capabilities": {"drop": ["NET_RAW"]}}),
    ({"capabilities": {"drop": ["ALL"]}}, {"capabilities": {"drop": ["ALL"]}}),
]


@pytest.mark.parametrize("field", ["containers", "initContainers"])
def test_no_container_can_forge_packets(team: Team, field: str) -> None:
    spec = pod()
    spec[field] = [
        {"name": f"c{number}", "image": "x/y:1", **({} if given is None else {"securityContext": given})}
        for number, (given, _wanted) in enumerate(CONTEXTS)
    ]
    made = team.create("developer", maker("Pod", spec))
    assert [one["securityContext"] for one in made["spec"][field]] == [wanted for _given, wanted in CONTEXTS]


@pytest.mark.parametrize("name", ["NET_RAW", "net_raw", "CAP_NET_RAW", "ALL"])
def test_raw_sockets_are_refused_where_pod_security_does_not(team: Team, name: str) -> None:
    refused(lambda: team.create("developer", maker("Deployment", adding(name))), f"added capabilities .* found {name};")


def test_templates_stay_as_they_were_written(team: Team) -> None:
    made = team.create("developer", maker("Deployment", pod()))
    assert "securityContext" not in made["spec"]["template"]["spec"]["containers"][0]


def test_a_privileged_tenant_gets_volumes_and_capabilities_and_nothing_else(team: Team, api: Api, tenant: str) -> None:
    good("tenant", api.options(name=tenant, pod_security="privileged", network="open"))
    soon(lambda: api.kube.get("ServiceAccount", tenant, "default"))

    def create(spec: Object) -> Object:
        return api.kube.request("POST", where("Pod", tenant), DRY, maker("Pod", spec))

    create(mounting(nfs={"server": "192.0.2.1", "path": "/"}))
    made = create(adding("NET_RAW"))
    assert [one["securityContext"]["capabilities"] for one in made["spec"]["containers"]] == [
        {"drop": ["NET_RAW"]},
        {"add": ["NET_RAW"]},
    ]
    for spec, message in (
        (pod(nodeName="management1"), "nodeName"),
        (tolerating(operator="Exists"), "tolerations .* none"),
        (pod(priorityClassName="system-node-critical"), "priorityClassName .* none"),
        (pod(f"{REGISTRY}/{TEAM}/web:1"), "images"),
    ):
        refused(lambda one=spec: create(one), message)


def test_pods_of_controllers_are_judged_and_daemons_keep_their_tolerations(team: Team, api: Api, tenant: str) -> None:
    """An object from before the policies is scaled, and an event of its controller tells why there is no pod."""
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    soon(lambda: api.kube.get("ServiceAccount", tenant, "default"))
    old = maker("Deployment", pod(OTHERS), "old")
    old["spec"]["replicas"] = 0
    api.kube.request("POST", where("Deployment", tenant), {}, old)
    annotate(api, tenant, {}, {"cloudbang.platform/tenant": tenant})
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "walls-node"}}
    api.kube.request("POST", kinds.path("Node", None), {}, node)
    try:
        api.kube.request("POST", where("DaemonSet", tenant), {}, maker("DaemonSet", pod(), "daemon"))
        scale = {"spec": {"replicas": 1}}
        path = where("Deployment", tenant, "old") + "/scale"
        api.kube.request("PATCH", path, {}, scale, content_type=client.MERGE)
        pods = soon(lambda: api.kube.find("Pod", tenant, "app=daemon"))
        assert DAEMONS in {one.get("key") for one in pods[0]["spec"]["tolerations"]}
        # Only the controller can set these tolerations: others cannot use them, but can change other fields.
        own = maker("Pod", pod(tolerations=pods[0]["spec"]["tolerations"]))
        refused(lambda: api.kube.request("POST", where("Pod", tenant), DRY, own), "tolerations in tenant")
        change = {"spec": {"activeDeadlineSeconds": 60}}
        path = where("Pod", tenant, pods[0]["metadata"]["name"])
        api.kube.request("PATCH", path, DRY, change, content_type=client.MERGE)
        events = soon(lambda: [one for one in api.kube.find("Event", tenant) if one["reason"] == "FailedCreate"])
        assert "images in tenant" in events[0]["message"]
        assert api.kube.find("Pod", tenant, "app=old") == []
    finally:
        api.kube.delete("Node", None, "walls-node")


def ingress(host: str = "shop.example.org", name: str = "web", path: str = "/", **more: Any) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    entry = head("Ingress", name, **more.pop("metadata", {}))
    rule: Object = {"http": {"paths": [{"path": path, "pathType": "ImplementationSpecific", "backend": backend}]}}
    entry["spec"] = {"rules": [{**rule, **({"host": host} if host else {})}], **more}
    return entry


HOSTS = "hosts of rules in tenant walls-team: found {}; wanted hosts of the domains of the tenant: shop.example.org, "
SERVICE = {"service": {"name": "web", "port": {"number": 80}}}
PATHS = "paths in tenant walls-team: found characters that a URL cannot have"
RESOURCE = {"resource": {"apiGroup": "traefik.io", "kind": "TraefikService", "name": "x"}}
INGRESSES: list[tuple[Object, str]] = [
    (ingress("vic.example.org"), HOSTS.format("vic.example.org")),
    (ingress(""), HOSTS.format("every host")),
    (ingress("a.shop.example.org"), HOSTS.format("a.shop.example.org")),
    (ingress("*.example.org"), HOSTS.format(r"\*.example.org")),
    (ingress("*.shop.example.org"), HOSTS.format(r"\*.shop.example.org")),
    (ingress("team.example.org"), HOSTS.format("team.example.org")),
    (ingress("evilteam.example.org"), HOSTS.format("evilteam.example.org")),
    (ingress("xshop.example.org"), HOSTS.format("xshop.example.org")),
    (ingress(defaultBackend=SERVICE), "defaultBackend in tenant walls-team: found one"),
    (ingress(tls=[{"hosts": ["vic.example.org"], "secretName": "fake"}]), "tls.secretName in tenant .*: found fake"),
    (ingress(path="/`) || Host(`vic.example.org"), PATHS),
    (ingress(path='/") || Host("vic.example.org'), PATHS),
    (ingress(path="/\n"), PATHS),
    *(
        (ingress(metadata={"annotations": {key: "x"}}), f"annotations in tenant walls-team: found {key}")
        for key in (
            "traefik.ingress.kubernetes.io/router.middlewares",
            "traefik.ingress.kubernetes.io/router.priority",
            "traefik.ingress.kubernetes.io/router.entrypoints",
        )
    ),
]


def with_resource() -> Object:
    entry = ingress()
    entry["spec"]["rules"][0]["http"]["paths"][0]["backend"] = RESOURCE
    return entry


INGRESSES.append((with_resource(), "resource backends in tenant walls-team: found TraefikService"))
GOOD_INGRESSES = [
    ingress(),
    ingress("a.team.example.org"),
    ingress("a.b.team.example.org"),
    ingress("*.team.example.org"),
    ingress("*.b.team.example.org"),
    ingress(path="/a/b.c~d%20(x)?".rstrip("?")),
    ingress(tls=[{"hosts": ["shop.example.org"]}]),
    ingress(metadata={"annotations": {"example.org/team": "x"}}),
]


@pytest.mark.parametrize(("wanted", "message"), INGRESSES, ids=[str(number) for number in range(len(INGRESSES))])
def test_an_ingress_takes_nothing_of_others(team: Team, wanted: Object, message: str) -> None:
    for who in ("developer", "owner"):
        refused(lambda by=who: team.create(by, wanted), message)
    team.create("administrator", wanted)


@pytest.mark.parametrize("wanted", GOOD_INGRESSES, ids=[str(number) for number in range(len(GOOD_INGRESSES))])
def test_an_ingress_of_the_tenants_domains_goes(team: Team, wanted: Object) -> None:
    team.create("developer", wanted)


def test_a_changed_ingress_keeps_its_hosts_and_gets_no_others(team: Team) -> None:
    """An administrator gave it a host outside of the tenant's domains."""
    given = ingress("given.example.org", "given", metadata={"annotations": {"traefik.ingress.kubernetes.io/x": "1"}})
    team.create("administrator", given, {})
    team.change("developer", "Ingress", "given", {"metadata": {"labels": {"a": "b"}}})
    more = copy.deepcopy(given)
    more["spec"]["rules"].append(ingress()["spec"]["rules"][0])
    team.put("developer", more)
    more["spec"]["rules"].append(ingress("vic.example.org")["spec"]["rules"][0])
    refused(lambda: team.put("developer", more), HOSTS.format("vic.example.org;".rstrip(";")))
    changed = {"metadata": {"annotations": {"traefik.ingress.kubernetes.io/x": "2"}}}
    refused(lambda: team.change("developer", "Ingress", "given", changed), "annotations in tenant walls-team: found t")


def test_without_domains_no_ingress_goes(team: Team, api: Api, tenant: str) -> None:
    good("tenant", api.options(name=tenant, network="open", members=[{"name": "walls-developer", "role": "developer"}]))

    def attempt(host: str) -> str:
        try:
            team.clients["developer"].request("POST", where("Ingress", tenant), DRY, ingress(host))
        except client.ApiError as error:
            return str(error)
        return "done"

    for text in ("", " , ,", "*", "*.", ".example.org", "example.org/"):
        annotate(api, tenant, {tenant_annotations.DOMAINS: text})
        soon(lambda: "wanted hosts of the domains" in attempt("vic.example.org"))
        soon(lambda one=text: ("none" in attempt("vic.example.org")) == (one.strip(" ,") == ""))
        assert "hosts of rules" in attempt("vic.example.org")


def service(name: str = "web", **metadata: Any) -> Object:
    entry = head("Service", name, **metadata)
    entry["spec"] = {"ports": [{"port": 80}]}
    return entry


def test_a_service_says_nothing_to_the_gateway(team: Team) -> None:
    for key in ("service.serverstransport", "service.nodeportlb", "service.sticky.cookie"):
        note = {"annotations": {f"traefik.ingress.kubernetes.io/{key}": "x"}}
        for who in ("developer", "owner"):
            refused(
                lambda one=note, by=who: team.create(by, service(**one)), "annotations in tenant walls-team: found "
            )
    team.create("developer", service(annotations={"example.org/x": "y"}))
    team.create("developer", service("plain"), {})
    worse = {"metadata": {"annotations": {"traefik.ingress.kubernetes.io/service.nodeportlb": "true"}}}
    refused(lambda: team.change("developer", "Service", "plain", worse), "annotations in tenant walls-team")


def named(name: str = "named", target: str = "vic.example.org") -> Object:
    return {**head("Service", name), "spec": {"type": "ExternalName", "externalName": target}}


def test_a_service_of_a_tenant_stands_for_no_name(team: Team) -> None:
    """tests/api/test_routes.py shows that the gateway would not follow it either."""
    message = "type of a Service in tenant walls-team: found ExternalName; wanted ClusterIP"
    team.create("administrator", named(), {})
    team.create("developer", service("changed"), {})
    for who in ("developer", "owner"):
        refused(lambda by=who: team.create(by, named("another")), message)
        refused(lambda by=who: team.change(by, "Service", "changed", {"spec": named()["spec"]}), message)
        refused(lambda by=who: team.change(by, "Service", "named", named(target="other.example.org")), message)
        team.change(who, "Service", "named", {"metadata": {"labels": {"a": "b"}}})
        team.create(who, {**service(), "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})


TRAEFIK: dict[str, Object] = {
    "IngressRoute": {"routes": [{"match": "Host(`vic.example.org`)", "kind": "Rule", "priority": 9}]},
    "IngressRouteTCP": {"routes": [{"match": "HostSNI(`*`)"}], "entryPoints": ["web"]},
    "IngressRouteUDP": {"routes": [{}], "entryPoints": ["udp-1"]},
    "Middleware": {"forwardAuth": {"address": "http://127.0.0.1:10248"}},
    "TraefikService": {"weighted": {"services": [{"name": "other-web-http@kubernetes", "kind": "TraefikService"}]}},
}


@pytest.mark.parametrize("kind", list(TRAEFIK))
def test_the_gateways_own_objects_are_the_administrators(team: Team, kind: str) -> None:
    wanted = {**head(kind, f"own-{kind.lower()}"), "spec": TRAEFIK[kind]}
    message = f"kind in tenant walls-team: found {kind}; wanted an Ingress"
    for who in ("developer", "owner"):
        refused(lambda by=who: team.create(by, wanted), message)
    team.create("administrator", wanted, {})
    team.change("developer", kind, wanted["metadata"]["name"], {"metadata": {"labels": {"a": "b"}}})
    changes = [
        {"spec": {"entryPoints": ["health"]}},
        {"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}},
    ]
    if kind in ("Middleware", "TraefikService"):
        changes[0] = {"spec": {"errors": {"status": ["500"]}, "mirroring": {"name": "x"}}}
    for change in changes:
        refused(lambda one=change: team.change("owner", kind, wanted["metadata"]["name"], one), message)
    # The garbage collector removes its finalizer from the object. It discovers new kinds every 30 seconds.
    path = where(kind, TEAM, wanted["metadata"]["name"])
    team.clients["developer"].request("DELETE", path, {"propagationPolicy": "Foreground"})
    soon(lambda: not _there(team, path), 90)


def _there(team: Team, path: str) -> bool:
    try:
        team.clients["administrator"].request("GET", path)
    except client.ApiError as error:
        return error.status != 404
    return True


@pytest.mark.parametrize("kind", ["Service", "Ingress", "Middleware", "IngressRoute"])
def test_names_of_another_tenants_routes_are_reserved(team: Team, kind: str) -> None:
    # The module removes prefixes that no name of a tenant requires.
    annotate(team.api, team.name, {tenant_annotations.RESERVED_NAMES: "staging-"})
    probe = service("staging-shop")

    def known() -> bool:
        try:
            team.create("administrator", probe)
        except client.ApiError:
            return True
        return False

    soon(known)
    for name, message in (
        (
            "staging-shop",
            "name in tenant walls-team: found staging-shop; wanted a name that does not begin with staging-",
        ),
        ("staging", "name in tenant walls-team: found staging;"),
        ("stagings", ""),
        ("my-staging-shop", ""),
    ):
        wanted = {"Service": service, "Ingress": lambda one: ingress(name=one)}.get(
            kind, lambda one: {**head(kind, one), "spec": TRAEFIK.get(kind, {})}
        )(name)
        if message:
            refused(lambda one=wanted: team.create("administrator", one), message)
        else:
            team.create("administrator", wanted)


def test_no_secret_gets_a_token_without_end(team: Team) -> None:
    account = {"annotations": {"kubernetes.io/service-account.name": "default"}}
    wanted = {**head("Secret", "token", **account), "type": "kubernetes.io/service-account-token"}
    for who in ("developer", "owner", "administrator"):
        refused(
            lambda by=who: team.create(by, wanted), "type in tenant walls-team: found kubernetes.io/service-account"
        )
    team.create("developer", {**wanted, "type": "Opaque"})
    team.create("developer", head("Secret", "opaque"), {})
    with pytest.raises(client.ApiError, match="field is immutable"):
        team.change("owner", "Secret", "opaque", {"type": wanted["type"]})
    team.create("developer", head("Secret", "plain"))


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_the_api_bounds_the_contents_of_an_object(team: Team, kind: str) -> None:
    """No policy has a lower limit: the environment of an app may be nearly as large, and so may its files."""
    field = "stringData" if kind == "Secret" else "data"
    team.create("developer", {**head(kind, "large"), field: {"a": "x" * MAX_CONTENT}})
    with pytest.raises(client.ApiError, match="may not be more than 1048576 bytes"):
        team.create("developer", {**head(kind, "large"), field: {"a": "x" * (2**20 + 1)}})


def test_the_certificate_of_a_route_is_the_administrators(team: Team) -> None:
    """tests/api/test_routes.py shows how the gateway would use a forged one."""
    pair = {"tls.crt": "eA==", "tls.key": "eA=="}
    message = (
        "name of a Secret in tenant walls-team: found shop.route-tls; wanted one that does not end with .route-tls"
    )
    wanted = {**head("Secret", "shop.route-tls"), "type": "kubernetes.io/tls", "data": pair}
    for who in ("developer", "owner"):
        for entry in (wanted, head("Secret", "shop.route-tls")):
            refused(lambda one=entry, by=who: team.create(by, one), message)
        for name in ("shop-tls", "route-tls", "shop.route-tls.old"):
            team.create(who, head("Secret", name))
    team.create("administrator", wanted, {})
    for who in ("developer", "owner"):
        for change in ({"data": {"tls.crt": "eQ=="}}, {"stringData": {"tls.crt": "y"}}, {"immutable": True}):
            refused(lambda one=change, by=who: team.change(by, "Secret", "shop.route-tls", one), message)
        # As the garbage collector does.
        team.change(who, "Secret", "shop.route-tls", {"metadata": {"labels": {"a": "b"}}})
    team.change("administrator", "Secret", "shop.route-tls", {"data": {"tls.crt": "eQ=="}})
    path = where("Secret", TEAM, "shop.route-tls")
    team.clients["developer"].request("DELETE", path, {"propagationPolicy": "Foreground"})
    soon(lambda: not _there(team, path), 60)


def budget(name: str = "shop-web", labels: Object | None = None, **spec: Any) -> Object:
    found = {"cloudbang.platform/app": "shop", "cloudbang.platform/process": "web"} if labels is None else labels
    entry = head("PodDisruptionBudget", name)
    entry["spec"] = {
        "selector": {"matchLabels": found},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        **(spec or {"maxUnavailable": 1}),
    }
    return {**entry, "spec": {key: value for key, value in entry["spec"].items() if value is not None}}


BUDGETS: list[tuple[Object, str]] = [
    (budget(maxUnavailable=0), "maxUnavailable in tenant walls-team: found no pod that may be unavailable"),
    (budget(maxUnavailable="0%"), "maxUnavailable in tenant walls-team: found no pod that may be unavailable"),
    (budget(maxUnavailable="00%"), "maxUnavailable in tenant walls-team: found no pod that may be unavailable"),
    (budget(minAvailable=1), "maxUnavailable in tenant walls-team: found minAvailable"),
    (budget(minAvailable="100%"), "maxUnavailable in tenant walls-team: found minAvailable"),
    (budget(unhealthyPodEvictionPolicy=None, maxUnavailable=1), "unhealthyPodEvictionPolicy .*: found IfHealthyBudget"),
    (budget(unhealthyPodEvictionPolicy="IfHealthyBudget", maxUnavailable=1), "unhealthyPodEvictionPolicy"),
    (budget("second"), "budget in tenant walls-team: found second; wanted the name APP-PROCESS"),
    (budget(labels={}), "budget in tenant walls-team"),
    (budget(labels={"cloudbang.platform/app": "shop"}), "budget in tenant walls-team"),
    (budget("a", {"app": "a"}), "budget in tenant walls-team"),
    (
        budget(
            maxUnavailable=1,
            selector={
                "matchLabels": {"cloudbang.platform/app": "shop", "cloudbang.platform/process": "web"},
                "matchExpressions": [{"key": "a", "operator": "Exists"}],
            },
        ),
        "budget in tenant walls-team",
    ),
]


@pytest.mark.parametrize(("wanted", "message"), BUDGETS, ids=[str(number) for number in range(len(BUDGETS))])
def test_no_budget_stops_drains_for_ever(team: Team, wanted: Object, message: str) -> None:
    for who in ("developer", "owner"):
        refused(lambda by=who: team.create(by, wanted), message)
    team.create("administrator", wanted)


def test_a_budget_that_lets_pods_go_is_allowed(team: Team) -> None:
    for amount in (1, 3, "1%", "10%", "100%"):
        team.create("developer", budget(maxUnavailable=amount))
    team.create("developer", budget(), {})
    refused(lambda: team.put("developer", budget(maxUnavailable=0)), "no pod that may be unavailable")
    team.put("developer", budget(maxUnavailable=2))


def test_rights_are_given_by_administrators(team: Team) -> None:
    role = {**head("Role", "own"), "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
    binding = head("RoleBinding", "own")
    binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "own"}
    binding["subjects"] = [{"kind": "User", "name": "friend", "apiGroup": "rbac.authorization.k8s.io"}]
    for wanted in (role, binding):
        kind = wanted["kind"]
        message = f"kind in tenant walls-team: found {kind}; wanted members of the tenant"
        for who in ("developer", "owner"):
            refused(lambda one=wanted, by=who: team.create(by, one), message)
        team.create("administrator", wanted, {})
        team.change("owner", kind, "own", {"metadata": {"labels": {"a": "b"}}})
        change = {"rules": []} if kind == "Role" else {"subjects": []}
        refused(lambda one=change, of=kind: team.change("owner", of, "own", one), message)
    for kind in ("RoleBinding", "Role"):
        path = where(kind, TEAM, "own")
        team.clients["owner"].request("DELETE", path, {"propagationPolicy": "Foreground"})
        soon(lambda one=path: not _there(team, one))


Attempt = Callable[[Team, str], Object]
WRITE = ("create", "update", "patch")
REMOVE = ("delete", "deletecollection")
# Each verb of RBAC as a request: the method, and whether it names an object.
REQUESTS = {
    "create": ("POST", ""),
    "update": ("PUT", "/x"),
    "patch": ("PATCH", "/x"),
    "delete": ("DELETE", "/x"),
    "deletecollection": ("DELETE", ""),
}


class Harmless(NamedTuple):
    """Why no content of a request has an effect beyond the tenant, and a function that shows it for role and verb."""

    why: str
    shown: Callable[[Team, str, str], None]


Judged = dict[tuple[str, str, str], tuple[Attempt, str] | Harmless]


def elsewhere(resource: str, root: str = "/api/v1") -> Callable[[Team, str, str], None]:
    """Return a function that shows that a role cannot write a resource in a namespace of the platform."""

    def shown(team: Team, role: str, verb: str) -> None:
        method, name = REQUESTS[verb]
        parts = resource.split("/")
        # A subresource is one of a single object.
        path = resource if len(parts) > 2 else "/".join([parts[0] + name, *parts[1:]])
        content_type = client.MERGE if verb == "patch" else "application/json"
        for namespace in ("kube-system", "kube-node-lease", "default"):
            where = f"{root}/namespaces/{namespace}/{path}"
            refused(
                lambda one=where: team.clients[role].request(method, one, DRY, {}, content_type=content_type),
                f"cannot {verb} resource",
            )

    return shown


def nowhere(kind: str) -> Callable[[Team, str, str], None]:
    """Return a function that shows that the API has no such request for the scale of an object."""

    def shown(team: Team, role: str, verb: str) -> None:
        there(team, kind, "scaled")
        with pytest.raises(client.ApiError) as caught:
            team.clients[role].request(REQUESTS[verb][0], where(kind, TEAM, "scaled") + "/scale", DRY, {})
        assert caught.value.status == 405

    return shown


def counted(team: Team, *resources: str) -> bool:
    quota = team.api.kube.get("ResourceQuota", TEAM, tenant_objects.NAME)
    return quota is not None and {f"count/{one}" for one in resources} <= set(quota["spec"]["hard"])


def scaled(kind: str) -> Callable[[Team, str, str], None]:
    """Return a function that shows that the scale of an object is only a number, and that pods are counted."""

    def shown(team: Team, role: str, verb: str) -> None:
        there(team, kind, "scaled")
        path = where(kind, TEAM, "scaled") + "/scale"
        change = {"spec": {"replicas": 10**6, "template": {"spec": pod(OTHERS)}}}
        answer = request(team, role, verb, path, change, client.MERGE)
        assert answer["spec"] == {"replicas": 10**6} and counted(team, "pods")

    return shown


def autoscaler(called: str, namespace: str, **target: str) -> Object:
    entry = head("HorizontalPodAutoscaler", called)
    found = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "calm", **target, "namespace": namespace}
    return {**entry, "spec": {"scaleTargetRef": found, "maxReplicas": 10**6}}


def autoscaled(team: Team, role: str, verb: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "coredns"}
    answer = write(team, role, verb, autoscaler("calm", TEAM), autoscaler("worst", "kube-system", **target))
    assert answer["spec"]["scaleTargetRef"] == target
    assert counted(team, "pods", "horizontalpodautoscalers.autoscaling")


def powerless(team: Team, role: str, verb: str) -> None:
    name = f"powerless-{verb}"
    write(team, role, verb, head("ServiceAccount", name), head("ServiceAccount", name, labels={TENANT: "other"}))
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{TEAM}:{name}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{TEAM}", "system:authenticated"],
            "resourceAttributes": {"namespace": TEAM, "verb": "get", "resource": "pods"},
        },
    }
    answer = team.api.kube.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {}, review)
    assert answer["status"]["allowed"] is False


def there(team: Team, kind: str, name: str) -> None:
    """Create a pod, or an object without replicas, if it does not exist."""
    if not _there(team, where(kind, TEAM, name)):
        entry = maker(kind, pod(OWN), name)
        if kind != "Pod":
            entry["spec"]["replicas"] = 0
        team.create("administrator", entry, {})


def merged(before: Any, change: Any) -> Any:
    """Return an object with a change applied, whose lists are merged entry by entry."""
    if isinstance(before, dict) and isinstance(change, dict):
        return {**before, **{key: merged(before.get(key), value) for key, value in change.items()}}
    if isinstance(before, list) and isinstance(change, list):
        return [merged(old, new) for old, new in zip(before, change)] + change[len(before) :]
    return change


def request(team: Team, role: str, verb: str, path: str, change: Object, content_type: str = STRATEGIC) -> Object:
    """Have a member change an object as a dry run, by a patch or as a whole."""
    kube = team.clients[role]
    if verb == "patch":
        return kube.request("PATCH", path, DRY, change, content_type=content_type)
    while True:
        try:
            return kube.request("PUT", path, DRY, merged(kube.request("GET", path), change))
        except client.ApiError as error:
            # A controller was faster.
            if error.status != 409:
                raise


def write(team: Team, role: str, verb: str, calm: Object, worst: Object) -> Object:
    """Have a member create the worst object, or change an administrator's harmless one to it."""
    if verb == "create":
        return team.create(role, worst)
    name = calm["metadata"]["name"]
    path = where(calm["kind"], TEAM, name)
    if not _there(team, path):
        team.create("administrator", calm, {})
    return request(team, role, verb, path, {**worst, "metadata": {**worst["metadata"], "name": name}})


def evicting(team: Team, role: str) -> Object:
    there(team, "Pod", "worst")
    return evict(team, role, "worst", 10**9)


def debugging(verb: str) -> Attempt:
    def attempt(team: Team, role: str) -> Object:
        there(team, "Pod", "worst")
        change = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": OTHERS}]}}
        return request(team, role, verb, where("Pod", TEAM, "worst") + "/ephemeralcontainers", change)

    return attempt


def deleting(verb: str) -> Attempt:
    def attempt(team: Team, role: str) -> Object:
        name = f"worst-{verb}-{role}"
        team.create("administrator", maker("Pod", pod(OWN), name), {})
        bind(team, name)
        path, query = where("Pod", TEAM), {"fieldSelector": f"metadata.name={name}"}
        if verb == "delete":
            path, query = where("Pod", TEAM, name), {}
        return team.clients[role].request("DELETE", path, {**DRY, **query, "gracePeriodSeconds": "1000000000"})

    return attempt


def calm(kind: str, **more: Any) -> Object:
    """Return a harmless pod, or a harmless object that could create pods and has none."""
    entry = maker(kind, pod(OWN), "calm")
    if kind in ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"):
        entry["spec"]["replicas"] = 0
    return {**entry, "spec": {**entry.get("spec", {}), **more}} if more else entry


def worst(kind: str, spec: Object) -> Object:
    return maker(kind, spec, "calm")


def judged(before: Object, after: Object, message: str, verbs: tuple[str, ...] = WRITE) -> Judged:
    """Return rows: an object is refused, and so is a change of a harmless one to it. message: that of the refusal."""
    version, plural = GROUPS[after["kind"]]
    group = version.rpartition("/")[0]

    def attempt(verb: str) -> Attempt:
        return lambda team, role: write(team, role, verb, before, after)

    return {(group, plural, verb): (attempt(verb), message) for verb in verbs}


def harmless(
    group: str, resource: str, verbs: tuple[str, ...], why: str, shown: Callable[[Team, str, str], None]
) -> Judged:
    return {(group, resource, verb): Harmless(why, shown) for verb in verbs}


def removing(version: str, *resources: str) -> Judged:
    """Return that members remove objects of these resources in their tenant alone."""
    group, why = version.rpartition("/")[0], "what is removed is of the tenant, and only its apps need it"
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    found: Judged = {}
    for resource in resources:
        found |= harmless(group, resource, REMOVE, why, elsewhere(resource, root))
    return found


CONNECTION = "a connection to a pod of the tenant"
NUMBER = "a number, which the quota bounds"
# The worst content of each request that roles can make, and the message of the refusal; or why it is harmless.
WORST: Judged = {
    **harmless(
        "",
        "configmaps",
        WRITE,
        "only pods of the tenant read them, and of the platform nothing that is not in its own namespaces",
        elsewhere("configmaps"),
    ),
    **judged(claim("calm"), claim("calm", volume="of-others"), "volumeName in tenant"),
    **judged(calm("Pod"), worst("Pod", pod(OTHERS)), "images in tenant"),
    **{("", "pods", verb): (deleting(verb), LONG) for verb in REMOVE},
    **judged(service("calm"), named("calm"), "type of a Service in tenant"),
    **judged(
        head("Secret", "calm"),
        {
            **head("Secret", "token", annotations={"kubernetes.io/service-account.name": "default"}),
            "type": "kubernetes.io/service-account-token",
        },
        "type in tenant",
        ("create",),
    ),
    # The type of a Secret cannot be changed; the certificate in it can.
    **judged(
        head("Secret", "calm.route-tls"),
        {**head("Secret", "calm.route-tls"), "data": {"tls.crt": "eA=="}},
        "name of a Secret in tenant",
        ("update", "patch"),
    ),
    **judged(calm("PodTemplate"), worst("PodTemplate", pod(nodeName="a")), "nodeName in tenant"),
    **judged(calm("ReplicationController"), worst("ReplicationController", pod(nodeName="a")), "nodeName in tenant"),
    **harmless("", "serviceaccounts", WRITE, "what it may do is in bindings, which members do not write", powerless),
    **harmless(
        "",
        "serviceaccounts/token",
        ("create",),
        "it is for accounts of the tenant, and the API server bounds its lifetime (molecule/kube_control_plane)",
        elsewhere("serviceaccounts/default/token"),
    ),
    **harmless("", "pods/attach", ("create",), CONNECTION, elsewhere("pods/x/attach")),
    **harmless("", "pods/exec", ("create",), CONNECTION, elsewhere("pods/x/exec")),
    **harmless("", "pods/portforward", ("create",), CONNECTION, elsewhere("pods/x/portforward")),
    ("", "pods/eviction", "create"): (evicting, LONG),
    **{
        ("", "pods/ephemeralcontainers", verb): (debugging(verb), IMAGES.format(OTHERS)) for verb in ("update", "patch")
    },
    **judged(calm("Deployment"), worst("Deployment", tolerating(operator="Exists")), "tolerations in tenant"),
    **judged(
        calm("StatefulSet"), worst("StatefulSet", pod(priorityClassName="system-node-critical")), "priorityClassName"
    ),
    **judged(calm("DaemonSet"), worst("DaemonSet", tolerating(operator="Exists")), "tolerations in tenant"),
    **judged(calm("ReplicaSet"), worst("ReplicaSet", pod("sha256:0123")), "IDs of images in tenant"),
    **{
        key: found
        for kind in ("Deployment", "StatefulSet", "ReplicaSet")
        for resource in [f"{GROUPS[kind][1]}/scale"]
        for key, found in {
            **harmless("apps", resource, ("update", "patch"), NUMBER, scaled(kind)),
            **harmless("apps", resource, ("create", *REMOVE), "there is no such request", nowhere(kind)),
        }.items()
    },
    **harmless(
        "autoscaling",
        "horizontalpodautoscalers",
        WRITE,
        "numbers, which the quota bounds, of objects of the tenant",
        autoscaled,
    ),
    **judged(
        calm("CronJob", suspend=True),
        worst("CronJob", mounting(nfs={"server": "192.0.2.1", "path": "/"})),
        "volumes in tenant",
    ),
    **judged(
        calm("Job"),
        worst("Job", pod(terminationGracePeriodSeconds=10**6)),
        "terminationGracePeriodSeconds in",
        ("create",),
    ),
    # The template of a Job cannot be changed, but for the nodes that it chooses before it starts.
    **judged(
        calm("Job", suspend=True),
        worst("Job", pod(OWN, tolerations=[{"operator": "Exists"}])),
        "tolerations in tenant",
        ("update", "patch"),
    ),
    **harmless(
        "coordination.k8s.io",
        "leases",
        WRITE,
        "only the app modules read those of a tenant",
        elsewhere("leases", "/apis/coordination.k8s.io/v1"),
    ),
    **judged(ingress("calm.team.example.org", "calm"), ingress("vic.example.org", "calm"), "hosts of rules in tenant"),
    **judged(
        budget("calm-web", {"cloudbang.platform/app": "calm", "cloudbang.platform/process": "web"}),
        budget("calm-web", maxUnavailable=0),
        "maxUnavailable in tenant",
    ),
    **removing("v1", "configmaps", "persistentvolumeclaims", "services", "secrets", "podtemplates"),
    **removing("v1", "replicationcontrollers", "serviceaccounts"),
    **removing("apps/v1", "deployments", "statefulsets", "daemonsets", "replicasets"),
    **removing("autoscaling/v2", "horizontalpodautoscalers"),
    **removing("batch/v1", "cronjobs", "jobs"),
    **removing("coordination.k8s.io/v1", "leases"),
    **removing("networking.k8s.io/v1", "ingresses"),
    **removing("policy/v1", "poddisruptionbudgets"),
    **removing("traefik.io/v1alpha1", *(GROUPS[kind][1] for kind in TRAEFIK)),
}


def writable() -> dict[tuple[str, str, str], list[str]]:
    """Return all that members can write: the verbs by role, group and resource."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for role, rules in tenant_objects.RULES.items():
        for rule in rules:
            verbs = [verb for verb in rule["verbs"] if verb not in ("get", "list", "watch")]
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found.setdefault((role, group, resource), []).extend(verbs)
    return {key: verbs for key, verbs in found.items() if verbs}


def test_no_request_is_judged_that_no_role_has() -> None:
    verbs = {(group, resource, verb) for (_role, group, resource), found in writable().items() for verb in found}
    assert set(WORST) == verbs


@pytest.mark.parametrize(("role", "group", "resource"), list(writable()))
def test_the_worst_of_what_a_role_writes_is_refused(team: Team, role: str, group: str, resource: str) -> None:
    for verb in writable()[role, group, resource]:
        found = WORST[group, resource, verb]
        if isinstance(found, Harmless):
            found.shown(team, role, verb)
            continue
        attempt, message = found
        refused(lambda one=attempt: one(team, role), message)


def test_members_cannot_change_the_walls(team: Team) -> None:
    written = ("validatingadmissionpolic", "mutatingadmissionpolic")
    for who in ("developer", "owner"):
        for kind in written:
            for plural in (f"{kind}ies", f"{kind}ybindings"):
                path = f"/apis/admissionregistration.k8s.io/v1/{plural}"
                kube = team.clients[who]
                refused(lambda one=path, by=kube: by.request("GET", one), "cannot list")
                name = f"{path}/cloudbang-tenant-{'raw-sockets' if kind.startswith('m') else 'pods'}"
                team.api.kube.request("GET", name)
                refused(lambda one=name, by=kube: by.request("DELETE", one, DRY), "cannot delete")
                refused(
                    lambda one=name, by=kube: by.request("PATCH", one, DRY, {"spec": {}}, content_type=client.MERGE),
                    "cannot patch",
                )
        for change in ({"labels": {"cloudbang.platform/tenant": None}}, {"annotations": {"a": "b"}}):
            refused(
                lambda one=change, by=team.clients[who]: by.request(
                    "PATCH", kinds.path("Namespace", None, TEAM), DRY, {"metadata": one}, content_type=client.MERGE
                ),
                "cannot patch",
            )


def test_other_namespaces_are_left_alone(team: Team) -> None:
    made = team.api.kube.request("POST", where("Pod", "default"), DRY, maker("Pod", pod(OTHERS, nodeName="a")))
    assert "securityContext" not in made["spec"]["containers"][0]


OLD: list[tuple[Object, Object]] = [
    (maker("Deployment", pod(OTHERS, nodeName="a"), "old"), {"spec": {"replicas": 0}}),
    (maker("StatefulSet", tolerating(operator="Exists"), "old"), {"spec": {"replicas": 0}}),
    (maker("CronJob", pod("sha256:0123"), "old"), {"spec": {"suspend": True}}),
    (maker("Job", pod(OTHERS), "old"), {"spec": {"suspend": True}}),
    (maker("Pod", pod(nodeName="a"), "old"), {"metadata": {"labels": {"a": "b"}}}),
    (maker("Pod", pod(OTHERS), "noted", annotations={CALICO + "podIP": "x"}), {"metadata": {"labels": {"a": "b"}}}),
    (ingress("vic.example.org", "old", tls=[{"secretName": "x"}]), {"metadata": {"labels": {"a": "b"}}}),
    (budget("old", maxUnavailable=0), {"metadata": {"labels": {"a": "b"}}}),
    (service("old", annotations={"traefik.ingress.kubernetes.io/x": "y"}), {"spec": {"ports": [{"port": 81}]}}),
    (service("staging-old"), {"spec": {"ports": [{"port": 81}]}}),
    (named("old-name"), {"metadata": {"labels": {"a": "b"}}}),
]


def test_what_was_there_before_can_still_be_scaled_and_removed(team: Team, api: Api, tenant: str) -> None:
    """The objects are created before the namespace is a tenant's, like those that are older than the policies."""
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    soon(lambda: api.kube.get("ServiceAccount", tenant, "default"))
    for wanted, _change in OLD:
        api.kube.request("POST", where(wanted["kind"], tenant), {}, wanted)
    debugged = where("Pod", tenant, "old") + "/ephemeralcontainers"
    first = {"name": "first", "image": "x/y:1"}
    api.kube.request("PATCH", debugged, {}, {"spec": {"ephemeralContainers": [first]}}, content_type=STRATEGIC)
    member = {"name": "walls-developer", "role": "developer"}
    good("tenant", api.options(name=tenant, adopt=True, network="open", members=[member]))
    annotate(api, tenant, {tenant_annotations.RESERVED_NAMES: "staging-"})
    developer = team.clients["developer"]

    def walled() -> bool:
        try:
            developer.request("POST", where("Pod", tenant), DRY, maker("Pod", pod(OTHERS)))
        except client.ApiError as error:
            return "images in tenant" in str(error)
        return False

    soon(walled)
    # Its existing containers cannot be changed, and it can stay on its node.
    second = {"name": "second", "image": "x/y:1"}
    made = api.kube.request("PATCH", debugged, DRY, {"spec": {"ephemeralContainers": [second]}}, content_type=STRATEGIC)
    contexts = {one["name"]: one.get("securityContext") for one in made["spec"]["ephemeralContainers"]}
    assert contexts == {"first": None, "second": {"capabilities": {"drop": ["NET_RAW"]}}}
    for wanted, change in OLD:
        path = where(wanted["kind"], tenant, wanted["metadata"]["name"])
        developer.request("PATCH", path, {}, change, content_type=client.MERGE)
    for wanted, _change in OLD:
        path = where(wanted["kind"], tenant, wanted["metadata"]["name"])
        developer.request("DELETE", path, {"propagationPolicy": "Foreground", "gracePeriodSeconds": "0"})
        soon(lambda one=path: not _there_for(developer, one))


def _there_for(kube: client.Kube, path: str) -> bool:
    try:
        kube.request("GET", path)
    except client.ApiError as error:
        return error.status != 404
    return True


PROCESSES: dict[str, Object] = {
    "web": {"name": "web", "ports": [8000]},
    "worker": {"name": "web"},
    "stateful": {"name": "web", "ports": [5432]},
    "cron": {"name": "web", "schedule": "@yearly"},
    "job": {"name": "web"},
}


@pytest.mark.parametrize("kind", argument_spec("app")["type"]["choices"])
def test_apps_of_all_types_go_as_a_developer_deploys_them(team: Team, nodes: Nodes, kind: str) -> None:
    image = "x/task:1" if kind in ("job",) else OWN
    options: dict[str, Any] = {
        "kubeconfig": str(team.api.directory / "walls-developer.conf"),
        "tenant": TEAM,
        "name": f"app-{kind}",
        "type": kind,
        "image": image,
        "processes": [{**PROCESSES[kind], "placement": {"tolerations": ["example.org/gpu"]}}],
        "env": {"A": "b"},
        "files": [{"path": "/etc/x/y", "content": "z"}],
        "timeout": 30,
    }
    if kind in ("web", "stateful"):
        options["grace"] = 86400
        options["drain"] = 3600
    if kind == "web":
        options["domains"] = ["shop.example.org", "a.team.example.org"]
    good("app", options)
    assert not good("app", options)["changed"]
    good("app", {**options, "state": "absent"})


def test_an_app_with_a_domain_of_others_says_whom_to_ask(team: Team, nodes: Nodes) -> None:
    options = {
        "kubeconfig": str(team.api.directory / "walls-developer.conf"),
        "tenant": TEAM,
        "name": "thief",
        "image": OWN,
        "processes": [{"name": "web", "ports": [80]}],
        "domains": ["vic.example.org"],
        "timeout": 30,
    }
    result = runner.run("app", options, False)
    assert result["failed"] and "found vic.example.org" in result["msg"] and "an administrator allows" in result["msg"]


def test_the_api_finds_nothing_wrong_with_the_expressions(team: Team) -> None:
    """The controller manager checks the types of the fields that policies read, for each kind that they match."""
    for policy in admission.policies(REGISTRY, ["shared/"]):
        path = f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{admission.PREFIX}{policy.name}"

        def checked(one: str = path) -> Any:
            return (team.api.kube.request("GET", one).get("status") or {}).get("typeChecking")

        soon(lambda: checked() is not None)
        assert checked() == {}, policy.name


def test_a_second_run_changes_nothing(team: Team) -> None:
    for entry in admission.manifests(REGISTRY, ["shared/"]):
        path = policy_path(entry)
        before = team.api.kube.request("GET", path)
        query = {"fieldManager": "test", "force": "true"}
        after = team.api.kube.request("PATCH", path, query, entry, content_type=client.APPLY)
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
