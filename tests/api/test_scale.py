# SPDX-License-Identifier: GPL-3.0-or-later
"""The size of processes: values that app_scale sets persist over deployments, rollbacks and strategies."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .conftest import Api, Nodes
from .test_types import app, bad, good, info, names, settled

PROCESSES = [
    {"name": "web", "ports": [80], "replicas": 2, "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
    {"name": "worker"},
]


def scale(api: Api, tenant: str, **more: Any) -> dict[str, Any]:
    """Scale a process: check mode reports what the run does, and a second run changes nothing."""
    options = api.options(name="shop", tenant=tenant, timeout=30, **more)
    check = good("app_scale", options, check=True)
    done = good("app_scale", options)
    assert done == check
    assert not good("app_scale", options)["changed"]
    processes: dict[str, Any] = done["app"]["processes"]
    return processes


def resources(api: Api, tenant: str, name: str = "shop-web") -> dict[str, Any]:
    made = api.kube.get("Deployment", tenant, name)
    assert made is not None
    found: dict[str, Any] = made["spec"]["template"]["spec"]["containers"][0].get("resources", {})
    return found


def managers(api: Api, tenant: str, name: str, field: str) -> set[str]:
    """Return the field managers that own a part of the resources of a Deployment's container."""
    made = api.kube.get("Deployment", tenant, name)
    assert made is not None
    return {
        entry["manager"]
        for entry in made["metadata"]["managedFields"]
        if entry["operation"] == "Apply" and f"f:{field}" in str(entry["fieldsV1"])
    }


def test_several_processes(api: Api, nodes: Nodes, tenant: str) -> None:
    good("app", app(api, tenant, processes=PROCESSES))
    done = scale(api, tenant, processes={"web": 3, "worker": 2})
    assert {name: (entry["replicas"], entry["previous_replicas"]) for name, entry in done.items()} == {
        "web": (3, 2),
        "worker": (2, 1),
    }
    assert good("app", app(api, tenant, processes=PROCESSES, image="x/y:2"))["apps"][0]["replicas"] == {
        "shop-web": 3,
        "shop-worker": 2,
    }
    message = bad("app_scale", api.options(name="shop", tenant=tenant, processes={"web": 1, "wrok": 1}))
    assert "processes.wrok" in message and "one of web, worker" in message
    assert info(api, tenant)["processes"]["web"]["replicas"] == 3


def test_autoscaler(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant, processes=PROCESSES, strategy="blue_green", drain=0)
    good("app", options)
    where = {"process": "web"}
    done = scale(api, tenant, **where, autoscale={"min": 3, "max": 5, "cpu": 70})
    assert done["web"]["autoscale"] == {"min": 3, "max": 5, "cpu": 70}
    assert "requests no memory" not in str(done)
    message = bad(
        "app_scale", api.options(name="shop", tenant=tenant, process="worker", autoscale={"max": 2, "cpu": 1})
    )
    assert "requests no cpu" in message and "resources.requests.cpu" in message
    message = bad("app_scale", api.options(name="shop", tenant=tenant, process="web", replicas=1))
    assert "HorizontalPodAutoscaler shop-web that scales" in message and "autoscale: false" in message
    # It follows the process to the Deployment of the new release.
    newer = {**options, "image": "x/y:2"}
    good("app", newer)
    scaler = api.kube.get("HorizontalPodAutoscaler", tenant, "shop-web")
    assert scaler is not None and scaler["spec"]["scaleTargetRef"]["name"] in names(api, "Deployment", tenant)
    assert not good("app", newer)["changed"]
    assert info(api, tenant)["processes"]["web"]["autoscale"] == {"min": 3, "max": 5, "cpu": 70}
    # The autoscaler works: even without metrics it enforces its bounds.
    target = scaler["spec"]["scaleTargetRef"]["name"]
    where_scaled = kinds.path("Deployment", tenant, target) + "/scale"
    api.kube.request("PATCH", where_scaled, {}, {"spec": {"replicas": 4}}, content_type=client.MERGE)
    assert scale(api, tenant, **where, autoscale=False)["web"]["replicas"] == 4
    assert names(api, "HorizontalPodAutoscaler", tenant) == []
    assert not good("app", newer)["changed"] and info(api, tenant)["processes"]["web"]["replicas"] == 4
    scale(api, tenant, **where, autoscale={"min": 1, "max": 5, "memory": 80})
    assert scale(api, tenant, **where, autoscale=False, replicas=2)["web"]["replicas"] == 2
    scale(api, tenant, **where, autoscale={"min": 1, "max": 5, "memory": 80})
    settled(app(api, tenant, type="worker", processes=PROCESSES[1:]))
    assert names(api, "HorizontalPodAutoscaler", tenant) == []


def test_resources(api: Api, nodes: Nodes, tenant: str) -> None:
    options = app(api, tenant, processes=PROCESSES)
    good("app", options)
    given = {"requests": {"cpu": "200m"}, "limits": {"memory": "128Mi"}}
    wanted = {"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    scale(api, tenant, process="web", resources=given)
    assert resources(api, tenant) == wanted
    assert managers(api, tenant, "shop-web", "limits") == {"cloudbang-scale"}
    assert not good("app", options)["changed"]
    assert good("app", {**options, "image": "x/y:2"})["apps"][0]["release"] == 2
    assert resources(api, tenant) == wanted
    good("app_release", api.options(name="shop", tenant=tenant, version=1, timeout=30))
    scale(api, tenant, process="web", replicas=3)
    good("app", api.options(name="shop", tenant=tenant, state="stopped", timeout=30))
    good("app", api.options(name="shop", tenant=tenant, state="started", timeout=30))
    assert resources(api, tenant) == wanted
    [blue] = good("app", {**options, "strategy": "blue_green", "drain": 0})["apps"]
    assert resources(api, tenant, next(name for name in blue["replicas"] if "web" in name)) == wanted
    assert info(api, tenant)["processes"]["web"]["resources"] == given
    good("app", options)
    message = bad(
        "app_scale", api.options(name="shop", tenant=tenant, process="web", resources={"limits": {"cpu": "50m"}})
    )
    assert "no more than its limit 50m" in message
    lower = [{**PROCESSES[0], "resources": {"limits": {"cpu": "150m"}}}, PROCESSES[1]]
    message = bad("app", {**options, "processes": lower})
    assert "200m for process web, set by app_scale" in message and "no more than its limit 150m" in message
    generation = (api.kube.get("Deployment", tenant, "shop-web") or {})["metadata"]["generation"]
    scale(api, tenant, process="web", resources={})
    assert resources(api, tenant) == {"requests": {"cpu": "100m", "memory": "64Mi"}}
    after = (api.kube.get("Deployment", tenant, "shop-web") or {})["metadata"]["generation"]
    assert generation < after <= generation + 2
    assert not good("app", options)["changed"]


def test_what_does_not_run_fails_each_time(api: Api, nodes: Nodes, tenant: str) -> None:
    """A pipeline that is started again must not mistake the wanted number of replicas for running ones."""
    process = {"name": "web", "ports": [80], "replicas": 0}
    good("app", app(api, tenant, image="x/bad:1", processes=[process]))
    options = api.options(name="shop", tenant=tenant, replicas=1, timeout=20)
    assert "web scaled to 1, but it does not run" in bad("app_scale", options)
    again = bad("app_scale", options)
    assert "web was not changed, but it does not run" in again and "ErrImagePull" in again
    assert not good("app_scale", options, check=True)["changed"]
    assert not good("app_scale", {**options, "wait": False})["changed"]
    scale(api, tenant, replicas=0)
    # A change of another process does not hide the failure, and only named processes are waited for.
    both = [{**process, "name": name, "replicas": 1} for name in ("web", "api")]
    bad("app", app(api, tenant, image="x/deaf:2", processes=both, timeout=2, on_failure="keep"))
    waiting = api.options(name="shop", tenant=tenant, processes={"web": 1, "api": 0}, timeout=2)
    assert "web scaled to 1, api scaled to 0, but it does not run" in bad("app_scale", waiting)
    assert "web was not changed, api scaled to 2" in bad("app_scale", {**waiting, "processes": {"web": 1, "api": 2}})
    good("app_scale", {**waiting, "processes": {"api": 0}})


def test_instances_that_do_not_run_fail_each_time(api: Api, nodes: Nodes, tenant: str) -> None:
    allow_host_network(api, tenant)
    process = {"name": "web", "ports": [8000], "replicas": 2, "host_network": True, "readiness": {"http": "/up"}}
    bad("app", app(api, tenant, image="x/deaf:1", processes=[process], timeout=2, on_failure="keep"))
    options = api.options(name="shop", tenant=tenant, replicas=2, timeout=2)
    found = len(api.kube.find("Deployment", tenant))
    for _attempt in range(2):
        assert "does not run" in bad("app_scale", {**options, "replicas": found})
    good("app", api.options(name="shop", tenant=tenant, state="absent", timeout=30))


def allow_host_network(api: Api, tenant: str) -> None:
    marks = {"pod-security.kubernetes.io/enforce": "privileged"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant, "labels": marks}}
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)


def ports(api: Api, tenant: str) -> dict[str, int]:
    """Return the real port of each instance from its pod."""
    found: dict[str, int] = {}
    for entry in api.kube.find("Deployment", tenant):
        pod = entry["spec"]["template"]["spec"]
        assert pod["hostNetwork"]
        [container] = pod["containers"]
        env = {variable["name"]: int(variable["value"]) for variable in container["env"]}
        assert env["PORT"] == env["PORT_HTTP"] == container["ports"][0]["containerPort"]
        found[entry["metadata"]["name"]] = env["PORT"]
    return found


def test_instances_in_the_network_of_hosts(api: Api, nodes: Nodes, tenant: str) -> None:
    process = {"name": "web", "ports": [8000, {"port": 9000, "name": "admin"}], "replicas": 2, "host_network": True}
    options = app(api, tenant, processes=[process], host_ports="21000-21009")
    assert "the namespace, which will be created, enforces the Pod Security standard baseline" in bad("app", options)
    assert api.kube.get("Namespace", None, tenant) is None
    allow_host_network(api, tenant)
    assert settled(options)["replicas"] == {"shop-web-0": 1, "shop-web-1": 1}
    first = ports(api, tenant)
    other = {**options, "name": "other", "processes": [{**process, "replicas": 1}]}
    settled(other)
    assert len(set(ports(api, tenant).values())) == 3
    service = api.kube.get("Service", tenant, "shop-web")
    assert service is not None and service["spec"]["clusterIP"] == "None"
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http", "admin"]

    settled({**options, "image": "x/y:2"})
    assert {name: port for name, port in ports(api, tenant).items() if name in first} == first
    assert "Rolled back to v2" in bad("app", {**options, "image": "x/bad:3"})
    more = scale(api, tenant, replicas=3, host_ports="21000-21009")
    assert more["web"] | {"previous_replicas": 2} == more["web"] and len(ports(api, tenant)) == 4
    assert not good("app", {**options, "image": "x/y:2"})["changed"]
    message = bad("app_scale", api.options(name="shop", tenant=tenant, replicas=9, host_ports="21000-21009"))
    assert "every port is taken" in message
    good("app", api.options(name="shop", tenant=tenant, state="stopped", timeout=30))
    good("app", api.options(name="shop", tenant=tenant, state="started", timeout=30))
    assert len(api.kube.find("Lease", "cloudbang-ports", "cloudbang.platform/app=shop")) == 6
    scale(api, tenant, replicas=1)
    assert len(api.kube.find("Lease", "cloudbang-ports", "cloudbang.platform/app=shop")) == 2
    settled({**options, "image": "x/y:2", "processes": [{**process, "host_network": False}]})
    good("app", {**other, "state": "absent"})
    assert api.kube.find("Lease", "cloudbang-ports") == []


def test_instances_are_replaced_one_after_the_other(api: Api, nodes: Nodes, tenant: str) -> None:
    allow_host_network(api, tenant)
    process = {"name": "web", "ports": [8000], "replicas": 3, "host_network": True, "readiness": {"http": "/up"}}
    options = app(api, tenant, processes=[process])
    good("app", options)
    probe = api.kube.find("Deployment", tenant)[0]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["httpGet"]["port"] == "http"
    # The first instance of the new release never gets ready: the others are not touched.
    message = bad("app", {**options, "image": "x/deaf:2", "timeout": 3, "on_failure": "keep"})
    assert "shop-web-0" in message
    images = {
        entry["metadata"]["name"]: entry["spec"]["template"]["spec"]["containers"][0]["image"]
        for entry in api.kube.find("Deployment", tenant)
    }
    assert images == {"shop-web-0": "x/deaf:2", "shop-web-1": "x/y:1", "shop-web-2": "x/y:1"}
    good("app", options)
    good("app", api.options(name="shop", tenant=tenant, state="absent", timeout=30))


def test_endpoints_have_the_real_ports(api: Api, nodes: Nodes, tenant: str) -> None:
    """Since target ports are named, EndpointSlices have the port number of each instance."""
    allow_host_network(api, tenant)
    process = {"name": "web", "ports": [8000], "replicas": 2, "host_network": True}
    good("app", app(api, tenant, processes=[process]))
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": tenant}}
    api.kube.request("POST", "/api/v1/nodes", {}, node)
    pods = api.kube.find("Pod", tenant)
    for pod in pods:
        where = kinds.path("Pod", tenant, pod["metadata"]["name"])
        target = {"apiVersion": "v1", "kind": "Node", "name": tenant}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod["metadata"]["name"]},
            "target": target,
        }
        api.kube.request("POST", f"{where}/binding", {}, binding)
        status = {"status": {"podIP": "192.0.2.7", "podIPs": [{"ip": "192.0.2.7"}], "hostIP": "192.0.2.7"}}
        api.kube.request("PATCH", f"{where}/status", {}, status, content_type=client.MERGE)
    wanted = {("192.0.2.7", port) for port in ports(api, tenant).values()}
    end = time.monotonic() + 20
    found: dict[str, set[tuple[str, int]]] = {}
    while time.monotonic() < end and found != {"shop": wanted, "shop-web": wanted}:
        time.sleep(0.3)
        found = {}
        for entry in api.kube.find("EndpointSlice", tenant):
            service = entry["metadata"]["labels"]["kubernetes.io/service-name"]
            found.setdefault(service, set()).update(
                (address, port["port"])
                for endpoint in entry.get("endpoints") or []
                for address in endpoint["addresses"]
                for port in entry.get("ports") or []
                if port["name"] == "http"
            )
    assert found == {"shop": wanted, "shop-web": wanted}
    for pod in pods:
        api.kube.request("DELETE", kinds.path("Pod", tenant, pod["metadata"]["name"]), {"gracePeriodSeconds": "0"})
    api.kube.request("DELETE", f"/api/v1/nodes/{tenant}")


def test_ports_need_rights_in_the_cluster(api: Api, nodes: Nodes, tenant: str) -> None:
    allow_host_network(api, tenant)
    rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{tenant}"
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    api.kube.request("POST", f"{rights}/roles", {}, {"metadata": {"name": "all"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "developer"}
    binding = {"metadata": {"name": "all"}, "roleRef": role, "subjects": [subject]}
    api.kube.request("POST", f"{rights}/rolebindings", {}, binding)
    certificate, key = api.authority.issue("developer")
    path = api.write_kubeconfig("developer.conf", api.authority.pem, certificate, key)
    process = {"name": "web", "ports": [8000], "host_network": True}
    options = {**app(api, tenant, processes=[process]), "kubeconfig": str(path)}
    assert "the right to read, create and delete Leases in the namespace cloudbang-ports" in bad("app", options)
    good("app", {**options, "processes": [{**process, "host_network": False}]})
