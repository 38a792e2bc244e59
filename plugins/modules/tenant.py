#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage tenants, their quota, network and members."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tenant
short_description: Manage tenants, their quota, network and members
version_added: 0.1.0
description:
  - A tenant is a namespace with a quota, limits, isolation from other tenants, and members with roles.
  - The task is the complete definition of a tenant. Removing an option from the task removes its objects, and members
    that are not listed lose their rights. This includes members through RoleBindings of others; a removed member also
    loses the rights from other RoleBindings of the tenant. A warning names everything else that grants rights in the
    tenant (other RoleBindings, Roles, Secrets with tokens of service accounts).
  - An V(owner) can do everything in the tenant except change its members, rights, routes, quota, limits, network policy
    and Pod Security.
  - A V(developer) can use the app modules and read everything else, but cannot change rights.
  - A V(viewer) can read everything except Secrets.
  - Members that can start pods can run them as any service account of the tenant. So do not give a service account more
    rights than the tenant's developers.
  - When somebody is no longer an V(owner) or a V(developer), the service accounts that are members are recreated, which
    ends the tokens that were taken of them. This takes 11 seconds, in which these accounts have no rights, because API
    servers accept old tokens for 10 seconds. Programs that use one need a new kubeconfig
    (M(cloudbang.platform.tenant_kubeconfig)). A warning names these accounts, and pods that run as them.
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
    description: Name of the tenant and its namespace.
    type: str
  state: &state
    description:
      - V(present) creates or changes the tenant.
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
    description: Limits for the tenant as a whole. Resources without an amount are not limited.
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
        description: Number of pods that have not ended.
        type: int
      services:
        description: Number of Services.
        type: int
      node_ports:
        description: Number of node ports, which are ports of all hosts. 0 when not given.
        type: int
      load_balancers:
        description: Number of Services of type LoadBalancer. 0 when not given.
        type: int
      secrets:
        description: Number of Secrets. A release of an app needs one for itself, one for its environment and one for
          its files.
        type: int
      config_maps:
        description: Number of ConfigMaps.
        type: int
  objects: &objects
    description:
      - Maximum number of objects by kind. A kind is given by its name, such as V(Deployment), or by its resource in the
        API, such as V(deployments.apps).
      - Every kind that members can create has a maximum, so that no tenant fills etcd. The defaults are enough for 200
        apps of one process with ten releases each. RV(tenant.objects) has them.
      - O(quota.secrets), O(quota.config_maps), O(quota.services) and O(quota.volume_claims) replace the defaults of
        these kinds.
    type: dict
  limits: &limits
    description:
      - Limits for each container.
      - With a quota, the API refuses containers without requests or limits. So with O(quota.cpu) a container without a
        request gets V(100m), and with O(quota.memory) V(128Mi). With O(quota.limits_cpu) a container without a limit
        gets V(1), and with O(quota.limits_memory) V(512Mi). All of them are within O(limits.min) and O(limits.max).
      - The same requests are set with O(limits.default) or O(limits.max), since the API would use those as requests.
      - A container without a limit for ephemeral storage gets a limit of V(10Gi) and no request.
    type: dict
    suboptions:
      default:
        description: Limit of containers without one.
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
        description: Request of containers without one.
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
        description: Highest limit of a container.
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
        description: Lowest request of a container.
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
      - V(isolated) allows connections from the tenant itself, from its O(peers), and from the gateway.
      - V(open) allows all connections.
    type: str
    choices: [isolated, open]
    default: isolated
  peers: &peers
    description: Tenants that may connect to this one. For the other direction, the other tenant must name this one.
    type: list
    elements: str
    default: []
  domains: &domains
    description:
      - Domains whose requests the gateway sends to the tenant's apps, such as V(shop.example.org), or
        V(*.example.org) for all names below V(example.org).
      - A domain belongs to one tenant. A domain of another tenant, or one above or below it, is refused.
      - A warning names each removed domain that an Ingress or a route still uses.
    type: list
    elements: str
    default: []
  tolerations: &tolerations
    description: Keys of taints that the tenant's pods may tolerate.
    type: list
    elements: str
    default: []
  priority_classes: &priority_classes
    description: Priority classes that the tenant's pods may use. Those of the cluster (V(system-)) are refused.
    type: list
    elements: str
    default: []
  images: &images
    description:
      - Repositories in the cluster's registry, besides the tenant's own, whose images its pods may run. Each is a
        prefix, such as V(tools/).
    type: list
    elements: str
    default: []
  members: &members
    description: Members of the tenant and their roles.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the user, group or service account.
          - A service account is created in the tenant's namespace, and removed when it is no longer listed.
        type: str
        required: true
      kind:
        description: Kind of the member.
        type: str
        choices: [user, group, service_account]
        default: user
      role:
        description: Role of the member.
        type: str
        choices: [owner, developer, viewer]
        required: true
  adopt: &adopt
    description: Whether to take over a namespace that Cloudbang did not create.
    type: bool
    default: false
  force: &force
    description: Whether O(state=absent) deletes a tenant that still has apps or volume claims.
    type: bool
    default: false
  tenants:
    description:
      - Several tenants, one after the other. Each has the options above. Options given outside of the list are the
        defaults of its tenants.
      - If one tenant fails, the others are still processed, and the task fails.
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
- name: Create a tenant with a quota and members
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

- name: Create two tenants with the same quota
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
  description: The definition of the tenant, with the defaults filled in. With O(state=absent) only the name.
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
      description: Maximum number of objects, by kind.
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
    gateways:
      description: Networks of the gateway's addresses that may connect.
      type: list
      elements: str
    members:
      description: The members, each with C(kind), C(name) and C(role).
      type: list
      elements: dict
changes:
  description: The objects that were, or in check mode would be, created, changed or removed.
  returned: always
  type: list
  elements: str
  sample: [ResourceQuota cloudbang-tenant changed]
holders:
  description: What blocks the deletion of the namespace.
  returned: when it was not deleted in time
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
unknown:
  description: Whether the API's answer to a change was lost, so that the change may have been made or not.
  returned: when it was lost
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("tenant")


if __name__ == "__main__":
    main()
