# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API answers over TLS to those it knows, keeps secrets secret, refuses what is forbidden, and comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from scenario import STATE, changes, confined, converge, inside, kubectl, node, objects, run, try_kubectl, wait_for

API = "https://10.94.11.11:6443"
HOST = "management1"
NAMESPACE = "--namespace=molecule"
NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: molecule}
---
apiVersion: v1
kind: Namespace
metadata:
  name: molecule-privileged
  labels: {pod-security.kubernetes.io/enforce: privileged}
---
apiVersion: v1
kind: Namespace
metadata:
  name: molecule-tenant
  labels: {cloudbang.platform/tenant: molecule-tenant}
"""
PLACED = """
apiVersion: v1
kind: Pod
metadata: {name: placed}
spec:
  nodeName: management1
  containers: [{name: main, image: none}]
"""
NODES = """
apiVersion: v1
kind: Node
metadata: {name: node-a}
---
apiVersion: v1
kind: Node
metadata: {name: node-b}
"""
PRIVILEGED = """
apiVersion: v1
kind: Pod
metadata: {name: privileged}
spec:
  hostPID: true
  containers: [{name: main, image: none, securityContext: {privileged: true}}]
"""
MIRROR = """
apiVersion: v1
kind: Pod
metadata:
  name: dns-node-a
  namespace: kube-system
  labels: {k8s-app: kube-dns}
  annotations: {kubernetes.io/config.mirror: x}
  ownerReferences: [{apiVersion: v1, kind: Node, name: node-a, uid: %s, controller: true}]
spec:
  nodeName: node-a
  containers: [{name: main, image: none}]
"""
CRITICAL = """
apiVersion: v1
kind: Pod
metadata: {name: critical}
spec:
  priorityClassName: system-cluster-critical
  containers: [{name: main, image: none}]
"""
EXTERNAL = """
apiVersion: v1
kind: Service
metadata: {name: external}
spec:
  externalIPs: [10.94.11.200]
  ports: [{port: 80}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers: [{name: main, image: none}]
"""
STATUS = ("--silent", "--output", "/dev/null", "--max-time", "10", "--noproxy", "*", "--write-out", "%{http_code}")
TRUST = ("--cacert", str(STATE / "pki" / "kubernetes-ca.crt"))


def status(path: str, *options: str, stdin: str = "") -> str:
    """Ask the API from the controller. Return the HTTP status, or 000 when no connection came about."""
    return run("curl", *STATUS, *TRUST, *options, f"{API}{path}", stdin=stdin).stdout


def token() -> str:
    return kubectl("create", "token", "default", NAMESPACE)


def with_token(path: str, text: str) -> str:
    return status(path, "--header", "@-", stdin=f"Authorization: Bearer {text}\n")


def pid(unit: str) -> str:
    return str(node(HOST).check_output(f"systemctl show --property=MainPID --value {unit}"))


def restarts(unit: str) -> int:
    """Return how often systemd started a service again that had ended by itself."""
    return int(node(HOST).check_output(f"systemctl show --property=NRestarts --value {unit}"))


def stored(key: str) -> bytes:
    """Return what etcd has under a key."""
    pki = "--cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/client.crt --key=/etc/etcd/pki/client.key"
    command = f"etcdctl {pki} --endpoints=https://10.94.11.11:2379 get --print-value-only {key} | base64"
    return base64.b64decode(node(HOST).check_output(command))


def audited(resource: str, name: str) -> list[dict[str, Any]]:
    """Return what the audit log says of the changes of an object."""
    lines = node(HOST).run(f"grep -F '\"{name}\"' /var/log/kubernetes/audit.log").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [
        one
        for one in events
        if one.get("objectRef", {}).get("resource") == resource
        and one["objectRef"].get("name") == name
        and one["verb"] in ("create", "patch")
    ]


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    kubectl("apply", "--filename=-", manifest=NAMESPACES)
    wait_for(lambda: objects("serviceaccounts", NAMESPACE))


@pytest.fixture(scope="module")
def nodes(namespaces: None) -> Iterator[None]:
    """Two nodes that are only known to the API."""
    kubectl("apply", "--filename=-", manifest=NODES)
    room = json.dumps({"status": {"capacity": {"pods": "10"}, "allocatable": {"pods": "10"}}})
    for name in ("node-a", "node-b"):
        kubectl("patch", "node", name, "--subresource=status", "--type=merge", f"--patch={room}")
    yield
    kubectl("delete", "nodes", "node-a", "node-b")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health_needs_no_credentials(path: str) -> None:
    assert status(path) == "200"


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1/secrets", "/apis", "/metrics", "/openapi/v3", "/version"])
def test_nothing_else_is_answered_without_credentials(path: str) -> None:
    assert status(path) == "401"


def test_the_api_is_spoken_over_tls_of_the_clusters_authority_only() -> None:
    assert run("curl", *STATUS, f"{API}/readyz").stdout == "000"
    assert run("curl", *STATUS, f"{API.replace('https', 'http')}/api").stdout in ("000", "400")
    old = ("--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert status("/readyz", *old) == "000"


@pytest.mark.parametrize("name", ["kubernetes.default.svc.cluster.local", "10.96.0.1", "management1"])
def test_its_certificate_has_the_names_that_clients_use(name: str) -> None:
    ways = ("--connect-to", f"{name}:6443:10.94.11.11:6443")
    assert run("curl", *STATUS, *TRUST, *ways, f"https://{name}:6443/readyz").stdout == "200"
    assert run("curl", *STATUS, *TRUST, "--connect-to", f"other:6443:{API[8:]}", "https://other:6443").stdout == "000"


def test_a_certificate_of_another_authority_is_nobodys() -> None:
    pki = "/etc/kubernetes/pki"
    curl = f"curl --silent --output /dev/null --write-out '%{{http_code}}' --cacert {pki}/ca.crt"
    host = node(HOST)
    # Same name, same usage, another authority.
    for name, answer in (("super-admin", "200"), ("apiserver-etcd-client", "401"), ("front-proxy-client", "401")):
        assert host.check_output(f"{curl} --cert {pki}/{name}.crt --key {pki}/{name}.key {API}/api") == answer


def test_the_administrator_is_no_member_of_the_group_that_cannot_be_refused() -> None:
    who = json.loads(kubectl("auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert "cloudbang:administrators" in who["groups"]
    assert "system:masters" not in who["groups"]
    assert kubectl("auth", "can-i", "*", "*", "--all-namespaces") == "yes"


def test_secrets_are_encrypted_where_they_are_stored() -> None:
    for kind, name in (("secret", "hidden"), ("configmap", "open")):
        generic = ["generic"] if kind == "secret" else []
        made = kubectl(
            "create", kind, *generic, name, "--from-literal=word=xyzzy-marker", NAMESPACE, "--dry-run=client", "-oyaml"
        )
        kubectl("apply", "--filename=-", NAMESPACE, manifest=made)
    assert b"xyzzy-marker" in stored("/registry/configmaps/molecule/open")
    secret = stored("/registry/secrets/molecule/hidden")
    assert secret.startswith(b"k8s:enc:secretbox:v1:key1:")
    assert b"xyzzy-marker" not in secret
    word = kubectl("get", "secret", "hidden", NAMESPACE, "--output=jsonpath={.data.word}")
    assert base64.b64decode(word) == b"xyzzy-marker"


def test_changes_are_logged_with_who_made_them_and_without_secrets() -> None:
    for kind, generic in (("configmap", []), ("secret", ["generic"])):
        kubectl("delete", kind, "audited", NAMESPACE, "--ignore-not-found")
        kubectl("create", kind, *generic, "audited", "--from-literal=word=plugh-marker", NAMESPACE)
    for resource in ("configmaps", "secrets"):
        event = wait_for(lambda of=resource: audited(of, "audited"))[-1]
        assert (event["verb"], event["user"]["username"]) == ("create", "cloudbang-admin")
        assert event["responseStatus"]["code"] == 201
    host = node(HOST)
    for word in ("plugh-marker", base64.b64encode(b"plugh-marker").decode()):
        assert host.run(f"grep -rqF '{word}' /var/log/kubernetes").rc == 1
    assert host.run("setpriv --reuid=nobody --regid=nogroup --clear-groups ls /var/log/kubernetes").rc != 0


def test_a_service_account_may_do_nothing_until_it_is_allowed() -> None:
    secrets = "/api/v1/namespaces/molecule/secrets"
    mine = token()
    assert with_token("/version", mine) == "200"
    assert with_token(secrets, mine) == "403"
    head, _dot, signature = mine.rpartition(".")
    assert with_token("/version", f"{head}.{signature[::-1]}") == "401"
    kubectl("delete", "rolebinding", "reader", NAMESPACE, "--ignore-not-found")
    kubectl("create", "rolebinding", "reader", "--clusterrole=admin", "--serviceaccount=molecule:default", NAMESPACE)
    wait_for(lambda: with_token(secrets, mine) == "200")
    assert with_token("/api/v1/namespaces/kube-system/secrets", mine) == "403"


def test_no_token_lives_longer_than_a_day() -> None:
    asked = kubectl("create", "token", "default", NAMESPACE, "--duration=720h")
    body = asked.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims["exp"] - claims["iat"] == 24 * 3600


@pytest.mark.parametrize("namespace", ["molecule", "kube-system"])
def test_pods_that_push_others_off_their_nodes_are_the_platforms_alone(namespace: str) -> None:
    wait_for(lambda: objects("serviceaccounts", f"--namespace={namespace}"))
    made = try_kubectl("apply", "--dry-run=server", "--filename=-", f"--namespace={namespace}", manifest=CRITICAL)
    assert (made.returncode == 0) == (namespace == "kube-system"), made.stderr
    assert ("insufficient quota to match these scopes" in made.stderr) == (namespace == "molecule")


def test_administrators_have_a_flow_of_their_own() -> None:
    flow = kubectl("get", "flowschema", "cloudbang-administrators", "--output=jsonpath={.metadata.uid}")
    answered = try_kubectl("get", "--raw=/api", "--v=8").stderr
    assert f"X-Kubernetes-Pf-Flowschema-Uid: {flow}" in answered


@pytest.mark.usefixtures("nodes")
def test_a_node_may_change_only_itself() -> None:
    as_node = ("--as=system:node:node-a", "--as-group=system:nodes")
    assert try_kubectl("annotate", "node", "node-a", "mine=yes", "--overwrite", *as_node).returncode == 0
    # NodeRestriction forbids, the policy refuses; of the last one either may be the first to say so.
    ours = "kubelets may not write labels of Nodes"
    for verb, name, what, messages in (
        ("annotate", "node-b", "mine=yes", ("forbidden",)),
        ("label", "node-a", "mine=yes", (ours,)),
        ("label", "node-a", "node-restriction.kubernetes.io/mine=yes", ("forbidden", ours)),
    ):
        refused = try_kubectl(verb, "node", name, what, *as_node)
        assert refused.returncode != 0
        assert any(message in refused.stderr for message in messages), refused.stderr
    assert "no relationship found" in try_kubectl("get", "secret", "hidden", NAMESPACE, *as_node).stderr


@pytest.mark.usefixtures("nodes")
def test_a_node_makes_no_pods() -> None:
    """As a mirror pod, which NodeRestriction takes, it would be an endpoint of the cluster's DNS."""
    uid = kubectl("get", "node", "node-a", "--output=jsonpath={.metadata.uid}")
    as_node = ("--as=system:node:node-a", "--as-group=system:nodes")
    refused = try_kubectl("create", "--dry-run=server", "--filename=-", *as_node, manifest=MIRROR % uid)
    assert "cloudbang-kubelet-pods" in refused.stderr


@pytest.mark.parametrize(
    ("namespace", "message"),
    [
        ("molecule", 'violates PodSecurity "baseline:latest"'),
        ("molecule-privileged", ""),
        ("kube-system", ""),
    ],
)
def test_privileged_pods_are_only_admitted_where_that_is_allowed(namespace: str, message: str) -> None:
    wait_for(lambda: objects("serviceaccounts", f"--namespace={namespace}"))
    made = try_kubectl(
        "apply", "--dry-run=server", "--filename=-", f"--namespace={namespace}", manifest=PRIVILEGED
    )  # fmt: skip
    assert message in made.stderr
    assert (made.returncode == 0) == (not message)


def test_services_may_not_claim_addresses_of_others() -> None:
    refused = try_kubectl("apply", "--dry-run=server", "--filename=-", NAMESPACE, manifest=EXTERNAL)
    assert refused.returncode != 0
    assert "externalIPs" in refused.stderr
    within = EXTERNAL.replace("  externalIPs: [10.94.11.200]\n", "")
    assert try_kubectl("apply", "--dry-run=server", "--filename=-", NAMESPACE, manifest=within).returncode == 0


def placed(namespace: str) -> tuple[int, str]:
    """Try to make a pod on a node of its own choice. Return kubectl's exit code and what it wrote."""
    wait_for(lambda: objects("serviceaccounts", f"--namespace={namespace}"))
    made = try_kubectl("apply", "--dry-run=server", "--output=json", "--filename=-", f"--namespace={namespace}",
                       manifest=PLACED)  # fmt: skip
    return made.returncode, made.stdout + made.stderr


def test_pods_of_tenants_do_not_choose_their_node() -> None:
    code, text = placed("molecule-tenant")
    assert code != 0 and "nodeName in tenant molecule-tenant: found management1; wanted no nodeName" in text
    code, text = placed("molecule")
    assert code == 0 and "NET_RAW" not in text


@pytest.mark.usefixtures("nodes")
def test_controllers_make_pods_and_the_scheduler_finds_nodes_for_them() -> None:
    kubectl("apply", "--filename=-", NAMESPACE, manifest=DEPLOYMENT)
    chosen = wait_for(lambda: [one["spec"].get("nodeName") for one in objects("pods", NAMESPACE)])
    wait_for(lambda: {one["spec"].get("nodeName") for one in objects("pods", NAMESPACE)} <= {"node-a", "node-b"})
    assert len(chosen) == 1
    kubectl("delete", "deployment", "web", NAMESPACE)
    wait_for(lambda: objects("pods", NAMESPACE) == [])


@pytest.mark.parametrize("port", [10257, 10259, 2381])
def test_what_only_the_host_needs_is_only_on_the_host(port: int) -> None:
    assert run("curl", *STATUS, "--insecure", f"https://10.94.11.11:{port}/healthz").stdout == "000"
    ask = "curl --silent --fail --insecure --max-time 5"
    if port == 2381:
        ask += " --cert /etc/etcd/pki/client.crt --key /etc/etcd/pki/client.key"
    health = "/health" if port == 2381 else "/healthz"
    node(HOST).check_output(f"{ask} https://127.0.0.1:{port}{health}")


def test_etcd_s_metrics_are_for_those_that_have_a_certificate() -> None:
    ask = "curl --silent --insecure --max-time 5"
    for scheme in ("http", "https"):
        assert "etcd_" not in node(HOST).run(f"{ask} {scheme}://127.0.0.1:2381/metrics").stdout
    mine = "--cert /etc/etcd/pki/client.crt --key /etc/etcd/pki/client.key"
    assert "etcd_server_has_leader 1" in node(HOST).check_output(f"{ask} {mine} https://127.0.0.1:2381/metrics")


OWN = {
    "etcd": ["/etc/etcd/pki/server.key", "/etc/etcd/pki/peer.key"],
    "kube-apiserver": [
        "/etc/kubernetes/pki/apiserver.key",
        "/etc/kubernetes/pki/apiserver-etcd-client.key",
        "/etc/kubernetes/pki/apiserver-kubelet-client.key",
        "/etc/kubernetes/pki/front-proxy-client.key",
        "/etc/kubernetes/pki/sa.key",
        *(f"/etc/kubernetes/{name}.yaml" for name in ("admission", "audit-policy", "authentication", "encryption")),
    ],
    "kube-controller-manager": [
        "/etc/kubernetes/controller-manager.conf",
        "/etc/kubernetes/pki/ca.key",
        "/etc/kubernetes/pki/controller-manager.key",
        "/etc/kubernetes/pki/controller-manager-sa.key",
    ],
    "kube-scheduler": ["/etc/kubernetes/scheduler.conf", "/etc/kubernetes/pki/scheduler.key"],
}


@pytest.mark.parametrize("unit", [unit for unit in OWN if unit != "etcd"])
def test_who_breaks_into_a_service_has_its_own_secrets_only(unit: str) -> None:
    confined(HOST, unit, *OWN[unit])


def test_the_audit_log_is_for_the_api_server_and_root_only() -> None:
    assert inside(HOST, "kube-apiserver", "test -r /var/log/kubernetes/audit.log").rc == 0
    for unit in ("kube-controller-manager", "kube-scheduler", "etcd"):
        assert inside(HOST, unit, "ls /var/log/kubernetes").rc != 0


def test_a_server_s_certificate_cannot_be_had_by_request() -> None:
    """Whoever may approve requests gets certificates of clients only: no API server can be made up with them."""
    new = ("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    subject = ("-keyout", "/dev/null", "-subj", "/O=system:nodes/CN=system:node:node-a")
    for signer, usage, more in (
        ("kubelet-serving", "server auth", ("-addext", "subjectAltName=DNS:node-a")),
        ("kube-apiserver-client-kubelet", "client auth", ()),
    ):
        request = run(*new, *subject, *more).stdout
        name = usage.split()[0]
        kubectl("delete", "csr", name, "--ignore-not-found")
        spec = {
            "request": base64.b64encode(request.encode()).decode(),
            "signerName": f"kubernetes.io/{signer}",
            "usages": ["digital signature", usage],
        }
        made = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}}
        as_node = ("--as=system:node:node-a", "--as-group=system:nodes", "--as-group=system:authenticated")
        kubectl("create", "--filename=-", *as_node, manifest=json.dumps({**made, "spec": spec}))
        kubectl("certificate", "approve", name)

    def signed(name: str) -> str:
        return kubectl("get", "csr", name, "--output=jsonpath={.status.certificate}")

    # The second shows that requests are looked at.
    wait_for(lambda: signed("client"))
    assert signed("server") == ""


def test_keys_are_for_their_owners_only() -> None:
    host = node(HOST)
    assert host.check_output("find /etc/kubernetes ! -name '*.crt' ! -name '*.pub' -type f -perm /077") == ""
    assert host.check_output("find /etc/kubernetes -name '*.key'") != ""


@pytest.mark.disruptive
def test_services_that_were_changed_and_restarted_by_hand_run_as_wanted_again() -> None:
    options = {"etcd": "--max-txn-ops=129", "kube-apiserver": "--max-requests-inflight=401"}
    host = node(HOST)

    def strange() -> list[str]:
        commands = host.check_output("ps -e -o args")
        return [unit for unit, option in options.items() if option in commands]

    for unit, option in options.items():
        host.check_output(f"sed -i 's|^ExecStart=.*/{unit} |&{option} |' /etc/systemd/system/{unit}.service")
    host.check_output("systemctl daemon-reload && systemctl restart etcd kube-apiserver")
    assert strange() == list(options)
    converge()
    assert strange() == []


@pytest.mark.disruptive
def test_what_was_changed_lost_or_stopped_is_put_right_and_in_force() -> None:
    """The policies of tenants are as after a run that was killed between them and what binds them."""
    host = node(HOST)
    host.check_output(
        "sed -i 's/level: .*/level: None/' /etc/kubernetes/audit-policy.yaml"
        " && systemctl restart kube-apiserver && systemctl stop kube-scheduler"
    )
    wait_for(lambda: status("/readyz") == "200")
    wall = "cloudbang-tenant-pods"
    kubectl("delete", "validatingadmissionpolicybinding", wall)
    kubectl("delete", "mutatingadmissionpolicy", "cloudbang-tenant-raw-sockets")
    kubectl("patch", "validatingadmissionpolicy", wall, "--type=merge", '--patch={"spec":{"failurePolicy":"Ignore"}}')
    wait_for(lambda: placed("molecule-tenant")[0] == 0)

    before = {unit: pid(unit) for unit in ("etcd", "kube-apiserver", "kube-controller-manager")}
    ends = restarts("kube-controller-manager")
    assert changes(converge()) != []
    assert host.check_output("systemctl is-active kube-scheduler") == "active"
    assert pid("kube-apiserver") != before["kube-apiserver"]
    # What was right is left alone. The controller manager ends itself when the API is away for too long.
    assert pid("etcd") == before["etcd"]
    if restarts("kube-controller-manager") == ends:
        assert pid("kube-controller-manager") == before["kube-controller-manager"]
    kubectl("delete", "configmap", "again", NAMESPACE, "--ignore-not-found")
    kubectl("create", "configmap", "again", NAMESPACE)
    wait_for(lambda: audited("configmaps", "again"))

    wait_for(lambda: placed("molecule-tenant")[0] != 0)
    (kept,) = [one for one in objects("validatingadmissionpolicies") if one["metadata"]["name"] == wall]
    assert kept["spec"]["failurePolicy"] == "Fail"
    without = PLACED.replace("  nodeName: management1\n", "")
    options = ("--dry-run=server", "--output=json", "--filename=-", "--namespace=molecule-tenant")
    wait_for(lambda: "NET_RAW" in try_kubectl("apply", *options, manifest=without).stdout)
    assert changes(converge()) == []


@pytest.mark.disruptive
@pytest.mark.parametrize("unit", ["kube-apiserver", "kube-controller-manager", "kube-scheduler"])
def test_what_dies_comes_back_by_itself(unit: str) -> None:
    host, before = node(HOST), pid(unit)
    host.check_output(f"systemctl kill --signal=KILL {unit}")
    wait_for(lambda: pid(unit) not in ("0", before) and host.run(f"systemctl is-active {unit}").rc == 0, 60)
    wait_for(lambda: status("/readyz") == "200")


@pytest.mark.disruptive
def test_an_api_server_that_hangs_is_restarted() -> None:
    host, before = node(HOST), pid("kube-apiserver")
    # systemd sees a process that runs.
    host.check_output("systemctl kill --signal=STOP kube-apiserver")
    assert status("/livez", "--max-time", "2") == "000"
    wait_for(lambda: pid("kube-apiserver") not in ("0", before), 90)
    wait_for(lambda: status("/readyz") == "200")
    assert "restarting kube-apiserver" in host.check_output("journalctl --unit=kube-apiserver-watchdog --output=cat")


@pytest.mark.disruptive
def test_an_api_server_that_stopped_waited_for_no_watch() -> None:
    """Its clients here have watches at all times, and it was stopped to be put right."""
    said = node(HOST).check_output("journalctl --unit=kube-apiserver --output=cat")
    assert "Stopped kube-apiserver.service" in said
    assert "Failed to shutdown server" not in said
