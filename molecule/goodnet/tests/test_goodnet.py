# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods reach those of their tenant on every host and nobody else's, also after what can happen to a host."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from scenario import (
    INVENTORY,
    SCENARIO,
    changes,
    confined,
    converge,
    in_pod,
    inside,
    kubectl,
    manifest_of,
    node,
    objects,
    run,
    wait_for,
    web_config,
    web_pod,
    web_service,
)
from walls import (
    TRAEFIK,
    VRRP,
    closed_of_the_platform,
    dropped,
    open_from,
    open_from_pod,
    open_from_unit,
    python,
    route,
    takes_vxlan,
    witness,
)

ADDRESSES = {"management1": "10.94.13.11", "compute1": "10.94.13.21", "loadbalancer1": "10.94.13.31"}
STRANGER, VIP = "10.94.13.91", "10.94.13.100"
EXTERNAL, VNI = "10.94.13.200", 700
# Of the controller, outside of the nodes' own network: whoever goes there leaves the cluster.
CONTROLLER = "10.95.13.1"
# The controller in the nodes' own network, of which it is the router.
GATEWAY = "10.94.13.1"
# Within this time traffic returns after what can happen to a host. Tests allow for a busy machine.
RETURNS_SECONDS, BUSY = 5.0, 2.0
# As the packets of pods are derived from the underlay's 1500 bytes.
MTU = {"vxlan": 1450, "gre": 1458}
# Namespace and host of each pod. shop and stock are one tenant. (In YAML y is a truth value.)
PODS = {
    "a": ("shop", "compute1"),
    "b": ("shop", "management1"),
    "c": ("stock", "loadbalancer1"),
    "x": ("acme", "compute1"),
    "z": ("acme", "management1"),
}
TENANTS = {"shop": "shop", "stock": "shop", "acme": "acme"}
TAINTS = ("node-role.kubernetes.io/control-plane", "cloudbang.platform/loadbalancer")
FRIENDS = {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}, "x": {"z"}, "z": {"x"}}
BALANCER = """
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec:
  type: LoadBalancer
  selector: {name: a}
  ports: [{port: 80, targetPort: 8080}]
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-b, namespace: shop}
spec:
  podSelector: {matchLabels: {name: a}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {name: b}}}]}]
"""
# Asks a web server again and again while a command is carried out on the host, until all is quiet for two seconds.
# Prints the longest time without an answer.
WATCH = """
import socket, subprocess, sys, time
address, command = sys.argv[1:]
start = answered = calm = time.monotonic()
longest, doing = 0.0, None
while time.monotonic() - start < 90:
    try:
        with socket.create_connection((address, 8080), 0.5) as web:
            web.settimeout(0.5)
            web.sendall(b"GET /health HTTP/1.0\\r\\n\\r\\n")
            fine = web.recv(64).startswith(b"HTTP/1")
    except OSError:
        fine = False
    now = time.monotonic()
    longest = max(longest, now - answered)
    if fine:
        answered = now
        if doing is None:
            doing = subprocess.Popen(["nsenter", "--target", "1", "--net", "sh", "-c", command], stdout=sys.stderr)
    if not fine or doing is None or doing.poll() is None:
        calm = now
    elif now - calm > 2:
        break
    time.sleep(0.05)
print(longest)
sys.exit(doing.poll() if doing else "no answer before the command")
"""
NETWORK = str(SCENARIO / "network.yml")
LIBRARY = "/usr/local/lib/cloudbang"
FLOWS = "ovs-ofctl -O OpenFlow14 --no-names --no-stats dump-flows br-goodnet | sort"
Pods = dict[str, dict[str, Any]]


def pod(name: str) -> dict[str, Any]:
    return dict(json.loads(kubectl("get", "pod", name, "--output=json", f"--namespace={PODS[name][0]}")))


def answering(source: dict[str, Any], *targets: str) -> set[str]:
    """Return those of these web servers that answer a pod."""
    options = "--silent --parallel --connect-timeout 2 --max-time 4 --noproxy '*' --write-out '%{http_code} %{url}\\n'"
    asked = " ".join(f"--output /dev/null http://{target}/health" for target in targets)
    lines = in_pod(source, f"curl {options} {asked}").stdout.split("\n")
    return {line.removeprefix("200 http://").removesuffix("/health") for line in lines if line.startswith("200 ")}


def fetches(source: dict[str, Any], target: str) -> bool:
    return bool(answering(source, target))


def reached(pods: Pods) -> dict[str, set[str]]:
    """Return for each pod those of the others that answer it."""

    def of(name: str) -> set[str]:
        targets = {ip_of(one): other for other, one in pods.items() if other != name}
        return {targets[address] for address in answering(pods[name], *targets)}

    return dict(zip(pods, at_once(of, pods), strict=True))


def at_once(function: Callable[[str], Any], arguments: Iterable[str]) -> list[Any]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, arguments))


def ip_of(one: dict[str, Any]) -> str:
    return f"{one['status']['podIP']}:8080"


def page(address: str, source: str = CONTROLLER) -> str:
    """Ask from the controller, which is outside of the cluster, by one of its addresses."""
    options = ("--silent", "--max-time", "3", "--noproxy", "*", "--interface", source)
    return run("curl", *options, f"http://{address}/health").stdout


def status(host: str) -> dict[str, Any]:
    return dict(json.loads(node(host).check_output("goodnetctl status --json")))


def succeeds(host: str, command: str) -> bool:
    """Return whether a command does on a host that may not answer just now."""
    try:
        return bool(node(host).run(command).rc == 0)
    except RuntimeError:
        return False


def main_pid(host: str, unit: str) -> str:
    return str(node(host).check_output(f"systemctl show --property=MainPID --value {unit}"))


def named(flows: str) -> list[str]:
    """Return flows other than those of the pods themselves, with the names of pods in place of their addresses."""
    running = [one for one in objects("pods", "--all-namespaces") if one["status"]["phase"] == "Running"]
    names = {
        one["status"]["podIP"]: f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in running
        if not one["spec"].get("hostNetwork") and one["status"].get("podIP")
    }
    lines = [line for line in flows.splitlines() if "cookie=0x676e0003" not in line]
    return sorted(re.sub(r"\b\d+(\.\d+){3}\b", lambda found: names.get(found[0], found[0]), line) for line in lines)


def namespace(name: str, tenant: str) -> dict[str, Any]:
    """Return a namespace of a tenant, whose pods may run on all hosts."""
    metadata = {
        "name": name,
        "labels": {"cloudbang.platform/tenant": tenant},
        "annotations": {"cloudbang.platform/tolerations": ",".join(TAINTS)},
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def on_host(name: str, where: str, host: str) -> dict[str, Any]:
    """Return a pod of a namespace for a host."""
    return web_pod(
        {"name": name, "namespace": where, "labels": {"name": name}},
        nodeSelector={"kubernetes.io/hostname": host},
        tolerations=[{"key": key, "operator": "Exists"} for key in TAINTS],
    )


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    selected = {"shop": "b", "stock": "c", "acme": "z"}
    tenants: list[dict[str, Any]] = []
    for name, tenant in TENANTS.items():
        tenants += [namespace(name, tenant), web_config(namespace=name)]
        tenants.append(web_service({"name": selected[name]}, "NodePort", namespace=name))
    kubectl("apply", "--filename=-", manifest=manifest_of(*tenants))
    for name in TENANTS:
        wait_for(lambda one=name: objects("serviceaccounts", f"--namespace={one}"))
    servers = [on_host(name, where, host) for name, (where, host) in PODS.items()]
    kubectl("apply", "--filename=-", manifest=manifest_of(*servers))
    for name, (where, _host) in PODS.items():
        kubectl("wait", "--for=condition=Ready", "--timeout=90s", f"--namespace={where}", f"pod/{name}")
    yield {name: pod(name) for name in PODS}
    kubectl("delete", "namespace", *TENANTS, "--timeout=60s")


def test_every_host_is_ready_and_tunnels_end_where_they_are_to() -> None:
    for host in ADDRESSES:
        found = status(host)
        assert (found["ready"], found["problems"], found["encapsulation"]) == (True, [], "vxlan")
        tunnels = {one["name"]: one["underlay"] for one in found["hosts"]}
        kernel = found["datapath"] == "system"
        assert tunnels == {
            name: address if kernel else address.replace("10.94.", "10.95.") for name, address in ADDRESSES.items()
        }
    for one in objects("nodes"):
        ready = [condition["status"] for condition in one["status"]["conditions"] if condition["type"] == "Ready"]
        assert ready == ["True"]


def test_a_configured_tenant_has_its_number_and_others_have_one_too(pods: Pods) -> None:
    (found,) = objects("configmaps", "--namespace=cloudbang-goodnet", "--field-selector=metadata.name=goodnet-tenants")
    entries = {name: json.loads(text) for name, text in found["data"].items()}
    assert entries["shop"] == {"vni": VNI, "external": EXTERNAL}
    assert entries["acme"]["vni"] not in (0, VNI)


def test_pods_reach_those_of_their_tenant_and_nobody_else(pods: Pods) -> None:
    assert reached(pods) == FRIENDS


def test_packets_as_large_as_the_network_says(pods: Pods) -> None:
    assert status("compute1")["mtu"] == MTU["vxlan"]
    sent = {
        size: in_pod(pods["a"], f"ping -M do -c 1 -W 2 -s {size - 28} {pods['b']['status']['podIP']}")
        for size in (MTU["vxlan"], MTU["vxlan"] + 1)
    }
    assert sent[MTU["vxlan"]].rc == 0
    assert "too long" in sent[MTU["vxlan"] + 1].stderr


def test_names_resolve_and_services_lead_to_the_tenants_own(pods: Pods) -> None:
    def services(name: str) -> set[str]:
        assert in_pod(pods[name], "getent ahostsv4 web.shop web.stock web.acme").rc == 0
        return answering(pods[name], "web.shop", "web.stock", "web.acme")

    own = {"shop": {"web.shop", "web.stock"}, "acme": {"web.acme"}}
    assert at_once(services, pods) == [own[TENANTS[namespace]] for namespace, _host in PODS.values()]


def test_hosts_and_clients_outside_reach_pods(pods: Pods) -> None:
    addresses = " ".join(f"{ip_of(one)}/health" for one in pods.values())
    for host in ADDRESSES:
        assert node(host).check_output(f"curl --silent --max-time 9 --noproxy '*' {addresses}") == "OK" * len(pods)
    ports = [
        one["spec"]["ports"][0]["nodePort"]
        for namespace in TENANTS
        for one in objects("services", f"--namespace={namespace}")
    ]
    assert [page(f"{address}:{port}") for address in ADDRESSES.values() for port in ports] == ["OK"] * 9


def test_pods_reach_of_hosts_what_is_for_pods(pods: Pods) -> None:
    """The API, and neither kubelet nor etcd nor SSH; at no address of a host."""
    host_ports = [one["spec"]["podCIDR"].replace(".0/24", ".1") for one in objects("nodes")]
    underlay = [address.replace("10.94.", "10.95.") for address in ADDRESSES.values()]
    open_ports = [f"{ADDRESSES['management1']}/6443", "10.94.13.100/6443", "10.96.0.1/443"]
    closed = [f"{address}/{port}" for address in (*ADDRESSES.values(), *host_ports, *underlay) for port in (10250, 22)]
    closed += [f"{ADDRESSES['management1']}/2379", "169.254.169.254/80"]

    def connects(name: str) -> list[str]:
        tries = "; ".join(
            f"timeout 1 bash -c '</dev/tcp/{one}' 2>/dev/null && echo {one}" for one in (*open_ports, *closed)
        )
        return list(in_pod(pods[name], f"bash -c {shlex.quote(tries + '; true')}").stdout.split())

    assert at_once(connects, ["a", "b", "x"]) == [open_ports] * 3


@pytest.mark.parametrize("by", sorted(ADDRESSES))
def test_a_stranger_routes_to_no_service_and_no_pod(pods: Pods, by: str) -> None:
    (service,) = objects("services", "--namespace=shop", "--field-selector=metadata.name=web")
    cluster, address = service["spec"]["clusterIP"], pods["a"]["status"]["podIP"]
    match = f"ip saddr {STRANGER} ip daddr {{ {cluster}, {address} }}"
    ways = route("stranger1", cluster, ADDRESSES[by]), route("stranger1", address, ADDRESSES[by])
    with ways[0], ways[1], witness(by, match) as arrived:
        assert open_from("stranger1", f"{cluster}:80", f"{address}:8080") == set()
        assert arrived() >= 2
    assert page(f"{ADDRESSES[by]}:{service['spec']['ports'][0]['nodePort']}") == "OK"


@pytest.mark.parametrize(("sender", "arrives"), [("management1", True), ("stranger1", False)])
def test_vxlan_of_strangers_is_dropped(pods: Pods, sender: str, arrives: bool) -> None:
    """A host of the cluster may do the same, which shows that the packet is right."""
    (end,) = (one["underlay"] for one in status("management1")["hosts"] if one["name"] == "compute1")
    words = (end, str(VNI), "0a:58:a9:fe:01:01", pods["b"]["status"]["podIP"])
    assert takes_vxlan(pods["a"], sender, words, 9999 if arrives else 9998) is arrives


def heard() -> int:
    """Return how often keepalived has heard of another master, or has changed its state."""
    said = node("loadbalancer1").check_output("journalctl --unit=keepalived --no-pager")
    return sum("eceived advert" in line or "Entering" in line for line in said.splitlines())


def test_adverts_of_a_stranger_do_not_move_the_virtual_address() -> None:
    before, counted = heard(), dropped("loadbalancer1", "input", "l4proto", "cloudbang-vrrp")
    node("stranger1").check_output(python(VRRP, ADDRESSES["loadbalancer1"], STRANGER, VIP, "254", "3"))
    assert dropped("loadbalancer1", "input", "l4proto", "cloudbang-vrrp") == counted + 3
    assert f" {VIP}/" in node("loadbalancer1").check_output("ip -oneline -4 address show")
    assert heard() == before


@pytest.mark.parametrize("name", ["a", "c"])
def test_adverts_of_pods_do_not_arrive(pods: Pods, name: str) -> None:
    target = ADDRESSES["loadbalancer1"]
    with witness("loadbalancer1", f"meta l4proto 112 ip daddr {target}") as arrived:
        sent = in_pod(pods[name], python(VRRP, target, ADDRESSES[PODS[name][1]], VIP, "254", "2"))
        assert sent.rc == 0, sent.stderr
        assert arrived() == 0
        node("stranger1").check_output(python(VRRP, target, STRANGER, VIP, "254", "1"))
        assert arrived() == 1


def test_the_platforms_pods_are_closed_to_tenants(pods: Pods) -> None:
    targets = closed_of_the_platform()
    assert len(targets) >= 7
    assert at_once(lambda name: open_from_pod(pods[name], *targets), pods) == [set()] * len(pods)


def test_who_breaks_into_the_gateway_has_its_own_secrets_only() -> None:
    confined("loadbalancer1", "traefik", *TRAEFIK)
    # It finds no Open vSwitch either, which answers root.
    ask = "curl --silent --max-time 2 --unix-socket /run/openvswitch/db.sock http://x/"
    assert node("loadbalancer1").run(ask).rc != 7
    assert inside("loadbalancer1", "traefik", ask).rc == 7


def test_who_breaks_into_the_gateway_reaches_of_hosts_what_pods_do(pods: Pods) -> None:
    ends = [one["underlay"] for one in status("loadbalancer1")["hosts"]]
    closed = {f"{address}:22" for address in (*ADDRESSES.values(), *ends, "127.0.0.1")}
    closed |= {f"{address}:10250" for address in ADDRESSES.values()}
    closed |= {f"{ADDRESSES['management1']}:{port}" for port in (2379, 5000)}
    meant = {f"{VIP}:6443", *(ip_of(one) for one in pods.values())}
    # They listen: root of the same host is told so.
    assert open_from("loadbalancer1", *closed, *meant) == closed | meant
    assert open_from_unit("loadbalancer1", "traefik", *closed, *meant) == meant


def test_a_host_writes_nothing_of_others(pods: Pods) -> None:
    pki = "/etc/kubernetes/pki"
    ask = f"curl --silent --output /dev/null --write-out '%{{http_code}} ' --noproxy '*' --cacert {pki}/ca.crt"
    ask += f" --cert {pki}/goodnet.crt --key {pki}/goodnet.key --header 'Content-Type: application/merge-patch+json'"
    underlay = {"metadata": {"annotations": {"cloudbang.platform/underlay-address": "10.95.13.99"}}}
    edge = {"metadata": {"labels": {"node-role.kubernetes.io/loadbalancer": ""}}}
    tenants = {"data": {"acme": f'{{"vni": {VNI}}}'}}
    for path, body in (
        ("nodes/management1", underlay),
        ("nodes/compute1", edge),
        ("namespaces/cloudbang-goodnet/configmaps/goodnet-tenants", tenants),
    ):
        url = f"https://10.94.13.100:6443/api/v1/{path}?dryRun=All"
        found = node("compute1").check_output(f"{ask} --request PATCH --data {shlex.quote(json.dumps(body))} '{url}'")
        assert found.strip() in ("403", "422"), path


def test_a_kubelet_leads_nobody_astray(pods: Pods) -> None:
    """The names of policies in the answers: nothing else of the API server stands in the way of these."""
    pki = "/etc/kubernetes/pki"
    ask = f"curl --silent --noproxy '*' --cacert {pki}/ca.crt --cert {pki}/kubelet-client.crt"
    ask += f" --key {pki}/kubelet-client.key --header 'Content-Type: application/merge-patch+json' --request PATCH"
    own = next(one for one in pods.values() if one["spec"]["nodeName"] == "compute1")["metadata"]
    other = next(one for one in pods.values() if one["spec"]["nodeName"] != "compute1")["status"]["podIP"]
    tunnels = {"metadata": {"annotations": {"cloudbang.platform/underlay-address": "224.0.0.1"}}}
    status = f"namespaces/{own['namespace']}/pods/{own['name']}/status"
    for path, body, policy in (
        (status, {"status": {"podIP": other, "podIPs": [{"ip": other}]}}, "cloudbang-kubelet-pod-addresses"),
        ("nodes/compute1", {"metadata": {"labels": {"gpu": "yes"}}}, "cloudbang-kubelet-nodes"),
        ("nodes/compute1", {"spec": {"unschedulable": True}}, "cloudbang-kubelet-nodes"),
        ("nodes/compute1/status", {"status": {"addresses": []}}, "cloudbang-kubelet-nodes"),
        ("nodes/compute1", tunnels, "cloudbang-goodnet-kubelets"),
        ("nodes/compute1/status", tunnels, "cloudbang-goodnet-kubelets"),
    ):
        url = f"https://10.94.13.100:6443/api/v1/{path}?dryRun=All"
        assert policy in node("compute1").check_output(f"{ask} --data {shlex.quote(json.dumps(body))} '{url}'"), path


def test_logs_and_commands_go_through_the_kubelet(pods: Pods) -> None:
    assert "CoreDNS" in kubectl("exec", "x", "--namespace=acme", "--", "/coredns", "-version")


def test_a_trace_says_why(pods: Pods) -> None:
    host = node("compute1")
    dropped = host.run("goodnetctl trace shop/a acme/x --port 8080")
    assert dropped.rc == 1 and "tenant acme" in dropped.stdout and "is isolated" in dropped.stdout, dropped.stdout
    assert host.run("goodnetctl trace shop/a shop/b --port 8080").rc == 0


def test_open_tenants_and_peers(pods: Pods) -> None:
    kubectl("label", "namespace", "acme", "cloudbang.platform/network=open")
    wait_for(lambda: fetches(pods["a"], ip_of(pods["z"])), 10)
    assert not fetches(pods["z"], ip_of(pods["a"]))
    kubectl("label", "namespace", "acme", "cloudbang.platform/network-")
    wait_for(lambda: not fetches(pods["a"], ip_of(pods["z"])), 10)
    kubectl("annotate", "namespace", "acme", "cloudbang.platform/peers=shop")
    wait_for(lambda: fetches(pods["a"], ip_of(pods["x"])), 10)
    kubectl("annotate", "namespace", "acme", "cloudbang.platform/peers-")
    wait_for(lambda: not fetches(pods["a"], ip_of(pods["x"])), 10)


def test_a_policy_lets_in_whom_it_names(pods: Pods) -> None:
    kubectl("apply", "--filename=-", manifest=POLICY)
    wait_for(lambda: not fetches(pods["c"], ip_of(pods["a"])), 10)
    assert fetches(pods["b"], ip_of(pods["a"]))
    kubectl("delete", "networkpolicy", "only-b", "--namespace=shop")
    wait_for(lambda: fetches(pods["c"], ip_of(pods["a"])), 10)


def test_a_tenants_external_address_leads_in(pods: Pods) -> None:
    kubectl("apply", "--filename=-", manifest=BALANCER)
    wait_for(lambda: page(EXTERNAL) == "OK", 20)
    assert "loadbalancer1" in node("compute1").check_output("goodnetctl provider")
    wait_for(lambda: EXTERNAL in kubectl("get", "service", "outside", "--namespace=shop", "--output=json"), 10)
    # The provider network has clients of its own, and here the hosts are in it, too.
    assert page(EXTERNAL, GATEWAY) == "OK"
    for host in ("compute1", "management1"):
        assert succeeds(host, f"curl --silent --fail --max-time 3 --noproxy '*' http://{EXTERNAL}/health")


class Caller(http.server.BaseHTTPRequestHandler):
    """Tells who asks."""

    def do_GET(self) -> None:
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_tenants_leave_by_their_external_address_and_others_by_their_host(pods: Pods) -> None:
    with http.server.ThreadingHTTPServer((CONTROLLER, 0), Caller) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ask = f"curl --silent --max-time 3 --noproxy '*' http://{CONTROLLER}:{server.server_address[1]}/"
        left_by = {name: in_pod(one, ask).stdout for name, one in pods.items()}
        server.shutdown()
    hosts = {host: address.replace("10.94.", "10.95.") for host, address in ADDRESSES.items()}
    assert left_by == {name: EXTERNAL if where != "acme" else hosts[host] for name, (where, host) in PODS.items()}


def told(playbook: str, works: bool = False, **variables: Any) -> str:
    """Run a playbook with these variables for all hosts, and return what it says."""
    options = (f"--inventory={INVENTORY}", f"--extra-vars={json.dumps(variables)}")
    done = run("ansible-playbook", *options, playbook)
    assert (done.returncode == 0) is works, done.stdout + done.stderr
    return " ".join(done.stdout.split() + done.stderr.split())


def test_a_cluster_keeps_its_encapsulation() -> None:
    way = "install a second cluster and move the applications, or remove this one with cloudbang.platform.reset"
    said = told("cloudbang.platform.preflight", goodnet_encapsulation="gre")
    assert "network_change" in said and "vxlan, as the host runs with" in said and way in said
    said = told(NETWORK, goodnet_encapsulation="gre")
    assert "encapsulation: found vxlan, wanted gre" in said and way[1:] in said


def test_what_cannot_carry_tunnels_is_named() -> None:
    said = told("cloudbang.platform.preflight", goodnet_underlay_interface="eth7")
    assert "goodnet_underlay_interface" in said and "eth7, which the host has not" in said
    node("loadbalancer1").check_output("ip link set dev eth1 mtu 1300")
    try:
        said = told("cloudbang.platform.preflight", goodnet_mtu=1500)
    finally:
        node("loadbalancer1").check_output("ip link set dev eth1 mtu 1500")
    assert "the interface of the tunnels has 1500, and vxlan adds 50" in said
    assert "MTU 1300" in said and "1330 or more" in said
    attach = f"env PYTHONPATH={LIBRARY} /usr/bin/python3 -m goodnet.host.underlay attach"
    kept = node("compute1").run(f"{attach} eth0")
    assert kept.rc == 1 and "found eth1 attached to br-underlay, wanted eth0" in kept.stderr


def test_the_plugin_connects_a_network_namespace(pods: Pods) -> None:
    """As a container runtime calls it, without one."""
    host = node("compute1")

    def plugin(command: str, **more: Any) -> dict[str, Any]:
        config = json.dumps({"cniVersion": "1.1.0", "name": "cloudbang", "type": "goodnet", **more})
        names = "CNI_CONTAINERID=by-hand CNI_NETNS=/run/netns/by-hand CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin"
        pod_names = shlex.quote("CNI_ARGS=K8S_POD_NAMESPACE=shop;K8S_POD_NAME=by-hand;K8S_POD_UID=by-hand")
        done = host.run(
            f"echo {shlex.quote(config)} | env CNI_COMMAND={command} {names} {pod_names} /opt/cni/bin/goodnet"
        )
        assert done.rc == 0, done
        return dict(json.loads(done.stdout or "{}"))

    host.check_output("ip netns add by-hand")
    try:
        plugin("STATUS")
        added = plugin("ADD")
        asks = "ip netns exec by-hand curl --silent --connect-timeout 2 --max-time 4 --noproxy '*'"
        assert host.check_output(f"{asks} {ip_of(pods['b'])}/health") == "OK"
        assert host.run(f"{asks} {ip_of(pods['x'])}/health").rc != 0
        assert added["ips"][0]["address"] in host.check_output("ip -n by-hand address show dev eth0")
        assert f"mtu {MTU['vxlan']}" in host.check_output("ip -n by-hand link show dev eth0")
        plugin("CHECK", prevResult=added)
    finally:
        for _again in range(2):
            plugin("DEL")
        host.check_output("ip netns delete by-hand")
    assert "shop/by-hand" not in host.check_output("goodnetctl status")


def test_keys_are_for_their_owners_only() -> None:
    found = node("compute1").check_output("find /etc/goodnet /var/lib/goodnet /run/goodnet ! -type d -perm /077")
    assert found == ""


@pytest.mark.disruptive
@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        ("systemctl kill --signal=KILL goodnet-agent", 1.0),
        ("systemctl restart goodnet-agent goodnet-underlay goodnet-firewall", 1.0),
        ("systemctl kill --signal=KILL ovs-vswitchd", RETURNS_SECONDS),
        ("systemctl kill --signal=KILL ovsdb-server", RETURNS_SECONDS),
        ("systemctl restart openvswitch-switch", RETURNS_SECONDS),
        # The agent looks for what others have changed.
        ("ip address flush dev goodnet0; nft delete table ip goodnet; ovs-ofctl del-flows br-goodnet", 30.0),
    ],
)
def test_traffic_returns(pods: Pods, command: str, seconds: float) -> None:
    host = node("compute1")
    flows, pid = host.check_output(FLOWS), main_pid("compute1", "goodnet-agent")
    watched = in_pod(pods["a"], shlex.join(["python3", "-c", WATCH, pods["b"]["status"]["podIP"], command]))
    assert watched.rc == 0, watched
    print(f"{command}: {float(watched.stdout):.1f} s without an answer from another host")
    assert float(watched.stdout) < BUSY * seconds
    if "goodnet-agent" in command:
        wait_for(lambda: main_pid("compute1", "goodnet-agent") not in ("0", pid))
    wait_for(lambda: succeeds("compute1", "goodnetctl status"))
    wait_for(lambda: host.check_output(FLOWS) == flows)
    wait_for(lambda: succeeds("compute1", f"curl --silent --max-time 2 --noproxy '*' {ip_of(pods['b'])}/health"), 45)
    assert reached(pods) == FRIENDS
    assert fetches(pods["a"], "web.shop")


@pytest.mark.disruptive
def test_new_pods_come_up_after_all_that_and_old_ones_leave_nothing(pods: Pods) -> None:
    before = status("compute1")["pods"]
    kubectl("apply", "--filename=-", manifest=manifest_of(on_host("d", "shop", "compute1")))
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", "--namespace=shop", "pod/d")
    assert fetches(pods["b"], ip_of(json.loads(kubectl("get", "pod", "d", "--output=json", "--namespace=shop"))))
    kubectl("delete", "pod", "d", "--namespace=shop")
    wait_for(lambda: status("compute1")["pods"] == before, 20)
    wires = node("compute1").check_output("ls /sys/class/net | grep -cE '^gn[0-9a-f]{12}$'")
    assert int(wires) == len(before)


@pytest.mark.disruptive
def test_a_host_that_boots_again_is_as_before(pods: Pods) -> None:
    host = node("compute1")
    looks = (
        "ip -4 address show dev br-underlay | grep inet",
        "ovs-vsctl get Interface eth1 ofport",
        "ovs-vsctl list-br",
    )
    flows, before = named(host.check_output(FLOWS)), [host.check_output(look) for look in looks]
    assert run("docker", "restart", "--time=30", "cloudbang-molecule-goodnet-compute1").returncode == 0
    wait_for(lambda: succeeds("compute1", "goodnetctl status"), 90)
    assert [host.check_output(look) for look in looks] == before
    # Until the kubelet has said so the pods still count as ready.
    for name in (name for name, (_ignored, where) in PODS.items() if where == "compute1"):
        wait_for(lambda one=name: pod(one)["status"]["containerStatuses"][0]["restartCount"] > 0, 90)
        kubectl("wait", "--for=condition=Ready", "--timeout=90s", f"--namespace={PODS[name][0]}", f"pod/{name}")
    pods.update({name: pod(name) for name in PODS})
    wait_for(lambda: reached(pods) == FRIENDS)
    # The agent hears of the new addresses of the other pods when the kubelet has told the API server.
    with suppress(AssertionError):
        wait_for(lambda: named(host.check_output(FLOWS)) == flows, 60)
    assert named(host.check_output(FLOWS)) == flows


@pytest.mark.disruptive
def test_what_was_changed_or_stopped_is_put_right(pods: Pods) -> None:
    host = node("compute1")
    host.check_output("systemctl stop goodnet-agent")
    asked = host.run("""echo '{"cniVersion": "1.1.0"}' | env CNI_COMMAND=STATUS /opt/cni/bin/goodnet""")
    # What the specification says for: pods cannot be added now.
    assert (asked.rc, json.loads(asked.stdout)["code"]) == (1, 50)
    host.check_output("rm /opt/cni/bin/goodnet /run/goodnet/agent.sock -f")
    node("management1").check_output("sed -i s/vxlan/gre/ /etc/goodnet/agent.yaml")
    changed = changes(converge(playbook=NETWORK))
    assert {line.split(":")[0] for line in changed} == {"compute1", "management1"}, changed
    wait_for(lambda: reached(pods) == FRIENDS, 20)


@pytest.mark.disruptive
def test_gre_carries_the_same(pods: Pods) -> None:
    """Without what the cluster remembers, this is an installation with the other encapsulation on hosts that run."""
    kubectl("delete", "configmap", "goodnet-settings", "--namespace=cloudbang-goodnet")
    told(NETWORK, works=True, goodnet_encapsulation="gre")
    for host in ADDRESSES:
        wait_for(lambda one=host: status(one)["ready"])
        assert (status(host)["encapsulation"], status(host)["mtu"]) == ("gre", MTU["gre"])
        assert node(host).check_output("ovs-vsctl get Interface goodnet-tun type") == "gre"
    wait_for(lambda: reached(pods) == FRIENDS, 20)
