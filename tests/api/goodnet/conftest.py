# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of GoodNet that talk to the API, against a real one."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# The package itself, and the private host of its unit tests.
for directory in (ROOT / "src" / "goodnet", ROOT / "tests" / "unit" / "goodnet"):
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))

from goodnet.cluster import client, objects

from ..conftest import Api


@pytest.fixture
def agent_api(api: Api) -> client.Api:
    """The agent's own client, with its namespace, and without its ConfigMap and Lease."""
    made = client.Api(api.kubeconfig)
    own = f"/namespaces/{objects.NAMESPACE}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": objects.NAMESPACE}}
    try:
        made.request("POST", "/api/v1/namespaces", body=body)
    except client.ApiError as error:
        assert error.status == 409
    for path in (
        f"/api/v1{own}/configmaps/{objects.TENANTS}",
        f"/apis/coordination.k8s.io/v1{own}/leases/{objects.PROVIDER}",
    ):
        try:
            made.request("DELETE", path)
        except client.ApiError as error:
            assert error.status == 404
    return made


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Return whether the condition becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Proxy:
    """A proxy of the API that can be closed and opened again on the same port.

    It connects from the network namespace in which it was created, and listens in the one in which it is opened.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._dialler = ThreadPoolExecutor(1)
        self._dialler.submit(int).result()
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []
        self.port = 0

    def open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        assert self._server is not None
        for entry in (self._server, *self._open):
            # Only shutdown wakes a thread that waits in accept or recv; close does not.
            with contextlib.suppress(OSError):
                entry.shutdown(socket.SHUT_RDWR)
            entry.close()
        self._open.clear()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ignored = server.accept()
            except OSError:
                return
            far = self._dialler.submit(socket.create_connection, ("127.0.0.1", self._target)).result()
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for entry in (source, sink):
            with contextlib.suppress(OSError):
                entry.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(api: Api) -> Iterator[Proxy]:
    made = Proxy(int(api.url.rpartition(":")[2]))
    yield made
    made.cut()
