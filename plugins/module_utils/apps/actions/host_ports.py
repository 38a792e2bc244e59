# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim ports in the hosts' network: each number belongs to one instance in the whole cluster, recorded as a Lease.

Creating the Lease of a number is what claims it, so two apps cannot get the same one. Its holder is
`TENANT/APP/PROCESS/INSTANCE/PORT`.
"""

from __future__ import annotations

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import labels
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import MANAGER
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import PORTS_NAMESPACE as NAMESPACE
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, KubeError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head


def load(kube: Kube) -> dict[int, str]:
    """Return the holder of each port that is claimed."""
    found: dict[int, str] = {}
    try:
        leases = kube.find("Lease", NAMESPACE)
    except ApiError as error:
        raise _explained(error) from error
    for lease in leases:
        number = lease["metadata"]["name"].rpartition("-")[2]
        if number.isdigit():
            found[int(number)] = (lease.get("spec") or {}).get("holderIdentity", "")
    return found


def claim(kube: Kube, number: int, name: str) -> None:
    """Record that a port is somebody's. KubeError when somebody else was faster."""
    tenant, app, process = name.split("/")[:3]
    lease = head("Lease", f"port-{number}", NAMESPACE, labels(app, tenant, process))
    lease["spec"] = {"holderIdentity": name}
    try:
        kube.create(lease, MANAGER)
    except ApiError as error:
        if error.status == 404:
            kube.apply(_namespace(), MANAGER)
            claim(kube, number, name)
        elif error.status == 409:
            found = kube.get("Lease", NAMESPACE, f"port-{number}")
            other = ((found or {}).get("spec") or {}).get("holderIdentity")
            if other != name:
                raise KubeError(
                    f"port {number} has just been taken by {other or 'another app'}: run the task again"
                ) from error
        else:
            raise _explained(error) from error


def _explained(error: ApiError) -> KubeError:
    """Return the error with what is to be done about it, when it is about rights."""
    if error.status != 403:
        return error
    wanted = f"the right to read, create and delete Leases in the namespace {NAMESPACE}, which administrators have"
    return KubeError(f"host_network: {error}; wanted: {wanted}")


def free(kube: Kube, number: int) -> None:
    """Give a port back."""
    kube.delete("Lease", NAMESPACE, f"port-{number}")


def _namespace() -> Object:
    own_labels = {"app.kubernetes.io/managed-by": "cloudbang"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": own_labels}}
