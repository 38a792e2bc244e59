# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of roles in ``meta/platform.yml``: images, ports, packages, protected files, shared variables.

All code that needs them reads them here, so that a new role is listed nowhere else. The keys of a declaration are the
fields of ``Role``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

ROLES = Path(__file__).resolve().parents[2] / "roles"
LISTENS = ("node", "everywhere", "loopback", "vip")

Load = Callable[[str], Any]
Value = Callable[[str], Any]
# Variables and the values of each with which something is part of the cluster.
When = tuple[tuple[str, tuple[Any, ...]], ...]


class DeclarationError(ValueError):
    """An invalid declaration; the message has the file, the value found and the value wanted."""


@dataclass(frozen=True)
class Image:
    """An image that the registry has: ``artifact`` of the catalogue, ``repository`` and ``tag``."""

    artifact: str
    repository: str
    tag: str = "current"
    when: When = ()


@dataclass(frozen=True)
class Port:
    """A port on hosts of ``groups``.

    ``variable`` may move it. ``users`` are the groups whose hosts need to reach it. ``listens`` is ``node``
    for the node's address, ``everywhere``, ``loopback`` or ``vip`` for the virtual IP. ``mark`` is a file that marks
    the unit as the platform's, for units that come with a package.
    """

    number: int
    unit: str
    variable: str = ""
    program: str = ""
    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    protocol: str = "tcp"
    listens: str = "node"
    mark: str = ""
    when: When = ()

    @property
    def label(self) -> str:
        return self.variable or f"port {self.number}"


@dataclass(frozen=True)
class Packages:
    """Debian packages of hosts of ``groups``: those that the list in ``variable`` names."""

    variable: str
    groups: tuple[str, ...] = ()
    when: When = ()


@dataclass(frozen=True)
class Protected:
    """Files that match ``path`` have at most the permission bits ``mode`` (octal text) and one of ``owners``.

    ``id`` is the number in the CIS Kubernetes Benchmark, or a name where it has none.
    """

    id: str
    path: str
    mode: str = "0600"
    owners: tuple[str, ...] = ("root:root",)
    groups: tuple[str, ...] = ()
    when: When = ()


@dataclass(frozen=True)
class Confined:
    """A unit whose user has its name, and reads of what not everybody may read the files ``reads`` only."""

    unit: str
    reads: tuple[str, ...]
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """Commands for a host on which the command ``needed`` succeeds; ``name`` is what they remove."""

    name: str
    needed: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Reset:
    """Leftovers of a role on a host besides units and files, for M(cloudbang.platform.node_reset).

    ``stop`` are units that stop before ``steps``, which come before everything else, while services run. Processes in
    ``cgroups`` whose path has such a part, and those of ``programs``, end. ``mounts`` are beginnings of mount points,
    ``interfaces`` regular expressions of whole names, ``routes`` selectors of ``ip route``, ``tables`` names in
    nftables, ``chains`` and ``comments`` beginnings of those in iptables, ``sets`` beginnings of those of ipset, and
    ``runtime`` patterns of paths that services have made.
    """

    stop: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    cgroups: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()


@dataclass(frozen=True)
class Role:
    """Declaration of a role.

    ``groups`` are the groups whose hosts it runs on; ``etcd`` stands for the hosts of etcd. ``when`` has the values of
    variables with which it is part of the cluster. ``package_units`` are the units that come with ``packages`` and that
    the role starts. ``shared`` are variables that have one value for the whole cluster.
    """

    name: str
    groups: tuple[str, ...] = ()
    when: When = ()
    images: tuple[Image, ...] = ()
    ports: tuple[Port, ...] = ()
    packages: tuple[Packages, ...] = ()
    package_units: tuple[str, ...] = ()
    protected: tuple[Protected, ...] = ()
    confined: tuple[Confined, ...] = ()
    shared: tuple[str, ...] = ()
    reset: Reset | None = None


def roles(load: Load, directory: Path | None = None) -> tuple[Role, ...]:
    """Return the declarations of all roles by name. ``load`` returns the content of a YAML file. DeclarationError."""
    paths = sorted((directory or ROLES).glob("*/meta/platform.yml"))
    return tuple(_role(path.parts[-3], load(str(path)) or {}, str(path)) for path in paths)


def part_of(when: When, value: Value) -> bool:
    """Return whether something is part of a cluster whose variables have the values that ``value`` returns.

    A variable that is a list has to contain the value; one that is a boolean may be a text, as on a command line.
    """
    return all(any(_is(value(name), wanted) for wanted in values) for name, values in when)


def _is(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return boolean(found, strict=False) is wanted
    return wanted in found if isinstance(found, list) else bool(found == wanted)


def chosen(declared: Iterable[Role], value: Value) -> tuple[Role, ...]:
    """Return the roles that are part of a cluster."""
    return tuple(role for role in declared if part_of(role.when, value))


def packages(declared: Iterable[Role], value: Value) -> list[str]:
    """Return the Debian packages of some roles, each once, sorted, also those that a cluster may need later."""
    return sorted({str(name) for role in declared for one in role.packages for name in value(one.variable) or ()})


def images(declared: Iterable[Role], value: Value) -> list[Image]:
    """Return the images of the roles that are part of a cluster."""
    return [one for role in chosen(declared, value) for one in role.images if part_of(one.when, value)]


def open_ports(declared: Iterable[Role], value: Value) -> dict[str, set[int]]:
    """Return the TCP ports that other machines can connect to, by group."""
    found: dict[str, set[int]] = {}
    for port in (port for role in declared for port in role.ports if part_of(port.when, value)):
        if port.protocol == "tcp" and port.listens != "loopback":
            for group in port.groups:
                found.setdefault(group, set()).add(int((port.variable and value(port.variable)) or port.number))
    return found


def _role(name: str, content: Any, where: str) -> Role:
    given: dict[str, Any] = dict(content) if isinstance(content, Mapping) else {"content": content}
    groups = {"groups": given.get("groups", ())}
    for key, kind, common in (
        ("images", Image, {}),
        ("packages", Packages, groups),
        ("ports", Port, groups),
        ("protected", Protected, groups),
        ("confined", Confined, groups),
    ):
        given[key] = [_made(kind, {**common, **one}, where) for one in given.get(key, ())]
    for port in given["ports"]:
        if port.listens not in LISTENS:
            raise DeclarationError(f"{where}: listens: found {port.listens!r}, wanted one of {', '.join(LISTENS)}")
    if "reset" in given:
        steps = [_made(Step, one, where) for one in given["reset"].get("steps", ())]
        given["reset"] = _made(Reset, {**given["reset"], "steps": steps}, where)
    role: Role = _made(Role, {**given, "name": name}, where)
    return role


def _made(kind: Any, given: Mapping[str, Any], where: str) -> Any:
    """Return an object of a dataclass; lists become tuples, and the one value of a condition a tuple of it."""
    known = [one.name for one in fields(kind)]
    if unknown := sorted(set(given) - set(known)):
        raise DeclarationError(f"{where}: found {', '.join(unknown)}, wanted some of {', '.join(known)}")
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    if "when" in plain:
        plain["when"] = tuple(
            (name, tuple(values) if isinstance(values, list) else (values,)) for name, values in plain["when"].items()
        )
    try:
        return kind(**plain)
    except TypeError as error:
        raise DeclarationError(f"{where}: {error}") from error
