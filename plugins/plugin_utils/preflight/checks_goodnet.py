# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GoodNet: tenants and addresses that cannot be, hosts that cannot carry it, and what a running cluster keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .checks_addresses import CIDRS
from .inventory import WARNING, HostFinding, Inventory, as_address, as_network, check, overlap

MAX_VNI = 0xFFFFFF
MIN_MTU = 1280
OVERHEAD = {"vxlan": 50, "gre": 42}
BRIDGE = "br-underlay"
GROUPS = ("management", "compute", "loadbalancer")
TENANT = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
KEYS = ("external", "vni")
KEPT = {
    "name": "cloudbang_network",
    "encapsulation": "goodnet_encapsulation",
    "cluster_cidr": "cloudbang_pod_cidr",
    "service_cidr": "cloudbang_service_cidr",
}


def used(inventory: Inventory) -> bool:
    return any(inventory.get(host, "cloudbang_network") == "goodnet" for host in inventory.nodes)


def carriers(inventory: Inventory) -> tuple[str, ...]:
    """Return the hosts that answered and that GoodNet runs on."""
    if not used(inventory):
        return ()
    return tuple(host for host in inventory.examined if inventory.member(host, *GROUPS))


def datapath(inventory: Inventory, host: str) -> str:
    """Return where packets of a host will be forwarded. A kernel that does not tell has the module, as most do."""
    chosen = str(inventory.get(host, "goodnet_datapath", "auto"))
    if chosen != "auto":
        return chosen
    return "netdev" if inventory.facts[host].get("features", {}).get("openvswitch") is False else "system"


def addresses(inventory: Inventory, host: str, name: str) -> list[str]:
    return [str(one.ip) for interface, one, _mtu in inventory.interfaces(host) if interface == name]


def managed_by(inventory: Inventory, host: str) -> set[str]:
    """Return the addresses by which a host is reached."""
    found = (inventory.facts[host].get("ssh_address"), inventory.get(host, "ansible_host"), inventory.address(host))
    return {str(one) for one in found if one}


@check("inventory")
def network_of_the_cluster(inventory: Inventory) -> Iterator[HostFinding]:
    name = "cloudbang_network"
    networks = sorted({str(one) for role in inventory.declared for one in dict(role.when).get(name, ())})
    for host, value in inventory.shared(name):
        if isinstance(value, str) and value not in networks:
            yield HostFinding(host, "choice", name, repr(value), f"one of {', '.join(networks)}")


@check("inventory")
def range_of_numbers(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("goodnet_vni_range"):
        name = "goodnet_vni_range"
        if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
            continue
        if len(value) != 2 or not 1 <= value[0] <= value[1] <= MAX_VNI:
            yield HostFinding(
                host, "vni", name, str(value), f"[first, last] within 1 to {MAX_VNI}, first not above last"
            )
            continue
        first = inventory.nodes[0] if inventory.nodes else ""
        tenants = inventory.get(first, "goodnet_tenants", {})
        if isinstance(tenants, Mapping) and len(tenants) > value[1] - value[0] + 1:
            yield HostFinding(
                host, "vni", name, str(value), f"numbers for the {len(tenants)} tenants of goodnet_tenants"
            )


@check("inventory")
def tenants(inventory: Inventory) -> Iterator[HostFinding]:
    """Names and addresses; numbers are checked with all other identifiers."""
    for host, value in inventory.shared("goodnet_tenants"):
        if not isinstance(value, Mapping) or not used(inventory):
            continue
        network = as_network(inventory.get(inventory.nodes[0], "goodnet_provider_network"))
        holders: dict[Any, str] = {}
        for tenant, one in value.items():
            label = f"goodnet_tenants.{tenant}"
            if tenant == "system" or not TENANT.fullmatch(str(tenant)):
                hint = "system is the platform's, with number 0" if tenant == "system" else ""
                yield HostFinding(host, "tenant", label, str(tenant), "the name of a tenant", hint)
                continue
            entry = one if isinstance(one, Mapping) else {}
            if one is not None and (not isinstance(one, Mapping) or set(one) - set(KEYS)):
                yield HostFinding(
                    host, "tenant", label, str(one), f"a mapping with {' and '.join(KEYS)}, both optional"
                )
            external = entry.get("external")
            if not external:
                continue
            address = as_address(external)
            wanted = f"an address in goodnet_provider_network {network}" if network else "goodnet_provider_network, too"
            if address is None or network is None or address not in network:
                yield HostFinding(host, "external", f"{label}.external", str(external), wanted)
            elif address in holders or str(address) in taken(inventory):
                holder = holders.get(address) or taken(inventory)[str(address)]
                yield HostFinding(
                    host, "external", f"{label}.external", str(external), "an address of its own", f"{holder} has it"
                )
            holders.setdefault(address, str(tenant))


def taken(inventory: Inventory) -> dict[str, str]:
    """Return the addresses in the provider network that are no tenant's, and whose they are."""
    first = inventory.nodes[0]
    found = {str(inventory.address(host)): host for host in inventory.nodes}
    for name in ("goodnet_provider_gateway", "cloudbang_api_vip"):
        if inventory.get(first, name):
            found[str(inventory.get(first, name))] = name
    return found


@check("inventory")
def provider_network(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("goodnet_provider_network"):
        if not value or not isinstance(value, str) or not used(inventory):
            continue
        name, first = "goodnet_provider_network", inventory.nodes[0]
        network = as_network(value)
        if network is None or str(network) != value:
            yield HostFinding(host, "cidr", name, repr(value), "a network like 203.0.113.0/24")
            continue
        gateway = inventory.get(first, "goodnet_provider_gateway")
        address = as_address(gateway)
        if address is None or address not in network:
            wanted = f"the router's address in {network}"
            yield HostFinding(host, "provider", "goodnet_provider_gateway", repr(gateway or ""), wanted)
        for other in CIDRS:
            if overlap(network, as_network(inventory.get(first, other))):
                wanted = f"a network outside {inventory.get(first, other)}"
                yield HostFinding(host, "cidr_overlap", name, value, wanted, f"{other} overlaps it")
        balancers = inventory.groups.get("loadbalancer", ())
        if len(balancers) > 1 and not inventory.get(first, "cloudbang_api_vip"):
            yield HostFinding(
                host,
                "provider",
                name,
                f"{len(balancers)} load balancers without cloudbang_api_vip",
                "a virtual IP, or one load balancer",
                "who has the virtual IP holds the tenants' addresses",
            )


@check("inventory")
def node_networks(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("goodnet_node_networks"):
        for number, one in enumerate(value if isinstance(value, list) else ()):
            label, network = f"goodnet_node_networks[{number}]", as_network(one)
            if network is None or str(network) != one:
                yield HostFinding(host, "cidr", label, repr(one), "a network like 192.0.2.0/24")
                continue
            for other in CIDRS:
                cidr = inventory.get(inventory.nodes[0], other)
                if overlap(network, as_network(cidr)):
                    yield HostFinding(
                        host, "cidr_overlap", label, one, f"a network outside {cidr}", f"{other} overlaps it"
                    )


@check("hosts")
def datapaths(inventory: Inventory) -> Iterator[HostFinding]:
    """Without kernel support, packets are forwarded in user space, slowly. All hosts must use the same datapath, as
    their tunnels end at addresses of different networks."""
    kinds = {host: datapath(inventory, host) for host in carriers(inventory)}
    for host, kind in kinds.items():
        features = inventory.facts[host].get("features", {})
        asked = inventory.get(host, "goodnet_datapath", "auto")
        wanted, severity, hint = "the kernel feature openvswitch", "error", ""
        if kind == "system" and features.get("openvswitch") is False:
            hint = "goodnet_datapath: netdev does without it"
        elif kind == "netdev" and features.get("tun") is False:
            yield HostFinding(host, "kernel_feature", "tun", "not in this kernel", "the kernel feature tun")
        elif kind == "netdev" and asked == "auto":
            hint, severity = "the slower userspace datapath is used", WARNING
        if hint:
            yield HostFinding(host, "kernel_feature", "openvswitch", "not in this kernel", wanted, hint, severity)
    others = [host for host, kind in kinds.items() if kind == "system"]
    for host in kinds if others else ():
        if kinds[host] == "netdev":
            hint = "set goodnet_datapath: netdev for all hosts, or give all of them the kernel's module"
            yield HostFinding(host, "datapath", "goodnet_datapath", "netdev", f"system, as on {others[0]}", hint)


@check("hosts")
def underlay(inventory: Inventory) -> Iterator[HostFinding]:
    name = "goodnet_underlay_interface"
    for host in carriers(inventory):
        if datapath(inventory, host) != "netdev":
            continue
        nic = str(inventory.get(host, name, "") or "")
        links = inventory.facts[host].get("interfaces", {})
        mine = addresses(inventory, host, nic)
        reached = managed_by(inventory, host) & set(mine)
        wanted, hint = "a NIC of its own for tunnels, with a static IPv4 address", ""
        if not nic:
            found, hint = "none", "the datapath in user space needs one"
        elif nic not in links:
            others = ", ".join(one for one in links if one != "lo")
            found, hint = f"{nic}, which the host has not", f"it has {others}" if others else ""
        elif reached:
            found, hint = (
                f"{nic} with {', '.join(sorted(reached))}",
                "by which the host is managed: it would be cut off",
            )
        elif inventory.facts[host].get("default_route") == nic:
            found, hint = f"{nic}, which has the default route", "the host would lose its way out"
        elif not mine and not addresses(inventory, host, BRIDGE):
            found = f"{nic} without IPv4 address"
        else:
            continue
        yield HostFinding(host, "underlay", name, found, wanted, hint)


@check("hosts")
def mtu_of_tunnels(inventory: Inventory) -> Iterator[HostFinding]:
    for host in carriers(inventory):
        encapsulation = str(inventory.get(host, "goodnet_encapsulation", "vxlan"))
        overhead = OVERHEAD.get(encapsulation, OVERHEAD["vxlan"])
        name = str(inventory.address(host))
        nic = str(inventory.get(host, "goodnet_underlay_interface", "") or "")
        sizes = {size for _name, one, size in inventory.interfaces(host) if str(one.ip) == name}
        if datapath(inventory, host) == "netdev":
            sizes = {int(inventory.facts[host].get("interfaces", {}).get(nic, {}).get("mtu") or 0)} - {0}
        if not sizes:
            continue
        below, wanted = min(sizes), inventory.number(host, "goodnet_mtu", 0)
        most = below - overhead
        if most < MIN_MTU:
            yield HostFinding(
                host,
                "mtu",
                nic if datapath(inventory, host) == "netdev" else "interface of the node's address",
                f"MTU {below}",
                f"{MIN_MTU + overhead} or more",
                f"{encapsulation} adds {overhead}, and pods need {MIN_MTU}",
            )
        elif wanted > most:
            hint = f"the interface of the tunnels has {below}, and {encapsulation} adds {overhead}"
            yield HostFinding(host, "mtu", "goodnet_mtu", str(wanted), f"{most} or less", hint)


@check("hosts")
def provider_interface(inventory: Inventory) -> Iterator[HostFinding]:
    name = "goodnet_provider_interface"
    for host in carriers(inventory):
        nic = str(inventory.get(host, name, "") or "")
        if not inventory.member(host, "loadbalancer") or not inventory.get(host, "goodnet_provider_network") or not nic:
            continue
        wanted = "an interface in goodnet_provider_network"
        if nic not in inventory.facts[host].get("interfaces", {}):
            yield HostFinding(host, "provider", name, f"{nic}, which the host has not", wanted)
        elif datapath(inventory, host) == "netdev" and nic == inventory.get(host, "goodnet_underlay_interface"):
            yield HostFinding(host, "provider", name, nic, "another one", "goodnet_underlay_interface has it")


@check("hosts")
def what_a_running_cluster_keeps(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        present = inventory.facts[host].get("network", {})
        for key, name in KEPT.items():
            wanted = str(inventory.get(host, name, ""))
            if key != "name" and inventory.get(host, "cloudbang_network") != "goodnet":
                continue
            if present.get(key) and present[key] != wanted:
                yield HostFinding(
                    host,
                    "network_change",
                    name,
                    wanted,
                    f"{present[key]}, as the host runs with",
                    "a running cluster keeps it: install a second cluster and move the applications, or remove this "
                    "one with cloudbang.platform.reset and install it again",
                )
