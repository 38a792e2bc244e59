# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods on hosts of each kind reach each other as policies allow, names and services, and are reached from outside."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scenario import (
    STATE,
    changes,
    confined,
    converge,
    in_pod,
    kubectl,
    manifest_of,
    module,
    node,
    objects,
    run,
    wait_for,
    web_config,
    web_ingress,
    web_pod,
    web_service,
)
from walls import TRAEFIK

ADDRESSES = {"management1": "10.94.12.11", "compute1": "10.94.12.21", "loadbalancer1": "10.94.12.31"}
GATEWAY = ADDRESSES["loadbalancer1"]
PODS = {"a": "compute1", "b": "management1", "c": "loadbalancer1"}
CA = STATE / "pki" / "kubernetes-ca.crt"
KUBELET_CA = STATE / "pki" / "kubelet-ca.crt"
GATEWAY_CA = STATE / "pki" / "gateway-ca.crt"
NAMESPACE = "--namespace=molecule"
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-b}
spec:
  podSelector: {matchLabels: {name: a}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {name: b}}}]}]
"""


def on_host(name: str, host: str, serves: str = "nothing") -> dict[str, Any]:
    """Return a pod for a host."""
    return web_pod({"name": name, "labels": {"name": name, "serves": serves}}, nodeName=host)


def pod(name: str) -> dict[str, Any]:
    return dict(json.loads(kubectl("get", "pod", name, "--output=json", NAMESPACE)))


def wait_until_ready(*names: str) -> None:
    kubectl("wait", "--for=condition=Ready", "--timeout=90s", NAMESPACE, *(f"pod/{name}" for name in names))


def fetches(source: dict[str, Any], target: str) -> bool:
    """Return whether a web server answers a pod."""
    answer = in_pod(
        source, f"curl --silent --fail --connect-timeout 1 --max-time 3 --noproxy '*' http://{target}/health"
    )
    return bool(answer.rc == 0 and answer.stdout == "OK")


def ip_of(one: dict[str, Any]) -> str:
    return f"{one['status']['podIP']}:8080"


def page(domain: str, *options: str, scheme: str = "http") -> str:
    """Ask the gateway from the controller. Return the HTTP status, or 000 when no connection came about."""
    port = 80 if scheme == "http" else 443
    quiet = ("--silent", "--output", "/dev/null", "--max-time", "3", "--noproxy", "*", "--write-out", "%{http_code}")
    way = ("--connect-to", f"{domain}:{port}:{GATEWAY}:{port}")
    return run("curl", *quiet, *way, *options, f"{scheme}://{domain}/health").stdout


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that the application brings."""
    path = tmp_path_factory.mktemp("tls")
    made = run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
        "-subj", "/CN=secure.example.org", "-addext", "subjectAltName=DNS:secure.example.org",
        "-keyout", str(path / "tls.key"), "-out", str(path / "tls.crt"),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return path


@pytest.fixture(scope="module")
def pods(certificate: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """One pod on each host; the one on the compute host is served."""
    kubectl("create", "namespace", "molecule")
    kubectl(
        "create", "secret", "tls", "secure", NAMESPACE, f"--cert={certificate}/tls.crt", f"--key={certificate}/tls.key"
    )
    wait_for(lambda: objects("serviceaccounts", NAMESPACE))
    serving = [
        web_config(),
        web_service({"serves": "web"}, "NodePort"),
        web_ingress(
            "web.example.org",
            "secure.example.org",
            tls=[{"hosts": ["secure.example.org"], "secretName": "secure"}],
        ),
    ]
    servers = [on_host(name, host, "web" if name == "a" else "nothing") for name, host in PODS.items()]
    kubectl("apply", "--filename=-", NAMESPACE, manifest=manifest_of(*serving, *servers))
    wait_until_ready(*PODS)
    yield {name: pod(name) for name in PODS}
    kubectl("delete", "namespace", "molecule", "--timeout=60s")


def test_every_host_is_a_node_with_its_address_and_taint() -> None:
    found = {one["metadata"]["name"]: one for one in objects("nodes")}
    assert set(found) == set(ADDRESSES)
    taints = {
        "management1": ["node-role.kubernetes.io/control-plane"],
        "compute1": [],
        "loadbalancer1": ["cloudbang.platform/loadbalancer"],
    }
    for name, one in found.items():
        ready = [condition["status"] for condition in one["status"]["conditions"] if condition["type"] == "Ready"]
        internal = [address["address"] for address in one["status"]["addresses"] if address["type"] == "InternalIP"]
        assert (ready, internal) == (["True"], [ADDRESSES[name]])
        assert [taint["key"] for taint in one["spec"].get("taints", [])] == taints[name]


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_the_kubelet_answers_the_api_only(name: str) -> None:
    ask = (
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--max-time",
        "5",
        "--noproxy",
        "*",
        "--write-out",
        "%{http_code}",
    )
    url = f"https://{ADDRESSES[name]}:10250/pods"
    assert run(*ask, "--cacert", str(KUBELET_CA), url).stdout == "401"
    # Who trusts the cluster's authority takes no kubelet for an API server.
    assert run(*ask, "--cacert", str(CA), url).stdout == "000"
    assert run(*ask, "--cacert", str(KUBELET_CA), url.replace("10250", "10255")).stdout == "000"


@pytest.mark.parametrize("name", sorted(ADDRESSES))
@pytest.mark.parametrize("page", ["metrics", "configz"])
def test_what_kube_proxy_tells_is_for_root(name: str, page: str) -> None:
    ask = f"curl --silent --max-time 5 --output /dev/null --write-out '%{{http_code}}' http://127.0.0.1:10249/{page}"
    assert node(name).check_output(ask) == "200"
    assert node(name).run(f"setpriv --reuid=nobody --regid=nogroup --clear-groups {ask}").stdout == "000"


def test_logs_and_commands_go_through_the_kubelet(pods: dict[str, dict[str, Any]]) -> None:
    assert "CoreDNS" in kubectl("logs", "a", NAMESPACE)
    assert "CoreDNS" in kubectl("exec", "c", NAMESPACE, "--", "/coredns", "-version")


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "c"), ("c", "a")])
def test_pods_on_different_hosts_reach_each_other(
    pods: dict[str, dict[str, Any]], source: str, target: str
) -> None:  # fmt: skip
    assert fetches(pods[source], ip_of(pods[target]))
    assert fetches(pods[target], ip_of(pods[source]))


def test_pods_have_addresses_of_their_own_network(pods: dict[str, dict[str, Any]]) -> None:
    addresses = {one["status"]["podIP"] for one in pods.values()}
    assert len(addresses) == len(PODS)
    assert all(address.startswith("10.244.") for address in addresses)


@pytest.mark.parametrize("name", sorted(PODS))
def test_names_of_services_resolve_and_lead_there(pods: dict[str, dict[str, Any]], name: str) -> None:
    service = next(one for one in objects("services", NAMESPACE) if one["metadata"]["name"] == "web")
    for alias in ("web", "web.molecule", "web.molecule.svc.cluster.local"):
        assert in_pod(pods[name], f"getent ahostsv4 {alias}").stdout.split()[:1] == [service["spec"]["clusterIP"]]
    assert fetches(pods[name], "web")
    assert in_pod(pods[name], "getent ahostsv4 nobody.molecule.svc.cluster.local").rc != 0


def test_dns_does_not_depend_on_one_host() -> None:
    dns = objects("pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns")
    assert len({one["spec"]["nodeName"] for one in dns}) == len(dns) == 2


def test_every_node_is_measured() -> None:
    def measured() -> set[str]:
        answer = kubectl("get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes")
        return {one["metadata"]["name"] for one in json.loads(answer)["items"]}

    wait_for(lambda: measured() == set(ADDRESSES), 60)


@pytest.mark.parametrize("host", sorted(ADDRESSES))
def test_a_node_port_answers_on_every_node(pods: dict[str, dict[str, Any]], host: str) -> None:
    service = next(one for one in objects("services", NAMESPACE) if one["metadata"]["name"] == "web")
    url = f"http://{ADDRESSES[host]}:{service['spec']['ports'][0]['nodePort']}/health"
    assert run("curl", "--silent", "--max-time", "5", "--noproxy", "*", url).stdout == "OK"


def test_a_policy_lets_in_whom_it_names(pods: dict[str, dict[str, Any]]) -> None:
    target = ip_of(pods["a"])
    kubectl("apply", "--filename=-", NAMESPACE, manifest=POLICY)
    try:
        wait_for(lambda: not fetches(pods["c"], target), 10)
        assert fetches(pods["b"], target)
        assert not fetches(pods["c"], target)
        # It is about this pod only.
        assert fetches(pods["c"], ip_of(pods["b"]))
    finally:
        kubectl("delete", "networkpolicy", "only-b", NAMESPACE)
    wait_for(lambda: fetches(pods["c"], target), 10)


def test_the_gateway_serves_known_domains(pods: dict[str, dict[str, Any]]) -> None:
    wait_for(lambda: page("web.example.org") == "200", 10)
    assert page("other.example.org") == "404"


def test_the_gateway_shows_the_applications_certificate(pods: dict[str, dict[str, Any]], certificate: Path) -> None:
    own = ("--cacert", str(certificate / "tls.crt"))
    wait_for(lambda: page("secure.example.org", *own, scheme="https") == "200", 10)
    assert page("secure.example.org", "--cacert", str(CA), scheme="https") == "000"
    # What has none is shown the gateway's own.
    assert page("gateway.cloudbang.internal", "--cacert", str(GATEWAY_CA), scheme="https") == "404"
    old = ("--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert page("secure.example.org", *own, *old, scheme="https") == "000"


@pytest.mark.parametrize("authority", [CA, GATEWAY_CA])
def test_the_gateway_s_certificate_is_good_for_no_host_and_not_for_the_api(authority: Path) -> None:
    for name in (*ADDRESSES, *ADDRESSES.values(), "kubernetes", "kubernetes.default.svc", "10.96.0.1"):
        assert page(name, "--cacert", str(authority), scheme="https") == "000"
    host = node("loadbalancer1")
    keys = host.check_output("find / -xdev -name '*.key' -path '/etc/*'").split()
    assert "/etc/traefik/gateway.key" in keys
    for key in keys:
        certificate = key.removesuffix(".key") + ".crt"
        assert host.run("openssl verify -CAfile /etc/kubernetes/pki/ca.crt -purpose sslserver %s", certificate).rc != 0


def test_who_breaks_into_the_gateway_has_its_own_secrets_only() -> None:
    confined("loadbalancer1", "traefik", *TRAEFIK)
    # Nothing of the above is for want of what is looked for.
    ask = "curl --silent --http2-prior-knowledge --unix-socket /run/containerd/containerd.sock http://x/"
    assert node("loadbalancer1").run(ask).rc != 7


def test_what_the_gateway_counts_is_for_root() -> None:
    ask = "curl --silent --max-time 5 http://127.0.0.1:8406/metrics"
    assert "traefik_" in node("loadbalancer1").check_output(ask)
    assert node("loadbalancer1").run(f"setpriv --reuid=nobody --regid=nogroup --clear-groups {ask}").rc == 7


def test_the_metrics_server_is_known_by_its_certificate() -> None:
    found = json.loads(kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "--output=json"))
    assert not found["spec"].get("insecureSkipTLSVerify")
    assert base64.b64decode(found["spec"]["caBundle"]) == (STATE / "pki" / "metrics-ca.crt").read_bytes()


ATTACKS = [
    ("calico-node", "PATCH", "/api/v1/nodes/management1/status", {"metadata": {"labels": {"a": "b"}}}),
    ("calico-node", "PATCH", "/api/v1/nodes/compute1/status", {"metadata": {"labels": {"a": "b"}}}),
    (
        "calico-node",
        "POST",
        "/apis/crd.projectcalico.org/v1/globalnetworkpolicies",
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": "evil"},
            "spec": {"types": ["Ingress"], "ingress": [{"action": "Allow"}]},
        },
    ),
    ("calico-node", "DELETE", "/apis/crd.projectcalico.org/v1/ippools/default-ipv4-ippool", {}),
    (
        "calico-cni",
        "PATCH",
        "/api/v1/namespaces/molecule/pods/b/status",
        {"status": {"podIPs": [{"ip": "10.244.0.9"}]}},
    ),
]


def asked(name: str, verb: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask with what compute1 has: whoever holds the host has that, too. Return the answer."""
    pki = "/etc/kubernetes/pki"
    kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
    ask = f"curl --silent --noproxy '*' --cacert {pki}/ca.crt"
    ask += f" --cert {pki}/{name}.crt --key {pki}/{name}.key --request {verb} --header 'Content-Type: {kind}'"
    url = f"https://{ADDRESSES['management1']}:6443{path}?dryRun=All"
    return dict(json.loads(node("compute1").check_output(f"{ask} --data '{json.dumps(body)}' '{url}'")))


@pytest.mark.parametrize(("name", "verb", "path", "body"), ATTACKS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_node_writes_nothing_of_others(
    pods: dict[str, dict[str, Any]], name: str, verb: str, path: str, body: dict[str, Any]
) -> None:
    assert asked(name, verb, path, body)["code"] in (403, 422)


def test_a_kubelet_leads_nobody_astray(pods: dict[str, dict[str, Any]]) -> None:
    """The names of policies in the answers: nothing else of the API server stands in the way of these."""
    own, status = "/api/v1/nodes/compute1", "/api/v1/namespaces/molecule/pods/a/status"
    uid = next(one["metadata"]["uid"] for one in objects("nodes") if one["metadata"]["name"] == "compute1")
    owner = {"apiVersion": "v1", "kind": "Node", "name": "compute1", "uid": uid, "controller": True}
    metadata = {"name": "dns", "labels": {"k8s-app": "kube-dns"}, "ownerReferences": [owner]}
    metadata["annotations"] = {"kubernetes.io/config.mirror": "x"}
    spec = {"nodeName": "compute1", "containers": [{"name": "main", "image": "none"}]}
    mirror = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    host, other = ADDRESSES["management1"], pods["b"]["status"]["podIP"]
    noted = {"metadata": {"annotations": {"cni.projectcalico.org/podIP": host}}}
    for verb, path, body, policy in (
        ("POST", "/api/v1/namespaces/kube-system/pods", mirror, "cloudbang-kubelet-pods"),
        ("PATCH", status, {"status": {"podIP": host, "podIPs": [{"ip": host}]}}, "cloudbang-kubelet-pod-addresses"),
        ("PATCH", status, {"status": {"podIP": other, "podIPs": [{"ip": other}]}}, "cloudbang-calico-pod-addresses"),
        ("PATCH", status, noted, "cloudbang-kubelet-pods"),
        ("PATCH", own, {"metadata": {"labels": {"gpu": "yes"}}}, "cloudbang-kubelet-nodes"),
        ("PATCH", own, {"spec": {"unschedulable": True}}, "cloudbang-kubelet-nodes"),
        ("PATCH", f"{own}/status", {"status": {"addresses": []}}, "cloudbang-kubelet-nodes"),
    ):
        answer = asked("kubelet-client", verb, path, body)
        assert policy in answer.get("message", ""), answer


@pytest.mark.parametrize("host", sorted(ADDRESSES))
def test_nothing_that_kubelets_write_is_refused(pods: dict[str, dict[str, Any]], host: str) -> None:
    """Not for long: an API server may come to know a Node or a block of addresses after the kubelet uses it."""
    ask = "journalctl --unit kubelet --output cat --since=-30s"
    wait_for(lambda: "denied request" not in node(host).check_output(ask), 60)


def test_what_may_write_for_all_nodes_runs_on_management_hosts() -> None:
    for selector in ("app.kubernetes.io/name=calico-kube-controllers", "k8s-app=metrics-server"):
        found = objects("pods", "--namespace=kube-system", f"--selector={selector}")
        assert {one["spec"]["nodeName"] for one in found} == {"management1"}


@pytest.mark.parametrize("host", sorted(ADDRESSES))
def test_nothing_that_the_agents_ask_for_is_refused(pods: dict[str, dict[str, Any]], host: str) -> None:
    units = "--unit calico-startup --unit calico-tunnel --unit calico-felix"
    logs = node(host).check_output(f"journalctl {units} --output cat; cat /var/log/calico/cni.log")
    refused = [line for line in logs.splitlines() if "forbidden" in line.lower() or "denied request" in line]
    assert refused == []


def test_the_identity_that_nodes_had_in_common_has_no_rights() -> None:
    names = {one["metadata"]["name"] for one in objects("clusterrolebindings")}
    assert names.isdisjoint({"cloudbang:calico-node", "cloudbang:calico-cni"})
    assert {"cloudbang:calico-nodes", "cloudbang:calico-cnis"} <= names


def main_pid(host: str, unit: str) -> str:
    return str(node(host).check_output(f"systemctl show --property=MainPID --value {unit}"))


@pytest.mark.disruptive
def test_a_killed_gateway_comes_back(pods: dict[str, dict[str, Any]], certificate: Path) -> None:
    before = main_pid("loadbalancer1", "traefik")
    node("loadbalancer1").check_output("systemctl kill --signal=KILL traefik")
    wait_for(lambda: page("web.example.org") == "200", 15)
    assert main_pid("loadbalancer1", "traefik") not in ("0", before)
    assert page("secure.example.org", "--cacert", str(certificate / "tls.crt"), scheme="https") == "200"


@pytest.mark.disruptive
def test_killed_agents_come_back_and_pods_do_not_notice(pods: dict[str, dict[str, Any]]) -> None:
    agents = ("kubelet", "kube-proxy", "calico-felix", "containerd")
    host = node("compute1")
    before = {unit: main_pid("compute1", unit) for unit in agents}
    # Not what containerd runs: each container has a process of its own that watches over it.
    host.check_output(f"systemctl kill --kill-whom=main --signal=KILL {' '.join(agents)}")
    # Nothing of what runs needs them.
    assert page("web.example.org") == "200"
    for unit in agents:
        wait_for(lambda one=unit: main_pid("compute1", one) not in ("0", before[one]), 30)
    # They do their work again: one more pod, which the service and the policies know.
    kubectl("apply", "--filename=-", NAMESPACE, manifest=manifest_of(on_host("d", "compute1")))
    wait_until_ready("d")
    wait_for(lambda: fetches(pods["c"], ip_of(pod("d"))), 15)
    wait_for(lambda: fetches(pod("d"), "web"), 15)
    restarts = [one["status"]["containerStatuses"][0]["restartCount"] for one in objects("pods", NAMESPACE)]
    assert restarts == [0, 0, 0, 0]


def kubelet_status(authority: Path) -> str:
    """Return how the kubelet of compute1 answers someone who trusts this authority."""
    ask = ("--silent", "--output", "/dev/null", "--max-time", "5", "--noproxy", "*", "--write-out", "%{http_code}")
    url = f"https://{ADDRESSES['compute1']}:10250/pods"
    return run("curl", *ask, "--cacert", str(authority), url).stdout


@pytest.mark.disruptive
def test_what_was_changed_or_stopped_or_is_of_an_older_version_is_put_right(pods: dict[str, dict[str, Any]]) -> None:
    """In an older version root had all files, and the cluster's authority signed for kubelets and the gateway."""
    path = "/etc/kubernetes/pki/kubelet-server"
    older = {
        "authority": "kubernetes-ca",
        "common_name": "system:node:compute1",
        "organizations": ["system:nodes"],
        "names": ["compute1", ADDRESSES["compute1"]],
        "usages": ["server"],
    }
    files = [{"path": path, "certificate": older}]
    made = module("compute1", "cloudbang.platform.converge", authorities=str(STATE / "pki"), files=files)
    assert made["issued"] == {path: "another authority signed it"}
    wait_for(lambda: kubelet_status(CA) == "401", 90)
    assert "CoreDNS" in kubectl("logs", "a", NAMESPACE)
    node("management1").check_output("chown --recursive root:root /etc/kubernetes /var/log/kubernetes")
    node("compute1").check_output("systemctl stop kube-proxy && sed -i /^maxPods/d /var/lib/kubelet/config.yaml")
    node("compute1").check_output("nft delete table inet cloudbang")
    node("management1").check_output("systemctl stop calico-felix && rm /opt/cni/bin/calico")
    node("loadbalancer1").check_output("sed -i s/:443/:8443/ /etc/traefik/traefik.yaml && systemctl restart traefik")
    assert page("secure.example.org", "--insecure", scheme="https") == "000"
    node("loadbalancer1").check_output("chown --recursive root:root /etc/traefik && touch /etc/traefik/default.key")

    changed = changes(converge())
    assert {line.split(":")[0] for line in changed} == set(ADDRESSES)
    assert page("secure.example.org", "--insecure", scheme="https") == "200"
    assert node("compute1").check_output("systemctl is-active kube-proxy") == "active"
    assert "maxPods" in node("compute1").file("/var/lib/kubelet/config.yaml").content_string
    assert "reject" in node("compute1").check_output("nft list table inet cloudbang")
    assert node("management1").check_output("systemctl is-active calico-felix") == "active"
    assert fetches(pods["b"], "web")

    wait_for(lambda: kubelet_status(KUBELET_CA) == "401", 90)
    assert kubelet_status(CA) == "000"
    assert "CoreDNS" in kubectl("logs", "a", NAMESPACE)
    assert not node("loadbalancer1").file("/etc/traefik/default.key").exists
    node("management1").check_output("systemctl restart kube-apiserver kube-controller-manager kube-scheduler")
    node("loadbalancer1").check_output("systemctl restart traefik")
    wait_for(lambda: page("web.example.org") == "200", 30)
    wrong = "find /var/log/kubernetes ! -user kube-apiserver"
    assert node("management1").check_output(wrong) == ""
    assert changes(converge()) == []


@pytest.mark.disruptive
def test_the_gateway_follows_the_pods(pods: dict[str, dict[str, Any]]) -> None:
    seconds = []
    for gone, name in (("a", "b"), ("b", "c")):
        kubectl("delete", "pod", gone, NAMESPACE, "--force", "--grace-period=0")
        # An application without a pod is no unknown domain.
        wait_for(lambda: page("web.example.org") == "503", 20)
        start = time.monotonic()
        kubectl("label", "pod", name, "serves=web", "--overwrite", NAMESPACE)
        while page("web.example.org") != "200":
            assert time.monotonic() - start < 10
            time.sleep(0.02)
        seconds.append(time.monotonic() - start)
    print("seconds until a new pod was served:", [round(one, 2) for one in seconds])
    # The machine may be busy with something else once.
    assert min(seconds) < 1
