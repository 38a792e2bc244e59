#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bind an app to others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_binding
short_description: Bind an app to others
version_added: 0.1.0
description:
  - Gives an app the address, ports and credentials of another one as environment.
  - All bindings of a task make one release of the app. They are part of its releases, so going back to one brings its
    bindings back, and M(cloudbang.platform.app) keeps them without being told.
  - A cycle of bindings is refused, and an app that others are bound to is not removed.
  - Values are taken when the task runs. Run it again when the ports or credentials of a target have changed.
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
    description: Secrets appear as a mark that changes when they do.
options:
  state: &state
    description: Whether the binding is there.
    type: str
    choices: [present, absent]
    default: present
  target:
    description:
      - Name of the app to be bound to. It must have been deployed, and listen on a port.
      - Required without O(bindings).
    type: str
  target_tenant:
    description: Its tenant, when it is another one. The network of that tenant must let this one in.
    type: str
  kind:
    description: What the target is.
    type: str
    choices: [app]
    default: app
  process:
    description: Process of the target to take address and ports of. By default the main one, or the only one with
      ports.
    type: str
  prefix:
    description:
      - What the names of the variables start with. By default the target's name in capitals.
      - V(API) gives C(API_HOST), C(API_PORT), C(API_URL), C(API_PORT_NAME) for each further port, and C(API_NAME) for
        each credential.
    type: str
  mapping:
    description:
      - Name of a variable to what it gets, instead of O(prefix). Nothing else is given then.
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
  bindings:
    description: Several bindings of the app, each with the options above, which make one release.
    type: list
    elements: dict
    suboptions:
      state: *state
      target:
        description:
          - Name of the app to be bound to. It must have been deployed, and listen on a port.
          - Each target once.
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
  keep_releases:
    description: How many releases to keep.
    type: int
    default: 10
seealso:
  - module: cloudbang.platform.app
  - module: cloudbang.platform.app_stack
"""

EXAMPLES = r"""
- name: Tell the shop where its API is
  cloudbang.platform.app_binding:
    name: shop
    tenant: acme
    target: api
    credentials_from: {token: API_TOKEN}

- name: Two bindings, one release
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
  description: The outcome for the app, as M(cloudbang.platform.app) returns it, with its bindings.
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
          description: What the target is.
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
          description: Variables with a mark in place of the value.
          type: dict
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
    on_target("app_binding")


if __name__ == "__main__":
    main()
