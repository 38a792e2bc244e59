# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels and annotations of what belongs to an app or a tenant. Pure."""

from __future__ import annotations

PREFIX = "cloudbang.platform/"
APP = PREFIX + "app"
PROCESS = PREFIX + "process"
TENANT = PREFIX + "tenant"
DIGEST = PREFIX + "digest"
KIND = PREFIX + "kind"
RELEASE = PREFIX + "release"
INSTANCE = PREFIX + "instance"
STOPPED = PREFIX + "stopped-replicas"
RESOURCES = PREFIX + "scaled-resources"
RESTART = PREFIX + "restart-key"
STACK = PREFIX + "stack"


def labels(app: str, tenant: str, process: str | None = None) -> dict[str, str]:
    """Return the labels of everything that belongs to an app, or to one of its processes."""
    found = {
        "app.kubernetes.io/managed-by": "cloudbang",
        "app.kubernetes.io/name": app,
        APP: app,
        TENANT: tenant,
    }
    if process is not None:
        found.update({"app.kubernetes.io/component": process, PROCESS: process})
    return found
