# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of versions, wanted and installed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from .inventory import HostFinding, Inventory, check

VERSION = re.compile(r"\d+\.\d+\.\d+([-+.][0-9A-Za-z.-]+)?")
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# How many minor versions before the catalogue's one this collection still configures correctly.
OLDER_MINORS = 2
ETCD_SAFE_PATCH = 26


def parse(version: object) -> tuple[int, int, int] | None:
    """Return major, minor and patch of ``v1.36.3`` or ``1.36.3+build``, None when it is no version."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", str(version))
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def wanted_version(inventory: Inventory, host: str, component: str) -> str:
    chosen = inventory.get(host, "artifacts_versions", {})
    value = chosen.get(component) if isinstance(chosen, Mapping) else None
    return str(value or inventory.versions.get(component, ""))


@check("inventory")
def versions_have_form(inventory: Inventory) -> Iterator[HostFinding]:
    for host, chosen in inventory.shared("artifacts_versions"):
        if not isinstance(chosen, Mapping):
            continue
        for component, value in chosen.items():
            name = f"artifacts_versions.{component}"
            if inventory.versions and component not in inventory.versions:
                close = difflib.get_close_matches(str(component), inventory.versions, 1)
                hint = f"did you mean {close[0]}?" if close else ""
                yield HostFinding(host, "version", name, "no such component", "one of the catalogue", hint)
            elif isinstance(value, (int, float)):
                yield HostFinding(
                    host,
                    "version",
                    name,
                    f"the number {value}",
                    "a quoted version like '1.36.3'",
                    "YAML reads 1.30 as 1.3",
                )
            elif isinstance(value, str) and value.startswith("v"):
                yield HostFinding(host, "version", name, repr(str(value)), repr(str(value)[1:]), "without the v")
            elif not isinstance(value, str) or not VERSION.fullmatch(value):
                yield HostFinding(host, "version", name, repr(value), "a version like '1.36.3'")


@check("inventory")
def kubernetes_is_supported(inventory: Inventory) -> Iterator[HostFinding]:
    newest = parse(inventory.versions.get("kubernetes"))
    if newest is None:
        return
    for host, chosen in inventory.shared("artifacts_versions"):
        value = chosen.get("kubernetes") if isinstance(chosen, Mapping) else None
        version = parse(value) if isinstance(value, str) else None
        if version and (version[0] != newest[0] or not newest[1] - OLDER_MINORS <= version[1] <= newest[1]):
            yield HostFinding(
                host,
                "kubernetes_version",
                "artifacts_versions.kubernetes",
                str(value),
                f"{newest[0]}.{newest[1] - OLDER_MINORS} to {newest[0]}.{newest[1]}",
            )


@check("hosts")
def kubernetes_step(inventory: Inventory) -> Iterator[HostFinding]:
    """Kubernetes goes up by one minor version at a time, and never down."""
    for host in inventory.examined:
        installed = inventory.facts[host].get("versions", {})
        wanted = parse(wanted_version(inventory, host, "kubernetes"))
        for program in ("kube-apiserver", "kubelet"):
            found = parse(installed.get(program))
            if found is None or wanted is None:
                continue
            text = ".".join(map(str, wanted))
            if wanted < found:
                yield HostFinding(
                    host,
                    "downgrade",
                    "artifacts_versions.kubernetes",
                    text,
                    f"{installed[program]} or newer",
                    f"the host runs {program} {installed[program]}",
                )
            elif wanted[1] - found[1] > 1:
                yield HostFinding(
                    host,
                    "version_skip",
                    "artifacts_versions.kubernetes",
                    text,
                    f"{found[0]}.{found[1] + 1} next",
                    f"the host runs {program} {installed[program]}",
                )
            else:
                continue
            break


@check("hosts")
def etcd_step(inventory: Inventory) -> Iterator[HostFinding]:
    """An upgrade from etcd 3.5 to 3.6 needs 3.5.26 or newer: with older ones, removed members reappear."""
    for host in inventory.examined:
        found = parse(inventory.facts[host].get("versions", {}).get("etcd"))
        wanted = parse(wanted_version(inventory, host, "etcd"))
        if found is None or wanted is None:
            continue
        text = ".".join(map(str, wanted))
        if wanted[:2] < found[:2]:
            yield HostFinding(host, "downgrade", "artifacts_versions.etcd", text, f"{found[0]}.{found[1]} or newer")
        elif found[:2] == (3, 5) and wanted >= (3, 6, 0) and found[2] < ETCD_SAFE_PATCH:
            yield HostFinding(
                host,
                "etcd_version",
                "artifacts_versions.etcd",
                f"{text} after {'.'.join(map(str, found))}",
                f"3.5.{ETCD_SAFE_PATCH} or newer first",
            )


@check("inventory")
def calico_is_the_one_that_is_configured(inventory: Inventory) -> Iterator[HostFinding]:
    """What is written for Calico, and which Kubernetes it works with, is known for one minor version."""
    known = parse(inventory.versions.get("calico"))
    for host, chosen in inventory.shared("artifacts_versions"):
        value = chosen.get("calico") if isinstance(chosen, Mapping) else None
        version = parse(value) if isinstance(value, str) else None
        if known and version and version[:2] != known[:2]:
            yield HostFinding(host, "calico_version", "artifacts_versions.calico", str(value), f"{known[0]}.{known[1]}")


@check("hosts")
def upgrade_is_for_all(inventory: Inventory) -> Iterator[HostFinding]:
    """Under --limit a minor version would leave members behind, or kubelets newer than their API server."""
    for component, programs, members in (
        ("kubernetes", ("kube-apiserver", "kubelet"), inventory.groups.get("management", ())),
        ("etcd", ("etcd",), inventory.etcd),
    ):
        left_out = [host for host in members if host not in inventory.facts]
        for host in inventory.examined if left_out else ():
            wanted = parse(wanted_version(inventory, host, component))
            installed = [inventory.facts[host].get("versions", {}).get(program) for program in programs]
            older = [one for one in installed if wanted and (parse(one) or wanted)[:2] < wanted[:2]]
            if older and wanted:
                yield HostFinding(
                    host,
                    "upgrade_limited",
                    f"artifacts_versions.{component}",
                    f"{'.'.join(map(str, wanted))} after {older[0]}, without {', '.join(left_out)}",
                    f"all hosts that run {programs[0]} in one run",
                    "run it without --limit",
                )


@check("hosts")
def architecture(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.examined:
        machine = str(inventory.facts[host].get("arch", ""))
        wanted = str(inventory.get(host, "artifacts_arch", "amd64"))
        if MACHINES.get(machine) != MACHINES.get(wanted, wanted):
            yield HostFinding(
                host,
                "arch",
                "artifacts_arch",
                f"{wanted} for a {machine} machine",
                MACHINES.get(machine, "amd64 or arm64 machines"),
            )
