# SPDX-License-Identifier: GPL-3.0-or-later
"""Tenants' numbers that many hosts assign at once, and Events, against a real API."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from goodnet.cluster import client, events, objects, tenants

from ..conftest import Api
from .conftest import eventually

CONFIGMAP = f"/api/v1/namespaces/{objects.NAMESPACE}/configmaps/{objects.TENANTS}"


def stored(agent_api: client.Api) -> dict[str, Any]:
    data = agent_api.request("GET", CONFIGMAP).get("data") or {}
    return {tenant: json.loads(value) for tenant, value in data.items()}


def test_eight_hosts_that_allocate_at_once_agree(api: Api, agent_api: client.Api) -> None:
    """Each host requests numbers for twenty tenants, ten of which all hosts request."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def host(number: int) -> None:
        try:
            own = client.Api(api.kubeconfig)
            barrier.wait()
            for turn in range(10):
                tenants.allocate(own, [f"shared-{turn}", f"host-{number}-{turn}"], (1, 1000))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=host, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    numbers = {tenant: entry["vni"] for tenant, entry in stored(agent_api).items()}
    wanted = {f"shared-{turn}" for turn in range(10)} | {
        f"host-{host}-{turn}" for host in range(8) for turn in range(10)
    }
    assert numbers.keys() == wanted
    assert sorted(numbers.values()) == list(range(1, 91))


def test_a_number_is_kept(agent_api: client.Api) -> None:
    first = tenants.allocate(agent_api, ["b"], (5, 9))
    second = tenants.allocate(agent_api, ["a", "b"], (5, 9))
    assert json.loads(first["b"]) == json.loads(second["b"]) == {"vni": 5}
    assert json.loads(second["a"]) == {"vni": 6}


def test_an_exhausted_range_serves_those_it_can(agent_api: client.Api) -> None:
    with pytest.raises(tenants.Exhausted) as caught:
        tenants.allocate(agent_api, ["a", "b", "c"], (7, 8))
    assert caught.value.tenants == ["c"]
    assert "found all of 7 to 8 in use" in str(caught.value)
    assert {tenant: entry["vni"] for tenant, entry in stored(agent_api).items()} == {"a": 7, "b": 8}


def test_only_tenants_without_namespace_are_released(agent_api: client.Api, tenant: str) -> None:
    labels = {tenants.LABEL_TENANT: f"{tenant}-used"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant, "labels": labels}}
    agent_api.request("POST", "/api/v1/namespaces", body=body)
    tenants.allocate(agent_api, [f"{tenant}-used", f"{tenant}-left"], (1, 100))
    removed = tenants.release(agent_api, [f"{tenant}-used", f"{tenant}-left", "never-there"], frozenset())
    assert removed == [f"{tenant}-left"]
    assert stored(agent_api).keys() == {f"{tenant}-used"}


def test_what_is_wrong_is_one_event_whoever_sees_it(api: Api, agent_api: client.Api, tenant: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
    uid = agent_api.request("POST", "/api/v1/namespaces", body=body)["metadata"]["uid"]
    note = events.Note("Namespace", tenant, tenant, "TenantRefused", "found system, wanted another tenant")
    recorders = [events.Recorder(client.Api(api.kubeconfig)) for _ignored in range(3)]
    for recorder in recorders:
        recorder.start()
        recorder.current([(note, uid)], hosts=1)
        recorder.current([(note, uid)], hosts=1)
    path = f"/api/v1/namespaces/{tenant}/events"
    found = eventually(lambda: len(agent_api.request("GET", path)["items"]) == 1)
    time.sleep(1)
    for recorder in recorders:
        recorder.stop()
        recorder.join(5)
        assert not recorder.is_alive()
    items = agent_api.request("GET", path)["items"]
    assert found
    assert [(item["reason"], item["involvedObject"]["uid"]) for item in items] == [("TenantRefused", uid)]
