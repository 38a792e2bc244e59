# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that is added to the inventory joins the cluster without an effect on the services of other hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kubernetes import client

from .lab import DEMO_DOMAIN, IMAGE, NETWORK, VIP, Lab, Node, run, traffic, wait_for

EXTRA = ("-i", str(Path(__file__).with_name("inventory_extra.yml")))
SERVICES = (
    "etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy "
    "haproxy keepalived traefik registry registry-pull "
    + {"calico": "calico-felix calico-tunnel", "goodnet": "goodnet-agent ovsdb-server ovs-vswitchd"}[NETWORK]
)


@pytest.fixture(scope="module")
def newcomer(lab: Lab) -> Iterator[Node]:
    """Boot the host; afterwards remove it from the cluster and the lab."""
    node = Node("compute3", "10.92.0.23", ("compute",))
    begin = time.monotonic()
    lab.play("cloudbang.platform.lab_up", *EXTRA)
    lab.measured("boot of one more host, seconds", round(time.monotonic() - begin, 1))
    yield node
    core = lab.core()
    try:
        core.delete_node(node.name)
    except client.ApiException as error:
        assert error.status == 404
    run("docker", "rm", "--force", "--volumes", node.container)
    lab.play("cloudbang.platform.lab_up")


def invocations(lab: Lab) -> dict[str, str]:
    """Return the invocation IDs of all services: another one means a restart."""
    command = f"systemctl show --property Id --property InvocationID --property MainPID {SERVICES}"
    with ThreadPoolExecutor(len(lab.nodes)) as pool:
        return dict(zip(lab.nodes, pool.map(lambda node: node.sh(command), lab.nodes.values())))


def test_a_new_host_joins_alone(lab: Lab, newcomer: Node) -> None:
    before = invocations(lab)
    begin = time.monotonic()
    with traffic(VIP, 80, "/get", {"Host": DEMO_DOMAIN}, pause=0.1) as requests:
        done = lab.play("cloudbang.platform.site", *EXTRA, "--limit", newcomer.name)
    lab.measured("adding a compute host, seconds", round(time.monotonic() - begin, 1))
    assert set(done.changed) <= {newcomer.name, "localhost"}, done.changed
    lab.healthy(60, {*(node.name for node in lab.kubernetes_nodes), newcomer.name})
    assert invocations(lab) == before
    assert requests.failures == []


def test_the_whole_site_knows_it_and_restarts_nothing(lab: Lab, newcomer: Node) -> None:
    before = invocations(lab)
    done = lab.play("cloudbang.platform.site", *EXTRA)
    lab.measured("site with one more host, tasks that changed something", done.changed)
    assert invocations(lab) == before
    node = lab.core().read_node(newcomer.name)
    assert "node-role.kubernetes.io/compute" in node.metadata.labels


def test_pods_run_there_and_reach_the_others(lab: Lab, newcomer: Node) -> None:
    """In both directions, by address and by the name of a Service. The DNS servers are on other hosts."""
    core = lab.core()
    space = "e2e-newcomer"
    ready = {"httpGet": {"path": "/status/200", "port": 8000}, "periodSeconds": 1}
    core.create_namespace({"metadata": {"name": space}})

    def address(name: str) -> str:
        status = core.read_namespaced_pod(name, space).status
        running = any(one.type == "Ready" and one.status == "True" for one in status.conditions or [])
        return str(status.pod_ip) if running else ""

    def fetch(name: str, host: str) -> bool:
        code = f"import urllib.request as u; print(u.urlopen('http://{host}:8000/status/200', timeout=10).status)"
        return lab.python(space, name, code).strip() == "200"

    try:
        for name, node in (("here", newcomer.name), ("there", "compute1")):
            web = {"name": "web", "image": IMAGE, "readinessProbe": ready}
            spec = {"nodeName": node, "containers": [web], "terminationGracePeriodSeconds": 0}
            core.create_namespaced_pod(space, {"metadata": {"name": name, "labels": {"name": name}}, "spec": spec})
            service = {"selector": {"name": name}, "ports": [{"port": 8000}]}
            core.create_namespaced_service(space, {"metadata": {"name": name}, "spec": service})
        found = {name: wait_for(f"{name} is ready", lambda name=name: address(name), 90) for name in ("here", "there")}
        for name, other in (("here", "there"), ("there", "here")):
            assert fetch(name, found[other])
            # kube-proxy knows of a new Service a moment after the API server.
            wait_for(f"{name} reaches {other}", lambda name=name, other=other: fetch(name, other), 20)
    finally:
        core.delete_namespace(space)
