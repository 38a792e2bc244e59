#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll an app back to an earlier release, or promote one from another tenant."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: Roll an app back to an earlier release, or promote one from another tenant
version_added: 0.1.0
description:
  - Takes the image and configuration of an earlier release of the app, or of a release of the app with the same name in
    another tenant, and creates a new release with the same content. Releases are never rewritten.
  - Replicas, domains and bindings stay as they are, except that a rollback restores the bindings of the old release.
    While the ReplicaSet of the old release still exists, the rollback is as fast as scaling.
  - A release that never ran is refused.
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
      - V(rollback) activates the content of the app's own release O(version).
      - V(promote) activates the content of a release of another app, the one with the same name in O(from_tenant), or
        O(from_app).
    type: str
    choices: [rollback, promote]
    default: rollback
  version:
    description:
      - Number of the release, such as V(3). It must have run.
      - With O(state=rollback), V(last_good) is the default, the newest release that ran and whose content differs from
        the active one. After a rollback it is the active one, so nothing changes.
      - With O(state=promote), V(last_good) is the newest release of the other app that ran. The default is its newest
        release, which is refused if it never ran.
    type: str
  from_tenant:
    description: With O(state=promote), the tenant to take the release from. By default O(tenant).
    type: str
  from_app:
    description:
      - With O(state=promote), the app to take the release from. By default the one called O(name).
      - In the same tenant, its bindings are copied too. So two releases of an app can run side by side and share
        requests, see M(cloudbang.platform.app_route).
    type: str
  scope:
    description:
      - With O(state=promote), the parts of the release to promote.
      - V(all) is the image and the configuration (processes, environment, files and their secrets). They are copied, so
        the other tenant can be removed.
      - V(image) is the image only, with the configuration of the app's newest release.
    type: str
    choices: [all, image]
    default: all
  keep_releases:
    description: Number of releases to keep.
    type: int
    default: 10
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Roll back to the previous release
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    version: last_good

- name: Roll back to release 3
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    version: 3

- name: Promote from staging to production
  cloudbang.platform.app_release:
    name: shop
    tenant: acme
    state: promote
    from_tenant: acme-staging

- name: Promote the image only, with production's own configuration
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
  description: The result for the app.
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
      description: Number of the active release.
      type: int
    from_version:
      description: Number of the release whose content it has.
      type: int
    from_tenant:
      description: Tenant of the promoted release, null after a rollback.
      type: str
    from_app:
      description: App of the promoted release, null if it has the same name.
      type: str
    previous_release:
      description: Number of the previously active release.
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
      description: Changes made by others that this task repairs.
      type: list
      elements: str
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
    on_target("app_release")


if __name__ == "__main__":
    main()
