# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the role builder: the configuration of builds, their key and their networks."""

from __future__ import annotations

import base64
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.builder import IMAGE, ROLES, rendered, texts

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
Objects = dict[tuple[str, str], dict[str, Any]]


def named(objects: list[dict[str, Any]]) -> Objects:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builder")


@pytest.fixture(scope="module")
def objects(place: Path) -> Objects:
    (place / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    found = rendered(
        place,
        builder_proxy="http://192.0.2.5:3128",
        builder_environment={"PIP_INDEX_URL": "https://pypi.example.org/simple"},
        builder_trusted_ca=str(place / "ca.pem"),
        builder_node_labels={"disk": "ssd"},
        builder_max_builds=3,
        builder_cpu=4,
        builder_networks=["0.0.0.0/0", "192.0.2.5/32"],
    )
    assert len(found) == len(named(found))
    return named(found)


def test_the_configuration_is_what_builds_read(place: Path, objects: Objects) -> None:
    config = json.loads(objects["ConfigMap", "builder"]["data"]["builder.json"])
    assert config == {
        "format": 1,
        "registry": "registry.cloudbang.internal:5000",
        "push": ["192.0.2.41:5002", "192.0.2.42:5002"],
        "addresses": {"registry.cloudbang.internal": "192.0.2.41"},
        "service": "unit",
        "issuer": "cloudbang-builder",
        "ca": (place / "pki/registry-ca.crt").read_text(),
        "image": IMAGE,
        "bases": {},
        "limits": {"cpu": "4", "memory": "4Gi", "disk": "10Gi", "seconds": 1800, "builds": 3},
        "runtime_class": "cloudbang-builder",
        "environment": {
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://192.0.2.5:3128"),
            "PIP_INDEX_URL": "https://pypi.example.org/simple",
        },
        "authorities": "-----BEGIN CERTIFICATE-----\n",
    }


def test_builds_get_the_key_that_the_registry_knows(place: Path, objects: Objects) -> None:
    data = objects["Secret", "builder-signing"]["data"]
    found = {name: base64.b64decode(value).decode() for name, value in data.items()}
    wanted = {"key.pem": "builder-ca.key", "crt": "builder-ca.crt"}
    assert found == {name: (place / "pki" / file).read_text() for name, file in wanted.items()}
    assert found["key.pem"].startswith("-----BEGIN PRIVATE KEY-----\n")
    files = yaml.safe_load((ROLES / "registry/vars/main.yml").read_text("utf-8"))["_registry_build_files"]
    assert {"{{ cloudbang_pki_dir }}/builder-ca.crt"} == {one["src"] for one in files if "src" in one}


def test_builds_reach_the_registry_dns_and_the_networks_that_are_named(objects: Objects) -> None:
    policy = objects["NetworkPolicy", "builder"]["spec"]
    assert (policy["podSelector"], policy["policyTypes"], policy.get("ingress")) == ({}, ["Ingress", "Egress"], None)
    dns, registry, others = policy["egress"]
    assert dns["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ]
    service = (ROLES / "coredns/templates/coredns.yaml.j2").read_text("utf-8")
    for port in dns["ports"]:
        assert f"port: 53, protocol: {port['protocol']}, targetPort: {port['port']}}}" in service
    assert registry["to"] == [{"ipBlock": {"cidr": f"192.0.2.{number}/32"}} for number in (41, 42)]
    assert registry["ports"] == [{"port": 5002, "protocol": "TCP"}]
    closed = ["10.96.0.0/16", "10.244.0.0/16", "169.254.0.0/16", "192.0.2.0/24"]
    blocks = [{"cidr": "0.0.0.0/0", "except": closed}, {"cidr": "192.0.2.5/32"}]
    assert others == {"to": [{"ipBlock": block} for block in blocks]}


def test_builds_run_where_their_runtime_is_and_give_way(objects: Objects) -> None:
    runtime = objects["RuntimeClass", "cloudbang-builder"]
    labels = {"node-role.kubernetes.io/compute": "", "disk": "ssd"}
    assert (runtime["handler"], runtime["scheduling"]) == ("crun", {"nodeSelector": labels})
    priority = objects["PriorityClass", "cloudbang-builds"]
    assert (priority["value"], priority["preemptionPolicy"]) == (-10, "Never")


@pytest.mark.parametrize(("enabled", "hosts"), [(False, set()), ("yes", {"c1"})])
def test_compute_hosts_have_the_runtime_of_builds(tmp_path: Path, enabled: Any, hosts: set[str]) -> None:
    variables = {"cloudbang_builder_enabled": enabled, "container_runtime_pause_image": "pause"}
    found = texts(tmp_path, "container_runtime", "config.toml.j2", "management:compute:loadbalancer", [], variables)
    parsed = {host: tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"] for host, text in found.items()}
    runtimes = {host: one["containerd"]["runtimes"] for host, one in parsed.items()}
    assert set(runtimes) == {"m1", "c1", "l1"}
    assert {host for host, one in runtimes.items() if set(one) == {"runc", "crun"}} == hosts
    for host in hosts:
        crun, runc = runtimes[host]["crun"], runtimes[host]["runc"]
        assert crun == {**runc, "options": {**runc["options"], "BinaryName": "/usr/bin/crun"}}


@pytest.mark.parametrize("enabled", [False, True])
def test_goodnet_opens_the_port_of_builds_with_them(tmp_path: Path, enabled: bool) -> None:
    """On all hosts, of which only the storage hosts' own filter leaves it open."""
    template = tmp_path / "ports.j2"
    template.write_text("{{ _goodnet_agent.host_ports | to_json }}\n")
    variables = {"cloudbang_network": "goodnet", "cloudbang_builder_enabled": enabled}
    made = texts(tmp_path, "goodnet", str(template), "c1:l1", [], variables)
    found = {host: json.loads(text) for host, text in made.items()}
    assert {host: "tcp/5002" in ports for host, ports in found.items()} == {"c1": enabled, "l1": enabled}
    assert all("tcp/6443" in ports and "tcp/5000" not in ports for ports in found.values())


def test_builds_are_no_tenant(objects: Objects) -> None:
    labels = objects["Namespace", "cloudbang-builds"]["metadata"]["labels"]
    assert "cloudbang.platform/tenant" not in labels
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"


def test_without_networks_builds_reach_nothing_but_dns_and_the_registry(tmp_path: Path) -> None:
    found = named(rendered(tmp_path, builder_networks=[]))
    assert len(found["NetworkPolicy", "builder"]["spec"]["egress"]) == 2
    config = json.loads(found["ConfigMap", "builder"]["data"]["builder.json"])
    assert (config["environment"], config["authorities"]) == ({}, "")


def test_without_builds_there_is_one_skipped_task() -> None:
    [task] = yaml.safe_load((ROLES / "builder/tasks/main.yml").read_text("utf-8"))
    assert task["when"] == "cloudbang_builder_enabled | bool"
    shared = yaml.safe_load((ROLES / "cluster/defaults/main.yml").read_text("utf-8"))
    assert shared["cloudbang_builder_enabled"] is False
