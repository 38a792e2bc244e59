#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy several apps together, in their order."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_stack
short_description: Deploy several apps together, in their order
version_added: 0.1.0
description:
  - Deploys the apps of a stack in the order of their dependencies. An app starts when all its dependencies are ready,
    and independent apps are deployed in parallel.
  - The apps are released together. If one app fails, all are rolled back to their previous releases.
  - The apps come from the task, from a docker compose file, or from a template of M(cloudbang.platform.app_template).
  - Members have the label C(cloudbang.platform/stack). Each behaves like an app of M(cloudbang.platform.app).
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
    description: Secrets appear as fingerprints that change with them.
options:
  name:
    description: Name of the stack, unique in its tenant.
    type: str
    required: true
  tenant:
    description: Tenant of all apps of the stack.
    type: str
    required: true
  state:
    description:
      - V(present) deploys the stack.
      - V(absent) removes its members, each before those that it depends on.
    type: str
    choices: [present, absent]
    default: present
  apps:
    description:
      - The apps of the stack, with the options of M(cloudbang.platform.app).
      - One of O(apps), O(compose) and O(template) is required when O(state=present).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the app.
        type: str
        required: true
      depends_on:
        description: Apps of the stack that must be ready, or complete if they are jobs, before this one starts.
        type: list
        elements: str
        default: []
      image:
        description:
        - Image that all processes run, with a tag that does not move or a digest.
        - Required when O(state=present).
        type: str
      allow_latest:
        description: Whether to accept an image without a tag or with the tag C(latest), whose content is not known.
        type: bool
        default: false
      type:
        description:
        - V(web) serves requests. One process must have a TCP port, V(web) if a process has that name, else the first
          with a port. The Service O(apps[].name) and the O(apps[].domains) point to it.
        - V(worker) gets no requests from the gateway.
        - V(stateful) runs under stable names, C(APP-PROCESS-0) and so on, which resolve inside the tenant through the
          headless Service C(APP-PROCESS). Pods are started and replaced one after the other. The Service O(apps[].name)
          and the O(apps[].domains) point to the process V(web), else to the first with a TCP port, if any.
        - V(cron) runs each process on its schedule. The task does not wait for a run, so a missing image is noticed
          only at the first one.
        - V(job) runs each process to its end, once for each release. The task waits until all are complete; if one
          fails, the release fails. Its effects cannot be undone, so a failed job is not rolled back. Repeating the task
          changes nothing after success, and makes another release, and so another run, after a failure. Rolling back to
          an older release runs that release again.
        type: str
        choices:
        - web
        - worker
        - stateful
        - cron
        - job
        default: web
      processes:
        description:
        - Processes that run from the image, each scaled separately.
        - By default one process named as the O(apps[].type), with the image's own command.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the process, such as C(web) or C(worker).
            type: str
            required: true
          command:
            description: Replaces the image's entry point. A list, or a text that is split like in a shell, without
              running one.
            type: raw
          args:
            description: Arguments of the command or entry point, in the same formats.
            type: raw
          ports:
            description:
            - Ports the process listens on, as numbers or as mappings with V(port), V(name) and V(protocol)
              (V(TCP) or V(UDP)).
            - A process with ports gets a Service with the same port numbers. That of the main process has the
              app's name, others C(APP-PROCESS).
            type: list
            elements: raw
            default: []
          replicas:
            description:
            - Initial number of replicas, 0 to 10000. Later M(cloudbang.platform.app_scale) changes it.
            - Not for the types V(cron) and V(job), see O(apps[].processes[].parallelism).
            type: int
            default: 1
          resources:
            description: Resources of each replica.
            type: dict
            suboptions:
              requests:
                description: Resources that a node must have free.
                type: dict
                suboptions:
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
                suboptions:
                  cpu:
                    description: Cores, such as V(100m), V(0.5) or V(2).
                    type: str
                  memory:
                    description: Bytes, such as V(64Mi) or V(1Gi).
                    type: str
                  ephemeral_storage:
                    description: Bytes of local disk, such as V(1Gi).
                    type: str
          readiness:
            description:
            - When a replica is ready for requests.
            - The main process of a O(apps[].type=web) app without one gets a TCP connect to its first port.
            type: dict
            suboptions:
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
            suboptions:
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
          startup:
            description: When the other probes begin.
            type: dict
            suboptions:
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
          placement:
            description: Where the replicas run.
            type: dict
            suboptions:
              spread:
                description:
                - Whether the replicas of a process are spread over hosts, over zones and their hosts, or not
                  at all.
                - Zones are the values of the node label C(topology.kubernetes.io/zone). A replica that cannot be spread
                  still runs.
                type: str
                choices:
                - hosts
                - zones
                - none
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
            - Whether each replica runs in its host's network, on ports of its own. Only for the types
              V(web) and V(worker), and not with O(apps[].strategy=blue_green).
            - Each replica is an instance, a Deployment of one pod with the name C(APP-PROCESS-NUMBER). It gets
              a number for each of its O(apps[].processes[].ports) out of O(apps[].host_ports), which is unique in the
              cluster and permanent. The environment has the first as C(PORT) and each as C(PORT_NAME). Commands can
              contain C($(PORT)).
            - The Service has the port numbers of the task and forwards to those of the instances. The headless Service
              C(APP-PROCESS) has SRV records with the real numbers.
            - Each port exists once on a host, so an instance ends before its successor starts, and instances are
              replaced one after the other. Run at least two to serve without interruption.
            - The Pod Security standards C(baseline) and C(restricted) forbid it, so the namespace must enforce
              neither.
            type: bool
            default: false
          schedule:
            description:
            - Schedule of a process of the type V(cron), required for it. Five fields, minute, hour, day of the
              month, month and day of the week, such as V(15 3 * * mon-fri), or V(@hourly), V(@daily), V(@weekly),
              V(@monthly), V(@yearly), or V(@every 1h30m).
            type: str
          time_zone:
            description: Time zone of the schedule, such as V(Europe/Berlin). By default that of the control
              plane.
            type: str
          concurrency:
            description:
            - What happens when a run is due while the last one is still running. Both run (V(allow)), the new one is
              skipped (V(forbid)), or it replaces the old one (V(replace)). V(forbid) when not given.
            type: str
            choices:
            - allow
            - forbid
            - replace
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
            description: Number of pods of one run that work at the same time, for the types V(cron) and V(job). 1 when
              not given.
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
      env:
        description:
        - Environment of all processes, name to text. Numbers and booleans become text (V(true), V(false)).
        - It is kept in an immutable Secret, so that a rollback restores the old values.
        type: dict
        default: {}
      secret_env:
        description: Like O(apps[].env), with values that no output shows.
        type: dict
        default: {}
      files:
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
            default: '0444'
      secret_files:
        description: Like O(apps[].files), with contents that no output shows.
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
            default: '0444'
      domains:
        description:
        - Host names whose requests the gateway sends to the app. C(*.example.org) matches all names one level below.
        - A domain of another app, of any tenant, is an error.
        - They are not part of a release. A rollback does not change them.
        type: list
        elements: str
        default: []
      ingress_class:
        description: IngressClass of the app's Ingress. By default the cluster's.
        type: str
      image_pull_secrets:
        description: Names of Secrets in the tenant's namespace for pulling the image.
        type: list
        elements: str
        default: []
      strategy:
        description:
        - V(rolling) replaces replicas one by one. Each new one is ready before an old one ends.
        - V(recreate) ends all replicas of the old release before it starts those of the new one, for apps that cannot
          run two releases at the same time.
        - V(blue_green) starts the complete new release beside the old one, and switches the Services in one step when
          all of it is ready. The old one is kept for O(apps[].drain) seconds more, and the task takes that much longer.
          If the new one does not become ready, it is removed and the old one is not affected. For this time it needs
          twice the resources, and O(wait=true).
        - Types other than V(web) and V(worker) take V(rolling) only.
        type: str
        choices:
        - rolling
        - recreate
        - blue_green
        default: rolling
      restart_key:
        description:
        - Any text. A changed text replaces all pods without a new release, one by one or as O(apps[].strategy=recreate)
          does. Without it, the last key stays.
        - It runs a O(apps[].type=job) again, as a new release.
        type: str
      host_ports:
        description:
        - Ports of hosts that instances with O(apps[].processes[].host_network) may get, from 1024 to 65535. Keep them
          free of other programs, and reachable for the app's clients.
        type: str
        default: 20000-24999
      drain:
        description:
        - Seconds that a replica with ports still serves after its removal from the endpoints, before it gets SIGTERM.
        type: int
        default: 5
      grace:
        description: Seconds from SIGTERM to SIGKILL.
        type: int
        default: 30
      keep_releases:
        description: Number of releases to keep. The last one that ran is always kept.
        type: int
        default: 10
  bindings:
    description: Bindings of the apps, with the options of M(cloudbang.platform.app_binding). An app starts after the
      apps that it is bound to.
    type: list
    elements: dict
    suboptions:
      app:
        description: The app of the stack that is bound.
        type: str
        required: true
      target:
        description:
          - Name of the app to bind to. It must be deployed and have a port.
          - An app of the stack, or one that is already deployed.
        type: str
        required: true
      target_tenant:
        description: Tenant of the target, if it is another one. The network of that tenant must allow connections from
          this one.
        type: str
      kind:
        description: Kind of the target.
        type: str
        choices: [app]
        default: app
      process:
        description: Process of the target whose address and ports are used. By default the main one, or the only one
          with ports.
        type: str
      prefix:
        description:
          - Prefix of the names of the variables. By default the target's name in capitals.
          - V(API) gives C(API_HOST), C(API_PORT), C(API_URL), C(API_PORT_NAME) for each further port, and
            C(API_NAME) for
            each credential.
        type: str
      mapping:
        description:
          - Name of a variable to its source, instead of O(bindings[].prefix). No other variables are set then.
          - Sources are V(host), V(port), V(address) (host and port), V(url), C(ports.NAME) and C(credentials.NAME).
        type: dict
      scheme:
        description: Scheme of the URL.
        type: str
        default: http
      credentials:
        description: Credentials by name, which no output shows.
        type: dict
        default: {}
      credentials_from:
        description: Name of a credential to the name of a variable in the target's own C(env) or C(secret_env).
        type: dict
        default: {}
  routes:
    description: Routes to the apps, with the options of M(cloudbang.platform.app_route), created when all apps run.
    type: list
    elements: dict
  compose:
    description:
      - A docker compose file. Unsupported keys are errors with their location.
      - Supported keys of a service are C(image), C(command), C(entrypoint), C(environment), C(env_file), C(ports),
        C(expose),
        C(depends_on), C(deploy.replicas), C(deploy.resources), C(healthcheck), C(configs), C(secrets), C(restart) and
        C(stop_grace_period).
    type: dict
    suboptions:
      path:
        description:
          - Path of the file. Paths in it are relative to its directory.
          - Files that it refers to must be below that directory, with symbolic links resolved, or below one of
            O(compose.allow_paths). The same applies to the file itself if it is a symbolic link.
        type: path
      content:
        description: The file's text, or its content as a mapping.
        type: raw
      variables:
        description: Values of C(${NAME}) in the file. Environment variables are not used.
        type: dict
        default: {}
      secret_variables:
        description: Like O(compose.variables), with values that no output shows.
        type: dict
        default: {}
      allow_paths:
        description:
          - Additional directories for files of C(env_file), C(configs) and C(secrets).
          - The file's author gets access to all files there that the user of the task can read.
          - With O(compose.content), which has no directory, only these are allowed.
        type: list
        elements: path
        default: []
  template:
    description: A template of M(cloudbang.platform.app_template).
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      version:
        description: Its version.
        type: str
        required: true
      parameters:
        description: Values of its parameters.
        type: dict
        default: {}
      secret_parameters:
        description: Values of its parameters of type C(secret), which no output shows.
        type: dict
        default: {}
  prune:
    description: Whether to remove members that are no longer in the stack.
    type: bool
    default: false
  force:
    description: Whether to remove members although apps outside the stack are bound to them.
    type: bool
    default: false
  wait:
    description: Whether to wait for an app before the apps that depend on it start.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for each app.
    type: int
    default: 300
  on_failure:
    description:
      - What to do when an app fails. The task fails either way.
      - V(rollback) rolls all members back to their previous releases, and removes those that did not exist.
      - V(hold) rolls only the failed app back, keeps the others, and stops.
    type: str
    choices: [rollback, hold]
    default: rollback
seealso:
  - module: cloudbang.platform.app
  - module: cloudbang.platform.app_binding
  - module: cloudbang.platform.app_template
"""

EXAMPLES = r"""
- name: Deploy a shop
  cloudbang.platform.app_stack:
    name: shop
    tenant: acme
    apps:
      - name: web
        image: registry.example.org/acme/web:7
        processes: [{name: web, ports: [8000], readiness: {http: /healthz}}]
      - name: api
        image: registry.example.org/acme/api:3
        processes: [{name: web, ports: [8080]}]
        depends_on: [migrate]
      - name: migrate
        image: registry.example.org/acme/tasks:3
        type: job
        processes: [{name: migrate, command: [./migrate]}]
    bindings:
      - app: web
        target: api

- name: Deploy a compose file
  cloudbang.platform.app_stack:
    name: shop
    tenant: acme
    compose:
      path: files/compose.yml
      variables: {TAG: "7"}
      secret_variables: {TOKEN: "{{ vault_token }}"}

- name: Install a template
  cloudbang.platform.app_stack:
    name: shop
    tenant: acme
    template:
      name: shop
      version: 1.2.0
      parameters: {domain: shop.example.org}

- name: Remove the shop
  cloudbang.platform.app_stack:
    name: shop
    tenant: acme
    state: absent
"""

RETURN = r"""
stack:
  description: The stack.
  returned: when the options are valid and the API answers
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    tenant:
      description: Its tenant.
      type: str
    levels:
      description: Names of the apps in the order of deployment or removal, those of one level in parallel.
      type: list
      elements: list
    left:
      description: Members that are no longer in the stack and were not removed, since O(prune) is not set.
      type: list
      elements: str
    template:
      description: Name, version and digest of the template.
      returned: with O(template)
      type: dict
apps:
  description: The result of each app, as M(cloudbang.platform.app) returns it.
  returned: when the options are valid and the API answers
  type: list
  elements: dict
  contains:
    name:
      description: Name of the app.
      type: str
    tenant:
      description: Its tenant.
      type: str
    changed:
      description: Whether the app changed.
      type: bool
    action:
      description: What was done, such as V(deployed), V(repaired), V(removed), V(rolled_back), V(skipped) or V(none).
      type: str
    release:
      description: Number of the active release.
      type: int
    previous_release:
      description: Number of the release before.
      type: int
    rolled_back_to:
      description: The release whose content is active again.
      returned: when the app was rolled back
      type: int
routes:
  description: The result of each route, as M(cloudbang.platform.app_route) returns it.
  returned: when the options are valid and the API answers
  type: list
  elements: dict
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
    on_target("app_stack")


if __name__ == "__main__":
    main()
