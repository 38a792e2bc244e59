# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host knows of the cluster: lists that are watched, reduced to the fields needed, and kept on disk.

One thread per list. When the API is away the last state stays in force, also over a reboot.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from goodnet.cluster.client import METADATA, Api, ApiError, Unreachable
from goodnet.cluster.objects import (
    NAMESPACE,
    PROVIDER,
    TENANTS,
    Object,
    reduce_cluster_ip,
    reduce_lease,
    reduce_namespace,
    reduce_node,
    reduce_pod,
    reduce_policy,
    reduce_service,
    reduce_slice,
    reduce_tenants,
)
from goodnet.files import write_durably

log = logging.getLogger(__name__)

_APISERVER = "metadata.name=kubernetes"
_PAGE = 200
# A watch is ended by the API after a time between these, so that hosts do not reconnect all at once.
_WATCH_SECONDS = (240, 360)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SNAPSHOT_FORMAT = 1


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
                # Full jitter: hosts that lost the API together do not reconnect together.
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
        return METADATA.format(suffix) if self.resource.metadata_only else "application/json"

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
