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
  - Each change of image or configuration makes a release, which is never changed afterwards. The replicas are not
    part of it, so
    deploying never resets a scale.
  - An app is plain Kubernetes in the namespace of its tenant, one Deployment, StatefulSet, CronJob or Job per process
    by O(type), with a PodDisruptionBudget, Services, an Ingress, and Secrets for releases and configuration. Objects
    that somebody changed or removed are repaired.
  - No request fails during a rollout when the app ends its requests on SIGTERM. A new pod is ready before an old one
    goes, and an
    old one that has ports still serves for O(drain) seconds.
  - All options of all apps are checked, and every problem is reported, before anything changes.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.rollout
attributes:
  diff_mode:
    support: full
    description: Secrets appear as a mark that changes when they do.
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
      - A tenant that does not exist is made, as M(cloudbang.platform.tenant) makes one with nothing but a name. Only
        administrators may do that.
      - Required, for each app.
    type: str
  state: &state
    description:
      - V(present) makes sure that the app has the wanted release. A stopped app stays stopped.
      - V(started) starts a stopped app with the replicas it had.
      - V(stopped) takes all replicas away and remembers how many there were. The schedules of a C(cron) app are
        suspended, and runs that have begun go on. A C(job) that has not ended is suspended, which ends its pods, and
        V(started) runs it on; one that has ended stays as it is.
      - V(absent) removes the app with its releases. The namespace stays.
      - With V(started) and V(stopped), an O(image) makes sure of the release too. Without one the app is left as it
        was deployed.
    type: str
    choices: [present, absent, started, stopped]
    default: present
  image: &image
    description:
      - Image that all processes run, with a tag that does not move or a digest.
      - Required when O(state=present).
    type: str
  allow_latest: &allow_latest
    description: Whether to accept an image without tag or with the tag C(latest), of which nobody knows what it runs.
    type: bool
    default: false
  type: &type
    description:
      - V(web) takes requests. One process must have a TCP port, V(web) if there is a process of that name, else the
        first with a port.
        The Service O(name) and the O(domains) lead there.
      - V(worker) takes none from the gateway.
      - V(stateful) keeps running under stable names, C(APP-PROCESS-0) and so on, which resolve inside the tenant by the
        Service without address C(APP-PROCESS). Pods start and are replaced one after the other. The Service O(name) and
        the O(domains) lead to the process V(web), or the first with a TCP port, if there is one.
      - V(cron) runs each process at the times of its schedule. The task waits for no run, so a missing image shows only
        then.
      - V(job) runs each process to its end, once for each release. Waiting is until all are complete; one that fails
        makes the release fail. What it has done cannot be taken back, so nothing goes back. The same task again changes
        nothing after success, and makes another release, that is another run, after a failure. Going back to an older
        release runs that one again.
    type: str
    choices: [web, worker, stateful, cron, job]
    default: web
  processes: &processes
    description:
      - What runs from the image, each process scaled by itself.
      - By default one process named as the O(type), with the image's own command.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the process, such as C(web) or C(worker).
        type: str
        required: true
      command:
        description: Replaces the image's entry point. A list, or a text that is split as a shell would, without
          running one.
        type: raw
      args:
        description: Arguments of the command or entry point, in the same forms.
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
          - How many to start with, 0 to 10000. Later it is M(cloudbang.platform.app_scale) that changes it.
          - Not for the types V(cron) and V(job), see O(processes[].parallelism).
        type: int
        default: 1
      resources:
        description: Resources of each replica.
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
      readiness:
        description:
          - When a replica takes requests.
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
            description: Command that ends with 0.
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
            description: How many failures in a row count. Kubernetes' default is 3.
            type: int
      liveness:
        description: When a container is restarted.
        type: dict
        suboptions: *probe
      startup:
        description: Until when the other probes wait.
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
                runs nevertheless.
            type: str
            choices: [hosts, zones, none]
            default: hosts
          node_labels:
            description: Labels a node must have, name to value, such as C(disk) to V(ssd).
            type: dict
            default: {}
          tolerations:
            description: Names of taints that do not keep the replicas away, with any value and effect.
            type: list
            elements: str
            default: []
      host_network:
        description:
          - Whether each replica runs in the network of its host, on ports of its own. Only for the types V(web) and
            V(worker), and not with O(strategy=blue_green).
          - Each replica is an instance, a Deployment of one pod with the name C(APP-PROCESS-NUMBER). It gets a number
            for each of its O(processes[].ports) out of O(host_ports), which no other instance in the cluster has and
            which it keeps. The environment has the first as C(PORT) and each as C(PORT_NAME). Commands may say
            C($(PORT)).
          - The Service has the port numbers of the task and leads to the numbers of the instances. The Service without
            address C(APP-PROCESS) has SRV records with the real numbers.
          - A host has each port once, so an instance ends before its successor starts, and instances are replaced one
            after the other. Run two or more to serve at any time.
          - The Pod Security standards C(baseline) and C(restricted) forbid it, so the namespace must enforce neither.
        type: bool
        default: false
      schedule:
        description:
          - When a process of the type V(cron) starts, required there. Five fields, minute, hour, day of the month,
            month and day of the week, such as V(15 3 * * mon-fri), or V(@hourly), V(@daily), V(@weekly), V(@monthly),
            V(@yearly), or V(@every 1h30m).
        type: str
      time_zone:
        description: Time zone of the schedule, such as V(Europe/Berlin). By default that of the control plane.
        type: str
      concurrency:
        description:
          - What happens when a run is due while the last one goes on. Both run (V(allow)), the new one is skipped
            (V(forbid)), or it replaces the old one (V(replace)). V(forbid) when not given.
        type: str
        choices: [allow, forbid, replace]
      start_deadline:
        description: Seconds that a start may be late, at least 10. Later it is skipped. Without limit when not given.
        type: int
      history:
        description: How many runs of a V(cron) process stay to be looked at.
        type: dict
        suboptions:
          succeeded:
            description: Runs that went well. 3 when not given.
            type: int
          failed:
            description: Runs that failed. 1 when not given.
            type: int
      parallelism:
        description: How many pods of one run work at the same time, for the types V(cron) and V(job). 1 when not given.
        type: int
      completions:
        description: How many pods have to end well until the run is complete. 1 when not given.
        type: int
      retries:
        description: How many pods of a run may fail before the run fails. 3 when not given.
        type: int
      deadline:
        description: Seconds after which a run is ended and has failed. Without limit when not given.
        type: int
  env: &env
    description:
      - Environment of all processes, name to text. Numbers and booleans become text (V(true), V(false)).
      - It is kept in an immutable Secret, so that going back brings the old values back.
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
      - Host names whose requests the gateway gives to the app. C(*.example.org) takes all names of one level.
      - A domain that another app has, of any tenant, is an error.
      - They are not part of a release. Going back leaves them as they are.
    type: list
    elements: str
    default: []
  ingress_class: &ingress_class
    description: IngressClass of the app's Ingress. By default the cluster's.
    type: str
  image_pull_secrets: &image_pull_secrets
    description: Names of Secrets in the tenant's namespace to pull the image with.
    type: list
    elements: str
    default: []
  strategy: &strategy
    description:
      - V(rolling) replaces replicas one by one, the new one ready before the old one ends.
      - V(recreate) ends all replicas of the old release before it starts those of the new one, for apps of which two
        releases must not run at the same time.
      - V(blue_green) runs the new release completely beside the old one, and switches the Services in one step when
        all of it is ready. The old one is kept for O(drain) seconds more, and the task takes as long. When the new one
        does not get ready, it is removed and nothing has happened to the old one. It needs twice the room for a while,
        and O(wait=true).
      - Types other than V(web) and V(worker) take V(rolling) only.
    type: str
    choices: [rolling, recreate, blue_green]
    default: rolling
  restart_key: &restart_key
    description:
      - Any text. Another one replaces all pods without a new release, one by one or as O(strategy=recreate) says.
        Without one the key of the last time stays.
      - It runs a O(type=job) again, as a new release.
    type: str
  host_ports: &host_ports
    description:
      - Ports of hosts that instances with O(processes[].host_network) may get, from 1024 to 65535. Keep them free of
        other programs, and open for those who use the app.
    type: str
    default: 20000-24999
  drain: &drain
    description:
      - Seconds that a replica with ports keeps serving after it has left the endpoints, before it gets SIGTERM.
    type: int
    default: 5
  grace: &grace
    description: Seconds from SIGTERM to SIGKILL.
    type: int
    default: 30
  keep_releases: &keep_releases
    description: How many releases to keep. The last one that ran is kept in any case.
    type: int
    default: 10
  force: &force
    description:
      - With O(state=absent), whether to remove an app that others are bound to, see
        M(cloudbang.platform.app_binding), or that a route of another app leads to, see
        M(cloudbang.platform.app_route). The app's own routes are always removed with it.
    type: bool
    default: false
  apps:
    description:
      - Apps to bring to their states, in parallel. It is much faster than one task for each.
      - Each has the options above. Those given beside the list hold for every app that does not set them itself.
      - When one app fails the others are still carried out, and the task fails.
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
  description: The outcome for each app, also when there is only one, in the order of the task.
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
      description: Whether the app was changed, or would be.
      type: bool
      returned: always
    action:
      description: What was done, one of V(deployed), V(restarted), V(repaired), V(started), V(stopped),
        V(removed), V(none).
      type: str
      returned: success
    release:
      description: Number of the release that is active, null when a failed first release was removed.
      type: int
      returned: when the app is not absent
    previous_release:
      description: Number of the release that was active before.
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
      description: What somebody else had changed, and this repairs.
      type: list
      elements: str
      returned: when the app is not absent
    reason:
      description: Why the rollout failed.
      type: str
      returned: when it did
    events:
      description: The latest warnings about the app's objects.
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
      returned: when the rollout failed and went back
    msg:
      description: What went wrong.
      type: str
      returned: failure
    failed:
      description: Whether this app failed.
      type: bool
      returned: failure
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
    on_target("app")


if __name__ == "__main__":
    main()
