#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bind an app to other apps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_binding
short_description: Bind an app to other apps
version_added: 0.1.0
description:
  - Sets the address, ports and credentials of another app in the environment of an app.
  - All bindings of a task create one release of the app. They are part of its releases, so a rollback restores them,
    and M(cloudbang.platform.app) keeps them.
  - A cycle of bindings is refused, and so is the removal of an app that others are bound to.
  - Values are read when the task runs. Run it again after a change of a target's ports or credentials.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.target
  - cloudbang.platform.rollout
attributes:
  diff_mode:
    support: full
    description: Secrets appear as fingerprints that change with them.
options:
  state: &state
    description: Whether the binding exists.
    type: str
    choices: [present, absent]
    default: present
  target:
    description:
      - Name of the app to bind to. It must be deployed and have a port.
      - Required without O(bindings).
    type: str
  target_tenant:
    description: Tenant of the target, if it is another one. The network of that tenant must allow connections from this
      one.
    type: str
  kind:
    description: Kind of the target.
    type: str
    choices: [app]
    default: app
  process:
    description: Process of the target whose address and ports are used. By default the main one, or the only one with
      ports.
    type: str
  prefix:
    description:
      - Prefix of the names of the variables. By default the target's name in capitals.
      - V(API) gives C(API_HOST), C(API_PORT), C(API_URL), C(API_PORT_NAME) for each further port, and C(API_NAME) for
        each credential.
    type: str
  mapping:
    description:
      - Name of a variable to its source, instead of O(prefix). No other variables are set then.
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
  bindings:
    description: Several bindings of the app, each with the options above, in one release.
    type: list
    elements: dict
    suboptions:
      state: *state
      target:
        description:
          - Name of the app to bind to. It must be deployed and have a port.
          - Each target once.
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
  keep_releases:
    description: Number of releases to keep.
    type: int
    default: 10
seealso:
  - module: cloudbang.platform.app
  - module: cloudbang.platform.app_stack
"""

EXAMPLES = r"""
- name: Bind the shop to its API
  cloudbang.platform.app_binding:
    name: shop
    tenant: acme
    target: api
    credentials_from: {token: API_TOKEN}

- name: Set two bindings in one release
  cloudbang.platform.app_binding:
    name: shop
    tenant: acme
    bindings:
      - target: api
        prefix: BACKEND
      - target: queue
        scheme: amqp
        mapping:
          BROKER_URL: url
          BROKER_PASSWORD: credentials.password
        credentials: {password: "{{ vault_broker_password }}"}

- name: Remove a binding
  cloudbang.platform.app_binding:
    name: shop
    tenant: acme
    target: api
    state: absent
"""

RETURN = r"""
app:
  description: The result for the app, as M(cloudbang.platform.app) returns it, with its bindings.
  returned: when the options are valid and the API answers
  type: dict
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
    bindings:
      description: All bindings of the active release.
      type: list
      elements: dict
      contains:
        kind:
          description: Kind of the target.
          type: str
        tenant:
          description: Tenant of the target.
          type: str
        target:
          description: Name of the target.
          type: str
        env:
          description: Variables and their values.
          type: dict
        secret_env:
          description: Variables, with fingerprints in place of their values.
          type: dict
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
    on_target("app_binding")


if __name__ == "__main__":
    main()
