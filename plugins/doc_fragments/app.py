# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of an app, for the modules that deploy one or several."""

from __future__ import annotations

import re
from textwrap import indent

import yaml

# What an app is, whoever deploys it.
_APP = r"""
image:
  description:
    - Image that all processes run, with a tag that does not move or a digest.
    - Required when O(state=present), unless there is a build.
  type: str
allow_latest:
  description: Whether to accept an image without a tag or with the tag C(latest), whose content is not known.
  type: bool
  default: false
type:
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
processes:
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
env:
  description:
    - Environment of all processes, name to text. Numbers and booleans become text (V(true), V(false)).
    - It is kept in an immutable Secret, so that a rollback restores the old values.
  type: dict
  default: {}
secret_env:
  description: Like O(env), with values that no output shows.
  type: dict
  default: {}
files:
  description: Configuration files of all processes, at most 1 MB together.
  type: list
  elements: dict
  default: []
  suboptions:
    path: &path
      description: Absolute path in the container.
      type: str
      required: true
    content: &content
      description: Text of the file, kept as it is.
      type: str
      required: true
    mode:
      description: Octal mode, such as V("0444").
      type: raw
      default: "0444"
secret_files:
  description: Like O(files), with contents that no output shows.
  type: list
  elements: dict
  default: []
  suboptions:
    path: *path
    content: *content
    mode:
      description: Octal mode, such as V("0400").
      type: raw
      default: "0444"
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
restart_key:
  description:
    - Any text. A changed text replaces all pods without a new release, one by one or as O(strategy=recreate) does.
      Without it, the last key stays.
    - It runs a O(type=job) again, as a new release.
  type: str
host_ports:
  description:
    - Ports of hosts that instances with O(processes[].host_network) may get, from 1024 to 65535. Keep them free of
      other programs, and reachable for the app's clients.
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
"""

# What only `app` itself takes: where it is, and what is to happen to it.
_STATE = r"""
tenant:
  description:
    - Name of the tenant, which is the namespace of its apps.
    - A missing tenant is created, as M(cloudbang.platform.tenant) creates one with only a name. This needs
      administrator rights.
    - Required, for each app.
  type: str
state:
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
force:
  description:
    - With O(state=absent), whether to remove an app although other apps are bound to it, see
      M(cloudbang.platform.app_binding), or a route of another app has it as a backend, see
      M(cloudbang.platform.app_route). The app's own routes are always removed with it.
  type: bool
  default: false
"""


# What an entry of a list has besides.
# Not of the apps of a stack.
_BUILD = r"""
build:
  description:
    - Build of the app to run instead of an O(image), by its number or as the result C(build) of
      M(cloudbang.platform.app_build).
    - Without O(processes), the app has those of the build, except C(release), which is not run. A process that has no
      command, arguments or ports has those of the process with the same name. What the task sets wins.
  type: raw
"""
_NAME = r"""
name:
  description: Name of the app.
  type: str
  required: true
"""
_DEPENDS_ON = r"""
depends_on:
  description: Apps of the stack that must be ready, or complete if they are jobs, before this one starts.
  type: list
  elements: str
  default: []
"""


def _of_each(options: str) -> str:
    """Return options as those of each entry of `apps`, also where they refer to each other."""
    names = "|".join(re.findall(r"^(\w+):", options, re.MULTILINE))
    inside = re.sub(rf"O\((?=(?:{names})\b)", "O(apps[].", options)
    return "options:\n  apps:\n    suboptions:\n" + indent(inside, " " * 6)


def _resources() -> str:
    """Return the resources of a process as those of an option of this name."""
    process = yaml.safe_load(_APP)["processes"]["suboptions"]
    options = {"resources": {"suboptions": process["resources"]["suboptions"]}}
    return str(yaml.safe_dump({"options": options}, sort_keys=False))


class ModuleDocFragment:
    """The options of one app (of `app` itself, besides `name`), and those of each app in a list."""

    # With annotations: ansible-test takes every plain assignment here for literal text.
    DOCUMENTATION: str = "options:\n" + indent(_STATE + _BUILD + _APP, "  ")
    EACH: str = _of_each(_NAME + _STATE + _BUILD + _APP)
    MEMBERS: str = _of_each(_NAME + _DEPENDS_ON + _APP)
    RESOURCES: str = _resources()
