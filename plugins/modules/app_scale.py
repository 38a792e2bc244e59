#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the size of processes: replicas, autoscaler, resources."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_scale
short_description: Set the size of processes
version_added: 0.1.0
description:
  - Sets the replicas of processes, or the autoscaler or resources of one. It makes no release, and later deployments
    and rollbacks keep it.
  - For an app that is stopped it sets how many replicas there will be when it is started.
  - Replicas of a process that a HorizontalPodAutoscaler scales are refused.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.target
attributes:
  diff_mode:
    support: full
options:
  process:
    description: Name of the process. Only an app of a single process may leave it out.
    type: str
  replicas:
    description:
      - How many are to run, 0 to 10000.
      - A process with C(host_network) takes 1 to 100. It gets more instances with ports of their own, or loses those
        with the greatest numbers.
    type: int
  processes:
    description:
      - The replicas of several processes, name to number.
      - It stands alone, without O(process), O(replicas), O(autoscale) and O(resources).
    type: dict
  autoscale:
    description:
      - A mapping makes the cluster choose the replicas. V(min) (1 by default) and V(max) are the bounds, V(cpu) and
        V(memory) the use to aim at, in percent of what the process requests. At least one of them is required, and that
        the process requests it.
      - V(false) removes the autoscaler. The replicas there are at that moment stay.
      - The cluster must have the metrics API, otherwise the result has a warning.
    type: raw
  resources:
    description:
      - Resources of each replica of the process, over those of the release. Amounts that are not given stay as the
        release has them. An empty mapping goes back to the release.
      - All pods of the process are replaced, as in a deployment. Of a C(cron) process the next run takes them. A C(job)
        is refused.
    type: dict
    suboptions:
      requests:
        description: What a node must have free.
        type: dict
        suboptions: &amounts
          cpu:
            description: Cores, such as V(100m), V(0.5) or V(2).
            type: str
          memory:
            description: Bytes, such as V(64Mi) or V(1Gi).
            type: str
          ephemeral_storage:
            description: Bytes of local disk, such as V(1Gi).
            type: str
      limits:
        description: What it may use at most, no less than requested.
        type: dict
        suboptions: *amounts
  host_ports:
    description: Ports that new instances with C(host_network) may get, as in M(cloudbang.platform.app).
    type: str
    default: 20000-24999
  wait:
    description: Whether to wait until all pods are as wanted and ready, also when nothing has to be changed.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Run six web replicas
  cloudbang.platform.app_scale:
    name: shop
    tenant: acme
    process: web
    replicas: 6

- name: Scale several processes
  cloudbang.platform.app_scale:
    name: shop
    tenant: acme
    processes: {web: 4, worker: 2}

- name: Let the cluster choose between 2 and 10 replicas
  cloudbang.platform.app_scale:
    name: shop
    tenant: acme
    process: web
    autoscale: {min: 2, max: 10, cpu: 70}

- name: Keep the replicas there are now
  cloudbang.platform.app_scale:
    name: shop
    tenant: acme
    process: web
    autoscale: false

- name: Give each replica more memory than the release does
  cloudbang.platform.app_scale:
    name: shop
    tenant: acme
    process: web
    resources:
      requests: {memory: 512Mi}
      limits: {memory: 1Gi}
"""

RETURN = r"""
app:
  description: What was scaled.
  returned: when the app exists
  type: dict
  contains:
    name:
      description: Name of the app.
      type: str
    tenant:
      description: Its tenant.
      type: str
    processes:
      description: Each process of the task, by name.
      type: dict
      contains:
        replicas:
          description: The replicas asked for.
          type: int
        previous_replicas:
          description: The replicas there were.
          type: int
        autoscale:
          description: Bounds and aims of the autoscaler, null when there is none.
          type: dict
        resources:
          description: The resources set over those of the release, null when there are none.
          type: dict
        stopped:
          description: Whether the app is stopped, so that none run yet.
          type: bool
warnings:
  description: What keeps the autoscaler from acting.
  returned: when the cluster has no metrics API
  type: list
  elements: str
reason:
  description: Why the replicas do not run.
  returned: when waiting for them failed
  type: str
events:
  description: The latest warnings about them.
  returned: when waiting for them failed
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
    on_target("app_scale")


if __name__ == "__main__":
    main()
