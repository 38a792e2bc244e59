# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of builds in the cluster, and the configuration of its builder."""

from __future__ import annotations

import base64
import contextlib

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import builder, builds, token
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builder import Builder, read_builder
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builds import Build
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.job import BUILD, MANAGER
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.token import Signer
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import (
    ApiError,
    Kube,
    KubeError,
    if_allowed,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object

_ENABLE = "a cluster with the role builder: set cloudbang_builder_enabled, and run the playbook cloudbang.platform.site"
_PLACE = f"{builder.NAMESPACE}/{builder.CONFIG}"


class BuildError(PlatformError):
    """A build cannot run, or has failed."""


def configured(kube: Kube) -> Builder:
    """Return the builder of the cluster. Raises BuildError if there is none that can be used."""
    found = _configured(kube)
    if found is None:
        raise BuildError(f"builder: found no ConfigMap {_PLACE}, wanted {_ENABLE}")
    return found


def _configured(kube: Kube) -> Builder | None:
    entry = kube.get("ConfigMap", builder.NAMESPACE, builder.CONFIG)
    if entry is None:
        return None
    try:
        return read_builder(entry)
    except records.Wrong as error:
        wanted = "one that the role builder writes: run the playbook cloudbang.platform.site"
        raise BuildError(f"builder: ConfigMap {_PLACE}: {error}; wanted {wanted}") from error


def registry_of(kube: Kube) -> str | None:
    """Return the registry that images of builds are in; None if the credentials do not allow to know it, or the
    cluster does not build any more.
    """
    found = if_allowed(lambda: _configured(kube))
    return found.registry if found is not None else None


def signer(kube: Kube) -> Signer:
    """Return what signs tokens for the registry. Raises BuildError if it cannot be used."""
    place = f"{builder.NAMESPACE}/{builder.SIGNING}"
    entry = kube.get("Secret", builder.NAMESPACE, builder.SIGNING)
    if entry is None:
        raise BuildError(f"builder: found no Secret {place}, wanted {_ENABLE}")
    try:
        data = {key: base64.b64decode(str(value)) for key, value in (entry.get("data") or {}).items()}
        return token.read_signer(data)
    except (records.Wrong, ValueError) as error:
        raise BuildError(f"builder: Secret {place}: {error}") from error


def load(kube: Kube, tenant: str, app: str, registry: str | None) -> tuple[list[Build], int]:
    """Return the builds of an app, oldest first, and the number of the next one."""
    entries = kube.find("ConfigMap", tenant, releases.selector([app], BUILD))
    number = builds.next_number((entry["metadata"]["name"] for entry in entries), app)
    if number > builds.MAX_NUMBER:
        name = builds.record_name(app, number - 1)
        raise BuildError(f"app {tenant}/{app}: found the ConfigMap {name}, wanted no such number: delete it")
    return builds.builds(entries, app, registry, kube.warn), number


def free_number(kube: Kube, tenant: str, app: str, number: int) -> int:
    """Return the first number from this one on whose name no ConfigMap has."""
    while kube.get("ConfigMap", tenant, builds.record_name(app, number)) is not None:
        number += 1
    return number


def get(kube: Kube, tenant: str, app: str, number: int) -> Build:
    """Return a build by its number. Raises BuildError that names those there are."""
    registry = registry_of(kube)
    name = builds.record_name(app, number)
    entry = kube.get("ConfigMap", tenant, name)
    found = builds.read(entry, registry, kube.warn) if entry is not None else None
    if found is not None and found.app == app:
        return found
    history, _next = load(kube, tenant, app, registry)
    listed = ", ".join(str(build.number) for build in history) or "none: run app_build"
    where = f"app {tenant}/{app}: build"
    if entry is not None:
        raise BuildError(f"{where}: found {number}, whose ConfigMap {name} is not usable, wanted one of {listed}")
    raise BuildError(f"{where}: found {number}, wanted one of those that exist ({listed})")


def create(kube: Kube, build: Build) -> None:
    """Keep a build. Raises BuildError if something else has its name."""
    try:
        kube.create(builds.record(build), MANAGER)
    except ApiError as error:
        if error.status != 409:
            raise
        wanted = "the name to be free: delete it and run the task again"
        raise BuildError(f"build {build.number}: found another ConfigMap {build.name}, wanted {wanted}") from error


def tidy(kube: Kube, tenant: str, app: str, registry: str, keep: int) -> None:
    """Forget builds beyond those kept, but none that a release uses; never a reason to fail."""
    with contextlib.suppress(KubeError):
        secrets = kube.find("Secret", tenant, releases.selector([app], "release"))
        used = {release.spec.image for release in releases.releases(secrets, app, kube.warn)}
        history, _next = load(kube, tenant, app, registry)
        for build in builds.expired(history, keep, used):
            kube.delete("ConfigMap", tenant, build.name)


def live(entry: Object | None) -> bool:
    """Return whether an object exists and is not being deleted."""
    return entry is not None and not entry["metadata"].get("deletionTimestamp")
