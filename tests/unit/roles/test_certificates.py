# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of all roles: which authority signs what, so that no key that is stolen is good for something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from support.plays import roles_of, site

ROOT = Path(__file__).resolve().parents[3]
LOOPBACK = ["localhost", "127.0.0.1"]
# What the cluster's own authority lets show itself as a server. Clients of the API trust any of its names.
SERVERS = {"apiserver": None, "controller-manager": LOOPBACK, "scheduler": LOOPBACK}
# Whom clients know by which authority, when it is not the cluster's.
OWN_AUTHORITY = {
    "/etc/traefik/gateway": "gateway-ca",
    "{{ _kube_node_pki }}/kubelet-server": "kubelet-ca",
    "{{ cloudbang_pki_dir }}/metrics-server": "metrics-ca",
    "/etc/cloudbang-registry/server": "registry-ca",
    "/etc/etcd/pki/server": "etcd-ca",
    "/etc/etcd/pki/peer": "etcd-ca",
}


class Certificate(NamedTuple):
    role: str
    path: str
    authority: str
    usages: list[str]
    names: Any

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def entries(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the options and the path of all certificates, wherever they are."""
    if isinstance(content, dict):
        if "path" in content and isinstance(content.get("certificate"), dict):
            yield {**content["certificate"], "path": content["path"]}
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            yield from entries(one)


CERTIFICATES = [
    Certificate(path.parts[-3], one["path"], one["authority"], one.get("usages", ["client"]), one.get("names", []))
    for folder in ("defaults", "tasks", "vars")
    for path in sorted(ROOT.glob(f"roles/*/{folder}/*.yml"))
    for one in entries(yaml.safe_load(path.read_text("utf-8")))
]


def test_all_certificates_were_found() -> None:
    assert {one.path for one in CERTIFICATES} >= set(OWN_AUTHORITY)
    assert {one.name for one in CERTIFICATES} >= set(SERVERS)


def test_the_cluster_s_authority_signs_no_server_but_the_control_plane() -> None:
    found = {
        (one.role, one.name) for one in CERTIFICATES if one.authority == "kubernetes-ca" and "server" in one.usages
    }
    assert found == {("kube_control_plane", name) for name in SERVERS}


@pytest.mark.parametrize("name", [name for name, names in SERVERS.items() if names])
def test_what_serves_on_loopback_has_no_other_name(name: str) -> None:
    assert [one.names for one in CERTIFICATES if one.name == name] == [SERVERS[name]]


def test_nothing_on_a_load_balancer_is_a_server_by_the_cluster_s_authority() -> None:
    here = {role for play in site() if "loadbalancer" in play.get("hosts", "").split(":") for role in roles_of(play)}
    assert {"gateway", "api_loadbalancer", "kube_node"} <= here
    assert [
        one
        for one in CERTIFICATES
        if one.role in here and one.authority == "kubernetes-ca" and one.usages != ["client"]
    ] == []


@pytest.mark.parametrize("path", sorted(OWN_AUTHORITY))
def test_other_servers_have_an_authority_of_their_own(path: str) -> None:
    assert {one.authority for one in CERTIFICATES if one.path == path} == {OWN_AUTHORITY[path]}


def test_the_gateway_s_certificate_names_no_host() -> None:
    names = next(one.names for one in CERTIFICATES if one.path == "/etc/traefik/gateway")
    assert names == "{{ gateway_domains or [_gateway_name] }}"
