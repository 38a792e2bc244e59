# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Admission policies of tenants: what may be in the objects that RBAC lets a tenant write. Pure.

`POLICIES` is the table of rules, in CEL; `manifests` makes Kubernetes objects of it. Every rule is a list of the texts
that break it, so that a refusal can name what was found. An error in an expression refuses the object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import POD_SECURITY, Object

from . import tenant_annotations
from .labels import APP, PROCESS, TENANT
from .routes_render import CERTIFICATE

VERSION = "admissionregistration.k8s.io/v1"
PREFIX = "cloudbang-tenant-"
ADMINISTRATORS = ("system:masters", "cloudbang:administrators")
# The longest time that the app modules give a pod to end: `grace` and `drain` together.
GRACE_SECONDS = 86400 + 3600
# Annotations that Traefik reads of Ingresses and of the Services behind them.
TRAEFIK_ANNOTATIONS = "traefik."
# Annotations of pods that Calico believes: which addresses a pod asks for and has. It writes them with the status.
CALICO_ANNOTATIONS = "cni.projectcalico.org/"
# Finalizer of the pods of Jobs. The job controller takes it away from these and from pods that no controller owns.
JOB_FINALIZER = "batch.kubernetes.io/job-tracking"
# Volumes of the Pod Security standard restricted. With all others a node mounts what the author of a pod names.
VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
# Taints that Kubernetes itself makes pods tolerate: all of them, and those of DaemonSets.
_TAINT = "node.kubernetes.io/"
_EVERY_POD = (_TAINT + "not-ready", _TAINT + "unreachable")
_DAEMON_POD = tuple(
    _TAINT + name
    for name in (
        "not-ready",
        "unreachable",
        "disk-pressure",
        "memory-pressure",
        "pid-pressure",
        "unschedulable",
        "network-unavailable",
    )
)
_DAEMONS = "system:serviceaccount:kube-system:daemon-set-controller"
_JOBS = "system:serviceaccount:kube-system:job-controller"
_BINDER = "system:serviceaccount:kube-system:persistent-volume-binder"


class Resources(NamedTuple):
    """Resources of an API group that a policy is about."""

    group: str
    names: tuple[str, ...]
    operations: tuple[str, ...] = ("CREATE", "UPDATE")


class Rule(NamedTuple):
    """A condition. `wrong` is CEL for a list of texts, empty when the condition holds.

    found: what these texts are; wanted: what they should be, and ask: whom to ask for what, both CEL for a text.
    """

    name: str
    wrong: str
    found: str
    wanted: str
    ask: str


class Policy(NamedTuple):
    """Rules for some resources; conditions and variables are CEL by name."""

    name: str
    resources: tuple[Resources, ...]
    conditions: dict[str, str]
    variables: dict[str, str]
    rules: tuple[Rule, ...]


def text(value: Any) -> str:
    """Return a text, or a list of texts, as CEL."""
    return json.dumps(value)


def _listed(annotation: str) -> str:
    """Return CEL for the texts that an annotation of the tenant's namespace lists."""
    return (
        f'namespaceObject.metadata.?annotations[?{text(annotation)}].orValue("")'
        '.split(",").map(entry, entry.trim()).filter(entry, entry != "")'
    )


def _either(variable: str) -> str:
    """Return CEL for the texts of a variable in one, which says so when there are none."""
    return f'(variables.{variable}.size() == 0 ? "none" : variables.{variable}.join(", "))'


def _ask(annotation: str) -> str:
    return text(f"an administrator allows more with the annotation {annotation} of the namespace")


_AN_ADMINISTRATOR = text("ask an administrator to do it")
_ONLY_TENANTS = {"not-an-administrator": f"!request.userInfo.groups.exists(group, group in {text(ADMINISTRATORS)})"}
_NAME = "namespaceObject.metadata.name"
_LABEL = f"namespaceObject.metadata.labels[{text(TENANT)}]"
_PRIVILEGED = f'namespaceObject.metadata.?labels[?{text(POD_SECURITY)}].orValue("") == "privileged"'
_NET_RAW = text("^(?i)(cap_)?(net_raw|all)$")


def _changed(*fields: str, also: Sequence[str] = ()) -> dict[str, str]:
    """Return the condition that an object is new or one of its fields is another, or that more CEL in `also` holds.

    Without it nobody could scale or delete what was made before the policies: the garbage collector writes metadata.
    """
    # dyn: the kinds of a policy do not all have the same fields.
    different = [f"dyn(object).{field} != dyn(oldObject).{field}" for field in fields]
    return {"changed": " || ".join(['request.operation == "CREATE"', *different, *also])}


def _pod_metadata(template: str) -> dict[str, str]:
    """Return CEL for the finalizers and the annotations that a pod, or a template of pods, may not have.

    Of the metadata of a pod only what is new counts, for others write there too.
    """
    meta, pods = f"{template}.?metadata", template == "object"
    old = 'request.operation == "UPDATE" && '
    finalizers = f"{meta}.?finalizers.orValue([])"
    owned = "oldObject.metadata.?ownerReferences.orValue([]).exists(old, old.uid == owner.uid)"
    if pods:
        allowed = (
            f"!({old}name in oldObject.metadata.?finalizers.orValue([])) && "
            f"!(name == {text(JOB_FINALIZER)} && request.userInfo.username == {text(_JOBS)})"
        )
        finalizers = (
            f"{finalizers}.filter(name, {allowed}) + ({old}{text(JOB_FINALIZER)} in {finalizers} && "
            f"request.userInfo.username != {text(_JOBS)} && {meta}.?ownerReferences.orValue([])"
            f".exists(owner, owner.?controller.orValue(false) && !{owned}) ? "
            f"[{text(JOB_FINALIZER + ' with another controller')}] : [])"
        )
    kept = f' && !({old}oldObject.metadata.?annotations[?key].orValue("") == value)' if pods else ""
    return {
        "finalizers": f"({finalizers})",
        "annotations": f"{meta}.?annotations.orValue({{}}).transformList(key, value, "
        f"key.startsWith({text(CALICO_ANNOTATIONS)}){kept}, key)",
    }


def pod_policy(
    name: str, resources: tuple[Resources, ...], template: str, registry: str, shared: Sequence[str]
) -> Policy:
    """Return the policy for pods, or for templates of pods at a path of their objects.

    registry: host and port of the cluster's registry; shared: prefixes of repositories there that are for all tenants.
    """
    spec = f"{template}.spec"
    pods = template == "object"
    own_daemon = f"request.userInfo.username == {text(_DAEMONS)} && key in {text(_DAEMON_POD)}"
    # Tolerations of a pod can be added to, so those that it has are not asked about again.
    kept = 'request.operation == "UPDATE" && toleration in oldObject.spec.?tolerations.orValue([])'
    tolerated = [
        "key in variables.tolerationKeys",
        f'(key in {text(_EVERY_POD)} && toleration.?effect.orValue("") == "NoExecute")',
        *((f"({own_daemon})", f"({kept})") if pods else ()),
    ]
    key = 'toleration.?key.orValue("")'
    lists = ("containers", "initContainers", "ephemeralContainers")
    images = " + ".join(
        [f'{spec}.?{entry}.orValue([]).map(one, one.?image.orValue(""))' for entry in lists]
        + [f"{spec}.?volumes.orValue([]).filter(one, has(one.image)).map(one, one.image.?reference.orValue(''))"]
    )
    added = " + ".join(
        f"{spec}.?{entry}.orValue([])"
        ".map(one, one.?securityContext.capabilities.add.orValue([]).map(name, string(name)))"
        for entry in lists
    )
    # With a host a kubelet asks whom the author of a pod names, from the node's network.
    asked = ", ".join(
        f'one.?{handler}.?{action}.?host.orValue("")'
        for handler in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.?postStart", "lifecycle.?preStop")
        for action in ("httpGet", "tcpSocket")
    )
    probes = " + ".join(
        f'{spec}.?{entry}.orValue([]).map(one, [{asked}].filter(host, host != "").join(", "))'
        for entry in ("containers", "initContainers")
    )
    known_volume = " || ".join(f"has(volume.{kind})" for kind in VOLUMES)
    host = registry.lower() + "/"
    path = f'image.substring({len(host)}).split("@")[0].split(":")[0]'
    metadata = _pod_metadata(template)
    # What is no path of a repository is not understood, and so not allowed.
    a_path = 'path.matches("^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$")'
    below = 'variables.prefixes.exists(prefix, path == prefix || path.startsWith(prefix + "/"))'
    return Policy(
        name,
        resources,
        _changed("spec", also=[f"{wrong}.size() > 0" for wrong in metadata.values()])
        if pods
        else _changed(template.removeprefix("object.")),
        {
            "privileged": _PRIVILEGED,
            "tolerationKeys": _listed(tenant_annotations.TOLERATIONS),
            "priorityClasses": _listed(tenant_annotations.PRIORITY_CLASSES),
            "prefixes": f"([{_LABEL}] + {text([entry.rstrip('/') for entry in shared])} + "
            f"{_listed(tenant_annotations.IMAGES)}.map(entry, entry.endsWith('/') ? "
            "entry.substring(0, size(entry) - 1) : entry)).filter(entry, entry != '')",
            "images": images,
            "added": f"({added})",
        },
        (
            Rule(
                "images",
                f"variables.images.filter(image, image.lowerAscii().startsWith({text(host)}) && "
                f"![{path}].exists(path, {a_path} && {below}))",
                "images",
                f'"repositories of {registry} below " + variables.prefixes.join(", ")',
                _ask(tenant_annotations.IMAGES),
            ),
            Rule(
                # An ID means any image that a node has, whoever it is for.
                "imageIds",
                'variables.images.filter(image, image.matches("^(?i)sha[0-9]+:"))',
                "IDs of images",
                text("images by the name of a repository"),
                text("write REPOSITORY@DIGEST"),
            ),
            Rule(
                "nodeName",
                f"{spec}.?nodeName.orValue('') == ''"
                + (" || request.operation != 'CREATE'" if pods else "")
                + f" ? [] : [{spec}.nodeName]",
                "nodeName",
                text("no nodeName, because the scheduler chooses the node"),
                text("use a nodeSelector"),
            ),
            Rule(
                "tolerations",
                f"{spec}.?tolerations.orValue([]).filter(toleration, ![{key}].exists(key, {' || '.join(tolerated)}))"
                f'.map(toleration, {key} == "" ? "of every taint" : {key})',
                "tolerations",
                '"keys of taints among these: " + ' + _either("tolerationKeys"),
                _ask(tenant_annotations.TOLERATIONS),
            ),
            Rule(
                "priorityClass",
                f'[{spec}.?priorityClassName.orValue("")].filter(name, name != "" && '
                "!(name in variables.priorityClasses))",
                "priorityClassName",
                '"no class or one of these: " + ' + _either("priorityClasses"),
                _ask(tenant_annotations.PRIORITY_CLASSES),
            ),
            Rule(
                "volumes",
                f"variables.privileged ? [] : {spec}.?volumes.orValue([]).filter(volume, !({known_volume}))"
                ".map(volume, volume.name)",
                "volumes",
                text("volumes of the types " + ", ".join(VOLUMES)),
                text("an administrator can give the tenant Pod Security privileged"),
            ),
            Rule(
                "probes",
                f'variables.privileged ? [] : ({probes}).filter(hosts, hosts != "")',
                "hosts of probes and of lifecycle hooks",
                text("none, because the default is the pod itself"),
                text("an administrator can give the tenant Pod Security privileged"),
            ),
            Rule(
                "capabilities",
                f"variables.privileged ? [] : variables.added.map(names, names.filter(name, name.matches({_NET_RAW}))"
                '.join(", ")).filter(name, name != "")',
                "added capabilities",
                text("none that allows raw sockets"),
                text("an administrator can give the tenant Pod Security privileged"),
            ),
            Rule(
                "grace",
                f"[{spec}.?terminationGracePeriodSeconds.orValue(30)].filter(time, time > {GRACE_SECONDS})"
                ".map(time, string(time))",
                "terminationGracePeriodSeconds",
                text(f"{GRACE_SECONDS} at most"),
                text("drains of nodes wait for it"),
            ),
            Rule(
                "finalizers",
                metadata["finalizers"],
                "finalizers of pods",
                text("none but that of Jobs, which the job controller adds"),
                text("drains of nodes wait until a pod is deleted"),
            ),
            Rule(
                "annotations",
                metadata["annotations"],
                "annotations of pods",
                text("none that the network trusts"),
                text("leave them to the network"),
            ),
        ),
    )


def pod_policies(registry: str, shared: Sequence[str]) -> list[Policy]:
    """Return the policies for pods and for all that pods are made from, for everybody: controllers make pods too."""
    places = {
        "pods": ("object", (Resources("", ("pods", "pods/ephemeralcontainers")),)),
        "templates": (
            "object.spec.template",
            (
                Resources("", ("replicationcontrollers",)),
                Resources("apps", ("daemonsets", "deployments", "replicasets", "statefulsets")),
                Resources("batch", ("jobs",)),
            ),
        ),
        "cronjobs": ("object.spec.jobTemplate.spec.template", (Resources("batch", ("cronjobs",)),)),
        "podtemplates": ("object.template", (Resources("", ("podtemplates",)),)),
    }
    return [pod_policy(name, where, path, registry, shared) for name, (path, where) in places.items()]


_INGRESSES = Resources("networking.k8s.io", ("ingresses",))
_TRAEFIK = Resources("traefik.io", ("*",))
_RULES = "object.spec.?rules.orValue([])"
_PATHS = f"{_RULES}.map(rule, rule.?http.paths.orValue([]))"
_A_HOST = text(r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
_A_PATH = text("^(/[A-Za-z0-9/._~%!$&'()*+,;=:@-]*)?$")
# Whether a domain stands for a host.
_COVERS = (
    'domain == host || (domain.startsWith("*.") && size(host) >= size(domain) && host.endsWith(domain.substring(1)))'
)


def _annotation_rule() -> Rule:
    """Return the rule against annotations that lead the gateway elsewhere; those that an object has may stay."""
    old = 'request.operation == "UPDATE" && oldObject.metadata.?annotations[?key].orValue("") == value'
    return Rule(
        "annotations",
        f"object.metadata.?annotations.orValue({{}}).transformList(key, value, "
        f"key.contains({text(TRAEFIK_ANNOTATIONS)}) && !({old}), key)",
        "annotations",
        text("none that the gateway reads"),
        _AN_ADMINISTRATOR,
    )


_FIXED = (
    Policy(
        "ingresses",
        (_INGRESSES,),
        {**_ONLY_TENANTS, **_changed("spec", "metadata.?annotations")},
        {
            "domains": _listed(tenant_annotations.DOMAINS),
            "oldHosts": 'request.operation == "CREATE" ? [] : '
            'oldObject.spec.?rules.orValue([]).map(rule, rule.?host.orValue("")).filter(host, host != "")',
        },
        (
            Rule(
                "hosts",
                f'{_RULES}.map(rule, rule.?host.orValue("")).filter(host, !(host in variables.oldHosts) && '
                f"!(host.matches({_A_HOST}) && variables.domains.exists(domain, {_COVERS})))"
                '.map(host, host == "" ? "every host" : host)',
                "hosts of rules",
                '"hosts of the domains of the tenant: " + ' + _either("domains"),
                _ask(tenant_annotations.DOMAINS),
            ),
            Rule(
                "defaultBackend",
                'has(object.spec.defaultBackend) ? ["one"] : []',
                "defaultBackend",
                text("rules with hosts, because it takes the requests for all hosts"),
                _AN_ADMINISTRATOR,
            ),
            Rule(
                "resources",
                f"{_PATHS}.map(paths, paths.filter(path, has(path.backend.resource))"
                '.map(path, path.backend.resource.kind).join(", ")).filter(kinds, kinds != "")',
                "resource backends",
                text("Services as backends"),
                _AN_ADMINISTRATOR,
            ),
            Rule(
                "paths",
                f'{_PATHS}.map(paths, paths.exists(path, !path.?path.orValue("").matches({_A_PATH})))'
                '.filter(bad, bad).map(bad, "characters that a URL cannot have")',
                "paths",
                text("paths of URLs, with other characters escaped"),
                text("escape them with %"),
            ),
            Rule(
                "certificates",
                'object.spec.?tls.orValue([]).map(entry, entry.?secretName.orValue("")).filter(name, name != "")',
                "tls.secretName",
                text("none, because all tenants share the gateway's certificates"),
                text("ask an administrator for a certificate (cloudbang.platform.app_route)"),
            ),
            _annotation_rule(),
        ),
    ),
    Policy(
        "services",
        (Resources("", ("services",)),),
        dict(_ONLY_TENANTS),
        {},
        (
            _annotation_rule(),
            # A name can be that of anything that the gateway reaches. One that a Service has may stay.
            Rule(
                "type",
                '[object.spec.?type.orValue("")].filter(kind, kind == "ExternalName" && !(request.operation == '
                '"UPDATE" && oldObject.spec.?type == object.spec.?type && '
                "oldObject.spec.?externalName == object.spec.?externalName))",
                "type of a Service",
                text("ClusterIP, for a Service leads to pods of the tenant"),
                text("use the name that it stands for, or ask an administrator to create it"),
            ),
        ),
    ),
    Policy(
        "gateway",
        (_TRAEFIK,),
        {**_ONLY_TENANTS, **_changed("?spec", "metadata.?annotations")},
        {},
        (
            Rule(
                "kind",
                "[request.kind.kind]",
                "kind",
                text("an Ingress, because objects of traefik.io affect other tenants"),
                text("ask an administrator for a route (cloudbang.platform.app_route)"),
            ),
        ),
    ),
    Policy(
        # Traefik joins the names of namespace and object with a hyphen.
        "names",
        tuple(entry._replace(operations=("CREATE",)) for entry in (Resources("", ("services",)), _INGRESSES, _TRAEFIK)),
        {},
        {"reserved": _listed(tenant_annotations.RESERVED_NAMES)},
        (
            Rule(
                "names",
                'variables.reserved.exists(start, (object.metadata.name + "-").startsWith(start)) ? '
                "[object.metadata.name] : []",
                "name",
                '"a name that does not begin with " + variables.reserved.join(", ") + '
                '", because the gateway would mistake it for one of another tenant"',
                text("choose another name"),
            ),
        ),
    ),
    Policy(
        # The controller manager fills in a token that never ends. The type of a Secret cannot be changed.
        "secrets",
        (Resources("", ("secrets",), ("CREATE",)),),
        {},
        {},
        (
            Rule(
                "type",
                '[object.?type.orValue("")].filter(kind, kind == "kubernetes.io/service-account-token")',
                "type",
                text("another one, because the token in it would never expire"),
                text("ask an administrator for a kubeconfig (cloudbang.platform.tenant_kubeconfig)"),
            ),
        ),
    ),
    Policy(
        # The gateway has one store of certificates for all hosts, and chooses by the names in them. The route refers to
        # the Secret by its name, so the name counts, and no label.
        "certificates",
        (Resources("", ("secrets",)),),
        {**_ONLY_TENANTS, **_changed("?data", "?immutable")},
        {},
        (
            Rule(
                "name",
                f"[object.metadata.name].filter(name, name.endsWith({text(CERTIFICATE)}))",
                "name of a Secret",
                text(f"one that does not end with {CERTIFICATE}, because these are the certificates of routes"),
                text("ask an administrator to change the certificate (cloudbang.platform.app_route)"),
            ),
        ),
    ),
    Policy(
        # Whoever deletes a pod, or evicts it, says how long it may take to end. That can only be shortened later.
        "deletions",
        (Resources("", ("pods",), ("DELETE",)), Resources("", ("pods/eviction",), ("CREATE",))),
        dict(_ONLY_TENANTS),
        {},
        (
            Rule(
                "grace",
                '[request.operation == "DELETE" ? dyn(request.options).?gracePeriodSeconds.orValue(0) : '
                "dyn(object).?deleteOptions.?gracePeriodSeconds.orValue(0)]"
                f".filter(time, time > {GRACE_SECONDS}).map(time, string(time))",
                "gracePeriodSeconds",
                text(f"{GRACE_SECONDS} at most"),
                text("drains of nodes wait for it"),
            ),
        ),
    ),
    Policy(
        # A pod that is deleted in the foreground stays until all that names its UID with blockOwnerDeletion is gone,
        # whatever kind it says the owner has.
        "owners",
        (Resources("*", ("*",)),),
        {
            **_ONLY_TENANTS,
            "not-a-controller": '!("system:serviceaccounts:kube-system" in request.userInfo.groups)',
            **_changed("metadata.?ownerReferences"),
        },
        {},
        (
            Rule(
                "blocked",
                "object.?metadata.?ownerReferences.orValue([])"
                ".filter(owner, owner.?blockOwnerDeletion.orValue(false) && "
                '!(request.operation == "UPDATE" && owner in oldObject.metadata.?ownerReferences.orValue([])))'
                ".map(owner, owner.name)",
                "ownerReferences with blockOwnerDeletion",
                text("none, because it may be a pod, and drains of nodes wait until that is deleted"),
                text("leave blockOwnerDeletion out"),
            ),
        ),
    ),
    Policy(
        # The binder says which volume a claim has got. Volumes without a claimRef are for whoever asks first.
        "claims",
        (Resources("", ("persistentvolumeclaims",)),),
        {
            **_ONLY_TENANTS,
            "not-the-binder": f"request.userInfo.username != {text(_BINDER)}",
            **_changed("spec.?volumeName"),
        },
        {},
        (
            Rule(
                "volumeName",
                '[object.spec.?volumeName.orValue("")].filter(name, name != "")',
                "volumeName",
                text("none, because the volume may be for another tenant"),
                text("an administrator can give the volume a claimRef to this claim"),
            ),
        ),
    ),
    Policy(
        # Two budgets for one pod stop every eviction of it, so there is one name for each choice of pods.
        "budgets",
        (Resources("policy", ("poddisruptionbudgets",)),),
        {**_ONLY_TENANTS, **_changed("spec")},
        {"labels": "object.spec.?selector.matchLabels.orValue({})"},
        (
            Rule(
                "minimum",
                "has(object.spec.maxUnavailable) && (type(object.spec.maxUnavailable) == int ? "
                "object.spec.maxUnavailable > 0 : !string(object.spec.maxUnavailable).matches('^0*%?$')) ? [] : "
                'has(object.spec.minAvailable) ? ["minAvailable"] : ["no pod that may be unavailable"]',
                "maxUnavailable",
                text("1 or more, or a share above 0%, so that drains of nodes can end"),
                _AN_ADMINISTRATOR,
            ),
            Rule(
                "unhealthy",
                '[object.spec.?unhealthyPodEvictionPolicy.orValue("IfHealthyBudget")]'
                '.filter(one, one != "AlwaysAllow")',
                "unhealthyPodEvictionPolicy",
                text("AlwaysAllow, so that pods that never get ready do not block drains of nodes"),
                _AN_ADMINISTRATOR,
            ),
            Rule(
                "pods",
                f"variables.labels.size() == 2 && {text(APP)} in variables.labels && {text(PROCESS)} in "
                "variables.labels && object.spec.selector.?matchExpressions.orValue([]).size() == 0 && "
                f'object.metadata.name == variables.labels[{text(APP)}] + "-" + variables.labels[{text(PROCESS)}] '
                "? [] : [object.metadata.name]",
                "budget",
                text(
                    f"the name APP-PROCESS and a selector of the labels {APP} and {PROCESS} alone, because two "
                    "budgets of one pod block its eviction"
                ),
                text("the app modules create it"),
            ),
        ),
    ),
    Policy(
        "rights",
        (Resources("rbac.authorization.k8s.io", ("rolebindings", "roles")),),
        {**_ONLY_TENANTS, **_changed("?rules", "?subjects")},
        {},
        (
            Rule(
                "kind",
                "[request.kind.kind]",
                "kind",
                text("members of the tenant, whose rights end with their membership"),
                text("ask an administrator to change the members (cloudbang.platform.tenant)"),
            ),
        ),
    ),
)


def policies(registry: str, shared: Sequence[str]) -> list[Policy]:
    """Return the table of rules for a cluster whose registry has the given host and port.

    shared: prefixes of repositories there that are for all tenants.
    """
    for entry in shared:
        if not entry.strip("/") or "," in entry or entry != entry.strip():
            raise ValueError(f"shared images: found {entry!r}, wanted the beginning of a repository, such as shared/")
    return [*pod_policies(registry, shared), *_FIXED]


def manifests(registry: str, shared: Sequence[str]) -> list[Object]:
    """Return all policies as Kubernetes objects, and then what binds them to the namespaces of tenants."""
    found = policies(registry, shared)
    mutating = _without_raw_sockets()
    return [
        *(_validating(policy) for policy in found),
        mutating,
        *(_binding("ValidatingAdmissionPolicyBinding", PREFIX + policy.name, True) for policy in found),
        _binding("MutatingAdmissionPolicyBinding", mutating["metadata"]["name"], False),
    ]


def _head(kind: str, name: str) -> Object:
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "cloudbang"}},
    }


def _matched(resources: Sequence[Resources]) -> list[dict[str, Any]]:
    return [
        {
            "apiGroups": [entry.group],
            "apiVersions": ["*"],
            "operations": list(entry.operations),
            "resources": list(entry.names),
            "scope": "Namespaced",
        }
        for entry in resources
    ]


def _validating(policy: Policy) -> Object:
    variables = {**policy.variables, **{f"wrong_{rule.name}": rule.wrong for rule in policy.rules}}
    entry = _head("ValidatingAdmissionPolicy", PREFIX + policy.name)
    entry["spec"] = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": _matched(policy.resources)},
        "variables": [{"name": name, "expression": expression} for name, expression in variables.items()],
        "validations": [
            {
                "expression": f"variables.wrong_{rule.name}.size() == 0",
                "messageExpression": f'{text(rule.found + " in tenant ")} + {_NAME} + ": found " + '
                f'variables.wrong_{rule.name}.join(", ") + "; wanted " + {rule.wanted} + "; " + {rule.ask}',
                "message": f"{rule.found}: not allowed in tenants",
                "reason": "Forbidden",
            }
            for rule in policy.rules
        ],
    }
    if policy.conditions:
        entry["spec"]["matchConditions"] = [
            {"name": name, "expression": expression} for name, expression in policy.conditions.items()
        ]
    return entry


def _binding(kind: str, policy: str, validating: bool) -> Object:
    entry = _head(kind, policy)
    entry["spec"] = {
        "policyName": policy,
        "matchResources": {"namespaceSelector": {"matchExpressions": [{"key": TENANT, "operator": "Exists"}]}},
    }
    if validating:
        entry["spec"]["validationActions"] = ["Deny", "Audit"]
    return entry


def _without_raw_sockets() -> Object:
    """Return the policy that takes the capability NET_RAW, which container runtimes give by default, from containers.

    Pods only, not templates: controllers compare those with what they were told. One that adds it is left to the
    validating policies.
    """
    drops = '["ALL", "NET_RAW"].exists(name, name in one.?securityContext.capabilities.drop.orValue([]))'
    adds = f"one.?securityContext.capabilities.add.orValue([]).exists(name, string(name).matches({_NET_RAW}))"
    known = "oldObject.spec.?ephemeralContainers.orValue([]).exists(old, old.name == one.name)"
    changes = []
    for field, operation, more in (
        ("containers", "CREATE", ""),
        ("initContainers", "CREATE", ""),
        # Those that run cannot be changed any more.
        ("ephemeralContainers", "UPDATE", f" && !{known}"),
    ):
        path = f'"/spec/{field}/" + string(number) + "/securityContext"'
        change = (
            'JSONPatch{op: "add", path: '
            f'{path} + (!has(one.securityContext) ? "" : !has(one.securityContext.capabilities) ? "/capabilities" : '
            '!has(one.securityContext.capabilities.drop) ? "/capabilities/drop" : "/capabilities/drop/-"), '
            'value: !has(one.securityContext) ? dyn({"capabilities": {"drop": ["NET_RAW"]} }) : '
            '!has(one.securityContext.capabilities) ? dyn({"drop": ["NET_RAW"]}) : '
            '!has(one.securityContext.capabilities.drop) ? dyn(["NET_RAW"]) : dyn("NET_RAW")}'
        )
        changes.append(
            f'request.operation == "{operation}" ? object.spec.?{field}.orValue([])'
            f".transformList(number, one, !{drops} && !{adds}{more}, {change}) : []"
        )
    entry = _head("MutatingAdmissionPolicy", PREFIX + "raw-sockets")
    entry["spec"] = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {
            "resourceRules": _matched(
                [Resources("", ("pods",), ("CREATE",)), Resources("", ("pods/ephemeralcontainers",), ("UPDATE",))]
            )
        },
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": change}} for change in changes],
    }
    return entry
