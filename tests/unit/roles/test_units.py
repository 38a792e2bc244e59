# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of all roles: each has a user of its own and the shared sandbox, or is one of those that rule the host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.lookup.declared import load
from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations

ROLES = Path(__file__).resolve().parents[3] / "roles"


def whole(path: Path) -> str:
    """Return a template with those that it includes."""
    return re.sub(
        r"^{% include '(.*)' %}$", lambda found: whole(path.parent / found[1]), path.read_text("utf-8"), flags=re.M
    )


UNITS = {path.name.removesuffix(".service.j2"): whole(path) for path in ROLES.glob("*/templates/*.service.j2")}
SANDBOX = yaml.safe_load((ROLES / "cluster/vars/main.yml").read_text("utf-8"))["_cluster_sandbox"]
CONFINED = {one.unit for role in declarations.roles(load) for one in role.confined}
# These make networks, mounts and containers, or restart other units, and are root for that.
ROOT = {
    "calico-felix",
    "calico-startup",
    "calico-tunnel",
    "cloudbang-firewall",
    "cloudbang-vrrp",
    "containerd",
    "goodnet-agent",
    "goodnet-firewall",
    "goodnet-underlay",
    "kube-apiserver-watchdog",
    "kube-proxy",
    "kubelet",
}


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNITS[unit].replace("{{ _cluster_sandbox }}", SANDBOX), re.M):
        found.setdefault(name, []).append(value)
    return found


def test_every_unit_has_a_user_of_its_own_or_a_reason() -> None:
    assert {unit for unit in UNITS if "User" not in settings(unit)} == ROOT


@pytest.mark.parametrize("unit", sorted(CONFINED))
def test_a_confined_unit_has_the_sandbox(unit: str) -> None:
    found = settings(unit)
    assert "{{ _cluster_sandbox }}" in UNITS[unit]
    assert found["User"] == found["Group"] == [unit]
    assert found["CapabilityBoundingSet"] in ([""], ["CAP_NET_BIND_SERVICE"])
    assert found["SystemCallFilter"] == ["@system-service"]
    assert all(len(values) == 1 for name, values in found.items() if not name.startswith(("Exec", "Environment")))


def test_no_two_units_share_a_user_but_those_that_write_the_same_images() -> None:
    units: dict[str, set[str]] = {}
    for unit in UNITS:
        for user in settings(unit).get("User", []):
            units.setdefault(user, set()).add(unit)
    assert [found for found in units.values() if len(found) > 1] == [{"registry", "registry-build"}]


@pytest.mark.parametrize(
    "line",
    [
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "ProtectProc=invisible",
        "PrivateDevices=true",
        "RestrictNamespaces=true",
        "RestrictSUIDSGID=true",
        "MemoryDenyWriteExecute=true",
        "LockPersonality=true",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "UMask=0077",
    ],
)
def test_the_sandbox_has(line: str) -> None:
    assert line in SANDBOX.splitlines()


@pytest.mark.parametrize("unit", ["kubelet", "kube-proxy", "traefik"])
def test_what_the_firewall_protects_does_not_start_without_it(unit: str) -> None:
    """A change of the firewall restarts it, which must restart nothing else."""
    found = settings(unit)
    assert found["ExecStartPre"][0].lstrip("+") == "/usr/bin/systemctl is-active --quiet cloudbang-firewall"
    for name in ("After", "Wants"):
        assert "cloudbang-firewall.service" in " ".join(found[name]).split()
    assert not {"Requires", "Requisite", "BindsTo", "PartOf"} & set(found)


@pytest.mark.parametrize("unit", ["cloudbang-firewall", "cloudbang-vrrp"])
def test_a_firewall_follows_the_hosts_own(unit: str) -> None:
    found = settings(unit)
    assert found["After"] == found["PartOf"] == found["ReloadPropagatedFrom"] == ["nftables.service"]
    assert found["ExecReload"] == found["ExecStart"]


def test_no_other_unit_loads_tables() -> None:
    """A reload of nftables would empty them for good."""
    loading = {unit for unit in UNITS if "/usr/sbin/nft" in UNITS[unit]}
    assert loading == {"cloudbang-firewall", "cloudbang-vrrp", "registry", "registry-build"}


@pytest.mark.parametrize("path", ["/run/containerd", "/run/dbus", "/run/openvswitch", "/run/systemd/private"])
def test_what_rules_the_host_is_out_of_reach(path: str) -> None:
    (line,) = [line for line in SANDBOX.splitlines() if line.startswith("InaccessiblePaths=")]
    assert f"-{path}" in line.partition("=")[2].split()
