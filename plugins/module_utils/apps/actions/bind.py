# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.app_binding) does: give an app the address and credentials of others, in one release."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.bindings import (
    Binding,
    WantedBinding,
    resolve,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import plan_bindings
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import Node, ReleaseSpec
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import Release
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import BindRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube

from .context import Context, Outcome
from .dependents import Graph
from .deploy import conflicts, deploy_one, load


def run(context: Context, request: BindRequest) -> Outcome:
    """Bring the bindings of an app to their states."""
    kube, name, tenant = context.kube, request.name, request.tenant
    live = load(kube, tenant, [name])[name]
    newest = live.newest
    if newest is None:
        raise Invalid([Finding("name", f"no app {name} in tenant {tenant}", "an app that was deployed")])
    unbind = [entry.key for entry in request.bindings if entry.state == "absent"]
    present = [entry for entry in request.bindings if entry.state == "present"]
    wanted = {binding.node for binding in newest.spec.bindings if binding.key not in unbind}
    wanted |= {entry.node for entry in present}
    graph = Graph(kube, {(name, tenant): wanted})
    bindings, findings = resolve_all(kube, graph, present)
    context.hide(value for binding in bindings for value in binding.secret_env.values())
    findings += graph.cycles()
    if findings:
        raise Invalid(findings)
    plan = plan_bindings(live, newest, bindings, unbind, request.keep_releases)
    warnings: list[str] = []
    findings = conflicts(kube, [plan], set(), warnings)
    if findings:
        raise Invalid(findings)
    outcome = deploy_one(context, plan, request.rollout)
    outcome.values["app"]["bindings"] = [binding.summary() for binding in plan.spec.bindings]
    return outcome


def resolve_all(
    kube: Kube,
    graph: Graph,
    wanted: Iterable[WantedBinding],
    planned: Mapping[Node, tuple[ReleaseSpec, dict[str, str]]] | None = None,
) -> tuple[list[Binding], list[Finding]]:
    """Return the bindings that are wanted, and what keeps them from being made.

    planned has the spec and environment of the targets that the same task deploys.
    """
    bindings: list[Binding] = []
    findings: list[Finding] = []
    for entry in wanted:
        target = entry.node
        if planned and target in planned:
            spec, environment = planned[target]
        else:
            release = graph.release(target)
            if release is None:
                option = f"{entry.where}.target" if entry.where else "target"
                found = f"no app {target[0]} in tenant {target[1]}"
                findings.append(Finding(option, found, "an app that was deployed"))
                continue
            spec = release.spec
            environment = _environment(kube, release) if entry.credentials_from else {}
        binding, found_findings = resolve(entry, spec, environment)
        findings += found_findings
        if binding is not None:
            bindings.append(binding)
    return bindings, findings


def _environment(kube: Kube, release: Release) -> dict[str, str]:
    """Return the environment that a release gives itself."""
    name = release.spec.env_secret
    secret = kube.get("Secret", release.tenant, name) if name else None
    if name and secret is None:
        raise ApiError(404, f"app {release.tenant}/{release.app}: its Secret {name} was deleted; deploy the app again")
    data: dict[str, str] = (secret or {}).get("data") or {}
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in data.items()}
