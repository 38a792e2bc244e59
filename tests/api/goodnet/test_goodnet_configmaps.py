# SPDX-License-Identifier: GPL-3.0-or-later
"""The module goodnet_cluster writes the ConfigMaps for the hosts of a GoodNet, and keeps the entries of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure
from goodnet.cluster import client, objects, tenants

from ..conftest import Api
from .conftest import ROOT

CONFIGMAPS = f"/api/v1/namespaces/{objects.NAMESPACE}/configmaps"
SETTINGS = {"network": "goodnet", "encapsulation": "vxlan", "pod_cidr": "10.244.0.0/16"}
# This machine acts as management host, with a /usr/local/bin of its own.
HOST = 'mount -t tmpfs tmpfs /usr/local/bin; ln -s "$1" /usr/local/bin/kubectl; shift; exec "$@"'


@pytest.fixture(scope="session")
def kubectl() -> Path:
    given = os.environ.get("CLOUDBANG_TEST_BINARIES")
    if given:
        return Path(given) / "kubectl"
    return Path(ensure(["kubectl"], Settings.from_vars({}), print)["kubectl"].path)


def call(api: Api, kubectl: Path, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module as on a management host. Return its result."""
    arguments = {"settings": SETTINGS, "kubeconfig": str(api.kubeconfig), "_ansible_check_mode": check, **options}
    module = "ansible_collections.cloudbang.platform.plugins.modules.goodnet_cluster"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-euc", HOST, "sh", str(kubectl), sys.executable, "-m", module],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(ROOT / "build" / "collections")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def data(agent_api: client.Api, name: str) -> dict[str, Any]:
    found = agent_api.request("GET", f"{CONFIGMAPS}/{name}")["data"]
    return {key: json.loads(value) for key, value in found.items()} if name == objects.TENANTS else dict(found)


def test_settings_and_tenants(api: Api, agent_api: client.Api, kubectl: Path) -> None:
    assert call(api, kubectl, check=True)["objects"] == ["goodnet-settings"]
    assert call(api, kubectl)["objects"] == ["goodnet-settings"]
    assert data(agent_api, "goodnet-settings") == SETTINGS

    # An agent wrote an entry earlier.
    tenants.allocate(agent_api, ["blue"], (1, 9))
    wanted = {"red": {"external": "203.0.113.9"}, "green": {"vni": 7}}
    assert call(api, kubectl, check=True, tenants=wanted)["objects"] == ["goodnet-tenants"]
    assert data(agent_api, objects.TENANTS) == {"blue": {"vni": 1}}
    assert call(api, kubectl, tenants=wanted)["objects"] == ["goodnet-tenants"]
    found = {"blue": {"vni": 1}, "green": {"vni": 7}, "red": {"vni": 2, "external": "203.0.113.9"}}
    assert data(agent_api, objects.TENANTS) == found
    assert call(api, kubectl, tenants=wanted)["changed"] is False
    # Another agent writes one afterwards.
    tenants.allocate(agent_api, ["amber"], (1, 9))
    assert call(api, kubectl, tenants=wanted)["changed"] is False
    assert data(agent_api, objects.TENANTS) == {**found, "amber": {"vni": 3}}

    refused = call(api, kubectl, settings={**SETTINGS, "encapsulation": "gre"}, tenants={"red": {"external": ""}})
    assert refused["failed"] and "encapsulation: found vxlan, wanted gre. A running cluster" in refused["msg"]
    assert data(agent_api, objects.TENANTS)["red"] == found["red"]
    agent_api.request("DELETE", f"{CONFIGMAPS}/goodnet-settings")
