# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ports in the hosts' network: each number belongs to one instance in the whole cluster, recorded as a Lease.

Creating the Lease of a number is what claims it, so two apps cannot get the same one. Its holder is
`TENANT/APP/PROCESS/INSTANCE/PORT`.
"""

from __future__ import annotations

from .client import ApiError, Kube, KubeError
from .ledger import MANAGER
from .options import Invalid, Problem
from .render import Object, head, labels
from .spec import PORTS_NAMESPACE as NAMESPACE


class Ports:
    """Who holds which port, with those that the plans of this task will claim."""

    def __init__(self, held: dict[int, str]) -> None:
        self._by_number = dict(held)
        self.by_holder = {holder: number for number, holder in held.items()}

    def port(self, holder: str, bounds: tuple[int, int]) -> int:
        """Return the port of a holder: the one it has, else the lowest free one. Invalid when none is free."""
        if holder not in self.by_holder:
            low, high = bounds
            number = next((port for port in range(low, high + 1) if port not in self._by_number), None)
            if number is None:
                found = f"{low}-{high}, of which every port is taken"
                raise Invalid([Problem("host_ports", found, "a range with a free port, or fewer instances")])
            self._by_number[number] = holder
            self.by_holder[holder] = number
        return self.by_holder[holder]


def holder(tenant: str, app: str, process: str, instance: int, port: str) -> str:
    """Return how the record names an instance's port."""
    return f"{tenant}/{app}/{process}/{instance}/{port}"


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
    marks = {"app.kubernetes.io/managed-by": "cloudbang"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": marks}}
