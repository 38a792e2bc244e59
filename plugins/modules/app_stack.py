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
  - Deploys the apps of a stack in the order of their dependencies. An app starts when all that it depends on is
    ready, and
    apps that do not depend on each other are deployed in parallel.
  - The release is joint. When one app fails, all go back to what they ran before.
  - The apps come from the task, from a docker compose file, or from a template that
    M(cloudbang.platform.app_template) keeps.
  - Members carry the label C(cloudbang.platform/stack). Everything that M(cloudbang.platform.app) promises for an app
    holds for each.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
    description: Secrets appear as a mark that changes when they do.
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
      - V(absent) removes its members, those that others depend on last.
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
        description: Apps of the stack that must be ready, or have ended when they are jobs, before this one starts.
        type: list
        elements: str
        default: []
      image:
        description:
        - Image that all processes run, with a tag that does not move or a digest.
        - Required when O(state=present).
        type: str
      allow_latest:
        description: Whether to accept an image without tag or with the tag C(latest), of which nobody knows
          what it runs.
        type: bool
        default: false
      type:
        description:
        - V(web) takes requests. One process must have a TCP port, V(web) if there is a process of that name,
          else the first with a port. The Service O(apps[].name) and the O(apps[].domains) lead there.
        - V(worker) takes none from the gateway.
        - V(stateful) keeps running under stable names, C(APP-PROCESS-0) and so on, which resolve inside the
          tenant by the Service without address C(APP-PROCESS). Pods start and are replaced one after the other.
          The Service O(apps[].name) and the O(apps[].domains) lead to the process V(web), or the first with
          a TCP port, if there is one.
        - V(cron) runs each process at the times of its schedule. The task waits for no run, so a missing image
          shows only then.
        - V(job) runs each process to its end, once for each release. Waiting is until all are complete; one
          that fails makes the release fail. What it has done cannot be taken back, so nothing goes back. The
          same task again changes nothing after success, and makes another release, that is another run, after
          a failure. Going back to an older release runs that one again.
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
        - What runs from the image, each process scaled by itself.
        - By default one process named as the O(apps[].type), with the image's own command.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the process, such as C(web) or C(worker).
            type: str
            required: true
          command:
            description: Replaces the image's entry point. A list, or a text that is split as a shell would,
              without running one.
            type: raw
          args:
            description: Arguments of the command or entry point, in the same forms.
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
            - How many to start with, 0 to 10000. Later it is M(cloudbang.platform.app_scale) that changes it.
            - Not for the types V(cron) and V(job), see O(apps[].processes[].parallelism).
            type: int
            default: 1
          resources:
            description: Resources of each replica.
            type: dict
            suboptions:
              requests:
                description: What a node must have free.
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
                description: What it may use at most, no less than requested.
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
            - When a replica takes requests.
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
            suboptions:
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
          startup:
            description: Until when the other probes wait.
            type: dict
            suboptions:
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
          placement:
            description: Where the replicas run.
            type: dict
            suboptions:
              spread:
                description:
                - Whether the replicas of a process are spread over hosts, over zones and their hosts, or not
                  at all.
                - Zones are the values of the node label C(topology.kubernetes.io/zone). A replica that cannot
                  be spread runs nevertheless.
                type: str
                choices:
                - hosts
                - zones
                - none
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
            - Whether each replica runs in the network of its host, on ports of its own. Only for the types
              V(web) and V(worker), and not with O(apps[].strategy=blue_green).
            - Each replica is an instance, a Deployment of one pod with the name C(APP-PROCESS-NUMBER). It gets
              a number for each of its O(apps[].processes[].ports) out of O(apps[].host_ports), which no other
              instance in the cluster has and which it keeps. The environment has the first as C(PORT) and each
              as C(PORT_NAME). Commands may say C($(PORT)).
            - The Service has the port numbers of the task and leads to the numbers of the instances. The Service
              without address C(APP-PROCESS) has SRV records with the real numbers.
            - A host has each port once, so an instance ends before its successor starts, and instances are
              replaced one after the other. Run two or more to serve at any time.
            - The Pod Security standards C(baseline) and C(restricted) forbid it, so the namespace must enforce
              neither.
            type: bool
            default: false
          schedule:
            description:
            - When a process of the type V(cron) starts, required there. Five fields, minute, hour, day of the
              month, month and day of the week, such as V(15 3 * * mon-fri), or V(@hourly), V(@daily), V(@weekly),
              V(@monthly), V(@yearly), or V(@every 1h30m).
            type: str
          time_zone:
            description: Time zone of the schedule, such as V(Europe/Berlin). By default that of the control
              plane.
            type: str
          concurrency:
            description:
            - What happens when a run is due while the last one goes on. Both run (V(allow)), the new one is
              skipped (V(forbid)), or it replaces the old one (V(replace)). V(forbid) when not given.
            type: str
            choices:
            - allow
            - forbid
            - replace
          start_deadline:
            description: Seconds that a start may be late, at least 10. Later it is skipped. Without limit when
              not given.
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
            description: How many pods of one run work at the same time, for the types V(cron) and V(job). 1
              when not given.
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
      env:
        description:
        - Environment of all processes, name to text. Numbers and booleans become text (V(true), V(false)).
        - It is kept in an immutable Secret, so that going back brings the old values back.
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
        - Host names whose requests the gateway gives to the app. C(*.example.org) takes all names of one level.
        - A domain that another app has, of any tenant, is an error.
        - They are not part of a release. Going back leaves them as they are.
        type: list
        elements: str
        default: []
      ingress_class:
        description: IngressClass of the app's Ingress. By default the cluster's.
        type: str
      image_pull_secrets:
        description: Names of Secrets in the tenant's namespace to pull the image with.
        type: list
        elements: str
        default: []
      strategy:
        description:
        - V(rolling) replaces replicas one by one, the new one ready before the old one ends.
        - V(recreate) ends all replicas of the old release before it starts those of the new one, for apps of
          which two releases must not run at the same time.
        - V(blue_green) runs the new release completely beside the old one, and switches the Services in one
          step when all of it is ready. The old one is kept for O(apps[].drain) seconds more, and the task takes
          as long. When the new one does not get ready, it is removed and nothing has happened to the old one.
          It needs twice the room for a while, and O(wait=true).
        - Types other than V(web) and V(worker) take V(rolling) only.
        type: str
        choices:
        - rolling
        - recreate
        - blue_green
        default: rolling
      restart_key:
        description:
        - Any text. Another one replaces all pods without a new release, one by one or as O(apps[].strategy=recreate)
          says. Without one the key of the last time stays.
        - It runs a O(apps[].type=job) again, as a new release.
        type: str
      host_ports:
        description:
        - Ports of hosts that instances with O(apps[].processes[].host_network) may get, from 1024 to 65535.
          Keep them free of other programs, and open for those who use the app.
        type: str
        default: 20000-24999
      drain:
        description:
        - Seconds that a replica with ports keeps serving after it has left the endpoints, before it gets SIGTERM.
        type: int
        default: 5
      grace:
        description: Seconds from SIGTERM to SIGKILL.
        type: int
        default: 30
      keep_releases:
        description: How many releases to keep. The last one that ran is kept in any case.
        type: int
        default: 10
  bindings:
    description: Bindings of the apps, with the options of M(cloudbang.platform.app_binding). An app starts after
      those it
      is bound to.
    type: list
    elements: dict
    suboptions:
      app:
        description: The app of the stack that is bound.
        type: str
        required: true
      target:
        description:
          - Name of the app to be bound to. It must have been deployed, and listen on a port.
          - An app of the stack, or one that was deployed before.
        type: str
        required: true
      target_tenant:
        description: Its tenant, when it is another one. The network of that tenant must let this one in.
        type: str
      kind:
        description: What the target is.
        type: str
        choices: [app]
        default: app
      process:
        description: Process of the target to take address and ports of. By default the main one, or the only one
          with ports.
        type: str
      prefix:
        description:
          - What the names of the variables start with. By default the target's name in capitals.
          - V(API) gives C(API_HOST), C(API_PORT), C(API_URL), C(API_PORT_NAME) for each further port, and
            C(API_NAME) for
            each credential.
        type: str
      mapping:
        description:
          - Name of a variable to what it gets, instead of O(bindings[].prefix). Nothing else is given then.
          - V(host), V(port), V(address) (host and port), V(url), C(ports.NAME) and C(credentials.NAME).
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
    description: Routes to the apps, with the options of M(cloudbang.platform.app_route), made when all apps run.
    type: list
    elements: dict
  compose:
    description:
      - A docker compose file. What is not supported in it is an error that names its place.
      - Supported of a service are C(image), C(command), C(entrypoint), C(environment), C(env_file), C(ports),
        C(expose),
        C(depends_on), C(deploy.replicas), C(deploy.resources), C(healthcheck), C(configs), C(secrets), C(restart) and
        C(stop_grace_period).
    type: dict
    suboptions:
      path:
        description:
          - Path of the file. Paths in it start at its directory.
          - A file that it names must be below that directory, symbolic links followed, or below one of
            O(compose.allow_paths). The same holds for the file itself when it is a symbolic link.
        type: path
      content:
        description: The file's text, or what is in it as a mapping.
        type: raw
      variables:
        description: Values of C(${NAME}) in the file. The environment is not looked at.
        type: dict
        default: {}
      secret_variables:
        description: Like O(compose.variables), with values that no output shows.
        type: dict
        default: {}
      allow_paths:
        description:
          - More directories below which the file may name files for C(env_file), C(configs) and C(secrets).
          - The file's author gets everything there that the user who runs the task may read.
          - With O(compose.content), which has no directory, these are the only ones.
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
    description: Whether to remove members that are not in the stack any more.
    type: bool
    default: false
  force:
    description: Whether to remove members that apps outside of the stack are bound to.
    type: bool
    default: false
  wait:
    description: Whether to wait until an app runs before those that depend on it start.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for each app.
    type: int
    default: 300
  on_failure:
    description:
      - What to do when an app fails. The task fails either way.
      - V(rollback) brings all members back to what they ran before, and removes those that did not exist.
      - V(hold) keeps what runs, brings only the app that failed back, and stops.
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

- name: Deploy what a compose file describes
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
      description: Names of the apps in the order they are deployed or removed, those of one level in parallel.
      type: list
      elements: list
    left:
      description: Members that are not in the stack any more and were not removed, for want of O(prune).
      type: list
      elements: str
    template:
      description: Name, version and digest of the template.
      returned: with O(template)
      type: dict
apps:
  description: The outcome for each app, as M(cloudbang.platform.app) returns it.
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
      returned: when the app went back
      type: int
routes:
  description: The outcome for each route, as M(cloudbang.platform.app_route) returns it.
  returned: when the options are valid and the API answers
  type: list
  elements: dict
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
    on_target("app_stack")


if __name__ == "__main__":
    main()
