#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return apps with their releases and status."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_info
short_description: Return apps with their releases and status
version_added: 0.1.0
description:
  - Returns one app, all apps of a tenant, or all apps. It changes nothing.
  - A missing app is not an error. The list is empty then.
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
    description: Name of the app. All apps without it.
    type: str
  tenant:
    description: Name of the tenant. Required with O(name), all tenants without it.
    type: str
  log_lines:
    description: Number of log lines of each pod to return.
    type: int
    default: 0
  events:
    description: Whether to return events of the apps' objects.
    type: bool
    default: false
  topology:
    description:
      - Whether to return the graph of domains, apps and bindings.
      - V(data) returns nodes and edges, V(dot) and V(mermaid) also a text for Graphviz or Mermaid.
    type: str
    choices: [none, data, dot, mermaid]
    default: none
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Get an app
  cloudbang.platform.app_info:
    name: shop
    tenant: acme
    log_lines: 20
    events: true
  register: shop

- name: Fail unless it runs
  ansible.builtin.assert:
    that: shop.apps | length == 1 and shop.apps[0].status == 'running'
"""

RETURN = r"""
apps:
  description: The apps, by tenant and name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the app.
      type: str
    tenant:
      description: Its tenant.
      type: str
    status:
      description:
        - V(running), V(complete) (all processes of a job succeeded), V(stopped), V(rolling) (a rollout is in progress),
          V(failing) (a rollout does not succeed), V(degraded) (too few replicas are ready), V(failed) (a job failed, or
          the first release failed and was removed) or V(absent) (only its releases are left).
      type: str
    release:
      description: Number of the active release.
      type: int
    image:
      description: Its image.
      type: str
    digest:
      description: Digest of its content.
      type: str
    releases:
      description: All releases kept, oldest first.
      type: list
      elements: dict
      contains:
        version:
          description: Number of the release.
          type: int
        status:
          description: V(pending), V(good) (it ran), V(failed) or V(superseded) (replaced before it was known to run).
          type: str
        image:
          description: The image.
          type: str
        digest:
          description: Digest of the content.
          type: str
        action:
          description: V(deploy), V(rollback) or V(promote).
          type: str
        from_version:
          description: The release a rollback or promotion took its content from.
          type: int
        from_tenant:
          description: The tenant of that release after a promotion, null otherwise.
          type: str
        from_app:
          description: The app of that release after a promotion from one of another name, null otherwise.
          type: str
        created:
          description: Time of creation in UTC.
          type: str
        by:
          description: User and host.
          type: str
        message:
          description: Why it failed.
          type: str
        changes:
          description:
            - Differences from the previous release, null if that one is not kept. Values are not shown, except those of
              the image.
            - Secrets are compared by fingerprint. The fingerprints of a promoted release may have another key than
              those of the previous release. Then all secrets and files count as changed.
          type: dict
          contains:
            image:
              description: The image C(before) and C(after), null if it is the same.
              type: dict
            env:
              description: Names of environment variables, secret or not.
              type: list
              elements: str
            files:
              description: Paths of files.
              type: list
              elements: str
            processes:
              description: Names of processes.
              type: list
              elements: str
            bindings:
              description: Apps it is bound to, as C(tenant/name).
              type: list
              elements: str
            settings:
              description: Other options of the app, such as V(strategy).
              type: list
              elements: str
    processes:
      description:
        - Name of a process to its C(kind) and status.
        - Of a Deployment or StatefulSet these are C(replicas), C(ready), C(updated), C(stopped_replicas), and the
          C(autoscale) and C(resources) set by M(cloudbang.platform.app_scale). Instances with C(host_network) count
          together.
        - Of a CronJob these are C(suspended), C(schedule), C(last_start), C(last_success) and C(active) runs, of a Job
          C(suspended) and the numbers of C(active), C(succeeded) and C(failed) pods.
      type: dict
    domains:
      description: Domains in the app's own options.
      type: list
      elements: str
    routes:
      description:
        - Routes of the app, and routes of others with it as a backend, each with C(name), C(app) (its owner),
          C(domains), and C(ports) (C(port) and C(protocol) of the gateway).
      type: list
      elements: dict
    stack:
      description: The stack that the app is a member of.
      type: str
    bindings:
      description: Apps it is bound to, each with C(kind), C(tenant), C(target), C(env) and C(secret_env).
      type: list
      elements: dict
    services:
      description: Name of a Service to its C(address) and C(ports).
      type: dict
    endpoints:
      description: Addresses and ports behind the Services.
      type: list
      elements: dict
      contains:
        address:
          description: Address of a pod.
          type: str
        port:
          description: Port.
          type: int
        ready:
          description: Whether it is ready for requests.
          type: bool
    pods:
      description: The pods.
      type: list
      elements: dict
      contains:
        name:
          description: Name.
          type: str
        process:
          description: Process.
          type: str
        node:
          description: Node it runs on.
          type: str
        address:
          description: Its address.
          type: str
        phase:
          description: Phase, such as V(Running).
          type: str
        ready:
          description: Whether it is ready.
          type: bool
        restarts:
          description: Number of restarts of its containers.
          type: int
        digest:
          description: Digest of the release it runs.
          type: str
        image:
          description: Image it runs.
          type: str
    events:
      description: Events, oldest first.
      returned: with O(events)
      type: list
      elements: str
    logs:
      description: Name of a process to its pods, and the name of each pod to its last log lines.
      returned: with O(log_lines)
      type: dict
    usage:
      description:
        - C(pods), C(cpu) and C(memory) to the requests of the app's pods (C(requested)), those of all pods of the
          tenant (C(used)), and the tenant's quota (C(hard)). The last two are null without a quota, or if the
          credentials cannot read it.
      type: dict
topology:
  description: The graph of domains, apps and bindings.
  returned: with O(topology)
  type: dict
  contains:
    nodes:
      description: Apps and domains, each with C(id), C(kind), C(label), C(tenant) and C(status).
      type: list
      elements: dict
    edges:
      description: Each with C(from) and C(to) (the ids of nodes), C(kind) (V(route) or V(binding)) and C(env) (names).
      type: list
      elements: dict
    text:
      description: The same for Graphviz or Mermaid.
      returned: when O(topology) is V(dot) or V(mermaid)
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
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("app_info")


if __name__ == "__main__":
    main()
