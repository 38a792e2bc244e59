# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pods reach those of their tenant on every host and nobody else's, also after what can happen to a host."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scenario import INVENTORY, changes, converge, in_pod, kubectl, node, objects, run, wait_for

ADDRESSES = {"management1": "10.94.13.11", "compute1": "10.94.13.21", "loadbalancer1": "10.94.13.31"}
EXTERNAL, VNI = "10.94.13.200", 700
# Of the controller, outside of the nodes' own network: whoever goes there leaves the cluster.
CONTROLLER = "10.95.13.1"
# Namespace and host of each pod. shop and stock are one tenant.
PODS = {
    "a": ("shop", "compute1"),
    "b": ("shop", "management1"),
    "c": ("stock", "loadbalancer1"),
    "x": ("acme", "compute1"),
    "y": ("acme", "management1"),
}
TENANTS = {"shop": "shop", "stock": "shop", "acme": "acme"}
# The platform's own image is a web server too.
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{name: {name}}}
spec:
  nodeName: {host}
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: registry.cloudbang.internal:5000/coredns:current
      args: [-conf, /etc/web/Corefile]
      readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
      volumeMounts: [{{name: config, mountPath: /etc/web}}]
  volumes: [{{name: config, configMap: {{name: web}}}}]
---
"""
NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels: {{cloudbang.platform/tenant: {tenant}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: web, namespace: {namespace}}}
data:
  Corefile: |
    .:1053 {{
        health :8080
        errors
    }}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec:
  type: NodePort
  selector: {{name: {selected}}}
  ports: [{{port: 80, targetPort: 8080}}]
---
"""
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
Pods = dict[str, dict[str, Any]]


def pod(name: str) -> dict[str, Any]:
    return dict(json.loads(kubectl("get", "pod", name, "--output=json", f"--namespace={PODS[name][0]}")))


def fetches(source: dict[str, Any], target: str) -> bool:
    """Return whether a web server answers a pod."""
    answer = in_pod(
        source, f"curl --silent --fail --connect-timeout 1 --max-time 3 --noproxy '*' http://{target}/health"
    )
    return bool(answer.rc == 0 and answer.stdout == "OK")


def ip_of(one: dict[str, Any]) -> str:
    return f"{one['status']['podIP']}:8080"


def page(address: str) -> str:
    """Ask from the controller, which is outside of the cluster."""
    return run("curl", "--silent", "--max-time", "3", "--noproxy", "*", f"http://{address}/health").stdout


def status(host: str) -> dict[str, Any]:
    return dict(json.loads(node(host).check_output("goodnetctl status --json")))


def main_pid(host: str, unit: str) -> str:
    return str(node(host).check_output(f"systemctl show --property=MainPID --value {unit}"))


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    selected = {"shop": "b", "stock": "c", "acme": "y"}
    manifest = "".join(
        NAMESPACE.format(namespace=name, tenant=tenant, selected=selected[name]) for name, tenant in TENANTS.items()
    )
    kubectl("apply", "--filename=-", manifest=manifest)
    for name in TENANTS:
        wait_for(lambda one=name: objects("serviceaccounts", f"--namespace={one}"))
    manifest = "".join(POD.format(name=name, namespace=where, host=host) for name, (where, host) in PODS.items())
    kubectl("apply", "--filename=-", manifest=manifest)
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


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "a"), ("a", "c"), ("c", "b"), ("x", "y")])
def test_pods_of_one_tenant_reach_each_other(pods: Pods, source: str, target: str) -> None:
    assert fetches(pods[source], ip_of(pods[target]))


@pytest.mark.parametrize(("source", "target"), [("a", "x"), ("x", "a"), ("a", "y"), ("y", "a"), ("x", "c"), ("c", "y")])
def test_pods_of_other_tenants_do_not(pods: Pods, source: str, target: str) -> None:
    assert not fetches(pods[source], ip_of(pods[target]))


@pytest.mark.parametrize("name", sorted(PODS))
def test_names_resolve_and_services_lead_to_the_tenants_own(pods: Pods, name: str) -> None:
    own, other = ("shop", "acme") if TENANTS[PODS[name][0]] == "shop" else ("acme", "shop")
    assert fetches(pods[name], f"web.{own}")
    assert in_pod(pods[name], f"getent ahostsv4 web.{other}").rc == 0
    assert not fetches(pods[name], f"web.{other}")


@pytest.mark.parametrize("host", sorted(ADDRESSES))
def test_hosts_and_clients_outside_reach_pods(pods: Pods, host: str) -> None:
    for one in pods.values():
        assert node(host).check_output(f"curl --silent --max-time 3 --noproxy '*' {ip_of(one)}/health") == "OK"
    for namespace in TENANTS:
        (service,) = [
            one for one in objects("services", f"--namespace={namespace}") if one["metadata"]["name"] == "web"
        ]
        assert page(f"{ADDRESSES[host]}:{service['spec']['ports'][0]['nodePort']}") == "OK"


def test_logs_and_commands_go_through_the_kubelet(pods: Pods) -> None:
    assert "CoreDNS" in kubectl("exec", "x", "--namespace=acme", "--", "/coredns", "-version")


def test_a_trace_says_why(pods: Pods) -> None:
    host = node("compute1")
    dropped = host.run("goodnetctl trace shop/a acme/x --port 8080")
    assert dropped.rc == 1 and "tenant acme" in dropped.stdout and "is isolated" in dropped.stdout, dropped.stdout
    assert host.run("goodnetctl trace shop/a shop/b --port 8080").rc == 0


def test_open_tenants_and_peers(pods: Pods) -> None:
    kubectl("label", "namespace", "acme", "cloudbang.platform/network=open")
    wait_for(lambda: fetches(pods["a"], ip_of(pods["y"])), 10)
    assert not fetches(pods["y"], ip_of(pods["a"]))
    kubectl("label", "namespace", "acme", "cloudbang.platform/network-")
    wait_for(lambda: not fetches(pods["a"], ip_of(pods["y"])), 10)
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


def test_another_encapsulation_is_refused() -> None:
    refused = run(
        "ansible-playbook",
        f"--inventory={INVENTORY}",
        "--extra-vars=goodnet_encapsulation=gre",
        "cloudbang.platform.preflight",
    )
    assert refused.returncode != 0
    assert "network_change" in refused.stdout
    assert "vxlan, as the host runs with" in " ".join(refused.stdout.split())


def test_keys_are_for_their_owners_only() -> None:
    found = node("compute1").check_output("find /etc/goodnet /var/lib/goodnet /run/goodnet ! -type d -perm /077")
    assert found == ""


@pytest.mark.disruptive
@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        ("systemctl kill --signal=KILL goodnet-agent", 10),
        ("systemctl restart goodnet-agent", 10),
        ("systemctl kill --signal=KILL ovs-vswitchd", 15),
        ("systemctl restart ovs-vswitchd", 15),
        ("systemctl restart ovsdb-server", 15),
        ("systemctl kill --signal=KILL ovsdb-server", 15),
        ("systemctl restart openvswitch-switch", 15),
        ("ovs-ofctl del-flows br-goodnet", 60),
        ("ip address flush dev goodnet0", 60),
        ("systemctl restart goodnet-firewall", 5),
    ],
)
def test_traffic_returns(pods: Pods, command: str, seconds: int) -> None:
    host = node("compute1")
    before = main_pid("compute1", "goodnet-agent")
    host.check_output(command)
    start = time.monotonic()
    wait_for(lambda: fetches(pods["a"], ip_of(pods["b"])) and fetches(pods["b"], ip_of(pods["a"])), seconds)
    print(f"{command}: {time.monotonic() - start:.1f} s until pods on two hosts reached each other")
    if "goodnet-agent" in command:
        wait_for(lambda: main_pid("compute1", "goodnet-agent") not in ("0", before))
    wait_for(lambda: host.run("goodnetctl status").rc == 0, 30)
    wait_for(lambda: fetches(pods["a"], "web.shop"), 30)
    assert not fetches(pods["a"], ip_of(pods["x"]))
    assert not fetches(pods["y"], ip_of(pods["a"]))
    assert host.check_output(f"curl --silent --max-time 3 --noproxy '*' {ip_of(pods['b'])}/health") == "OK"


@pytest.mark.disruptive
def test_new_pods_come_up_after_all_that_and_old_ones_leave_nothing(pods: Pods) -> None:
    before = status("compute1")["pods"]
    kubectl("apply", "--filename=-", manifest=POD.format(name="d", namespace="shop", host="compute1"))
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", "--namespace=shop", "pod/d")
    assert fetches(pods["b"], ip_of(json.loads(kubectl("get", "pod", "d", "--output=json", "--namespace=shop"))))
    kubectl("delete", "pod", "d", "--namespace=shop")
    wait_for(lambda: status("compute1")["pods"] == before, 20)
    wires = node("compute1").check_output("ls /sys/class/net | grep -cE '^gn[0-9a-f]{12}$'")
    assert int(wires) == len(before)


@pytest.mark.disruptive
def test_a_host_that_boots_again_is_as_before(pods: Pods) -> None:
    assert run("docker", "restart", "--time=30", "cloudbang-molecule-goodnet-compute1").returncode == 0
    host = node("compute1")
    wait_for(lambda: host.run("goodnetctl status").rc == 0, 90)
    ready = ("wait", "--for=condition=Ready", "--timeout=90s")
    # Until the kubelet has said so the pods still count as ready.
    wait_for(lambda: pod("a")["status"]["containerStatuses"][0]["restartCount"] > 0, 90)
    kubectl(*ready, "--namespace=shop", "pod/a")
    kubectl(*ready, "--namespace=acme", "pod/x")
    again = {name: pod(name) for name in PODS}
    wait_for(lambda: fetches(again["a"], ip_of(again["b"])) and fetches(again["x"], ip_of(again["y"])), 30)
    assert not fetches(again["b"], ip_of(again["x"]))
    pods.update(again)
    assert changes(converge()) == []


@pytest.mark.disruptive
def test_what_was_changed_or_stopped_is_put_right(pods: Pods) -> None:
    node("compute1").check_output("systemctl stop goodnet-agent && rm /opt/cni/bin/goodnet /run/goodnet/agent.sock -f")
    node("management1").check_output("sed -i s/vxlan/gre/ /etc/goodnet/agent.yaml")
    changed = changes(converge("--extra-vars={preflight_ignore: [network_change]}"))
    assert {line.split(":")[0] for line in changed} == {"compute1", "management1"}
    wait_for(lambda: fetches(pods["a"], ip_of(pods["b"])), 20)
    assert changes(converge()) == []
