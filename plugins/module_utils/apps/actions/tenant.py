# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.tenant) does: look at a tenant's objects, change those that differ, remove what is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import releases
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import APP, KIND, TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import KINDS as APP_KINDS
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import TenantRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import KINDS as ROUTE_KINDS
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import Claim, claims
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_rules import EVERYTHING
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_annotations import (
    DOMAINS,
    RESERVED_NAMES,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_names import (
    beginning,
    covered,
    domain_findings,
    listed,
    reserved,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import (
    KINDS,
    LOADBALANCER,
    MANAGER,
    NAME,
    NAMESPACE_NAME,
    flow_name,
    foreign,
    foreign_subjects,
    gateways_of,
    grants_membership,
    holders,
    managed,
    members_of,
    namespace_findings,
    objects,
    ours,
    subject,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_spec import (
    Tenant,
    name_findings,
    tenant_of,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import (
    Kube,
    KubeError,
    Unknown,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import until

from .changes import Change, view_of
from .changes import make as make_change
from .context import Context, Outcome
from .route_claims import KINDS as CLAIMING
from .route_claims import in_tenant
from .tenant_accounts import lost, recreated, recreating

# Requests about one tenant that are under way at the same time.
PARALLEL = 8
TOKENS = "type=kubernetes.io/service-account-token"
# Kinds of objects that the gateway knows by TENANT-NAME.
JOINED = ("Service", "Ingress", *(kind for kind in ROUTE_KINDS if kind != "Secret"))
Key = tuple[str, str]


def run(context: Context, request: TenantRequest) -> Outcome:
    """Bring a tenant to its state."""
    kube, name = context.kube, request.name
    spaces = {entry["metadata"]["name"]: entry for entry in kube.find("Namespace", None, TENANT) if managed(entry)}
    space = spaces.get(name) or kube.get("Namespace", None, name)
    findings = namespace_findings(space, "name", request.adopt)
    if findings:
        raise Invalid(findings)
    if request.state == "absent":
        return _remove(context, request, space, spaces)
    if space is not None and space["metadata"].get("deletionTimestamp"):
        wanted = "a namespace that is not being deleted; wait until it is gone"
        raise Invalid([Finding("name", f"namespace {name} in state Terminating", wanted)])
    tenant = tenant_of(request)
    findings = domain_findings(name, request.domains, spaces.values())
    reserving = _reserving({**spaces, **({name: space} if space is not None else {})}, {*spaces, name})
    alike = _alike(kube, reserving)
    is_new = space is None or not managed(space)
    findings += _in_the_way(name, alike) if is_new else []
    if findings:
        raise Invalid(findings)
    gateways = gateways_of(kube.find("Node", None, LOADBALANCER), kube.warn) if tenant.network == "isolated" else []
    wanted_objects = objects(tenant, gateways)
    live = _live(kube, name, space, wanted_objects)
    changes = [*reserving, *_changes(kube, tenant, wanted_objects, live)]
    if space is None:
        changes += _reserving({name: {"metadata": {"name": name}}}, {*spaces, name})
    described = {
        "name": name,
        "pod_security": tenant.pod_security,
        "quota": tenant.quota,
        "objects": tenant.objects,
        "limits": tenant.limits,
        "network": tenant.network,
        "peers": list(tenant.peers),
        "gateways": gateways,
        "domains": list(tenant.domains),
        "tolerations": list(tenant.tolerations),
        "priority_classes": list(tenant.priority_classes),
        "images": list(tenant.images),
        "members": [member._asdict() for member in tenant.members],
    }
    warnings = _warnings(kube, tenant, gateways, space, live, changes)
    warnings += [
        f"tenant {other}: {what} has a name that the gateway mistakes for one of tenant {other}-{start[:-1]}; delete it"
        for other, start, what in alike
    ]
    values = {"tenant": described, "changes": [str(change) for change in changes]}
    outcome = Outcome(bool(changes), values, _difference(name, changes), warnings)
    if not context.check_mode:
        _carry_out(
            kube,
            name,
            changes,
            outcome,
            len(reserving) if is_new else 0,
            lambda: _in_the_way(name, _alike(kube, reserving)),
        )
        if request.wait and not outcome.failed:
            _wait_for_quota(kube, tenant, live, request.timeout, outcome)
    return outcome


def make(kube: Kube, name: str) -> None:
    """Make a tenant that is nothing but a name, as its own module does, unless there is a namespace of the name."""
    findings = name_findings("tenant", name)
    if findings:
        raise Invalid(findings)
    if kube.get("Namespace", None, name) is not None:
        return
    outcome = run(Context(kube), parse("tenant", {"name": name}))
    if outcome.failed:
        raise KubeError(f"{outcome.message}; wanted: a complete tenant; run the module tenant")


def _reserving(spaces: dict[str, Object], names: set[str]) -> list[Change]:
    """Return which Namespaces have to reserve other names than they do. names: the tenants that there will be."""
    changes = []
    for name, prefixes in reserved(names).items():
        if name not in spaces:
            continue
        before = ",".join(listed(spaces[name], RESERVED_NAMES))
        after = ",".join(prefixes)
        if before == after:
            continue
        verb = "removed" if not after else "changed" if before else "created"
        patch = {"metadata": {"annotations": {RESERVED_NAMES: after or None}}}
        shown = [{"reserved": text} if text else {} for text in (before, after)]
        changes.append(Change(verb, "Reserved names of", name, shown[0], shown[1], None, patch))
    return changes


def _alike(kube: Kube, reserving: Iterable[Change]) -> list[tuple[str, str, str]]:
    """Return which objects have names that are about to be reserved: the tenant, the reserved beginning, what it is."""
    found = []
    for change in reserving:
        before, after = (set((view.get("reserved") or "").split(",")) for view in (change.before, change.after))
        added = sorted(after - before - {""})
        for kind in JOINED if added else ():
            names = [entry["metadata"]["name"] for entry in in_tenant(kube, kind, change.name, metadata=True)]
            found += [(change.name, start, f"{kind} {one}") for start in added for one in beginning(names, [start])]
    return found


def _in_the_way(name: str, alike: Iterable[tuple[str, str, str]]) -> list[Finding]:
    """Return what keeps a namespace from becoming a tenant: names in it, or in others, that mean two objects."""
    wanted = "another name for the tenant, or for that object"
    return [
        Finding(
            "name",
            f"{what} of tenant {tenant}, which the gateway would mistake for one of {tenant}-{start[:-1]}",
            wanted,
        )
        for tenant, start, what in alike
        if name in (tenant, f"{tenant}-{start[:-1]}")
    ]


def _warnings(
    kube: Kube,
    tenant: Tenant,
    gateways: list[str],
    space: Object | None,
    live: dict[Key, Object],
    changes: list[Change],
) -> list[str]:
    """Return what an administrator should know of a tenant although it is as the task says."""
    texts = []
    if tenant.network == "isolated" and not gateways:
        texts.append(f"found no node with the label {LOADBALANCER}, so there is no address to allow the gateway by")
    strong = [one.name for one in tenant.members if (one.kind, one.role) == ("service_account", "owner")]
    if strong:
        texts.append(
            f"service account {', '.join(strong)} has the role owner, and so has every member that starts pods; give "
            "it the role developer"
        )
    if space is not None:
        texts += _tokens_ended(kube, tenant, live, changes)
        lost = [domain for domain in listed(space, DOMAINS) if not covered(domain, tenant.domains)]
        texts += _still_used(kube, tenant, lost) if lost else []
        gone = {(change.kind, change.name) for change in changes if change.patch is None}
        kept = [(key[0], entry) for key, entry in live.items() if key not in gone and key[0] in ("Role", "Secret")]
        kept += [
            (key[0], entry)
            for key, entry in live.items()
            if key[0] == "RoleBinding" and key not in gone and not ours(entry)
        ]
        texts += foreign(kept)
    return [f"tenant {tenant.name}: {text}" for text in texts]


def _tokens_ended(kube: Kube, tenant: Tenant, live: dict[Key, Object], changes: list[Change]) -> list[str]:
    """Return warnings: which tokens end, and which pods get new ones, when service accounts are recreated."""
    made = {one.name for one in changes if (one.kind, one.verb) == ("ServiceAccount", "created")}
    anew = [one.name for one in changes if (one.kind, one.verb) == ("ServiceAccount", "removed") and one.name in made]
    texts = []
    if anew:
        takers = ", ".join(lost(tenant, live, changes)) or "a removed member"
        texts.append(
            f"tokens of service account {', '.join(anew)} end, since {takers} could have taken them; programs that use "
            "one need a new kubeconfig (tenant_kubeconfig)"
        )
    pods = [
        entry["metadata"]["name"]
        for name in anew
        for entry in kube.find("Pod", tenant.name, metadata=True, fieldSelector=f"spec.serviceAccountName={name}")
    ]
    if pods:
        texts.append(
            f"pod {', '.join(sorted(pods))} gets a new token of these, in an hour at most; restart those that need one "
            "now, and delete those that nobody needs"
        )
    return texts


def _still_used(kube: Kube, tenant: Tenant, lost: list[str]) -> list[str]:
    """Return which objects still take requests for domains that the tenant no longer has."""
    found: list[Claim] = []
    for kind in CLAIMING:
        found += [claim for entry in in_tenant(kube, kind, tenant.name) for claim in claims(entry)]
    used = {
        f"{' '.join(claim.owner)} still has the domain {claim.domain}, which the tenant no longer has; remove it there"
        for claim in found
        if claim.domain != EVERYTHING and covered(claim.domain, lost) and not covered(claim.domain, tenant.domains)
    }
    return sorted(used)


def _live(kube: Kube, name: str, space: Object | None, wanted: list[Object]) -> dict[Key, Object]:
    """Return the objects there are: those of the tenant, what gives rights in it, and what has a name that is wanted.

    Of Secrets only those with tokens of service accounts.
    """
    live: dict[Key, Object] = {}
    asked: list[tuple[str, Callable[[], list[Object]]]] = []
    if space is not None:
        live["Namespace", name] = space
        asked += [(kind, partial(kube.find, kind, name)) for kind in (*KINDS, "Role")]
        asked.append(("Secret", partial(kube.find, "Secret", name, metadata=True, fieldSelector=TOKENS)))

    def one(kind: str, called: str) -> list[Object]:
        found = kube.get(kind, None, called)
        return [found] if found is not None else []

    asked += [
        (entry["kind"], partial(one, entry["kind"], entry["metadata"]["name"]))
        for entry in wanted
        if entry["kind"] in ("ClusterRole", "FlowSchema")
    ]
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = pool.map(lambda entry: (entry[0], entry[1]()), asked)
        for kind, entries in answers:
            live.update({(kind, entry["metadata"]["name"]): entry for entry in entries})
    return live


def _changes(kube: Kube, tenant: Tenant, wanted: list[Object], live: dict[Key, Object]) -> list[Change]:
    """Return what has to change. The API itself says what an object would become, so defaults do not count.

    What ends rights comes first, so that a run which stops halfway leaves no more of them than it found.
    """

    def one(entry: Object) -> Change | None:
        key = (entry["kind"], entry["metadata"]["name"])
        now = live.get(key)
        if now is None:
            return Change("created", *key, {}, view_of(entry), entry)
        if now.get("roleRef") != entry.get("roleRef"):
            return Change("replaced", *key, view_of(now), view_of(entry), entry)
        after = kube.apply(entry, MANAGER, dry=True)
        return Change("changed", *key, view_of(now), view_of(after), entry) if view_of(after) != view_of(now) else None

    with ThreadPoolExecutor(PARALLEL) as pool:
        changes = [change for change in pool.map(one, wanted) if change is not None]
    names = {(entry["kind"], entry["metadata"]["name"]) for entry in wanted}
    over = [Change("removed", *key, view_of(now), {}, None) for key, now in live.items() if _is_over(key, now, names)]
    ended = _ended(tenant, live, names, {(change.kind, change.name) for change in over})
    changes = [*ended, *changes, *over]
    if lost(tenant, live, changes) or recreating(live.get(("Namespace", tenant.name))):
        return recreated(tenant.name, wanted, live, changes)
    return changes


def _is_over(key: Key, now: Object, names: set[Key]) -> bool:
    """Say whether an object is one of the tenant's that it no longer has, or makes members of others than those."""
    if key[0] not in KINDS or key in names:
        return False
    return ours(now) or (key[0] == "RoleBinding" and grants_membership(now))


def _ended(tenant: Tenant, live: dict[Key, Object], names: set[Key], over: set[Key]) -> list[Change]:
    """Return the changes to RoleBindings of others that end the rights of those who are no longer members."""
    bindings = {key: entry for key, entry in live.items() if key[0] == "RoleBinding"}
    kept = {(member.kind, member.name) for member in tenant.members}
    gone = [
        subject(tenant.name, member.kind, member.name)
        for member in members_of(bindings.values())
        if (member.kind, member.name) not in kept
    ]
    changes = []
    for key, entry in bindings.items():
        left = foreign_subjects(entry, gone)
        if key in names or key in over or len(left) == len(entry.get("subjects") or []):
            continue
        view = view_of(entry)
        if left:
            changes.append(Change("changed", *key, view, {**view, "subjects": left}, None, {"subjects": left}))
        else:
            changes.append(Change("removed", *key, view, {}, None))
    return changes


def _difference(name: str, changes: Iterable[Change]) -> list[dict[str, Any]]:
    before = {f"{change.kind} {change.name}": change.before for change in changes if change.before}
    after = {f"{change.kind} {change.name}": change.after for change in changes if change.after}
    header = f"tenant {name}"
    if before == after:
        return []
    return [{"before_header": header, "after_header": header, "before": before, "after": after}]


def _carry_out(
    kube: Kube,
    name: str,
    changes: list[Change],
    outcome: Outcome,
    reserved_by: int = 0,
    late: Callable[[], list[Finding]] = list,
) -> None:
    """Make the changes; what goes wrong is put into the outcome, with what had been done by then.

    After the first ones, which reserve names, `late` says what came in between.
    """
    for number, change in enumerate(changes):
        try:
            findings = late() if reserved_by and number == reserved_by else []
            if findings:
                outcome.changed, outcome.values["changes"] = True, [str(entry) for entry in changes[:number]]
                outcome.fail(f"tenant: {name}: {'; '.join(map(str, findings))}")
                return
            make_change(kube, name, change)
        except KubeError as error:
            made = [str(entry) for entry in changes[:number]]
            outcome.changed, outcome.values["changes"] = bool(made), made
            what = f"{change.kind} {change.name} could not be {change.verb}"
            outcome.fail(f"tenant: {name}: {what}: {error}", isinstance(error, Unknown))
            return


def _wait_for_quota(kube: Kube, tenant: Tenant, live: dict[Key, Object], timeout: float, outcome: Outcome) -> None:
    """Wait until the quota is in force: the API counts from the moment its controller has looked at it."""

    def counted(found: Object | None) -> bool:
        hard = ((found or {}).get("spec") or {}).get("hard")
        return found is not None and (found.get("status") or {}).get("hard") == hard

    if f"ResourceQuota {NAME} changed" not in outcome.values["changes"] and counted(live.get(("ResourceQuota", NAME))):
        return

    def in_force(entries: list[Object]) -> bool:
        return counted(next((entry for entry in entries if entry["metadata"]["name"] == NAME), None))

    if not until(kube, "ResourceQuota", tenant.name, f"{KIND}=tenant", in_force, timeout):
        outcome.fail(
            f"tenant: {tenant.name}: ResourceQuota {NAME} is not in force after {timeout} s; "
            "wanted: kube-controller-manager to run"
        )


def _remove(context: Context, request: TenantRequest, space: Object | None, spaces: dict[str, Object]) -> Outcome:
    """Delete a tenant with everything in it, and what there is of it outside of its namespace."""
    kube, name = context.kube, request.name
    changes = []
    if space is not None and not space["metadata"].get("deletionTimestamp"):
        found = _kept(kube, name)
        if found and not request.force:
            wanted = "a tenant without apps and volumes, or force: true to delete them"
            raise Invalid([Finding("state", f"{'; '.join(found)} in tenant {name}", wanted)])
        changes.append(Change("removed", "Namespace", name, {**view_of(space), "contains": found}, {}, None))
    flow = kube.get("FlowSchema", None, flow_name(name))
    if flow is not None and ours(flow):
        changes.append(Change("removed", "FlowSchema", flow_name(name), view_of(flow), {}, None))
    # Names are reserved until the namespace is gone, for its objects are served until then.
    others = {other: entry for other, entry in spaces.items() if other != name}
    released = _reserving(others, set(others)) if request.wait or space is None else []
    every = [*changes, *released]
    values: dict[str, Any] = {"tenant": {"name": name}, "changes": [str(change) for change in every]}
    outcome = Outcome(bool(every), values, _difference(name, every))
    if context.check_mode:
        return outcome
    _carry_out(kube, name, changes, outcome)
    if outcome.failed:
        return outcome
    if space is not None:
        if not request.wait:
            return outcome
        last: Object = space

        def gone(entries: list[Object]) -> bool:
            nonlocal last
            last = next(iter(entries), last)
            return not entries

        if not until(kube, "Namespace", name, f"{NAMESPACE_NAME}={name}", gone, request.timeout):
            reasons = "; ".join(holders(last)) or "the API gives no reason"
            outcome.changed = bool(changes)
            values.update(changes=[str(change) for change in changes], holders=holders(last))
            return outcome.fail(f"tenant: {name}: not deleted after {request.timeout} s, blocked by: {reasons}")
    _carry_out(kube, name, released, outcome)
    if outcome.failed:
        values["changes"] = [*map(str, changes), *values["changes"]]
        outcome.changed = bool(values["changes"])
    return outcome


def _kept(kube: Kube, name: str) -> list[str]:
    """Return the apps and volumes that a tenant has, as texts."""
    apps = {entry["metadata"]["labels"][APP] for kind in APP_KINDS for entry in kube.find(kind, name, APP)}
    records = kube.find("Secret", name, releases.selector([], "release"), metadata=True)
    apps |= {entry["metadata"]["labels"][APP] for entry in records}
    claims = [entry["metadata"]["name"] for entry in kube.find("PersistentVolumeClaim", name, metadata=True)]
    found = [f"app {', '.join(sorted(apps))}"] if apps else []
    return found + ([f"volume claim {', '.join(sorted(claims))}"] if claims else [])
