#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a kubeconfig for a member of a tenant."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tenant_kubeconfig
short_description: Create a kubeconfig for a member of a tenant
version_added: 0.1.0
description:
  - Writes a kubeconfig with short-lived credentials. For a user these are a client certificate and its key, which is
    generated where the module runs and never leaves it. For a service account they are a token.
  - A file for the same cluster and member is kept while more than a third of its lifetime is left.
  - Credentials cannot be revoked before they expire. A user that is removed from the members of the tenant loses all
    rights at once.
  - Only the file's owner can read it. Credentials appear in no output.
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
    description: Kind of the member. A group has no credentials; its users have their own.
    type: str
    choices: [user, service_account]
    default: user
  path:
    description:
      - Path of the file, on the controller or, with O(execute=target), on the target. Its directory must exist.
      - A file that this module did not write is neither replaced nor removed.
    type: path
    required: true
  state:
    description: Whether the file exists.
    type: str
    choices: [present, absent]
    default: present
  lifetime:
    description:
      - Lifetime of the credentials, V(10m) to V(365d), in minutes, hours or days.
      - At most V(24h) for a service account, the longest lifetime of a token.
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
- name: Create a kubeconfig for a user, or renew it
  cloudbang.platform.tenant_kubeconfig:
    tenant: acme
    member: ann
    path: build/ann.conf
    lifetime: 8h

- name: Create a kubeconfig for a pipeline
  cloudbang.platform.tenant_kubeconfig:
    tenant: acme
    member: deployer
    kind: service_account
    path: build/deployer.conf
    lifetime: 1h
"""

RETURN = r"""
kubeconfig:
  description: The kubeconfig.
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
      description: Kind of the member.
      type: str
    server:
      description: Address of the API.
      type: str
    lifetime:
      description: Lifetime of new credentials.
      type: str
    expires:
      description: When the credentials expire, in UTC. Null in check mode if they would be created.
      type: str
reason:
  description: Why the file was recreated or removed.
  returned: changed
  type: str
problems:
  description: Errors in the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: Name of the option.
      type: str
    found:
      description: Its value.
      type: str
    wanted:
      description: What is allowed instead.
      type: str
unknown:
  description: Whether the API's answer to a change was lost, so that the change may have been made or not.
  returned: when it was lost
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("tenant_kubeconfig")


if __name__ == "__main__":
    main()
