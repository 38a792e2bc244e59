# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows of one host's bridge, as a function of what it has to do. docs/goodnet-pipeline.md explains them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network
from zlib import crc32

from goodnet.model import Config, Host, Pod, State, Tenant
from goodnet.ovs import flows_policy


class Table:
    """Numbers of the tables. A packet only ever goes to a higher one."""

    CLASSIFY = 0
    FROM_TUNNEL = 5
    FROM_POD = 10
    FROM_HOST = 15
    FROM_PROVIDER = 16
    RETURNED = 17
    TRANSLATED_IN = 18
    FORWARD = 19
    TRACK = 20
    ARP = 22
    STATE = 25
    EGRESS = 28
    ROUTE = 30
    WAY_OUT = 50
    POD = 70
    INGRESS = 75
    ISOLATION = 80
    DELIVER = 84
    TO_HOST = 85
    REMEMBER = 90
    OUTPUT = 95
    TRANSLATE_OUT = 96
    TO_PROVIDER = 97


# What a packet that ends in a table has run into, in words for people.
DROPPED_IN = {
    Table.CLASSIFY: "it carries a VLAN tag",
    Table.FROM_TUNNEL: "the host that sent it through the tunnel does not own its source address",
    Table.FROM_POD: "a pod sent it with an address not its own, or tried to build a tunnel or to speak as a host does",
    Table.FROM_HOST: "the host sent it with the address of another host's pod",
    Table.FROM_PROVIDER: "it came from the provider network with an address of the cluster",
    Table.RETURNED: "the host sent it with the address of a pod that is not here",
    Table.TRANSLATED_IN: "nothing in the cluster asked for it, and the external address forwards no such port",
    Table.FORWARD: "the forward has no pod",
    Table.TRACK: "it is not IPv4",
    Table.ARP: "nobody answers this ARP request",
    Table.STATE: "it belongs to no connection and cannot open one",
    Table.EGRESS: "no NetworkPolicy lets the pod send it",
    Table.ROUTE: "there is no route for it",
    Table.WAY_OUT: "no host holds the external address of the tenant",
    Table.POD: "no pod has the destination address",
    Table.INGRESS: "no NetworkPolicy lets the pod receive it",
    Table.ISOLATION: "the tenants are isolated from each other",
    Table.TRANSLATE_OUT: "the tenant has no external address on this host",
}


class Cookie:
    """A cookie says what a flow is about: 0x676e ("gn"), a kind in 16 bits, the number of that object in 32 bits."""

    BASE = 0x676E << 48
    PIPELINE = 0
    HOST = 1
    TENANT = 2
    POD = 3
    POLICY = 4

    @staticmethod
    def of(kind: int, number: int = 0) -> int:
        return Cookie.BASE | kind << 32 | number


# Conntrack zones, in a range of their own: with the datapath in the kernel all programs of a host share the numbers.
ZONE = 61001
ZONE_PROVIDER = 61002

# reg3: where a packet came in.
POD, TUNNEL, HOST, OUTSIDE, RETURNED, PROVIDER = range(1, 7)

# What conntrack keeps of a connection (reg4, then ct_mark). Bits 0 to 23: the VNI of who opened it, when that tenant is
# another than the one that let it in: replies carry this VNI, so that isolation needs no state on the opener's host.
VNI_MASK = 0xFFFFFF
# Bit 24: it came out of the host, where kube-proxy may have rewritten it, so that replies have to go back there.
VIA_HOST = 1 << 24
# Bit 25: it came in by an external address, so that replies leave by it, whatever network the client is in.
VIA_EDGE = 1 << 25
NO_VNI = f"0/{VNI_MASK:#x}"
RETURN = f"ct_state=+trk+rpl,ct_mark={VIA_HOST:#x}/{VIA_HOST:#x}"
RETURN_OUT = f"ct_state=+trk+rpl,ct_mark={VIA_EDGE:#x}/{VIA_EDGE:#x}"

# The MAC address that a connection from the provider network came from.
CLIENT = "NXM_NX_CT_LABEL[0..47]"

# Protocols that hosts speak among each other: IP in IP, IPv6 in IP, GRE, AH, OSPF, PIM, VRRP.
OF_HOSTS = (4, 41, 47, 51, 89, 103, 112)
LINK_LOCAL = IPv4Network("169.254.0.0/16")
MULTICAST = IPv4Network("224.0.0.0/3")
TO_KEY = "move:NXM_NX_REG0[]->NXM_NX_TUN_ID[0..31]"


def policy_number(namespace: str, name: str) -> int:
    """Return the number of a NetworkPolicy in cookies."""
    return crc32(f"{namespace}/{name}".encode())


def desired(state: State) -> list[str]:
    """Return all flows of the host, sorted. There are none, so all is dropped, while it is not among `state.hosts`."""
    own = next((host for host in state.hosts if host.name == state.config.host), None)
    if own is None:
        return []
    tenants = {tenant.name: tenant for tenant in state.tenants}
    # A pod whose tenant has no number yet is not connected.
    pods = [(pod, tenants[pod.tenant]) for pod in state.pods if pod.tenant in tenants]
    flows = _Flows()
    _classify(flows, state.config)
    _from_tunnel(flows, state, own)
    _from_pods(flows, pods)
    _from_host(flows, state.config, own, pods)
    _state(flows, state)
    _policies(flows, state, own)
    _routes(flows, state, own)
    _ways_out(flows, state, own, pods)
    _to_pods(flows, state.config, pods)
    _isolation(flows, pods)
    _output(flows, state.config)
    if _leads_out(state.config):
        _provider(flows, state, own)
    return sorted(flows.lines)


class _Flows:
    """Flows as they are added, in ovs-ofctl's syntax."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(
        self, table: int, priority: int, match: str, actions: str, kind: int = Cookie.PIPELINE, number: int = 0
    ) -> None:
        cookie = Cookie.of(kind, number)
        comma = "," if match else ""
        self.lines.append(f"cookie={cookie:#x},table={table},priority={priority}{comma}{match},actions={actions}")


def _classify(flows: _Flows, config: Config) -> None:
    flows.add(Table.CLASSIFY, 200, "vlan_tci=0x1000/0x1000", "drop")
    flows.add(Table.CLASSIFY, 100, f"in_port={config.tunnel}", _goto(Table.FROM_TUNNEL, reg3=TUNNEL))
    flows.add(Table.CLASSIFY, 100, f"in_port={config.host_port}", _goto(Table.FROM_HOST, reg3=OUTSIDE, reg4=VIA_HOST))
    if _leads_out(config):
        flows.add(
            Table.CLASSIFY, 100, f"in_port={config.provider}", _goto(Table.FROM_PROVIDER, reg3=PROVIDER, reg4=VIA_EDGE)
        )
    flows.add(Table.CLASSIFY, 0, "", _goto(Table.FROM_POD, reg3=POD))


def _from_tunnel(flows: _Flows, state: State, own: Host) -> None:
    for host in _others(state, own):
        flows.lines += _other_host(host, state.config.tunnel)
    # Edge hosts also send what comes from outside. That is never of the system's tenant, which everybody would let in.
    # It may come from the network of the hosts, when that is the provider network.
    for network in (state.config.cluster, state.config.services):
        flows.add(Table.FROM_TUNNEL, 90, f"ip,nw_src={network}", "drop")
    flows.add(Table.FROM_TUNNEL, 90, "ip,tun_id=0", "drop")


# Of a large cluster little changes at a time: what follows from one host or tenant alone is made once for it.
@lru_cache(maxsize=8192)
def _other_host(host: Host, tunnel: int) -> tuple[str, ...]:
    """Return the flows to and from another host."""
    flows = _Flows()
    about = (Cookie.HOST, int(host.node))
    pods, underlay = str(host.pods), str(host.underlay)
    accept = "move:NXM_NX_TUN_ID[0..31]->NXM_NX_REG0[],"
    flows.add(
        Table.FROM_TUNNEL, 100, f"ip,tun_src={underlay},nw_src={pods}", accept + f"goto_table:{Table.TRACK}", *about
    )
    if host.edge:
        flows.add(Table.FROM_TUNNEL, 80, f"ip,tun_src={underlay}", accept + _goto(Table.TRACK, reg4=VIA_EDGE), *about)
    flows.add(Table.ROUTE, 190, f"ip,nw_dst={pods}", _tunnel(tunnel, underlay), *about)
    return tuple(flows.lines)


def _from_pods(flows: _Flows, pods: Iterable[tuple[Pod, Tenant]]) -> None:
    # The host would forward these with its own address, and then a pod could speak as a host of the overlay.
    flows.add(Table.FROM_POD, 200, "udp,tp_dst=4789", "drop")
    for protocol in OF_HOSTS:
        flows.add(Table.FROM_POD, 200, f"ip,nw_proto={protocol}", "drop")
    # Without the agent's `set-frags nx-match` the ports of fragments read 0, and nobody knows where they go.
    flows.add(Table.FROM_POD, 200, "udp,nw_frag=first,tp_dst=0", "drop")
    for pod, tenant in pods:
        about = (Cookie.POD, int(pod.address))
        source = f"in_port={pod.port},dl_src={pod.mac}"
        flows.add(Table.FROM_POD, 100, f"ip,{source},nw_src={pod.address}", _goto(Table.TRACK, reg0=tenant.vni), *about)
        arp = f"arp,{source},arp_spa={pod.address},arp_sha={pod.mac}"
        flows.add(Table.FROM_POD, 100, arp, f"goto_table:{Table.ARP}", *about)


def _from_host(flows: _Flows, config: Config, own: Host, pods: Iterable[tuple[Pod, Tenant]]) -> None:
    host_port = own.pods[1]
    track = f"goto_table:{Table.TRACK}"
    flows.add(Table.FROM_HOST, 100, "arp", f"goto_table:{Table.ARP}")
    for source in sorted({host_port, own.node, own.underlay}):
        flows.add(Table.FROM_HOST, 100, f"ip,nw_src={source}", _goto(Table.TRACK, reg3=HOST))
    flows.add(Table.FROM_HOST, 100, f"ip,nw_src={config.services}", _goto(Table.TRACK, reg3=HOST))
    flows.add(Table.FROM_HOST, 90, f"ip,nw_src={own.pods}", _goto(Table.RETURNED, reg3=RETURNED))
    flows.add(Table.FROM_HOST, 80, f"ip,nw_src={config.cluster}", "drop")
    flows.add(Table.FROM_HOST, 70, "ip", track)
    for pod, tenant in pods:
        flows.add(
            Table.RETURNED,
            100,
            f"ip,nw_src={pod.address}",
            _goto(Table.TRACK, reg0=tenant.vni),
            Cookie.POD,
            int(pod.address),
        )
    # Pods ask for their router only. The host may ask for any pod, and to look whether its own address is taken.
    answer = _arp_answer(config.mac)
    flows.add(Table.ARP, 100, f"arp,arp_op=1,reg3={POD},arp_tpa={LINK_LOCAL}", answer)
    flows.add(Table.ARP, 110, f"arp,arp_op=1,reg3={OUTSIDE},arp_tpa={host_port}", "drop")
    flows.add(Table.ARP, 100, f"arp,arp_op=1,reg3={OUTSIDE}", answer)


def _state(flows: _Flows, state: State) -> None:
    flows.add(Table.TRACK, 100, "ip", f"ct(table={Table.STATE},zone={ZONE})")
    # Among these are answers after a connection was torn down; a pod would reset the wrong connection with them.
    flows.add(Table.STATE, 300, "ip,ct_state=+trk+inv", "drop")
    flows.add(Table.STATE, 210, f"ip,ct_state=+trk+rpl,ct_mark={NO_VNI}", f"goto_table:{Table.ROUTE}")
    opener = f"move:NXM_NX_CT_MARK[0..23]->NXM_NX_REG0[0..23],goto_table:{Table.ROUTE}"
    flows.add(Table.STATE, 200, "ip,ct_state=+trk+rpl", opener)
    flows.add(Table.STATE, 200, "ip,ct_state=+trk+rel-rpl", f"goto_table:{Table.ROUTE}")
    # What goes to a service comes back from kube-proxy with the address of a pod, and is judged by the policies then.
    flows.add(
        Table.STATE, 150, f"ip,ct_state=+trk,reg3={POD},nw_dst={state.config.services}", f"goto_table:{Table.ROUTE}"
    )
    for address in sorted({service.address for service in state.services}):
        flows.add(Table.STATE, 160, f"ip,ct_state=+trk,reg3={POD},nw_dst={address}", f"goto_table:{Table.EGRESS}")
    flows.add(Table.STATE, 100, "ip,ct_state=+trk", f"goto_table:{Table.EGRESS}")


def _policies(flows: _Flows, state: State, own: Host) -> None:
    send, receive = f"goto_table:{Table.ROUTE}", f"goto_table:{Table.ISOLATION}"
    # Later fragments have no ports; without the first one, which has, nobody can use them.
    flows.add(Table.EGRESS, 300, "ip,nw_frag=later", send)
    flows.add(Table.INGRESS, 300, "ip,nw_frag=later", receive)
    flows.add(Table.INGRESS, 300, "ip,ct_state=+trk+rpl", receive)
    flows.add(Table.INGRESS, 300, "ip,ct_state=+trk+rel-rpl", receive)
    # The kubelet has to reach its pods.
    flows.add(Table.INGRESS, 300, f"ip,reg3={HOST}", receive)
    for table, ingress, passed in ((Table.EGRESS, False, send), (Table.INGRESS, True, receive)):
        for priority, match, actions, policy in flows_policy.entries(state.policies, ingress=ingress, passed=passed):
            number = 0 if policy is None else policy_number(policy.namespace, policy.name)
            flows.add(table, priority, match, actions, Cookie.POLICY, number)
        flows.add(table, 0, "ip", passed)


def _routes(flows: _Flows, state: State, own: Host) -> None:
    config = state.config
    host = f"goto_table:{Table.TO_HOST}"
    for origin in (POD, TUNNEL):
        host_port = f"reg3={origin},nw_dst={own.pods[1]}"
        for known in ("+trk+rpl", "+trk+rel"):
            flows.add(Table.ROUTE, 300, f"ip,ct_state={known},{host_port}", host)
        for match in _open_to_pods(config):
            flows.add(Table.ROUTE, 300, f"{match},{host_port}", host)
        flows.add(Table.ROUTE, 290, f"ip,{host_port}", _goto(Table.TO_HOST, reg6=1))
    flows.add(Table.ROUTE, 200, f"ip,nw_dst={own.pods}", f"goto_table:{Table.POD}")
    # A host is no way from one tunnel to another, nor from the outside to other hosts' pods.
    for origin in (TUNNEL, OUTSIDE):
        flows.add(Table.ROUTE, 195, f"ip,reg3={origin},nw_dst={config.cluster}", "drop")
    flows.add(Table.ROUTE, 180, f"ip,nw_dst={config.cluster}", "drop")
    flows.add(Table.ROUTE, 175, f"ip,reg3={POD},{RETURN}", host)
    flows.add(Table.ROUTE, 175, f"ip,reg3={POD},{RETURN_OUT}", f"goto_table:{Table.WAY_OUT}")
    flows.add(Table.ROUTE, 170, f"ip,reg3={POD},nw_dst={config.services}", host)
    elsewhere = sorted(one for one in config.machines if not any(one in network for network in config.nodes))
    for target in (*config.nodes, *elsewhere):
        for match in _open_to_pods(config):
            flows.add(Table.ROUTE, 172, f"{match},reg3={POD},nw_dst={target}", host)
        flows.add(Table.ROUTE, 170, f"ip,reg3={POD},nw_dst={target}", _goto(Table.TO_HOST, reg6=1))
    for network in (LINK_LOCAL, MULTICAST):
        flows.add(Table.ROUTE, 160, f"ip,nw_dst={network}", "drop")
    flows.add(Table.ROUTE, 150, f"ip,reg3={POD}", f"goto_table:{Table.WAY_OUT}")
    if _leads_out(config):
        out = _goto(Table.REMEMBER, reg2=config.provider)
        for network in (config.services, *config.nodes):
            flows.add(Table.ROUTE, 160, f"ip,reg3={TUNNEL},nw_dst={network}", "drop")
        flows.add(Table.ROUTE, 170, f"ip,reg3={TUNNEL},nw_src={config.cluster},{RETURN_OUT}", out)
        flows.add(Table.ROUTE, 150, f"ip,reg3={TUNNEL},nw_src={config.cluster}", out)


def _ways_out(flows: _Flows, state: State, own: Host, pods: Iterable[tuple[Pod, Tenant]]) -> None:
    hosts = {host.name: host for host in state.hosts}
    for tenant in _tenants(pods):
        if tenant.external is None or tenant.vni == 0:
            continue
        edge = hosts.get(tenant.edge or "")
        if edge is own and _leads_out(state.config):
            actions = _goto(Table.REMEMBER, reg2=state.config.provider)
        elif edge is None or edge is own:
            # Leaving by this host instead would show an address that is not the tenant's.
            actions = "drop"
        else:
            actions = _tunnel(state.config.tunnel, edge.underlay)
        flows.add(Table.WAY_OUT, 100, f"ip,reg0={tenant.vni:#x}", actions, Cookie.TENANT, tenant.vni)
    flows.add(Table.WAY_OUT, 0, "ip", _goto(Table.TO_HOST, reg6=1))


def _open_to_pods(config: Config) -> list[str]:
    """Return matches for what pods may send to hosts: all of it for the platform's own pods."""
    ports = [match for one in config.open_ports for match in flows_policy.port_matches(one)]
    return ["ip,reg0=0", "ip,nw_frag=later", "icmp", *dict.fromkeys(ports)]


def _to_pods(flows: _Flows, config: Config, pods: Iterable[tuple[Pod, Tenant]]) -> None:
    for pod, tenant in pods:
        flows.add(
            Table.POD,
            100,
            f"ip,nw_dst={pod.address}",
            f"set_field:{config.mac}->eth_src,set_field:{pod.mac}->eth_dst,"
            + _goto(Table.INGRESS, reg1=tenant.vni, reg2=pod.port),
            Cookie.POD,
            int(pod.address),
        )


def _isolation(flows: _Flows, pods: Iterable[tuple[Pod, Tenant]]) -> None:
    deliver = f"goto_table:{Table.DELIVER}"
    flows.add(Table.ISOLATION, 100, "ip,reg0=0", deliver)
    flows.add(Table.ISOLATION, 100, "ip,reg1=0", deliver)
    # Remembered with every packet that opens or belongs to what was opened, as the opener may have become a peer later.
    remember = f"move:NXM_NX_REG0[0..23]->NXM_NX_REG4[0..23],{deliver}"
    for tenant in _tenants(pods):
        if tenant.vni == 0:
            continue
        about = (Cookie.TENANT, tenant.vni)
        here = f"reg1={tenant.vni:#x}"
        flows.add(Table.ISOLATION, 100, f"ip,reg0={tenant.vni:#x},{here}", deliver, *about)
        if tenant.open:
            flows.add(Table.ISOLATION, 90, f"ip,{here}", remember, *about)
        else:
            for peer in sorted(tenant.peers - {0, tenant.vni}):
                flows.add(Table.ISOLATION, 90, f"ip,reg0={peer:#x},{here}", remember, *about)


def _output(flows: _Flows, config: Config) -> None:
    flows.add(Table.DELIVER, 100, f"ip,{RETURN}", f"goto_table:{Table.TO_HOST}")
    flows.add(Table.DELIVER, 0, "ip", f"goto_table:{Table.REMEMBER}")
    # What only passes through the host is told by its MAC: the host knows its own addresses, and those of others.
    for priority, match, mac in ((0, "ip", config.mac), (100, "ip,reg6=1", config.passing_mac)):
        flows.add(
            Table.TO_HOST,
            priority,
            match,
            f"set_field:{mac}->eth_src,set_field:{config.host_port_mac}->eth_dst,"
            + _goto(Table.REMEMBER, reg2=config.host_port),
        )
    remember = f"ct(commit,zone={ZONE},exec(move:NXM_NX_REG4[]->NXM_NX_CT_MARK[])),goto_table:{Table.OUTPUT}"
    flows.add(Table.REMEMBER, 100, "ip,ct_state=+trk+new", remember)
    flows.add(Table.REMEMBER, 90, f"ip,reg4={NO_VNI}", f"goto_table:{Table.OUTPUT}")
    flows.add(Table.REMEMBER, 80, "ip,ct_state=+trk+est-rpl", remember)
    flows.add(Table.REMEMBER, 0, "ip", f"goto_table:{Table.OUTPUT}")
    flows.add(Table.OUTPUT, 0, "ip", "output:NXM_NX_REG2[]")


def _provider(flows: _Flows, state: State, own: Host) -> None:
    """Add the Provider Router: what an edge host does with the external addresses it holds."""
    config = state.config
    assert config.provider_network is not None
    hosts = [network for network in config.nodes if not network.overlaps(config.provider_network)]
    for network in (config.cluster, config.services, *hosts):
        flows.add(Table.FROM_PROVIDER, 200, f"ip,nw_src={network}", "drop")
    flows.add(Table.FROM_PROVIDER, 100, "ip", f"ct(table={Table.TRANSLATED_IN},zone={ZONE_PROVIDER},nat)")
    asked = f"move:NXM_NX_CT_MARK[]->NXM_NX_REG0[],goto_table:{Table.TRACK}"
    for known in ("+trk+est", "+trk+rel"):
        flows.add(Table.TRANSLATED_IN, 200, f"ip,ct_state={known}", asked)
    flows.add(
        Table.OUTPUT,
        100,
        f"ip,reg2={config.provider}",
        f"ct(table={Table.TRANSLATE_OUT},zone={ZONE_PROVIDER},nat)",
    )
    for known in ("+trk+est", "+trk+rel"):
        flows.add(Table.TRANSLATE_OUT, 200, f"ip,ct_state={known}", f"goto_table:{Table.TO_PROVIDER}")
    for tenant in state.tenants:
        if tenant.edge == own.name and tenant.external is not None and tenant.vni:
            flows.lines += _held(tenant, str(config.provider_mac))
    sent = f"set_field:{config.provider_mac}->eth_src,"
    out = f"output:{config.provider}"
    # A router in between would see one direction of the connection only.
    answer = f"ip,ct_state=+trk+rpl,nw_dst={config.provider_network}"
    flows.add(Table.TO_PROVIDER, 100, answer, f"{sent}move:{CLIENT}->NXM_OF_ETH_DST[],{out}")
    flows.add(Table.TO_PROVIDER, 0, "ip", f"{sent}set_field:{config.provider_router_mac}->eth_dst,{out}")


def _leads_out(config: Config) -> bool:
    return None not in (
        config.provider,
        config.provider_network,
        config.provider_mac,
        config.provider_router_mac,
    )


@lru_cache(maxsize=8192)
def _held(tenant: Tenant, mac: str) -> tuple[str, ...]:
    """Return the flows of an external address that this host holds. mac: what the provider network finds it by."""
    flows = _Flows()
    about = (Cookie.TENANT, tenant.vni)
    address, vni = str(tenant.external), f"{tenant.vni:#x}"
    zone, mark = f"zone={ZONE_PROVIDER}", f"set_field:{vni}->ct_mark"
    flows.add(Table.FROM_PROVIDER, 100, f"arp,arp_op=1,arp_tpa={address}", _arp_answer(mac), *about)
    translate = f"ct(commit,table={Table.TO_PROVIDER},nat(src={address}),{zone},exec({mark}))"
    flows.add(Table.TRANSLATE_OUT, 100, f"ip,ct_state=+trk+new,reg0={vni}", translate, *about)
    for forward in tenant.forwards:
        if not forward.targets:
            continue
        match = f"ip,ct_state=+trk+new,nw_dst={address},{forward.protocol.lower()},tp_dst={forward.port}"
        pick = f"multipath(symmetric_l4,0,hrw,{len(forward.targets)},0,NXM_NX_REG5[])"
        flows.add(Table.TRANSLATED_IN, 100, match, f"set_field:{vni}->reg0,{pick},goto_table:{Table.FORWARD}", *about)
        for number, (target, port) in enumerate(forward.targets):
            remember = f"exec({mark},move:NXM_OF_ETH_SRC[]->{CLIENT})"
            translate = f"ct(commit,table={Table.TRACK},nat(dst={target}:{port}),{zone},{remember})"
            flows.add(Table.FORWARD, 100, f"{match},reg5={number}", translate, *about)
    return tuple(flows.lines)


def _others(state: State, own: Host) -> list[Host]:
    return [host for host in state.hosts if host.name != own.name]


def _tenants(pods: Iterable[tuple[Pod, Tenant]]) -> list[Tenant]:
    """Return the tenants that have pods here: only for them flows are needed."""
    return list({tenant.vni: tenant for _ignored, tenant in pods}.values())


def _goto(table: int, **registers: int | None) -> str:
    """Return the actions that set registers and go on in a table."""
    return "".join(f"set_field:{value}->{name}," for name, value in registers.items()) + f"goto_table:{table}"


def _tunnel(port: int, underlay: object) -> str:
    """Return the actions that send a packet to another host, with the VNI of its source."""
    return f"set_field:{underlay}->tun_dst,{TO_KEY}," + _goto(Table.REMEMBER, reg2=port)


def _arp_answer(mac: str) -> str:
    """Return the actions that answer any ARP request with this MAC address."""
    return (
        f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:{mac}->eth_src,set_field:2->arp_op,"
        "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_NX_REG6[],"
        f"set_field:{mac}->arp_sha,move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],move:NXM_NX_REG6[]->NXM_OF_ARP_TPA[],IN_PORT"
    )
