# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is added to the inventory, joins, and the others' services do not notice."""

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
    """Boot the host; afterwards take it out of the cluster and the lab."""
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
    """Return what names each run of each service: another one means a restart."""
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
    core = lab.core()
    name = "e2e-newcomer"
    core.create_namespace({"metadata": {"name": name}})
    try:
        spec = {
            "nodeName": newcomer.name,
            "containers": [{"name": "web", "image": IMAGE}],
            "terminationGracePeriodSeconds": 0,
        }
        core.create_namespaced_pod(name, {"metadata": {"name": "web"}, "spec": spec})
        wait_for("the pod runs", lambda: core.read_namespaced_pod("web", name).status.phase == "Running", seconds=90)
        code = "import urllib.request as u; print(u.urlopen('http://httpbin.demo:8000/status/200', timeout=10).status)"
        assert lab.python(name, "web", code).strip() == "200"
    finally:
        core.delete_namespace(name)
