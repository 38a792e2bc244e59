# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of an app's releases: one Secret each, whose creation is the lock between concurrent deployments."""

from __future__ import annotations

import base64
import getpass
import secrets
import socket

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import DIGEST, KIND, PREFIX, labels
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import ReleaseSpec, recorded
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import (
    BOUND,
    HEARTBEAT,
    MANAGER,
    MAX_MESSAGE,
    MESSAGE,
    STATUS,
    VERSION,
    Release,
    ReleaseError,
    read,
    timestamp,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import canonical
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, Unknown
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head

TYPE = PREFIX + "release"


def who() -> str:
    """Return the user and host that deploy."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def create(
    kube: Kube,
    app: str,
    tenant: str,
    version: int,
    digest: str,
    salt: str,
    spec: ReleaseSpec,
    replicas: dict[str, int],
    action: str = "deploy",
    source: int | None = None,
    from_tenant: str | None = None,
    from_app: str | None = None,
) -> Release:
    """Append a release and return it. ReleaseError names who was faster when the version exists already."""
    kept = {
        "app": app,
        "version": version,
        "digest": digest,
        "salt": salt,
        "spec": recorded(spec),
        "replicas": replicas,
        "action": action,
        "source": source,
        "from_tenant": from_tenant,
        "from_app": from_app,
        "created": timestamp(kube.now()),
        "by": who(),
        "id": secrets.token_hex(8),
    }
    secret = head("Secret", f"{app}.v{version}", tenant, labels(app, tenant))
    secret["metadata"]["labels"].update({KIND: "release", VERSION: str(version), DIGEST: digest, STATUS: "pending"})
    if spec.bindings:
        secret["metadata"]["labels"][BOUND] = "true"
    secret["metadata"]["annotations"] = {HEARTBEAT: f"{kube.now():.0f}"}
    secret["type"] = TYPE
    secret["immutable"] = True
    secret["data"] = {"release": base64.b64encode(canonical(kept)).decode()}
    lost: Unknown | None = None
    try:
        answer: Object | None = kube.create(secret, MANAGER)
    except Unknown as error:
        lost = error
        answer = kube.get("Secret", tenant, f"{app}.v{version}")
    except ApiError as error:
        if error.status != 409:
            raise
        answer = kube.get("Secret", tenant, f"{app}.v{version}")
    if answer is not None and (answer.get("data") or {}) == secret["data"]:
        made = read(answer, kube.warn)
        if made is not None:
            return made
    if lost is not None:
        raise lost
    raise _overtaken(app, tenant, version, answer)


def refuse_newer(kube: Kube, release: Release) -> None:
    """Raise ReleaseError when somebody has made a release after the one that was read as the newest."""
    version = release.version + 1
    answer = kube.get("Secret", release.tenant, f"{release.app}.v{version}")
    if answer is not None:
        raise _overtaken(release.app, release.tenant, version, answer)


def _overtaken(app: str, tenant: str, version: int, secret: Object | None) -> ReleaseError:
    said: list[str] = []
    other = read(secret, said.append) if secret is not None else None
    where = f"app {app} of tenant {tenant}"
    if said:
        wanted = f"no other Secret of that name, because release v{version} gets it: delete that Secret"
        return ReleaseError(f"{where}: {said[0]}; wanted {wanted}")
    by = f" by {other.by} at {other.created}" if other is not None else ""
    return ReleaseError(f"{where}: release v{version} has just been created{by}; run the task again")


def mark(kube: Kube, release: Release, status: str, message: str = "") -> None:
    """Record how a release turned out."""
    change = {
        "labels": {STATUS: status},
        "annotations": {MESSAGE: message[:MAX_MESSAGE] or None, HEARTBEAT: None},
    }
    try:
        kube.patch_metadata("Secret", release.tenant, release.name, change, MANAGER)
    except ApiError as error:
        if error.status != 404:
            raise


def beat(kube: Kube, release: Release) -> None:
    """Show that this release is still being rolled out."""
    change = {"annotations": {HEARTBEAT: f"{kube.now():.0f}"}}
    kube.patch_metadata("Secret", release.tenant, release.name, change, MANAGER)
