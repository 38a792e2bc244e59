# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The namespace of builds, against pods of whoever has all rights there: only builds are admitted."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.builder import IMAGE, REPOSITORY, rendered

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client

from .conftest import START_SECONDS, Api

Object = dict[str, Any]
NAMESPACE = "cloudbang-builds"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DRY = {"dryRun": "All"}
STRATEGIC = "application/strategic-merge-patch+json"
OTHER_IMAGE = "registry.cloudbang.internal:5000/acme/shop@sha256:" + "2" * 64


def plural(kind: str) -> str:
    name = kind.lower()
    return re.sub("y$", "ie", name) + ("es" if name.endswith("ss") else "s")


def place(entry: Object) -> str:
    """Return the path of an object."""
    version, metadata = entry["apiVersion"], entry["metadata"]
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{space}/{plural(entry['kind'])}/{metadata['name']}"


def container(name: str, **more: Any) -> Object:
    limits = {"cpu": "500m", "memory": "512Mi"}
    return {
        "name": name,
        "image": IMAGE,
        "command": ["/bin/sh", "-c", "true"],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": limits},
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
    }


def build(**more: Any) -> Object:
    """Return the spec of the pod of a build."""
    code = container(
        "build",
        securityContext={
            "capabilities": {"add": ["SYS_ADMIN"]},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        resources={"limits": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi"}},
    )
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostUsers": False,
        "priorityClassName": "cloudbang-builds",
        "runtimeClassName": "cloudbang-builder",
        "terminationGracePeriodSeconds": 0,
        "initContainers": [container("source", stdin=True, stdinOnce=True), container("bases"), code],
        "containers": [container("push")],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": "10Gi"}},
            {"name": "config", "configMap": {"name": "shop"}},
            {"name": "token", "secret": {"secretName": "shop", "defaultMode": 0o400}},
        ],
        "hostAliases": [{"ip": "192.0.2.41", "hostnames": ["registry.cloudbang.internal"]}],
        **more,
    }


def changed(change: Callable[[Object], Any]) -> Object:
    """Return the spec of a pod with a change."""
    spec = build()
    change(spec)
    return spec


def in_container(**more: Any) -> Object:
    """Return the spec of a pod whose container with the code of a tenant has something else."""
    return changed(lambda spec: spec["initContainers"][2].update(more))


def pod(spec: Object, name: str = "shop") -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def volume(**source: Any) -> Object:
    return changed(lambda spec: spec["volumes"].append({"name": "more", **source}))


@pytest.fixture(scope="module")
def builds(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.Kube]:
    """Apply the objects of the role, twice; return a client of an administrator."""
    objects = rendered(tmp_path_factory.mktemp("builder"), builder_max_builds=2)
    for _again in range(2):
        for entry in objects:
            query = {"fieldManager": "cloudbang", "force": "true"}
            api.kube.request("PATCH", place(entry), query, entry, content_type=client.APPLY)
    end = time.monotonic() + START_SECONDS
    while not in_force(api.kube):
        assert time.monotonic() < end, "the policy is not in force in time"
        time.sleep(0.2)
    yield api.kube
    for entry in reversed(objects):
        if "namespace" not in entry["metadata"]:
            api.kube.request("DELETE", place(entry), {}, None)


def in_force(kube: client.Kube) -> bool:
    """Return whether both policies apply, that of pods and that of raw sockets."""
    try:
        made = kube.request("POST", PODS, DRY, pod(build()))
    except client.ApiError:
        return False
    if "NET_RAW" not in made["spec"]["initContainers"][2]["securityContext"]["capabilities"].get("drop", []):
        return False
    try:
        kube.request("POST", PODS, DRY, pod(build(hostUsers=True)))
    except client.ApiError as error:
        return "cloudbang-builder-pods" in str(error)
    return False


def test_a_build_is_admitted(builds: client.Kube) -> None:
    made = builds.request("POST", PODS, DRY, pod(build()))
    assert made["spec"]["nodeSelector"] == {"node-role.kubernetes.io/compute": ""}
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (-10, "Never")
    context = made["spec"]["initContainers"][2]["securityContext"]
    assert context["capabilities"] == {"add": ["SYS_ADMIN"], "drop": ["NET_RAW"]}


ATTACKS: list[tuple[Object, str]] = [
    (build(hostUsers=True), "wanted hostUsers false"),
    (changed(lambda spec: spec.pop("hostUsers")), "wanted hostUsers false"),
    # The API itself refuses most of these together with hostUsers false.
    *(
        (build(**{field: True}), "wanted no namespace of the host|hostUsers")
        for field in ("hostNetwork", "hostPID", "hostIPC")
    ),
    (build(shareProcessNamespace=True), "wanted no namespace of the host"),
    (changed(lambda spec: spec.pop("runtimeClassName")), "wanted the RuntimeClass"),
    (changed(lambda spec: spec.pop("priorityClassName")), "wanted the RuntimeClass"),
    (build(nodeName="m1"), "wanted no nodeName"),
    (build(tolerations=[{"operator": "Exists"}]), "wanted no nodeName and no tolerations"),
    (
        build(tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
        "wanted no nodeName and no tolerations",
    ),
    (build(automountServiceAccountToken=True), "wanted no token"),
    (changed(lambda spec: spec.pop("automountServiceAccountToken")), "wanted no token"),
    (volume(hostPath={"path": "/"}), "wanted volumes of the types"),
    (volume(nfs={"server": "192.0.2.91", "path": "/"}), "wanted volumes of the types"),
    (volume(image={"reference": OTHER_IMAGE}), "wanted volumes of the types"),
    (volume(persistentVolumeClaim={"claimName": "x"}), "wanted volumes of the types"),
    (volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}), "wanted volumes of the types"),
    (volume(projected={"sources": [{"secret": {"name": "builder-signing"}}]}), "wanted volumes of the types"),
    (volume(secret={"secretName": "builder-signing"}), "wanted no use of the Secret builder-signing"),
    (
        in_container(envFrom=[{"secretRef": {"name": "builder-signing"}}]),
        "wanted no use of the Secret builder-signing",
    ),
    (
        in_container(
            env=[{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "builder-signing", "key": "key.pem"}}}]
        ),
        "wanted no use of the Secret builder-signing",
    ),
    *(
        (in_container(image=image), "wanted the image")
        for image in (OTHER_IMAGE, f"{REPOSITORY}:current", f"{REPOSITORY}-mine@sha256:{'1' * 64}", "busybox")
    ),
    (in_container(securityContext={"privileged": True}), "wanted containers that are not privileged"),
    *(
        (in_container(securityContext={"capabilities": {"add": [name]}}), "no added capability but SYS_ADMIN")
        for name in ("ALL", "NET_ADMIN", "NET_RAW", "CAP_SYS_ADMIN")
    ),
    (in_container(securityContext={"procMount": "Unmasked"}), "wanted containers that are not privileged"),
    (in_container(ports=[{"containerPort": 80, "hostPort": 80}]), "no hostPort"),
    (
        changed(
            lambda spec: spec["containers"][0].update(
                livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}
            )
        ),
        "wanted no probes",
    ),
    (
        changed(
            lambda spec: spec["containers"][0].update(
                lifecycle={"preStop": {"httpGet": {"host": "169.254.169.254", "port": 80}}}
            )
        ),
        "wanted no probes",
    ),
]


@pytest.mark.parametrize(("spec", "message"), ATTACKS, ids=[str(number) for number in range(len(ATTACKS))])
def test_nothing_but_a_build_is_admitted(builds: client.Kube, spec: Object, message: str) -> None:
    with pytest.raises(client.ApiError, match=message):
        builds.request("POST", PODS, DRY, pod(copy.deepcopy(spec)))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"limits": {"cpu": "3"}}, "maximum cpu usage per Pod is 2"),
        ({"limits": {"memory": "5Gi"}}, "maximum memory usage per Pod is 4Gi"),
        ({"limits": {"ephemeral-storage": "11Gi"}}, "maximum ephemeral-storage usage per Pod is 10Gi"),
    ],
)
def test_no_build_has_more_than_its_limits(builds: client.Kube, resources: Object, message: str) -> None:
    with pytest.raises(client.ApiError, match=message):
        builds.request("POST", PODS, DRY, pod(in_container(resources=resources)))


def test_a_container_that_names_no_disk_requests_none(builds: client.Kube) -> None:
    """Nodes that do not count space on their disks have none to give."""
    made = builds.request("POST", PODS, DRY, pod(build()))
    resources = made["spec"]["containers"][0]["resources"]
    assert (resources["requests"]["ephemeral-storage"], resources["limits"]["ephemeral-storage"]) == ("0", "10Gi")


def test_a_running_build_stays_one(builds: client.Kube) -> None:
    builds.request("POST", PODS, {}, pod(build()))
    where = f"{PODS}/shop"
    try:
        image = {"spec": {"containers": [{"name": "push", "image": OTHER_IMAGE}]}}
        with pytest.raises(client.ApiError, match="wanted the image"):
            builds.request("PATCH", where, DRY, image, content_type=STRATEGIC)
        more = {"spec": {"ephemeralContainers": [{"name": "debug", "image": IMAGE}]}}
        with pytest.raises(client.ApiError, match="wanted no ephemeral containers"):
            builds.request("PATCH", f"{where}/ephemeralcontainers", DRY, more, content_type=STRATEGIC)
        # What controllers write.
        label = {"metadata": {"labels": {"seen": "yes"}, "finalizers": ["batch.kubernetes.io/job-tracking"]}}
        for change in (label, {"metadata": {"finalizers": None}}):
            builds.request("PATCH", where, {}, change, content_type="application/merge-patch+json")
    finally:
        builds.request("DELETE", where, {"gracePeriodSeconds": "0"}, None)


def test_no_more_builds_run_than_the_role_says(builds: client.Kube) -> None:
    names = ["one", "two"]
    try:
        for name in names:
            builds.request("POST", PODS, {}, pod(build(), name))
        with pytest.raises(client.ApiError, match=r"exceeded quota: builder.*pods=2"):
            builds.request("POST", PODS, {}, pod(build(), "three"))
    finally:
        for name in names:
            builds.request("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": "0"}, None)


def test_other_namespaces_are_not_the_policys_business(builds: client.Kube) -> None:
    spec = {"containers": [{"name": "main", "image": "x/y:1"}], "nodeName": "m1", "automountServiceAccountToken": False}
    made = builds.request("POST", "/api/v1/namespaces/default/pods", DRY, pod(spec))
    assert made["spec"]["nodeName"] == "m1"
