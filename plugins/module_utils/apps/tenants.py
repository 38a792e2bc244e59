# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What M(cloudbang.platform.tenant) does: look at a tenant's objects, change those that differ, remove what is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from . import ledger
from .client import BUSY, PAUSE, ApiError, Kube, KubeError, Unknown, Unreachable
from .options import Invalid, Problem
from .plan import KINDS as APP_KINDS
from .render import APP, KIND, Object
from .tenant_objects import (
    KINDS,
    LOADBALANCER,
    MANAGER,
    NAME,
    NAMESPACE_NAME,
    PEERS,
    gateways_of,
    holders,
    namespace_problems,
    objects,
    ours,
)
from .tenant_spec import Tenant, tenant_of

WATCH_SECONDS = 60

Result = dict[str, Any]
Key = tuple[str, str]


class Change(NamedTuple):
    """One object that is not as it should be. verb: created, changed, replaced or removed."""

    verb: str
    kind: str
    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    wanted: Object | None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.verb}"


def run(kube: Kube, options: dict[str, Any], check_mode: bool) -> Result:
    """Bring a tenant to its state."""
    name = options["name"]
    space = kube.get("Namespace", None, name)
    problems = namespace_problems(space, "name", options["adopt"])
    if problems:
        raise Invalid(problems)
    if options["state"] == "absent":
        return _remove(kube, name, space, options, check_mode)
    if space is not None and space["metadata"].get("deletionTimestamp"):
        wanted = "a namespace that is not being deleted; wait until it is gone"
        raise Invalid([Problem("name", f"namespace {name} in state Terminating", wanted)])
    tenant = tenant_of(options)
    gateways = gateways_of(kube.find("Node", None, LOADBALANCER)) if tenant.network == "isolated" else []
    wanted_objects = objects(tenant, gateways)
    changes = _changes(kube, wanted_objects, _live(kube, name, space, wanted_objects))
    result: Result = {
        "changed": bool(changes),
        "tenant": {
            "name": name,
            "pod_security": tenant.pod_security,
            "quota": tenant.quota,
            "limits": tenant.limits,
            "network": tenant.network,
            "peers": list(tenant.peers),
            "gateways": gateways,
            "members": [member._asdict() for member in tenant.members],
        },
        "changes": [str(change) for change in changes],
        "diff": _difference(name, changes),
    }
    if tenant.network == "isolated" and not gateways:
        result["warnings"] = [
            f"tenant {name}: found no node with the label {LOADBALANCER}, so the gateway is not let through by address"
        ]
    if not check_mode:
        _carry_out(kube, name, changes, result)
        if options["wait"] and tenant.quota and not result.get("failed"):
            _wait_for_quota(kube, tenant, options["timeout"], result)
    return result


def _live(kube: Kube, name: str, space: Object | None, wanted: list[Object]) -> dict[Key, Object]:
    """Return the objects there are: those of the tenant, and those that have a name which is wanted."""
    live: dict[Key, Object] = {}
    if space is not None:
        live["Namespace", name] = space
        for kind in KINDS:
            live.update({(kind, entry["metadata"]["name"]): entry for entry in kube.find(kind, name)})
    for entry in wanted:
        if entry["kind"] == "ClusterRole":
            found = kube.get("ClusterRole", None, entry["metadata"]["name"])
            if found is not None:
                live["ClusterRole", entry["metadata"]["name"]] = found
    return live


def _changes(kube: Kube, wanted: list[Object], live: dict[Key, Object]) -> list[Change]:
    """Return what has to change. The API itself says what an object would become, so defaults do not count."""
    changes: list[Change] = []
    names = set()
    for entry in wanted:
        key = (entry["kind"], entry["metadata"]["name"])
        names.add(key)
        now = live.get(key)
        if now is None:
            changes.append(Change("created", *key, {}, _view(entry), entry))
        elif now.get("roleRef") != entry.get("roleRef"):
            changes.append(Change("replaced", *key, _view(now), _view(entry), entry))
        else:
            after = kube.apply(entry, MANAGER, dry=True)
            if _view(after) != _view(now):
                changes.append(Change("changed", *key, _view(now), _view(after), entry))
    for key, now in live.items():
        if key[0] in KINDS and key not in names and ours(now):
            changes.append(Change("removed", *key, _view(now), {}, None))
    return changes


def _view(entry: Object) -> dict[str, Any]:
    """Return what counts of an object."""
    shown = {key: value for key, value in entry.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    view = {"labels": entry["metadata"].get("labels") or {}, **shown}
    peers = (entry["metadata"].get("annotations") or {}).get(PEERS)
    return {**view, "peers": peers} if peers else view


def _difference(name: str, changes: Iterable[Change]) -> list[dict[str, Any]]:
    before = {f"{change.kind} {change.name}": change.before for change in changes if change.before}
    after = {f"{change.kind} {change.name}": change.after for change in changes if change.after}
    header = f"tenant {name}"
    if before == after:
        return []
    return [{"before_header": header, "after_header": header, "before": before, "after": after}]


def _carry_out(kube: Kube, name: str, changes: list[Change], result: Result) -> None:
    """Make the changes; what goes wrong is put into the result, with what had been done by then."""
    for number, change in enumerate(changes):
        try:
            if change.verb in ("replaced", "removed"):
                kube.delete(change.kind, name, change.name)
            if change.wanted is not None:
                kube.apply(change.wanted, MANAGER)
        except KubeError as error:
            made = [str(entry) for entry in changes[:number]]
            result.update(failed=True, changed=bool(made), changes=made, unknown=isinstance(error, Unknown))
            result["msg"] = f"tenant: {name}: {change.kind} {change.name} could not be {change.verb}: {error}"
            return


def _wait_for_quota(kube: Kube, tenant: Tenant, timeout: float, result: Result) -> None:
    """Wait until the quota is in force: the API counts from the moment its controller has looked at it."""

    def counted(found: Object | None) -> bool:
        hard = ((found or {}).get("spec") or {}).get("hard")
        return found is not None and (found.get("status") or {}).get("hard") == hard

    selector = f"{KIND}=tenant"
    if not until(kube, "ResourceQuota", tenant.name, (NAME, selector), counted, timeout):
        result["failed"] = True
        result["msg"] = (
            f"tenant: {tenant.name}: ResourceQuota {NAME} is not in force after {timeout} s; "
            "wanted: kube-controller-manager to run"
        )


def until(
    kube: Kube,
    kind: str,
    namespace: str,
    name: tuple[str, str],
    settled: Callable[[Object | None], bool],
    timeout: float,
) -> bool:
    """Follow an object, given by name and label selector, until it is as wanted; return whether it was in time.

    `settled` gets None when the object is gone.
    """
    end = time.monotonic() + timeout
    while True:
        items, version = kube.list_version(kind, namespace, name[1])
        if settled(next((entry for entry in items if entry["metadata"]["name"] == name[0]), None)):
            return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        try:
            for event in kube.watch(kind, namespace, name[1], version, max(1, min(WATCH_SECONDS, round(left)))):
                entry = event.get("object") or {}
                about = event.get("type") in ("ADDED", "MODIFIED", "DELETED") and entry["metadata"]["name"] == name[0]
                if about and settled(None if event["type"] == "DELETED" else entry):
                    return True
        except Unreachable:
            pass
        except ApiError as error:
            if error.status not in (410, *BUSY):
                raise
        time.sleep(PAUSE)


def _remove(kube: Kube, name: str, space: Object | None, options: dict[str, Any], check_mode: bool) -> Result:
    """Delete a tenant with everything in it."""
    result: Result = {"changed": False, "tenant": {"name": name}, "changes": [], "diff": []}
    if space is None:
        return result
    if not space["metadata"].get("deletionTimestamp"):
        found = _kept(kube, name)
        if found and not options["force"]:
            wanted = "a tenant without apps and volumes, or force: true to delete them"
            raise Invalid([Problem("state", f"{'; '.join(found)} in tenant {name}", wanted)])
        change = Change("removed", "Namespace", name, {**_view(space), "contains": found}, {}, None)
        result.update(changed=True, changes=[str(change)], diff=_difference(name, [change]))
        if check_mode:
            return result
        kube.delete("Namespace", None, name)
    if check_mode or not options["wait"]:
        return result
    last: Object = space

    def gone(entry: Object | None) -> bool:
        nonlocal last
        last = entry or last
        return entry is None

    if not until(kube, "Namespace", name, (name, f"{NAMESPACE_NAME}={name}"), gone, options["timeout"]):
        reasons = "; ".join(holders(last)) or "the API does not say by what"
        result["failed"] = True
        result["msg"] = f"tenant: {name}: not gone after {options['timeout']} s, held by: {reasons}"
        result["holders"] = holders(last)
    return result


def _kept(kube: Kube, name: str) -> list[str]:
    """Return the apps and volumes that a tenant has, as texts."""
    apps = {entry["metadata"]["labels"][APP] for kind in APP_KINDS for entry in kube.find(kind, name, APP)}
    records = kube.find("Secret", name, ledger.selector([], "release"), metadata=True)
    apps |= {entry["metadata"]["labels"][APP] for entry in records}
    claims = [entry["metadata"]["name"] for entry in kube.find("PersistentVolumeClaim", name, metadata=True)]
    found = [f"app {', '.join(sorted(apps))}"] if apps else []
    return found + ([f"volume claim {', '.join(sorted(claims))}"] if claims else [])
