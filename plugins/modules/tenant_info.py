#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return tenants with their limits and use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tenant_info
short_description: Return tenants with their limits and use
version_added: 0.1.0
description:
  - Returns one tenant, or all tenants. It changes nothing.
  - A missing tenant is not an error. The list is empty then.
  - The credentials of any member can read the member's own tenant. All tenants need administrator rights.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: none
options:
  name:
    description: Name of the tenant. All tenants without it.
    type: str
seealso:
  - module: cloudbang.platform.tenant
"""

EXAMPLES = r"""
- name: Get a tenant
  cloudbang.platform.tenant_info:
    name: acme
  register: acme

- name: Fail if it has problems
  ansible.builtin.assert:
    that: acme.tenants[0].problems == []
"""

RETURN = r"""
tenants:
  description: The tenants, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the tenant.
      type: str
    status:
      description: V(Active), or V(Terminating) while it is deleted.
      type: str
    pod_security:
      description: Pod Security standard that is enforced.
      type: str
    network:
      description: V(isolated) or V(open).
      type: str
    peers:
      description: Tenants that may connect.
      type: list
      elements: str
    members:
      description: The members, each with C(kind), C(name) and C(role).
      type: list
      elements: dict
    domains:
      description: Domains whose requests the gateway sends to the tenant's apps.
      type: list
      elements: str
    tolerations:
      description: Keys of taints that pods may tolerate.
      type: list
      elements: str
    priority_classes:
      description: Priority classes that pods may use.
      type: list
      elements: str
    images:
      description: Repositories, besides the tenant's own, whose images pods may run.
      type: list
      elements: str
    quota:
      description: Name of an option of the quota to C(hard), the limit, and C(used).
      type: dict
    objects:
      description: Kind of object to C(hard), the maximum number, and C(used).
      type: dict
    limits:
      description:
        - C(default), C(default_request), C(max) and C(min) of a container, each with C(cpu), C(memory) and
          C(ephemeral_storage).
      type: dict
    apps:
      description: Number of apps.
      type: int
    usage:
      description: Name of an app to its C(pods) and the sum of their requests, as C(cpu) and C(memory).
      type: dict
    problems:
      description:
        - Findings, such as a quota used to nine tenths, missing isolation, or rights of others than the members.
        - Secrets with tokens are reported only if the credentials may read Secrets.
      type: list
      elements: str
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
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("tenant_info")


if __name__ == "__main__":
    main()
