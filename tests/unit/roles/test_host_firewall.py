# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filters of kube_node and api_loadbalancer: what hosts of each kind get, and that nft takes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.host_ports import CLOSED, KUBELET

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import APP

HOST_PORTS = APP["host_ports"]
ROOT = Path(__file__).resolve().parents[3]
# nft asks the kernel, so it is given network namespaces of its own.
ALONE = ["unshare", "--map-root-user", "--net"]
# It also asks the host for the gateway's user, which this one need not have.
USERS = "mount -t tmpfs none /run; echo traefik:x:4711:0::/:/bin/sh >/run/passwd; mount --bind /run/passwd /etc/passwd"
HOSTS = {
    "management": {"m1": "192.0.2.11", "m2": "192.0.2.12"},
    "compute": {"c1": "192.0.2.21"},
    "loadbalancer": {"l1": "192.0.2.31", "l2": "192.0.2.32"},
    "storage": {"s1": "192.0.2.41"},
}
# Kinds of clusters on which apps are built.
BUILDING = ("plain", "goodnet")
ROUTED = {
    "cloudbang_routed_networks": ["198.51.100.0/24", "198.51.100.128/25"],
    "cloudbang_pod_host_ports": "9100,20000-20009",
}


def rendered(place: Path, **variables: Any) -> dict[str, dict[str, str]]:
    """Return the filters of each host, by the name of their tables."""
    groups: dict[str, Any] = {
        group: {"hosts": {name: {"ansible_host": address} for name, address in members.items()}}
        for group, members in HOSTS.items()
    }
    groups["loadbalancer"]["vars"] = {"gateway_http_port": 8080}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"children": groups, "vars": {"cloudbang_api_vip": "192.0.2.100", **local, **variables}}}
    plays: list[dict[str, Any]] = []
    for role, table, hosts in (
        ("kube_node", "cloudbang", "management:compute:loadbalancer"),
        ("api_loadbalancer", "cloudbang-vrrp", "loadbalancer"),
    ):
        source = ROOT / "roles" / role / "templates" / {"kube_node": "firewall", "api_loadbalancer": "vrrp"}[role]
        plays.append(
            {
                "name": role,
                "hosts": hosts,
                "gather_facts": False,
                "roles": ["cloudbang.platform.cluster"],
                "vars": {"ansible_facts": {"cloudbang_interface": "eth0"}, "api_loadbalancer_interface": ""},
                "vars_files": [str(ROOT / "roles" / role / "vars" / "main.yml")],
                "tasks": [
                    {
                        "name": "Render",
                        "ansible.builtin.template": {
                            "src": f"{source}.nft.j2",
                            "dest": f"{place}/{{{{ inventory_hostname }}}}.{table}",
                            "mode": "0600",
                        },
                    }
                ],
            }
        )
    (place / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (place / "play.yml").write_text(yaml.safe_dump(plays))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(place / "hosts.yml")]
    done = subprocess.run(
        [*command, str(place / "play.yml")],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, str]] = {}
    for path in sorted(place.glob("*.cloudbang*")):
        name, table = path.name.split(".")
        found.setdefault(name, {})[table] = path.read_text()
    return found


@pytest.fixture(scope="module", params=["calico", "plain", "goodnet", "no-vip"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    variables: dict[str, Any] = {
        "calico": {},
        "plain": {"calico_vxlan": "CrossSubnet", **ROUTED, "cloudbang_builder_enabled": True},
        "goodnet": {"cloudbang_network": "goodnet", "cloudbang_builder_enabled": "yes"},
        "no-vip": {
            "cloudbang_api_vip": "",
            "cloudbang_pod_host_ports": "",
            "gateway_tcp_ports": "",
            "gateway_udp_ports": "",
        },
    }[request.param]
    return request.param, rendered(tmp_path_factory.mktemp(request.param), **variables)


def rules(text: str, chain: str) -> list[str]:
    found = re.search(rf"^  chain {chain} {{\n(.*?)^  }}", text, re.MULTILINE | re.DOTALL)
    assert found, text
    return [line.strip() for line in found[1].splitlines() if not line.strip().startswith("#")][1:]


def elements(text: str, name: str) -> list[str]:
    found = re.search(rf"set {name} {{[^}}]*elements = {{ ([^}}]*) }}", text)
    return found[1].split(", ") if found else []


def test_nft_takes_them_again_and_again(cluster: tuple[str, Any]) -> None:
    for tables in cluster[1].values():
        script = "".join(tables.values())
        load = ["sh", "-ec", f"{USERS}\nnft --file - <<E\n$0\nE\nnft --file - <<E\n$0\nE\nnft list tables"]
        done = subprocess.run([*ALONE, "--mount", *load, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("\n")[:-1] == [f"table inet {name}" for name in tables]


def test_hosts_come_from_the_inventory(cluster: tuple[str, Any]) -> None:
    kind, found = cluster
    vip = [] if kind == "no-vip" else ["192.0.2.100"]
    everyone = sorted(address for members in HOSTS.values() for address in members.values())
    for tables in found.values():
        assert elements(tables["cloudbang"], "hosts") == sorted([*everyone, *vip])
        assert elements(tables["cloudbang"], "api") == sorted([*HOSTS["management"].values(), *vip])
        assert elements(tables["cloudbang"], "gateways") == sorted([*HOSTS["loadbalancer"].values(), *vip])


def test_from_outside_nobody_but_routed_networks_gets_to_pods_and_services(cluster: tuple[str, Any]) -> None:
    kind, found = cluster
    for name, tables in found.items():
        assert elements(tables["cloudbang"], "routed") == (
            ROUTED["cloudbang_routed_networks"] if kind == "plain" else []
        )
        before = rules(tables["cloudbang"], "prerouting")
        tunnel = "goodnet0" if kind == "goodnet" else "vxlan.calico"
        assert f'iifname {{ "lo", "{tunnel}" }} accept' in before
        # Those by which a node sends what is a pod's plainly are the only others.
        accepts = [rule for rule in before if rule.endswith("accept") and "iifname" not in rule]
        assert len(accepts) == (2 if kind == "plain" else 0)
        assert all(rule.startswith("ip daddr 10.244.0.0/16 ") for rule in accepts)
        to_services = [rule for rule in before if rule.startswith("ip daddr 10.96.0.0/16")]
        last = (
            "ip daddr 10.96.0.0/16 counter drop"
            if name in HOSTS["loadbalancer"]
            else "ip daddr 10.96.0.0/16 ip saddr != @routed counter drop"
        )
        assert to_services[-1] == last
        assert before[-1] == "ip daddr 10.244.0.0/16 ip saddr != @routed counter drop"


def test_vrrp_is_for_load_balancers_with_a_virtual_address(cluster: tuple[str, Any]) -> None:
    kind, found = cluster
    for name, tables in found.items():
        holds = name in HOSTS["loadbalancer"] and kind != "no-vip"
        assert ("meta l4proto 112 counter drop" in rules(tables["cloudbang"], "input")) is not holds
        assert rules(tables["cloudbang"], "forward")[0] == "meta l4proto 112 counter drop"
        if name in HOSTS["loadbalancer"]:
            (peer,) = [address for other, address in HOSTS["loadbalancer"].items() if other != name]
            accepted, dropped = rules(tables["cloudbang-vrrp"], "input")
            assert accepted == f'meta l4proto 112 iifname "eth0" ip saddr {{ {peer} }} ip ttl 255 accept'
            assert dropped == "meta l4proto 112 counter drop"
            assert rules(tables["cloudbang-vrrp"], "forward") == ["meta l4proto 112 counter drop"]


def test_pods_reach_of_hosts_what_is_listed(cluster: tuple[str, Any]) -> None:
    kind, found = cluster
    for name, tables in found.items():
        wanted = {
            "ct state established,related",
            "meta l4proto { tcp, udp } th dport 53",
            "meta l4proto { tcp, udp } th dport 30000-32767",
            "ip daddr @api tcp dport { 6443 }",
        }
        ports = "443, 8080" if kind == "no-vip" else "25000-25009, 443, 8080"
        wanted.add(f"ip daddr @gateways tcp dport {{ {ports} }}")
        if kind != "no-vip":
            wanted.add("ip daddr @gateways udp dport { 25000-25009 }")
        if name in HOSTS["management"]:
            wanted.add("tcp dport 10250")
        if kind in BUILDING:
            wanted.add("ip daddr { 192.0.2.41 } tcp dport 5002")
        ports = "9100,20000-20009" if kind == "plain" else "20000-24999"
        if kind != "no-vip":
            wanted.add(f"meta l4proto {{ tcp, udp }} th dport {{ {ports} }}")
        found_rules = rules(tables["cloudbang"], "to_host")
        assert {rule.removesuffix(" accept") for rule in found_rules if rule.endswith("accept")} == wanted
        assert found_rules[-1] == "counter reject with icmpx admin-prohibited"


def test_what_tells_anyone_on_loopback_is_for_root(cluster: tuple[str, Any]) -> None:
    for name, tables in cluster[1].items():
        ports = "10249, 8406" if name in HOSTS["loadbalancer"] else "10249"
        rule, *others = rules(tables["cloudbang"], "output")
        assert others == (['meta skuid "traefik" goto from_gateway'] if name in HOSTS["loadbalancer"] else [])
        assert rule == f'oifname "lo" tcp dport {{ {ports} }} meta skuid != 0 reject with tcp reset'


def test_one_load_balancer_believes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HOSTS, "loadbalancer", {"l1": "192.0.2.31"})
    found = rendered(tmp_path)
    assert rules(found["l1"]["cloudbang-vrrp"], "input") == ["meta l4proto 112 counter drop"]


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("calico", "calico_vxlan"),
        ("gateway", "gateway_http_port"),
        ("gateway", "gateway_metrics_port"),
        ("gateway", "gateway_https_port"),
        ("gateway", "gateway_tcp_ports"),
        ("gateway", "gateway_udp_ports"),
    ],
)
def test_defaults_are_those_of_the_roles_that_own_them(role: str, name: str) -> None:
    owned = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text("utf-8"))[name]
    text = (ROOT / "roles/kube_node/vars/main.yml").read_text("utf-8")
    assert set(re.findall(rf"{name}(?:', default=| \| default\()('[^']*'|\d+)", text)) == {repr(owned)}


def test_apps_in_the_hosts_network_are_open_to_pods() -> None:
    shared = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text("utf-8"))
    assert shared["cloudbang_pod_host_ports"] == HOST_PORTS["default"]


# What becomes of packets. The stranger has no part in the cluster; 192.0.2.41 is s1, a host of it without pods.
FROM_OUTSIDE = [("stranger", "10.96.0.7:80"), ("stranger", "10.244.1.2:8080")]
OPEN_TO_OUTSIDE = [("stranger", "{own}:30080"), ("stranger", "{own}:6443"), ("stranger", "{own}:22")]
FROM_PODS = [
    *(("pod", f"{address}:{port}") for address in ("{own}", "192.0.2.41") for port in CLOSED if port != KUBELET),
    # Whichever address of the host.
    *(("pod", f"{address}:22") for address in ("10.244.1.1", "169.254.169.254")),
    ("pod", "169.254.169.254:80"),
    ("pod", "169.254.7.7:80"),
    ("pod", "112 192.0.2.41"),
    ("pod", "112 {own}"),
    ("pod", "47 192.0.2.41"),
]
KUBELETS = [("pod", f"{address}:{KUBELET}") for address in ("{own}", "192.0.2.41")]
GATEWAY = [("pod", "{own}:443")]
API = [("pod", "{own}:6443")]
FROM_OTHER_HOST = [("other", "10.244.1.2:8080")]
FROM_FAR = [("far", "10.244.2.1:22"), ("pod", "10.244.2.1:22")]
OPEN_TO_PODS = [
    *(("pod", f"{address}:{port}") for address in ("{own}", "192.0.2.41") for port in (53, 30000)),
    # No host of the cluster's.
    ("pod", "192.0.2.91:22"),
]
# Of the storage hosts alone, with builds alone.
BUILDS_PUSH = [("pod", "192.0.2.41:5002")]
NO_STORAGE = [("pod", "{own}:5002")]
HOST_PORTS_OF_APPS = [("pod", "{own}:20000"), ("pod", "192.0.2.41:20000")]
OPEN_TO_FAR = [("far", "10.96.0.7:80"), ("far", "{own}:30080"), ("far", "10.244.1.2:8080")]
# From the host itself, as the gateway.
GATEWAY_CLOSED = [
    *(("gateway", f"{address}:{port}") for address in ("{own}", "192.0.2.41", "192.0.2.100") for port in CLOSED),
    # Whichever address of the host.
    *(("gateway", f"{address}:22") for address in ("127.0.0.1", "10.244.1.1", "169.254.169.254")),
    ("gateway", "169.254.169.254:80"),
    ("gateway", "169.254.7.7:80"),
    # Services with hosts for endpoints.
    *(("gateway", f"10.96.0.7:{port}") for port in (2201, 2202, 2203, 2204)),
    # What all hosts get, as VXLAN.
    *(("gateway", f"udp/4789 {address}") for address in ("192.0.2.255", "255.255.255.255", "192.0.2.41")),
]
GATEWAY_OPEN = [
    ("gateway", "10.244.1.2:8080"),
    ("gateway", "10.244.1.2:10250"),
    ("gateway", "10.96.0.7:80"),
    *(("gateway", f"{address}:30000") for address in ("{own}", "192.0.2.41")),
    # No host of the cluster's.
    ("gateway", "192.0.2.91:22"),
]
GATEWAY_API = ("gateway", "192.0.2.100:6443")
GATEWAY_HOST_PORTS = [("gateway", "{own}:20000"), ("gateway", "192.0.2.41:20000")]
INTERFACES = {
    "calico": {"pod": "cali0123456789a", "tunnel": "vxlan.calico"},
    "goodnet": {"pod": "goodnet0", "tunnel": "goodnet0"},
}
Questions = list[tuple[str, str]]


def answers(rules: str, own: str, network: str, asked: Questions, gateway: bool = True) -> dict[tuple[str, str], str]:
    """Return what becomes of it. gateway: whether the program that asks on the host has the gateway's user."""
    questions = [(who, what.format(own=own)) for who, what in asked]
    done = subprocess.run(
        [*ALONE, "--mount", sys.executable, str(Path(__file__).with_name("firewall_world.py"))],
        input=json.dumps(
            {
                "rules": rules,
                "address": own,
                **INTERFACES[network],
                "asked": questions,
                "traefik": 0 if gateway else 4711,
            }
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(questions, json.loads(done.stdout), strict=True))


def test_packets_get_where_they_are_meant_to(cluster: tuple[str, Any]) -> None:
    """Each kind of host once: which one does not depend on the network."""
    kind, found = cluster
    name = {"calico": "l1", "plain": "c1", "goodnet": "m1", "no-vip": "c1"}[kind]
    closed: Questions = [*FROM_OUTSIDE, *FROM_PODS, *NO_STORAGE, ("other", "10.96.0.7:80")]
    meant: Questions = [*OPEN_TO_OUTSIDE, *OPEN_TO_PODS]
    for questions, right in (
        (KUBELETS, name == "m1"),
        # The load balancers' is at the virtual address.
        (API, name == "m1"),
        (GATEWAY, name == "l1"),
        (HOST_PORTS_OF_APPS, kind != "no-vip"),
        (BUILDS_PUSH, kind in BUILDING),
        # Pods' packets come as they are from other hosts, and those of hosts to pods.
        (FROM_OTHER_HOST, kind == "plain"),
    ):
        (meant if right else closed).extend(questions)
    if kind != "goodnet":
        closed.extend(FROM_FAR)
        meant.extend(OPEN_TO_FAR)
    (own,) = (members[name] for members in HOSTS.values() if name in members)
    network = "goodnet" if kind == "goodnet" else "calico"
    got = answers("".join(found[name].values()), own, network, [*closed, *meant])
    wanted = {(who, what.format(own=own)): "closed" for who, what in closed}
    wanted |= {(who, what.format(own=own)): "open" for who, what in meant}
    assert got == wanted


def test_who_breaks_into_the_gateway_reaches_of_hosts_what_pods_do(cluster: tuple[str, Any]) -> None:
    kind, found = cluster
    closed, meant = list(GATEWAY_CLOSED), [*GATEWAY_OPEN, ("gateway", "{own}:443")]
    # Without a virtual IP the address is nobody's.
    unknown = [one for one in closed if kind == "no-vip" and "192.0.2.100" in one[1]]
    closed, meant = [one for one in closed if one not in unknown], [*meant, *unknown, GATEWAY_API]
    (meant if kind != "no-vip" else closed).extend(GATEWAY_HOST_PORTS)
    network = "goodnet" if kind == "goodnet" else "calico"
    if kind != "goodnet":
        # By a tunnel to a host that is closed to the gateway.
        meant.append(("gateway", "10.244.2.2:8080"))
    script = "".join(found["l1"].values())
    wanted = {(who, what.format(own="192.0.2.31")): "closed" for who, what in closed}
    wanted |= {(who, what.format(own="192.0.2.31")): "open" for who, what in meant}
    assert answers(script, "192.0.2.31", network, [*closed, *meant]) == wanted
    if kind == "calico":
        # Other programs of the host have to go on.
        got = answers(script, "192.0.2.31", network, [*closed, *meant], gateway=False)
        assert set(got.values()) == {"open"}, got
    chain = rules(found["l1"]["cloudbang"], "from_gateway")
    assert chain == [
        "fib daddr type local goto to_host",
        "ip daddr 10.244.0.0/16 meta mark set meta mark or 0x2000 accept",
        "meta mark and 0x2000 == 0x2000 accept",
        "ct state established,related accept",
        *(['oifname "br-underlay" goto to_host'] if kind == "goodnet" else []),
        "meta nfproto ipv6 goto to_host",
        "goto from_pods",
    ]
    assert "from_gateway" not in found["c1"]["cloudbang"] + found["m1"]["cloudbang"]


def test_a_gateway_on_a_management_host_reaches_no_kubelet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HOSTS, "management", {"l1": "192.0.2.31"})
    monkeypatch.setitem(HOSTS, "loadbalancer", {"l1": "192.0.2.31"})
    script = "".join(rendered(tmp_path)["l1"].values())
    kubelets = [("gateway", f"{address}:{KUBELET}") for address in ("{own}", "192.0.2.41")]
    got = answers(
        script, "192.0.2.31", "calico", [*kubelets, ("gateway", f"10.244.1.2:{KUBELET}"), ("pod", f"{{own}}:{KUBELET}")]
    )
    assert list(got.values()) == ["closed", "closed", "open", "open"], got


def test_without_the_firewall_all_of_it_is_open() -> None:
    """So the world above has no other walls."""
    asked = [*FROM_OUTSIDE, *FROM_PODS, *KUBELETS, *GATEWAY, *API, *FROM_OTHER_HOST, *FROM_FAR, *HOST_PORTS_OF_APPS]
    asked += [*GATEWAY_CLOSED, *BUILDS_PUSH, *NO_STORAGE]
    got = answers("", "192.0.2.21", "calico", asked)
    assert set(got.values()) == {"open"}, got
