# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenants against a real API. The rights of members are tested with their own kubeconfigs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import tenant_kubeconfig
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.refusals import advice
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import PATHS

from .conftest import ROOT, Api, Nodes


def go(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module and make sure that its result shows no credential."""
    result = runner.run(module, options, check)
    text = json.dumps(result)
    assert "PRIVATE KEY" not in text and "client-key-data" not in text and "eyJ" not in text
    return result


def good(module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
    result = go(module, options, check)
    assert not result.get("failed"), result["msg"]
    return result


def converge(module: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run a task: check mode reports what it does; a second run, and check mode after it, change nothing."""
    said = good(module, options, check=True)
    done = good(module, options)
    assert (done["changed"], done["diff"], done.get("changes")) == (said["changed"], said["diff"], said.get("changes"))
    for check in (True, False):
        again = good(module, options, check)
        assert (again["changed"], again["diff"], again.get("changes", [])) == (False, [], [])
    return done


def refused(module: str, options: dict[str, Any], text: str) -> None:
    result = go(module, options)
    assert result["failed"] and not result["changed"] and text in result["msg"], result["msg"]


def member(name: str, role: str, kind: str = "user") -> dict[str, str]:
    return {"name": name, "role": role, "kind": kind}


def login(api: Api, tenant: str, name: str, tmp_path: Path, kind: str = "user") -> Path:
    """Return the kubeconfig of a member."""
    path = tmp_path / f"{tenant}-{name}.conf"
    good("tenant_kubeconfig", api.options(tenant=tenant, member=name, kind=kind, path=str(path)))
    return path


def allowed(where: Path, verb: str, kind: str, namespace: str, group: str = "", sub: str = "") -> bool:
    """Return whether the API would allow a request of the user of a kubeconfig."""
    about = {"namespace": namespace, "verb": verb, "resource": kind, "group": group, "subresource": sub}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": about},
    }
    kube = client.connect({"kubeconfig": str(where)})
    answer = kube.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}, review)
    return bool(answer["status"]["allowed"])


def soon(check: Any, seconds: float = 10) -> None:
    """Wait until a check is true, since the API's caches lag behind."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)


def pod(name: str, **container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "x/y:1", **container}]},
    }


def start(kube: client.Kube, tenant: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Create a pod as soon as a controller has created the namespace's default service account."""
    soon(lambda: kube.get("ServiceAccount", tenant, "default"))
    return kube.request("POST", kinds.path("Pod", tenant), {}, wanted)


def full(api: Api, tenant: str, **more: Any) -> dict[str, Any]:
    return api.options(
        name=tenant,
        quota={"cpu": 2, "memory": "2048Mi", "pods": 3, "storage": "10Gi"},
        limits={"max": {"cpu": "1000m"}},
        members=[
            member("ann", "owner"),
            member("ops", "developer", "group"),
            member("ci", "developer", "service_account"),
        ],
        timeout=30,
        **more,
    )


@pytest.fixture(scope="module")
def gateway(api: Api) -> Iterator[None]:
    """A node of the gateway, and another node."""
    for number, labels in ((1, {"node-role.kubernetes.io/loadbalancer": ""}), (2, {})):
        note = {"projectcalico.org/IPv4VXLANTunnelAddr": f"10.244.0.{number}"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"n{number}", "labels": labels, "annotations": note},
        }
        api.kube.request("POST", PATHS["Node"], {}, node)
        status = {"status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{number}"}]}}
        api.kube.request("PATCH", f"{PATHS['Node']}/n{number}/status", {}, status, content_type=client.MERGE)
    yield
    for number in (1, 2):
        api.kube.delete("Node", None, f"n{number}")


@pytest.mark.usefixtures("gateway")
def test_life_of_a_tenant(api: Api, tenant: str) -> None:
    said = good("tenant", full(api, tenant), check=True)
    assert said["changed"] and api.kube.get("Namespace", None, tenant) is None
    done = converge("tenant", full(api, tenant, peers=["other"]))
    space = api.kube.get("Namespace", None, tenant)
    assert space is not None
    labels = space["metadata"]["labels"]
    assert labels["cloudbang.platform/tenant"] == tenant
    assert labels["cloudbang.platform/network"] == "isolated"
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    policy = api.kube.get("NetworkPolicy", tenant, "cloudbang-tenant")
    assert policy is not None
    peer = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["other"]}
    assert policy["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [
                    {"podSelector": {}},
                    {"namespaceSelector": {"matchExpressions": [peer]}},
                    {"ipBlock": {"cidr": "10.244.0.1/32"}},
                    {"ipBlock": {"cidr": "192.0.2.1/32"}},
                ]
            }
        ],
    }
    assert done["tenant"]["gateways"] == ["10.244.0.1/32", "192.0.2.1/32"] and "warnings" not in done
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert (
        info["peers"] == ["other"]
        and "peers: other is not a tenant" in info["problems"][0]
        and not info["problems"][1:]
    )

    less = api.options(name=tenant, quota={"pods": 3}, members=[member("bob", "viewer")], pod_security="restricted")
    done = converge("tenant", less)
    # All tenants share the roles, so another test may have created them.
    assert {change for change in done["changes"] if not change.startswith("ClusterRole")} == {
        f"Namespace {tenant} changed",
        "LimitRange cloudbang-tenant changed",
        "ResourceQuota cloudbang-tenant changed",
        f"FlowSchema cloudbang-tenant-{tenant} changed",
        "NetworkPolicy cloudbang-tenant changed",
        "ServiceAccount ci removed",
        "RoleBinding cloudbang-tenant-owner removed",
        "RoleBinding cloudbang-tenant-developer removed",
        "RoleBinding cloudbang-tenant-viewer created",
    }
    quota = api.kube.get("ResourceQuota", tenant, "cloudbang-tenant")
    hard = quota["spec"]["hard"] if quota is not None else {}
    rest = {name: text for name, text in hard.items() if not name.startswith("count/")}
    assert rest == {"pods": "3", "services.nodeports": "0", "services.loadbalancers": "0"}
    assert hard["count/secrets"] == "2300" and hard["count/ingresses.networking.k8s.io"] == "200"
    done = converge("tenant", api.options(name=tenant, network="open"))
    assert "NetworkPolicy cloudbang-tenant removed" in done["changes"]
    space = api.kube.get("Namespace", None, tenant)
    assert space is not None and space["metadata"]["labels"]["cloudbang.platform/network"] == "open"
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert info["quota"] == {name: {"hard": "0", "used": "0"} for name in ("load_balancers", "node_ports")}
    assert info["limits"] == {"default": {"ephemeral_storage": "10Gi"}, "default_request": {"ephemeral_storage": "0"}}
    assert (info["members"], info["peers"]) == ([], [])

    gone = converge("tenant", api.options(name=tenant, state="absent"))
    assert gone["changed"] and api.kube.get("Namespace", None, tenant) is None


@pytest.mark.usefixtures("gateway")
def test_several_tenants_in_one_task(api: Api, tenant: str) -> None:
    names = [f"{tenant}-a", f"{tenant}-b"]
    options = api.options(quota={"pods": 7}, tenants=[{"name": names[0]}, {"name": names[1], "quota": {"pods": 9}}])
    said, done = good("tenant", options, check=True), good("tenant", options)
    assert said["changed"] and [one["changes"] for one in said["tenants"]] == [
        one["changes"] for one in done["tenants"]
    ]
    for name, pods in zip(names, ("7", "9")):
        quota = api.kube.get("ResourceQuota", name, "cloudbang-tenant")
        assert quota is not None and quota["spec"]["hard"]["pods"] == pods
    again = good("tenant", options)
    assert (again["changed"], again["diff"]) == (False, [])
    assert good("tenant", api.options(state="absent", tenants=[{"name": name} for name in names]))["changed"]
    assert [api.kube.get("Namespace", None, name) for name in names] == [None, None]


def test_what_somebody_changed_comes_back(api: Api, tenant: str) -> None:
    options = full(api, tenant)
    good("tenant", options)
    api.kube.delete("NetworkPolicy", tenant, "cloudbang-tenant")
    wide = {"spec": {"hard": {"pods": "1000"}}}
    where = kinds.path("ResourceQuota", tenant, "cloudbang-tenant")
    api.kube.request("PATCH", where, {}, wide, content_type=client.MERGE)
    api.kube.delete("RoleBinding", tenant, "cloudbang-tenant-owner")
    stolen = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "cloudbang-tenant-owner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    }
    api.kube.request("POST", kinds.path("RoleBinding", tenant), {}, stolen)
    findings = good("tenant_info", api.options(name=tenant))["tenants"][0]["problems"]
    assert any("no NetworkPolicy" in text for text in findings)
    assert not any("peers" in text for text in findings)
    assert set(converge("tenant", options)["changes"]) == {
        "NetworkPolicy cloudbang-tenant created",
        "ResourceQuota cloudbang-tenant changed",
        "RoleBinding cloudbang-tenant-owner replaced",
    }


def test_quota_and_limits_are_in_force(api: Api, nodes: Nodes, tenant: str) -> None:
    good("tenant", full(api, tenant))
    small = start(api.kube, tenant, pod("says-nothing"))
    resources = small["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "0"}
    assert resources["limits"] == {"cpu": "1", "ephemeral-storage": "10Gi"}
    with pytest.raises(client.ApiError, match="maximum cpu usage per Container is 1"):
        start(api.kube, tenant, pod("over-the-limit", resources={"limits": {"cpu": "2"}}))
    for name in ("second", "third"):
        start(api.kube, tenant, pod(name))
    with pytest.raises(client.ApiError, match="exceeded quota: cloudbang-tenant"):
        start(api.kube, tenant, pod("one-too-many"))
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert info["quota"]["pods"] == {"hard": "3", "used": "3"}
    assert info["quota"]["memory"] == {"hard": "2Gi", "used": "384Mi"}
    assert "quota.pods: 3 of 3 used" in info["problems"]


def test_pod_security_is_in_force(api: Api, tenant: str) -> None:
    bad = pod("root", securityContext={"privileged": True})
    plain = pod("plain")
    good("tenant", api.options(name=tenant))
    with pytest.raises(client.ApiError, match='violates PodSecurity "baseline'):
        start(api.kube, tenant, bad)
    start(api.kube, tenant, plain)
    good("tenant", api.options(name=tenant, pod_security="restricted"))
    with pytest.raises(client.ApiError, match='violates PodSecurity "restricted'):
        start(api.kube, tenant, pod("another"))
    good("tenant", api.options(name=tenant, pod_security="privileged"))
    start(api.kube, tenant, bad)


RBAC = "rbac.authorization.k8s.io"
# verb, resource, group, subresource, and the roles with this right
RIGHTS = [
    ("get", "deployments", "apps", "", "owner developer viewer"),
    ("get", "pods", "", "log", "owner developer viewer"),
    ("list", "rolebindings", RBAC, "", "owner developer viewer"),
    ("get", "secrets", "", "", "owner developer"),
    ("patch", "deployments", "apps", "", "owner developer"),
    ("create", "jobs", "batch", "", "owner developer"),
    ("create", "ingresses", "networking.k8s.io", "", "owner developer"),
    ("create", "rolebindings", RBAC, "", ""),
    ("patch", "roles", RBAC, "", ""),
    ("delete", "rolebindings", RBAC, "", ""),
    ("list", "ingressroutes", "traefik.io", "", "owner developer viewer"),
    ("delete", "ingressroutes", "traefik.io", "", "owner developer"),
    ("deletecollection", "middlewares", "traefik.io", "", "owner developer"),
    ("create", "ingressroutes", "traefik.io", "", ""),
    ("update", "ingressroutetcps", "traefik.io", "", ""),
    ("patch", "middlewares", "traefik.io", "", ""),
    ("create", "traefikservices", "traefik.io", "", ""),
    ("patch", "ingressrouteudps", "traefik.io", "", ""),
    ("create", "serviceaccounts", "", "token", "owner"),
    ("create", "pods", "", "exec", "owner"),
    ("patch", "resourcequotas", "", "", ""),
    ("delete", "limitranges", "", "", ""),
    ("delete", "networkpolicies", "networking.k8s.io", "", ""),
    ("create", "endpointslices", "discovery.k8s.io", "", ""),
    ("patch", "namespaces", "", "", ""),
    ("impersonate", "serviceaccounts", "", "", ""),
]


def test_what_members_may_do(api: Api, tenant: str, tmp_path: Path) -> None:
    roles = ("owner", "developer", "viewer")
    members = [member(f"a-{role}", role) for role in roles]
    good("tenant", api.options(name=tenant, members=members))
    good("tenant", api.options(name=tenant + "-b"))
    paths = {role: login(api, tenant, f"a-{role}", tmp_path) for role in roles}
    soon(lambda: all(allowed(path, "get", "pods", tenant) for path in paths.values()))
    for verb, resource, group, sub, may in RIGHTS:
        for role, path in paths.items():
            assert allowed(path, verb, resource, tenant, group, sub) == (role in may.split()), (verb, resource, role)
            assert not allowed(path, verb, resource, tenant + "-b", group, sub), (verb, resource, role)
    for path in paths.values():
        info = good("tenant_info", {"kubeconfig": str(path), "name": tenant})["tenants"][0]
        assert len(info["members"]) == 3 and info["problems"] == []
    refused("tenant_info", {"kubeconfig": str(paths["owner"]), "name": tenant + "-b"}, "not allowed (403)")
    refused("tenant_info", {"kubeconfig": str(paths["owner"])}, "not allowed (403)")
    owner = client.connect({"kubeconfig": str(paths["owner"])}, advice)
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "friends"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cloudbang:tenant-developer"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "friend"}],
    }
    with pytest.raises(client.ApiError, match="wanted: ask an administrator to do it, or for a role in this tenant"):
        owner.request("POST", kinds.path("RoleBinding", tenant), {}, binding)
    route = {"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "r"}}
    for path in (paths["owner"], paths["developer"]):
        kube = client.connect({"kubeconfig": str(path)}, advice)
        with pytest.raises(client.ApiError, match="only administrators create routes: use domains of the app"):
            kube.request("POST", kinds.path("IngressRoute", tenant), {}, route)
    assert good("tenant", api.options(name=tenant, members=members[1:]))["changed"]
    soon(lambda: not allowed(paths["owner"], "get", "pods", tenant))
    assert allowed(paths["developer"], "get", "pods", tenant)


@pytest.mark.parametrize("kind", ["user", "service_account"])
def test_app_modules_with_the_rights_of_a_developer(
    api: Api, nodes: Nodes, tenant: str, tmp_path: Path, kind: str
) -> None:
    domains = [f"{tenant}.example.org"]
    good("tenant", api.options(name=tenant, members=[member("dev", "developer", kind)], domains=domains))
    path = login(api, tenant, "dev", tmp_path, kind)
    soon(lambda: allowed(path, "get", "secrets", tenant))
    who = {"kubeconfig": str(path), "tenant": tenant, "name": "shop"}
    app = {
        **who,
        "image": "x/y:1",
        "processes": [{"name": "web", "ports": [8000], "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}],
        "env": {"A": "b"},
        "domains": domains,
        "timeout": 30,
    }
    assert good("app", app)["apps"][0]["action"] == "deployed"
    assert good("app", {**app, "image": "x/y:2"})["apps"][0]["release"] == 2
    assert good("app_scale", {**who, "process": "web", "replicas": 2, "timeout": 30})["changed"]
    assert good("app_release", {**who, "timeout": 30})["changed"]
    assert good("app_info", {**who, "events": True})["apps"][0]["status"] == "running"
    info = good("tenant_info", {"kubeconfig": str(path), "name": tenant})["tenants"][0]
    assert (info["apps"], info["usage"]) == (1, {"shop": {"pods": 2, "cpu": "500m", "memory": "128Mi"}})
    refused("tenant", api.options(name=tenant, state="absent"), "app shop")
    assert good("app", {**app, "state": "absent"})["changed"]
    refused("tenant", {"kubeconfig": str(path), "name": tenant, "members": []}, "not allowed (403)")
    refused("app", {**app, "tenant": tenant + "-b"}, "403")


def test_tenant_with_apps_is_kept_unless_forced(api: Api, nodes: Nodes, tenant: str) -> None:
    good("app", api.options(name="shop", tenant=tenant, image="x/y:1", type="worker", timeout=30))
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    api.kube.request("POST", kinds.path("PersistentVolumeClaim", tenant), {}, claim)
    options = api.options(name=tenant, state="absent", timeout=60)
    refused("tenant", options, f"app shop; volume claim data in tenant {tenant}")
    assert converge("tenant", {**options, "force": True})["changes"] == [
        f"Namespace {tenant} removed",
        f"FlowSchema cloudbang-tenant-{tenant} removed",
    ]
    assert api.kube.get("FlowSchema", None, f"cloudbang-tenant-{tenant}") is None


def test_what_holds_a_tenant_is_named(api: Api, tenant: str) -> None:
    good("tenant", api.options(name=tenant))
    maps = f"/api/v1/namespaces/{tenant}/configmaps"
    keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "finalizers": ["example.org/hold"]}}
    api.kube.request("POST", maps, {}, keeper)
    absent = api.options(name=tenant, state="absent", timeout=9)
    result = go("tenant", absent)
    assert result["failed"] and result["changed"] and "not deleted after 9 s" in result["msg"]
    assert "example.org/hold in 1 resource instances" in result["msg"]
    refused("tenant", api.options(name=tenant), "Terminating")
    assert any(
        "example.org/hold" in text for text in good("tenant_info", api.options(name=tenant))["tenants"][0]["problems"]
    )
    release = {"metadata": {"finalizers": None}}
    let_go = threading.Timer(1, api.kube.request, ("PATCH", f"{maps}/k", {}, release, client.MERGE))
    let_go.start()
    assert not good("tenant", {**absent, "timeout": 60})["changed"]
    assert api.kube.get("Namespace", None, tenant) is None


def test_namespace_of_others_is_only_taken_over_when_told(api: Api, tenant: str) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant, "labels": {"team": "x"}}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    for state in ("present", "absent"):
        refused("tenant", api.options(name=tenant, state=state), f"namespace {tenant}, which is not that of a tenant")
    assert good("tenant_info", api.options(name=tenant))["tenants"] == []
    converge("tenant", api.options(name=tenant, adopt=True))
    found = api.kube.get("Namespace", None, tenant)
    assert found is not None and found["metadata"]["labels"]["team"] == "x"
    assert not good("tenant", api.options(name=tenant))["changed"]


@pytest.mark.parametrize("kind", ["user", "service_account"])
def test_kubeconfig_of_a_member(api: Api, tenant: str, tmp_path: Path, kind: str) -> None:
    good("tenant", api.options(name=tenant, members=[member("ann", "viewer", kind), member("ann-b", "viewer", kind)]))
    path = tmp_path / "ann.conf"
    options = api.options(tenant=tenant, member="ann", kind=kind, path=str(path), lifetime="1h")
    assert good("tenant_kubeconfig", options, check=True)["changed"] and list(tmp_path.iterdir()) == []
    first = converge("tenant_kubeconfig", options)
    assert first["reason"] == "the file does not exist" and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    soon(lambda: allowed(path, "get", "pods", tenant) and not allowed(path, "get", "pods", "default"))
    assert api.kube.find("CertificateSigningRequest") == []

    path.chmod(0o644)
    for change, reason in (
        ({}, "users other than its owner"),
        ({"lifetime": "2h"}, "another cluster, member, tenant or lifetime"),
        ({"lifetime": "1h", "member": "ann-b"}, "another cluster, member, tenant or lifetime"),
    ):
        options = {**options, **change}
        before = path.read_text()
        assert reason in good("tenant_kubeconfig", options, check=True)["reason"] and path.read_text() == before
        done = converge("tenant_kubeconfig", options)
        assert reason in done["reason"] and path.read_text() != before and path.stat().st_mode & 0o777 == 0o600

    gone = converge("tenant_kubeconfig", {**options, "state": "absent"})
    assert gone["changed"] and list(tmp_path.iterdir()) == []


def test_kubeconfigs_of_two_clusters_can_be_used_together(api: Api, tenant: str, tmp_path: Path) -> None:
    """Names in kubeconfigs are unique by cluster: of two entries with one name, kubectl uses the first for both."""
    people = [member("ann", "viewer"), member("ann", "viewer", "service_account")]
    good("tenant", api.options(name=tenant, members=people))
    here = yaml.safe_load(api.kubeconfig.read_text())
    here["clusters"][0]["name"] = here["contexts"][0]["context"]["cluster"] = "two"
    two = tmp_path / "two-admin.conf"
    two.write_text(yaml.safe_dump(here))
    port = api.url.rpartition(":")[2]
    ways = {
        "test": {},
        "two": {"kubeconfig": str(two)},
        f"127.0.0.1:{port}": {"host": api.url},
    }
    merged: dict[str, set[str]] = {"clusters": set(), "contexts": set(), "users": set()}
    for cluster, way in ways.items():
        for kind in ("user", "service_account"):
            path = tmp_path / "ann.conf"
            ask = {**api.options(tenant=tenant, member="ann", kind=kind, path=str(path)), **way}
            good("tenant_kubeconfig", ask)
            assert not good("tenant_kubeconfig", ask)["changed"]
            made = yaml.safe_load(path.read_text())
            soon(lambda path=path: allowed(path, "get", "pods", tenant))
            context = made["contexts"][0]["context"]
            assert made["current-context"] == made["contexts"][0]["name"] == f"{tenant}@{cluster}"
            assert context["cluster"] == made["clusters"][0]["name"] == cluster
            assert context["user"] == made["users"][0]["name"] and made["users"][0]["name"].endswith(f"ann@{cluster}")
            for part, known in merged.items():
                known.add(made[part][0]["name"])
            path.unlink()
    assert {part: len(known) for part, known in merged.items()} == {"clusters": 3, "contexts": 3, "users": 6}


def test_kubeconfig_is_renewed_in_time(api: Api, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(
        "tenant", api.options(name=tenant, members=[member("ann", "viewer"), member("ci", "viewer", "service_account")])
    )
    now = client.Kube.now
    for name, kind in (("ann", "user"), ("ci", "service_account")):
        path = login(api, tenant, name, tmp_path, kind)
        options = api.options(tenant=tenant, member=name, kind=kind, path=str(path))
        for hours, renewed in ((5.0, False), (5.6, True)):
            with monkeypatch.context() as patch:
                patch.setattr(client.Kube, "now", lambda kube, hours=hours: now(kube) + hours * 3600)
                result = good("tenant_kubeconfig", options, check=True)
                assert result["changed"] is renewed and ("a third" in result.get("reason", "")) is renewed


def test_kubeconfig_of_another_time(api: Api, tenant: str, tmp_path: Path) -> None:
    """The old tokens of a recreated service account are not accepted."""
    options = api.options(name=tenant, members=[member("ci", "viewer", "service_account")])
    good("tenant", options)
    path = login(api, tenant, "ci", tmp_path, "service_account")
    api.kube.delete("ServiceAccount", tenant, "ci")
    assert "found no service account ci" in str(good("tenant_info", api.options(name=tenant))["tenants"][0]["problems"])
    assert good("tenant", options)["changes"] == ["ServiceAccount ci created"]
    renewed = api.options(tenant=tenant, member="ci", kind="service_account", path=str(path))
    soon(lambda: tenant_kubeconfig._who(str(path)) is None, 30)
    assert converge("tenant_kubeconfig", renewed)["reason"] == "the cluster does not accept it"


def test_kubeconfig_that_is_refused(api: Api, tenant: str, tmp_path: Path) -> None:
    good("tenant", api.options(name=tenant, members=[member("ann", "viewer")]))
    path = str(tmp_path / "new.conf")
    ask = api.options(tenant=tenant, member="ann", path=path)
    refused("tenant_kubeconfig", {**ask, "tenant": tenant + "-b"}, f"no tenant {tenant}-b")
    said = good("tenant_kubeconfig", {**ask, "tenant": tenant + "-b"}, check=True)
    assert said["changed"] and f"no tenant {tenant}-b" in said["warnings"][0]
    refused("tenant_kubeconfig", {**ask, "member": "eve"}, f"no user eve in tenant {tenant}, wanted one of ann")
    refused("tenant_kubeconfig", {**ask, "member": "ci", "kind": "service_account"}, "has no service_account")
    refused("tenant_kubeconfig", {**ask, "path": str(tmp_path / "none" / "x")}, f"no directory {tmp_path}/none")
    for state in ("present", "absent"):
        foreign = {**ask, "path": str(api.kubeconfig), "state": state}
        refused("tenant_kubeconfig", foreign, "a file that this module did not write")
    assert list(tmp_path.iterdir()) == []


def test_info_of_all_tenants(api: Api, tenant: str) -> None:
    good("tenant", full(api, tenant))
    found = {entry["name"]: entry for entry in good("tenant_info", api.options())["tenants"]}
    one = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert found[tenant] == one
    assert one["members"] == [
        {"kind": "group", "name": "ops", "role": "developer"},
        {"kind": "service_account", "name": "ci", "role": "developer"},
        {"kind": "user", "name": "ann", "role": "owner"},
    ]
    assert one["limits"]["default_request"] == {"cpu": "100m", "memory": "128Mi", "ephemeral_storage": "0"}
    assert good("tenant_info", api.options(name="no-such-tenant"))["tenants"] == []


def annotation(api: Api, tenant: str, name: str) -> str | None:
    space = api.kube.get("Namespace", None, tenant)
    assert space is not None
    found: str | None = (space["metadata"].get("annotations") or {}).get(f"cloudbang.platform/{name}")
    return found


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def test_what_a_tenant_may_have_is_in_its_namespace(api: Api, tenant: str) -> None:
    lists = {
        "domains": [f"*.{tenant}.example", f"a-{tenant}.example"],
        "tolerations": ["example.org/gpu", "dedicated"],
        "priority_classes": ["batch", "high"],
        "images": ["demo/httpbin", "tools/"],
    }
    done = converge("tenant", api.options(name=tenant, **lists))
    assert {name: done["tenant"][name] for name in lists} == {name: sorted(entries) for name, entries in lists.items()}
    assert f"*.{tenant}.example" in str(done["diff"])
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    for name, entries in lists.items():
        assert info[name] == sorted(entries)
        assert annotation(api, tenant, name.replace("_", "-")) == ",".join(sorted(entries))
    less = converge("tenant", api.options(name=tenant, domains=lists["domains"][1:]))
    assert less["changes"] == [f"Namespace {tenant} changed"]
    assert annotation(api, tenant, "domains") == f"a-{tenant}.example"
    for name in ("tolerations", "priority-classes", "images"):
        assert annotation(api, tenant, name) is None


def test_a_domain_belongs_to_one_tenant(api: Api, tenant: str) -> None:
    other = f"x{tenant}"
    good("tenant", api.options(name=tenant, domains=[f"*.{tenant}.example", f"only-{tenant}.example"]))
    for domain in (f"*.{tenant}.example", f"a.b.{tenant}.example", f"*.b.{tenant}.example", f"only-{tenant}.example"):
        refused("tenant", api.options(name=other, domains=[domain]), f"domains[0]: found {domain}, and tenant {tenant}")
    assert api.kube.get("Namespace", None, other) is None
    good("tenant", api.options(name=other, domains=[f"{tenant}.example", "a.example.net"]))
    refused("tenant", api.options(name=tenant, domains=["*.example.net"]), f"and tenant {other} has a.example.net")
    good("tenant", api.options(name=tenant, domains=[]))
    good("tenant", api.options(name=other, domains=[f"*.{tenant}.example"]))


def test_a_domain_that_goes_while_it_is_used_is_named(api: Api, nodes: Nodes, tenant: str) -> None:
    domains = [f"shop.{tenant}.example", f"*.wild.{tenant}.example"]
    good("tenant", api.options(name=tenant, domains=domains))
    ingress = {"name": "shop", "tenant": tenant, "image": "x/y:1", "wait": False, "domains": domains}
    good("app", api.options(processes=[{"name": "web", "ports": [80]}], **ingress))
    said = good("tenant", api.options(name=tenant, domains=domains[1:]), check=True)
    done = good("tenant", api.options(name=tenant, domains=domains[1:]))
    for result in (said, done):
        (warning,) = [text for text in result["warnings"] if "still has" in text]
        assert f"Ingress shop still has the domain shop.{tenant}.example" in warning
    again = good("tenant", api.options(name=tenant, domains=domains[1:]))
    assert not again["changed"] and "still has" not in str(again.get("warnings"))


def test_no_tenant_has_ports_of_the_hosts_or_more_objects_than_counted(api: Api, tenant: str, tmp_path: Path) -> None:
    good("tenant", api.options(name=tenant, members=[member("dev", "developer")], objects={"Service": 2, "jobs": 0}))
    path = login(api, tenant, "dev", tmp_path)
    soon(lambda: allowed(path, "create", "services", tenant))
    kube = client.connect({"kubeconfig": str(path)}, advice)
    where = kinds.path("Service", tenant)
    for kind in ("NodePort", "LoadBalancer"):
        with pytest.raises(client.ApiError, match=r"exceeded quota: cloudbang-tenant.*quota and objects of the tenant"):
            kube.request("POST", where, {}, service("open", type=kind))
    for name in ("one", "two"):
        kube.request("POST", where, {}, service(name))
    with pytest.raises(client.ApiError, match="exceeded quota: cloudbang-tenant, requested: count/services=1"):
        kube.request("POST", where, {}, service("three"))
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}}
    containers = [{"name": "main", "image": "x/y:1"}]
    job["spec"] = {"template": {"spec": {"restartPolicy": "Never", "containers": containers}}}
    with pytest.raises(client.ApiError, match=r"requested: count/jobs\.batch=1"):
        kube.request("POST", kinds.path("Job", tenant), {}, job)
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert info["objects"]["services"] == {"hard": "2", "used": "2"}
    assert "objects.services: 2 of 2 used" in info["problems"]
    given = api.options(name=tenant, members=[member("dev", "developer")], quota={"node_ports": 1})
    converge("tenant", given)
    kube.request("POST", where, {}, service("open", type="NodePort"))


def test_an_app_makes_a_tenant_with_all_its_walls(api: Api, nodes: Nodes, tenant: str) -> None:
    made = {"image": "x/y:1", "type": "worker", "timeout": 30}
    good("app", api.options(name="shop", tenant=tenant, **made))
    for kind in ("ResourceQuota", "LimitRange", "NetworkPolicy"):
        assert api.kube.get(kind, tenant, "cloudbang-tenant") is not None
    assert api.kube.get("FlowSchema", None, f"cloudbang-tenant-{tenant}") is not None
    assert annotation(api, tenant, "domains") is None
    again = good("tenant", api.options(name=tenant))
    assert (again["changed"], again["changes"]) == (False, [])
    # A deployment does not change the settings of an existing tenant.
    good("tenant", api.options(name=tenant, network="open", members=[member("ann", "owner")]))
    good("app", api.options(name="next", tenant=tenant, **made))
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert (info["network"], info["apps"], len(info["members"])) == ("open", 2, 1)


def test_promotion_and_stacks_make_tenants_with_all_walls(api: Api, nodes: Nodes, tenant: str) -> None:
    made = {"image": "x/y:1", "type": "worker", "timeout": 30}
    good("app", api.options(name="shop", tenant=tenant, **made))
    promoted, stacked = f"p{tenant}", f"s{tenant}"
    origin = {"state": "promote", "from_tenant": tenant, "timeout": 30}
    good("app_release", api.options(name="shop", tenant=promoted, **origin))
    apps = [{"name": "shop", "image": "x/y:1", "type": "worker"}]
    good("app_stack", api.options(name="all", tenant=stacked, apps=apps, timeout=30))
    for name in (promoted, stacked):
        assert not good("tenant", api.options(name=name))["changed"]


def test_who_may_make_no_tenant_is_told_to_ask_for_it(api: Api, tenant: str, tmp_path: Path) -> None:
    good("tenant", api.options(name=tenant, members=[member("dev", "developer")]))
    path = login(api, tenant, "dev", tmp_path)
    soon(lambda: allowed(path, "get", "secrets", tenant))
    other = {"kubeconfig": str(path), "name": "shop", "tenant": f"y{tenant}", "image": "x/y:1", "type": "worker"}
    refused("app", other, "or for a role in this tenant that allows it (members of module tenant)")
    assert api.kube.get("Namespace", None, f"y{tenant}") is None
    # With the right to read namespaces, and without the right to create one.
    reader = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": f"see-{tenant}"}}
    reader["roleRef"] = {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"see-{tenant}"}
    reader["subjects"] = [{"apiGroup": RBAC, "kind": "User", "name": "dev"}]
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": f"see-{tenant}"}}
    role["rules"] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    api.kube.request("POST", PATHS["ClusterRole"], {}, role)
    api.kube.request("POST", f"/apis/{RBAC}/v1/clusterrolebindings", {}, reader)
    try:
        soon(lambda: allowed(path, "list", "namespaces", ""))
        refused("app", other, "ask an administrator to create or change the tenant (module tenant)")
    finally:
        api.kube.request("DELETE", f"/apis/{RBAC}/v1/clusterrolebindings/see-{tenant}")
        api.kube.delete("ClusterRole", None, f"see-{tenant}")
    assert api.kube.get("Namespace", None, f"y{tenant}") is None


def bind(api: Api, tenant: str, name: str, role: dict[str, str], *users: str) -> None:
    """Create a RoleBinding, which no member of a tenant is allowed to do."""
    binding = {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": {"name": name}}
    binding["roleRef"] = {"apiGroup": RBAC, **role}
    binding["subjects"] = [{"apiGroup": RBAC, "kind": "User", "name": user} for user in users]
    api.kube.request("POST", kinds.path("RoleBinding", tenant), {}, binding)


def subjects(api: Api, tenant: str, name: str) -> list[str] | None:
    found = api.kube.get("RoleBinding", tenant, name)
    return None if found is None else [entry["name"] for entry in found["subjects"]]


def test_only_the_module_makes_members(api: Api, tenant: str) -> None:
    options = api.options(name=tenant, members=[member("ann", "owner")])
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)
    token = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token"}
    token["metadata"] = {"name": "forever", "annotations": {"kubernetes.io/service-account.name": "default"}}
    soon(lambda: api.kube.get("ServiceAccount", tenant, "default"))
    api.kube.request("POST", kinds.path("Secret", tenant), {}, token)
    adopted = good("tenant", {**options, "adopt": True})
    assert any("Secret forever has a token of a service account" in text for text in adopted["warnings"])
    bind(api, tenant, "friends", {"kind": "ClusterRole", "name": "cloudbang:tenant-owner"}, "friend")
    bind(api, tenant, "watch", {"kind": "ClusterRole", "name": "view"}, "auditor")
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "all"}}
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    api.kube.request("POST", kinds.path("Role", tenant), {}, role)
    findings = good("tenant_info", api.options(name=tenant))["tenants"][0]["problems"]
    assert [text.partition(" ")[0] for text in findings] == ["members:", "RoleBinding", "Role", "Secret"]
    assert "RoleBinding friends, which makes User friend a member" in findings[0] and "task again" in findings[0]
    done = converge("tenant", options)
    assert done["changes"] == ["RoleBinding friends removed"] and subjects(api, tenant, "friends") is None
    assert subjects(api, tenant, "watch") == ["auditor"]
    named = [text for text in done["warnings"] if "label" not in text]
    for text, piece in zip(
        sorted(named), ("Role all was", "RoleBinding watch gives ClusterRole view", "Secret forever")
    ):
        assert text.startswith(f"tenant {tenant}: {piece}") and "delete it" in text
    assert len(named) == 3


def test_a_member_that_is_removed_has_nothing_left(api: Api, tenant: str, tmp_path: Path) -> None:
    both = [member("ann", "owner"), member("bob", "developer")]
    good("tenant", api.options(name=tenant, members=both))
    path = login(api, tenant, "ann", tmp_path)
    bind(api, tenant, "mine", {"kind": "ClusterRole", "name": "edit"}, "ann")
    bind(api, tenant, "ours", {"kind": "ClusterRole", "name": "view"}, "ann", "bob", "auditor")
    bind(api, tenant, "theirs", {"kind": "ClusterRole", "name": "view"}, "bob")
    soon(lambda: allowed(path, "get", "pods", tenant))
    done = converge("tenant", api.options(name=tenant, members=both[1:]))
    assert set(done["changes"]) == {
        "RoleBinding mine removed",
        "RoleBinding ours changed",
        "RoleBinding cloudbang-tenant-owner removed",
        f"FlowSchema cloudbang-tenant-{tenant} changed",
    }
    found = {name: subjects(api, tenant, name) for name in ("mine", "ours", "theirs")}
    assert found == {"mine": None, "ours": ["bob", "auditor"], "theirs": ["bob"]}
    soon(lambda: not allowed(path, "get", "pods", tenant))
    assert good("tenant_info", api.options(name=tenant))["tenants"][0]["members"] == both[1:]


def test_tokens_that_a_removed_member_could_have_taken_end(api: Api, tenant: str, tmp_path: Path) -> None:
    robot = member("ci", "developer", "service_account")
    people = [member("ann", "owner"), member("bob", "developer"), member("eve", "viewer"), robot]
    good("tenant", api.options(name=tenant, network="open", members=people))
    path = login(api, tenant, "ann", tmp_path)
    soon(lambda: allowed(path, "create", "serviceaccounts", tenant, sub="token"))
    ann = client.connect({"kubeconfig": str(path)})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
    token = ann.request("POST", kinds.path("ServiceAccount", tenant, "ci") + "/token", {}, asked)["status"]["token"]
    kubeconfig = yaml.safe_load(path.read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    taken = tmp_path / "taken.conf"
    taken.write_text(yaml.safe_dump(kubeconfig))
    left = pod("left")
    left["spec"]["serviceAccountName"] = "ci"
    start(ann, tenant, left)
    soon(lambda: allowed(taken, "create", "deployments", tenant, "apps"))

    # A viewer took none.
    done = converge("tenant", api.options(name=tenant, network="open", members=[people[0], people[1], robot]))
    assert not [change for change in done["changes"] if change.startswith("ServiceAccount")] and "warnings" not in done
    assert allowed(taken, "create", "deployments", tenant, "apps")
    # Neither a finalizer nor the seconds for which API servers know a token keep it: nobody without rights can have it.
    place = kinds.path("ServiceAccount", tenant, "ci")
    for holder, patch in (
        (ann, {"metadata": {"finalizers": ["example.org/stay"]}}),
        (api.kube, {"imagePullSecrets": PULL}),
    ):
        holder.request("PATCH", place, {}, patch, content_type=client.MERGE)
    options = api.options(name=tenant, network="open", members=[people[1], robot])
    assert allowed(taken, "create", "deployments", tenant, "apps")
    done = good("tenant", options)
    with pytest.raises(client.ConfigError, match="401"):
        client.connect({"kubeconfig": str(taken)}).find("Pod", tenant)
    assert tenant_kubeconfig._who(str(taken)) is None
    assert done["changes"] == [
        f"Recreation of the service accounts of {tenant} started",
        "RoleBinding cloudbang-tenant-developer changed",
        f"FlowSchema cloudbang-tenant-{tenant} changed",
        "RoleBinding cloudbang-tenant-owner removed",
        "ServiceAccount ci removed",
        "ServiceAccount ci created",
        "RoleBinding cloudbang-tenant-developer changed",
        f"Recreation of the service accounts of {tenant} finished",
    ]
    assert "tokens of service account ci end, since ann could have taken them" in told(done)[0]
    assert "kubeconfig" in told(done)[0]
    assert "pod left gets a new token" in told(done)[1] and "delete" in told(done)[1] and not told(done)[2:]
    assert api.kube.request("GET", place)["imagePullSecrets"] == PULL
    converge("tenant", options)
    assert api.kube.request("GET", place)["imagePullSecrets"] == PULL
    strong = member("ci", "owner", "service_account")
    done = converge("tenant", api.options(name=tenant, network="open", members=[member("bob", "viewer"), strong]))
    assert {"ServiceAccount ci removed", "ServiceAccount ci created"} <= set(done["changes"])
    assert any("service account ci has the role owner, and so has every member" in text for text in done["warnings"])


PULL = [{"name": "registry"}]


def told(done: dict[str, Any]) -> list[str]:
    """Return the warnings about tokens."""
    return [text for text in done.get("warnings", []) if "token" in text]


def test_a_stopped_recreation_of_service_accounts_is_finished_by_the_next_run(api: Api, tenant: str) -> None:
    """Whoever lost the rights in the run that stopped is in no RoleBinding any more."""
    robot = member("ci", "developer", "service_account")
    options = api.options(name=tenant, network="open", members=[member("bob", "developer"), robot])
    good("tenant", options)
    mark = {"metadata": {"annotations": {"cloudbang.platform/recreating-service-accounts": "true"}}}
    before = api.kube.request("GET", kinds.path("ServiceAccount", tenant, "ci"))["metadata"]["uid"]
    for there in (True, False):
        api.kube.request("PATCH", kinds.path("Namespace", None, tenant), {}, mark, content_type=client.MERGE)
        if not there:
            api.kube.delete("ServiceAccount", tenant, "ci")
            api.kube.delete("RoleBinding", tenant, "cloudbang-tenant-developer")
        done = converge("tenant", options)
        assert ("ServiceAccount ci removed" in done["changes"]) == there
        assert "ServiceAccount ci created" in done["changes"]
        assert annotation(api, tenant, "recreating-service-accounts") is None
        account = api.kube.request("GET", kinds.path("ServiceAccount", tenant, "ci"))
        assert account["metadata"]["uid"] != before
        before = account["metadata"]["uid"]


@pytest.mark.parametrize(
    ("role", "known"), [("edit", True), ("cloudbang:tenant-developer", False), ("cloudbang:tenant-viewer", False)]
)
def test_rights_by_a_rolebinding_of_others_could_take_tokens(api: Api, tenant: str, role: str, known: bool) -> None:
    """A viewer who could edit by another RoleBinding, and somebody who was a member by one alone."""
    robot = member("ci", "developer", "service_account")
    people = [member("ann", "owner"), robot, *([member("eve", "viewer")] if known else [])]
    good("tenant", api.options(name=tenant, network="open", members=people))
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}
    reference = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": role}
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "beside"}}
    where = kinds.path("RoleBinding", tenant)
    api.kube.request("POST", where, {}, {**head, "roleRef": reference, "subjects": [subject]})
    done = good("tenant", api.options(name=tenant, network="open", members=people[:2]))
    took = role != "cloudbang:tenant-viewer"
    assert ("ServiceAccount ci created" in done["changes"]) == took
    assert any("since eve could have taken them" in text for text in told(done)) == took


def _created(api: Api, tenant: str, entry: dict[str, Any]) -> bool:
    try:
        api.kube.request("POST", kinds.path(entry["kind"], tenant), {}, entry)
    except client.ApiError as error:
        assert error.status in (403, 422), error
        return False
    return True


def test_names_of_another_tenant_are_reserved(api: Api, tenant: str) -> None:
    longer = f"{tenant}-staging"
    good("tenant", api.options(name=tenant))
    assert annotation(api, tenant, "reserved-names") is None
    for name in ("staging-shop", "shop"):
        api.kube.request("POST", kinds.path("Service", tenant), {}, service(name))
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "staging-web"}}
    ingress["spec"] = {"defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}}}
    api.kube.request("POST", kinds.path("Ingress", tenant), {}, ingress)
    refused(
        "tenant", api.options(name=longer), f"Service staging-shop of tenant {tenant}, which the gateway would mistake"
    )
    api.kube.delete("Service", tenant, "staging-shop")
    refused("tenant", api.options(name=longer), f"Ingress staging-web of tenant {tenant}")
    api.kube.delete("Ingress", tenant, "staging-web")
    assert api.kube.get("Namespace", None, longer) is None and annotation(api, tenant, "reserved-names") is None
    done = converge("tenant", api.options(name=longer))
    assert done["changes"][:2] == [f"Reserved names of {tenant} created", f"Namespace {longer} created"]
    assert annotation(api, tenant, "reserved-names") == "staging-"
    good("tenant", api.options(name=tenant, network="open"))
    assert annotation(api, tenant, "reserved-names") == "staging-"
    # If somebody removes the annotation, the next run for any tenant restores it.
    where = kinds.path("Namespace", None, tenant)
    wiped = {"metadata": {"annotations": {"cloudbang.platform/reserved-names": None}}}
    api.kube.request("PATCH", where, {}, wiped, content_type=client.MERGE)
    # The API server judges by the annotation that it had a moment ago.
    soon(lambda: _created(api, tenant, service("staging")))
    for name in (longer, f"v{tenant}"):
        # Existing objects do not block a task, especially not that of a third tenant.
        done = good("tenant", api.options(name=name), check=True)
        assert f"Reserved names of {tenant} created" in done["changes"]
        assert any(f"tenant {tenant}: Service staging has a name" in text for text in done["warnings"])
    good("tenant", api.options(name=longer))
    assert annotation(api, tenant, "reserved-names") == "staging-"
    api.kube.delete("Service", tenant, "staging")
    gone = converge("tenant", api.options(name=longer, state="absent", timeout=60))
    assert gone["changes"][-1] == f"Reserved names of {tenant} removed"
    assert annotation(api, tenant, "reserved-names") is None


def test_a_shorter_tenant_that_comes_later_reserves_names_from_its_start(api: Api, tenant: str) -> None:
    shorter = f"z{tenant}"
    good("tenant", api.options(name=f"{shorter}-b"))
    good("app", api.options(name="shop", tenant=shorter, image="x/y:1", type="worker", wait=False))
    assert annotation(api, shorter, "reserved-names") == "b-"
    assert not good("tenant", api.options(name=shorter))["changed"]


def flow_of(where: Path, request: str) -> str:
    """Return the UID of the FlowSchema that matched a request."""
    kube = client.connect({"kubeconfig": str(where)})
    answer = kube._send("GET", request, None, None, {})
    return str(answer.headers["X-Kubernetes-PF-FlowSchema-UID"])


def test_requests_of_a_tenant_are_a_flow_of_their_own(api: Api, tenant: str, tmp_path: Path) -> None:
    text = (ROOT / "roles" / "kube_control_plane" / "templates" / "limits.yaml.j2").read_text()
    shared = [entry for entry in yaml.safe_load_all(jinja2.Template(text).render()) if entry]
    for entry in shared:
        plural = f"{entry['kind'].lower()}s"
        if entry["kind"] != "ResourceQuota":
            where = f"/apis/{entry['apiVersion']}/{plural}/{entry['metadata']['name']}"
            api.kube.request("PATCH", where, {"fieldManager": "t", "force": "true"}, entry, content_type=client.APPLY)
    people = [member("dev", "developer"), member("ci", "developer", "service_account")]
    good("tenant", api.options(name=tenant, members=people))
    good("tenant", api.options(name=f"w{tenant}", members=people[:1]))
    dev, robot = (
        login(api, tenant, name, tmp_path, kind) for name, kind in (("dev", "user"), ("ci", "service_account"))
    )
    certificate, key = api.authority.issue("boss", "cloudbang:administrators")
    boss = api.write_kubeconfig(f"boss-{tenant}.conf", api.authority.pem, certificate, key)

    def uid(name: str) -> str:
        found = api.kube.get("FlowSchema", None, name)
        assert found is not None
        return str(found["metadata"]["uid"])

    own, other = uid(f"cloudbang-tenant-{tenant}"), uid(f"cloudbang-tenant-w{tenant}")
    pods = kinds.path("Pod", tenant)
    soon(lambda: flow_of(dev, pods) == own and flow_of(boss, pods) == uid("cloudbang-administrators"), 30)
    for request in (pods, kinds.path("Namespace", None, tenant)):
        assert flow_of(dev, request) == own
    for request in (pods, kinds.path("Pod", f"w{tenant}"), PATHS["Node"], "/api", "/version"):
        assert flow_of(robot, request) == own
        assert flow_of(boss, request) == uid("cloudbang-administrators")
    assert flow_of(dev, kinds.path("Pod", f"w{tenant}")) == other
    assert flow_of(dev, PATHS["Node"]) == uid("global-default")
    levels = {entry["metadata"]["name"]: entry["spec"]["limited"] for entry in shared if "limited" in entry["spec"]}
    flow = api.kube.get("FlowSchema", None, f"cloudbang-tenant-{tenant}")
    assert flow is not None and flow["spec"]["priorityLevelConfiguration"]["name"] in levels
    assert [entry["status"] for entry in flow["status"]["conditions"] if entry["type"] == "Dangling"] == ["False"]
    # If others removed the namespace, the task removes the FlowSchema.
    api.kube.delete("Namespace", None, f"w{tenant}")
    soon(lambda: api.kube.get("Namespace", None, f"w{tenant}") is None, 30)
    gone = converge("tenant", api.options(name=f"w{tenant}", state="absent"))
    assert gone["changes"] == [f"FlowSchema cloudbang-tenant-w{tenant} removed"]


def play(directory: Path, *arguments: str) -> str:
    """Run the play in a directory, which its paths are relative to, and return its output."""
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-vvvv", "--diff", "play.yml", *arguments]
    command += ["-e", "ansible_python_interpreter={{ansible_playbook_python}}"]
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections")}
    own |= {"ANSIBLE_HOME": str(directory / "home"), "ANSIBLE_LOCAL_TEMP": str(directory / "tmp")}
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **own}, capture_output=True, text=True, timeout=300, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    return output


@pytest.mark.parametrize(
    ("execute", "runs"), [("controller", [("--check", 2), ("", 2), ("", 0)]), ("target", [("", 2), ("--check", 0)])]
)
def test_play_of_the_documentation(
    api: Api, tenant: str, tmp_path: Path, execute: str, runs: list[tuple[str, int]]
) -> None:
    example = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "tenants.md").read_text(), re.DOTALL)[0]
    example = re.sub(r"(?<=name: |nant: )acme$", tenant, example, flags=re.MULTILINE)
    example = example.replace("example.org", f"{tenant}.example")
    (tmp_path / "play.yml").write_text(
        example.replace("kubeconfig: build", f"execute: {execute}\n      kubeconfig: build")
    )
    (tmp_path / "build" / "lab").mkdir(parents=True)
    shutil.copy(api.kubeconfig, tmp_path / "build" / "lab" / "admin.conf")
    outputs = []
    for arguments, changed in runs:
        outputs.append(play(tmp_path, *arguments.split()))
        assert f"changed={changed} " in outputs[-1]
    file = tmp_path / "build" / "ann.conf"
    soon(lambda: allowed(file, "delete", "pods", tenant))
    key = re.findall(r"client-key-data: (\S+)", file.read_text())[0]
    assert not any(key in output or "PRIVATE KEY" in output for output in outputs)
