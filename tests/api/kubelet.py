# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the kubelet of a node that runs builds: it takes the source, serves logs, and writes how pods end.

It runs no container. What a build does is in the file `does` of its source: `fail`, `oom`, `deny` (the registry does
not take the image) or `hang`; any other ends well, with a digest that is that of the source.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import ssl
import tarfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds

NODE = "builder"
PROTOCOL = "v4.channel.k8s.io"
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WATCH_SECONDS = 5
LOG = "STEP 1/2: FROM base\nSTEP 2/2: COPY\n"


class Kubelet(threading.Thread):
    """Plays the node on which the pods of one namespace run, until it is stopped."""

    def __init__(self, kube: client.Kube, namespace: str, directory: Path, certificate: bytes, key: bytes) -> None:
        super().__init__(daemon=True)
        self._kube, self._namespace = kube, namespace
        self.stopping = threading.Event()
        # By the name of a pod: what came over its standard input, and what its containers log.
        self.received: dict[str, bytes] = {}
        self.logs: dict[str, str] = {}
        self.pods: list[str] = []
        # Whether pods stay without a node.
        self.full = False
        # How many connections to containers it closes before it takes one.
        self.refusals = 0
        (directory / "kubelet.pem").write_bytes(certificate + key)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(directory / "kubelet.pem")
        kubelet = self

        class Handler(_Handler):
            node = kubelet

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._register(self._server.server_address[1])

    def _register(self, port: int) -> None:
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": status}
        self._kube.request("POST", kinds.path("Node", None), {}, node)

    def stop(self) -> None:
        self.stopping.set()
        self._kube.delete("Node", None, NODE)
        self._server.shutdown()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._follow()
            except client.KubeError:
                time.sleep(0.2)

    def _follow(self) -> None:
        pods, version = self._kube.list_version("Pod", self._namespace, "")
        for pod in pods:
            self._care(pod)
        for event in self._kube.watch("Pod", self._namespace, "", version, WATCH_SECONDS):
            if event["type"] == "ERROR" or self.stopping.is_set():
                return
            if event["type"] in ("ADDED", "MODIFIED"):
                self._care(event["object"])

    def _care(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp"):
            with contextlib.suppress(client.ApiError):
                self._kube.request("DELETE", kinds.path("Pod", self._namespace, name), {"gracePeriodSeconds": "0"})
        elif name not in self.pods and not pod["spec"].get("nodeName"):
            self.pods.append(name)
            threading.Thread(target=self._run, args=(pod,), daemon=True).start()

    def _run(self, pod: dict[str, Any]) -> None:
        with contextlib.suppress(client.ApiError):
            self._play(pod["metadata"]["name"], pod["spec"])

    def _play(self, name: str, spec: dict[str, Any]) -> None:
        if self.full:
            message = "0/1 nodes are available: 1 Insufficient memory."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            self._status(name, {"conditions": [condition]})
            return
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        self._kube.request("POST", kinds.path("Pod", self._namespace, name) + "/binding", {}, binding)
        size, wanted = spec["initContainers"][0]["args"]
        states: dict[str, dict[str, Any]] = {"source": {"running": {}}}
        self._states(name, spec, states)
        if not self._until(lambda: len(self.received.get(name, b"")) >= int(size)):
            return
        data = self.received[name][: int(size)]
        if hashlib.sha256(data).hexdigest() != wanted:
            self._states(name, spec, {"source": _ended(42, "the source arrived damaged")}, "Failed")
            return
        does = _content(data, "does")
        states.update(source=_ended(0), bases=_ended(0), build={"running": {}})
        self.logs[name] = LOG
        self._states(name, spec, states)
        if does == "hang":
            return
        time.sleep(0.5)
        ends = {"fail": _ended(7), "oom": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
        if does in ends:
            self.logs[name] += "error: it does not compile\n"
            self._states(name, spec, {**states, "build": ends[does]}, "Failed")
            return
        states.update(build=_ended(0), push=_ended(0, "sha256:" + wanted))
        if does == "deny":
            states["push"] = _ended(61, "PUT https://registry: UNAUTHORIZED: authentication required")
            self._states(name, spec, states, "Failed")
            return
        self._states(name, spec, states, "Succeeded")

    def _until(self, condition: Any) -> bool:
        end = time.monotonic() + 60
        while not condition():
            if self.stopping.is_set() or time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _states(self, name: str, spec: dict[str, Any], states: dict[str, Any], phase: str = "Running") -> None:
        def listed(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
            later = {"waiting": {"reason": "PodInitializing"}}
            common = {"image": "x", "imageID": "", "ready": False, "restartCount": 0}
            return [{"name": one["name"], **common, "state": states.get(one["name"], later)} for one in containers]

        status = {
            "phase": "Pending" if phase == "Running" and "push" not in states else phase,
            "initContainerStatuses": listed(spec["initContainers"]),
            "containerStatuses": listed(spec["containers"]),
        }
        self._status(name, status)

    def _status(self, name: str, status: dict[str, Any]) -> None:
        where = kinds.path("Pod", self._namespace, name) + "/status"
        self._kube.request("PATCH", where, {}, {"status": status}, content_type=client.MERGE)


def _ended(code: int, message: str = "") -> dict[str, Any]:
    reason = "Completed" if code == 0 else "Error"
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def _content(data: bytes, name: str) -> str:
    """Return the text of a file in a tar, "" without one."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.extractfile(name) if name in tar.getnames() else None
        return member.read().decode().strip() if member else ""


class _Handler(http.server.BaseHTTPRequestHandler):
    """What the API server asks of a kubelet: logs, and connections to a container."""

    node: Kubelet
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        _empty, what, _namespace, pod, container = urlsplit(self.path).path.split("/")
        if what == "containerLogs":
            self.close_connection = True
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(self.node.logs.get(pod, "").encode() if container == "build" else b"")
        elif what == "attach" and self.node.refusals > 0:
            self.node.refusals -= 1
            self.close_connection = True
        elif what == "attach" and self.headers.get("Sec-WebSocket-Protocol") == PROTOCOL:
            self._attach(pod)
        else:
            self.send_error(404)

    def _attach(self, pod: str) -> None:
        self.close_connection = True
        key = hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + _ACCEPT).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(key).decode())
        self.send_header("Sec-WebSocket-Protocol", PROTOCOL)
        self.end_headers()
        received = bytearray()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 0x0F == 8:
                return
            length = head[1] & 0x7F
            if length > 125:
                length = int.from_bytes(self.rfile.read(2 if length == 126 else 8), "big")
            mask = self.rfile.read(4)
            data = self.rfile.read(length)
            key_stream = mask * (length // 4 + 1)
            plain = (int.from_bytes(data, "big") ^ int.from_bytes(key_stream[:length], "big")).to_bytes(length, "big")
            # The first byte is the number of the stream.
            if plain[:1] == b"\0":
                received += plain[1:]
                self.node.received[pod] = bytes(received)
