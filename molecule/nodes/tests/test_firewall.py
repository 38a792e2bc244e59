# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine of the hosts' network reaches of pods and Services, and what pods reach of the hosts: nothing but the
ways that are meant. The stranger has no part in the cluster; it may set routes, and send what it likes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from scenario import (
    in_pod,
    kubectl,
    manifest_of,
    node,
    objects,
    run,
    wait_for,
    web_config,
    web_ingress,
    web_pod,
    web_service,
)
from walls import (
    VRRP,
    address_of,
    closed_of_the_platform,
    dropped,
    open_from,
    open_from_pod,
    open_from_unit,
    python,
    route,
    takes_vxlan,
)

HOSTS = {"management1": "10.94.12.11", "compute1": "10.94.12.21", "loadbalancer1": "10.94.12.31"}
STRANGER = "10.94.12.91"
METADATA = "169.254.169.254"
PODS = {"a": "compute1", "b": "management1", "c": "loadbalancer1"}
NAMESPACE = "--namespace=walls"
# As that of an isolated tenant.
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: %s/32}}]}]
"""
Pods = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    """One pod on each host; the one on the compute host is served."""
    kubectl("create", "namespace", "walls")
    wait_for(lambda: objects("serviceaccounts", NAMESPACE))
    serving = [web_config(), web_service({"name": "a"}, "NodePort"), web_ingress("walls.example.org")]
    servers = [web_pod({"name": name, "labels": {"name": name}}, nodeName=host) for name, host in PODS.items()]
    kubectl("apply", "--filename=-", NAMESPACE, manifest=manifest_of(*serving, *servers))
    kubectl("wait", "--for=condition=Ready", "--timeout=90s", NAMESPACE, *(f"pod/{name}" for name in PODS))
    yield {one["metadata"]["name"]: one for one in objects("pods", NAMESPACE)}
    kubectl("delete", "namespace", "walls", "--timeout=60s")


@pytest.fixture(scope="module")
def service(pods: Pods) -> dict[str, Any]:
    (found,) = objects("services", NAMESPACE)
    return found


def test_the_firewall_starts_with_the_host() -> None:
    for host in HOSTS:
        asked = "systemctl is-enabled cloudbang-firewall && systemctl is-active cloudbang-firewall"
        assert node(host).check_output(asked).split() == ["enabled", "active"]


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_a_reload_of_the_hosts_filter_opens_nothing(host: str) -> None:
    """It empties all tables, and this one comes again with it, and closes loopback too."""
    followed = node(host).check_output("systemctl show --property=PartOf,ReloadPropagatedFrom cloudbang-firewall")
    assert followed.count("nftables.service") == 2
    node(host).check_output("nft delete table inet cloudbang && systemctl reload cloudbang-firewall")
    rules = node(host).check_output("nft list chain inet cloudbang output")
    assert "10249" in rules and ("8406" in rules) == (host == "loadbalancer1")


@pytest.mark.disruptive
def test_a_kubelet_does_not_run_without_the_firewall() -> None:
    host = node("compute1")
    host.check_output("cp /etc/cloudbang/firewall.nft /root/firewall.nft && echo broken >> /etc/cloudbang/firewall.nft")
    try:
        host.run("systemctl stop cloudbang-firewall kubelet; systemctl start kubelet")
        assert host.run("systemctl is-active kubelet").stdout.strip() != "active"
    finally:
        host.check_output("mv /root/firewall.nft /etc/cloudbang/firewall.nft")
    # It tries again by itself, and starts the firewall with it.
    wait_for(lambda: host.run("systemctl is-active kubelet cloudbang-firewall").stdout.split() == ["active"] * 2, 30)


# -- From the hosts' network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", sorted(HOSTS))
def test_a_stranger_routes_to_no_service_and_no_pod(pods: Pods, service: dict[str, Any], by: str) -> None:
    cluster, pod = service["spec"]["clusterIP"], pods["a"]["status"]["podIP"]
    before = dropped(by, "prerouting", "drop")
    with route("stranger1", cluster, HOSTS[by]), route("stranger1", pod, HOSTS[by]):
        assert open_from("stranger1", f"{cluster}:80", f"{pod}:8080") == set()
    assert dropped(by, "prerouting", "drop") > before


def test_a_stranger_does_not_become_the_gateway(pods: Pods, service: dict[str, Any]) -> None:
    """A load balancer gives what it forwards its own address, which tenants let in."""
    cluster = service["spec"]["clusterIP"]
    kubectl("apply", "--filename=-", NAMESPACE, manifest=POLICY % address_of("loadbalancer1", "vxlan.calico"))
    try:
        page = ("curl", "--silent", "--max-time", "3", "--noproxy", "*", "--header", "Host: walls.example.org")
        wait_for(lambda: run(*page, f"http://{HOSTS['loadbalancer1']}/health").stdout == "OK")
        with route("stranger1", cluster, HOSTS["loadbalancer1"]):
            assert open_from("stranger1", f"{cluster}:80") == set()
    finally:
        kubectl("delete", "networkpolicy", "isolated", NAMESPACE)


def test_node_ports_and_the_gateway_are_open_to_strangers(pods: Pods, service: dict[str, Any]) -> None:
    port = service["spec"]["ports"][0]["nodePort"]
    wanted = {*(f"{address}:{port}" for address in HOSTS.values()), f"{HOSTS['loadbalancer1']}:80"}
    assert open_from("stranger1", *wanted) == wanted


@pytest.mark.parametrize(("by", "reached"), [("compute1", {"service", "pod"}), ("loadbalancer1", {"pod"})])
def test_a_routed_network_gets_through_but_to_services_by_no_load_balancer(
    pods: Pods, service: dict[str, Any], by: str, reached: set[str]
) -> None:
    targets = {"service": f"{service['spec']['clusterIP']}:80", "pod": f"{pods['a']['status']['podIP']}:8080"}
    element = f"element inet cloudbang routed {{ {STRANGER} }}"
    node(by).check_output(f"nft add {element}")
    try:
        cluster, pod = service["spec"]["clusterIP"], pods["a"]["status"]["podIP"]
        with route("stranger1", cluster, HOSTS[by]), route("stranger1", pod, HOSTS[by]):
            assert open_from("stranger1", *targets.values()) == {targets[one] for one in reached}
    finally:
        node(by).check_output(f"nft delete {element}")


@pytest.mark.parametrize(("sender", "arrives"), [("management1", True), ("stranger1", False)])
def test_vxlan_of_strangers_is_dropped(pods: Pods, sender: str, arrives: bool) -> None:
    """A host of the cluster may do the same, which shows that the packet is right."""
    mac = node("compute1").check_output("cat /sys/class/net/vxlan.calico/address")
    words = (HOSTS["compute1"], "4096", mac, address_of("management1", "vxlan.calico"))
    assert takes_vxlan(pods["a"], sender, words, 9999 if arrives else 9998) is arrives


# -- From pods ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_reach_of_hosts_what_is_meant_for_them(pods: Pods, service: dict[str, Any], name: str) -> None:
    port = service["spec"]["ports"][0]["nodePort"]
    # The registry and etcd are on the management host.
    hosts = [f"{address}:{port}" for address in HOSTS.values() for port in (22, 10250)]
    closed = {*hosts, *(f"{HOSTS['management1']}:{port}" for port in (2379, 2380, 5000))}
    meant = {f"{HOSTS['management1']}:6443", "10.96.0.1:443", f"{HOSTS['loadbalancer1']}:80", "10.96.0.10:53"}
    meant |= {f"{address}:{port}" for address in HOSTS.values()}
    if PODS[name] == "management1":
        kubelets = {f"{address}:10250" for address in HOSTS.values()}
        closed, meant = closed - kubelets, meant | kubelets
    # They listen: the stranger is told so.
    assert open_from("stranger1", *closed) == closed
    assert open_from_pod(pods[name], *closed, *meant) == meant


@pytest.mark.parametrize("name", sorted(PODS))
def test_no_other_address_of_a_host_is_a_way_in(pods: Pods, name: str) -> None:
    links = json.loads(node(PODS[name]).check_output("ip -json -4 address show"))
    addresses = [one["local"] for link in links for one in link["addr_info"] if link["ifname"] != "lo"]
    assert len(addresses) > 2
    addresses += [address_of(host, "vxlan.calico") for host in HOSTS]
    assert open_from_pod(pods[name], *(f"{address}:22" for address in addresses)) == set()


def test_the_platforms_pods_are_closed_to_others(pods: Pods) -> None:
    targets = closed_of_the_platform()
    assert len(targets) >= 8
    for pod in pods.values():
        assert open_from_pod(pod, *targets) == set()


@pytest.mark.parametrize("name", sorted(PODS))
def test_vrrp_of_pods_leaves_no_host(pods: Pods, name: str) -> None:
    host, target = PODS[name], "loadbalancer1"
    chain = "input" if host == target else "forward"
    before, arrived = dropped(host, chain, "l4proto"), dropped(target, "input", "l4proto")
    sent = in_pod(pods[name], python(VRRP, HOSTS[target], HOSTS[host], "10.94.12.100", "254", "2"))
    assert sent.rc == 0, sent.stderr
    assert dropped(host, chain, "l4proto") == before + 2
    if host != target:
        assert dropped(target, "input", "l4proto") == arrived


def test_who_breaks_into_the_gateway_reaches_of_hosts_what_pods_do(pods: Pods, service: dict[str, Any]) -> None:
    port = service["spec"]["ports"][0]["nodePort"]
    closed = {f"{address}:{port}" for address in HOSTS.values() for port in (22, 10250)}
    closed |= {f"{HOSTS['management1']}:{port}" for port in (2379, 2380, 5000)} | {"127.0.0.1:22"}
    meant = {f"{HOSTS['management1']}:6443", "10.96.0.1:443", f"{HOSTS['compute1']}:{port}"}
    meant |= {f"{one['status']['podIP']}:8080" for one in pods.values()}
    # They listen: root of the same host is told so.
    assert open_from("loadbalancer1", *closed, *meant) == closed | meant
    assert open_from_unit("loadbalancer1", "traefik", *closed, *meant) == meant


@pytest.fixture
def metadata() -> Iterator[None]:
    """What clouds have at each host, here on one of them, to which another one routes."""
    host = node("compute1")
    host.check_output(f"ip address add {METADATA}/32 dev lo")
    try:
        host.check_output(f"systemd-run --unit=metadata python3 -m http.server --bind {METADATA} --directory /srv 80")
        wait_for(lambda: open_from("compute1", f"{METADATA}:80"))
        with route("management1", METADATA, HOSTS["compute1"]):
            yield
    finally:
        host.check_output(f"systemctl stop metadata; ip address del {METADATA}/32 dev lo")


def test_pods_reach_no_metadata(pods: Pods, metadata: None) -> None:
    assert open_from("management1", f"{METADATA}:80") == {f"{METADATA}:80"}
    for name in ("a", "b"):
        assert open_from_pod(pods[name], f"{METADATA}:80") == set()
