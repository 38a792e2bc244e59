# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of one build: a Job of one pod, a ConfigMap with its files, a Secret with its token. Pure.

The pod's containers run one after the other. `source` receives the tree, `bases` pulls images, `build` runs the code of
the tenant, `push` pushes the result and reports its digest. Only `bases` and `push`, which run no code of the tenant,
have the token.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import reference

from ..labels import KIND, PREFIX, TENANT, labels
from .builder import NAMESPACE, Builder
from .images import LAYOUTS, docker_config, slug

MANAGER = "cloudbang-build"
BUILD = "build"
NUMBER = PREFIX + "build"
HEARTBEAT = PREFIX + "heartbeat"
BY = PREFIX + "by"
# Who runs a build renews the heartbeat of its Job this often; without one for three times as long it is gone.
HEARTBEAT_SECONDS = 5.0
CONTAINERS = ("source", "bases", "build", "push")
# How long objects of a build stay that nobody removes.
LEFT_OVER_SECONDS = 900
PRIORITY_CLASS = "cloudbang-builds"
AUTHORITIES = "/run/cloudbang/authorities.pem"
_CONFIG = "/run/builder/config"
_TOKEN = "/run/builder/token"
_SMALL = {"cpu": "500m", "memory": "512Mi"}
# A node that does not count space on its disk has none to request.
_REQUESTS = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "0"}
# What programs of build stages read the path of trusted authorities from.
_TRUSTING = (
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)

# Arguments: the size of the tar in bytes and its sha256.
_SOURCE = """\
set -eu
cd /work/context
head -c "$1" >/work/incoming/source.tar
size=$(stat -c %s /work/incoming/source.tar)
[ "$size" = "$1" ] || { echo "the source broke off after $size of $1 bytes"; exit 41; }
echo "$2  /work/incoming/source.tar" | sha256sum --check --status || { echo "the source arrived damaged"; exit 42; }
tar --extract --file=/work/incoming/source.tar --no-same-owner
rm /work/incoming/source.tar
"""
# Arguments: the hosts of registries in one word, then DIRECTORY=REPOSITORY[:TAG][@DIGEST] of each image.
_BASES = """\
set -eu
hosts=$1
shift
for base in "$@"; do
  for host in $hosts; do
    echo "pulling ${base#*=} from $host"
    rm -rf "/work/bases/${base%%=*}"
    if crane pull --format=oci "$host/${base#*=}" "/work/bases/${base%%=*}"; then
      continue 2
    fi
  done
  echo "no registry has given ${base#*=}"
  exit 51
done
"""
# Arguments: the context, and options of buildah.
_BUILD = f"""\
set -eu
context=$1
shift
if [ -s {_CONFIG}/authorities.pem ]; then
  cat /etc/ssl/certs/ca-certificates.crt {_CONFIG}/authorities.pem >/work/run/authorities.pem
  set -- --volume=/work/run/authorities.pem:{AUTHORITIES}:ro "$@"
fi
storage="--root=/work/storage --runroot=/work/run/containers --storage-driver=overlay"
# A history would have the arguments of each step: mirrors and proxies of this cluster.
buildah $storage build --isolation=chroot --pull=never --layers=false --format=oci --omit-history \\
  --file={_CONFIG}/Containerfile --tag=result "$@" -- "$context"
buildah $storage push --quiet result oci:/work/out
"""
# Arguments: the hosts of registries in one word, REPOSITORY:TAG.
_PUSH = """\
set -eu
digest=
for host in $1; do
  echo "pushing $2 to $host"
  name=$(crane push /work/out "$host/$2") || { echo "$host did not take $2"; exit 61; }
  found=${name##*@}
  [ -z "$digest" ] || [ "$digest" = "$found" ] || { echo "$host has $found, another has $digest"; exit 62; }
  digest=$found
done
printf %s "$digest" >/dev/termination-log
"""


@dataclass(frozen=True)
class Wanted:
    """A build that is to run.

    `containerfile` begins with layouts (see `images.localized`); `images` are those that they are of. `context` is the
    directory of the context in the tree. ignored: whether an ignore file of the tree counts. seconds: how long it may
    run. credentials of the registry: `token`. nonce: makes the names of ConfigMap and Secret those of one build,
    because a kubelet keeps what it has read of immutable ones while a pod uses their names.
    """

    app: str
    tenant: str
    number: int
    size: int
    sha256: str
    images: tuple[str, ...]
    containerfile: str
    context: str = "."
    ignored: bool = False
    seconds: int = 1800
    by: str = ""
    token: str = field(default="", repr=False)
    nonce: str = ""

    @property
    def repository(self) -> str:
        return f"{self.tenant}/{self.app}"

    @property
    def mounted(self) -> str:
        """The name of the ConfigMap and the Secret."""
        return "-".join(filter(None, (job_name(self.app, self.tenant), self.nonce)))


def job_name(app: str, tenant: str) -> str:
    """Return the name of an app's Job, which only one build has at a time."""
    return f"{app[:50]}-{hashlib.sha256(f'{tenant}/{app}'.encode()).hexdigest()[:10]}"


def build_labels(app: str, tenant: str, number: int) -> dict[str, str]:
    return {**labels(app, tenant), KIND: BUILD, NUMBER: str(number)}


def job(wanted: Wanted, builder: Builder, now: float) -> Object:
    """Return the Job, which does not run before it is resumed."""
    made = _head("Job", wanted, job_name(wanted.app, wanted.tenant))
    made["metadata"]["annotations"] = {HEARTBEAT: f"{now:.0f}", BY: wanted.by}
    made["spec"] = {
        "suspend": True,
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "activeDeadlineSeconds": wanted.seconds,
        "ttlSecondsAfterFinished": LEFT_OVER_SECONDS,
        "template": {
            "metadata": {"labels": build_labels(wanted.app, wanted.tenant, wanted.number)},
            "spec": _pod(wanted, builder),
        },
    }
    return made


def config_map(wanted: Wanted, builder: Builder, owner: Object) -> Object:
    """Return the ConfigMap of a Job that exists."""
    made = _head("ConfigMap", wanted, wanted.mounted, owner)
    made["immutable"] = True
    made["data"] = {
        "Containerfile": wanted.containerfile,
        "authorities.pem": builder.authorities,
        "ca.crt": builder.ca,
        "ignore": "# Nothing is left out.\n",
    }
    return made


def secret(wanted: Wanted, builder: Builder, owner: Object) -> Object:
    """Return the Secret with the token of a Job that exists."""
    made = _head("Secret", wanted, wanted.mounted, owner)
    made["immutable"] = True
    made["type"] = "Opaque"
    text = docker_config(builder.push, wanted.token)
    made["data"] = {"config.json": base64.b64encode(text.encode()).decode()}
    return made


def _head(kind: str, wanted: Wanted, name: str, owner: Object | None = None) -> Object:
    made = head(kind, name, NAMESPACE, {})
    made["metadata"]["labels"] = build_labels(wanted.app, wanted.tenant, wanted.number)
    if owner is not None:
        meta = owner["metadata"]
        reference_ = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        made["metadata"]["ownerReferences"] = [{**reference_, "controller": True, "blockOwnerDeletion": False}]
    return made


def pulled(wanted: Wanted) -> list[str]:
    """Return the repositories that a build pulls from."""
    return sorted({reference(image).repository for image in wanted.images})


def _pod(wanted: Wanted, builder: Builder) -> Object:
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostUsers": False,
        "priorityClassName": PRIORITY_CLASS,
        "terminationGracePeriodSeconds": 5,
        "initContainers": [_source(wanted, builder), _bases(wanted, builder), _build(wanted, builder)],
        "containers": [_push(wanted, builder)],
        "volumes": [
            *(
                {"name": volume, "emptyDir": {"sizeLimit": builder.limits.disk}}
                for volume in ("context", "incoming", "bases", "storage", "run", "out")
            ),
            {"name": "config", "configMap": {"name": wanted.mounted}},
            {"name": "token", "secret": {"secretName": wanted.mounted, "defaultMode": 0o400}},
        ],
    }
    if builder.runtime_class:
        spec["runtimeClassName"] = builder.runtime_class
    if builder.node_labels:
        spec["nodeSelector"] = dict(builder.node_labels)
    hosts: dict[str, list[str]] = {}
    for host, address in sorted(builder.addresses.items()):
        hosts.setdefault(address, []).append(host)
    if hosts:
        spec["hostAliases"] = [{"ip": address, "hostnames": names} for address, names in hosts.items()]
    return spec


def _container(
    name: str, builder: Builder, script: str, arguments: Iterable[str], volumes: Mapping[str, str], **more: object
) -> Object:
    return {
        "name": name,
        "image": builder.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script, name],
        "args": list(arguments),
        "workingDir": "/",
        "volumeMounts": [
            {"name": volume, "mountPath": place, **({"readOnly": True} if place.startswith("/run/builder") else {})}
            for volume, place in volumes.items()
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **more,
    }


# Of containers that run no code of a tenant.
_TRUSTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _small() -> Object:
    return {"requests": dict(_REQUESTS), "limits": dict(_SMALL)}


def _source(wanted: Wanted, builder: Builder) -> Object:
    return _container(
        "source",
        builder,
        _SOURCE,
        [str(wanted.size), wanted.sha256],
        {"context": "/work/context", "incoming": "/work/incoming"},
        stdin=True,
        stdinOnce=True,
        securityContext=_TRUSTED,
        resources=_small(),
    )


def _registry_environment(builder: Builder) -> list[Object]:
    found = {"DOCKER_CONFIG": _TOKEN, "HOME": "/tmp"}
    if builder.ca:
        found["SSL_CERT_FILE"] = f"{_CONFIG}/ca.crt"
    return [{"name": name, "value": value} for name, value in found.items()]


def _bases(wanted: Wanted, builder: Builder) -> Object:
    images = [f"{slug(image)}={_in_registry(image)}" for image in wanted.images]
    return _container(
        "bases",
        builder,
        _BASES,
        [" ".join(builder.push), *images],
        {"bases": LAYOUTS, "config": _CONFIG, "token": _TOKEN},
        env=_registry_environment(builder),
        securityContext=_TRUSTED,
        resources=_small(),
    )


def _in_registry(image: str) -> str:
    """Return an image without its host; by digest alone when it has one."""
    parts = reference(image)
    return f"{parts.repository}@{parts.digest}" if parts.digest else f"{parts.repository}:{parts.tag}"


def _build(wanted: Wanted, builder: Builder) -> Object:
    context = "/work/context" if wanted.context == "." else f"/work/context/{wanted.context}"
    options = [f"--build-arg={name}" for name in sorted(stage_environment(builder))]
    if not wanted.ignored:
        options.append(f"--ignorefile={_CONFIG}/ignore")
    limits = {"cpu": builder.limits.cpu, "memory": builder.limits.memory, "ephemeral-storage": builder.limits.disk}
    return _container(
        "build",
        builder,
        _BUILD,
        [context, *options],
        {
            "context": "/work/context",
            "bases": LAYOUTS,
            "storage": "/work/storage",
            "run": "/work/run",
            "out": "/work/out",
            "config": _CONFIG,
        },
        env=[{"name": name, "value": value} for name, value in sorted(stage_environment(builder).items())],
        securityContext={
            # Of the user namespace of the pod, in which buildah mounts layers.
            "capabilities": {"add": ["SYS_ADMIN"]},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        resources={
            "requests": {name: _lower(_REQUESTS[name], limits[name]) for name in _REQUESTS},
            "limits": limits,
        },
    )


def stage_environment(builder: Builder) -> dict[str, str]:
    """Return the variables of build stages, which are in no image: mirrors, proxies, trusted authorities."""
    trusting = dict.fromkeys(_TRUSTING, AUTHORITIES) if builder.authorities else {}
    return {**trusting, **builder.environment}


def _lower(one: str, other: str) -> str:
    return min(one, other, key=lambda text: quantity(text) or Decimal(0))


def _push(wanted: Wanted, builder: Builder) -> Object:
    return _container(
        "push",
        builder,
        _PUSH,
        [" ".join(builder.push), f"{wanted.repository}:build-{wanted.number}"],
        {"out": "/work/out", "config": _CONFIG, "token": _TOKEN},
        env=_registry_environment(builder),
        securityContext=_TRUSTED,
        resources=_small(),
    )


def heartbeat(entry: Object) -> tuple[float, str]:
    """Return the heartbeat of a Job in seconds since 1970, 0 for none, and who runs the build."""
    annotations = entry["metadata"].get("annotations") or {}
    text = str(annotations.get(HEARTBEAT, ""))
    return float(text) if text.isdigit() and len(text) < 13 else 0.0, str(annotations.get(BY, "somebody"))[:200]


def alive(entry: Object, now: float) -> bool:
    """Return whether somebody waits for a Job. Both times are the API's."""
    return abs(now - heartbeat(entry)[0]) < 3 * HEARTBEAT_SECONDS


def finished(entry: Object) -> bool:
    conditions = (entry.get("status") or {}).get("conditions") or []
    return any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)


def may_start(jobs: Iterable[Object], name: str, most: int, now: float) -> bool:
    """Return whether the suspended Job of this name is among those that start next.

    At most so many run at once. A tenant with fewer builds ahead goes first, then who came first; a Job that nobody
    waits for keeps nobody waiting, unless it runs.
    """
    left = [entry for entry in jobs if not finished(entry) and not entry["metadata"].get("deletionTimestamp")]
    running = [entry for entry in left if not entry["spec"].get("suspend")]
    waiting = [entry for entry in left if entry["spec"].get("suspend") and alive(entry, now)]
    ahead: dict[str, int] = {}
    for entry in running:
        ahead[_tenant(entry)] = ahead.get(_tenant(entry), 0) + 1
    order = []
    for entry in sorted(waiting, key=_arrival):
        rank = ahead.get(_tenant(entry), 0)
        ahead[_tenant(entry)] = rank + 1
        order.append((rank, _arrival(entry), entry["metadata"]["name"]))
    next_ones = [found for _rank, _created, found in sorted(order)][: max(0, most - len(running))]
    return name in next_ones


def _arrival(entry: Object) -> tuple[str, str]:
    return entry["metadata"].get("creationTimestamp") or "", entry["metadata"]["name"]


def _tenant(entry: Object) -> str:
    found: str = (entry["metadata"].get("labels") or {}).get(TENANT, "")
    return found
