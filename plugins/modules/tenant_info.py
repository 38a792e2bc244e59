#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show tenants, what they may use and what they use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tenant_info
short_description: Show tenants, what they may use and what they use
version_added: 0.1.0
description:
  - Returns what there is of one tenant, or of all. It changes nothing.
  - A tenant that does not exist is no error. The list is empty then.
  - One tenant can be shown with the credentials of any of its members, all of them only with those of the cluster.
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
    description: Name of the tenant. All of them without it.
    type: str
seealso:
  - module: cloudbang.platform.tenant
"""

EXAMPLES = r"""
- name: Look at a tenant
  cloudbang.platform.tenant_info:
    name: acme
  register: acme

- name: Stop when something is wrong with it
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
      description: Domains for which the gateway takes requests.
      type: list
      elements: str
    tolerations:
      description: Keys of taints that pods may tolerate.
      type: list
      elements: str
    priority_classes:
      description: Priority classes that pods may have.
      type: list
      elements: str
    images:
      description: Repositories that pods may run besides the tenant's own.
      type: list
      elements: str
    quota:
      description: Name of an option of the quota to C(hard), what is allowed, and C(used).
      type: dict
    objects:
      description: Kind of object to C(hard), how many are allowed, and C(used).
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
      description: Name of an app to its C(pods) and what they request together, as C(cpu) and C(memory).
      type: dict
    problems:
      description:
        - What is wrong, such as a quota that is used to nine tenths, isolation that is not there, or rights that
          somebody has besides the members.
        - Secrets with tokens are only among it for credentials that may read Secrets.
      type: list
      elements: str
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
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("tenant_info")


if __name__ == "__main__":
    main()
