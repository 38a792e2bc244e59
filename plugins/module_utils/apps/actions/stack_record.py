# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a stack, a Secret in its tenant: what it was made from, its members and their order, and the secrets
that were generated for it.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import KIND, STACK, TENANT
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.record_schemas import STACK as STACK_SCHEMA
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import MANAGER
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import canonical
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, KubeError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Wrong

from .tenant import make as make_tenant

MAX_RECORD = 900_000

Record = dict[str, Any]


def name_of(name: str) -> str:
    return f"{name}.stack"


def read(kube: Kube, tenant: str, name: str) -> Record:
    """Return what the last run of a stack has recorded; nothing when there was none.

    A record that is not usable is an error: without it, what was generated for the stack would be generated anew.
    """
    secret = kube.get("Secret", tenant, name_of(name))
    if secret is None or (secret["metadata"].get("labels") or {}).get(KIND) != "stack":
        return {}
    said: list[str] = []
    found = records.read("Secret", secret, recorded, said.append)
    if found is None:
        raise KubeError(f"{said[0]}; wanted the record of a stack: restore that Secret, or delete it to start again")
    return found


def recorded(secret: Object) -> Record:
    """Return the record in the Secret of a stack. Wrong says why there is none."""
    found: Record = records.checked(records.parsed(records.unpacked(records.data_of(secret, "stack"))), STACK_SCHEMA)
    return found


def write(kube: Kube, name: str, tenant: str, record: Record) -> None:
    """Record a stack, in the tenant's namespace, which is made when there is none."""
    secret = secret_of(name, tenant, record)
    try:
        kube.apply(secret, MANAGER)
    except ApiError as error:
        if error.status != 404:
            raise
        make_tenant(kube, tenant)
        kube.apply(secret, MANAGER)


def secret_of(name: str, tenant: str, record: Record) -> Object:
    plain = canonical(record)
    try:
        records.checked(records.parsed(plain), STACK_SCHEMA)
    except Wrong as error:
        found = f"content that cannot be recorded: {error}"
        raise Invalid([Finding("apps", found, "a stack within these bounds")]) from error
    data = gzip.compress(plain, mtime=0)
    if len(data) > MAX_RECORD:
        wanted = f"at most {MAX_RECORD} bytes, the limit of a stack's record"
        raise Invalid([Finding("apps", f"{len(data)} bytes, compressed", wanted)])
    labels = {"app.kubernetes.io/managed-by": "cloudbang", KIND: "stack", STACK: name, TENANT: tenant}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name_of(name), "namespace": tenant, "labels": labels},
        "data": {"stack": base64.b64encode(data).decode()},
    }
