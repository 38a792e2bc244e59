#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show apps, their releases and how they run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_info
short_description: Show apps, their releases and how they run
version_added: 0.1.0
description:
  - Returns what there is of one app, of all apps of a tenant, or of all apps. It changes nothing.
  - An app that does not exist is no error. The list is empty then.
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
    description: Name of the app. All of them without it.
    type: str
  tenant:
    description: Name of the tenant. Required with O(name), all of them without it.
    type: str
  log_lines:
    description: How many of the last log lines of each pod to return.
    type: int
    default: 0
  events:
    description: Whether to return events about the apps' objects.
    type: bool
    default: false
  topology:
    description:
      - Whether to return which domain leads to which app, and which app is bound to which.
      - V(data) returns nodes and edges, V(dot) and V(mermaid) a text for Graphviz or Mermaid too.
    type: str
    choices: [none, data, dot, mermaid]
    default: none
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Look at an app
  cloudbang.platform.app_info:
    name: shop
    tenant: acme
    log_lines: 20
    events: true
  register: shop

- name: Stop unless it runs
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
        - V(running), V(complete) (all of a job has ended well), V(stopped), V(rolling) (a release is coming up),
          V(failing) (and will not), V(degraded) (fewer than wanted are ready), V(failed) (a job, or the first release,
          which was removed again) or V(absent) (only its history is left).
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
          description: V(pending), V(good) (it ran), V(failed) or V(superseded) (replaced before it was seen running).
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
          description: When, in UTC.
          type: str
        by:
          description: User and host.
          type: str
        message:
          description: Why it failed.
          type: str
        changes:
          description:
            - What differs from the release before, null when that one is not kept. Values are not shown, except those
              of the image.
            - Secrets are compared by their fingerprints. Those of a release that was promoted may have another key
              than the release before. Then all secrets and files count as changed.
          type: dict
          contains:
            image:
              description: The image C(before) and C(after), null when it is the same.
              type: dict
            env:
              description: Names of environment, secret or not.
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
        - Name of a process to its C(kind) and how it runs.
        - Of a Deployment or StatefulSet these are C(replicas), C(ready), C(updated), C(stopped_replicas), and the
          C(autoscale) and C(resources) set by M(cloudbang.platform.app_scale). Instances with C(host_network) count
          together.
        - Of a CronJob these are C(suspended), C(schedule), C(last_start), C(last_success) and C(active) runs, of a Job
          C(suspended) and the numbers of C(active), C(succeeded) and C(failed) pods.
      type: dict
    domains:
      description: Domains that the app itself asks for.
      type: list
      elements: str
    routes:
      description:
        - Routes of the app, and those of others that lead to it, each with C(name), C(app) that it is of, C(domains),
          and C(ports) (C(port) and C(protocol) of the gateway).
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
          description: Whether it takes requests.
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
          description: How often its containers were restarted.
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
        - C(pods), C(cpu) and C(memory) to what the app's pods request (C(requested)), what all pods of the tenant do
          (C(used)), and what its quota allows (C(hard)). The last two are null without a quota, or when the
          credentials do not show it.
      type: dict
topology:
  description: What leads where.
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
    on_target("app_info")


if __name__ == "__main__":
    main()
