#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go back to an earlier release of an app, or promote one from another tenant."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: Go back to an earlier release of an app, or promote one from another tenant
version_added: 0.1.0
description:
  - Brings the image and configuration of an earlier release back, or over from the app of the same name in another
    tenant, by making a new release of the same content. The history only grows.
  - The replicas, domains and bindings stay as they are; going back brings back the bindings of that release. When the
    pods of the old release are still known it starts as fast as scaling does.
  - A release that did not run is refused.
  - A second run changes nothing.
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
options:
  state:
    description:
      - V(rollback) makes the content of the app's own release O(version) the active one.
      - V(promote) makes that of a release of another app the active one, which is the app of the same name in
        O(from_tenant), or O(from_app).
    type: str
    choices: [rollback, promote]
    default: rollback
  version:
    description:
      - Number of the release, such as V(3). It must have run.
      - With O(state=rollback) V(last_good) is the newest release that ran and has other content than the active one.
        After a rollback it is the active one, so nothing changes. It is the default.
      - With O(state=promote) V(last_good) is the newest release of the other app that ran. The default is the newest
        one, which is refused when it did not run.
    type: str
  from_tenant:
    description: With O(state=promote), the tenant to take the release from. By default O(tenant).
    type: str
  from_app:
    description:
      - With O(state=promote), the app to take the release from. By default the one called O(name).
      - In the same tenant, its bindings come along. So a release can run beside another one of its app, and share the
        requests with it, see M(cloudbang.platform.app_route).
    type: str
  scope:
    description:
      - With O(state=promote), what to take of the release.
      - V(all) takes the image and the configuration, which is processes, environment, files and their secrets. They
        are copied, so the other tenant can be removed.
      - V(image) takes the image into the newest release of the app.
    type: str
    choices: [all, image]
    default: all
  keep_releases:
    description: How many releases to keep.
    type: int
    default: 10
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Go back to the release before
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    version: last_good

- name: Go back to release 3
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    version: 3

- name: Run in production what runs in staging
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    state: promote
    from_tenant: acme-staging

- name: The same image, with production's own configuration
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    state: promote
    from_tenant: acme-staging
    scope: image

- name: Run release 7 of the shop beside the active one
  cloudbang.platform.app_release:
    name: shop-canary
    tenant: acme
    state: promote
    from_app: shop
    version: 7
"""

RETURN = r"""
app:
  description: What was done.
  returned: when the release exists
  type: dict
  contains:
    name:
      description: Name of the app.
      type: str
    tenant:
      description: Its tenant.
      type: str
    action:
      description: V(rolled_back), V(promoted), V(repaired) or V(none).
      type: str
    release:
      description: Number of the release that is active.
      type: int
    from_version:
      description: Number of the release whose content it has.
      type: int
    from_tenant:
      description: Tenant of the release that was promoted, null after going back.
      type: str
    from_app:
      description: App of the release that was promoted, null when it has the same name.
      type: str
    previous_release:
      description: Number of the release that was active before.
      type: int
    image:
      description: The image.
      type: str
    digest:
      description: Digest of the content.
      type: str
    replicas:
      description: Replicas of each Deployment.
      type: dict
    drift:
      description: What somebody else had changed, and this repairs.
      type: list
      elements: str
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
    on_target("app_release")


if __name__ == "__main__":
    main()
