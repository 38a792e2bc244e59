# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of addresses and networks that need nothing but the inventory."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from ansible_collections.cloudbang.platform.plugins.module_utils.port_ranges import numbers

from .inventory import EVERYWHERE, HostFinding, Inventory, as_address, as_network, check, overlap

CIDRS = ("cloudbang_pod_cidr", "cloudbang_service_cidr")
DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Ansible expands a range in the name of a host only.
RANGE = re.compile(r"\[(\d+:\d+|[a-z]:[a-z])(:\d+)?\]", re.IGNORECASE)
LEADING_ZERO = re.compile(r"(^|\.)0\d")
MAX_SERVICE_BITS = 20
PORTS_WANTED = "ports from 1 to 65535, each once, as numbers and ranges, such as 20000-24999,9100"


@check("inventory")
def settings_are_shared(inventory: Inventory) -> Iterator[HostFinding]:
    """A cluster-wide variable that differs between hosts was set in the wrong group."""
    for name in (name for role in inventory.declared for name in role.shared):
        values = list(inventory.shared(name))
        for host, value in values[1:]:
            yield HostFinding(
                host,
                "differs",
                name,
                repr(value),
                f"{values[0][1]!r} as on {values[0][0]}",
                "set it in group_vars/all: it is one value for the whole cluster",
            )


@check("inventory")
def cidr_form(inventory: Inventory) -> Iterator[HostFinding]:
    for name in CIDRS:
        for host, value in inventory.shared(name):
            if not isinstance(value, str):
                continue
            if LEADING_ZERO.search(value):
                yield HostFinding(
                    host, "cidr", name, repr(value), "numbers without leading zeros", "the API refuses them"
                )
                continue
            network = as_network(value)
            if network is None:
                yield HostFinding(host, "cidr", name, repr(value), "a network like 10.244.0.0/16")
            elif str(network) != value:
                yield HostFinding(host, "cidr", name, repr(value), str(network), "bits are set behind the prefix")


@check("inventory")
def routed_networks(inventory: Inventory) -> Iterator[HostFinding]:
    """The firewall of the nodes takes IPv4 networks; what is no list of texts is another check's business."""
    name = "cloudbang_routed_networks"
    for host, value in inventory.shared(name):
        for number, one in enumerate(value if isinstance(value, list) else ()):
            if not isinstance(one, str):
                yield HostFinding(host, "cidr", f"{name}[{number}]", repr(one), "a network like 192.0.2.0/24")
                continue
            network = as_network(one)
            if LEADING_ZERO.search(one) or not isinstance(network, ipaddress.IPv4Network):
                yield HostFinding(host, "cidr", f"{name}[{number}]", repr(one), "an IPv4 network like 192.0.2.0/24")
            elif str(network) != one:
                hint = "bits are set behind the prefix"
                yield HostFinding(host, "cidr", f"{name}[{number}]", repr(one), str(network), hint)


@check("inventory")
def pod_host_ports(inventory: Inventory) -> Iterator[HostFinding]:
    name = "cloudbang_pod_host_ports"
    for host, value in inventory.shared(name):
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            continue
        try:
            numbers(str(value))
        except ValueError as error:
            yield HostFinding(host, "port", name, f"{value} ({error})", PORTS_WANTED)


@check("inventory")
def pod_and_service_networks_differ(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes[:1]:
        pods, services = (inventory.get(host, name) for name in CIDRS)
        if overlap(as_network(pods), as_network(services)):
            yield HostFinding(
                EVERYWHERE,
                "cidr_overlap",
                CIDRS[0],
                str(pods),
                f"a network outside {services}",
                "cloudbang_service_cidr overlaps it",
            )


@check("inventory")
def service_network_size(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("cloudbang_service_cidr"):
        network = as_network(value)
        if network is None:
            continue
        bits = network.max_prefixlen - network.prefixlen
        if bits > MAX_SERVICE_BITS:
            wanted = f"/{network.max_prefixlen - MAX_SERVICE_BITS} or a longer prefix"
            yield HostFinding(
                host, "service_cidr_size", "cloudbang_service_cidr", str(value), wanted, "the API's limit"
            )
        elif bits < 4:
            wanted = f"/{network.max_prefixlen - 4} or a shorter prefix"
            yield HostFinding(
                host, "service_cidr_size", "cloudbang_service_cidr", str(value), wanted, "too few addresses"
            )


@check("inventory")
def pod_network_size(inventory: Inventory) -> Iterator[HostFinding]:
    """Every node takes at least one block of the pod network."""
    nodes = [host for host in inventory.nodes if inventory.member(host, "management", "compute", "loadbalancer")]
    for host, value in inventory.shared("cloudbang_pod_cidr"):
        network = as_network(value)
        if network is None or not nodes:
            continue
        calico = inventory.get(nodes[0], "cloudbang_network") == "calico"
        block = inventory.number(nodes[0], "calico_block_size", 26) if calico else 24
        blocks = 2 ** (block - network.prefixlen) if block >= network.prefixlen else 0
        if blocks < len(nodes):
            yield HostFinding(
                host,
                "pod_cidr_size",
                "cloudbang_pod_cidr",
                f"{value} with {blocks} blocks of /{block}",
                f"room for {len(nodes)} nodes",
                "use a shorter prefix",
            )
        need = sum(inventory.number(one, "kube_node_max_pods", 110) for one in nodes)
        if blocks >= len(nodes) and network.num_addresses < need:
            yield HostFinding(
                host,
                "pod_cidr_size",
                "cloudbang_pod_cidr",
                f"{value} with {network.num_addresses} addresses",
                f"{need} for {len(nodes)} nodes",
                "use a shorter prefix or lower kube_node_max_pods",
            )


@check("inventory")
def calico_block(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("calico_block_size"):
        if isinstance(value, int) and not isinstance(value, bool) and not 20 <= value <= 32:
            yield HostFinding(host, "block_size", "calico_block_size", str(value), "20 to 32")


@check("inventory")
def dns_address(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("cloudbang_dns_address"):
        services = inventory.get(inventory.nodes[0], "cloudbang_service_cidr") if inventory.nodes else None
        network, address = as_network(services), as_address(value)
        if network is None or value is None:
            continue
        if address is None:
            yield HostFinding(host, "dns_address", "cloudbang_dns_address", repr(value), f"an address in {services}")
        elif address not in network:
            yield HostFinding(host, "dns_address", "cloudbang_dns_address", str(value), f"an address in {services}")
        elif address in (network.network_address, network.network_address + 1):
            yield HostFinding(
                host,
                "dns_address",
                "cloudbang_dns_address",
                str(value),
                "another address",
                "the first two are the network and the API's service",
            )


@check("inventory")
def cluster_domain(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("cloudbang_cluster_domain"):
        if isinstance(value, str) and not DOMAIN.fullmatch(value):
            yield HostFinding(host, "domain", "cloudbang_cluster_domain", repr(value), "a lower-case DNS domain")


@check("inventory")
def vip_form(inventory: Inventory) -> Iterator[HostFinding]:
    for host, value in inventory.shared("cloudbang_api_vip"):
        if not value or not isinstance(value, str):
            continue
        if as_address(value) is None:
            hint = "without the prefix" if "/" in value else "names are not looked up"
            yield HostFinding(host, "vip", "cloudbang_api_vip", repr(value), "one IP address", hint)
            continue
        for name in CIDRS:
            network = as_network(inventory.get(inventory.nodes[0], name)) if inventory.nodes else None
            address = as_address(value)
            if network is not None and address is not None and address in network:
                yield HostFinding(
                    host, "vip", "cloudbang_api_vip", value, f"an address outside {network}", f"{name} has it"
                )


@check("inventory")
def vip_is_no_node(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        vip = inventory.get(host, "cloudbang_api_vip")
        if not vip:
            continue
        for name in ("cloudbang_node_address", "ansible_host"):
            if inventory.get(host, name) == vip:
                yield HostFinding(
                    host,
                    "vip_is_node",
                    name,
                    str(vip),
                    "the host's own address",
                    "it is cloudbang_api_vip, which moves",
                )
                break


@check("inventory")
def node_address_form(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        value = inventory.get(host, "cloudbang_node_address")
        address = as_address(value)
        fault, hint = "", ""
        wanted = "an address other nodes reach"
        if address is None:
            wanted = "an IP address that other nodes reach; names are not looked up"
            fault, hint = repr(value), "set cloudbang_node_address; ansible_host may stay a name"
            if RANGE.search(str(value)):
                hint = "a range works in the names of hosts only: give each host its own address"
            elif LEADING_ZERO.search(str(value)):
                hint = "leading zeros are not allowed"
        elif address.is_loopback:
            fault, hint = str(value), "other nodes cannot reach a loopback address"
        elif address.is_unspecified or address.is_multicast or address.is_link_local:
            fault = str(value)
        if fault:
            yield HostFinding(host, "node_address", "cloudbang_node_address", fault, wanted, hint)


@check("inventory")
def address_families(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        address = inventory.address(host)
        for name in CIDRS:
            network = as_network(inventory.get(host, name))
            if address is not None and network is not None and address.version != network.version:
                yield HostFinding(
                    host,
                    "family",
                    "cloudbang_node_address",
                    f"IPv{address.version} address {address}",
                    f"IPv{network.version} as {name}",
                    f"{name} is {network}",
                )
                break


@check("inventory")
def node_addresses_differ(inventory: Inventory) -> Iterator[HostFinding]:
    for name in ("cloudbang_node_address", "ansible_host"):
        owner: dict[str, str] = {}
        for host in inventory.nodes:
            value = str(inventory.get(host, name, ""))
            if name == "ansible_host":
                if value == str(inventory.get(host, "cloudbang_node_address")):
                    continue
                # Machines behind one forwarding address differ in their port.
                value = f"{value} {inventory.get(host, 'ansible_port', '')}".strip()
            if not value:
                continue
            if value in owner:
                yield HostFinding(
                    host, "duplicate_address", name, value, "an address of its own", f"{owner[value]} has the same"
                )
            owner.setdefault(value, host)


@check("inventory")
def nodes_outside_cluster_networks(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        address = inventory.address(host)
        for name in CIDRS:
            network = as_network(inventory.get(host, name))
            if address is not None and network is not None and address in network:
                yield HostFinding(
                    host,
                    "node_in_cluster_network",
                    "cloudbang_node_address",
                    str(address),
                    f"an address outside {network}",
                    f"{name} would hide it",
                )


@check("inventory")
def virtual_router_id(inventory: Inventory) -> Iterator[HostFinding]:
    name = "api_loadbalancer_router_id"
    for host in inventory.groups.get("loadbalancer", ()):
        value = inventory.get(host, name)
        if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= 255:
            yield HostFinding(host, "vrid", name, str(value), "1 to 255")
    values = {inventory.get(host, name) for host in inventory.groups.get("loadbalancer", ())}
    if len(values) > 1:
        host = inventory.groups["loadbalancer"][-1]
        yield HostFinding(host, "vrid", name, str(inventory.get(host, name)), "the same on every load balancer")


@check("inventory")
def network_identifiers(inventory: Inventory) -> Iterator[HostFinding]:
    """A VXLAN network identifier has 24 bits; 0 is the system's own."""
    for host, value in inventory.shared("calico_vxlan_vni"):
        if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= 0xFFFFFF:
            yield HostFinding(host, "vni", "calico_vxlan_vni", str(value), "1 to 16777215")
    for host, tenants in inventory.shared("goodnet_tenants"):
        entries = tenants.items() if isinstance(tenants, dict) else ()
        taken: dict[int, str] = {}
        for tenant, one in entries:
            vni = one.get("vni") if isinstance(one, dict) else one
            if not isinstance(vni, int) or isinstance(vni, bool):
                continue
            label = f"goodnet_tenants.{tenant}"
            if not 1 <= vni <= 0xFFFFFF:
                yield HostFinding(host, "vni", label, str(vni), "1 to 16777215", "0 is the tenant system")
            elif vni in taken:
                yield HostFinding(host, "vni", label, str(vni), "a number of its own", f"{taken[vni]} has it")
            taken.setdefault(vni, str(tenant))


@check("inventory")
def port_numbers(inventory: Inventory) -> Iterator[HostFinding]:
    names = [one for one in inventory.options if one.endswith("_port") or one.startswith("cloudbang_port_")]
    for name in sorted(names):
        for host, value in inventory.shared(name):
            if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= 65535:
                yield HostFinding(host, "port", name, str(value), "1 to 65535")


@check("inventory")
def mtu_values(inventory: Inventory) -> Iterator[HostFinding]:
    for name in ("calico_mtu", "goodnet_mtu"):
        for host, value in inventory.shared(name):
            if isinstance(value, int) and not isinstance(value, bool) and value and not 1280 <= value <= 9216:
                yield HostFinding(host, "mtu", name, str(value), "0 to derive it, or 1280 to 9216 bytes")


def subnet_of(inventory: Inventory, host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network of the interface that holds a node's address."""
    address = inventory.address(host)
    for _name, interface, _mtu in inventory.interfaces(host):
        if interface.ip == address:
            return interface.network
    return None
