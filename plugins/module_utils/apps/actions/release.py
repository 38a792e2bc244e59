# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `app_release` does: bring the content of an earlier release back, or that of another app's release over."""

from __future__ import annotations

import base64
from dataclasses import replace

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.bindings import Binding, with_bindings
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import (
    Live,
    Plan,
    plan_promotion,
    plan_release,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import (
    ReleasedBinding,
    ReleaseSpec,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import Release, ReleaseError
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import ReleaseRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import Content
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube

from .context import Context, Outcome
from .dependents import Graph
from .deploy import conflicts, deploy_one, load, namespaces, share_ports
from .tenant import make as make_tenant


def run(context: Context, request: ReleaseRequest) -> Outcome:
    """Make the content of another release the active one, by a new release."""
    kube, name, tenant = context.kube, request.name, request.tenant
    live = load(kube, tenant, [name])[name]
    absent: set[str] = set()
    findings: list[Finding] = []
    warnings: list[str] = []
    if request.state == "promote":
        findings, absent = namespaces(kube, [live])
        source, plan = _promotion(kube, live, request)
        targets = {binding.node for binding in plan.spec.bindings}
        findings += Graph(kube, {(name, tenant): targets}).cycles() if targets else []
        unbound = ", ".join(sorted(_targets(source.spec) - _targets(plan.spec)))
        if unbound and request.scope == "all":
            there = f"as {source.app} is in tenant {source.tenant}"
            warnings.append(f"app {tenant}/{name}: not bound to {unbound}, {there}; use app_binding for that")
    else:
        source, plan = _rollback(live, request)
    findings += conflicts(kube, [plan], absent, warnings)
    if plan.blue_green and not request.rollout.wait:
        found = f"false, and v{source.version} is blue_green"
        findings.append(Finding("wait", found, "true, because blue_green switches after the wait"))
    if findings:
        raise Invalid(findings)
    if absent and not context.check_mode:
        make_tenant(kube, tenant)
    outcome = deploy_one(context, plan, request.rollout)
    outcome.values["app"].update(from_version=source.version, from_tenant=plan.from_tenant, from_app=plan.from_app)
    outcome.warnings = warnings
    return outcome


def _rollback(live: Live, request: ReleaseRequest) -> tuple[Release, Plan]:
    try:
        source = releases.target(live.releases, request.version or "last_good")
    except ReleaseError as error:
        raise ReleaseError(f"app {live.tenant}/{live.name}: {error}") from error
    if live.newest is not None and live.newest.digest == source.digest:
        source = live.newest
    return source, plan_release(live, source, request.keep_releases)


def _promotion(kube: Kube, live: Live, request: ReleaseRequest) -> tuple[Release, Plan]:
    """Return the release of the other app that is meant, and the plan that brings it over.

    With its content comes the key of its fingerprints, so both releases have the same digest unless names or bindings
    differ. Bindings are those of a tenant: within one they come along, from another they do not.
    """
    name, origin, there = request.name, request.from_tenant, request.from_app
    history = releases.releases(kube.find("Secret", origin, releases.selector([there], "release")), there, kube.warn)
    try:
        source = releases.promotable(history, request.version)
    except ReleaseError as error:
        raise ReleaseError(f"app {origin}/{there}: {error}") from error
    if request.scope == "image":
        if live.newest is None:
            found = f"image, and no release of app {live.tenant}/{name}"
            raise Invalid([Finding("scope", found, "all, or an app that was deployed")])
        spec, salt = replace(live.newest.spec, image=source.spec.image), live.newest.salt
        contents: list[Content] = []
    else:
        salt = source.salt
        if origin == live.tenant:
            bindings = [_binding(kube, origin, there, binding) for binding in source.spec.bindings]
            spec, contents = with_bindings(source.spec, [], name, salt, bindings)
        else:
            kept = live.newest.spec.bindings if live.newest else ()
            same_key = live.newest is not None and live.newest.salt == salt
            bindings = [] if same_key else [_binding(kube, live.tenant, name, binding) for binding in kept]
            spec, contents = with_bindings(source.spec, kept, name, salt, bindings)

        def moved(called: str | None) -> str | None:
            """Return the name of a Secret here, which is to have what one of the other app has."""
            if not called:
                return None
            own = name + called.removeprefix(there)
            if own not in live.contents:
                contents.append(_content(kube, origin, there, called)._replace(name=own))
            return own

        spec = replace(spec, env_secret=moved(source.spec.env_secret), files_secret=moved(source.spec.files_secret))
    if spec.on_hosts:
        share_ports(kube, [live])
    return source, plan_promotion(live, source, spec, salt, contents, request.keep_releases)


def _targets(spec: ReleaseSpec) -> set[str]:
    return {binding.target for binding in spec.bindings}


def _content(kube: Kube, tenant: str, app: str, name: str) -> Content:
    """Return what a Secret of a release has. Invalid when it is gone."""
    secret = kube.get("Secret", tenant, name)
    if secret is None:
        raise Invalid([Finding(f"app {tenant}/{app}", f"no Secret {name}, which its release refers to", "it to exist")])
    return Content(name, {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()})


def _binding(kube: Kube, tenant: str, app: str, binding: ReleasedBinding) -> Binding:
    """Return the binding that made a binding in a release of an app."""
    data = _content(kube, tenant, app, binding.secret).data
    gone = sorted(set(binding.secret_env) - set(data))
    if gone:
        found = f"no {gone[0]} in Secret {binding.secret}, which its release refers to"
        raise Invalid([Finding(f"app {tenant}/{app}", found, "it to exist: bind the app again")])
    secret_env = {name: data[name].decode("utf-8", "replace") for name in binding.secret_env}
    return Binding(*binding.key, dict(binding.env), secret_env)
