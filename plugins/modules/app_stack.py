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
  - cloudbang.platform.app.members
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
