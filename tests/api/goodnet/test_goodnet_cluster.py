# SPDX-License-Identifier: GPL-3.0-or-later
"""Watched lists: changes, an API that becomes unavailable, versions that are too old, renewed certificates."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from goodnet.cluster import client, objects, watches

from ..conftest import Api
from .conftest import Proxy, eventually


def make_node(agent_api: client.Api, name: str, cidr: str) -> None:
    """Create a Node whose address ends with the number of its pods' network: 192.0.2.7 with 10.244.7.0/24."""
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
    }
    agent_api.request("POST", "/api/v1/nodes", body=body)
    status = {"status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{cidr.split('.')[2]}"}]}}
    agent_api.request("PATCH", f"/api/v1/nodes/{name}/status", body=status, content_type=client.MERGE)


def make_namespace(agent_api: client.Api, name: str, **labels: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    agent_api.request("POST", "/api/v1/namespaces", body=body)


def make_pod(agent_api: client.Api, namespace: str, name: str, node: str, **spec: Any) -> None:
    container = {"name": "main", "image": "i", "ports": [{"name": "http", "containerPort": 80}]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "automountServiceAccountToken": False, "containers": [container], **spec},
    }
    # A controller creates the account, a moment after the namespace.
    assert eventually(
        lambda: bool(agent_api.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"])
    )
    agent_api.request("POST", f"/api/v1/namespaces/{namespace}/pods", body=body)


@pytest.fixture
def started(api: Api, agent_api: client.Api, tmp_path: Path) -> Iterator[watches.Cluster]:
    made = watches.Cluster(client.Api(api.kubeconfig), "watcher", tmp_path / "cluster.json", lambda: None)
    made.start()
    assert made.wait(20)
    yield made
    made.stop()


def test_changes_arrive_and_only_this_nodes_pods(started: watches.Cluster, agent_api: client.Api, tenant: str) -> None:
    make_node(agent_api, tenant, "10.244.7.0/24")
    make_namespace(agent_api, tenant, **{"cloudbang.platform/network": "open"})
    make_pod(agent_api, tenant, "near", "watcher")
    make_pod(agent_api, tenant, "far", "elsewhere")
    make_pod(agent_api, tenant, "host", "watcher", hostNetwork=True)
    assert eventually(lambda: f"{tenant}/near" in started.view().pods and tenant in started.view().nodes)
    view = started.view()
    assert view.nodes[tenant] == {"address": "192.0.2.7", "underlay": None, "pods": "10.244.7.0/24"}
    assert view.namespaces[tenant]["labels"]["cloudbang.platform/network"] == "open"
    assert [name for name in view.pods if name.startswith(tenant)] == [f"{tenant}/near"]
    assert view.pods[f"{tenant}/near"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
    assert not view.others
    started.follow([watches.pods_of(tenant)])
    assert eventually(lambda: started.view().others.keys() == {f"{tenant}/near", f"{tenant}/far"})
    started.follow([])
    assert not started.view().others
    agent_api.request("DELETE", f"/api/v1/namespaces/{tenant}/pods/near", {"gracePeriodSeconds": "0"})
    assert eventually(lambda: f"{tenant}/near" not in started.view().pods)


def test_a_change_that_does_not_matter_wakes_nobody(api: Api, agent_api: client.Api, tenant: str) -> None:
    make_node(agent_api, tenant, "10.244.8.0/24")
    woken = threading.Semaphore(0)
    watch = watches.Watch(client.Api(api.kubeconfig), watches.resources("watcher")[0], woken.release)
    watch.start()
    assert woken.acquire(timeout=10)
    beat = {
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}
    }
    agent_api.request("PATCH", f"/api/v1/nodes/{tenant}/status", body=beat, content_type=client.MERGE)
    assert not woken.acquire(timeout=1)
    note = {"metadata": {"annotations": {objects.ANNOTATION_UNDERLAY: "198.51.100.1"}}}
    agent_api.request("PATCH", f"/api/v1/nodes/{tenant}", body=note, content_type=client.MERGE)
    assert woken.acquire(timeout=5)
    watch.stopping.set()
    assert watch.items()[tenant]["underlay"] == "198.51.100.1"


def test_the_last_state_stays_while_the_api_is_away(
    api: Api, agent_api: client.Api, proxy: Proxy, tmp_path: Path, tenant: str
) -> None:
    """Changes from that time are seen afterwards without a restart; a reboot in that time loses nothing."""
    made = [f"{tenant}-{word}" for word in ("before", "meanwhile")]
    proxy.open()
    text = api.kubeconfig.read_text().replace(api.url, f"https://127.0.0.1:{proxy.port}")
    kubeconfig = tmp_path / "proxied.conf"
    kubeconfig.write_text(text)
    make_namespace(agent_api, made[0])
    watched = watches.Cluster(client.Api(kubeconfig), "watcher", tmp_path / "cluster.json", lambda: None)
    watched.start()
    assert watched.wait(20)
    assert eventually(lambda: all(watched.in_contact.values()))
    watched.save()
    proxy.cut()
    assert eventually(lambda: not any(watched.in_contact.values()))
    make_namespace(agent_api, made[1])
    assert made[0] in watched.view().namespaces
    assert made[1] not in watched.view().namespaces
    rebooted = watches.Cluster(client.Api(kubeconfig), "watcher", tmp_path / "cluster.json", lambda: None)
    rebooted.start()
    assert rebooted.known
    assert not rebooted.wait(1)
    assert rebooted.view() == watched.view()
    proxy.open()
    assert eventually(lambda: made[1] in watched.view().namespaces and made[1] in rebooted.view().namespaces, 30)
    assert eventually(lambda: all(watched.in_contact.values()) and all(rebooted.in_contact.values()))
    for entry in (watched, rebooted):
        entry.stop()


def test_a_version_that_is_too_old_reads_the_list_again(api: Api, agent_api: client.Api, tenant: str) -> None:
    make_namespace(agent_api, tenant)
    watch = watches.Watch(client.Api(api.kubeconfig), watches.resources("watcher")[1], lambda: None)
    watch._version = "1"
    watch.start()
    assert eventually(lambda: tenant in watch.items())
    watch.stopping.set()


def test_a_renewed_certificate_is_used_without_restart(api: Api, tmp_path: Path) -> None:
    old, old_key = api.authority.issue("system:node:old", "system:nobody")
    new, new_key = api.authority.issue("admin", "system:masters")
    (tmp_path / "node.crt").write_bytes(old)
    (tmp_path / "node.key").write_bytes(old_key)
    config = json.loads(api.kubeconfig.read_text())
    config["users"][0]["user"] = {"client-certificate": "node.crt", "client-key": str(tmp_path / "node.key")}
    kubeconfig = tmp_path / "node.conf"
    kubeconfig.write_text(json.dumps(config))
    own = client.Api(kubeconfig)
    with pytest.raises(client.ApiError) as caught:
        own.request("GET", "/api/v1/nodes")
    assert caught.value.status == 403
    # Between the two writes certificate and key do not match: the previous pair stays in use.
    (tmp_path / "node.crt").write_bytes(new)
    with pytest.raises(client.ApiError):
        own.request("GET", "/api/v1/nodes")
    (tmp_path / "node.key").write_bytes(new_key)
    assert own.request("GET", "/api/v1/nodes")["kind"] == "NodeList"


def test_only_the_server_that_the_kubeconfig_names_is_trusted(api: Api, tmp_path: Path) -> None:
    own = tmp_path / "other.conf"
    own.write_text(api.kubeconfig.read_text().replace("127.0.0.1", "localhost"))
    with pytest.raises(client.Unreachable, match=r"doesn't match|mismatch"):
        client.Api(own).request("GET", "/api/v1/nodes")
    certificate, key = api.authority.issue("admin", "system:masters")
    stranger = type(api.authority).new("stranger")
    with pytest.raises(client.Unreachable, match="certificate verify failed"):
        client.Api(api.write_kubeconfig("stranger.conf", stranger.pem, certificate, key)).request(
            "GET", "/api/v1/nodes"
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "TypeError"), ("{", "parsing"), ("{clusters: [], contexts: [], current-context: x}", "KeyError")],
)
def test_a_kubeconfig_that_is_not_usable_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "broken.conf"
    path.write_text(content)
    with pytest.raises(client.Unreachable) as caught:
        client.Api(path).request("GET", "/api/v1/nodes")
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
