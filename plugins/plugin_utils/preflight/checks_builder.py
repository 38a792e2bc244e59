# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what builds of apps need: their variables, and compute hosts that run pods in user namespaces."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .inventory import EVERYWHERE, HostFinding, Inventory, as_network, check

ENABLED = (("cloudbang_builder_enabled", (True,)),)
# The smallest amount of each, which the trusted parts of a build need as well.
LEAST = {"builder_cpu": "500m", "builder_memory": "512Mi", "builder_disk": "1Gi"}
# The largest that the configuration of builds may have.
MOST = {"builder_timeout": 86_400, "builder_max_builds": 1000}
CLOSED = ("cloudbang_pod_cidr", "cloudbang_service_cidr")
LINK_LOCAL = ipaddress.ip_network("169.254.0.0/16")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CERTIFICATE = "-----BEGIN CERTIFICATE-----"
# The first kernel whose tmpfs, on which Secrets are, takes part in user namespaces of pods; Debian 12 and Ubuntu 22.04
# have a crun that cannot make such pods either.
MIN_KERNEL = (6, 3)
OLD_SYSTEMS = {"debian": 13.0, "ubuntu": 24.04}


def builds(inventory: Inventory) -> bool:
    return inventory.part_of(ENABLED)


@check("inventory")
def limits(inventory: Inventory) -> Iterator[HostFinding]:
    for name, least in LEAST.items() if builds(inventory) else ():
        for host, value in inventory.shared(name):
            amount, minimum = quantity(str(value)), quantity(least)
            if amount is None or minimum is None or amount < minimum:
                yield HostFinding(host, "builder", name, shown(value), f"a quantity of {least} or more, such as 2Gi")
    for name, most in MOST.items() if builds(inventory) else ():
        for host, value in inventory.shared(name):
            if isinstance(value, int) and not 1 <= value <= most:
                yield HostFinding(host, "builder", name, str(value), f"1 to {most}")


@check("inventory")
def languages(inventory: Inventory) -> Iterator[HostFinding]:
    """A language has base images, which the role declares."""
    name = "builder_languages"
    known = {
        word
        for role in inventory.declared
        for image in role.images
        for variable, words in image.when
        for word in words
        if variable == name
    }
    for host, value in inventory.shared(name) if builds(inventory) else ():
        for number, word in enumerate(value if isinstance(value, list) else ()):
            if word not in known:
                wanted = f"one of {', '.join(sorted(known))}"
                yield HostFinding(host, "builder", f"{name}[{number}]", shown(word), wanted)


@check("inventory")
def networks_of_builds(inventory: Inventory) -> Iterator[HostFinding]:
    name = "builder_networks"
    closed = {one: as_network(inventory.get(inventory.nodes[0], one)) for one in CLOSED} if inventory.nodes else {}
    for host, value in inventory.shared(name) if builds(inventory) else ():
        for number, text in enumerate(value if isinstance(value, list) else ()):
            where, network = f"{name}[{number}]", as_network(text)
            if not isinstance(network, ipaddress.IPv4Network) or str(network) != text:
                wanted = "an IPv4 network in CIDR notation without host bits"
                yield HostFinding(host, "cidr", where, shown(text), wanted)
                continue
            for variable, other in (*closed.items(), ("link-local addresses", LINK_LOCAL)):
                if isinstance(other, ipaddress.IPv4Network) and network.subnet_of(other):
                    wanted, hint = f"a network outside {other}", f"builds do not reach {variable}"
                    yield HostFinding(host, "builder", where, str(text), wanted, hint)


@check("inventory")
def environment(inventory: Inventory) -> Iterator[HostFinding]:
    """Whoever builds can read the values, so they are no place for a password."""
    if not builds(inventory):
        return
    for host, value in inventory.shared("builder_proxy"):
        if value and (fault := _fault_of_url(str(value))):
            yield HostFinding(host, "builder", "builder_proxy", fault, "a URL such as http://192.0.2.7:3128")
    for host, value in inventory.shared("builder_environment"):
        for key, content in value.items() if isinstance(value, dict) else ():
            where = f"builder_environment[{shown(key)}]"
            if not isinstance(key, str) or not VARIABLE.fullmatch(key):
                yield HostFinding(host, "builder", where, "no name of a variable", "letters, digits and _")
            elif not isinstance(content, str):
                yield HostFinding(host, "builder", where, f"a {type(content).__name__}", "a text, in quotes")
            elif any(_credentials(word) for word in re.split(r"[\s,|]+", content) if "://" in word):
                wanted = "URLs without user and password, which tenants could read"
                yield HostFinding(host, "builder", where, "no such URL (not shown)", wanted)


def _credentials(text: str) -> bool:
    """Return whether a URL has a user or a password, or is none that could tell."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return True
    return bool(parts.username or parts.password)


def _fault_of_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return "no URL"
    if parts.username or parts.password:
        return "credentials (not shown)"
    return "" if good else shown(text)


@check("inventory")
def trusted_authorities(inventory: Inventory) -> Iterator[HostFinding]:
    name = "builder_trusted_ca"
    for host, value in inventory.shared(name) if builds(inventory) else ():
        if not value or not isinstance(value, str):
            continue
        path = Path(value).expanduser()
        if (
            not path.is_file()
            or not os.access(path, os.R_OK)
            or CERTIFICATE not in path.read_text("utf-8", errors="replace")
        ):
            wanted = "a file on the controller with certificates in PEM form"
            yield HostFinding(host, "builder", name, shown(value), wanted)


@check("inventory")
def port_of_builds_differs(inventory: Inventory) -> Iterator[HostFinding]:
    mine = "cloudbang_port_registry_build"
    for host in inventory.groups.get("storage", ())[:1] if builds(inventory) else ():
        number = inventory.number(host, mine, 5002)
        for other, default in (("cloudbang_port_registry", 5000), ("cloudbang_port_registry_push", 5001)):
            if inventory.number(host, other, default) == number:
                wanted, hint = "a port of its own", f"{other} has it"
                yield HostFinding(EVERYWHERE, "port_clash", mine, str(number), wanted, hint)


@check("hosts")
def user_namespaces(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined if builds(inventory) else ():
        if not inventory.member(host, "compute"):
            continue
        facts, hint = inventory.facts[host], "builds run in user namespaces; or set cloudbang_builder_enabled: false"
        found = re.match(r"(\d+)\.(\d+)", str(facts.get("kernel", "")))
        if found and (int(found[1]), int(found[2])) < MIN_KERNEL:
            wanted = f"{MIN_KERNEL[0]}.{MIN_KERNEL[1]} or newer"
            yield HostFinding(host, "builder", "kernel", str(facts["kernel"]), wanted, hint)
        system = facts.get("os", {})
        least = OLD_SYSTEMS.get(str(system.get("id")), 0.0)
        version = re.match(r"\d+(\.\d+)?", str(system.get("version", "")))
        if version and float(version[0]) < least:
            found_text = f"{system['id']} {system['version']}, whose crun makes no user namespaces"
            yield HostFinding(host, "builder", "os-release", found_text, f"{system['id']} {least:g} or newer", hint)
