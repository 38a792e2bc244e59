# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of the API as plain data: make, merge and compare them."""

from __future__ import annotations

from typing import Any

from .kinds import VERSIONS, Object
from .quantities import quantity


def head(kind: str, name: str, tenant: str, labels: dict[str, str]) -> Object:
    """Return the start of an object: its version, kind, name, namespace and labels."""
    return {
        "apiVersion": VERSIONS.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": tenant, "labels": labels},
    }


def containers_of(workload: Object) -> list[Object]:
    """Return the containers of a workload's pods."""
    spec = workload["spec"]
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    containers: list[Object] = spec["template"]["spec"]["containers"]
    return containers


def merged(wanted: Any, more: Any) -> Any:
    """Return both of two parts of an object in one; containers are the same by their name."""
    if isinstance(wanted, dict) and isinstance(more, dict):
        return {
            key: merged(wanted[key], more[key]) if key in wanted and key in more else wanted.get(key, more.get(key))
            for key in {**wanted, **more}
        }
    if isinstance(wanted, list) and isinstance(more, list):
        other = {entry["name"]: entry for entry in more}
        return [merged(entry, other[entry["name"]]) if entry["name"] in other else entry for entry in wanted]
    return more


# Mappings that are one value: a key that is not wanted counts as a difference.
_WHOLE = ("selector", "nodeSelector", "matchLabels")
# Keys by which the API server merges lists; other lists are compared as a whole.
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}


def drift(wanted: Object, live: Object | None) -> list[str]:
    """Return the differences of a live object from the fields of a rendered one; other fields are ignored."""
    name = f"{wanted['kind']} {wanted['metadata']['name']}"
    if live is None:
        return [f"{name}: missing"]
    body = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}
    return [f"{name}: {difference}" for difference in _differences(body, live, "")]


def _differences(wanted: Any, live: Any, where: str) -> list[str]:
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return [f"{where}: found {live!r}, wanted {wanted!r}"]
        if where.rpartition(".")[2] in _WHOLE and set(live) - set(wanted):
            return [f"{where}: found {live!r}, wanted {wanted!r}"]
        return [
            difference
            for key, value in wanted.items()
            for difference in _differences(value, live.get(key), f"{where}.{key}" if where else key)
        ]
    if isinstance(wanted, list):
        return _list_differences(wanted, live, where)
    if wanted == live or (isinstance(wanted, str) and isinstance(live, str) and _same_amount(wanted, live, where)):
        return []
    return [f"{where}: found {live!r}, wanted {wanted!r}"]


def _list_differences(wanted: list[Any], live: Any, where: str) -> list[str]:
    live = live if isinstance(live, list) else []
    field = where.rpartition(".")[2]
    keys = _MERGE_KEYS.get(field)
    if field == "ports" and wanted:
        keys = ("containerPort", "protocol") if "containerPort" in wanted[0] else ("port", "protocol")
    if keys is None:
        if len(wanted) != len(live):
            return [f"{where}: found {live!r}, wanted {wanted!r}"]
        pairs = [(str(number), entry, live[number]) for number, entry in enumerate(wanted)]
    else:
        found = {tuple(entry.get(key) for key in keys): entry for entry in live}
        pairs = [(str(entry[keys[0]]), entry, found.get(tuple(entry.get(key) for key in keys))) for entry in wanted]
    return [difference for name, entry, other in pairs for difference in _differences(entry, other, f"{where}[{name}]")]


def _same_amount(wanted: str, live: str, where: str) -> bool:
    """Return whether two quantities are equal: the API server stores 1000m as 1."""
    if ".requests." not in where and ".limits." not in where:
        return False
    return quantity(wanted) is not None and quantity(wanted) == quantity(live)
