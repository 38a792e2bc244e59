# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bad-input catalogue: one thing is spoilt in a good inventory, and exactly that has to be named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import (
    ERROR,
    WARNING,
    HostFinding,
    Inventory,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import demote, evaluate

from .good import VIP, good

ROOT = Path(__file__).resolve().parents[5]
Spoil = Callable[[Inventory], None]
ALL = "all hosts"


def groups(**changed: tuple[str, ...] | None) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        for name, hosts in changed.items():
            inventory.groups.pop(name.replace("__", "-"), None)
            if hosts is not None:
                inventory.groups[name.replace("__", "-")] = hosts

    return spoil


def var(name: str, value: Any, *hosts: str) -> Spoil:
    """Return a change of a variable as if the user had written it, on all hosts when none is named."""

    def spoil(inventory: Inventory) -> None:
        for host in hosts or inventory.hosts:
            inventory.variables[host][name] = value
            inventory.settings[host][name] = value

    return spoil


def users(*names: str) -> Spoil:
    return var("registry_users", [{"name": one} for one in names], "storage1")


def building(name: str, value: Any) -> Spoil:
    """Return a cluster that builds apps, with a variable of builds."""
    return both(var("cloudbang_builder_enabled", True), var(name, value))


def routed(*networks: Any) -> Spoil:
    return var("cloudbang_routed_networks", list(networks))


def versions(**chosen: Any) -> Spoil:
    """Return a choice of versions of components, beside those chosen already."""

    def spoil(inventory: Inventory) -> None:
        for host in inventory.hosts:
            var("artifacts_versions", {**inventory.settings[host]["artifacts_versions"], **chosen}, host)(inventory)

    return spoil


def fact(host: str, **changed: Any) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        inventory.facts[host].update(changed)

    return spoil


def error(host: str, name: str, message: str) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        inventory.variables[host][name] = "{{ x }}"
        inventory.settings[host].pop(name, None)
        inventory.errors.setdefault(host, {})[name] = message

    return spoil


def rename(old: str, new: str) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        if old not in inventory.hosts:
            return
        inventory.hosts = tuple(new if host == old else host for host in inventory.hosts)
        inventory.groups = {
            name: tuple(new if host == old else host for host in hosts) for name, hosts in inventory.groups.items()
        }
        for part in (inventory.variables, inventory.settings, inventory.facts):
            part[new] = part.pop(old)
        inventory.facts[new]["hostname"] = new.lower().replace("_", "-")[:63].replace("localhost", "local")

    return spoil


def feature(host: str, name: str) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        inventory.facts[host]["features"][name] = False

    return spoil


def listen(host: str, port: int, process: str, address: str = "0.0.0.0", protocol: str = "tcp") -> Spoil:
    one = {"protocol": protocol, "address": address, "port": port, "process": process}

    def spoil(inventory: Inventory) -> None:
        inventory.facts[host]["listeners"].append(one)

    return spoil


def address(host: str, value: str) -> Spoil:
    """Return a change of a node's address, on the interface too."""

    def spoil(inventory: Inventory) -> None:
        for name in ("ansible_host", "cloudbang_node_address"):
            inventory.settings[host][name] = value
        inventory.variables[host]["ansible_host"] = value
        prefix = 64 if ":" in value else 24
        inventory.facts[host]["interfaces"]["eth0"]["addresses"] = [f"{value}/{prefix}"]

    return spoil


def interface(host: str, name: str, value: str, mtu: int = 1500) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        inventory.facts[host]["interfaces"][name] = {"mtu": mtu, "addresses": [value]}

    return spoil


def limit(*hosts: str) -> Spoil:
    """Return a run in which only some hosts are asked."""

    def spoil(inventory: Inventory) -> None:
        inventory.facts = {host: facts for host, facts in inventory.facts.items() if host in hosts}

    return spoil


def unit(name: str, active: str = "active", enabled: str = "enabled") -> dict[str, str]:
    """Return what systemd tells of a unit that a package brought."""
    return {"path": f"/usr/lib/systemd/system/{name}.service", "active": active, "enabled": enabled}


def both(*spoils: Spoil) -> Spoil:
    def spoil(inventory: Inventory) -> None:
        for one in spoils:
            one(inventory)

    return spoil


def goodnet(*spoils: Spoil) -> Spoil:
    """Return a change of a cluster whose network is GoodNet, with nothing else wrong."""
    return both(var("cloudbang_network", "goodnet"), *spoils)


def netdev(*spoils: Spoil) -> Spoil:
    """Return a change of a GoodNet in user space, whose tunnels have a NIC eth1 on each host."""

    def spoil(inventory: Inventory) -> None:
        for number, host in enumerate(KUBELETS, 11):
            interface(host, "eth1", f"10.93.0.{number}/24")(inventory)

    user_space = (var("goodnet_datapath", "netdev"), var("goodnet_underlay_interface", "eth1"))
    return goodnet(*user_space, spoil, *spoils)


def tenants(**entries: Any) -> Spoil:
    """Return tenants of a GoodNet with a provider network."""
    return goodnet(PROVIDER, var("goodnet_tenants", entries))


@dataclass(frozen=True)
class Row:
    """``number`` is the entry of the catalogue of bad input, 0 for none; ``also`` are checks that notice it too."""

    number: int
    spoil: Spoil
    check: str
    host: str
    variable: str
    found: str = ""
    severity: str = ERROR
    also: tuple[str, ...] = field(default=())


DISK = {"/var/lib": {"free": 2 * 1024**3, "inodes": 10**7, "inodes_free": 9 * 10**6, "device": 1}}
FULL = {"/var/lib": {"free": 0, "inodes": 10**7, "inodes_free": 9 * 10**6, "device": 1}}
INODES = {"/var/lib": {"free": 50 * 1024**3, "inodes": 10**7, "inodes_free": 12, "device": 1}}
LB2 = ("loadbalancer1", "loadbalancer2")
KUBELETS = ("management1", "management2", "management3", "compute1", "compute2", *LB2)

PROVIDER = both(var("goodnet_provider_network", "203.0.113.0/24"), var("goodnet_provider_gateway", "203.0.113.1"))

# What changes the inventory's shape comes first.
ROWS = [
    # Operation
    Row(
        81,
        both(limit("management1"), fact("management1", versions={"etcd": "3.5.26"})),
        "upgrade_limited",
        "management1",
        "artifacts_versions.etcd",
        "without management2",
    ),
    Row(
        81,
        both(limit("compute1"), fact("compute1", versions={"kubelet": "1.35.4"})),
        "upgrade_limited",
        "compute1",
        "artifacts_versions.kubernetes",
        "1.36.5 after 1.35.4",
    ),
    # Inventory
    Row(1, groups(management=()), "groups", "inventory", "management", "no host", also=("no_group",)),
    Row(1, groups(storage=None), "groups", "inventory", "storage", "no such group", also=("no_group",)),
    Row(2, groups(etcd=()), "etcd_empty", "inventory", "etcd"),
    Row(3, groups(etcd=("management1", "management2", "storage1", "compute1")), "etcd_count", "inventory", "etcd", "4"),
    Row(
        4,
        groups(management=("management1", "management2")),
        "etcd_count",
        "inventory",
        "management",
        "2 members",
        also=("no_group",),
    ),
    Row(5, fact("storage1", hostname="management1"), "duplicate_hostname", "storage1", "hostname", "management1"),
    Row(6, address("compute2", "10.92.0.12"), "duplicate_address", "compute2", "cloudbang_node_address", "10.92.0.12"),
    Row(
        6,
        both(var("cloudbang_node_address", "10.92.0.22", "compute2"), var("ansible_host", "192.0.2.9", *LB2)),
        "duplicate_address",
        "loadbalancer2",
        "ansible_host",
        "192.0.2.9",
    ),
    Row(7, fact("storage1", machine_id=f"{1:032x}"), "duplicate_machine_id", "storage1", "/etc/machine-id"),
    Row(7, fact("storage1", machine_id=""), "machine_id", "storage1", "/etc/machine-id", "nothing"),
    Row(8, rename("compute1", "Compute1"), "hostname", "Compute1", "inventory_hostname", "uppercase"),
    Row(8, rename("compute1", "compute_1"), "hostname", "compute_1", "inventory_hostname", "underscore"),
    Row(8, rename("compute1", "c" * 64), "hostname", "c" * 64, "inventory_hostname", "64 characters"),
    # cloudbang:calico-node:NAME has to fit into 64 characters.
    Row(8, rename("compute1", "c" * 43), "hostname", "c" * 43, "inventory_hostname", "43 characters"),
    Row(8, rename("compute1", "compute-"), "hostname", "compute-", "inventory_hostname", "characters that"),
    Row(8, fact("compute1", hostname="localhost"), "hostname", "compute1", "hostname", "localhost"),
    Row(10, var("gateway_https_port", 6443), "port_clash", "loadbalancer1", "gateway_https_port", "6443"),
    Row(10, var("cloudbang_port_etcd_peer", 2379), "port_clash", ALL, "cloudbang_port_etcd_peer", "2379"),
    Row(10, var("cloudbang_port_registry_push", 5000), "port_clash", ALL, "cloudbang_port_registry_push", "5000"),
    Row(
        10,
        building("cloudbang_port_registry_build", 5001),
        "port_clash",
        ALL,
        "cloudbang_port_registry_build",
        "5001",
    ),
    Row(0, building("builder_cpu", "100m"), "builder", ALL, "builder_cpu", "100m"),
    Row(0, building("builder_memory", "4 GiB"), "builder", ALL, "builder_memory", "4 GiB"),
    Row(0, building("builder_disk", "-1"), "builder", ALL, "builder_disk", "-1"),
    Row(0, building("builder_timeout", 0), "builder", ALL, "builder_timeout", "0"),
    Row(0, building("builder_max_builds", -1), "builder", ALL, "builder_max_builds", "-1"),
    Row(0, building("builder_timeout", 86401), "builder", ALL, "builder_timeout", "86401"),
    Row(0, building("builder_environment", {"A": "https://ghp_x@h/"}), "builder", ALL, 'builder_environment["A"]'),
    Row(0, building("builder_environment", {"A": "http://[x"}), "builder", ALL, 'builder_environment["A"]'),
    Row(0, building("builder_trusted_ca", "/etc"), "builder", ALL, "builder_trusted_ca", "/etc"),
    Row(0, building("builder_languages", ["go", "cobol"]), "builder", ALL, "builder_languages[1]", "cobol"),
    Row(0, building("builder_networks", ["10.92.0.5"]), "cidr", ALL, "builder_networks[0]", "10.92.0.5"),
    Row(0, building("builder_networks", ["10.244.7.0/24"]), "builder", ALL, "builder_networks[0]", "10.244.7.0/24"),
    Row(0, building("builder_networks", ["169.254.169.254/32"]), "builder", ALL, "builder_networks[0]", "169.254"),
    Row(0, building("builder_proxy", "10.92.0.5:3128"), "builder", ALL, "builder_proxy", "10.92.0.5:3128"),
    Row(0, building("builder_proxy", "http://me:hunter2@proxy"), "builder", ALL, "builder_proxy", "not shown"),
    Row(
        0,
        building("builder_environment", {"PIP_INDEX_URL": "https://me:hunter2@pypi.example.org/simple"}),
        "builder",
        ALL,
        'builder_environment["PIP_INDEX_URL"]',
        "not shown",
    ),
    Row(0, building("builder_environment", {"A B": "x"}), "builder", ALL, 'builder_environment["A B"]'),
    Row(0, building("builder_environment", {"DEBUG": True}), "builder", ALL, 'builder_environment["DEBUG"]', "bool"),
    Row(0, building("builder_trusted_ca", "/nonexistent/ca.pem"), "builder", ALL, "builder_trusted_ca", "ca.pem"),
    Row(
        0,
        both(building("builder_cpu", "2"), fact("compute1", kernel="6.1.0-13-amd64")),
        "builder",
        "compute1",
        "kernel",
        "6.1.0",
    ),
    Row(
        0,
        both(building("builder_cpu", "2"), fact("compute1", os={"id": "debian", "version": "12", "like": []})),
        "builder",
        "compute1",
        "os-release",
        "debian 12",
    ),
    Row(0, users("../kubernetes-ca"), "registry_user", "storage1", "registry_users[0]", "'../kubernetes-ca'"),
    Row(0, users("ci", "a:b"), "registry_user", "storage1", "registry_users[1]", "'a:b'"),
    Row(0, users("ci\nadmin"), "registry_user", "storage1", "registry_users[0]", r"'ci\nadmin'"),
    Row(0, users("ci", "ci"), "registry_user", "storage1", "registry_users[1]", "'ci'"),
    Row(0, users("node"), "registry_user", "storage1", "registry_users[0]", "'node'"),
    Row(0, users("cloudbang"), "registry_user", "storage1", "registry_users[0]", "'cloudbang'"),
    Row(
        0,
        var("registry_users", [{"name": "ci", "password": "x"}], "storage1"),
        "entry",
        "storage1",
        "registry_users[0]",
        "password",
    ),
    Row(0, var("registry_users", [{}], "storage1"), "entry", "storage1", "registry_users[0]", "missing"),
    Row(0, var("registry_users", ["ci"], "storage1"), "type", "storage1", "registry_users[0]", "'ci'"),
    Row(
        0,
        var("kube_node_taints", [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "Never"}], "compute1"),
        "entry",
        "compute1",
        "kube_node_taints[1]",
        "Never",
    ),
    Row(0, var("kube_node_taints", [{"key": "a"}], "compute1"), "entry", "compute1", "kube_node_taints[0]", "effect"),
    Row(
        0,
        var("cloudbang_registry_pull_user", "cloudbang"),
        "registry_user",
        "storage1",
        "cloudbang_registry_pull_user",
        "'cloudbang'",
    ),
    Row(
        0,
        var("registry_push_networks", ["10.92.0.0/24", "10.92.0.1/24"], "storage1"),
        "cidr",
        "storage1",
        "registry_push_networks[1]",
        "10.92.0.1/24",
    ),
    Row(0, var("registry_push_networks", ["fd00::/64"], "storage1"), "cidr", "storage1", "registry_push_networks[0]"),
    Row(0, var("registry_push_networks", ["all"], "storage1"), "cidr", "storage1", "registry_push_networks[0]"),
    Row(11, both(var("ansible_host", VIP, "loadbalancer1")), "vip_is_node", "loadbalancer1", "ansible_host", VIP),
    Row(
        12,
        var("cloudbang_node_address", "10.92.0.99", "storage1"),
        "address_missing",
        "storage1",
        "cloudbang_node_address",
        "10.92.0.99",
    ),
    Row(13, address("management3", "127.0.0.1"), "node_address", "management3", "cloudbang_node_address", "127.0.0.1"),
    Row(
        13,
        var("cloudbang_node_address", "c1.example.com", "compute1"),
        "node_address",
        "compute1",
        "cloudbang_node_address",
        "c1.example.com",
    ),
    Row(
        13,
        var("cloudbang_node_address", "192.0.2.[11:13]", "compute1"),
        "node_address",
        "compute1",
        "cloudbang_node_address",
        "192.0.2.[11:13]",
    ),
    Row(14, address("compute1", "fd00::21"), "family", "compute1", "cloudbang_node_address", "IPv6"),
    Row(
        15,
        groups(compute=None, kube__node=("compute1", "compute2")),
        "groups",
        "inventory",
        "compute",
        also=("no_group",),
    ),
    Row(15, groups(management=None, masters=("management1",)), "groups", "inventory", "management", also=("no_group",)),
    Row(
        9,
        fact("compute1", authorities={"kubernetes-ca": "ab" * 32}),
        "other_cluster",
        "compute1",
        "/nonexistent/pki/kubernetes-ca.crt",
        "no file",
    ),
    Row(
        20,
        var("cloudbang_pki_dir", "/nonexistent/elsewhere", "storage1"),
        "differs",
        "storage1",
        "cloudbang_pki_dir",
        "elsewhere",
    ),
    Row(16, fact("compute1", units=["kube-apiserver.service"]), "service_left", "compute1", "kube-apiserver.service"),
    Row(17, fact("storage1", units=["etcd.service"]), "service_left", "storage1", "etcd.service"),
    Row(19, rename("compute1", "localhost"), "localhost", "localhost", "inventory_hostname"),
    Row(
        20, var("gateway_http_port", 8080, "compute1"), "wrong_group", "compute1", "gateway_http_port", severity=WARNING
    ),
    Row(
        20,
        var("cloudbang_pod_cidr", "10.250.0.0/16", "compute1", "compute2"),
        "differs",
        "compute1",
        "cloudbang_pod_cidr",
        "10.250",
    ),
    # Addresses
    Row(
        33,
        both(interface("loadbalancer1", "vip", f"{VIP}/32"), interface("loadbalancer2", "vip", f"{VIP}/32")),
        "vip_twice",
        "loadbalancer2",
        "cloudbang_api_vip",
    ),
    Row(
        21,
        fact("loadbalancer1", vip={"address": VIP, "answers": "ARP"}),
        "vip_taken",
        "loadbalancer1",
        "cloudbang_api_vip",
        "ARP",
    ),
    Row(22, var("cloudbang_api_vip", "10.99.0.100"), "vip_subnet", "loadbalancer1", "cloudbang_api_vip", "10.99.0.100"),
    Row(22, var("cloudbang_api_vip", "10.92.0.100/24"), "vip", ALL, "cloudbang_api_vip", "10.92.0.100/24"),
    Row(23, var("cloudbang_api_vip", "10.92.0.11"), "vip_is_node", "management1", "cloudbang_node_address"),
    Row(24, var("cloudbang_pod_cidr", "10.96.0.0/12"), "cidr_overlap", ALL, "cloudbang_pod_cidr", "10.96.0.0/12"),
    Row(
        25,
        both(var("cloudbang_pod_cidr", "10.80.0.0/12")),
        "node_in_cluster_network",
        "management1",
        "cloudbang_node_address",
        "10.92.0.11",
        also=("vip", "cidr_overlap"),
    ),
    Row(26, interface("compute1", "docker0", "10.244.3.1/24"), "cidr_overlap", "compute1", "cloudbang_pod_cidr"),
    Row(
        27,
        var("cloudbang_service_cidr", "10.96.0.0/29"),
        "dns_address",
        ALL,
        "cloudbang_dns_address",
        also=("service_cidr_size",),
    ),
    Row(27, both(var("cloudbang_service_cidr", "10.96.0.8/30")), "service_cidr_size", ALL, "cloudbang_service_cidr"),
    Row(27, both(var("cloudbang_service_cidr", "10.96.0.0/11")), "service_cidr_size", ALL, "cloudbang_service_cidr"),
    Row(28, var("cloudbang_pod_cidr", "10.244.0.5/16"), "cidr", ALL, "cloudbang_pod_cidr", "10.244.0.5/16"),
    Row(28, var("cloudbang_pod_cidr", "010.244.0.0/16"), "cidr", ALL, "cloudbang_pod_cidr", "010."),
    Row(
        24,
        goodnet(var("goodnet_provider_network", "10.244.8.0/24"), var("goodnet_provider_gateway", "10.244.8.1")),
        "cidr_overlap",
        ALL,
        "goodnet_provider_network",
        "10.244.8.0/24",
    ),
    Row(
        24,
        goodnet(var("goodnet_node_networks", ["10.96.0.0/12"])),
        "cidr_overlap",
        ALL,
        "goodnet_node_networks[0]",
        "10.96.0.0/12",
    ),
    Row(26, netdev(interface("compute1", "eth1", "10.244.3.9/24")), "cidr_overlap", "compute1", "cloudbang_pod_cidr"),
    Row(
        28,
        goodnet(var("goodnet_provider_network", "203.0.113.0")),
        "cidr",
        ALL,
        "goodnet_provider_network",
        "203.0.113.0",
    ),
    Row(
        28,
        goodnet(var("goodnet_node_networks", ["192.0.2.1/24"])),
        "cidr",
        ALL,
        "goodnet_node_networks[0]",
        "192.0.2.1/24",
    ),
    Row(28, var("cloudbang_pod_cidr", "10.244.0.0"), "cidr", ALL, "cloudbang_pod_cidr", "10.244.0.0"),
    Row(28, routed("192.0.2.0/24", "192.0.2.1/24"), "cidr", ALL, "cloudbang_routed_networks[1]", "192.0.2.1/24"),
    Row(28, routed("192.0.2.0"), "cidr", ALL, "cloudbang_routed_networks[0]", "192.0.2.0"),
    Row(28, routed("192.0.02.0/24"), "cidr", ALL, "cloudbang_routed_networks[0]", "192.0.02.0/24"),
    Row(28, routed("2001:db8::/64"), "cidr", ALL, "cloudbang_routed_networks[0]", "2001:db8::/64"),
    Row(28, routed(4), "cidr", ALL, "cloudbang_routed_networks[0]", "4"),
    Row(
        20,
        var("cloudbang_routed_networks", ["192.0.2.0/24"], "storage1"),
        "differs",
        "storage1",
        "cloudbang_routed_networks",
        "192.0.2.0/24",
    ),
    Row(0, var("cloudbang_pod_host_ports", "9100,0"), "port", ALL, "cloudbang_pod_host_ports", "9100,0"),
    Row(0, var("cloudbang_pod_host_ports", "65536"), "port", ALL, "cloudbang_pod_host_ports", "65536"),
    Row(0, var("cloudbang_pod_host_ports", "9110-9100"), "port", ALL, "cloudbang_pod_host_ports", "9110-9100"),
    Row(
        0,
        var("cloudbang_pod_host_ports", "22 } accept; tcp dport { 23"),
        "port",
        ALL,
        "cloudbang_pod_host_ports",
        "22 } accept",
    ),
    Row(29, var("cloudbang_pod_cidr", "10.244.0.0/24"), "pod_cidr_size", ALL, "cloudbang_pod_cidr", "4 blocks"),
    Row(30, var("cloudbang_pod_cidr", "10.244.0.0/23"), "pod_cidr_size", ALL, "cloudbang_pod_cidr", "512 addresses"),
    Row(31, var("cloudbang_dns_address", "10.97.0.10"), "dns_address", ALL, "cloudbang_dns_address", "10.97.0.10"),
    Row(31, var("cloudbang_dns_address", "10.96.0.1"), "dns_address", ALL, "cloudbang_dns_address", "10.96.0.1"),
    Row(32, var("calico_vxlan_vni", 0), "vni", ALL, "calico_vxlan_vni", "0"),
    Row(32, var("calico_vxlan_vni", 16777216), "vni", ALL, "calico_vxlan_vni", "16777216"),
    Row(32, var("goodnet_tenants", {"red": {"vni": 7}, "blue": {"vni": 7}}), "vni", ALL, "goodnet_tenants.blue", "7"),
    Row(32, tenants(red={"vni": 0}), "vni", ALL, "goodnet_tenants.red", "0"),
    Row(32, goodnet(var("goodnet_vni_range", [5, 4])), "vni", ALL, "goodnet_vni_range", "[5, 4]"),
    Row(32, goodnet(var("goodnet_vni_range", [1, 16777216])), "vni", ALL, "goodnet_vni_range", "16777216"),
    Row(
        32,
        goodnet(var("goodnet_vni_range", [7, 7]), var("goodnet_tenants", {"red": None, "blue": None})),
        "vni",
        ALL,
        "goodnet_vni_range",
        "[7, 7]",
    ),
    Row(33, var("api_loadbalancer_router_id", 0, *LB2), "vrid", "loadbalancer1", "api_loadbalancer_router_id", "0"),
    Row(33, var("api_loadbalancer_router_id", 256, *LB2), "vrid", "loadbalancer2", "api_loadbalancer_router_id", "256"),
    Row(34, var("calico_mtu", 9000), "mtu", "compute1", "calico_mtu", "9000"),
    Row(34, goodnet(var("goodnet_mtu", 1451)), "mtu", "compute1", "goodnet_mtu", "1451"),
    Row(
        34,
        netdev(var("goodnet_encapsulation", "gre"), var("goodnet_mtu", 1459)),
        "mtu",
        "compute1",
        "goodnet_mtu",
        "1459",
    ),
    Row(34, netdev(interface("compute1", "eth1", "10.93.0.14/24", 1300)), "mtu", "compute1", "eth1", "1300"),
    Row(34, goodnet(var("goodnet_mtu", 900)), "mtu", ALL, "goodnet_mtu", "900"),
    Row(34, interface("compute1", "eth0", "10.92.0.21/24", 9000), "mtu", "compute1", "mtu", "9000", WARNING),
    Row(
        34,
        fact("management1", probes=[["compute1", "10.92.0.21", 4789, "udp", "mtu"]]),
        "mtu_path",
        "compute1",
        "udp port 4789",
        "management1",
        WARNING,
    ),
    Row(35, fact("compute1", resolv={"nameservers": [], "search": []}), "nameserver", "compute1", "/etc/resolv.conf"),
    Row(
        35,
        fact("compute1", resolv={"nameservers": ["127.0.0.53"], "search": []}),
        "nameserver_loop",
        "compute1",
        "/etc/resolv.conf",
        "127.0.0.53",
        WARNING,
    ),
    Row(
        35,
        fact("compute1", resolv={"nameservers": ["10.96.0.10"], "search": []}),
        "nameserver_loop",
        "compute1",
        "/etc/resolv.conf",
        "10.96.0.10",
    ),
    Row(
        35,
        fact("compute1", resolv={"nameservers": ["10.92.0.1"], "search": [f"d{n}" for n in range(33)]}),
        "search",
        "compute1",
        "/etc/resolv.conf",
        "33",
    ),
    Row(36, fact("compute1", skew=31.5), "clock", "compute1", "clock", "32 s ahead"),
    Row(36, fact("compute1", skew=-3600.0), "clock", "compute1", "clock", "3600 s behind"),
    # Versions
    Row(37, versions(kubernetes="1.99.0"), "kubernetes_version", ALL, "artifacts_versions.kubernetes", "1.99.0"),
    Row(37, versions(kubernets="1.36.3"), "version", ALL, "artifacts_versions.kubernets"),
    Row(
        38,
        fact("management1", versions={"kube-apiserver": "1.37.0"}),
        "downgrade",
        "management1",
        "artifacts_versions.kubernetes",
        "1.36",
    ),
    Row(
        39,
        fact("compute1", versions={"kubelet": "1.34.1"}),
        "version_skip",
        "compute1",
        "artifacts_versions.kubernetes",
    ),
    Row(40, fact("compute2", versions={"kubelet": "1.37.0"}), "downgrade", "compute2", "artifacts_versions.kubernetes"),
    Row(
        41,
        fact("management2", versions={"etcd": "3.5.21"}),
        "etcd_version",
        "management2",
        "artifacts_versions.etcd",
        "3.5.21",
    ),
    Row(42, versions(calico="3.31.0"), "calico_version", ALL, "artifacts_versions.calico", "3.31.0"),
    Row(43, fact("compute1", arch="aarch64"), "arch", "compute1", "artifacts_arch", "amd64"),
    Row(45, versions(kubernetes=1.36), "version", ALL, "artifacts_versions.kubernetes", "1.36"),
    Row(45, versions(coredns=1.12), "version", ALL, "artifacts_versions.coredns", "1.12"),
    Row(46, versions(containerd="v2.1.4"), "version", ALL, "artifacts_versions.containerd", "v"),
    Row(
        47,
        fact("compute1", os={"id": "fedora", "version": "43", "like": []}),
        "os",
        "compute1",
        "os-release",
        "fedora 43",
    ),
    Row(
        47,
        fact("compute1", os={"id": "debian", "version": "11", "like": []}),
        "os",
        "compute1",
        "os-release",
        "debian 11",
        WARNING,
    ),
    Row(47, fact("compute1", cgroup=1), "cgroup", "compute1", "/sys/fs/cgroup", "v1"),
    Row(47, fact("compute1", kernel="4.19.0-26-amd64"), "kernel", "compute1", "kernel", "4.19"),
    Row(47, fact("compute1", python="3.8.10"), "python", "compute1", "ansible_python_interpreter", "3.8.10"),
    Row(47, feature("compute1", "vxlan"), "kernel_feature", "compute1", "vxlan"),
    Row(
        47,
        goodnet(feature("compute1", "openvswitch")),
        "kernel_feature",
        "compute1",
        "openvswitch",
        severity=WARNING,
        also=("datapath", "underlay"),
    ),
    Row(
        47,
        goodnet(var("goodnet_datapath", "system"), feature("compute1", "openvswitch")),
        "kernel_feature",
        "compute1",
        "openvswitch",
        "not in this kernel",
    ),
    Row(47, netdev(feature("compute1", "tun")), "kernel_feature", "compute1", "tun", "not in this kernel"),
    # Types
    Row(48, var("gateway_access_log", "false", *LB2), "type", "loadbalancer1", "gateway_access_log", "'false'"),
    Row(49, var("node_base_modules", "overlay"), "type", "compute1", "node_base_modules", "'overlay'"),
    Row(49, var("cloudbang_cluster_domain", ["cluster.local"]), "type", "compute1", "cloudbang_cluster_domain", "list"),
    Row(49, var("preflight_ignore", ["swap", None]), "type", "compute1", "preflight_ignore[1]", "null"),
    Row(50, var("cloudbang_network", None), "null", "compute1", "cloudbang_network", "null"),
    Row(
        51,
        var("etcd_quota_bytes", "8G", "management1", "management2", "management3"),
        "type",
        "management1",
        "etcd_quota_bytes",
        "'8G'",
    ),
    Row(52, var("cloudbang_pod_cdir", "10.0.0.0/16"), "unknown_variable", "compute1", "cloudbang_pod_cdir"),
    Row(52, var("etcd_data_directory", "/x", "management1"), "unknown_variable", "management1", "etcd_data_directory"),
    Row(52, var("artifacts_source", "biuld"), "choice", "compute1", "artifacts_source", "biuld"),
    Row(52, goodnet(var("goodnet_encapsulation", "geneve")), "choice", "compute1", "goodnet_encapsulation", "geneve"),
    Row(52, var("cloudbang_network", "flannel"), "choice", ALL, "cloudbang_network", "'flannel'"),
    Row(
        52,
        var("gateway_port", 80, "compute1"),
        "unknown_variable",
        "compute1",
        "gateway_port",
        "no such variable",
        WARNING,
    ),
    Row(
        52,
        var("artifacts_bucket", "b", "compute1"),
        "unknown_variable",
        "compute1",
        "artifacts_bucket",
        "no such variable",
        WARNING,
    ),
    Row(
        52,
        var("node_base_packages_extra", [], "compute1"),
        "unknown_variable",
        "compute1",
        "node_base_packages_extra",
        "no such variable",
        WARNING,
    ),
    Row(52, var("pki_dirs", "/x", "compute1"), "unknown_variable", "compute1", "pki_dirs", "no such variable"),
    Row(52, var("etcd_datadir", "/x", "management1"), "unknown_variable", "management1", "etcd_datadir"),
    Row(53, var("cloudbang_vip", VIP), "unknown_variable", "compute1", "cloudbang_vip", "an old name"),
    Row(
        54,
        error("compute1", "cloudbang_cluster_name", "Attempting to decrypt but no vault secrets found."),
        "vault",
        "compute1",
        "cloudbang_cluster_name",
    ),
    Row(
        54,
        var("registry_images", "$ANSIBLE_VAULT;1.1;AES256\n6162", "storage1"),
        "vault",
        "storage1",
        "registry_images",
        also=("type",),
    ),
    Row(55, error("compute1", "ansible_host", "'wrong' is undefined"), "undefined", "compute1", "ansible_host"),
    Row(59, var("cloudbang_cluster_name", "lab "), "text", "compute1", "cloudbang_cluster_name", "blanks"),
    Row(57, var("cloudbang_cluster_name", "lab\r"), "text", "compute1", "cloudbang_cluster_name", "carriage return"),
    # Capacity
    Row(71, fact("management1", cores=1), "cores", "management1", "cores", "1"),
    Row(71, fact("compute1", memory=512 * 1024**2), "memory", "compute1", "memory", "512 MiB"),
    Row(71, fact("compute1", disks=DISK), "disk", "compute1", "/var/lib", "2 GiB"),
    Row(71, fact("compute1", disks=INODES), "inodes", "compute1", "/var/lib", "12"),
    Row(72, fact("management1", fsync=0.05), "fsync", "management1", "/var/lib/etcd", "50 ms", WARNING),
    Row(72, fact("management1", units=["etcd.service"], disks=FULL), "disk", "management1", "/var/lib", "full"),
    Row(73, listen("management1", 2379, "etcd"), "port_used", "management1", "cloudbang_port_etcd_client", "etcd"),
    Row(
        73,
        listen("storage1", 5001, "python3", "127.0.0.1"),
        "port_used",
        "storage1",
        "cloudbang_port_registry_push",
        "python3",
    ),
    Row(
        73,
        both(fact("storage1", units=["registry.service"]), listen("storage1", 5000, "docker-proxy")),
        "port_used",
        "storage1",
        "cloudbang_port_registry",
        "docker-proxy",
    ),
    Row(73, listen("storage1", 5000, "registry"), "port_used", "storage1", "cloudbang_port_registry", "registry"),
    Row(73, listen("loadbalancer1", 80, "nginx"), "port_used", "loadbalancer1", "gateway_http_port", "nginx"),
    Row(73, listen("compute1", 10250, "k3s", "::"), "port_used", "compute1", "port 10250", "k3s"),
    Row(
        73,
        fact("compute1", other_services={"docker.service": unit("docker"), "containerd.service": unit("containerd")}),
        "runtime",
        "compute1",
        "container runtime",
        "docker.service (active, /usr/lib/systemd/system/docker.service), containerd.service (active,",
    ),
    Row(
        73,
        fact("compute1", other_services={"containerd.service": unit("containerd", active="inactive", enabled="")}),
        "runtime",
        "compute1",
        "container runtime",
        "containerd.service (inactive,",
    ),
    Row(
        73,
        fact("management1", other_services={"k3s.service": unit("k3s"), "kubelet.service": unit("kubelet")}),
        "runtime",
        "management1",
        "Kubernetes",
        "k3s.service",
    ),
    Row(
        73,
        fact("compute1", units=["kubelet.service"], other_services={"docker.service": unit("docker")}),
        "runtime",
        "compute1",
        "container runtime",
        "docker.service",
        WARNING,
    ),
    Row(73, fact("storage1", packet_filters=["ufw"]), "firewall", "storage1", "ufw", "active"),
    Row(73, fact("compute1", packet_filters=["firewalld"]), "firewall", "compute1", "firewalld", "active"),
    Row(
        73,
        fact("compute1", units=["kubelet.service"], packet_filters=["firewalld"]),
        "firewall",
        "compute1",
        "firewalld",
        "active",
        WARNING,
    ),
    Row(74, fact("compute1", swaps_at_boot=["/swapfile"]), "swap", "compute1", "/etc/fstab", "/swapfile"),
    Row(74, fact("compute1", swaps=["/dev/sda2"]), "swap", "compute1", "/proc/swaps", "/dev/sda2"),
    Row(75, fact("compute1", uid=1000), "root", "compute1", "ansible_become", "1000"),
    Row(
        75,
        fact("compute1", reached=False, reason="Missing sudo password"),
        "unreachable",
        "compute1",
        "ansible_host",
        "Missing sudo password",
    ),
    Row(76, fact("compute1", noexec=["/tmp"]), "noexec", "compute1", "/tmp", severity=WARNING),
    Row(76, fact("compute1", noexec=["/usr/local/bin"]), "noexec", "compute1", "/usr/local/bin"),
    Row(77, fact("compute1", read_only=["/etc"]), "read_only", "compute1", "/etc"),
    Row(78, fact("compute1", selinux="enforcing"), "selinux", "compute1", "SELinux"),
    Row(
        79,
        fact("compute1", proxies={"https_proxy": "http://proxy:3128", "no_proxy": "10.92.0.11"}),
        "no_proxy",
        "compute1",
        "no_proxy",
        "10.92.0.11",
    ),
    Row(
        79,
        fact("compute1", proxies={"http_proxy": "proxy:3128", "no_proxy": "10.92.0.0/24"}),
        "proxy",
        "compute1",
        "http_proxy",
    ),
    Row(79, var("http_proxy", "http://p:1", "compute1"), "proxy", "compute1", "http_proxy", "a variable", WARNING),
    # GoodNet
    Row(
        93, netdev(var("goodnet_underlay_interface", "")), "underlay", "compute1", "goodnet_underlay_interface", "none"
    ),
    Row(
        93,
        netdev(var("goodnet_underlay_interface", "eth2", "compute1")),
        "underlay",
        "compute1",
        "goodnet_underlay_interface",
        "eth2, which the host has not",
    ),
    Row(
        93,
        netdev(var("goodnet_underlay_interface", "eth0", "compute1")),
        "underlay",
        "compute1",
        "goodnet_underlay_interface",
        "eth0 with 10.92.0.21",
    ),
    Row(
        93,
        netdev(fact("compute1", ssh_address="10.93.0.14")),
        "underlay",
        "compute1",
        "goodnet_underlay_interface",
        "eth1 with 10.93.0.14",
    ),
    Row(
        93,
        netdev(fact("compute1", default_route="eth1")),
        "underlay",
        "compute1",
        "goodnet_underlay_interface",
        "default route",
    ),
    Row(
        93,
        netdev(interface("compute1", "eth1", "")),
        "underlay",
        "compute1",
        "goodnet_underlay_interface",
        "eth1 without IPv4 address",
    ),
    Row(
        94, netdev(var("goodnet_datapath", "system", "compute1")), "datapath", "compute2", "goodnet_datapath", "netdev"
    ),
    Row(95, fact("compute1", network={"name": "goodnet"}), "network_change", "compute1", "cloudbang_network", "calico"),
    Row(
        95,
        goodnet(fact("compute1", network={"name": "calico"})),
        "network_change",
        "compute1",
        "cloudbang_network",
        "goodnet",
    ),
    Row(
        95,
        goodnet(fact("compute1", network={"name": "goodnet", "encapsulation": "gre"})),
        "network_change",
        "compute1",
        "goodnet_encapsulation",
        "vxlan",
    ),
    Row(
        95,
        goodnet(fact("compute1", network={"name": "goodnet", "cluster_cidr": "10.0.0.0/16"})),
        "network_change",
        "compute1",
        "cloudbang_pod_cidr",
        "10.244.0.0/16",
    ),
    Row(96, goodnet(var("goodnet_provider_network", "203.0.113.0/24")), "provider", ALL, "goodnet_provider_gateway"),
    Row(
        96,
        goodnet(PROVIDER, var("cloudbang_api_vip", "")),
        "provider",
        ALL,
        "goodnet_provider_network",
        "2 load balancers",
        also=("vip_missing",),
    ),
    Row(
        96,
        goodnet(PROVIDER, var("goodnet_provider_interface", "eth9", *LB2)),
        "provider",
        "loadbalancer1",
        "goodnet_provider_interface",
        "eth9",
    ),
    Row(
        96,
        netdev(PROVIDER, var("goodnet_provider_interface", "eth1", *LB2)),
        "provider",
        "loadbalancer1",
        "goodnet_provider_interface",
        "eth1",
    ),
    Row(96, tenants(red={"external": "198.51.100.9"}), "external", ALL, "goodnet_tenants.red.external", "198.51.100.9"),
    Row(96, tenants(red={"external": "203.0.113.1"}), "external", ALL, "goodnet_tenants.red.external", "203.0.113.1"),
    Row(
        96,
        tenants(blue={"external": "203.0.113.9"}, red={"external": "203.0.113.9"}),
        "external",
        ALL,
        "goodnet_tenants.red.external",
        "203.0.113.9",
    ),
    Row(
        96,
        goodnet(var("goodnet_tenants", {"red": {"external": "203.0.113.9"}})),
        "external",
        ALL,
        "goodnet_tenants.red.external",
        "203.0.113.9",
    ),
    Row(97, tenants(system={"vni": 5}), "tenant", ALL, "goodnet_tenants.system", "system"),
    Row(97, tenants(red={"vnii": 5}), "tenant", ALL, "goodnet_tenants.red", "vnii"),
    Row(
        98,
        goodnet(fact("compute1", packages_unknown=["python3-openvswitch"])),
        "package",
        "compute1",
        "goodnet_packages",
        "python3-openvswitch",
    ),
    Row(
        73,
        goodnet(listen("compute1", 9109, "node_exporter")),
        "port_used",
        "compute1",
        "goodnet_metrics_port",
        "node_exporter",
    ),
    # Ways between hosts
    Row(
        0,
        fact("compute1", probes=[["storage1", "10.92.0.41", 5000, "tcp", "timeout"]]),
        "filtered",
        "storage1",
        "tcp port 5000",
        "compute1",
    ),
    Row(
        0,
        fact("compute1", probes=[["compute2", "10.92.0.22", 4789, "udp", "timeout"]]),
        "filtered",
        "compute2",
        "udp port 4789",
        "compute1",
        WARNING,
    ),
]


def found(*spoils: Spoil) -> list[HostFinding]:
    inventory = good()
    for spoil in spoils:
        spoil(inventory)
    return evaluate(inventory)


def together(rows: list[Row]) -> bool:
    """Return whether all of these faults are found when they are in one inventory."""
    inventory = good()
    try:
        for row in rows:
            row.spoil(inventory)
    except KeyError:  # another fault took its host away
        return False
    seen = {(one.host, one.check, one.variable) for one in evaluate(inventory)}
    return seen >= {(row.host, row.check, row.variable) for row in rows}


def name(row: Row) -> str:
    return f"{row.number}-{row.check}-{row.variable}"[:60]


@pytest.mark.parametrize(
    "spoil",
    [
        goodnet(),
        netdev(),
        netdev(var("goodnet_encapsulation", "gre"), var("goodnet_mtu", 1458)),
        # A NIC that was attached, and what the platform itself runs.
        netdev(interface("compute1", "br-underlay", "10.93.0.14/24"), interface("compute1", "eth1", "")),
        tenants(red={"vni": 7, "external": "203.0.113.9"}, blue=None, green={"external": ""}),
        goodnet(
            fact("compute1", network={"name": "goodnet", "encapsulation": "vxlan"}, units=["goodnet-agent.service"]),
            listen("compute1", 9109, "python3", "127.0.0.1"),
            listen("compute1", 4789, "", protocol="udp"),
        ),
    ],
    ids=["system", "netdev", "gre", "attached", "tenants", "installed"],
)
def test_nothing_is_wrong_with_a_good_goodnet(spoil: Spoil) -> None:
    assert found(spoil) == []


@pytest.mark.parametrize(
    "spoil",
    [
        # An earlier release had one unit, which listened where nodes pull now.
        both(fact("storage1", units=["registry.service"]), listen("storage1", 5000, "registry")),
        both(
            fact("storage1", units=["registry-pull.service", "registry.service"]),
            listen("storage1", 5000, "registry"),
            listen("storage1", 5001, "registry", "127.0.0.1"),
        ),
        both(users("ci", "acme.build"), var("registry_push_networks", ["10.92.0.0/24", "192.0.2.7/32"], "storage1")),
    ],
    ids=["earlier", "installed", "users"],
)
def test_nothing_is_wrong_with_a_good_registry(spoil: Spoil) -> None:
    assert found(spoil) == []


@pytest.mark.parametrize(
    "spoil",
    [
        var("cloudbang_builder_enabled", True),
        building("builder_languages", []),
        building("builder_networks", ["10.92.0.5/32", "10.0.0.0/8", "0.0.0.0/0"]),
        building("builder_proxy", "http://10.92.0.5:3128"),
        building("builder_environment", {"GOPROXY": "https://go.example.org|direct", "GOSUMDB": "off"}),
        # Where no apps are built it does not matter.
        var("builder_cpu", "none"),
        fact("compute1", kernel="5.15.0-100-generic", os={"id": "ubuntu", "version": "22.04", "like": ["debian"]}),
        both(
            building("builder_cpu", "2"),
            fact("management1", kernel="6.1.0-13-amd64", os={"id": "debian", "version": "12", "like": []}),
        ),
    ],
    ids=["default", "dockerfiles", "networks", "proxy", "mirrors", "off", "off old", "old management"],
)
def test_nothing_is_wrong_with_a_good_builder(spoil: Spoil) -> None:
    assert found(spoil) == []


def test_entries_of_a_secret_variable_are_not_shown() -> None:
    """The validator's own message has the value."""

    def secret(inventory: Inventory) -> None:
        inventory.options["kube_node_taints"] = replace(inventory.options["kube_node_taints"], secret=True)

    wrong = var("kube_node_taints", [{"key": "a", "effect": "hunter2"}], "compute1")
    assert ["hunter2" in one.found for one in found(wrong)] == [True]
    assert ["hunter2" in one.found for one in found(secret, wrong)] == [False]


def test_nothing_is_wrong_with_a_good_inventory() -> None:
    assert evaluate(good()) == []


def test_nothing_is_wrong_with_the_variables_of_playbooks() -> None:
    """They may be in the inventory of the cluster; what their values are is those playbooks' business."""
    for name in ("apps", "tenant", "routes", "pages", "pages_retries", "promote", "rollback_tenant"):
        assert found(var(f"cloudbang_{name}", None)) == []
    findings = found(var("cloudbang_app", []))
    assert {(one.check, one.hint) for one in findings} == {("unknown_variable", "did you mean cloudbang_apps?")}


def test_nothing_is_wrong_with_what_opens_the_firewall_of_the_nodes() -> None:
    assert found(routed("192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/0")) == []
    for ports in ("", 9100, "1,9100-9110, 65535"):
        assert found(var("cloudbang_pod_host_ports", ports)) == []


@pytest.mark.parametrize(
    "spoil",
    [
        # What does not run and is not replaced, and where no pods are.
        fact("compute1", other_services={"docker.service": unit("docker", "inactive", "disabled")}),
        fact("storage1", other_services={"docker.service": unit("docker")}),
        both(
            fact("compute1", swaps_at_boot=["/swapfile"]),
            var("kube_node_kubelet_extra", {"failSwapOn": False}, "compute1"),
        ),
    ],
    ids=["disabled", "storage", "allowed"],
)
def test_nothing_is_wrong_with_what_is_not_in_the_way(spoil: Spoil) -> None:
    assert found(spoil) == []


@pytest.mark.parametrize(
    ("spoil", "texts"),
    [
        (
            var("cloudbang_node_address", "c1.example.com", "compute1"),
            ["an IP address", "names are not looked up", "ansible_host may stay a name"],
        ),
        (var("cloudbang_node_address", "192.0.2.[11:13]", "compute1"), ["a range works in the names of hosts only"]),
        (var("cloudbang_node_address", "192.0.2.011", "compute1"), ["leading zeros"]),
        (
            fact("compute1", reached=False, reason="root@10.92.0.21: Permission denied (publickey,password)."),
            ["--ask-pass", "ssh_args", "ansible_user"],
        ),
        (fact("compute1", reached=False, reason="Missing sudo password"), ["--ask-become-pass"]),
        (fact("compute1", packet_filters=["ufw"]), ["ufw disable", "preflight_ignore: [firewall]"]),
        (fact("compute1", swaps_at_boot=["/swapfile"]), ["next boot"]),
        (var("http_proxy", "http://proxy:3128", "compute1"), ["where ansible-playbook runs", "Acquire::http::Proxy"]),
        (
            var("pki_dirs", "/x", "compute1"),
            ["did you mean pki_dir?", "preflight_ignore: [unknown_variable:pki_dirs]"],
        ),
    ],
)
def test_the_message_says_what_to_do(spoil: Spoil, texts: list[str]) -> None:
    [finding] = found(spoil)
    assert [text for text in texts if text not in finding.message] == [], finding.message


@pytest.mark.parametrize("spoil", [both(), goodnet(), netdev(), tenants(red={"external": "203.0.113.9"})])
@pytest.mark.parametrize("hosts", [True, False], ids=["hosts", "no hosts"])
def test_an_inventory_of_another_installer_is_told_its_groups(spoil: Spoil, hosts: bool) -> None:
    inventory = good()
    spoil(inventory)
    inventory.hosts = inventory.hosts if hosts else ()
    members = {group: inventory.groups[group] if hosts else () for group in ("management", "compute")}
    inventory.groups = {"all": inventory.hosts, "server": members["management"], "agent": members["compute"]}
    findings = [one for one in evaluate(inventory) if one.severity == ERROR]
    assert [(one.host, one.check) for one in findings] == [("inventory", "groups")] * 4
    assert {one.variable: one.hint for one in findings if "meant" in one.hint} == {
        "management": "is group 'server' meant to be it?",
        "compute": "is group 'agent' meant to be it?",
    }


def test_one_name_can_be_lived_with() -> None:
    inventory = good()
    both(var("pki_dirs", "/x"), var("etcd_datadir", "/x", "management1"))(inventory)
    findings = demote(evaluate(inventory), ["unknown_variable:pki_dirs"])
    assert {one.variable: one.severity for one in findings} == {"pki_dirs": WARNING, "etcd_datadir": ERROR}


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_one_fault_is_named(row: Row) -> None:
    findings = found(row.spoil)
    mine = [one for one in findings if (one.check, one.host, one.variable) == (row.check, row.host, row.variable)]
    assert len(mine) == 1, [one.message for one in findings]
    assert row.found in mine[0].found
    assert mine[0].severity == row.severity
    assert mine[0].wanted
    for part in (row.host, row.variable, mine[0].found, mine[0].wanted):
        assert part in mine[0].message
    others = {one.check for one in findings} - {row.check} - set(row.also)
    assert not others, [one.message for one in findings]


def test_many_faults_are_found_in_one_run() -> None:
    """One after the other is added; what takes another's place, as a second value of a variable, is left out."""
    rows: list[Row] = []
    for row in reversed(ROWS):
        if together([*rows, row]):
            rows.append(row)
    assert len({row.number for row in rows} - {0}) >= 50
    assert len(rows) >= 70


def test_the_documentation_tells_which_check_finds_what() -> None:
    """docs/bad-input.md has every entry of the catalogue, and for those of this table the checks that find it."""
    lines = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    entries = {int(number): found for number, _what, found in (row for row in cells if row[0].isdigit())}
    assert sorted(entries) == list(range(1, 100))
    assert len({row.number for row in ROWS} - {0}) >= 60
    for number in {row.number for row in ROWS} - {0}:
        told = set(re.findall(r"`(\w+)`", entries[number]))
        assert {row.check for row in ROWS if row.number == number} <= told, (number, told)
