# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to the objects of a tenant."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_annotations import (
    DOMAINS,
    IMAGES,
    PRIORITY_CLASSES,
    TOLERATIONS,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_names import listed
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import KINDS, MANAGER, PEERS
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import MERGE, ApiError, Kube, KubeError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object, path

# The name of who writes fields that the tenant's own objects do not have, so that later runs leave them alone.
KEEPER = f"{MANAGER}-kept"
ATTEMPTS = 5
ANNOTATIONS = {
    "peers": PEERS,
    "domains": DOMAINS,
    "tolerations": TOLERATIONS,
    "priority_classes": PRIORITY_CLASSES,
    "images": IMAGES,
}


class Change(NamedTuple):
    """One object that is not as it should be. verb: created, changed, replaced, removed, started or finished.

    wanted is what to apply; patch, when there is one, what to merge into the object instead. kept is merged into the
    object after it was applied. pause: seconds to wait before.
    """

    verb: str
    kind: str
    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    wanted: Object | None
    patch: Object | None = None
    kept: Object | None = None
    pause: float = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.verb}"


def view_of(entry: Object) -> dict[str, Any]:
    """Return what counts of an object."""
    shown = {key: value for key, value in entry.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    view = {"labels": entry["metadata"].get("labels") or {}, **shown}
    lists = {name: listed(entry, annotation) for name, annotation in ANNOTATIONS.items()}
    return {**view, **{name: ",".join(entries) for name, entries in lists.items() if entries}}


def make(kube: Kube, name: str, change: Change) -> None:
    """Make a change to a tenant."""
    time.sleep(change.pause)
    if change.patch is not None:
        kind, namespace = (change.kind, name) if change.kind in KINDS else ("Namespace", None)
        # What is gone reserves nothing and gives no rights.
        _merge(kube, path(kind, namespace, change.name), change.patch, MANAGER)
        return
    if change.verb in ("replaced", "removed"):
        _delete(kube, name, change)
    if change.wanted is not None:
        kube.apply(change.wanted, MANAGER)
    if change.kept is not None:
        _merge(kube, path(change.kind, name, change.name), change.kept, KEEPER)


def _merge(kube: Kube, where: str, patch: Object, manager: str) -> None:
    try:
        kube.request("PATCH", where, {"fieldManager": manager}, patch, content_type=MERGE)
    except ApiError as error:
        if error.status != 404:
            raise


def _delete(kube: Kube, name: str, change: Change) -> None:
    """Delete an object. A service account has to be gone, which members could put off with a finalizer."""
    kube.delete(change.kind, name, change.name)
    if change.kind != "ServiceAccount":
        return
    for _attempt in range(ATTEMPTS):
        if kube.get(change.kind, name, change.name) is None:
            return
        _merge(kube, path(change.kind, name, change.name), {"metadata": {"finalizers": None}}, MANAGER)
        kube.delete(change.kind, name, change.name)
    raise KubeError(f"found it with a finalizer after {ATTEMPTS} attempts; wanted it to be gone; run the task again")
