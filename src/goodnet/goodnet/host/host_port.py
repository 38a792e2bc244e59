# SPDX-License-Identifier: GPL-3.0-or-later
"""The host port, which is the host's own way into the overlay: its address and routes, and the way out for pods.

Everything is set to what is wanted, whatever is there, so it can be done again at any time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pyroute2 import IPRoute

from goodnet.host import nft
from goodnet.host.links import index_of
from goodnet.model import ROUTER

_PERMANENT = 0x80
_SCOPE_LINK = 253
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


@dataclass(frozen=True)
class HostPort:
    """The internal port of a host's bridge. own: addresses of its pods; the first of them is the port's.

    overlay: networks that are reached through the port. router: the MAC that packets for them go to. passing: the MAC
    of packets that may pass through this host, but are not for any of the machines, nor for ends of tunnels that are
    reached by the interface underlay. routed: networks outside whose machines may reach Services by way of this host.
    """

    name: str
    own: IPv4Network
    overlay: tuple[IPv4Network, ...]
    router: str
    passing: str
    machines: tuple[IPv4Address, ...] = ()
    underlay: str = ""
    tunnel_ends: tuple[IPv4Address, ...] = ()
    routed: tuple[IPv4Network, ...] = ()

    @property
    def address(self) -> IPv4Address:
        return self.own[1]


def ensure(port: HostPort) -> None:
    """Give the port its address and routes. OSError or NetlinkError when the host refuses."""
    with IPRoute() as ip:
        index = index_of(ip, port.name)
        wanted = str(port.address)
        for entry in ip.get_addr(family=socket.AF_INET, index=index):
            if entry.get_attr("IFA_ADDRESS") != wanted or entry["prefixlen"] != 32:
                ip.addr("del", index=index, address=entry.get_attr("IFA_ADDRESS"), prefixlen=entry["prefixlen"])
        ip.addr("replace", index=index, address=wanted, prefixlen=32)
        ip.link("set", index=index, state="up")
        # One neighbour stands for all pods, so the host never asks for one of them and its table stays small.
        ip.neigh("replace", dst=ROUTER, lladdr=port.router, ifindex=index, state=_PERMANENT)
        ip.route("replace", dst=f"{ROUTER}/32", oif=index, scope=_SCOPE_LINK)
        for network in port.overlay:
            ip.route("replace", dst=str(network), gateway=ROUTER, oif=index, prefsrc=wanted)
    # Packets of pods go out of the port they came in by; telling pods of a shorter way would lead them astray.
    for name in ("all", port.name):
        (_SYSCTL / name / "send_redirects").write_text("0")


def filter(port: HostPort) -> None:
    """Have the rules between the overlay and the rest of this host. OSError when nft refuses.

    The bridge believes what comes out of the port, so nobody but this host may put anything in.
    """
    inside = _set(port.overlay)
    routed = f"ip saddr != {_set(port.routed)} " if port.routed else ""
    passing = f'iifname "{port.name}" ether saddr {port.passing}'
    machines = f"{passing} ip daddr {_set(port.machines)} drop" if port.machines else ""
    # What a Node says of itself: it is to close no address but in the network of the tunnels.
    tunnel_ends = ""
    if port.underlay and port.tunnel_ends:
        tunnel_ends = f'{passing} oifname "{port.underlay}" ip daddr {_set(port.tunnel_ends)} drop'
    nft.load(f"""
table ip goodnet
delete table ip goodnet
table ip goodnet {{
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    # Nobody outside has an address of the overlay.
    iifname != {{ "{port.name}", "lo" }} ip saddr {inside} drop
    # A host is no router to Services: kube-proxy would make what it forwards look like the host's own.
    iifname != {{ "{port.name}", "lo" }} {routed}ip daddr {inside} drop
    # Hosts serve each other in ways that are not for pods.
    {passing} fib daddr type local drop
    {machines}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    # From outside pods are reached by what kube-proxy translates, NodePorts and the like; answers are let through.
    {tunnel_ends}
    iifname "{port.name}" accept
    oifname "{port.name}" ct status & dnat == 0 ct state != {{ established, related }} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    # Outside nobody knows the pods' addresses; inside nobody believes in the host's others.
    ip saddr {port.own} oifname != "{port.name}" ip daddr != {inside} masquerade
    oifname "{port.name}" ip saddr != {port.address} fib saddr type local masquerade
  }}
}}
""")


def _set(members: Iterable[IPv4Network | IPv4Address]) -> str:
    return "{ " + ", ".join(str(member) for member in members) + " }"
