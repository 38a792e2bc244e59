#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a kubeconfig for a member of a tenant."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tenant_kubeconfig
short_description: Keep a kubeconfig for a member of a tenant
version_added: 0.1.0
description:
  - Writes a kubeconfig with credentials that end soon. For a user that is a client certificate, whose key is made where
    the module runs and never leaves it. For a service account it is a token.
  - The file is kept while it is of this cluster and this member, and valid for more than a third of its lifetime.
  - Credentials cannot be taken back before they end. A user loses all rights at once when it is removed from the
    members of the tenant.
  - The file is readable by its owner only. Credentials appear in no output.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
options:
  tenant:
    description: Name of the tenant. It is the namespace of the kubeconfig's context.
    type: str
    required: true
  member:
    description: Name of a member of the tenant.
    type: str
    required: true
  kind:
    description: What the member is. A group has no credentials; its users bring their own.
    type: str
    choices: [user, service_account]
    default: user
  path:
    description:
      - Path of the file, on the controller or, with O(execute=target), on the target. Its directory has to be there.
      - A file that this module did not write is neither replaced nor removed.
    type: path
    required: true
  state:
    description: Whether the file is to be there.
    type: str
    choices: [present, absent]
    default: present
  lifetime:
    description:
      - How long the credentials are valid, V(10m) to V(365d), in minutes, hours or days.
      - At most V(24h) for a service account. The API issues no token for longer.
    type: str
    default: 8h
  timeout:
    description: Seconds to wait for the cluster to sign a certificate.
    type: int
    default: 60
requirements:
  - cryptography >= 42 (Python library, where the work is done)
seealso:
  - module: cloudbang.platform.tenant
"""

EXAMPLES = r"""
- name: A kubeconfig for a user, renewed when the task runs in time
  cloudbang.platform.tenant_kubeconfig:
    tenant: acme
    member: ann
    path: build/ann.conf
    lifetime: 8h

- name: A kubeconfig for a pipeline
  cloudbang.platform.tenant_kubeconfig:
    tenant: acme
    member: deployer
    kind: service_account
    path: build/deployer.conf
    lifetime: 1h
"""

RETURN = r"""
kubeconfig:
  description: What the file is for.
  returned: success
  type: dict
  contains:
    path:
      description: Path of the file.
      type: str
    tenant:
      description: Name of the tenant.
      type: str
    member:
      description: Name of the member.
      type: str
    kind:
      description: What the member is.
      type: str
    server:
      description: Address of the API.
      type: str
    lifetime:
      description: How long credentials are valid when they are made.
      type: str
    expires:
      description: When these end, in UTC. Nothing in check mode when they would be made.
      type: str
reason:
  description: Why the file was made anew or removed.
  returned: changed
  type: str
problems:
  description: Everything that is wrong with the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
    found:
      description: What it has.
      type: str
    wanted:
      description: What it should have.
      type: str
unknown:
  description: Whether the answer to a change got lost, so that it may have been made or not.
  returned: when it did
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("tenant_kubeconfig")


if __name__ == "__main__":
    main()
