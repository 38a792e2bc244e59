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
  - Sets the replicas of processes, or the autoscaler or resources of one. It creates no release, and later deployments
    and rollbacks keep the setting.
  - For a stopped app it sets the number of replicas for the next start.
  - Setting the replicas of a process with a HorizontalPodAutoscaler is refused.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.app.resources
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.target
attributes:
  diff_mode:
    support: full
options:
  process:
    description: Name of the process. Optional for an app with a single process.
    type: str
  replicas:
    description:
      - Number of replicas, 0 to 10000.
      - A process with C(host_network) can have 1 to 100. Additional instances get ports of their own; the instances
        with the highest numbers are removed first.
    type: int
  processes:
    description:
      - The replicas of several processes, name to number.
      - Not together with O(process), O(replicas), O(autoscale) and O(resources).
    type: dict
  autoscale:
    description:
      - A mapping lets the cluster choose the replicas. V(min) (1 by default) and V(max) are the bounds, V(cpu) and
        V(memory) the target use in percent of the requests of the process. At least one of them is required, and the
        process must request that resource.
      - V(false) removes the autoscaler and keeps the current replicas.
      - Without the metrics API in the cluster, the result has a warning.
    type: raw
  resources:
    description:
      - Resources of each replica of the process, which override those of the release. Amounts that are not given are
        those of the release. An empty mapping removes the override.
      - All pods of the process are replaced, as in a deployment. A C(cron) process uses them from the next run on. A
        C(job) is refused.
    type: dict
  host_ports:
    description: Ports that new instances with C(host_network) may get, as in M(cloudbang.platform.app).
    type: str
    default: 20000-24999
  wait:
    description: Whether to wait until all pods are up to date and ready, even if nothing changes.
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

- name: Stop autoscaling and keep the current replicas
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
  description: The result for the app.
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
          description: Number of replicas in the task.
          type: int
        previous_replicas:
          description: Number of replicas before.
          type: int
        autoscale:
          description: Bounds and targets of the autoscaler, null without one.
          type: dict
        resources:
          description: Resources that override those of the release, null without any.
          type: dict
        stopped:
          description: Whether the app is stopped, so that no replica runs yet.
          type: bool
warnings:
  description: Why the autoscaler cannot work.
  returned: when the cluster has no metrics API
  type: list
  elements: str
reason:
  description: Why the replicas do not run.
  returned: when waiting for them failed
  type: str
events:
  description: The latest warning events of the replicas.
  returned: when waiting for them failed
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
    on_target("app_scale")


if __name__ == "__main__":
    main()
