# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of a stack: made when its apps run, removed before they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import RouteRequest, StackRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_spec import AppRoute
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import KubeError

from . import route
from .context import Context, Outcome


def names(routes: Iterable[AppRoute]) -> list[str]:
    return sorted(route.name for route in routes)


def settle(
    context: Context, request: StackRequest, wanted: Iterable[AppRoute], gone: Iterable[str], coming: bool = False
) -> list[Outcome]:
    """Make routes and remove others, and return the outcomes; the last one has failed when there is a failure.

    coming says that apps are still to be made, so that what their routes lead to cannot be looked at yet.
    """
    tenant, check_mode = request.tenant, context.check_mode
    ending = [_parsed({"name": name, "state": "absent"}, tenant) for name in sorted(gone)]
    outcomes: list[Outcome] = []
    for entry in (*ending, *wanted):
        values: dict[str, Any] = {"route": {"name": entry.name}, "changes": []}
        try:
            outcome = route.run(context, RouteRequest(entry, request.rollout.wait, request.rollout.timeout))
        except Invalid as error:
            if check_mode and not coming:
                raise
            outcome = Outcome(check_mode, values, [])
            if not check_mode:
                outcome.fail(f"route {tenant}/{entry.name}: {error}")
        except KubeError as error:
            outcome = Outcome(False, values, []).fail(f"route {tenant}/{entry.name}: {error}")
        outcomes.append(outcome)
        if outcome.failed:
            break
    return outcomes


def _parsed(options: dict[str, Any], tenant: str) -> AppRoute:
    request: RouteRequest = parse("app_route", {**options, "tenant": tenant})
    return request.route


def restore(context: Context, request: StackRequest, made: list[Outcome], record: dict[str, Any]) -> str:
    """Bring the routes back that a record has, and remove those that it has not; say what was not possible."""
    before = [_parsed(entry, request.tenant) for entry in (record.get("spec") or {}).get("routes") or []]
    known = names(before)
    new = [name for entry in made for name in [entry.values["route"]["name"]] if name not in known]
    outcomes = settle(context, request, before, new)
    return "; ".join(entry.message for entry in outcomes if entry.failed)
