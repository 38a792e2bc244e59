# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of a stack: made when its apps run, removed before they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube, KubeError

from . import route

Result = dict[str, Any]


def names(wanted: Iterable[dict[str, Any]]) -> list[str]:
    """Return the names of routes, given by their checked options."""
    return sorted(entry["route"].name for entry in wanted)


def settle(
    kube: Kube,
    wanted: list[dict[str, Any]],
    gone: Iterable[str],
    options: dict[str, Any],
    check_mode: bool,
    coming: bool = False,
) -> list[Result]:
    """Make routes and remove others, and return the outcomes; the last one has failed when there is a failure.

    coming says that apps are still to be made, so that what their routes lead to cannot be looked at yet.
    """
    tenant = options["tenant"]
    entries = [parse("app_route", {"tenant": tenant, "name": name, "state": "absent"}) for name in sorted(gone)]
    outcomes: list[Result] = []
    for entry in [*entries, *wanted]:
        settings = {**entry, **{key: options[key] for key in ("hidden", "wait", "timeout")}}
        name = entry["route"].name
        try:
            outcome = route.run(kube, settings, check_mode)
        except Invalid as error:
            if check_mode and not coming:
                raise
            outcome = {"changed": True, "route": {"name": name}, "changes": [], "diff": []}
            if not check_mode:
                outcome.update(changed=False, failed=True, msg=f"route {tenant}/{name}: {error}")
        except KubeError as error:
            outcome = {"changed": False, "route": {"name": name}, "changes": [], "diff": [], "failed": True}
            outcome["msg"] = f"route {tenant}/{name}: {error}"
        outcomes.append(outcome)
        if outcome.get("failed"):
            break
    return outcomes


def restore(kube: Kube, made: list[Result], record: dict[str, Any], options: dict[str, Any]) -> str:
    """Bring the routes back that a record has, and remove those that it has not; say what was not possible."""
    before = [
        parse("app_route", {**entry, "tenant": options["tenant"]})
        for entry in (record.get("spec") or {}).get("routes") or []
    ]
    known = names(before)
    new = [entry["route"]["name"] for entry in made if entry["route"]["name"] not in known]
    outcomes = settle(kube, before, new, options, False)
    return "; ".join(entry["msg"] for entry in outcomes if entry.get("failed"))
