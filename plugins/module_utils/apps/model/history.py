# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed from one release of an app to the next: names, never values of environment or files. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .release_spec import ReleaseSpec
from .releases import Release


def history(releases: list[Release]) -> list[dict[str, Any]]:
    """Return releases, given oldest first, as results show them, each with its changes to the one before."""
    shown = []
    before: Release | None = None
    for release in releases:
        first, follows = release.version == 1, before is not None and before.version == release.version - 1
        changed = changes(before.spec if before else None, release.spec) if first or follows else None
        shown.append({**release.summary(), "changes": changed})
        before = release
    return shown


def changes(before: ReleaseSpec | None, after: ReleaseSpec) -> dict[str, Any]:
    """Return what differs between the specs of two releases; without one before, all that there is."""
    old, new = _parts(before) if before else {}, _parts(after)
    images = before.image if before else None, after.image
    result: dict[str, Any] = {"image": {"before": images[0], "after": images[1]} if images[0] != images[1] else None}
    result.update({part: _differing(old.get(part, {}), new[part]) for part in new})
    return result


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*old, *new} if name not in old or name not in new or old[name] != new[name])


def _parts(spec: ReleaseSpec) -> dict[str, dict[str, Any]]:
    """Return the parts of a spec whose changes are told by name."""
    # Secrets carry a mark, so a name that becomes secret differs too.
    secrets = {name: ("secret", mark) for name, mark in spec.secret_env.items()}
    settings = {
        "type": spec.type,
        "strategy": spec.strategy,
        "drain": spec.drain,
        "grace": spec.grace,
        "image_pull_secrets": spec.image_pull_secrets,
        "restart_key": spec.restart_key,
    }
    return {
        "env": {**spec.env, **secrets},
        "files": {entry.path: entry for entry in spec.files},
        "processes": {process.name: process for process in spec.processes},
        "bindings": {f"{binding.tenant}/{binding.target}": binding for binding in spec.bindings},
        "settings": {name: value for name, value in settings.items() if value not in (None, (), "")},
    }
