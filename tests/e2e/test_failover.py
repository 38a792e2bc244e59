# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts lose power while clients use the API and an application through the virtual IP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from kubernetes import client

from .lab import DEMO_DOMAIN, NETWORK, VIP, Lab, Node, Traffic, traffic, wait_for

# Tests that do not depend on the network always run on the lab with Calico. On the one with GoodNet they are drills.
with_any_network = [pytest.mark.drill] if NETWORK == "goodnet" else []
# Far above the measured gaps, so that only a service that stays unavailable fails a test, not a slow machine.
LONGEST_GAP = 30


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Start all nodes again and wait for a healthy cluster after each test."""
    yield
    for node in lab.nodes.values():
        node.start()
    lab.healthy(180)


def back(lab: Lab, node: Node) -> None:
    """Restore the power of a node, and wait until everything has started on its own."""
    begin = datetime.now(timezone.utc)
    node.start()
    node.booted()
    leases = client.CoordinationV1Api(lab.api())
    # A lost node counts as ready until its grace period is over, so only a new heartbeat shows that it is back.
    wait_for(
        f"{node.name} gives a sign of life",
        lambda: leases.read_namespaced_lease(node.name, "kube-node-lease", _request_timeout=5).spec.renew_time > begin,
        seconds=90,
    )
    lab.healthy(180)


def report(lab: Lab, what: str, seen: Traffic) -> None:
    lab.measured(
        what, {"requests": seen.sent, "failed": len(seen.failures), "longest gap, seconds": round(seen.gap, 2)}
    )


def test_a_management_host_is_lost(lab: Lab) -> None:
    # Tasks of the playbooks that run on a single host run on this one.
    name = "management1"
    node = lab.nodes[name]
    app = traffic(VIP, 80, "/get", {"Host": DEMO_DOMAIN})
    api = traffic(VIP, 6443, "/api/v1/namespaces/kube-system", {}, lab.tls(), keep_alive=False, clients=1, timeout=3)
    with app as requests, api as reads:
        node.stop()
        wait_for(
            "the API server's place is taken by the others",
            lambda: reads.answered and len(reads.answered) > 100,
            seconds=30,
        )
    report(lab, f"{name} lost: app", requests)
    report(lab, f"{name} lost: API reads", reads)
    back(lab, node)
    assert requests.failures == []
    assert reads.gap < LONGEST_GAP
    assert reads.answered[-1] - reads.started > reads.gap


def test_the_holder_of_the_virtual_ip_is_lost(lab: Lab) -> None:
    holder = lab.vip_holder()
    app = traffic(VIP, 80, "/get", {"Host": DEMO_DOMAIN}, keep_alive=False, timeout=1)
    api = traffic(VIP, 6443, "/api/v1/namespaces/kube-system", {}, lab.tls(), keep_alive=False, clients=1, timeout=1)
    with app as requests, api as reads:
        wait_for("both answer", lambda: requests.answered and reads.answered, seconds=10)
        holder.stop()
        count = len(requests.answered), len(reads.answered)
        wait_for(
            "both answer again",
            lambda: len(requests.answered) > count[0] + 100 and len(reads.answered) > count[1] + 50,
            seconds=60,
        )
    report(lab, "holder of the virtual IP lost: app", requests)
    report(lab, "holder of the virtual IP lost: API reads", reads)
    other = lab.vip_holder()
    assert other.name != holder.name
    back(lab, holder)
    assert max(requests.gap, reads.gap) < LONGEST_GAP
    assert lab.vip_holder().name == other.name, "the address moved once more, for nothing"


@pytest.mark.parametrize("service", [pytest.param("traefik", marks=with_any_network)])
def test_the_gateway_of_the_holder_is_killed(lab: Lab, service: str) -> None:
    holder = lab.vip_holder()
    with traffic(VIP, 80, "/get", {"Host": DEMO_DOMAIN}, keep_alive=False, timeout=1) as requests:
        wait_for("it answers", lambda: requests.answered, seconds=10)
        holder.sh(f"systemctl kill --signal=KILL {service}")
        wait_for("it answers again", lambda: len(requests.answered) > 200, seconds=60)
    report(lab, "gateway killed: app", requests)
    assert requests.gap < LONGEST_GAP


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(service, marks=with_any_network)
        for service in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    ],
)
def test_a_killed_service_is_started_again(lab: Lab, service: str) -> None:
    node = lab.nodes["management3"]

    def process() -> str:
        return node.sh(f"systemctl show --property MainPID --value {service}").strip()

    before = process()
    api = traffic(VIP, 6443, "/api/v1/namespaces/kube-system", {}, lab.tls(), keep_alive=False, clients=1, timeout=3)
    with api as reads:
        node.sh(f"systemctl kill --signal=KILL {service}")
        wait_for(
            f"{service} runs again",
            lambda: (
                node.sh(f"systemctl is-active {service}", check=False).strip() == "active"
                and process() not in ("0", before)
            ),
            seconds=60,
        )
    report(lab, f"{service} killed: API reads", reads)
    assert reads.gap < LONGEST_GAP


def test_a_compute_host_comes_back_with_its_pods(lab: Lab) -> None:
    node = lab.nodes["compute2"]
    node.stop()
    back(lab, node)
    core = lab.core()

    def served() -> bool:
        pods = core.list_namespaced_pod("demo").items
        states = [state.ready for pod in pods for state in pod.status.container_statuses or []]
        return len(states) == 2 and all(states)

    wait_for("the application's pods are ready", served, seconds=120)
