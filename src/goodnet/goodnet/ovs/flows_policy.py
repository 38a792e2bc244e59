# SPDX-License-Identifier: GPL-3.0-or-later
"""NetworkPolicies as flows: one conjunction per rule, so that nothing is ever multiplied out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import NamedTuple
from zlib import crc32

from goodnet.model import Policy, Ports

# A pod that some rule lets everything through for; the rules themselves; what no rule let through.
ALL, RULE, DENY = 250, 200, 100


class Entry(NamedTuple):
    """A flow without its table. policy is None where several policies share it."""

    priority: int
    match: str
    actions: str
    policy: Policy | None


def entries(policies: Iterable[Policy], *, ingress: bool, passed: str) -> Iterator[Entry]:
    """Yield the flows of one direction. passed: actions for what is let through. Pods under no policy have no flow."""
    pod, peer = ("nw_dst", "nw_src") if ingress else ("nw_src", "nw_dst")
    clauses: defaultdict[str, list[str]] = defaultdict(list)
    isolated: set[IPv4Address] = set()
    unbounded: dict[IPv4Address, Policy] = {}
    identities: set[int] = set()
    order: defaultdict[str, int] = defaultdict(int)
    for policy in sorted(policies, key=_key):
        rules = policy.ingress if ingress else policy.egress
        if rules is None:
            continue
        isolated |= policy.pods
        for rule in rules:
            dimensions = [[f"ip,{pod}={address}" for address in sorted(policy.pods)]]
            if rule.networks is not None:
                dimensions.append([f"ip,{peer}={network}" for network in sorted(set(rule.networks))])
            if rule.ports is not None:
                dimensions.append(sorted({match for ports in rule.ports for match in port_matches(ports)}))
            if len(dimensions) == 1:
                for address in policy.pods:
                    unbounded.setdefault(address, policy)
                continue
            name = f"{policy.namespace}/{policy.name}/{'ingress' if ingress else 'egress'}"
            identity = _identity(f"{name}/{order[name]}", identities)
            order[name] += 1
            for number, matches in enumerate(dimensions, 1):
                for match in matches:
                    clauses[match].append(f"conjunction({identity},{number}/{len(dimensions)})")
            yield Entry(RULE, f"conj_id={identity},ip", passed, policy)
    for address, policy in unbounded.items():
        yield Entry(ALL, f"ip,{pod}={address}", passed, policy)
    for match, conjunctions in clauses.items():
        yield Entry(RULE, match, ",".join(conjunctions), None)
    for address in isolated:
        yield Entry(DENY, f"ip,{pod}={address}", "drop", None)


def port_matches(ports: Ports) -> Iterator[str]:
    """Yield matches that together are exactly these ports: a range becomes blocks of a power of two."""
    protocol = ports.protocol.lower()
    if ports.port is None:
        yield protocol
        return
    first, last = ports.port, ports.port if ports.last is None else ports.last
    while first <= last:
        # The largest block that starts here and does not go past the end.
        size = min(first & -first or 0x10000, 1 << (last - first + 1).bit_length() - 1)
        if size == 1:
            yield f"{protocol},tp_dst={first}"
        else:
            yield f"{protocol},tp_dst={first:#x}/{0x10000 - size:#x}"
        first += size


def _key(policy: Policy) -> tuple[str, str, list[IPv4Address]]:
    return policy.namespace, policy.name, sorted(policy.pods)


def _identity(name: str, taken: set[int]) -> int:
    """Return a number for a rule that stays while other policies come and go, so that only their flows change."""
    identity = crc32(name.encode()) or 1
    while identity in taken:
        identity = identity % 0xFFFFFFFF + 1
    taken.add(identity)
    return identity
