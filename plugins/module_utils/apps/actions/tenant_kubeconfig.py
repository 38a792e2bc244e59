# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.tenant_kubeconfig) does: a kubeconfig of a tenant's member, short-lived."""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from typing import Any, NamedTuple

try:
    import yaml
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    MISSING: str | None = None
except ImportError as import_error:
    MISSING = str(import_error)

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import KIND, PREFIX
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import timestamp
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import KubeconfigRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import (
    MANAGER,
    head,
    members_of,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_spec import seconds_of
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import (
    MERGE,
    ConfigError,
    Kube,
    KubeError,
    connect,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object, path
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.watch import until

from .context import Context, Outcome

SIGNER = "kubernetes.io/kube-apiserver-client"
# Marks a kubeconfig as made here, and remembers what for. Clients ignore extensions.
MARK = PREFIX + "tenant-kubeconfig"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Credential(NamedTuple):
    """What a kubeconfig authenticates with: the `user` entry, and from when to when (seconds since 1970) it does."""

    user: dict[str, str]
    start: float
    end: float


def run(context: Context, request: KubeconfigRequest) -> Outcome:
    """Bring the kubeconfig of a member to its state."""
    kube = context.kube
    if MISSING is not None:
        raise ConfigError(f"Python libraries: {MISSING}; wanted: pip install cryptography pyyaml")
    where = request.path
    found = _read(where)
    about: dict[str, Any] = {
        "path": where,
        "tenant": request.tenant,
        "member": request.member,
        "kind": request.kind,
        "server": kube.host,
        "lifetime": request.lifetime,
        "expires": None,
    }
    outcome = Outcome(values={"kubeconfig": about}, diff=[])
    if request.state == "absent":
        if found is not None:
            outcome.changed, outcome.diff = True, _difference(where, _described(found), {})
            outcome.values["reason"] = "not wanted"
            if not context.check_mode:
                _remove(where)
        return outcome
    _refuse_path(where)
    missing = _missing(kube, request)
    if missing and not context.check_mode:
        raise Invalid([missing])
    if missing:
        # In a play that is only checked, the task that makes the member has not run.
        outcome.warnings.append(f"tenant_kubeconfig: {missing}; the run fails unless an earlier task creates it")
    wanted = _kubeconfig(kube, request, {})
    reason = _stale(kube, request, found, wanted)
    if reason is None and found is not None:
        about["expires"] = timestamp(_credential(found).end)
        return outcome
    after = {**_described(wanted), "expires": f"{request.lifetime} from now"}
    outcome.changed, outcome.diff = True, _difference(where, _described(found), after)
    outcome.values["reason"] = reason
    if context.check_mode:
        return outcome
    seconds = seconds_of(request.lifetime) or 0
    made = (_certificate if request.kind == "user" else _token)(kube, request, seconds)
    _write(where, _kubeconfig(kube, request, made.user))
    about["expires"] = timestamp(made.end)
    return outcome


def _refuse_path(where: str) -> None:
    """Raise Invalid unless a file can be put there."""
    directory = os.path.dirname(os.path.abspath(where))
    if not os.path.isdir(directory):
        raise Invalid([Finding("path", f"no directory {directory}", "it to exist")])
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Invalid([Finding("path", f"directory {directory}, which this user cannot write", "one it can")])


def _missing(kube: Kube, request: KubeconfigRequest) -> Finding | None:
    """Return that there is no such tenant or member, None when there is."""
    name, member, kind = request.tenant, request.member, request.kind
    if kube.get("Namespace", None, name) is None:
        return Finding("tenant", f"no tenant {name}", "one that exists")
    members = members_of(kube.find("RoleBinding", name, f"{KIND}=tenant"))
    known = [entry.name for entry in members if entry.kind == kind]
    if member in known:
        return None
    wanted = f"one of {', '.join(known)}" if known else f"a member, but {name} has no {kind}"
    return Finding("member", f"no {kind} {member} in tenant {name}", wanted)


def _read(where: str) -> Object | None:
    """Return the kubeconfig in a file, None when there is none. What somebody else wrote is refused."""
    try:
        with open(where, encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
        if content["contexts"][0]["context"]["extensions"][0]["name"] == MARK:
            found: Object = content
            return found
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid([Finding("path", f"{where}: {error.strerror}", "a file that this user can read")]) from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError):
        pass
    raise Invalid([Finding("path", f"{where}, a file that this module did not write", "a path that is free")])


def _kubeconfig(kube: Kube, request: KubeconfigRequest, user: dict[str, str]) -> Object:
    tenant, name = request.tenant, kube.cluster_name()
    user_name, context_name = f"{_user_name(request)}@{name}", f"{tenant}@{name}"
    cluster: dict[str, Any] = {"server": kube.host}
    if kube.ca:
        cluster["certificate-authority-data"] = _text(kube.ca.encode())
    purpose = {key: getattr(request, key) for key in ("tenant", "member", "kind", "lifetime")}
    context = {
        "cluster": name,
        "user": user_name,
        "namespace": tenant,
        "extensions": [{"name": MARK, "extension": purpose}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context_name,
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": context_name, "context": context}],
        "users": [{"name": user_name, "user": user}],
    }


def _stale(kube: Kube, request: KubeconfigRequest, found: Object | None, wanted: Object) -> str | None:
    """Return why a kubeconfig has to be made anew, None when it is good."""
    if found is None:
        return "the file does not exist"
    for part in ("clusters", "contexts", "current-context"):
        if found.get(part) != wanted[part]:
            return "it is for another cluster, member, tenant or lifetime"
    if stat.S_IMODE(os.stat(request.path).st_mode) & 0o077:
        return "users other than its owner could read it"
    try:
        credential = _credential(found)
    except (ValueError, TypeError, LookupError):
        return "its credentials are damaged"
    if credential.end - kube.now() <= (credential.end - credential.start) / 3:
        return f"it is valid until {timestamp(credential.end)}, less than a third of its lifetime"
    if _who(request.path) != _user_name(request):
        return "the cluster does not accept it"
    return None


def _user_name(request: KubeconfigRequest) -> str:
    return request.member if request.kind == "user" else f"system:serviceaccount:{request.tenant}:{request.member}"


def _who(where: str) -> str | None:
    """Return as whom the cluster knows the bearer of a kubeconfig, None when it does not."""
    try:
        answer = connect({"kubeconfig": where}).request("POST", REVIEW, {}, _request("SelfSubjectReview"))
    except ConfigError:
        return None
    name: str | None = answer["status"]["userInfo"].get("username")
    return name


def _request(kind: str, **spec: Any) -> Object:
    return {"apiVersion": "authentication.k8s.io/v1", "kind": kind, **({"spec": spec} if spec else {})}


def _credential(kubeconfig: Object) -> Credential:
    """Return the credential in a kubeconfig; ValueError, TypeError or LookupError when there is none."""
    user = kubeconfig["users"][0]["user"]
    if "token" in user:
        claims = json.loads(base64.urlsafe_b64decode(user["token"].split(".")[1] + "=="))
        return Credential(user, claims["iat"], claims["exp"])
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
    serialization.load_pem_private_key(base64.b64decode(user["client-key-data"]), None)
    return Credential(user, certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def _certificate(kube: Kube, request: KubeconfigRequest, seconds: int) -> Credential:
    """Return a key made here with a certificate that the cluster signed for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, request.member)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject_name).sign(key, hashes.SHA256())
    name = f"cloudbang-{request.tenant}-{secrets.token_hex(5)}"
    signing = head("CertificateSigningRequest", name)
    signing["metadata"]["labels"][PREFIX + "request"] = name[-10:]
    signing["spec"] = {
        "request": _text(asked.public_bytes(serialization.Encoding.PEM)),
        "signerName": SIGNER,
        "expirationSeconds": seconds,
        "usages": ["client auth", "digital signature"],
    }
    approval = {
        "type": "Approved",
        "status": "True",
        "reason": "TenantMember",
        "message": f"{request.member} is a member of tenant {request.tenant}",
    }
    last: Object = {}

    def answered(entries: list[Object]) -> bool:
        nonlocal last
        last = entries[0].get("status") or {} if entries else {}
        failed = any(entry["type"] in ("Failed", "Denied") for entry in last.get("conditions") or [])
        return not entries or failed or bool(last.get("certificate"))

    kube.create(signing, MANAGER)
    try:
        where = path("CertificateSigningRequest", None, name) + "/approval"
        kube.request("PATCH", where, {}, {"status": {"conditions": [approval]}}, content_type=MERGE)
        until(kube, "CertificateSigningRequest", "", f"{PREFIX}request={name[-10:]}", answered, request.timeout)
    finally:
        kube.delete("CertificateSigningRequest", None, name)
    if not last.get("certificate"):
        reasons = [f"{entry['type']}: {entry.get('message')}" for entry in last.get("conditions") or []]
        raise KubeError(
            f"no certificate from {SIGNER} after {request.timeout} s ({'; '.join(reasons) or 'no answer'}); "
            "wanted: kube-controller-manager to run with --cluster-signing-cert-file"
        )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _credential(
        {"users": [{"user": {"client-certificate-data": last["certificate"], "client-key-data": _text(private)}}]}
    )


def _token(kube: Kube, request: KubeconfigRequest, seconds: int) -> Credential:
    """Return a token for a service account that the API issued."""
    where = path("ServiceAccount", request.tenant, request.member) + "/token"
    answer = kube.request("POST", where, {}, _request("TokenRequest", expirationSeconds=seconds))
    return _credential({"users": [{"user": {"token": answer["status"]["token"]}}]})


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write(where: str, content: Object) -> None:
    """Write a kubeconfig, readable by its owner alone."""
    try:
        atomic.write(where, yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise ConfigError(f"path: {where} cannot be written: {error.strerror}") from error


def _remove(where: str) -> None:
    try:
        os.unlink(where)
    except OSError as error:
        raise ConfigError(f"path: {where} cannot be removed: {error.strerror}") from error


def _described(kubeconfig: Object | None) -> dict[str, Any]:
    """Return what a diff shows of a kubeconfig: no credentials."""
    if kubeconfig is None:
        return {}
    shown: dict[str, Any] = {}
    try:
        shown["server"] = kubeconfig["clusters"][0]["cluster"]["server"]
        shown.update(kubeconfig["contexts"][0]["context"]["extensions"][0]["extension"])
        shown["expires"] = timestamp(_credential(kubeconfig).end)
    except (ValueError, TypeError, LookupError):
        shown["expires"] = None
    return shown


def _difference(where: str, before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"before_header": where, "after_header": where, "before": before, "after": after}]
