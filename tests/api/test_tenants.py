"""Tenants against a real API: what members may do is tried with their own kubeconfigs."""

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

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import client, runner, tenant_kubeconfig
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.render import PATHS

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
    """Check mode says what the run does; a second run, and check mode after it, change nothing."""
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
    """Ask the API, as the bearer of a kubeconfig, whether something would be allowed."""
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
    """Wait until what the API's caches have to learn first is so."""
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
    """Make a pod as soon as the namespace's default service account is there, which its controller makes."""
    soon(lambda: kube.get("ServiceAccount", tenant, "default"))
    return kube.request("POST", client.path("Pod", tenant), {}, wanted)


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
    """A node of the gateway, and one that is none."""
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
        info["peers"] == ["other"] and "peers: other is no tenant" in info["problems"][0] and not info["problems"][1:]
    )

    less = api.options(name=tenant, quota={"pods": 3}, members=[member("bob", "viewer")], pod_security="restricted")
    done = converge("tenant", less)
    # The roles are those of all tenants, so another test may have made them.
    assert {change for change in done["changes"] if not change.startswith("ClusterRole")} == {
        f"Namespace {tenant} changed",
        "LimitRange cloudbang-tenant removed",
        "ResourceQuota cloudbang-tenant changed",
        "NetworkPolicy cloudbang-tenant changed",
        "ServiceAccount ci removed",
        "RoleBinding cloudbang-tenant-owner removed",
        "RoleBinding cloudbang-tenant-developer removed",
        "RoleBinding cloudbang-tenant-viewer created",
    }
    quota = api.kube.get("ResourceQuota", tenant, "cloudbang-tenant")
    assert quota is not None and quota["spec"]["hard"] == {"pods": "3"}
    done = converge("tenant", api.options(name=tenant, network="open"))
    assert "NetworkPolicy cloudbang-tenant removed" in done["changes"]
    space = api.kube.get("Namespace", None, tenant)
    assert space is not None and space["metadata"]["labels"]["cloudbang.platform/network"] == "open"
    info = good("tenant_info", api.options(name=tenant))["tenants"][0]
    assert (info["quota"], info["limits"], info["members"], info["peers"]) == ({}, {}, [], [])

    gone = converge("tenant", api.options(name=tenant, state="absent"))
    assert gone["changed"] and api.kube.get("Namespace", None, tenant) is None


@pytest.mark.usefixtures("gateway")
def test_what_somebody_changed_comes_back(api: Api, tenant: str) -> None:
    options = full(api, tenant)
    good("tenant", options)
    api.kube.delete("NetworkPolicy", tenant, "cloudbang-tenant")
    wide = {"spec": {"hard": {"pods": "1000"}}}
    where = client.path("ResourceQuota", tenant, "cloudbang-tenant")
    api.kube.request("PATCH", where, {}, wide, content_type=client.MERGE)
    api.kube.delete("RoleBinding", tenant, "cloudbang-tenant-owner")
    stolen = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "cloudbang-tenant-owner"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    }
    api.kube.request("POST", client.path("RoleBinding", tenant), {}, stolen)
    problems = good("tenant_info", api.options(name=tenant))["tenants"][0]["problems"]
    assert any("no NetworkPolicy" in text for text in problems)
    assert not any("peers" in text for text in problems)
    assert set(converge("tenant", options)["changes"]) == {
        "NetworkPolicy cloudbang-tenant created",
        "ResourceQuota cloudbang-tenant changed",
        "RoleBinding cloudbang-tenant-owner replaced",
    }


def test_quota_and_limits_are_in_force(api: Api, nodes: Nodes, tenant: str) -> None:
    good("tenant", full(api, tenant))
    small = start(api.kube, tenant, pod("says-nothing"))
    assert small["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "128Mi"}
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
# verb, resource, group, subresource, and the roles that may
RIGHTS = [
    ("get", "deployments", "apps", "", "owner developer viewer"),
    ("get", "pods", "", "log", "owner developer viewer"),
    ("list", "rolebindings", RBAC, "", "owner developer viewer"),
    ("get", "secrets", "", "", "owner developer"),
    ("patch", "deployments", "apps", "", "owner developer"),
    ("create", "jobs", "batch", "", "owner developer"),
    ("create", "ingresses", "networking.k8s.io", "", "owner developer"),
    ("create", "rolebindings", RBAC, "", "owner"),
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
    owner = client.connect({"kubeconfig": str(paths["owner"])})
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "friends"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cloudbang:tenant-developer"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "friend"}],
    }
    owner.request("POST", client.path("RoleBinding", tenant), {}, binding)
    binding["roleRef"]["name"] = "admin"
    binding["metadata"]["name"] = "escalation"
    with pytest.raises(client.ApiError, match="attempting to grant RBAC permissions not currently held"):
        owner.request("POST", client.path("RoleBinding", tenant), {}, binding)
    assert good("tenant", api.options(name=tenant, members=members[1:]))["changed"]
    soon(lambda: not allowed(paths["owner"], "get", "pods", tenant))
    assert allowed(paths["developer"], "get", "pods", tenant)


@pytest.mark.parametrize("kind", ["user", "service_account"])
def test_app_modules_with_the_rights_of_a_developer(
    api: Api, nodes: Nodes, tenant: str, tmp_path: Path, kind: str
) -> None:
    good("tenant", api.options(name=tenant, members=[member("dev", "developer", kind)]))
    path = login(api, tenant, "dev", tmp_path, kind)
    soon(lambda: allowed(path, "get", "secrets", tenant))
    who = {"kubeconfig": str(path), "tenant": tenant, "name": "shop"}
    app = {
        **who,
        "image": "x/y:1",
        "processes": [{"name": "web", "ports": [8000], "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}],
        "env": {"A": "b"},
        "domains": [f"{tenant}.example.org"],
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
    api.kube.request("POST", client.path("PersistentVolumeClaim", tenant), {}, claim)
    options = api.options(name=tenant, state="absent", timeout=60)
    refused("tenant", options, f"app shop; volume claim data in tenant {tenant}")
    assert converge("tenant", {**options, "force": True})["changes"] == [f"Namespace {tenant} removed"]


def test_what_holds_a_tenant_is_named(api: Api, tenant: str) -> None:
    good("tenant", api.options(name=tenant))
    maps = f"/api/v1/namespaces/{tenant}/configmaps"
    keeper = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "finalizers": ["example.org/hold"]}}
    api.kube.request("POST", maps, {}, keeper)
    absent = api.options(name=tenant, state="absent", timeout=9)
    result = go("tenant", absent)
    assert result["failed"] and result["changed"] and "not gone after 9 s" in result["msg"]
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
    api.kube.request("POST", client.path("Namespace", None), {}, space)
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
    assert first["reason"] == "there is none" and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    soon(lambda: allowed(path, "get", "pods", tenant) and not allowed(path, "get", "pods", "default"))
    assert api.kube.find("CertificateSigningRequest") == []

    path.chmod(0o644)
    for change, reason in (
        ({}, "others than its owner"),
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
    """A service account that was made anew does not accept its old tokens."""
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
    assert one["limits"]["default_request"] == {"cpu": "100m", "memory": "128Mi"}
    assert good("tenant_info", api.options(name="no-such-tenant"))["tenants"] == []


def play(directory: Path, *arguments: str) -> str:
    """Run the play in a directory, where paths in it start, and return all it printed."""
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
