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
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.rollout
attributes:
  diff_mode:
    support: full
    description: Secrets appear as fingerprints that change with them.
options:
  name: &name
    description:
      - Name of the app, unique in its tenant. It is the host name of its Service.
      - At most 52 lowercase letters, digits and dashes.
      - Required without O(apps).
    type: str
  tenant: &tenant
    description:
      - Name of the tenant, which is the namespace of its apps.
      - A missing tenant is created, as M(cloudbang.platform.tenant) creates one with only a name. This needs
        administrator rights.
      - Required, for each app.
    type: str
  state: &state
    description:
      - V(present) deploys the release. A stopped app stays stopped.
      - V(started) starts a stopped app with the replicas it had.
      - V(stopped) removes all replicas and records their number. The schedules of a C(cron) app are suspended, and
        running jobs continue. An unfinished C(job) is suspended, which ends its pods, and V(started) resumes it; a
        finished one stays as it is.
      - V(absent) removes the app with its releases. The namespace stays.
      - With V(started) and V(stopped), an O(image) deploys the release too. Without one, the deployed release stays.
    type: str
    choices: [present, absent, started, stopped]
    default: present
  image: &image
    description:
      - Image that all processes run, with a tag that does not move or a digest.
      - Required when O(state=present).
    type: str
  allow_latest: &allow_latest
    description: Whether to accept an image without a tag or with the tag C(latest), whose content is not known.
    type: bool
    default: false
  type: &type
    description:
      - V(web) serves requests. One process must have a TCP port, V(web) if a process has that name, else the first with
        a port. The Service O(name) and the O(domains) point to it.
      - V(worker) gets no requests from the gateway.
      - V(stateful) runs under stable names, C(APP-PROCESS-0) and so on, which resolve inside the tenant through the
        headless Service C(APP-PROCESS). Pods are started and replaced one after the other. The Service O(name) and the
        O(domains) point to the process V(web), else to the first with a TCP port, if any.
      - V(cron) runs each process on its schedule. The task does not wait for a run, so a missing image is noticed only
        at the first one.
      - V(job) runs each process to its end, once for each release. The task waits until all are complete; if one fails,
        the release fails. Its effects cannot be undone, so a failed job is not rolled back. Repeating the task changes
        nothing after success, and makes another release, and so another run, after a failure. Rolling back to an older
        release runs that release again.
    type: str
    choices: [web, worker, stateful, cron, job]
    default: web
  processes: &processes
    description:
      - Processes that run from the image, each scaled separately.
      - By default one process named as the O(type), with the image's own command.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the process, such as C(web) or C(worker).
        type: str
        required: true
      command:
        description: Replaces the image's entry point. A list, or a text that is split like in a shell, without running
          one.
        type: raw
      args:
        description: Arguments of the command or entry point, in the same formats.
        type: raw
      ports:
        description:
          - Ports the process listens on, as numbers or as mappings with V(port), V(name) and V(protocol) (V(TCP) or
            V(UDP)).
          - A process with ports gets a Service with the same port numbers. That of the main process has the app's name,
            others C(APP-PROCESS).
        type: list
        elements: raw
        default: []
      replicas:
        description:
          - Initial number of replicas, 0 to 10000. Later M(cloudbang.platform.app_scale) changes it.
          - Not for the types V(cron) and V(job), see O(processes[].parallelism).
        type: int
        default: 1
      resources:
        description: Resources of each replica.
        type: dict
        suboptions:
          requests:
            description: Resources that a node must have free.
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
            description: Maximum use, at least as much as requested.
            type: dict
            suboptions: *amounts
      readiness:
        description:
          - When a replica is ready for requests.
          - The main process of a O(type=web) app without one gets a TCP connect to its first port.
        type: dict
        suboptions: &probe
          http:
            description: Path that answers with a status of 200 to 399.
            type: str
          tcp:
            description: Whether to connect to the port.
            type: bool
          command:
            description: Command that exits with 0.
            type: list
            elements: str
          port:
            description: Port to probe. By default the first TCP port of the process.
            type: int
          initial_delay:
            description: Seconds from the start of the container to the first probe.
            type: int
          period:
            description: Seconds between probes. 5 when not given.
            type: int
          timeout:
            description: Seconds to wait for an answer. Kubernetes' default is 1.
            type: int
          failures:
            description: Number of consecutive failures that count. Kubernetes' default is 3.
            type: int
      liveness:
        description: When a container is restarted.
        type: dict
        suboptions: *probe
      startup:
        description: When the other probes begin.
        type: dict
        suboptions: *probe
      placement:
        description: Where the replicas run.
        type: dict
        suboptions:
          spread:
            description:
              - Whether the replicas of a process are spread over hosts, over zones and their hosts, or not at all.
              - Zones are the values of the node label C(topology.kubernetes.io/zone). A replica that cannot be spread
                still runs.
            type: str
            choices: [hosts, zones, none]
            default: hosts
          node_labels:
            description: Labels that a node must have, name to value, such as C(disk) to V(ssd).
            type: dict
            default: {}
          tolerations:
            description: Names of taints that the replicas tolerate, with any value and effect.
            type: list
            elements: str
            default: []
      host_network:
        description:
          - Whether each replica runs in its host's network, on ports of its own. Only for the types V(web) and
            V(worker), and not with O(strategy=blue_green).
          - Each replica is an instance, a Deployment of one pod with the name C(APP-PROCESS-NUMBER). It gets a number
            for each of its O(processes[].ports) out of O(host_ports), which is unique in the cluster and permanent. The
            environment has the first as C(PORT) and each as C(PORT_NAME). Commands can contain C($(PORT)).
          - The Service has the port numbers of the task and forwards to those of the instances. The headless Service
            C(APP-PROCESS) has SRV records with the real numbers.
          - Each port exists once on a host, so an instance ends before its successor starts, and instances are replaced
            one after the other. Run at least two to serve without interruption.
          - The Pod Security standards C(baseline) and C(restricted) forbid it, so the namespace must enforce neither.
        type: bool
        default: false
      schedule:
        description:
          - Schedule of a process of the type V(cron), required for it. Five fields, minute, hour, day of the month,
            month and day of the week, such as V(15 3 * * mon-fri), or V(@hourly), V(@daily), V(@weekly), V(@monthly),
            V(@yearly), or V(@every 1h30m).
        type: str
      time_zone:
        description: Time zone of the schedule, such as V(Europe/Berlin). By default that of the control plane.
        type: str
      concurrency:
        description:
          - What happens when a run is due while the last one is still running. Both run (V(allow)), the new one is
            skipped (V(forbid)), or it replaces the old one (V(replace)). V(forbid) when not given.
        type: str
        choices: [allow, forbid, replace]
      start_deadline:
        description: Maximum delay of a start in seconds, at least 10. A later start is skipped. No limit when not
          given.
        type: int
      history:
        description: Number of finished runs of a V(cron) process to keep.
        type: dict
        suboptions:
          succeeded:
            description: Successful runs. 3 when not given.
            type: int
          failed:
            description: Failed runs. 1 when not given.
            type: int
      parallelism:
        description: Number of pods of one run that work at the same time, for the types V(cron) and V(job). 1 when not
          given.
        type: int
      completions:
        description: Number of pods that must succeed until the run is complete. 1 when not given.
        type: int
      retries:
        description: Number of pods of a run that may fail before the run fails. 3 when not given.
        type: int
      deadline:
        description: Seconds after which a run is stopped and counts as failed. No limit when not given.
        type: int
  env: &env
    description:
      - Environment of all processes, name to text. Numbers and booleans become text (V(true), V(false)).
      - It is kept in an immutable Secret, so that a rollback restores the old values.
    type: dict
    default: {}
  secret_env: &secret_env
    description: Like O(env), with values that no output shows.
    type: dict
    default: {}
  files: &files
    description: Configuration files of all processes, at most 1 MB together.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path in the container.
        type: str
        required: true
      content:
        description: Text of the file, kept as it is.
        type: str
        required: true
      mode:
        description: Octal mode, such as V("0444").
        type: raw
        default: "0444"
  secret_files: &secret_files
    description: Like O(files), with contents that no output shows.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path in the container.
        type: str
        required: true
      content:
        description: Text of the file, kept as it is.
        type: str
        required: true
      mode:
        description: Octal mode, such as V("0400").
        type: raw
        default: "0444"
  domains: &domains
    description:
      - Host names whose requests the gateway sends to the app. C(*.example.org) matches all names one level below.
      - A domain of another app, of any tenant, is an error.
      - They are not part of a release. A rollback does not change them.
    type: list
    elements: str
    default: []
  ingress_class: &ingress_class
    description: IngressClass of the app's Ingress. By default the cluster's.
    type: str
  image_pull_secrets: &image_pull_secrets
    description: Names of Secrets in the tenant's namespace for pulling the image.
    type: list
    elements: str
    default: []
  strategy: &strategy
    description:
      - V(rolling) replaces replicas one by one. Each new one is ready before an old one ends.
      - V(recreate) ends all replicas of the old release before it starts those of the new one, for apps that cannot run
        two releases at the same time.
      - V(blue_green) starts the complete new release beside the old one, and switches the Services in one step when all
        of it is ready. The old one is kept for O(drain) seconds more, and the task takes that much longer. If the new
        one does not become ready, it is removed and the old one is not affected. For this time it needs twice the
        resources, and O(wait=true).
      - Types other than V(web) and V(worker) take V(rolling) only.
    type: str
    choices: [rolling, recreate, blue_green]
    default: rolling
  restart_key: &restart_key
    description:
      - Any text. A changed text replaces all pods without a new release, one by one or as O(strategy=recreate) does.
        Without it, the last key stays.
      - It runs a O(type=job) again, as a new release.
    type: str
  host_ports: &host_ports
    description:
      - Ports of hosts that instances with O(processes[].host_network) may get, from 1024 to 65535. Keep them free of
        other programs, and reachable for the app's clients.
    type: str
    default: 20000-24999
  drain: &drain
    description:
      - Seconds that a replica with ports still serves after its removal from the endpoints, before it gets SIGTERM.
    type: int
    default: 5
  grace: &grace
    description: Seconds from SIGTERM to SIGKILL.
    type: int
    default: 30
  keep_releases: &keep_releases
    description: Number of releases to keep. The last one that ran is always kept.
    type: int
    default: 10
  force: &force
    description:
      - With O(state=absent), whether to remove an app although other apps are bound to it, see
        M(cloudbang.platform.app_binding), or a route of another app has it as a backend, see
        M(cloudbang.platform.app_route). The app's own routes are always removed with it.
    type: bool
    default: false
  apps:
    description:
      - Apps to bring to their states, in parallel, which is much faster than one task for each app.
      - Each app has the options above. Options given outside of the list are the defaults of its apps.
      - If one app fails, the others are still processed, and the task fails.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      tenant: *tenant
      state: *state
      image: *image
      allow_latest: *allow_latest
      type: *type
      processes: *processes
      env: *env
      secret_env: *secret_env
      files: *files
      secret_files: *secret_files
      domains: *domains
      ingress_class: *ingress_class
      image_pull_secrets: *image_pull_secrets
      strategy: *strategy
      restart_key: *restart_key
      host_ports: *host_ports
      drain: *drain
      grace: *grace
      keep_releases: *keep_releases
      force: *force
seealso:
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
