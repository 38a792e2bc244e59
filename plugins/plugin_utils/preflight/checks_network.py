# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of addresses, names and connections, with the facts of the hosts."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from .checks_addresses import CIDRS, subnet_of
from .inventory import WARNING, HostFinding, Inventory, as_address, as_network, check, overlap

MAX_NAMESERVERS = 3
MAX_SEARCH = 32
VXLAN_BYTES = 50
# Interfaces that the platform itself makes inside its networks.
OWN_INTERFACES = ("cali", "vxlan.calico", "goodnet", "tunl", "kube-", "lo", "ovs", "br-goodnet", "provider")


@check("hosts")
def node_address_is_configured(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        address = inventory.address(host)
        mine = {interface.ip for _name, interface, _mtu in inventory.interfaces(host)}
        if address is None or address.is_loopback or not mine or address in mine:
            continue
        usable = sorted(str(one) for one in mine if not one.is_loopback and not one.is_link_local)
        yield HostFinding(
            host,
            "address_missing",
            "cloudbang_node_address",
            f"{address}, which no interface has",
            f"one of {', '.join(usable[:4])}",
            "behind address translation set cloudbang_node_address to the inner one",
        )


@check("hosts")
def cluster_networks_are_free(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        vip = as_address(inventory.get(host, "cloudbang_api_vip"))
        for name in CIDRS:
            network = as_network(inventory.get(host, name))
            for interface, address, _mtu in inventory.interfaces(host):
                if interface.startswith(OWN_INTERFACES) or address.ip == vip or not overlap(network, address.network):
                    continue
                yield HostFinding(
                    host,
                    "cidr_overlap",
                    name,
                    str(network),
                    f"a network outside {address.network}",
                    f"{interface} is in it",
                )
                break


@check("hosts")
def vip_subnet(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        vip = as_address(inventory.get(host, "cloudbang_api_vip"))
        if vip is None or not inventory.member(host, "loadbalancer"):
            continue
        subnet = subnet_of(inventory, host)
        near = [one.network for _name, one, _mtu in inventory.interfaces(host) if one.network.prefixlen < 31]
        if subnet is not None and not any(vip in network for network in near):
            yield HostFinding(
                host,
                "vip_subnet",
                "cloudbang_api_vip",
                str(vip),
                f"an address in {subnet}",
                "it has to be in a network that the load balancers are in",
            )


@check("hosts")
def vip_is_free(inventory: Inventory) -> Iterator[HostFinding]:
    """An address that answers is taken, unless a host of the cluster holds it."""
    held = {interface.ip for host in inventory.examined for _name, interface, _mtu in inventory.interfaces(host)}
    for host in inventory.examined:
        answer = inventory.facts[host].get("vip", {})
        vip = as_address(answer.get("address"))
        if vip is None or not answer.get("answers") or vip in held:
            continue
        # Under --limit the holder may be a load balancer that was not asked.
        asked = all(one in inventory.examined for one in inventory.groups.get("loadbalancer", ()))
        if not asked and "haproxy.service" in inventory.facts[host].get("units", []):
            continue
        yield HostFinding(
            host,
            "vip_taken",
            "cloudbang_api_vip",
            f"{vip} answers ({answer['answers']})",
            "a free address",
            "" if asked else "not every load balancer was asked whether it holds it",
            "error" if asked else WARNING,
        )
        break


@check("hosts")
def vip_in_one_place(inventory: Inventory) -> Iterator[HostFinding]:
    holders = [
        host
        for host in inventory.examined
        if as_address(inventory.get(host, "cloudbang_api_vip"))
        in {one.ip for _n, one, _m in inventory.interfaces(host)}
    ]
    for host in holders[1:]:
        yield HostFinding(
            host,
            "vip_twice",
            "cloudbang_api_vip",
            str(inventory.get(host, "cloudbang_api_vip")),
            f"on one host; {holders[0]} has it too",
            "VRRP does not get through between the load balancers",
        )
    for host in holders:
        if not inventory.member(host, "loadbalancer"):
            yield HostFinding(
                host,
                "vip_is_node",
                "cloudbang_api_vip",
                "an address of this host",
                "an address that only load balancers take",
            )


@check("hosts")
def mtu(inventory: Inventory) -> Iterator[HostFinding]:
    name = "calico_mtu"
    for host in inventory.examined:
        wanted = inventory.number(host, name, 0) if inventory.get(host, "cloudbang_network") == "calico" else 0
        below = {size for _n, one, size in inventory.interfaces(host) if one.ip == inventory.address(host)}
        if wanted and below and wanted > min(below) - VXLAN_BYTES:
            yield HostFinding(
                host,
                "mtu",
                name,
                str(wanted),
                f"{min(below) - VXLAN_BYTES} or less",
                f"the interface of the node's address has {min(below)}",
            )


@check("hosts")
def mtu_is_the_same(inventory: Inventory) -> Iterator[HostFinding]:
    sizes: dict[int, list[str]] = {}
    for host in inventory.examined:
        for _name, interface, size in inventory.interfaces(host):
            if interface.ip == inventory.address(host) and size and not interface.ip.is_loopback:
                sizes.setdefault(size, []).append(host)
    if len(sizes) > 1:
        usual = max(sizes, key=lambda size: len(sizes[size]))
        for size, hosts in sizes.items():
            for host in hosts if size != usual else ():
                yield HostFinding(
                    host,
                    "mtu",
                    "mtu",
                    str(size),
                    f"{usual} as on {sizes[usual][0]}",
                    "large packets get lost between them",
                    WARNING,
                )


@check("hosts")
def default_route(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        if inventory.facts[host].get("default_route") == "":
            yield HostFinding(
                host, "default_route", "default route", "none", "one", "ClusterIP needs one on the host", WARNING
            )


@check("hosts")
def name_servers(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        resolv = inventory.facts[host].get("resolv")
        if resolv is None:
            continue
        servers, search = resolv.get("nameservers", []), resolv.get("search", [])
        if not servers:
            yield HostFinding(host, "nameserver", "/etc/resolv.conf", "no nameserver", "at least one")
        cluster = str(inventory.get(host, "cloudbang_dns_address", ""))
        if cluster in servers:
            yield HostFinding(
                host,
                "nameserver_loop",
                "/etc/resolv.conf",
                cluster,
                "a server outside the cluster",
                "cloudbang_dns_address would ask itself",
            )
        local = [one for one in servers if (as_address(one) or as_address("192.0.2.1")).is_loopback]  # type: ignore[union-attr]
        if local and inventory.get(host, "coredns_forward", "/etc/resolv.conf") == "/etc/resolv.conf":
            yield HostFinding(
                host,
                "nameserver_loop",
                "/etc/resolv.conf",
                ", ".join(local),
                "an address that pods reach",
                "set coredns_forward to it",
                WARNING,
            )
        if len(servers) > MAX_NAMESERVERS:
            yield HostFinding(
                host,
                "nameserver",
                "/etc/resolv.conf",
                f"{len(servers)} nameservers",
                f"at most {MAX_NAMESERVERS}",
                "the rest is not used",
                WARNING,
            )
        if len(search) > MAX_SEARCH:
            yield HostFinding(
                host, "search", "/etc/resolv.conf", f"{len(search)} search domains", f"at most {MAX_SEARCH}"
            )


@check("hosts")
def proxies(inventory: Inventory) -> Iterator[HostFinding]:
    """With a proxy, traffic between nodes and to the virtual IP must go past it."""
    addresses = {host: inventory.address(host) for host in inventory.nodes}
    for host in inventory.examined:
        proxy = {key.lower(): str(value) for key, value in inventory.facts[host].get("proxies", {}).items()}
        used = [key for key in ("http_proxy", "https_proxy") if proxy.get(key)]
        if not used:
            continue
        for key in used:
            try:
                usable = bool(urlsplit(proxy[key]).hostname) and urlsplit(proxy[key]).port != 0
            except ValueError:
                usable = False
            if not usable:
                yield HostFinding(host, "proxy", key, "no URL", "a URL like http://proxy:3128")
        past = [one.strip() for one in proxy.get("no_proxy", "").split(",") if one.strip()]
        networks = [network for network in map(as_network, past) if network is not None]
        wanted = {as_address(inventory.get(host, "cloudbang_api_vip")), *addresses.values()}
        missing = sorted(
            str(one)
            for one in wanted
            if one and str(one) not in past and "*" not in past and not any(one in network for network in networks)
        )
        if missing:
            yield HostFinding(
                host,
                "no_proxy",
                "no_proxy",
                ",".join(past) or "nothing",
                f"also {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}",
                "node addresses and the virtual IP go past the proxy; set no_proxy where the proxy is, such as in "
                "/etc/environment",
            )
