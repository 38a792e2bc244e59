# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of image artifacts, for manifests and configurations that name images by digest."""

from __future__ import annotations

DOCUMENTATION = r"""
name: image_digest
short_description: Digest of an image artifact in a registry
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Returns the digest with which M(cloudbang.platform.registry_images) pushes an image artifact. It is read from the
    artifact in the controller's cache, so it is the same on every host and with any C(--limit), and does not depend on
    hosts that could be compromised.
  - A missing artifact is fetched or built first. In check mode it is not, and a digest of zeros is returned.
options:
  _terms:
    description: Names of artifacts, each an OCI image archive.
    type: list
    elements: str
    required: true
notes:
  - The variables C(artifacts_*) of the role P(cloudbang.platform.artifacts#role) select the source of artifacts.
"""

EXAMPLES = r"""
- name: Run the image that this collection installs, whatever a tag says
  ansible.builtin.debug:
    msg: "{{ cloudbang_registry }}/coredns@{{ lookup('cloudbang.platform.image_digest', 'image-coredns') }}"
"""

RETURN = r"""
_list:
  description: Digests in the order of the names.
  type: list
  elements: str
  sample: ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import cached_or_made, image_digest

UNKNOWN = "sha256:" + "0" * 64


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        given = variables or {}
        names = [str(term) for term in terms]
        try:
            artifacts = cached_or_made(self._templar, bool(given.get("ansible_check_mode")), names, given)
            return [image_digest(artifacts[name]) if name in artifacts else UNKNOWN for name in names]
        except ArtifactError as error:
            raise AnsibleError(str(error)) from error
