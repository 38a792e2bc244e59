#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy, start, stop and remove applications."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app
short_description: Deploy, start, stop and remove applications
version_added: 0.1.0
description:
  - Brings one app, or all apps of a list, to a state on a Kubernetes cluster.
  - Each change of image or configuration creates an immutable release. Replicas are not part of it, so deploying never
    resets a scale.
  - An app is plain Kubernetes in the namespace of its tenant, one Deployment, StatefulSet, CronJob or Job per process
    by O(type), with a PodDisruptionBudget, Services, an Ingress, and Secrets for releases and configuration. Objects
    that were changed or removed by others are repaired.
  - No request fails during a rollout if the app finishes its requests on SIGTERM. A new pod is ready before an old one
    ends, and an old pod with ports still serves for O(drain) seconds.
  - All options of all apps are checked, and all errors are reported, before anything changes.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.app
  - cloudbang.platform.app.each
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.rollout
attributes:
  diff_mode:
    support: full
    description: Secrets appear as fingerprints that change with them.
options:
  name:
    description:
      - Name of the app, unique in its tenant. It is the host name of its Service.
      - At most 52 lowercase letters, digits and dashes.
      - Required without O(apps).
    type: str
  apps:
    description:
      - Apps to bring to their states, in parallel, which is much faster than one task for each app.
      - Each app has the options above. Options given outside of the list are the defaults of its apps.
      - If one app fails, the others are still processed, and the task fails.
    type: list
    elements: dict
seealso:
  - module: cloudbang.platform.app_build
  - module: cloudbang.platform.app_scale
  - module: cloudbang.platform.app_release
  - module: cloudbang.platform.app_info
"""

EXAMPLES = r"""
- name: Deploy a web app with a worker
  cloudbang.platform.app:
    name: shop
    tenant: acme
    image: registry.example.org/acme/shop:1.4.2
    processes:
      - name: web
        command: gunicorn --bind 0.0.0.0:8000 shop.wsgi
        ports: [8000]
        replicas: 2
        readiness: {http: /healthz}
        resources:
          requests: {cpu: 100m, memory: 128Mi}
          limits: {memory: 256Mi}
      - name: worker
        command: [celery, -A, shop, worker]
    env:
      LOG_LEVEL: info
    secret_env:
      DATABASE_URL: "{{ vault_database_url }}"
    files:
      - path: /etc/shop/shop.ini
        content: "{{ lookup('ansible.builtin.template', 'shop.ini.j2') }}"
    domains: [shop.example.org]

- name: Deploy a build
  cloudbang.platform.app:
    name: shop
    tenant: acme
    build: 3
    domains: [shop.example.org]

- name: Stop it for the night
  cloudbang.platform.app:
    name: shop
    tenant: acme
    state: stopped

- name: Start it with the replicas it had
  cloudbang.platform.app:
    name: shop
    tenant: acme
    state: started

- name: Deploy several apps in one task
  cloudbang.platform.app:
    tenant: acme
    apps:
      - name: api
        image: registry.example.org/acme/api:7
        processes: [{name: web, ports: [8080]}]
      - name: mailer
        image: registry.example.org/acme/mailer:3
        type: worker

- name: Run a database with stable names on fast disks
  cloudbang.platform.app:
    name: store
    tenant: acme
    type: stateful
    image: registry.example.org/acme/store:2.1
    processes:
      - name: db
        ports: [5432]
        replicas: 3
        placement:
          spread: zones
          node_labels: {disk: ssd}
          tolerations: [example.org/storage]

- name: Write reports on workdays
  cloudbang.platform.app:
    name: reports
    tenant: acme
    type: cron
    image: registry.example.org/acme/reports:5
    processes:
      - name: daily
        command: report --all
        schedule: "15 3 * * mon-fri"
        time_zone: Europe/Berlin
        deadline: 3600

- name: Migrate the database, once for each release
  cloudbang.platform.app:
    name: migrate
    tenant: acme
    type: job
    image: registry.example.org/acme/shop:1.4.2
    processes: [{name: migrate, command: shop migrate, retries: 0, deadline: 600}]

- name: Switch to a new release in one step
  cloudbang.platform.app:
    name: shop
    tenant: acme
    image: registry.example.org/acme/shop:1.4.3
    processes: [{name: web, ports: [8000], replicas: 4, readiness: {http: /healthz}}]
    strategy: blue_green
    drain: 30

- name: Run a game server on ports of the hosts, and restart it once a day
  cloudbang.platform.app:
    name: game
    tenant: acme
    type: worker
    image: registry.example.org/acme/game:3
    processes:
      - name: room
        command: game --listen 0.0.0.0:$(PORT)
        ports: [{port: 7777, name: play, protocol: UDP}]
        host_network: true
        replicas: 2
    restart_key: "{{ now(fmt='%Y-%m-%d') }}"

- name: Remove an app
  cloudbang.platform.app:
    name: shop
    tenant: acme
    state: absent
"""

RETURN = r"""
apps:
  description: The result of each app, also of a single one, in the order of the task.
  returned: when the options are valid and the API answers
  type: list
  elements: dict
  contains:
    name:
      description: Name of the app.
      type: str
      returned: always
    tenant:
      description: Its tenant.
      type: str
      returned: always
    changed:
      description: Whether the app was changed, or in check mode would be.
      type: bool
      returned: always
    action:
      description: What was done, one of V(deployed), V(restarted), V(repaired), V(started), V(stopped),
        V(removed), V(none).
      type: str
      returned: success
    release:
      description: Number of the active release, null if a failed first release was removed.
      type: int
      returned: when the app is not absent
    previous_release:
      description: Number of the previously active release.
      type: int
      returned: when the app is not absent
    digest:
      description: Digest of the release's content. Its pods carry it as the label C(cloudbang.platform/digest).
      type: str
      returned: when the app is not absent
    image:
      description: The image.
      type: str
      returned: when the app is not absent
    replicas:
      description: Replicas of each Deployment and StatefulSet.
      type: dict
      returned: when the app is not absent
    drift:
      description: Changes made by others that this task repairs.
      type: list
      elements: str
      returned: when the app is not absent
    reason:
      description: Why the rollout failed.
      type: str
      returned: when the rollout failed
    events:
      description: The latest warning events of the app's objects.
      type: list
      elements: str
      returned: when the rollout failed
    log:
      description: The last lines of a pod that failed.
      type: str
      returned: when the rollout failed
    rolled_back_to:
      description: The earlier release whose content is active again, as the release RV(apps[].release).
      type: int
      returned: when the rollout failed and was rolled back
    msg:
      description: What went wrong.
      type: str
      returned: failure
    failed:
      description: Whether this app failed.
      type: bool
      returned: failure
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
    on_target("app")


if __name__ == "__main__":
    main()
