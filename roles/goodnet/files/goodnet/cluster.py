# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host knows of the cluster: lists that are watched, reduced to the fields needed, and kept on disk.

One thread per list. When the API is away the last state stays in force, also over a reboot.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
import urllib3.connection
import yaml

from goodnet.ipam import write_durably

log = logging.getLogger(__name__)

Object = dict[str, Any]

NAMESPACE = "cloudbang-goodnet"
TENANTS = "goodnet-tenants"
PROVIDER = "goodnet-provider"
ANNOTATION_UNDERLAY = "cloudbang.platform/underlay-address"
_APISERVER = "metadata.name=kubernetes"
_ANNOTATION_MIRROR = "kubernetes.io/config.mirror"
MERGE = "application/merge-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
METADATA_LIST = _METADATA.format("List")
_PAGE = 200
_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 15.0
# A watch is ended by the API after a time between these, so that not all hosts come back at once. The API sends a
# bookmark about once a minute: a connection that is silent for longer than _SILENCE leads to nobody.
_WATCH_SECONDS = (240, 360)
_SILENCE = 150.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
# A connection to an API that is gone is noticed about this many seconds later, also when nothing is sent. Who holds the
# external addresses has to be known sooner: the load balancer in front of the API may fail together with them.
_KEEPALIVE = (("SO_KEEPALIVE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3))
_IDLE_SECONDS = 3
_IDLE_SECONDS_PROVIDER = 1
_SNAPSHOT_FORMAT = 1


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


def reduce_node(node: Object) -> Object | None:
    """Return of a node what others need to reach its pods; None while it has no range of addresses yet."""
    meta = node["metadata"]
    addresses = (node.get("status") or {}).get("addresses") or []
    internal = [
        entry["address"] for entry in addresses if entry.get("type") == "InternalIP" and ":" not in entry["address"]
    ]
    pods = (node.get("spec") or {}).get("podCIDR")
    if not pods or not internal:
        return None
    return {
        "address": internal[0],
        "underlay": (meta.get("annotations") or {}).get(ANNOTATION_UNDERLAY),
        "pods": pods,
    }


def reduce_namespace(namespace: Object) -> Object:
    """Return the labels of a namespace, its uid and the peers that it names."""
    meta = namespace["metadata"]
    reduced: Object = {"uid": meta["uid"], "labels": meta.get("labels") or {}}
    peers = (meta.get("annotations") or {}).get("cloudbang.platform/peers")
    if peers:
        reduced["peers"] = peers
    return reduced


def reduce_policy(policy: Object) -> Object:
    """Return a NetworkPolicy with its spec as text: those of other hosts' pods are many, and are never looked at."""
    meta = policy["metadata"]
    kept = {key: meta[key] for key in ("namespace", "name", "uid")}
    return {"metadata": kept, "spec": json.dumps(policy.get("spec") or {}, separators=(",", ":"))}


def reduce_pod(pod: Object) -> Object | None:
    """Return labels, address and named ports of a pod; None when it has no part in the pods' network.

    uid is the one that the runtime knows: of a static pod, the API has a mirror with another.
    """
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    ports = [
        {"name": port["name"], "port": port["containerPort"], "protocol": port.get("protocol", "TCP")}
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        for port in container.get("ports") or ()
        if port.get("name")
    ]
    return {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": (meta.get("annotations") or {}).get(_ANNOTATION_MIRROR, meta["uid"]),
        "labels": meta.get("labels") or {},
        "address": status.get("podIP"),
        "ports": ports,
    }


def reduce_tenants(configmap: Object) -> Object:
    """Return the data of the ConfigMap that says which tenant has which VNI."""
    return dict(configmap.get("data") or {})


def reduce_lease(lease: Object) -> Object:
    """Return who holds a Lease."""
    return {"holder": (lease.get("spec") or {}).get("holderIdentity")}


def reduce_service(service: Object) -> Object | None:
    """Return ports and address of a Service of type LoadBalancer; None when it is to be served by somebody else."""
    meta, spec = service["metadata"], service.get("spec") or {}
    if spec.get("loadBalancerClass"):
        return None
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return {"uid": meta["uid"], "ports": _ports(spec), "address": ingress[0].get("ip") if ingress else None}


def reduce_cluster_ip(service: Object) -> Object:
    """Return ports and ClusterIP of a Service."""
    spec = service.get("spec") or {}
    return {"ports": _ports(spec), "address": spec.get("clusterIP")}


def _ports(service: Object) -> list[Object]:
    return [
        {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": port["port"]}
        for port in service.get("ports") or ()
    ]


def reduce_slice(found: Object) -> Object | None:
    """Return the addresses and ports that an EndpointSlice has for its Service; None when it has none."""
    meta = found["metadata"]
    service = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    if not service or found.get("addressType") != "IPv4":
        return None
    addresses = [
        address
        for endpoint in found.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    ]
    ports = [[port.get("name") or "", port["port"]] for port in found.get("ports") or () if port.get("port")]
    return {"service": f"{meta['namespace']}/{service}", "addresses": addresses, "ports": ports}


@dataclass(frozen=True)
class Resource:
    """A list of the API: name for people, path, which of its objects, and what to keep of them."""

    name: str
    path: str
    reduce: Callable[[Object], Object | None]
    selector: str = ""
    metadata_only: bool = False


def resources(node: str, edge: bool = False) -> list[Resource]:
    """Return the lists that the agent of a node watches all the time."""
    services = Resource("services", "/api/v1/services", reduce_service, "spec.type=LoadBalancer")
    own = f"/namespaces/{NAMESPACE}"
    # The API's own Service, whose endpoints are no pods.
    slices = endpoints_of("default").path
    return [
        Resource("nodes", "/api/v1/nodes", reduce_node),
        Resource("namespaces", "/api/v1/namespaces", reduce_namespace, metadata_only=True),
        Resource("networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies", reduce_policy),
        Resource("pods", "/api/v1/pods", reduce_pod, f"spec.nodeName={node}"),
        Resource("tenants", f"/api/v1{own}/configmaps", reduce_tenants, f"metadata.name={TENANTS}"),
        Resource("provider", f"/apis/coordination.k8s.io/v1{own}/leases", reduce_lease, f"metadata.name={PROVIDER}"),
        Resource("apiserver", "/api/v1/namespaces/default/services", reduce_cluster_ip, _APISERVER),
        Resource("apiserver endpoints", slices, reduce_slice, _APISERVER),
        *([services] if edge else []),
    ]


def pods_of(namespace: str) -> Resource:
    """Return the list of all pods of a namespace, on every node."""
    return Resource(f"pods/{namespace}", f"/api/v1/namespaces/{quote(namespace, safe='')}/pods", reduce_pod)


def endpoints_of(namespace: str) -> Resource:
    """Return the list of the endpoints of a namespace's Services."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"
    return Resource(f"endpoints/{namespace}", path, reduce_slice)


class _Gone(Exception):
    """The version that a watch was to start from is too old."""


class Watch(threading.Thread):
    """Keeps one list up to date. `changed` is called from the thread, after each change of what is kept."""

    def __init__(
        self, api: Api, resource: Resource, changed: Callable[[], None], items: dict[str, Object] | None = None
    ) -> None:
        super().__init__(name=f"watch {resource.name}", daemon=True)
        self.resource = resource
        self._api = api
        self._changed = changed
        self._lock = threading.Lock()
        self._items: dict[str, Object] = dict(items or {})
        self._version: str | None = None
        self._away_since: float | None = None
        self._failures = 0
        self.stopping = threading.Event()
        # Set when the list has been read from the API since the start.
        self.listed = threading.Event()

    @property
    def in_contact(self) -> bool:
        """Whether the list was read and its watch has not failed since."""
        return self.listed.is_set() and self._away_since is None

    def items(self) -> dict[str, Object]:
        """Return what is kept, by namespace/name or name."""
        with self._lock:
            return dict(self._items)

    def has(self, uid: str) -> bool:
        with self._lock:
            return any(item.get("uid") == uid for item in self._items.values())

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                if self._version is None:
                    self._list()
                self._watch()
            except _Gone:
                self._version = None
            except (ApiError, Unreachable) as error:
                self._lost(error)
                # Full jitter: hosts that lost the API together do not come back together.
                self.stopping.wait(random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)))
                self._failures = min(self._failures + 1, 10)
            except Exception:
                # One object that is not as expected must not end the watch of all others.
                log.exception("%s: the list is read again in %.0f s", self.resource.name, _LONGEST_PAUSE)
                self._version = None
                self.stopping.wait(_LONGEST_PAUSE)
            self.stopping.wait(random.uniform(0, _FIRST_PAUSE))

    def _contact(self) -> None:
        if self._away_since is not None:
            log.info("%s: the API answers again after %.0f s", self.resource.name, time.monotonic() - self._away_since)
        self._away_since = None
        self._failures = 0

    def _lost(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("%s: %s; the last state (%d objects) stays", self.resource.name, error, len(self._items))

    def _query(self, **more: str) -> dict[str, str]:
        return {**({"fieldSelector": self.resource.selector} if self.resource.selector else {}), **more}

    def _accept(self, suffix: str) -> str:
        return _METADATA.format(suffix) if self.resource.metadata_only else "application/json"

    def _list(self) -> None:
        found: dict[str, Object] = {}
        query = self._query(limit=str(_PAGE))
        while True:
            try:
                page = self._api.request("GET", self.resource.path, query, accept=self._accept("List"))
            except ApiError as error:
                if error.status == 410:
                    raise _Gone from error
                raise
            for item in page.get("items") or ():
                reduced = self.resource.reduce(item)
                if reduced is not None:
                    found[_key(item)] = reduced
            more = page["metadata"].get("continue")
            if not more:
                break
            query = self._query(limit=str(_PAGE), **{"continue": more})
        with self._lock:
            different = found != self._items
            self._items = found
        self._version = page["metadata"]["resourceVersion"]
        first = not self.listed.is_set()
        self.listed.set()
        if different or first:
            self._changed()

    def _watch(self) -> None:
        assert self._version is not None
        query = self._query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self._version,
            timeoutSeconds=str(random.randint(*_WATCH_SECONDS)),
        )
        events = self._api.stream(self.resource.path, query, self._accept(""))
        self._contact()
        for event in events:
            if self.stopping.is_set():
                return
            self._take(event)

    def _take(self, event: Object) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise _Gone
            raise ApiError(item.get("code", 0), item.get("message", "the watch failed"))
        if kind != "BOOKMARK":
            reduced = None if kind == "DELETED" else self.resource.reduce(item)
            key = _key(item)
            with self._lock:
                different = self._items.get(key) != reduced
                if reduced is None:
                    self._items.pop(key, None)
                else:
                    self._items[key] = reduced
            if different:
                self._changed()
        self._version = item["metadata"]["resourceVersion"]


def _key(item: Object) -> str:
    meta = item["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


@dataclass(frozen=True)
class View:
    """What is known of the cluster at one moment, by name (namespace/name for pods and policies).

    pods are those of this node, others those of the namespaces that policies look into. services and endpoints are
    known on edge hosts only. apiserver and its endpoints are those of the Service by which pods reach the API.
    """

    nodes: dict[str, Object] = field(default_factory=dict)
    namespaces: dict[str, Object] = field(default_factory=dict)
    policies: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    others: dict[str, Object] = field(default_factory=dict)
    tenants: dict[str, str] = field(default_factory=dict)
    holder: str | None = None
    services: dict[str, Object] = field(default_factory=dict)
    endpoints: dict[str, Object] = field(default_factory=dict)
    apiserver: dict[str, Object] = field(default_factory=dict)
    apiserver_endpoints: dict[str, Object] = field(default_factory=dict)


class Cluster:
    """All watches of this host together, with the copy on disk that they start from."""

    def __init__(self, api: Api, node: str, snapshot: Path, changed: Callable[[], None], edge: bool = False) -> None:
        self._api = api
        self._snapshot = snapshot
        self._changed = changed
        self._saved = ""
        kept = load_snapshot(snapshot)
        self.known = bool(kept)
        self._watches = [
            Watch(
                api.sooner() if resource.name == "provider" else api, resource, changed, kept.pop(resource.name, None)
            )
            for resource in resources(node, edge)
        ]
        self._pods = next(watch for watch in self._watches if watch.resource.name == "pods")
        self._kept = kept
        self._followed: dict[str, Watch] = {}

    def start(self) -> None:
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Tell the watches to end; they are not waited for, since nothing of theirs has to be finished."""
        for watch in (*self._watches, *self._followed.values()):
            watch.stopping.set()

    def wait(self, seconds: float) -> bool:
        """Wait until every list was read once. Returns False when the time was over before."""
        end = time.monotonic() + seconds
        return all(watch.listed.wait(max(0.0, end - time.monotonic())) for watch in self._watches)

    def wait_for_followed(self, seconds: float) -> None:
        """Wait until all lists that are followed for now were read once, or the time is over."""
        end = time.monotonic() + seconds
        for watch in list(self._followed.values()):
            watch.listed.wait(max(0.0, end - time.monotonic()))

    def wait_for_pod(self, uid: str, seconds: float) -> None:
        """Wait until the API has told of a pod of this node, or the time is over, or the API is away."""
        end = time.monotonic() + seconds
        watch = self._pods
        while watch.in_contact and not watch.has(uid) and time.monotonic() < end:
            time.sleep(0.02)

    def follow(self, wanted: Iterable[Resource]) -> None:
        """Watch these lists for now, beside those that are watched all the time."""
        resources = {resource.name: resource for resource in wanted}
        for name in self._followed.keys() - resources.keys():
            self._followed.pop(name).stopping.set()
        for name in sorted(resources.keys() - self._followed.keys()):
            watch = Watch(self._api, resources[name], self._changed, self._kept.pop(name, None))
            self._followed[name] = watch
            watch.start()

    @property
    def in_contact(self) -> dict[str, bool]:
        """Return for each list whether it is up to date as far as anybody can know."""
        return {watch.resource.name: watch.in_contact for watch in (*self._watches, *self._followed.values())}

    def view(self) -> View:
        items = {watch.resource.name: watch.items() for watch in self._watches}
        followed: dict[str, dict[str, Object]] = {"pods": {}, "endpoints": {}}
        for name, watch in list(self._followed.items()):
            followed[name.partition("/")[0]].update(watch.items())
        return View(
            nodes=items["nodes"],
            namespaces=items["namespaces"],
            policies=items["networkpolicies"],
            pods=items["pods"],
            others=followed["pods"],
            tenants=items["tenants"].get(f"{NAMESPACE}/{TENANTS}", {}),
            holder=items["provider"].get(f"{NAMESPACE}/{PROVIDER}", {}).get("holder"),
            services=items.get("services", {}),
            endpoints=followed["endpoints"],
            apiserver=items["apiserver"],
            apiserver_endpoints=items["apiserver endpoints"],
        )

    def save(self) -> None:
        """Write the copy on disk when it differs from what is there."""
        kept = {watch.resource.name: watch.items() for watch in (*self._watches, *list(self._followed.values()))}
        data = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(data.encode()).hexdigest()
        if digest == self._saved:
            return
        write_durably(self._snapshot, json.dumps({"format": _SNAPSHOT_FORMAT, "sha256": digest}) + "\n" + data)
        self._saved = digest
        self.known = True


def load_snapshot(path: Path) -> dict[str, dict[str, Object]]:
    """Return what `Cluster.save` wrote. A file that is not whole, or of another version, counts as none."""
    try:
        head, _ignored, data = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        if header["format"] != _SNAPSHOT_FORMAT or header["sha256"] != hashlib.sha256(data).hexdigest():
            raise ValueError("its checksum or format is another")
        kept: dict[str, dict[str, Object]] = json.loads(data)
        return kept
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is not used: %s; the state comes from the API", path, error)
        return {}
