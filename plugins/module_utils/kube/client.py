# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Kubernetes client over fixed paths and plain JSON, set up by the official client's configuration.

No discovery and no object models: one connection, one request per call. A call that cannot have changed anything fails
with `Unreachable`; a change whose answer got lost fails with `Unknown`.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

try:
    import kubernetes.client
    import kubernetes.client.rest
    import kubernetes.config
    import urllib3
    import urllib3.connection
    import urllib3.connectionpool

    # A dependency of the library kubernetes.
    import websocket

    MISSING: str | None = None
except ImportError as import_error:
    MISSING = str(import_error)

from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError

from .kinds import Object, path

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAIR = re.compile(r"(\\\\)|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
CONNECT_TIMEOUT = 5
# The protocol of streams to containers: the first byte of a message is the number of its stream, 0 the standard input.
CHANNELS = "v4.channel.k8s.io"
# A container that writes nothing for so long is still followed.
FOLLOW_SECONDS = 3600
LONGEST_LINE = 8192
# How long a call that may be repeated is repeated: longer than a virtual IP takes to move.
PATIENCE = 12.0
PAUSE = 0.5
# Temporary errors, independent of the request: too many requests, no leader, no backend, timeout.
BUSY = (429, 500, 502, 503, 504)
# The ends of paths that a POST asks something of and changes nothing with.
QUESTIONS = ("reviews", "/token")
# How an ended connection looks to TLS; every other error of it says what is wrong with certificates or protocol.
ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
Found = TypeVar("Found")
# Returns the next step to add to the message of a refusal, by its status and that message.
Advice = Callable[[int, str], str]
# A connection to an API that is gone is noticed after about 6 seconds, also when nothing is sent (a watch).
KEEPALIVE = (("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 3), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3))


class KubeError(PlatformError):
    """A failed request."""


class ConfigError(KubeError):
    """The options, the kubeconfig or its credentials are not usable."""


class Unreachable(KubeError):
    """The API did not answer, and nothing was changed by this call."""


class Unknown(KubeError):
    """The answer to a change was lost: the change may have been made or not."""


class ApiError(KubeError):
    """The API refused a request."""

    def __init__(self, status: int, message: str, reason: str = "", causes: list[str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.causes = causes or []
        super().__init__(message)


class Kube:
    """Requests to one cluster. Safe to use from several threads."""

    def __init__(
        self,
        configuration: Any,
        described: str,
        request_timeout: float,
        advice: Advice,
        cluster_name: Callable[[], str],
    ) -> None:
        self.host = configuration.host.rstrip("/")
        self.described = described
        self.ca = _text(configuration.ssl_ca_cert)
        self.request_timeout = request_timeout
        # What a kubeconfig for this cluster calls it.
        self.cluster_name = cluster_name
        self._advice = advice
        # What a run finds in the cluster and does not use; a mapping, as it keeps each once and in order.
        self.warnings: dict[str, None] = {}
        # Whether the API has done anything but answer questions.
        self.changed = False
        self._date: tuple[float, float] | None = None
        self._headers = {"Accept": "application/json"}
        for setting in configuration.auth_settings().values():
            if setting and setting.get("value"):
                self._headers[setting["key"]] = setting["value"]
        self._tls = _tls(configuration, described)
        self._proxy = None if _bypassed(configuration) else configuration.proxy
        self._server_name: str | None = getattr(configuration, "tls_server_name", None)
        self._pool = _pool(configuration, self._tls)

    def warn(self, message: str) -> None:
        """Add a warning to the result of this run."""
        self.warnings[message] = None

    def now(self) -> float:
        """Return the API server's time in seconds since 1970, so that controllers' clocks need not agree."""
        if self._date is None:
            return time.time()
        server, local = self._date
        return server + time.monotonic() - local

    def find(
        self,
        kind: str,
        namespace: str | None = None,
        selector: str | None = None,
        metadata: bool = False,
        after: str = "",
        **query: str,
    ) -> list[Object]:
        """Return the objects of a kind in a namespace (None: all namespaces), newest state.

        With after, the resource version of a list, it is the state of that moment or a later one. The API server has it
        in memory and need not ask etcd, which halves the time. One that has not is asked for the newest state.
        """
        if selector:
            query["labelSelector"] = selector
        accept = METADATA if metadata else None
        if after:
            cached = {**query, "resourceVersion": after, "resourceVersionMatch": "NotOlderThan"}
            try:
                return self.request("GET", path(kind, namespace), cached, accept=accept, patience=0).get("items") or []
            except Unreachable:
                pass
            except ApiError as error:
                if error.status not in BUSY:
                    raise
        items: list[Object] = self.request("GET", path(kind, namespace), query, accept=accept).get("items") or []
        return items

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """Return one object, or None when there is none of the name."""
        try:
            return self.request("GET", path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, wanted: Object, manager: str, dry: bool = False) -> Object:
        """Apply the object for the field manager (server-side apply), and return it.

        With dry, return the object as it would become, and change nothing.
        """
        meta = wanted["metadata"]
        where = path(wanted["kind"], meta.get("namespace"), meta["name"])
        query = {"fieldManager": manager, "force": "true", **({"dryRun": "All"} if dry else {})}
        return self.request("PATCH", where, query, wanted, content_type=APPLY)

    def create(self, wanted: Object, manager: str) -> Object:
        """Create an object. Raises ApiError 409 when the name is taken."""
        where = path(wanted["kind"], wanted["metadata"].get("namespace"))
        return self.request("POST", where, {"fieldManager": manager}, wanted)

    def patch_metadata(self, kind: str, namespace: str, name: str, change: Object, manager: str) -> Object:
        """Merge labels and annotations into an object."""
        where = path(kind, namespace, name)
        return self.request("PATCH", where, {"fieldManager": manager}, {"metadata": change}, content_type=MERGE)

    def delete(self, kind: str, namespace: str | None, name: str) -> bool:
        """Delete an object and, in the background, its dependents. Returns whether it existed."""
        try:
            self.request("DELETE", path(kind, namespace, name), {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def logs(self, namespace: str, pod: str, lines: int, container: str = "", previous: bool = False) -> str:
        """Return the last lines a container wrote. ApiError 410 when its node has just removed them."""
        query = {"tailLines": str(lines)}
        if container:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        response = self._send("GET", f"{path('Pod', namespace, pod)}/log", query, None, {"Accept": "*/*"})
        data: bytes = response.data
        if response.status >= 400:
            raise self._refusal(response.status, data, "read the log of", pod)
        text = data.decode("utf-8", "replace")
        # The kubelet puts this into a good answer.
        if text.startswith("unable to retrieve container logs for "):
            raise ApiError(410, f"read the log of {pod}: {text}")
        return text

    def follow(self, namespace: str, pod: str, container: str) -> Iterator[str]:
        """Yield the lines that a container has written, and those that it writes, until it ends or the connection does.

        Nothing is yielded if the log cannot be read. A line is cut at LONGEST_LINE bytes.
        """
        query = {"container": container, "follow": "true"}
        where = f"{path('Pod', namespace, pod)}/log"
        try:
            response = self._send("GET", where, query, None, {"Accept": "*/*"}, True, FOLLOW_SECONDS)
        except KubeError:
            return
        try:
            if response.status >= 400:
                return
            buffer = b""
            for chunk in response.stream(1 << 16):
                *whole, buffer = (buffer + chunk).split(b"\n")
                for line in whole:
                    yield line[:LONGEST_LINE].decode("utf-8", "replace")
                buffer = buffer[:LONGEST_LINE]
            if buffer:
                yield buffer.decode("utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError):
            return
        finally:
            response.close()

    def attach(self, namespace: str, pod: str, container: str) -> Attached:
        """Return a connection to the standard input of a running container. Raises KubeError when there is none."""
        query = {"container": container, "stdin": "true", "stdout": "true", "stderr": "true"}
        where = f"{path('Pod', namespace, pod)}/attach"
        url = f"{self.host}{where}?{urlencode(query)}".replace("http", "ws", 1)
        options: dict[str, Any] = {"timeout": self.request_timeout, "subprotocols": [CHANNELS], "suppress_origin": True}
        # A stream is none of the types that the API encodes objects in.
        headers = {**{name.lower(): value for name, value in self._headers.items()}, "accept": "*/*"}
        options["header"] = [f"{name}: {value}" for name, value in headers.items()]
        connection: Any = websocket.WebSocket(sslopt={"context": self._tls, "server_hostname": self._server_name})
        try:
            if self._proxy:
                proxy = urlsplit(self._proxy)
                options.update(http_proxy_host=proxy.hostname, http_proxy_port=proxy.port, http_no_proxy=[])
            else:
                # Without a socket the library uses the proxy in the environment, even for addresses that bypass it.
                options["socket"] = self._socket()
            connection.connect(url, **options)
        except websocket.WebSocketBadStatusException as error:
            body = error.resp_body if isinstance(error.resp_body, bytes) else b""
            raise self._refusal(error.status_code, body, "attach to", pod) from error
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(f"{self.described} gives no connection to {pod}: {_cause(error)}") from error
        return Attached(connection, f"{self.described}: pod {pod}")

    def _socket(self) -> socket.socket:
        """Return a connection to the API."""
        server = urlsplit(self.host)
        port = server.port or (443 if self._tls else 80)
        plain = socket.create_connection((server.hostname or "", port), CONNECT_TIMEOUT)
        for option in _socket_options():
            plain.setsockopt(*option)
        # The library does not set that of a socket that it is given.
        plain.settimeout(self.request_timeout)
        if self._tls is None:
            return plain
        return self._tls.wrap_socket(plain, server_hostname=self._server_name or server.hostname)

    def watch(self, kind: str, namespace: str | None, selector: str, version: str, seconds: int) -> Iterator[Object]:
        """Yield the watch events from a resource version on, until the time is over or the connection ends."""
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
        response = self._send("GET", path(kind, namespace), query, None, {}, stream=True, read_timeout=seconds + 5)
        try:
            if response.status >= 400:
                raise self._refusal(response.status, response.read(), "watch", kind)
            buffer = b""
            for chunk in response.stream(None):
                buffer += chunk
                *whole, buffer = buffer.split(b"\n")
                for line in whole:
                    if line.strip():
                        yield json.loads(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            return
        finally:
            response.close()

    def list_version(self, kind: str, namespace: str | None, selector: str) -> tuple[list[Object], str]:
        """Return the objects of a kind and the resource version to watch from."""
        answer = self.request("GET", path(kind, namespace), {"labelSelector": selector})
        return answer.get("items") or [], answer.get("metadata", {}).get("resourceVersion", "")

    def request(
        self,
        method: str,
        where: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
        patience: float | None = None,
    ) -> Object:
        """Send a request and return the answer's JSON.

        Requests except a POST that was sent are retried for some seconds (PATIENCE) while the API does not answer or is
        busy. Each is while others use the quota of the namespace at the same time.
        """
        headers = {"Content-Type": content_type} if body is not None else {}
        if accept:
            headers["Accept"] = accept
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        sent = False
        while True:
            try:
                response = self._send(method, where, query, body, headers)
            except Unreachable as error:
                sent = sent or isinstance(error, _AnswerLost)
                repeat = method != "POST" or not sent
                if repeat and time.monotonic() < end:
                    time.sleep(PAUSE)
                    continue
                if sent and method != "GET":
                    raise _unknown(method, where, str(error)) from error
                raise
            if response.status in BUSY and method != "POST" and time.monotonic() < end:
                time.sleep(_retry_after(response))
                continue
            if response.status == 409 and _quota_moved(response.data, where) and time.monotonic() < end:
                time.sleep(PAUSE)
                continue
            if response.status in (502, 504) and method != "GET":
                raise _unknown(method, where, f"{self.described} answered {response.status}")
            data: bytes = response.data
            if response.status >= 400:
                verb = {"GET": "read", "DELETE": "delete", "POST": "create", "PATCH": "change", "PUT": "change"}[method]
                raise self._refusal(response.status, data, verb, where)
            try:
                answer: Object = json.loads(data)
            except ValueError as error:
                raise ConfigError(f"{self.described}: the answer is no JSON: is it a Kubernetes API?") from error
            if method != "GET" and "dryRun" not in (query or {}) and not where.endswith(QUESTIONS):
                self.changed = True
            return answer

    def _send(
        self,
        method: str,
        where: str,
        query: dict[str, str] | None,
        body: Object | None,
        headers: dict[str, str],
        stream: bool = False,
        read_timeout: float | None = None,
    ) -> Any:
        url = self.host + where + ("?" + urlencode(query) if query else "")
        try:
            response = self._pool.request(
                method,
                url,
                body=_encoded(body) if body is not None else None,
                headers={**self._headers, **headers},
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=read_timeout or self.request_timeout),
                retries=False,
                preload_content=not stream,
            )
        except urllib3.exceptions.SSLError as error:
            raise self._tls_error(error) from error
        except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError) as error:
            raise Unreachable(f"{self.described} does not answer: {_cause(error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if "alert" in str(error) and "certificate" in str(error):
                raise self._tls_error(error) from error
            raise _AnswerLost(f"{self.described} stopped answering: {_cause(error)}") from error
        date = response.headers.get("Date")
        if date and self._date is None:
            with contextlib.suppress(ValueError, TypeError):
                self._date = (email.utils.parsedate_to_datetime(date).timestamp(), time.monotonic())
        return response

    def _refusal(self, status: int, data: bytes, verb: str, what: str) -> KubeError:
        answer = _status(data)
        message = answer.get("message") or data[:300].decode("utf-8", "replace").strip() or "no reason given"
        if status == 401:
            return ConfigError(
                f"{self.described} does not accept the credentials (401): expired, or of another cluster"
            )
        message += self._advice(status, message)
        if status == 403:
            message = f"not allowed (403): {message}"
        causes = [cause.get("message", "") for cause in (answer.get("details") or {}).get("causes") or []]
        return ApiError(status, f"cannot {verb} {what}: {message}", answer.get("reason", ""), causes)

    def _tls_error(self, error: Exception) -> ConfigError:
        text = str(error)
        if "expired" in text and "alert" in text:
            return ConfigError(f"{self.described} refuses the client certificate: it has expired; wanted a valid one")
        if "alert" in text:
            return ConfigError(f"{self.described} refuses the client certificate: {_cause(error)}")
        if "Hostname mismatch" in text or "IP address mismatch" in text or "doesn't match" in text:
            return ConfigError(f"{self.described}: its certificate is for other names: {_cause(error)}")
        if "expired" in text:
            return ConfigError(f"{self.described}: its certificate has expired")
        if "certificate verify failed" in text:
            return ConfigError(
                f"{self.described}: its certificate (x509) is not signed by the CA given; "
                "wanted the kubeconfig or CA of this cluster"
            )
        return ConfigError(f"{self.described}: no TLS connection: {_cause(error)}")


class Attached:
    """A connection to the standard input of a container, over which its output comes, too."""

    def __init__(self, connection: Any, described: str) -> None:
        self._connection, self._described = connection, described

    def send(self, data: bytes) -> None:
        """Send bytes to the standard input; waits while the container does not read. Raises Unreachable."""
        try:
            self._connection.send_binary(b"\0" + data)
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(f"{self._described}: the connection ended: {_cause(error)}") from error

    def close(self) -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            self._connection.close(timeout=3)


def _text(name: str | None) -> str | None:
    """Return the content of a file, None when it does not exist."""
    with contextlib.suppress(OSError), open(name or "", encoding="utf-8") as stream:
        return stream.read()
    return None


def _encoded(body: Object) -> bytes:
    """Return an object as JSON that is YAML too: that knows no pairs of escapes for one character."""

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return found[0]
        return chr(0x10000 + (int(found[2], 16) - 0xD800) * 0x400 + int(found[3], 16) - 0xDC00)

    return _PAIR.sub(one, json.dumps(body)).encode()


class _AnswerLost(Unreachable):
    """The request was sent at least in part, without a complete answer."""


def _unknown(method: str, where: str, why: str) -> Unknown:
    return Unknown(f"{why}; it is unknown whether {method} {where} was done, run the task again")


def _status(data: bytes) -> dict[str, Any]:
    """Return the Status object with which the API refused a request, or {} when the answer is something else."""
    try:
        answer = json.loads(data)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _quota_moved(data: bytes, where: str) -> bool:
    """Return whether a request was refused only because another one was counted in the quota meanwhile.

    It is counted before anything is stored, so that even a POST can be sent again.
    """
    details = _status(data).get("details") or {}
    return details.get("kind") == "resourcequotas" and "/resourcequotas" not in where


def _retry_after(response: Any) -> float:
    try:
        return min(float(response.headers.get("Retry-After", PAUSE)), 3.0)
    except ValueError:
        return PAUSE


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error in one line."""
    seen: BaseException = error
    while True:
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = seen.__cause__ or seen.__context__
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return " ".join(str(seen).split()) or type(seen).__name__


def if_allowed(read: Callable[[], Found]) -> Found | None:
    """Return the result of a read, None when the credentials do not allow it."""
    try:
        return read()
    except ApiError as error:
        if error.status != 403:
            raise
        return None


def no_advice(status: int, message: str) -> str:
    """Return nothing to add to a refusal."""
    return ""


def connect(options: dict[str, Any], advice: Advice = no_advice) -> Kube:
    """Return a client for the auth options of a module. Raises ConfigError for invalid options."""
    if MISSING is not None:
        raise ConfigError(f"Python library kubernetes: {MISSING}; wanted: pip install kubernetes")
    official: Any = kubernetes.config
    configuration = kubernetes.client.Configuration()
    configuration.host = ""
    try:
        described = _configure(official, configuration, options)
        for option, attribute in (("ca_cert", "ssl_ca_cert"), ("client_cert", "cert_file"), ("client_key", "key_file")):
            if options.get(option):
                if not os.path.isfile(options[option]):
                    raise ConfigError(f"{option}: found no file {options[option]}, wanted a PEM file")
                setattr(configuration, attribute, options[option])
        if options.get("api_key"):
            configuration.api_key = {"authorization": f"Bearer {options['api_key'].strip()}"}
        if options.get("validate_certs") is not None:
            configuration.verify_ssl = options["validate_certs"]
        server = configuration.host.rstrip("/")
        timeout = options.get("request_timeout") or 30
        return Kube(configuration, described, timeout, advice, lambda: _cluster_name(options, server))
    finally:
        # The official client keeps keys of a kubeconfig in temporary files, which a forked worker would leave behind.
        with contextlib.suppress(AttributeError):
            official.kube_config._cleanup_temp_files()


def _cluster_name(options: dict[str, Any], server: str) -> str:
    """Return what a kubeconfig made with these options calls the cluster: as theirs does, else by its address.

    Names have to differ between clusters, or kubectl takes one for the other when their kubeconfigs are used together.
    """
    official: Any = kubernetes.config
    chosen = options.get("kubeconfig") or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    if not options.get("host") and any(os.path.exists(name) for name in chosen.split(os.pathsep)):
        contexts, used = official.list_kube_config_contexts(config_file=chosen)
        if options.get("context"):
            [used] = [one for one in contexts if one["name"] == options["context"]]
        return str(used["context"]["cluster"])
    return server.partition("://")[2] or server


def _configure(official: Any, configuration: Any, options: dict[str, Any]) -> str:
    """Fill the configuration from kubeconfig, the host option or the pod's own account; return how to name the API."""
    host, context = options.get("host"), options.get("context")
    given = options.get("kubeconfig")
    chosen = given or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    files = [name for name in chosen.split(os.pathsep) if name]
    missing = [name for name in files if not os.path.exists(name)]
    if given and missing:
        raise ConfigError(f"kubeconfig: found no file {missing[0]}, wanted a kubeconfig")
    if len(missing) < len(files) and (given or context or not host):
        try:
            official.load_kube_config(
                config_file=chosen, context=context, client_configuration=configuration, persist_config=False
            )
        except Exception as error:
            text = " ".join(str(error).split())
            if "Expected object with name" in text and context:
                raise ConfigError(f"context: found no {context} in {chosen}, wanted one that it has") from error
            raise ConfigError(f"kubeconfig {chosen} is not usable: {text}") from error
        if host:
            configuration.host = host
        return f"the Kubernetes API at {configuration.host} (kubeconfig {chosen})"
    if host:
        configuration.host = host
        return f"the Kubernetes API at {host}"
    if os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"):
        official.load_incluster_config(client_configuration=configuration)
        return f"the Kubernetes API at {configuration.host} (service account)"
    raise ConfigError(
        f"kubeconfig: found no file {chosen}, wanted kubeconfig, host with api_key or client_cert, or K8S_AUTH_*"
    )


def _bypassed(configuration: Any) -> bool:
    """Return whether no_proxy covers the API."""
    official: Any = kubernetes.client.rest
    bypass = getattr(official, "should_bypass_proxies", None)
    return bool(bypass is not None and bypass(configuration.host, configuration.no_proxy or ""))


def _socket_options() -> list[tuple[int, int, int]]:
    options: list[tuple[int, int, int]] = list(urllib3.connection.HTTPConnection.default_socket_options)
    for name, value in KEEPALIVE:
        number = getattr(socket, name, None)
        if number is not None:
            options.append((socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP, number, value))
    return options


def _secure_pool() -> Any:
    """Return a class of connection pools in which a connection that ends during the handshake was never made.

    Nothing was sent then, as with one that is refused; urllib3 takes it for a fault of TLS or for a lost answer.
    """

    class Connection(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            try:
                super().connect()
            except OSError as error:
                if isinstance(error, ssl.SSLError) and not isinstance(error, ENDED):
                    raise
                raise urllib3.exceptions.NewConnectionError(self, str(error)) from error

    class Pool(urllib3.connectionpool.HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool


def _tls(configuration: Any, described: str) -> ssl.SSLContext | None:
    """Return the TLS material, read now, so that no key has to stay in a file; None for an API without TLS."""
    if not configuration.host.startswith("https"):
        return None
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{described}: certificate or key is not usable: {_cause(error)}") from error
    return context


def _pool(configuration: Any, context: ssl.SSLContext | None) -> Any:
    """Return a connection pool."""
    arguments: dict[str, Any] = {"maxsize": 64, "block": False, "socket_options": _socket_options()}
    if context is not None:
        arguments["ssl_context"] = context
        if getattr(configuration, "tls_server_name", None):
            arguments["server_hostname"] = configuration.tls_server_name
            arguments["assert_hostname"] = configuration.tls_server_name
    pool: Any
    if configuration.proxy and not _bypassed(configuration):
        pool = urllib3.ProxyManager(configuration.proxy, proxy_headers=configuration.proxy_headers, **arguments)
    else:
        pool = urllib3.PoolManager(**arguments)
    pool.pool_classes_by_scheme = {**pool.pool_classes_by_scheme, "https": _secure_pool()}
    return pool
