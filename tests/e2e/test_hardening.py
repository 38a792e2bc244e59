# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardening list: flags of running processes, modes and owners of files, and what the ports answer.

Numbers are those of the CIS Kubernetes Benchmark 1.12. Rows without a number are this project's own.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from ansible_collections.cloudbang.platform.plugins.lookup.declared import load
from ansible_collections.cloudbang.platform.plugins.module_utils import port_ranges
from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight import options

from .lab import DIRECTORY, NETWORK, STATE, VIP, Lab, Node, etcdctl, inside, run, wait_for

NODES = ("management", "compute", "loadbalancer")

STRONG = re.compile(
    r"TLS_ECDHE_(ECDSA|RSA)_WITH_(AES_(128|256)_GCM_SHA(256|384)|CHACHA20_POLY1305(_SHA256)?)|TLS_(AES|CHACHA20)\w+"
)
PROCESSES = {
    "etcd": "etcd",
    "kube-apiserver": "management",
    "kube-controller-manager": "management",
    "kube-scheduler": "management",
    "kubelet": "kubernetes",
    "kube-proxy": "kubernetes",
    "containerd": "kubernetes",
}


@pytest.fixture(scope="module")
def found(lab: Lab) -> dict[str, dict[str, Any]]:
    """Inspect all nodes in parallel."""
    script = Path(__file__).with_name("inspect_node.py").read_text()
    with ThreadPoolExecutor(len(lab.nodes)) as pool:
        answers = pool.map(lambda node: json.loads(node.sh(script, program="python3")), lab.nodes.values())
        return dict(zip(lab.nodes, answers))


@pytest.fixture(scope="module")
def kubelets(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return the configuration that each kubelet reports."""
    core = lab.core()
    answers = {}
    for node in lab.kubernetes_nodes:
        text = core.connect_get_node_proxy_with_path(node.name, "configz", _preload_content=False).data
        answers[node.name] = json.loads(text)["kubeletconfig"]
    return answers


def hosts(lab: Lab, program: str) -> list[Node]:
    return lab.kubernetes_nodes if PROCESSES[program] == "kubernetes" else lab.group("management")


def flags(answer: dict[str, Any], program: str) -> dict[str, str]:
    """Return the flags of a running program."""
    commands = [
        item["command"]
        for item in answer["processes"]
        if not item["pod"] and item["command"][0].endswith(f"/{program}")
    ]
    assert len(commands) == 1, f"wanted one {program}, found {commands}"
    return dict(
        (part + "=true").removeprefix("--").split("=", 1) if "=" not in part else part.removeprefix("--").split("=", 1)
        for part in commands[0][1:]
    )


# -- flags ---------------------------------------------------------------------------------------------------------

Check = Callable[[dict[str, str]], Any]


def is_set(*names: str) -> Check:
    return lambda given: all(given.get(name) for name in names)


def equals(name: str, *values: str | None) -> Check:
    return lambda given: given.get(name) in values


def has(name: str, *values: str) -> Check:
    return lambda given: set(values) <= set(given.get(name, "").split(","))


def lacks(name: str, *values: str) -> Check:
    return lambda given: not set(values) & set(given.get(name, "").split(","))


def at_least(name: str, value: int) -> Check:
    return lambda given: int(given.get(name, "0")) >= value


def strong(name: str) -> Check:
    return lambda given: given.get(name) and all(STRONG.fullmatch(cipher) for cipher in given[name].split(","))


FLAGS: list[tuple[str, str, str, Check]] = [
    ("2.1", "etcd", "certificate of the server", is_set("cert-file", "key-file")),
    ("2.2", "etcd", "clients need a certificate", equals("client-cert-auth", "true")),
    ("2.3", "etcd", "no certificate made up by itself", equals("auto-tls", None, "false")),
    ("2.4", "etcd", "certificate of the peer", is_set("peer-cert-file", "peer-key-file")),
    ("2.5", "etcd", "peers need a certificate", equals("peer-client-cert-auth", "true")),
    ("etcd-0", "etcd", "only peers' certificates", equals("peer-cert-allowed-cn", "etcd-peer")),
    ("2.6", "etcd", "no peer certificate made up by itself", equals("peer-auto-tls", None, "false")),
    ("2.7", "etcd", "an authority of its own", equals("trusted-ca-file", "/etc/etcd/pki/ca.crt")),
    ("etcd-1", "etcd", "clients only over TLS", lambda given: "http://" not in given["listen-client-urls"]),
    (
        "etcd-2",
        "etcd",
        "metrics only on loopback, with a certificate",
        equals("listen-metrics-urls", "https://127.0.0.1:2381"),
    ),
    ("etcd-3", "etcd", "TLS 1.2 or newer", equals("tls-min-version", "TLS1.2", "TLS1.3")),
    ("etcd-4", "etcd", "strong ciphers", strong("cipher-suites")),
    (
        "etcd-5",
        "etcd",
        "a token of this cluster",
        lambda given: given.get("initial-cluster-token", "etcd-cluster") != "etcd-cluster",
    ),
    ("etcd-6", "etcd", "room for the data", at_least("quota-backend-bytes", 2 * 1024**3)),
    ("etcd-7", "etcd", "compaction", lambda given: given.get("auto-compaction-retention", "0") != "0"),
    (
        "etcd-8",
        "etcd",
        "corruption is looked for",
        has("feature-gates", "InitialCorruptCheck=true", "CompactHashCheck=true"),
    ),
    ("etcd-9", "etcd", "pre-vote", equals("pre-vote", None, "true")),
    ("etcd-10", "etcd", "no unsafe reconfiguration", equals("strict-reconfig-check", None, "true")),
    (
        "etcd-11",
        "etcd",
        "nothing unsafe",
        lambda given: not {"force-new-cluster", "unsafe-no-fsync", "enable-pprof"} & set(given),
    ),
    ("etcd-12", "etcd", "flags, not a file that hides them", equals("config-file", None)),
    ("etcd-13", "etcd", "corruption is looked for all the time", is_set("corrupt-check-time")),
    ("1.2.1", "kube-apiserver", "anonymous requests only for health", is_set("authentication-config")),
    ("1.2.2", "kube-apiserver", "no static tokens", equals("token-auth-file", None)),
    (
        "1.2.3",
        "kube-apiserver",
        "no external addresses of services",
        has("enable-admission-plugins", "DenyServiceExternalIPs"),
    ),
    (
        "1.2.4",
        "kube-apiserver",
        "a certificate for kubelets",
        is_set("kubelet-client-certificate", "kubelet-client-key"),
    ),
    (
        "1.2.5",
        "kube-apiserver",
        "kubelets are verified",
        equals("kubelet-certificate-authority", "/etc/kubernetes/pki/kubelet-ca.crt"),
    ),
    ("1.2.6", "kube-apiserver", "not everything is allowed", lacks("authorization-mode", "AlwaysAllow", "")),
    ("1.2.7", "kube-apiserver", "nodes are authorized as nodes", has("authorization-mode", "Node")),
    ("1.2.8", "kube-apiserver", "roles", has("authorization-mode", "RBAC")),
    ("1.2.9", "kube-apiserver", "events are limited", has("enable-admission-plugins", "EventRateLimit")),
    ("1.2.10", "kube-apiserver", "not everything is admitted", lacks("enable-admission-plugins", "AlwaysAdmit")),
    ("1.2.12", "kube-apiserver", "service accounts", lacks("disable-admission-plugins", "ServiceAccount")),
    ("1.2.13", "kube-apiserver", "life of namespaces", lacks("disable-admission-plugins", "NamespaceLifecycle")),
    ("1.2.14", "kube-apiserver", "nodes change only themselves", has("enable-admission-plugins", "NodeRestriction")),
    ("1.2.15", "kube-apiserver", "no profiling", equals("profiling", "false")),
    ("1.2.16", "kube-apiserver", "audit log", is_set("audit-log-path")),
    ("1.2.17", "kube-apiserver", "audit log is kept", at_least("audit-log-maxage", 30)),
    ("1.2.18", "kube-apiserver", "audit log has copies", at_least("audit-log-maxbackup", 10)),
    ("1.2.19", "kube-apiserver", "audit log has size", at_least("audit-log-maxsize", 100)),
    ("1.2.20", "kube-apiserver", "requests end", equals("request-timeout", None, "60s", "1m0s", "120s")),
    ("1.2.21", "kube-apiserver", "removed service accounts are known", equals("service-account-lookup", None, "true")),
    ("1.2.22", "kube-apiserver", "key of service accounts", is_set("service-account-key-file")),
    ("1.2.23", "kube-apiserver", "a certificate for etcd", is_set("etcd-certfile", "etcd-keyfile")),
    ("1.2.24", "kube-apiserver", "a certificate", is_set("tls-cert-file", "tls-private-key-file")),
    ("1.2.25", "kube-apiserver", "authority of clients", is_set("client-ca-file")),
    ("1.2.26", "kube-apiserver", "authority of etcd", is_set("etcd-cafile")),
    ("1.2.27", "kube-apiserver", "secrets are encrypted", is_set("encryption-provider-config")),
    ("1.2.29", "kube-apiserver", "strong ciphers", strong("tls-cipher-suites")),
    ("1.2.30", "kube-apiserver", "tokens end", equals("service-account-extend-token-expiration", "false")),
    ("api-6", "kube-apiserver", "tokens end within a day", equals("service-account-max-token-expiration", "24h")),
    ("3.2.1", "kube-apiserver", "audit policy", is_set("audit-policy-file")),
    ("api-1", "kube-apiserver", "TLS 1.2 or newer", equals("tls-min-version", "VersionTLS12", "VersionTLS13")),
    (
        "api-2",
        "kube-apiserver",
        "time to leave the load balancer",
        lambda given: given.get("shutdown-delay-duration", "0s") != "0s",
    ),
    (
        "api-3",
        "kube-apiserver",
        "an authority of its own for extension servers",
        lambda given: given.get("requestheader-client-ca-file") not in (None, given["client-ca-file"]),
    ),
    (
        "api-4",
        "kube-apiserver",
        "a key of its own for tokens",
        lambda given: (
            given["service-account-signing-key-file"] not in (given["tls-private-key-file"], given["client-ca-file"])
        ),
    ),
    ("api-5", "kube-apiserver", "no insecure port", equals("insecure-port", None, "0")),
    ("1.3.1", "kube-controller-manager", "ended pods are removed", at_least("terminated-pod-gc-threshold", 1)),
    ("1.3.2", "kube-controller-manager", "no profiling", equals("profiling", "false")),
    (
        "1.3.3",
        "kube-controller-manager",
        "an account for each controller",
        equals("use-service-account-credentials", "true"),
    ),
    ("1.3.4", "kube-controller-manager", "key of service accounts", is_set("service-account-private-key-file")),
    ("1.3.5", "kube-controller-manager", "authority for pods", is_set("root-ca-file")),
    (
        "1.3.6",
        "kube-controller-manager",
        "kubelets' certificates rotate",
        lacks("feature-gates", "RotateKubeletServerCertificate=false"),
    ),
    ("1.3.7", "kube-controller-manager", "only on loopback", equals("bind-address", "127.0.0.1")),
    (
        "controller-1",
        "kube-controller-manager",
        "no certificates of servers by request",
        lambda given: (
            not {
                "cluster-signing-cert-file",
                "cluster-signing-kubelet-serving-cert-file",
                "cluster-signing-legacy-unknown-cert-file",
            }
            & set(given)
        ),
    ),
    ("1.4.1", "kube-scheduler", "no profiling", equals("profiling", "false")),
    ("1.4.2", "kube-scheduler", "only on loopback", equals("bind-address", "127.0.0.1")),
    ("4.2.8", "kubelet", "the node's own name", equals("hostname-override", None)),
]


@pytest.mark.parametrize(
    ("number", "program", "what", "check"), FLAGS, ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in FLAGS]
)
def test_flag(lab: Lab, found: dict[str, Any], number: str, program: str, what: str, check: Check) -> None:
    for node in hosts(lab, program):
        given = flags(found[node.name], program)
        assert check(given), f"{number} {node.name}: {program}: {what}: {given}"


# -- configuration of kubelets, as they run ------------------------------------------------------------------------

KUBELET: list[tuple[str, str, Callable[[dict[str, Any]], Any]]] = [
    ("4.2.1", "no anonymous requests", lambda given: given["authentication"]["anonymous"]["enabled"] is False),
    ("4.2.2", "the API server authorizes", lambda given: given["authorization"]["mode"] == "Webhook"),
    ("4.2.3", "authority of clients", lambda given: given["authentication"]["x509"]["clientCAFile"]),
    ("4.2.4", "no port without authentication", lambda given: not given.get("readOnlyPort")),
    ("4.2.5", "idle streams end", lambda given: given["streamingConnectionIdleTimeout"] not in ("0", "0s")),
    ("4.2.6", "its own firewall rules", lambda given: given["makeIPTablesUtilChains"] is True),
    ("4.2.9", "events", lambda given: given["eventRecordQPS"] >= 0),
    (
        "4.2.10",
        "a certificate",
        lambda given: given.get("serverTLSBootstrap") or (given["tlsCertFile"] and given["tlsPrivateKeyFile"]),
    ),
    ("4.2.11", "its certificate rotates", lambda given: given["rotateCertificates"] is True),
    (
        "4.2.12",
        "the server's certificate rotates",
        lambda given: given.get("featureGates", {}).get("RotateKubeletServerCertificate") is not False,
    ),
    (
        "4.2.13",
        "strong ciphers",
        lambda given: given["tlsCipherSuites"] and all(map(STRONG.fullmatch, given["tlsCipherSuites"])),
    ),
    ("4.2.14", "processes of a pod are limited", lambda given: given["podPidsLimit"] > 0),
    ("4.2.15", "system calls are filtered", lambda given: given["seccompDefault"] is True),
    ("kubelet-1", "health only on loopback", lambda given: given["healthzBindAddress"] == "127.0.0.1"),
    ("kubelet-2", "TLS 1.2 or newer", lambda given: given["tlsMinVersion"] in ("VersionTLS12", "VersionTLS13")),
]


@pytest.mark.parametrize(("number", "what", "check"), KUBELET, ids=[f"{row[0]}-{row[1]}" for row in KUBELET])
def test_kubelet(kubelets: dict[str, Any], number: str, what: str, check: Callable[[dict[str, Any]], Any]) -> None:
    for name, given in kubelets.items():
        assert check(given), f"{number} {name}: {what}: {given}"


# -- files ---------------------------------------------------------------------------------------------------------

DEFAULTS = options.defaults(load)


def setting(name: str) -> Any:
    """Return the value of a variable in the lab, where those that declarations depend on have their defaults."""
    return NETWORK if name == "cloudbang_network" else DEFAULTS.get(name)


DECLARED = declarations.chosen(declarations.roles(load), setting)
FILES = [one for role in DECLARED for one in role.protected if declarations.part_of(one.when, setting)]


def members(lab: Lab, groups: tuple[str, ...]) -> list[Node]:
    # etcd has no hosts of its own in the lab.
    return lab.group(*("management" if group == "etcd" else group for group in groups))


@pytest.mark.parametrize("wanted", FILES, ids=[f"{one.id}-{one.path}" for one in FILES])
def test_file(lab: Lab, found: dict[str, Any], wanted: declarations.Protected) -> None:
    mode = int(wanted.mode, 8)
    for node in members(lab, wanted.groups):
        matching = {path: about for path, about in found[node.name]["files"].items() if fnmatch(path, wanted.path)}
        assert matching, f"{wanted.id} {node.name}: {wanted.path}: nothing there"
        for path, about in matching.items():
            assert about["owner"] in wanted.owners, (
                f"{wanted.id} {node.name}: {path}: owner {about['owner']}, wanted {' or '.join(wanted.owners)}"
            )
            assert not about["mode"] & ~mode, (
                f"{wanted.id} {node.name}: {path}: mode {about['mode']:04o}, wanted {mode:04o}"
            )


def test_every_drop_in_and_every_own_unit_is_root_s_alone(found: dict[str, Any]) -> None:
    wide = [
        f"{name}: {path}"
        for name, answer in found.items()
        for path, about in answer["files"].items()
        if path.startswith("/etc/systemd/system/") and (about["mode"] & 0o177 or about["owner"] != "root:root")
    ]
    assert wide == []


# -- processes -----------------------------------------------------------------------------------------------------


# The files that each service can read and that are not readable for all users. No service runs as root.
SERVICES = {one.unit: one for role in DECLARED for one in role.confined}
SECRET = "/etc /var/lib/kubelet /var/lib/kube-proxy /var/lib/etcd /var/log/kubernetes /root"


@pytest.mark.parametrize("unit", SERVICES)
def test_who_breaks_into_a_service_reads_its_own_secrets_only(lab: Lab, unit: str) -> None:
    own = SERVICES[unit].reads
    for node in members(lab, SERVICES[unit].groups):
        listed = node.sh(f"find {SECRET} -type f ! -perm -004 2>/dev/null", check=False)
        assert len(listed.splitlines()) > 20
        loop = f"for path in {' '.join(listed.split())}; do cat $path >/dev/null 2>&1 && echo $path; done"
        readable = inside(node, unit, loop).split()
        assert readable
        assert [path for path in readable if not any(fnmatch(path, pattern) for pattern in own)] == [], node.name


@pytest.mark.parametrize("unit", SERVICES)
def test_who_breaks_into_a_service_reaches_no_other_process(lab: Lab, unit: str) -> None:
    for node in members(lab, SERVICES[unit].groups):
        assert f"({unit})" in inside(node, unit, "id").partition(" ")[0], node.name
        assert set(inside(node, unit, "stat --format=%U /proc/[0-9]*").split()) == {unit}, node.name
        for socket, refused in (("containerd/containerd.sock", "7"), ("dbus/system_bus_socket", "7")):
            ask = f"curl --silent --http2-prior-knowledge --unix-socket /run/{socket} http://x/ >/dev/null; echo $?"
            assert inside(node, unit, ask).strip() == refused, (node.name, socket)
            # The socket exists, so the refusal has no other reason.
            assert node.sh(ask).strip() != refused, (node.name, socket)
        assert inside(node, unit, "systemd-run --quiet --wait true 2>/dev/null; echo $?").strip() != "0", node.name
        assert (
            inside(node, unit, "touch /etc/e2e 2>/dev/null || touch /usr/local/bin/e2e 2>/dev/null; echo $?").strip()
            != "0"
        )


@pytest.mark.parametrize("program", [*SERVICES, "registry"])
def test_services_have_no_privileges_to_gain(lab: Lab, found: dict[str, Any], program: str) -> None:
    seen = [
        item
        for answer in found.values()
        for item in answer["processes"]
        if item["command"][0].endswith(f"/{program}") and not item["pod"]
    ]
    allowed = 1 << 10 if program == "traefik" else 0
    assert seen
    assert all(item["no_new_privileges"] for item in seen)
    assert all(not item["capabilities"] & ~allowed for item in seen)
    # Images are pulled from one service and pushed to the other.
    assert {item["owner"] for item in seen} == {program} | ({"registry-pull"} if program == "registry" else set())


def test_system_calls_of_services_are_filtered(found: dict[str, Any]) -> None:
    filtered = {
        item["command"][0].rpartition("/")[2]: item["seccomp"]
        for answer in found.values()
        for item in answer["processes"]
        if item["command"][0].rpartition("/")[2] in SERVICES and not item["pod"]
    }
    assert filtered == dict.fromkeys(SERVICES, 2)


@pytest.mark.parametrize(
    ("groups", "url", "credentials"),
    [
        (NODES, "http://127.0.0.1:10249/configz", ""),
        (NODES, "http://127.0.0.1:10249/metrics", ""),
        (
            ("management",),
            "https://127.0.0.1:2381/metrics",
            "--cert /etc/etcd/pki/client.crt --key /etc/etcd/pki/client.key",
        ),
        (("loadbalancer",), "http://127.0.0.1:8406/metrics", ""),
    ],
)
def test_what_services_tell_on_loopback_is_for_root(
    lab: Lab, groups: tuple[str, ...], url: str, credentials: str
) -> None:
    ask = f"curl --silent --insecure --max-time 5 --output /dev/null --write-out '%{{http_code}}' {url}"
    for node in members(lab, groups):
        assert node.sh(f"{ask} {credentials}") == "200", node.name
        anyone = node.sh(f"setpriv --reuid=nobody --regid=nogroup --clear-groups {ask} {credentials}", check=False)
        assert anyone == "000", node.name


def test_kube_proxy_s_metrics_are_on_loopback(lab: Lab, found: dict[str, Any]) -> None:
    for node in lab.kubernetes_nodes:
        config = yaml.safe_load(found[node.name]["texts"]["/var/lib/kube-proxy/config.yaml"])
        assert config["metricsBindAddress"].startswith("127.0.0.1:"), node.name
        addresses = {address for address, port in found[node.name]["listening"] if port in (10249, 10256)}
        assert addresses == {"127.0.0.1"}, node.name


def test_what_may_write_for_all_nodes_runs_on_management_hosts(lab: Lab) -> None:
    management = {node.name for node in lab.group("management")}
    pods = lab.core().list_namespaced_pod("kube-system").items
    found = [pod for pod in pods if pod.metadata.name.startswith(("calico-kube-controllers-", "metrics-server-"))]
    assert found
    assert {pod.spec.node_name for pod in found} <= management


def test_only_known_ports_are_open(lab: Lab, found: dict[str, Any]) -> None:
    known = declarations.open_ports(DECLARED, setting)
    known["loadbalancer"] |= set(port_ranges.numbers(DEFAULTS["gateway_tcp_ports"]))
    known["management"] |= known["etcd"]
    for node in lab.nodes.values():
        ports = {port for address, port in found[node.name]["listening"] if not address.startswith("127.")}
        assert ports <= {22} | known[node.groups[0]], node.name


def test_containerd(lab: Lab, found: dict[str, Any]) -> None:
    for node in lab.kubernetes_nodes:
        text = found[node.name]["texts"]["/etc/containerd/config.toml"]
        assert "version = 3" in text
        assert "skip_verify" not in text
        assert "tcp_address" not in text
        assert "sandbox = " in text


def test_encryption_is_never_off(lab: Lab, found: dict[str, Any]) -> None:
    configs = {found[node.name]["texts"]["/etc/kubernetes/encryption.yaml"] for node in lab.group("management")}
    assert len(configs) == 1
    providers = yaml.safe_load(configs.pop())["resources"][0]["providers"]
    assert set(providers[0]) <= {"aescbc", "secretbox", "kms"}
    assert "identity" in providers[-1]


def test_no_secret_in_a_command_line(lab: Lab, found: dict[str, Any]) -> None:
    pki = STATE / "pki"
    secrets = {
        path.read_text().strip()
        for pattern in ("*.password", "*.secret", "encryption.key")
        for path in pki.glob(pattern)
    }
    assert len(secrets) >= 3
    lines = [" ".join(item["command"]) for answer in found.values() for item in answer["processes"]]
    assert not [line for line in lines for secret in secrets if secret in line]


# -- what answers --------------------------------------------------------------------------------------------------


MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def status(url: str, method: str = "GET", **headers: str) -> int:
    """Return the status of a request without credentials. Another test checks the certificate of the server."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("path", ["/api", "/api/v1/secrets", "/version", "/metrics", "/openapi/v2", "/debug/pprof/"])
def test_the_api_tells_nothing_to_anonymous_requests(path: str) -> None:
    assert status(f"https://{VIP}:6443{path}") in (401, 403)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_the_api_tells_anyone_whether_it_works(path: str) -> None:
    assert status(f"https://{VIP}:6443{path}") == 200


def test_a_made_up_token_is_refused() -> None:
    assert status(f"https://{VIP}:6443/api", Authorization="Bearer made-up") == 401


@pytest.mark.parametrize("path", ["/pods", "/metrics", "/configz", "/run/kube-system/x/y"])
@pytest.mark.parametrize("node", ["management1", "compute1", "loadbalancer1"])
def test_kubelets_tell_nothing_to_anonymous_requests(lab: Lab, node: str, path: str) -> None:
    assert status(f"https://{lab.nodes[node].address}:10250{path}") == 401


def believed(authority: str, url: str) -> bool:
    """Return whether a client that trusts an authority accepts the certificate of a server."""
    context = ssl.create_default_context(cafile=str(STATE / "pki" / f"{authority}.crt"))
    try:
        urllib.request.urlopen(url, timeout=5, context=context).close()
    except urllib.error.HTTPError as error:
        assert error.code in (401, 403, 404), url
    except urllib.error.URLError as error:
        assert isinstance(error.reason, ssl.SSLCertVerificationError), url
        return False
    return True


def test_each_authority_is_for_one_kind_of_server(lab: Lab) -> None:
    kubelets = {f"https://{node.address}:10250/" for node in lab.kubernetes_nodes}
    servers = {f"https://{VIP}:6443/livez", f"https://{VIP}/", *kubelets}
    servers |= {f"https://{node.address}/" for node in lab.group("loadbalancer")}
    trusted = {
        name: {url for url in servers if believed(name, url)} for name in ("kubernetes-ca", "kubelet-ca", "gateway-ca")
    }
    assert trusted == {"kubernetes-ca": {f"https://{VIP}:6443/livez"}, "kubelet-ca": kubelets, "gateway-ca": set()}


def test_no_key_on_a_load_balancer_can_pose_as_the_api(lab: Lab) -> None:
    script = """
        for key in $(find /etc -name '*.key') /var/lib/kubelet/pki/*.pem; do
            certificate=$(echo $key | sed 's/key$/crt/')
            openssl verify -CAfile /etc/kubernetes/pki/ca.crt -purpose %s $certificate >/dev/null 2>&1 || continue
            echo $certificate
        done; :"""
    for node in lab.group("loadbalancer"):
        assert {"/etc/traefik/client.crt", "/etc/kubernetes/pki/kubelet-client.crt"} <= set(
            node.sh(script % "sslclient").split()
        )
        assert node.sh(script % "sslserver").split() == [], node.name
        assert node.sh("ls /etc/traefik/*.key").split() == ["/etc/traefik/client.key", "/etc/traefik/gateway.key"]


@pytest.mark.parametrize("port", [2379, 2380])
def test_etcd_refuses_clients_without_certificate(lab: Lab, port: int) -> None:
    for node in lab.group("management"):
        with pytest.raises((OSError, ssl.SSLError)):
            status(f"https://{node.address}:{port}/version")


def test_etcd_refuses_certificates_of_the_cluster_s_other_authority(lab: Lab) -> None:
    node = lab.group("management")[0]
    pki = "/etc/kubernetes/pki"
    answer = node.sh(
        f"curl --silent --show-error --cacert /etc/etcd/pki/ca.crt --cert {pki}/apiserver-kubelet-client.crt "
        f"--key {pki}/apiserver-kubelet-client.key https://127.0.0.1:2379/version 2>&1; echo",
        check=False,
    )
    assert "etcdserver" not in answer


def test_the_registry_wants_credentials(lab: Lab) -> None:
    address = lab.group("storage")[0].address
    assert status(f"https://{address}:5000/v2/") == 401
    wrong = base64.b64encode(b"cloudbang:wrong").decode()
    assert status(f"https://{address}:5000/v2/_catalog", Authorization=f"Basic {wrong}") == 401


def test_the_credentials_of_a_node_pull_and_push_nothing(lab: Lab, found: dict[str, Any]) -> None:
    address = lab.group("storage")[0].address
    for node in lab.kubernetes_nodes:
        text = node.sh("cat /etc/containerd/certs.d/*/hosts.toml")
        [header] = set(re.findall(r'authorization = "(.*)"', text))
        url = f"https://{address}:5000/v2/"
        assert status(f"{url}coredns/manifests/current", Authorization=header, Accept=MANIFEST) == 200
        for method, path in (
            ("POST", "intruder/blobs/uploads/"),
            ("PUT", "coredns/manifests/current"),
            ("DELETE", f"coredns/manifests/sha256:{'0' * 64}"),
        ):
            assert status(url + path, method, Authorization=header) == 405


def test_the_platforms_pods_are_named_by_digest(lab: Lab, found: dict[str, Any]) -> None:
    pods = lab.core().list_namespaced_pod("kube-system").items
    images = {container.image for pod in pods for container in pod.spec.containers}
    assert len(images) >= 2
    assert [image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)] == []
    for node in lab.kubernetes_nodes:
        text = found[node.name]["texts"]["/etc/containerd/config.toml"]
        assert re.search(r'sandbox = "[^"]*/pause@sha256:[0-9a-f]{64}"', text), node.name


NAMESPACE = "e2e-hardening"
CANARY = "canary-value-nobody-may-read"


@pytest.fixture(scope="module")
def namespace(lab: Lab) -> Iterator[str]:
    core = lab.core()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    yield NAMESPACE
    core.delete_namespace(NAMESPACE)


def test_secrets_are_encrypted_at_rest(lab: Lab, namespace: str) -> None:
    lab.core().create_namespaced_secret(namespace, {"metadata": {"name": "canary"}, "stringData": {"password": CANARY}})
    node = lab.group("management")[0]
    stored = etcdctl(node, f"get /registry/secrets/{namespace}/canary --write-out=json")
    value = base64.b64decode(json.loads(stored)["kvs"][0]["value"])
    assert value.startswith(b"k8s:enc:secretbox:v1:")
    assert CANARY.encode() not in value


def test_the_audit_log_tells_who_and_not_what(lab: Lab, namespace: str) -> None:
    def lines() -> str:
        command = f"grep -h '/namespaces/{namespace}/secrets' /var/log/kubernetes/audit*.log"
        return "".join(node.sh(command, check=False) for node in lab.group("management"))

    found = wait_for("the audit log has the secret's creation", lines, seconds=40, pause=2)
    assert "cloudbang-admin" in found
    assert CANARY not in found


@pytest.mark.parametrize(
    ("what", "spec"),
    [
        ("privileged", {"containers": [{"name": "x", "image": "x:1", "securityContext": {"privileged": True}}]}),
        ("host network", {"hostNetwork": True, "containers": [{"name": "x", "image": "x:1"}]}),
        ("host PID", {"hostPID": True, "containers": [{"name": "x", "image": "x:1"}]}),
        (
            "host path",
            {"containers": [{"name": "x", "image": "x:1"}], "volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
        ),
    ],
)
def test_pods_that_reach_for_the_host_are_refused(lab: Lab, namespace: str, what: str, spec: dict[str, Any]) -> None:
    with pytest.raises(client.ApiException) as refusal:
        lab.core().create_namespaced_pod(namespace, {"metadata": {"name": "x"}, "spec": spec})
    assert refusal.value.status == 403
    assert "PodSecurity" in refusal.value.body


def test_a_node_changes_only_itself(lab: Lab) -> None:
    node = lab.nodes["compute1"]
    assert "forbidden" in as_node(lab, node, "annotate node compute2 e2e=1").lower()
    assert "forbidden" in as_node(lab, node, "get secrets --all-namespaces").lower()


def as_node(lab: Lab, node: Node, arguments: str) -> str:
    """Run kubectl with the certificate of a node, on this machine."""
    script = "cd /etc/kubernetes; cat kubelet.conf; echo ---; cat pki/kubelet-client.crt pki/kubelet-client.key"
    config, pem = node.sh(script).split("---\n", 1)
    content = yaml.safe_load(config)
    authority = (STATE / "pki" / "kubernetes-ca.crt").read_bytes()
    content["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
    del content["clusters"][0]["cluster"]["certificate-authority"]
    data = base64.b64encode(pem.encode()).decode()
    content["users"][0]["user"] = {"client-certificate-data": data, "client-key-data": data}
    path = DIRECTORY / "node-as-user.conf"
    path.touch(mode=0o600)
    try:
        path.write_text(yaml.safe_dump(content))
        done = run(lab.kubectl_path, "--kubeconfig", path, *arguments.split(), check=False)
        return done.stdout + done.stderr
    finally:
        path.unlink()


def test_no_role_gives_everything_but_to_administrators(lab: Lab) -> None:
    rbac = client.RbacAuthorizationV1Api(lab.api())
    subjects = {
        subject.name
        for binding in rbac.list_cluster_role_binding().items
        if binding.role_ref.name == "cluster-admin"
        for subject in binding.subjects or []
    }
    assert subjects <= {"system:masters", "cloudbang:administrators"}
