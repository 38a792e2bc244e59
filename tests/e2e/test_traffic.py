# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of the other tests, against a server on this machine: they keep their rate and count every failure."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from .lab import traffic


class Server(http.server.ThreadingHTTPServer):
    """Counts connections and requests; answers with `status` after `delay` seconds, or hangs up if it is None."""

    request_queue_size = 128

    def __init__(self) -> None:
        self.status: int | None = 200
        self.delay = 0.0
        self.connections = self.requests = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests += 1
        time.sleep(self.server.delay)
        if self.server.status is None:
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_all: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.mark.parametrize("keep_alive", [True, False])
def test_rate_and_connections(server: Server, keep_alive: bool) -> None:
    with traffic("127.0.0.1", server.server_port, "/", {}, clients=5, rate=50, keep_alive=keep_alive) as seen:
        time.sleep(1.5)
    assert seen.failures == [] and seen.sent == server.requests == len(seen.latencies)
    # About two seconds, since requests continue for a moment after the block; a busy machine sends less, never more.
    assert 50 <= seen.sent <= 110
    assert server.connections == (5 if keep_alive else seen.sent)


def test_slow_answers_count_from_when_they_were_due(server: Server) -> None:
    server.delay = 0.2
    with traffic("127.0.0.1", server.server_port, "/", {}, clients=1, rate=20) as seen:
        time.sleep(1)
    # A client gets five answers a second and not 20: its sixth request is due long before it is sent.
    assert seen.p99 > 0.5


@pytest.mark.parametrize("status", [503, None])
def test_failures_are_counted(server: Server, status: int | None) -> None:
    with traffic("127.0.0.1", server.server_port, "/", {}, clients=4, rate=100) as seen:
        time.sleep(0.3)
        server.status = status
        time.sleep(0.3)
        server.status = 200
    assert 0 < len(seen.failures) < seen.sent


def test_nobody_listens(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with traffic("127.0.0.1", server.server_port, "/", {}, clients=2, rate=20) as seen:
        pass
    assert seen.sent == len(seen.failures) > 0 and seen.p99 == float("inf")
