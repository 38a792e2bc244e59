# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster works: nodes, platform services, and the network between pods on different hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes import client

from .lab import DEMO_DOMAIN, IMAGE, NETWORK, VIP, Lab, run, wait_for

NAMESPACE = "e2e-network"
PODS = {"one": "compute1", "two": "compute2"}


@pytest.fixture(scope="module")
def addresses(lab: Lab) -> Iterator[dict[str, str]]:
    """Run a pod on each compute host, and a Service for the second one."""
    core = lab.core()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    try:
        for name, node in PODS.items():
            container = {"name": "httpbin", "image": IMAGE, "ports": [{"containerPort": 8000}]}
            container["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
            spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
            body = {"metadata": {"name": name, "labels": {"name": name}}, "spec": spec}
            core.create_namespaced_pod(NAMESPACE, body)
        ports = [{"port": 80, "targetPort": 8000}]
        service = {
            "metadata": {"name": "web"},
            "spec": {"selector": {"name": "two"}, "ports": ports, "type": "NodePort"},
        }
        made = core.create_namespaced_service(NAMESPACE, service)

        def ready() -> dict[str, str] | None:
            pods = core.list_namespaced_pod(NAMESPACE).items
            states = [status.ready for pod in pods for status in pod.status.container_statuses or []]
            return {pod.metadata.name: pod.status.pod_ip for pod in pods} if states == [True, True] else None

        found = wait_for("both pods are ready", ready, seconds=90)
        found["service"] = made.spec.cluster_ip
        found["node_port"] = str(made.spec.ports[0].node_port)
        yield found
    finally:
        core.delete_namespace(NAMESPACE)


def fetch(lab: Lab, pod: str, url: str) -> str:
    code = f"import urllib.request as u; print(u.urlopen({url!r}, timeout=10).status)"
    return lab.python(NAMESPACE, pod, code).strip()


def test_every_node_is_ready_and_says_what_it_is(lab: Lab) -> None:
    found = {node.metadata.name: node for node in lab.core().list_node().items}
    assert set(found) == {node.name for node in lab.kubernetes_nodes}
    for node in lab.kubernetes_nodes:
        ready = [item.status for item in found[node.name].status.conditions if item.type == "Ready"]
        assert ready == ["True"], node.name
        addresses = [item.address for item in found[node.name].status.addresses if item.type == "InternalIP"]
        assert addresses == [node.address], node.name
        taints = {taint.key for taint in found[node.name].spec.taints or []}
        wanted = {
            "management": {"node-role.kubernetes.io/control-plane"},
            "loadbalancer": {"cloudbang.platform/loadbalancer"},
            "compute": set(),
        }[node.groups[0]]
        assert taints == wanted, node.name


def test_platform_services_run(lab: Lab) -> None:
    pods = lab.core().list_namespaced_pod("kube-system").items
    names = {pod.metadata.name.rsplit("-", 2)[0] for pod in pods}
    assert names == {"coredns", "metrics-server"} | ({"calico-kube-controllers"} if NETWORK == "calico" else set())
    assert {pod.status.phase for pod in pods} == {"Running"}


def test_dns_does_not_depend_on_one_host(lab: Lab) -> None:
    pods = lab.core().list_namespaced_pod("kube-system").items
    hosts = [pod.spec.node_name for pod in pods if pod.metadata.name.startswith("coredns-")]
    assert len(set(hosts)) == len(hosts) >= 2


def test_metrics_of_every_node(lab: Lab) -> None:
    def metrics() -> bool:
        answer = client.CustomObjectsApi(lab.api()).list_cluster_custom_object("metrics.k8s.io", "v1beta1", "nodes")
        names = {item["metadata"]["name"] for item in answer["items"]}
        return names == {node.name for node in lab.kubernetes_nodes}

    wait_for("metrics of all nodes", metrics, seconds=60)


@pytest.mark.parametrize("pod", PODS)
@pytest.mark.parametrize("other", PODS)
def test_pods_reach_pods_by_address(lab: Lab, addresses: dict[str, str], pod: str, other: str) -> None:
    assert fetch(lab, pod, f"http://{addresses[other]}:8000/status/200") == "200"


@pytest.mark.parametrize("pod", PODS)
def test_pods_reach_a_service_by_address(lab: Lab, addresses: dict[str, str], pod: str) -> None:
    assert fetch(lab, pod, f"http://{addresses['service']}/status/200") == "200"


@pytest.mark.parametrize("name", ["web", f"web.{NAMESPACE}", f"web.{NAMESPACE}.svc.cluster.local"])
@pytest.mark.parametrize("pod", PODS)
def test_pods_reach_a_service_by_name(lab: Lab, addresses: dict[str, str], pod: str, name: str) -> None:
    assert fetch(lab, pod, f"http://{name}/status/200") == "200"


def test_pods_reach_the_api(lab: Lab, addresses: dict[str, str]) -> None:
    code = "import socket; socket.create_connection(('kubernetes.default.svc', 443), 5); print('connected')"
    assert lab.python(NAMESPACE, "one", code).strip() == "connected"


@pytest.mark.parametrize("node", ["compute1", "compute2", "management1"])
def test_node_port_answers_on_every_node(lab: Lab, addresses: dict[str, str], node: str) -> None:
    url = f"http://{lab.nodes[node].address}:{addresses['node_port']}/status/200"
    assert (
        run("curl", "--silent", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}", url).stdout
        == "200"
    )


def test_logs_and_exec_go_through_the_kubelet(lab: Lab, addresses: dict[str, str]) -> None:
    assert "gunicorn" in lab.kubectl("logs", "-n", NAMESPACE, "two").stdout
    assert lab.python(NAMESPACE, "two", "print(6 * 7)").strip() == "42"


def test_demo_application_is_served_through_the_virtual_ip(lab: Lab) -> None:
    page = run(
        "curl", "--silent", "--fail", "--max-time", "10", "--header", f"Host: {DEMO_DOMAIN}", f"http://{VIP}/get"
    ).stdout
    assert f'"Host": "{DEMO_DOMAIN}"' in page


def test_unknown_domains_are_nobodys(lab: Lab) -> None:
    status = run(
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "--header",
        "Host: nobody.example.org",
        f"http://{VIP}/get",
    ).stdout
    assert status == "404"
