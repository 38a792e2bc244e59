# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An API behind a load balancer that ends connections before their handshake is done, as one without backend does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import Authority

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHERE = "/api/v1/namespaces/acme/configmaps"


class Balancer(threading.Thread):
    """Ends the first connections, then answers every request with an empty object."""

    def __init__(self, directory: Path, ended: int, how: str) -> None:
        super().__init__(daemon=True)
        Authority.ensure(directory, "server", "server")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(directory / "server.crt", directory / "server.key")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended, self._how = ended, how
        self.connections = 0
        self.requests: list[bytes] = []
        # Answers to the first requests.
        self.first: list[bytes] = []
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            near, _address = self._listener.accept()
            self.connections += 1
            with near, contextlib.suppress(OSError):
                if self.connections <= self._ended:
                    near.recv(65536)
                    if self._how == "reset":
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                with self._tls.wrap_socket(near, server_side=True) as secure:
                    data = b""
                    # What was not read when the socket is closed would reset the connection.
                    while not data.endswith(b"{}" if b"Content-Type" in data else b"\r\n\r\n"):
                        data += secure.recv(65536)
                    self.requests.append(data.split(b"\r\n")[0])
                    secure.sendall(self.first.pop(0) if self.first else ANSWER)


@pytest.fixture(params=["end", "reset"])
def balancer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that starts one and returns it with a client."""
    monkeypatch.setattr(client, "PAUSE", 0.01)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    def start(ended: int) -> tuple[Balancer, client.Kube]:
        made = Balancer(tmp_path, ended, request.param)
        made.start()
        return made, client.connect({"host": made.url, "validate_certs": False})

    yield start


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_connection_that_ends_in_the_handshake_is_made_again(balancer: Any, method: str) -> None:
    server, kube = balancer(2)
    assert kube.request(method, WHERE, {}, {} if method in ("POST", "PATCH") else None) == {}
    assert server.connections == 3
    assert server.requests == [f"{method} {WHERE} HTTP/1.1".encode()]


def test_one_that_always_ends_is_unreachable_and_nothing_is_unknown(balancer: Any) -> None:
    server, kube = balancer(1000)
    with pytest.raises(client.Unreachable, match="does not answer: "):
        kube.request("POST", WHERE, {}, {}, patience=0.1)
    assert server.connections > 1 and not kube.changed


def test_a_certificate_that_nobody_signed_is_still_a_wrong_kubeconfig(balancer: Any) -> None:
    server, _kube = balancer(0)
    with pytest.raises(client.ConfigError, match="is not signed by the CA given"):
        client.connect({"host": server.url}).request("GET", WHERE)


@pytest.mark.parametrize(
    ("method", "where", "query", "changed"),
    [
        ("GET", WHERE, {}, False),
        ("POST", REVIEW, {}, False),
        ("POST", "/api/v1/namespaces/acme/serviceaccounts/ci/token", {}, False),
        ("PATCH", WHERE, {"dryRun": "All"}, False),
        ("PATCH", WHERE, {}, True),
        ("DELETE", WHERE, {}, True),
    ],
)
def test_what_changes_something(balancer: Any, method: str, where: str, query: dict[str, str], changed: bool) -> None:
    _server, kube = balancer(0)
    kube.request(method, where, query, {} if method in ("POST", "PATCH") else None)
    assert kube.changed is changed


def conflict(kind: str) -> bytes:
    body = b'{"kind": "Status", "reason": "Conflict", "details": {"name": "a", "kind": "%s"}}' % kind.encode()
    head = ANSWER.replace(b"200 OK", b"409 Conflict").replace(b"Length: 2", b"Length: %d" % len(body))
    return head.removesuffix(b"{}") + body


@pytest.mark.parametrize(
    ("kind", "where", "sent"),
    [("resourcequotas", WHERE, 3), ("configmaps", WHERE, 1), ("resourcequotas", f"{WHERE[:-10]}resourcequotas/a", 1)],
)
def test_a_request_is_sent_again_when_the_quota_was_in_use(balancer: Any, kind: str, where: str, sent: int) -> None:
    """Also a POST: it was refused before anything was stored."""
    made, kube = balancer(0)
    made.first = [conflict(kind), conflict(kind)]
    if sent == 1:
        with pytest.raises(client.ApiError) as error:
            kube.request("POST", where, {}, {})
        assert error.value.status == 409
    else:
        kube.request("POST", where, {}, {})
    assert len(made.requests) == sent


def test_a_quota_that_stays_in_use_ends_the_request(balancer: Any) -> None:
    made, kube = balancer(0)
    made.first = [conflict("resourcequotas")] * 1000
    with pytest.raises(client.ApiError):
        kube.request("POST", WHERE, {}, {}, patience=0.1)
    assert len(made.requests) < 50
