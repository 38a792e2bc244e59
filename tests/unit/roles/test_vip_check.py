# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a host that may hold the virtual IP, against real servers."""

from __future__ import annotations

import http.server
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import jinja2
import pytest

TEMPLATE = Path(__file__).resolve().parents[3] / "roles/api_loadbalancer/templates/vip-check.j2"


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /STATUS with that status, and keeps the paths that were requested."""

    requested: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requested.append(self.path)
        self.send_response(int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture()
def port() -> Iterator[int]:
    Server.requested.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture()
def silent() -> Iterator[int]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def check(place: Path, *urls: str) -> int:
    environment = jinja2.Environment(autoescape=False)
    environment.filters["quote"] = shlex.quote
    text = environment.from_string(TEMPLATE.read_text("utf-8")).render(api_loadbalancer_checks=urls)
    script = place / "vip-check"
    script.write_text(text.lstrip("\n"))
    script.chmod(0o755)
    return subprocess.run([script], capture_output=True, timeout=10, check=False).returncode


@pytest.mark.parametrize(
    ("path", "passes"),
    [("", True), ("/", True), ("/200", True), ("/204", True), ("/302", True), ("/404", False), ("/500", False)],
)
def test_the_status_decides(tmp_path: Path, port: int, path: str, passes: bool) -> None:
    assert (check(tmp_path, f"http://127.0.0.1:{port}{path}") == 0) == passes
    assert Server.requested == [path or "/"]


def test_every_url_has_to_answer(tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    assert check(tmp_path) == 0
    assert check(tmp_path, url, f"{url}/201") == 0
    assert check(tmp_path, f"{url}/500", url) != 0
    assert check(tmp_path, url, f"{url}/500") != 0


def test_a_port_that_nobody_has_fails(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        assert check(tmp_path, f"http://127.0.0.1:{one.getsockname()[1]}/") != 0


def test_a_server_without_answer_fails(tmp_path: Path, silent: int) -> None:
    assert check(tmp_path, f"http://127.0.0.1:{silent}/") != 0


def test_an_answer_that_is_not_http_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _address = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert check(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/") != 0
        thread.join()


def test_other_urls_are_requested_too(tmp_path: Path) -> None:
    """An https URL needs a client with TLS, and so does one with a user or an IPv6 address."""
    page = tmp_path / "page"
    page.write_text("x")
    assert check(tmp_path, page.as_uri()) == 0
    assert check(tmp_path, f"{page.as_uri()}-none") != 0
    assert check(tmp_path, "https://127.0.0.1:1/") != 0
