# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain data that every check reads, and the problem that it yields."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Union

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding

from ..declarations import Role, When, part_of

ERROR = "error"
WARNING = "warning"
EVERYWHERE = "all hosts"
REQUIRED_GROUPS = ("management", "compute", "loadbalancer", "storage")
PLATFORM_GROUPS = (*REQUIRED_GROUPS, "etcd")
SECRET_WORDS = ("password", "passwd", "secret", "token", "private_key", "encryption_key")

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
class HostFinding:
    """A finding of the checks before an installation.

    ``host`` is an inventory host, ``all hosts``, ``inventory`` or ``controller``; ``variable`` the variable, fact or
    file that was checked; ``check`` the stable identifier that O(preflight_ignore) takes.
    """

    host: str
    check: str
    variable: str
    found: str
    wanted: str
    hint: str = ""
    severity: str = ERROR

    @property
    def message(self) -> str:
        tail = f" ({self.hint})" if self.hint else ""
        return f"{Finding(f'{self.host}: {self.variable}', self.found, self.wanted)}{tail}"

    def as_dict(self) -> dict[str, str]:
        return {**asdict(self), "message": self.message}


@dataclass(frozen=True)
class Option:
    """A variable of a role, from its argument specification, else from its default.

    ``inner`` are the specifications of what each entry consists of, if it is specified. Variables of playbooks are not
    ``judged``: what they refer to may be known only when such a playbook runs.
    """

    name: str
    type: str = "raw"
    choices: tuple[Any, ...] = ()
    elements: str = ""
    secret: bool = False
    optional: bool = False
    inner: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True


@dataclass
class Inventory:
    """Input of the checks.

    ``variables`` are the user's variables, by host, untemplated; ``settings`` the same with the roles' defaults below,
    templated; ``errors`` the message by host and variable where that was not possible; ``facts`` what ``examine``
    returned, by host, with ``reached`` false and a ``reason`` for a host that gave no answer, nothing for a host that
    was not asked; ``versions`` the versions of the artifact catalogue; ``now`` seconds since the epoch; ``declared``
    what the roles declare; ``inject_facts`` whether Ansible makes facts that hosts return to variables;
    ``yaml_endings``, ``ignored_endings`` and ``ignored_patterns`` which files Ansible reads in ``sources``.
    """

    hosts: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, Option] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    declared: tuple[Role, ...] = ()
    sources: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    now: float = 0.0
    inject_facts: bool = False
    yaml_endings: tuple[str, ...] = (".yml", ".yaml", ".json")
    ignored_endings: tuple[str, ...] = (".bak", ".cfg", ".md", ".orig", ".pyc", ".retry", ".rst", ".swp", ".txt", "~")
    ignored_patterns: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The hosts of the platform: those in at least one of its groups, in inventory order."""
        members = {host for group in PLATFORM_GROUPS for host in self.groups.get(group, ())}
        return tuple(host for host in self.hosts if host in members)

    @property
    def examined(self) -> tuple[str, ...]:
        """The nodes that answered."""
        return tuple(host for host in self.nodes if self.facts.get(host, {}).get("reached"))

    @property
    def etcd(self) -> tuple[str, ...]:
        return self.groups.get("etcd") or self.groups.get("management") or ()

    def part_of(self, when: When) -> bool:
        """Return whether something is part of the cluster by the variables of at least one node."""
        return not when or any(part_of(when, partial(self.get, host)) for host in self.nodes)

    @property
    def chosen(self) -> tuple[Role, ...]:
        """The roles that are part of the cluster."""
        return tuple(role for role in self.declared if self.part_of(role.when))

    def member(self, host: str, *groups: str) -> bool:
        return any(host in self.groups.get(group, ()) for group in groups)

    def get(self, host: str, name: str, default: Any = None) -> Any:
        value = self.settings.get(host, {}).get(name)
        return default if value is None else value

    def number(self, host: str, name: str, default: int) -> int:
        """Return an integer setting; a value of another kind is another check's business."""
        value = self.get(host, name, default)
        try:
            return int(value)
        except (TypeError, ValueError):
            return default

    def shared(self, name: str) -> Iterator[tuple[str, Any]]:
        """Return each different value of a setting with the host it is for, ``all hosts`` when it is one value."""
        seen: list[tuple[str, Any]] = []
        for host in self.nodes or self.hosts[:1]:
            if name in self.errors.get(host, {}):
                continue
            value = self.get(host, name)
            if all(value != other for _host, other in seen):
                seen.append((host, value))
        if len(seen) == 1:
            seen = [(EVERYWHERE, seen[0][1])]
        return iter(seen)

    def address(self, host: str) -> Address | None:
        return as_address(self.get(host, "cloudbang_node_address"))

    def interfaces(self, host: str) -> Iterator[tuple[str, ipaddress.IPv4Interface | ipaddress.IPv6Interface, int]]:
        """Return name, address with prefix, and MTU of everything configured on a host."""
        for name, one in self.facts.get(host, {}).get("interfaces", {}).items():
            for address in one.get("addresses", []):
                try:
                    yield name, ipaddress.ip_interface(address), int(one.get("mtu") or 0)
                except ValueError:
                    continue


def as_address(value: Any) -> Address | None:
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        return None


def as_network(value: Any) -> Network | None:
    """Return the network of a CIDR, also of one with host bits, None for anything else."""
    if not isinstance(value, str) or "/" not in value:
        return None
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def overlap(one: Network | None, other: Network | None) -> bool:
    return one is not None and other is not None and one.version == other.version and one.overlaps(other)


Check = Callable[[Inventory], Iterable[HostFinding]]
_CHECKS: dict[str, list[Check]] = {"inventory": [], "hosts": []}


def check(stage: str) -> Callable[[Check], Check]:
    """Register a check: ``inventory`` needs only data of the controller, ``hosts`` needs facts."""

    def register(function: Check) -> Check:
        _CHECKS[stage].append(function)
        return function

    return register


def registered(stage: str) -> tuple[Check, ...]:
    return tuple(_CHECKS[stage])


def shown(name: str, value: Any, options: Mapping[str, Option] | None = None) -> str:
    """Return a value for a message, cut to a readable length; a secret's content is not shown."""
    option = (options or {}).get(name)
    if (option and option.secret) or any(word in name for word in SECRET_WORDS):
        return f"a {type(value).__name__} (not shown)"
    if value is None:
        return "null"
    text = repr(str(value)) if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
