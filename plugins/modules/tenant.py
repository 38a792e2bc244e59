#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep tenants, their quota, network and members."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tenant
short_description: Keep tenants, their quota, network and members
version_added: 0.1.0
description:
  - A tenant is a namespace with a quota, limits, isolation from other tenants, and members with roles.
  - The task says all there is of a tenant. An option that is removed from it removes what the option made, and members
    that are not listed lose their rights. So do those whom a RoleBinding of somebody else makes members, and a member
    that is removed loses what other RoleBindings of the tenant give to it. What else gives rights in the tenant (other
    RoleBindings, Roles, Secrets with tokens of service accounts) is named in a warning.
  - An V(owner) does everything in the tenant but change its members, rights, routes, quota, limits, network policy and
    Pod Security.
  - A V(developer) does what the app modules need, reads the rest, and changes no rights.
  - A V(viewer) reads everything but Secrets.
  - Whoever may start pods may start them as any service account of the tenant. So give a service account no more than
    the tenant's developers may have.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
options:
  name: &name
    description: Name of the tenant, which is that of its namespace.
    type: str
  state: &state
    description:
      - V(present) makes and changes the tenant.
      - V(absent) deletes it with everything in it.
    type: str
    choices: [present, absent]
    default: present
  pod_security: &pod_security
    description: The Pod Security standard that the API enforces on the tenant's pods.
    type: str
    choices: [baseline, restricted, privileged]
    default: baseline
  quota: &quota
    description: What all of the tenant may use together. Without an amount there is no bound on it.
    type: dict
    suboptions:
      cpu:
        description: Sum of the CPU requests, such as V(8) or V(500m).
        type: str
      memory:
        description: Sum of the memory requests, such as V(16Gi).
        type: str
      limits_cpu:
        description: Sum of the CPU limits.
        type: str
      limits_memory:
        description: Sum of the memory limits.
        type: str
      ephemeral_storage:
        description: Sum of the requests for space on the nodes' disks.
        type: str
      storage:
        description: Sum of the volume claims, such as V(100Gi).
        type: str
      volume_claims:
        description: Number of volume claims.
        type: int
      pods:
        description: Number of pods that are not over.
        type: int
      services:
        description: Number of Services.
        type: int
      node_ports:
        description: Number of node ports. Without it none, for they are ports of all hosts.
        type: int
      load_balancers:
        description: Number of Services of type LoadBalancer. Without it none.
        type: int
      secrets:
        description: Number of Secrets. Each release of an app is one, and its environment and files are one each.
        type: int
      config_maps:
        description: Number of ConfigMaps.
        type: int
  objects: &objects
    description:
      - Kind to how many objects of it the tenant may have. A kind is given by its name, such as V(Deployment), or by
        what the API calls it, such as V(deployments.apps).
      - Every kind that members can make has a number, so that no tenant fills the store of the cluster. The defaults
        are enough for 200 apps of one process with ten releases each. RV(tenant.objects) has them.
      - O(quota.secrets), O(quota.config_maps), O(quota.services) and O(quota.volume_claims) take the place of the
        defaults of these kinds.
    type: dict
  limits: &limits
    description:
      - What one container may use.
      - A quota makes the API refuse containers that do not say what they need. So with O(quota.cpu) a container that
        has no request gets V(100m), and with O(quota.memory) V(128Mi). With O(quota.limits_cpu) one that has no limit
        gets V(1), and with O(quota.limits_memory) V(512Mi). All of them within O(limits.min) and O(limits.max).
      - The same requests are filled in where there is O(limits.default) or O(limits.max), for the API would take those.
      - A container that does not say how much space it needs on the disk of its node gets a limit of V(10Gi) and
        requests none.
    type: dict
    suboptions:
      default:
        description: The limit of a container that has none.
        type: dict
        suboptions:
          cpu:
            description: CPU, such as V(500m).
            type: str
          memory:
            description: Memory, such as V(256Mi).
            type: str
          ephemeral_storage:
            description: Space on the disk of its node, such as V(2Gi).
            type: str
      default_request:
        description: The request of a container that has none.
        type: dict
        suboptions:
          cpu:
            description: CPU, such as V(500m).
            type: str
          memory:
            description: Memory, such as V(256Mi).
            type: str
          ephemeral_storage:
            description: Space on the disk of its node, such as V(2Gi).
            type: str
      max:
        description: The highest limit a container may have.
        type: dict
        suboptions:
          cpu:
            description: CPU, such as V(500m).
            type: str
          memory:
            description: Memory, such as V(256Mi).
            type: str
          ephemeral_storage:
            description: Space on the disk of its node, such as V(2Gi).
            type: str
      min:
        description: The lowest request a container may have.
        type: dict
        suboptions:
          cpu:
            description: CPU, such as V(500m).
            type: str
          memory:
            description: Memory, such as V(256Mi).
            type: str
          ephemeral_storage:
            description: Space on the disk of its node, such as V(2Gi).
            type: str
  network: &network
    description:
      - V(isolated) lets in connections from the tenant itself, from its O(peers), and from the gateway.
      - V(open) lets in everybody.
    type: str
    choices: [isolated, open]
    default: isolated
  peers: &peers
    description: Tenants that may connect to this one. To be reached in return, the other one has to name this one.
    type: list
    elements: str
    default: []
  domains: &domains
    description:
      - Domains for which the gateway takes requests for the tenant's apps, such as V(shop.example.org), or
        V(*.example.org) for all names below V(example.org).
      - A domain belongs to one tenant. One that another tenant has, or that is above or below one of it, is refused.
      - When a domain goes that an Ingress or a route still has, a warning names it.
    type: list
    elements: str
    default: []
  tolerations: &tolerations
    description: Keys of taints that the tenant's pods may tolerate.
    type: list
    elements: str
    default: []
  priority_classes: &priority_classes
    description: Priority classes that the tenant's pods may have. Those of the cluster (V(system-)) are refused.
    type: list
    elements: str
    default: []
  images: &images
    description:
      - Repositories in the cluster's registry that the tenant's pods may run besides the tenant's own, each with all
        below it, such as V(tools/).
    type: list
    elements: str
    default: []
  members: &members
    description: Who may do what in the tenant.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the user, group or service account.
          - A service account is made in the tenant's namespace, and removed when it is no longer listed.
        type: str
        required: true
      kind:
        description: What it is.
        type: str
        choices: [user, group, service_account]
        default: user
      role:
        description: What it may do.
        type: str
        choices: [owner, developer, viewer]
        required: true
  adopt: &adopt
    description: Whether to take over a namespace that Cloudbang did not make.
    type: bool
    default: false
  force: &force
    description: Whether O(state=absent) deletes a tenant that still has apps or volume claims.
    type: bool
    default: false
  tenants:
    description:
      - Several tenants, one after the other. Each has the options above. Those given beside the list hold for every
        tenant that does not set them itself.
      - When one tenant fails the others are still carried out, and the task fails.
    type: list
    elements: dict
    suboptions:
      name: *name
      state: *state
      pod_security: *pod_security
      quota: *quota
      objects: *objects
      limits: *limits
      network: *network
      peers: *peers
      domains: *domains
      tolerations: *tolerations
      priority_classes: *priority_classes
      images: *images
      members: *members
      adopt: *adopt
      force: *force
  wait:
    description: Whether to wait until the quota is in force, or the tenant is gone.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
seealso:
  - module: cloudbang.platform.tenant_kubeconfig
  - module: cloudbang.platform.tenant_info
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: A tenant with a quota and members
  cloudbang.platform.tenant:
    name: acme
    quota: {cpu: 8, memory: 16Gi, pods: 50, storage: 100Gi}
    limits:
      max: {memory: 4Gi}
    peers: [shared-services]
    domains: [shop.example.org, "*.acme.example.org"]
    objects: {Secret: 5000}
    members:
      - {name: ann, role: owner}
      - {name: acme-developers, kind: group, role: developer}
      - {name: deployer, kind: service_account, role: developer}

- name: Two tenants with the same quota
  cloudbang.platform.tenant:
    quota: {cpu: 4, memory: 8Gi}
    tenants:
      - {name: blue, domains: [blue.example.org]}
      - {name: green, domains: [green.example.org]}

- name: Remove a tenant and all its apps
  cloudbang.platform.tenant:
    name: trial
    state: absent
    force: true
"""

RETURN = r"""
tenants:
  description: The result of each of O(tenants), in the same order, with RV(tenant) and RV(changes) as for one tenant.
  returned: when there are O(tenants)
  type: list
  elements: dict
tenant:
  description: What the task asks for, with the defaults filled in. With O(state=absent) only the name.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the tenant.
      type: str
    pod_security:
      description: Its Pod Security standard.
      type: str
    quota:
      description: Its quota, in the names of the API.
      type: dict
    objects:
      description: How many objects it may have, by kind.
      type: dict
    limits:
      description: The limits of a container, in the names of the API.
      type: dict
    network:
      description: V(isolated) or V(open).
      type: str
    peers:
      description: Tenants that may connect.
      type: list
      elements: str
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
    gateways:
      description: Addresses of the gateway that may connect, as networks.
      type: list
      elements: str
    members:
      description: The members, each with C(kind), C(name) and C(role).
      type: list
      elements: dict
changes:
  description: The objects that were, or in check mode would be, made, changed or removed.
  returned: always
  type: list
  elements: str
  sample: [ResourceQuota cloudbang-tenant changed]
holders:
  description: What keeps the namespace from being gone.
  returned: when it was not gone in time
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
unknown:
  description: Whether the answer to a change got lost, so that it may have been made or not.
  returned: when it did
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("tenant")


if __name__ == "__main__":
    main()
