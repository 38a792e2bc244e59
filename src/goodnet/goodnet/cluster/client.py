# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the API."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import urllib3
import urllib3.connection
import yaml

from goodnet.cluster.objects import Object

log = logging.getLogger(__name__)

MERGE = "application/merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
METADATA_LIST = METADATA.format("List")
_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 15.0
# The API sends a bookmark about once a minute: a watch that is silent for longer than this leads to nobody.
_SILENCE = 150.0
# A connection to an API that is gone is noticed about this many seconds later, also when nothing is sent. Who holds the
# external addresses has to be known sooner: the load balancer in front of the API may fail together with them.
_KEEPALIVE = (("SO_KEEPALIVE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3))
_IDLE_SECONDS = 3
_IDLE_SECONDS_PROVIDER = 1


class Unreachable(Exception):
    """The API did not give a whole answer, or the kubeconfig does not lead to it."""


class ApiError(Exception):
    """The API refused a request."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"the API answered {status}: {message}")


class Api:
    """Requests to the API with the client certificate of a kubeconfig. Safe to use from several threads.

    The kubeconfig and the files it names are read again when they change, as when the certificate is renewed.
    """

    def __init__(self, kubeconfig: Path, idle_seconds: int = _IDLE_SECONDS) -> None:
        self._kubeconfig = kubeconfig
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._files: tuple[Path, ...] = (kubeconfig,)
        self._seen: tuple[object, ...] | None = None
        self._server = ""
        self._pool: urllib3.PoolManager | None = None

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """Send a request once and return the JSON of the answer."""
        response = self._send(method, path, query, body, content_type, accept, _REQUEST_SECONDS, True)
        data: bytes = response.data
        if response.status >= 400:
            raise ApiError(response.status, _message(data))
        return _decoded(data)

    def stream(self, path: str, query: Mapping[str, str], accept: str) -> Iterator[Object]:
        """Open a stream of JSON lines and return an iterator over them, which ends with the stream."""
        response = self._send("GET", path, query, None, "", accept, _SILENCE, False)
        if response.status >= 400:
            data = response.read()
            response.close()
            raise ApiError(response.status, _message(data))
        return self._lines(response)

    def _lines(self, response: urllib3.BaseHTTPResponse) -> Iterator[Object]:
        try:
            buffer = bytearray()
            for chunk in response.stream(2**16):
                buffer += chunk
                while (end := buffer.find(b"\n")) >= 0:
                    line = bytes(buffer[:end])
                    del buffer[: end + 1]
                    if line.strip():
                        yield _decoded(line)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Unreachable(f"{self._server} said nothing for {_SILENCE:.0f} s") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"the connection to {self._server} broke off") from error
        finally:
            # A connection in the middle of an answer is of no use to others.
            response.close()

    def sooner(self) -> Api:
        """Return a client that notices sooner when the API is gone."""
        return Api(self._kubeconfig, _IDLE_SECONDS_PROVIDER)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        accept: str,
        seconds: float,
        whole: bool,
    ) -> urllib3.BaseHTTPResponse:
        pool, server = self._connected()
        headers = {"Accept": accept, "User-Agent": "goodnet-agent"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            return pool.request(
                method,
                server + path + ("?" + urlencode(query) if query else ""),
                body=json.dumps(body).encode() if body is not None else None,
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds),
                retries=False,
                preload_content=whole,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"{server} does not answer: {_cause(error)}") from error

    def _connected(self) -> tuple[urllib3.PoolManager, str]:
        with self._lock:
            seen = tuple(_identity(file) for file in self._files)
            if self._pool is None or seen != self._seen:
                try:
                    self._read()
                except (OSError, ValueError, KeyError, TypeError, ssl.SSLError, yaml.YAMLError) as error:
                    # A file that is being written is whole in a moment; until then the old certificate serves.
                    problem = f"kubeconfig {self._kubeconfig}: found {type(error).__name__} {_cause(error)}, "
                    problem += "wanted server, authority, client certificate and key of one cluster"
                    if self._pool is None:
                        raise Unreachable(problem) from error
                    if seen != self._seen:
                        log.warning("%s; the former one stays in use", problem)
                self._seen = tuple(_identity(file) for file in self._files)
            assert self._pool is not None
            return self._pool, self._server

    def _read(self) -> None:
        data = yaml.safe_load(self._kubeconfig.read_text(encoding="utf-8"))
        context = _named(data["contexts"], data["current-context"])["context"]
        cluster = _named(data["clusters"], context["cluster"])["cluster"]
        user = _named(data["users"], context["user"])["user"]
        authority, _ignored = _material(cluster, "certificate-authority", self._kubeconfig)
        certificate, certificate_file = _material(user, "client-certificate", self._kubeconfig)
        key, key_file = _material(user, "client-key", self._kubeconfig)
        tls = ssl.create_default_context(cadata=authority.decode())
        # urllib3 compares the name itself. Older ones give OpenSSL no name to compare when it is an address.
        tls.check_hostname = False
        # OpenSSL reads certificate and key from files only; these are in memory.
        with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
            tls.load_cert_chain(certificate_path, key_path)
        options = [*urllib3.connection.HTTPConnection.default_socket_options]
        for name, value in (*_KEEPALIVE, ("TCP_KEEPIDLE", self._idle_seconds)):
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            options.append((level, getattr(socket, name), value))
        self._server = str(cluster["server"]).rstrip("/")
        self._pool = urllib3.PoolManager(ssl_context=tls, maxsize=16, socket_options=options)
        self._files = (self._kubeconfig, *(file for file in (certificate_file, key_file) if file))


def _named(entries: list[Object], name: str) -> Object:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


def _material(entry: Object, key: str, kubeconfig: Path) -> tuple[bytes, Path | None]:
    """Return what a kubeconfig says of a certificate or key, and the file it is in when it is not the kubeconfig."""
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]), None
    file = kubeconfig.parent / str(entry[key])
    return file.read_bytes(), file


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("goodnet", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _identity(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _decoded(data: bytes) -> Object:
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise Unreachable("the answer is no JSON: is it a Kubernetes API?") from error
    if not isinstance(answer, dict):
        raise Unreachable("the answer is no object: is it a Kubernetes API?")
    return answer


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[:200].decode("utf-8", "replace").strip() or "no reason given"


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error in one line."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or error.__context__
        if inner is None:
            return " ".join(str(error).split()) or type(error).__name__
        error = inner
