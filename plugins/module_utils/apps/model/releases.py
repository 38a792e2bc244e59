# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of an app, as their Secrets keep them: read, compared and chosen from. Pure.

The content of a release never changes; its status is a label:
pending (being rolled out), good (ran), failed, superseded (replaced before it was seen running).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Warn, ignored

from .labels import APP, KIND, PREFIX
from .record_schemas import HEARTBEAT_TEXT, RELEASE, STATUSES
from .release_spec import ReleaseSpec, read_spec

STATUS = PREFIX + "status"
VERSION = PREFIX + "version"
MESSAGE = PREFIX + "message"
HEARTBEAT = PREFIX + "heartbeat"
# Releases with bindings, so that who depends on an app is found without reading all releases of a cluster.
BOUND = PREFIX + "bound"
MANAGER = "cloudbang-deploy"
# Who deploys renews its heartbeat this often; without one for three times as long it counts as gone.
HEARTBEAT_SECONDS = 5.0
MAX_MESSAGE = 2000


class ReleaseError(PlatformError):
    """The releases do not allow what is asked for."""


@dataclass(frozen=True)
class Release:
    """One release. `replicas` are those at the creation of a process."""

    app: str
    tenant: str
    version: int
    digest: str
    salt: str
    spec: ReleaseSpec
    replicas: dict[str, int]
    action: str
    source: int | None
    created: str
    by: str
    status: str
    message: str
    heartbeat: float
    from_tenant: str | None = None
    from_app: str | None = None

    @property
    def name(self) -> str:
        return f"{self.app}.v{self.version}"

    def summary(self) -> dict[str, Any]:
        """Return what results show of a release."""
        return {
            "version": self.version,
            "status": self.status,
            "image": self.spec.image,
            "digest": self.digest,
            "action": self.action,
            "from_version": self.source,
            "from_tenant": self.from_tenant,
            "from_app": self.from_app,
            "created": self.created,
            "by": self.by,
            "message": self.message,
        }


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as UTC text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def new_salt() -> str:
    """Return the key under which the contents of one app are fingerprinted."""
    return secrets.token_hex(16)


def read(secret: Object, warn: Warn = ignored) -> Release | None:
    """Return the release a Secret holds. When it holds none that can be used, None, and a warning."""
    return records.read("Secret", secret, _release, warn)


def _release(secret: Object) -> Release:
    meta = records.metadata_of(secret)
    kept = records.checked(records.parsed(records.data_of(secret, "release"), records.MAX_BYTES), RELEASE)
    labels, annotations = records.part(meta, "labels"), records.part(meta, "annotations")
    expected = f"{kept['app']}.v{kept['version']}"
    if meta.get("name") != expected:
        raise records.Wrong(f"found release v{kept['version']} of app {kept['app']}, wanted it in {expected}")
    return Release(
        app=kept["app"],
        tenant=records.checked(meta.get("namespace"), records.text(63), "namespace"),
        version=kept["version"],
        digest=kept["digest"],
        salt=kept["salt"],
        spec=read_spec(kept["spec"]),
        replicas=kept["replicas"],
        action=kept["action"],
        source=kept["source"],
        created=kept["created"],
        by=kept["by"],
        status=records.checked(labels.get(STATUS, "pending"), records.choice(*STATUSES), f"label {STATUS}"),
        message=records.checked(annotations.get(MESSAGE, ""), records.text(), f"annotation {MESSAGE}")[:MAX_MESSAGE],
        heartbeat=float(records.checked(annotations.get(HEARTBEAT) or "0", HEARTBEAT_TEXT, f"annotation {HEARTBEAT}")),
        from_tenant=kept.get("from_tenant"),
        from_app=kept.get("from_app"),
    )


def releases(objects: Iterable[Object], app: str, warn: Warn = ignored) -> list[Release]:
    """Return the releases of an app among Secrets, oldest first."""
    return histories(objects, warn).get(app, [])


def histories(objects: Iterable[Object], warn: Warn = ignored) -> dict[str, list[Release]]:
    """Return the releases of each app among Secrets, oldest first. Each Secret is read once."""
    found: dict[str, list[Release]] = {}
    for entry in objects:
        release = read(entry, warn)
        if release:
            found.setdefault(release.app, []).append(release)
    return {app: sorted(those, key=lambda release: release.version) for app, those in found.items()}


def refuse_concurrent(newest: Release | None, now: float) -> None:
    """Raise ReleaseError when somebody else is rolling out the newest release right now."""
    if newest is None or newest.status != "pending":
        return
    age = now - newest.heartbeat
    # Both times are the API's, so a heartbeat from the future is nobody's.
    if abs(age) < 3 * HEARTBEAT_SECONDS:
        raise ReleaseError(
            f"app {newest.app} of tenant {newest.tenant}: release v{newest.version} is being rolled out by {newest.by} "
            f"since {newest.created} (last heartbeat {max(age, 0):.0f} s ago); wanted: wait until it has finished"
        )


def last_good(history: list[Release], before: int) -> Release | None:
    """Return the newest release below a version that ran."""
    good = [release for release in history if release.status == "good" and release.version < before]
    return good[-1] if good else None


def target(history: list[Release], version: str) -> Release:
    """Return the release a rollback means. ReleaseError names the ones there are.

    `last_good` is the newest that ran with other content than the newest release; when the newest release came from
    a rollback and ran, it is that one, so that rolling back twice changes nothing.
    """
    if not history:
        raise ReleaseError("found no release, wanted an app that was deployed")
    newest = history[-1]
    if version == "last_good":
        if newest.action == "rollback" and newest.status in ("good", "pending"):
            return newest
        good = [entry for entry in history[:-1] if entry.status == "good" and entry.digest != newest.digest]
        if not good:
            raise ReleaseError(f"last_good: found {_listed(history)}, wanted an earlier release that ran")
        return good[-1]
    found = _numbered(history, version)
    return found if found.digest == newest.digest else _that_ran(history, found)


def promotable(history: list[Release], version: str | None) -> Release:
    """Return the release to promote, by default the newest; ReleaseError when it did not run.

    `last_good` is the newest that ran.
    """
    if not history:
        raise ReleaseError("found no release, wanted an app that was deployed")
    if version == "last_good":
        good = last_good(history, history[-1].version + 1)
        if good is None:
            raise ReleaseError(f"last_good: found {_listed(history)}, wanted a release that ran")
        return good
    return _that_ran(history, _numbered(history, version) if version else history[-1])


def _numbered(history: list[Release], version: str) -> Release:
    number = int(version.lstrip("v"))
    found = [entry for entry in history if entry.version == number]
    if not found:
        raise ReleaseError(f"version: found {number}, wanted one of {_listed(history)}")
    return found[0]


def _that_ran(history: list[Release], found: Release) -> Release:
    if found.status != "good":
        raise ReleaseError(
            f"version: found v{found.version}, which is {found.status}, wanted one that ran: {_listed(history)}"
        )
    return found


def _listed(history: list[Release]) -> str:
    return ", ".join(f"v{entry.version} ({entry.status})" for entry in history)


def expired(history: list[Release], keep: int) -> list[Release]:
    """Return the releases to remove: all but the newest `keep` and the newest that ran."""
    good = [release for release in history if release.status == "good"]
    return [release for release in history[:-keep] if release not in good[-1:]]


def selector(apps: Iterable[str], kind: str | None = None) -> str:
    """Return the label selector for the objects of apps, or of all apps when there are too many to name."""
    named = sorted(apps)
    if len(named) == 1:
        chosen = f"{APP}={named[0]}"
    elif 1 < len(named) <= 40:
        chosen = f"{APP} in ({','.join(named)})"
    else:
        chosen = APP
    return f"{chosen},{KIND}={kind}" if kind else chosen
