# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine in all four groups is a cluster: its node is ready, pods run, names resolve, an Ingress answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scenario import (
    STATE,
    WEB_SPEC,
    confined,
    in_pod,
    manifest_of,
    module,
    node,
    run,
    wait_for,
    web_config,
    web_ingress,
    web_service,
)

VIP = "10.94.8.100"
LABELS = {"app": "web"}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": WEB_SPEC}},
}


def kubectl(command: str) -> str:
    return str(node("node1").check_output(f"kubectl --kubeconfig=/root/admin.conf {command}"))


def get(what: str) -> list[dict[str, Any]]:
    return list(json.loads(kubectl(f"get {what} --output=json"))["items"])


def lend_kubeconfig() -> None:
    """The administrator's kubeconfig stays on the controller: lend it to the node for the time of the tests."""
    lent = module("node1", "ansible.builtin.copy", src=str(STATE / "admin.conf"), dest="/root/admin.conf", mode="0600")
    assert not lent.get("failed"), lent


@pytest.fixture(scope="module", autouse=True)
def administrator() -> Iterator[None]:
    lend_kubeconfig()
    yield
    node("node1").check_output("rm /root/admin.conf")


@contextmanager
def deployed() -> Iterator[dict[str, Any]]:
    """Run a web server in a namespace of its own; what follows as names its pod."""
    try:
        kubectl("create namespace molecule")
        manifest = manifest_of(web_config(), DEPLOYMENT, web_service(LABELS), web_ingress("web.example.org"))
        module("node1", "ansible.builtin.copy", content=manifest, dest="/root/web.yaml", mode="0600")
        kubectl("--namespace=molecule apply --filename=/root/web.yaml")
        kubectl("--namespace=molecule rollout status deployment/web --timeout=90s")
        yield get("pods --namespace=molecule")[0]
    finally:
        kubectl("delete namespace molecule --wait=true --timeout=60s")
        node("node1").check_output("rm -f /root/web.yaml")


@pytest.fixture(scope="module")
def web(administrator: None) -> Iterator[dict[str, Any]]:
    with deployed() as pod:
        yield pod


def test_the_node_is_ready() -> None:
    nodes = get("nodes")
    assert [one["metadata"]["name"] for one in nodes] == ["node1"]
    conditions = {one["type"]: one["status"] for one in nodes[0]["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    assert conditions.get("NetworkUnavailable", "False") == "False"


def test_all_pods_run() -> None:
    def waiting() -> list[str]:
        return [
            f"{pod['metadata']['name']}: {pod['status']['phase']}"
            for pod in get("pods --all-namespaces")
            if not all(one["ready"] for one in pod["status"].get("containerStatuses", [{"ready": False}]))
        ]

    wait_for(lambda: not waiting(), 90)
    names = " ".join(pod["metadata"]["name"] for pod in get("pods --namespace=kube-system"))
    assert "coredns" in names
    assert "metrics-server" in names


def test_names_of_services_resolve_in_a_pod(web: dict[str, Any]) -> None:
    address = json.loads(kubectl("--namespace=molecule get service web --output=json"))["spec"]["clusterIP"]

    def resolved(name: str) -> list[str]:
        return in_pod(web, f"getent ahostsv4 {name}").stdout.split()[:1]

    # CoreDNS learns of a Service a moment after the API does.
    wait_for(lambda: resolved("web") == [address])
    assert resolved("kubernetes.default.svc.cluster.local") == ["10.96.0.1"]


def test_a_pod_reaches_a_service(web: dict[str, Any]) -> None:
    # kube-proxy learns of endpoints a moment after they are ready.
    wait_for(lambda: in_pod(web, "curl --silent --fail --max-time 5 http://web/health").stdout == "OK")


def page(domain: str) -> str:
    """Return a page through the virtual IP, with its status."""
    url = ("--resolve", f"{domain}:80:{VIP}", f"http://{domain}/health")
    return run("curl", "--silent", "--max-time", "5", "--noproxy", "*", "--write-out", " %{http_code}", *url).stdout


def test_the_ingress_answers_at_the_virtual_ip(web: dict[str, Any]) -> None:
    wait_for(lambda: page("web.example.org") == "OK 200", 20)
    assert page("other.example.org").endswith(" 404")


def test_a_slow_api_server_keeps_its_connections() -> None:
    """It is the only one: the load balancer has no other that its clients could go to."""
    watch = "kubectl --kubeconfig=/root/admin.conf get --raw '/api/v1/configmaps?watch=true&timeoutSeconds=10'"
    signal = "systemctl kill --signal={} kube-apiserver"
    node("node1").check_output(
        f"{watch} > /dev/null & sleep 1; {signal.format('STOP')}; sleep 6; {signal.format('CONT')}; wait $!"
    )


def test_the_api_refuses_who_has_no_certificate() -> None:
    trust = ("--cacert", str(STATE / "pki" / "kubernetes-ca.crt"), "--noproxy", "*", "--max-time", "5")
    status = ("--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
    assert run("curl", *status, *trust, f"https://{VIP}:6443/api/v1/secrets").stdout in ("401", "403")


TRAEFIK = (
    "client.key",
    "gateway.key",
    "kubeconfig",
    "traefik.yaml",
    "dynamic/http.yaml",
    "dynamic/tls.yaml",
    "dynamic/udp.yaml",
)


def test_who_breaks_into_one_service_has_nothing_of_the_others() -> None:
    """All keys that there are lie on this one host."""
    confined("node1", "traefik", *(f"/etc/traefik/{name}" for name in TRAEFIK))
    confined("node1", "kube-scheduler", "/etc/kubernetes/scheduler.conf", "/etc/kubernetes/pki/scheduler.key")


@pytest.mark.parametrize(("certificate", "served"), [("peer", True), ("client", False)])
def test_etcd_talks_as_to_a_member_only_to_members(certificate: str, served: bool) -> None:
    pki = "/etc/etcd/pki"
    files = f"--cacert {pki}/ca.crt --cert {pki}/{certificate}.crt --key {pki}/{certificate}.key"
    done = node("node1").run(f"curl --silent --fail --http1.1 --max-time 5 {files} https://10.94.8.11:2380/version")
    assert (done.rc == 0) == served, done.stderr
