# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes API for the tests of the app modules: etcd, kube-apiserver and kube-controller-manager on loopback.

There are no nodes. `Nodes` stands in for kubelets: it writes the pod status that a kubelet would write, depending on
the name of the image. Binaries come from the artifact cache, or from the directory CLOUDBANG_TEST_BINARIES.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "build" / "collections"
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import admission
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import builder as build_config
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

from .kubelet import Kubelet

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager")
START_SECONDS = 90
WATCH_SECONDS = 5
# There is memory for garbage, but there are few processors to collect it.
GARBAGE_PERCENT = "400"
REGISTRY = "registry.cloudbang.internal:5000"


@dataclass
class Authority:
    """A certificate authority in memory."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @staticmethod
    def new(name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key, -1, 2).add_extension(x509.BasicConstraints(True, None), True)
        return Authority(key, builder.sign(key, hashes.SHA256()))

    def issue(self, name: str, *groups: str, first_day: int = -1, last_day: int = 2) -> tuple[bytes, bytes]:
        """Return certificate and key as PEM, valid between two days counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        names = [*(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups), *names]
        builder = _builder(x509.Name(names), self.certificate.subject, key, first_day, last_day)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        ).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
        )
        return _pem(builder.sign(self.key, hashes.SHA256())), _key_pem(key)

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, first_day: int, last_day: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=first_day))
        .not_valid_after(now + datetime.timedelta(days=last_day))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@dataclass
class Api:
    """A running API: its address, its authority, and a client for it."""

    url: str
    authority: Authority
    directory: Path
    kubeconfig: Path
    kube: client.Kube

    def options(self, **more: Any) -> dict[str, Any]:
        """Return a module's options with the connection to this API."""
        return {"kubeconfig": str(self.kubeconfig), **more}

    def write_kubeconfig(self, name: str, ca: bytes, certificate: bytes, key: bytes, url: str = "") -> Path:
        """Write a kubeconfig with the given credentials and return its path."""
        path = self.directory / name
        path.write_text(json.dumps(_kubeconfig(url or self.url, ca, certificate, key)))
        path.chmod(0o600)
        return path


def _kubeconfig(url: str, ca: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    user = {"client-certificate-data": text(certificate), "client-key-data": text(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority-data": text(ca)}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _number in range(count)]
    for entry in sockets:
        entry.bind(("127.0.0.1", 0))
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports


def _binaries() -> dict[str, str]:
    given = os.environ.get("CLOUDBANG_TEST_BINARIES")
    if given:
        return {name: str(Path(given) / name) for name in BINARIES}
    from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

    found = ensure(list(BINARIES), Settings.from_vars({}), print)
    return {name: str(found[name].path) for name in BINARIES}


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A Kubernetes API that only this test session uses."""
    directory = tmp_path_factory.mktemp("api")
    binaries = _binaries()
    etcd_port, peer_port, api_port = _free_ports(3)
    authority = Authority.new("test-ca")
    server, server_key = authority.issue("kube-apiserver")
    files = {"ca.crt": authority.pem, "ca.key": _key_pem(authority.key), "server.crt": server, "server.key": server_key}
    for name, data in files.items():
        (directory / name).write_bytes(data)
    url = f"https://127.0.0.1:{api_port}"
    admin, admin_key = authority.issue("admin", "system:masters")
    kubeconfig = directory / "admin.conf"
    kubeconfig.write_text(json.dumps(_kubeconfig(url, authority.pem, admin, admin_key)))
    etcd = f"http://127.0.0.1:{etcd_port}"
    peer = f"http://127.0.0.1:{peer_port}"
    commands = {
        "etcd": [
            f"--data-dir={directory}/etcd",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers={etcd}",
            f"--secure-port={api_port}",
            "--bind-address=127.0.0.1",
            f"--tls-cert-file={directory}/server.crt",
            f"--tls-private-key-file={directory}/server.key",
            f"--client-ca-file={directory}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={directory}/server.key",
            f"--service-account-signing-key-file={directory}/server.key",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={kubeconfig}",
            "--secure-port=0",
            "--leader-elect=false",
            # As in a cluster. Without this option controllers would use the administrator's credentials.
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={directory}/server.key",
            f"--root-ca-file={directory}/ca.crt",
            f"--cluster-signing-cert-file={directory}/ca.crt",
            f"--cluster-signing-key-file={directory}/ca.key",
        ],
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        kube: client.Kube | None = None
        for name, arguments in commands.items():
            log = (directory / f"{name}.log").open("wb")
            environment = {**os.environ, "GOGC": GARBAGE_PERCENT}
            processes.append(subprocess.Popen([binaries[name], *arguments], env=environment, stdout=log, stderr=log))
            if name == "kube-apiserver":
                kube = _wait_for(str(kubeconfig), processes, directory)
        assert kube is not None
        _wall(kube)
        yield Api(url, authority, directory, kubeconfig, kube)
    finally:
        for process in reversed(processes):
            process.kill()
        for process in processes:
            process.wait()


def _wait_for(kubeconfig: str, processes: list[subprocess.Popen[bytes]], directory: Path) -> client.Kube:
    kube = client.connect({"kubeconfig": kubeconfig, "request_timeout": 30})
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            if kube.get("Namespace", None, "default"):
                return kube
        except client.KubeError:
            pass
        ended = [process.args for process in processes if process.poll() is not None]
        if ended or time.monotonic() > end:
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(directory.glob("*.log")))
            pytest.fail(f"the test API does not start ({ended}):\n{logs}")
        time.sleep(0.3)


def policy_path(entry: dict[str, Any]) -> str:
    """Return the path of an admission policy, or of its binding, in the API."""
    plural = re.sub("y$", "ie", entry["kind"].lower()) + "s"
    return f"/apis/{entry['apiVersion']}/{plural}/{entry['metadata']['name']}"


def _wall(kube: client.Kube) -> None:
    """Apply the policies of tenants as the role admission does, and wait until they are in force."""
    for entry in admission.manifests(REGISTRY, ["shared/"]):
        query = {"fieldManager": "test", "force": "true"}
        kube.request("PATCH", policy_path(entry), query, entry, content_type=client.APPLY)
    metadata = {"name": "walls", "labels": {"cloudbang.platform/tenant": "walls"}}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    kube.request("POST", kinds.path("Namespace", None), {}, space)
    end = time.monotonic() + START_SECONDS
    while not _in_force(kube, "walls"):
        if time.monotonic() > end:
            pytest.fail("the admission policies are not in force in time")
        time.sleep(0.2)
    kube.delete("Namespace", None, "walls")


def _in_force(kube: client.Kube, namespace: str) -> bool:
    container = {"name": "main", "image": "x/y:1"}
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}}
    where, query = kinds.path("Pod", namespace), {"dryRun": "All"}
    try:
        made = kube.request("POST", where, query, {**pod, "spec": {"containers": [container]}})
    except client.ApiError:
        # The namespace has no service account yet.
        return False
    if "securityContext" not in made["spec"]["containers"][0]:
        return False
    try:
        kube.request("POST", where, query, {**pod, "spec": {"containers": [container], "nodeName": "a"}})
    except client.ApiError as error:
        return "ValidatingAdmissionPolicy" in str(error)
    return False


def namespace_of(tenant: str) -> dict[str, Any]:
    """Return the namespace of a tenant without restrictions."""
    labels = {"app.kubernetes.io/managed-by": "cloudbang", TENANT: tenant, kinds.POD_SECURITY: "baseline"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant, "labels": labels}}


def make_tenant(api: Api, name: str, annotations: dict[str, str], labels: dict[str, str] | None = None) -> None:
    """Create the namespace of a tenant with annotations that an administrator sets."""
    space = namespace_of(name)
    space["metadata"]["annotations"] = annotations
    space["metadata"]["labels"].update(labels or {})
    api.kube.request("POST", kinds.path("Namespace", None), {}, space)


class Nodes(threading.Thread):
    """Writes the status of pods as kubelets would, depending on a word in the name of the image.

    `bad` cannot be pulled, `blocked` is in a registry that cannot be reached, `crash` exits at once after every start,
    `deaf` never passes its probe, `task` succeeds, `fail` fails.
    """

    def __init__(self, kube: client.Kube) -> None:
        super().__init__(daemon=True)
        self._kube = kube
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._follow()
            except client.KubeError:
                time.sleep(0.2)

    def _follow(self) -> None:
        pods, version = self._kube.list_version("Pod", None, "")
        for pod in pods:
            self._care(pod)
        for event in self._kube.watch("Pod", None, "", version, WATCH_SECONDS):
            if event["type"] == "ERROR" or self.stopping.is_set():
                return
            if event["type"] in ("ADDED", "MODIFIED"):
                self._care(event["object"])

    def _care(self, pod: dict[str, Any]) -> None:
        if pod["metadata"]["namespace"] == build_config.NAMESPACE:
            return
        if (pod.get("status") or {}).get("containerStatuses"):
            return
        image = pod["spec"]["containers"][0]["image"]
        # Without the digest, which could contain a word: "bad" is three hexadecimal digits.
        words = image.partition("@")[0]
        ready = not any(word in words for word in ("bad", "blocked", "crash", "deaf", "task", "fail"))
        container: dict[str, Any] = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": image,
            "imageID": "",
            "ready": ready,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
        if "bad" in words:
            message = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": {image}: not found'
            container["state"] = {"waiting": {"reason": "ErrImagePull", "message": message}}
        if "blocked" in words:
            message = f'Back-off pulling image "{image}": ErrImagePull: dial tcp 10.0.0.9:5000: connect: timed out'
            container["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        if "crash" in words:
            ended = {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}
            container.update(restartCount=1, lastState={"terminated": ended})
            container["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
        phase = "Running" if ready else "Pending"
        if "task" in words or "fail" in words:
            phase, code = ("Succeeded", 0) if "task" in words else ("Failed", 4)
            container["state"] = {"terminated": {"exitCode": code, "reason": "Completed" if not code else "Error"}}
        word = "True" if ready else "False"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [
            {"type": kind, "status": word, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
        ]
        status = {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [container],
        }
        where = kinds.path("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]) + "/status"
        try:
            self._kube.request("PATCH", where, {}, {"status": status}, content_type=client.MERGE)
        except client.ApiError as error:
            if error.status not in (404, 409):
                raise


@pytest.fixture(scope="session")
def nodes(api: Api) -> Iterator[Nodes]:
    """Pods that start or fail, depending on the name of their image."""
    thread = Nodes(client.connect({"kubeconfig": str(api.kubeconfig)}))
    thread.start()
    yield thread
    thread.stopping.set()


def _digest(name: str) -> str:
    return f"{REGISTRY}/cloudbang/{name}@sha256:{'0' * 64}"


BUILDER: dict[str, Any] = {
    "format": 1,
    "registry": REGISTRY,
    "push": ["registry.cloudbang.internal:5002"],
    "addresses": {"registry.cloudbang.internal": "10.0.0.9"},
    "service": "test",
    "issuer": "cloudbang-builder",
    "ca": "",
    "image": _digest("builder"),
    "bases": {
        "run/static": {"image": _digest("base/run-static")},
        "build/static": {"image": _digest("base/build-static")},
        "run/base": {"image": _digest("base/run-base")},
        "build/go": {"image": _digest("base/build-go"), "versions": {"go": ["1.24"]}},
    },
    "limits": {"cpu": "2", "memory": "4Gi", "disk": "10Gi", "seconds": 1800, "builds": 2},
    "runtime_class": "cloudbang-builder",
}


def configure_builder(api: Api, **more: Any) -> None:
    """Write the configuration of the builder, as the role does."""
    data = {build_config.CONFIG_KEY: json.dumps({**BUILDER, **more})}
    about = {"name": build_config.CONFIG, "namespace": build_config.NAMESPACE}
    api.kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}, "test")


@pytest.fixture(scope="session")
def builder(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """A builder as the role `builder` makes it, and a node that runs builds."""
    namespace = build_config.NAMESPACE
    kube = api.kube
    kube.request("POST", kinds.path("Namespace", None), {}, {"metadata": {"name": namespace}})
    priority = {"metadata": {"name": "cloudbang-builds"}, "value": -10, "preemptionPolicy": "Never"}
    kube.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {}, priority)
    runtime = {"metadata": {"name": "cloudbang-builder"}, "handler": "crun"}
    kube.request("POST", "/apis/node.k8s.io/v1/runtimeclasses", {}, runtime)
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    data = {"key.pem": base64.b64encode(key).decode(), "kid": base64.b64encode(b"test").decode()}
    secret = {"metadata": {"name": build_config.SIGNING}, "data": data}
    kube.request("POST", kinds.path("Secret", namespace), {}, secret)
    configure_builder(api)
    certificate, node_key = api.authority.issue("system:node:builder")
    own = client.connect({"kubeconfig": str(api.kubeconfig)})
    thread = Kubelet(own, namespace, tmp_path_factory.mktemp("kubelet"), certificate, node_key)
    thread.start()
    yield thread
    thread.stop()


_counter = iter(range(1, 10_000))


@pytest.fixture
def tenant() -> str:
    """The name of a tenant that no other test uses."""
    return f"tenant-{next(_counter)}"
