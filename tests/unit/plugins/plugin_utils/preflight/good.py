# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of eight hosts with which nothing is wrong, to be spoilt one thing at a time."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight import options
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import Inventory

GROUPS = {
    "management": ("management1", "management2", "management3"),
    "compute": ("compute1", "compute2"),
    "loadbalancer": ("loadbalancer1", "loadbalancer2"),
    "storage": ("storage1",),
}
ADDRESSES = {
    "management1": "10.92.0.11",
    "management2": "10.92.0.12",
    "management3": "10.92.0.13",
    "compute1": "10.92.0.21",
    "compute2": "10.92.0.22",
    "loadbalancer1": "10.92.0.31",
    "loadbalancer2": "10.92.0.32",
    "storage1": "10.92.0.41",
}
VIP = "10.92.0.100"
NOW = 1_795_000_000.0


def load(path: str) -> Any:
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


OPTIONS = options.options(load)
PLAIN = {
    name: value for name, value in options.defaults(load).items() if not (isinstance(value, str) and "{{" in value)
}
VERSIONS = options.versions(load)
DECLARED = declarations.roles(load)


def facts(number: int, host: str) -> dict[str, Any]:
    return {
        "reached": True,
        "os": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)", "like": []},
        "arch": "x86_64",
        "kernel": "6.12.48+deb13-amd64",
        "python": "3.13.5",
        "cores": 4,
        "memory": 8 * 1024**3,
        "disks": {"/var/lib": {"free": 50 * 1024**3, "inodes": 10**7, "inodes_free": 9 * 10**6, "device": 1}},
        "swaps": [],
        "listeners": [{"protocol": "tcp", "address": "0.0.0.0", "port": 22, "process": "sshd"}],
        "interfaces": {
            "lo": {"mtu": 65536, "addresses": ["127.0.0.1/8", "::1/128"]},
            "eth0": {"mtu": 1500, "addresses": [f"{ADDRESSES[host]}/24"]},
        },
        "default_route": "eth0",
        "hostname": host,
        "machine_id": f"{number:032x}",
        "resolv": {"nameservers": ["10.92.0.1"], "search": ["example.org"]},
        "features": dict.fromkeys(
            ("br_netfilter", "overlay", "vxlan", "nf_tables", "nf_conntrack", "ip_set", "openvswitch", "tun"), True
        ),
        "cgroup": 2,
        "noexec": [],
        "read_only": [],
        "selinux": "disabled",
        "uid": 0,
        "proxies": {},
        "units": [],
        "versions": {},
        "fsync": 0.001,
        "probes": [],
        "vip": {"address": VIP, "answers": ""} if host.startswith("loadbalancer") else {},
        "skew": 0.0,
    }


def good() -> Inventory:
    """Return a fresh copy each time."""
    hosts = tuple(ADDRESSES)
    written = {host: {"ansible_host": address, "cloudbang_api_vip": VIP} for host, address in ADDRESSES.items()}
    settings = {
        host: {
            **deepcopy(PLAIN),
            **own,
            "cloudbang_dns_address": "10.96.0.10",
            "cloudbang_node_address": own["ansible_host"],
            "cloudbang_pki_dir": "/nonexistent/pki",
        }
        for host, own in written.items()
    }
    return Inventory(
        hosts=hosts,
        groups={"all": hosts, "ungrouped": (), **GROUPS},
        variables=written,
        settings=settings,
        facts={host: facts(number, host) for number, host in enumerate(hosts, 1)},
        options=dict(OPTIONS),
        roles=options.role_names(),
        declared=DECLARED,
        versions=dict(VERSIONS),
        now=NOW,
    )
