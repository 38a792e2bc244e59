#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push image archives to a registry, by digest."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_images
short_description: Push images to a registry
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Pushes image artifacts from the controller's cache with C(crane) on the host of the registry. An image whose tag
    already has the digest is neither sent nor pushed.
options:
  registry:
    description:
      - Host and port to which images are pushed, as seen from the host of the task. On the hosts of the role
        P(cloudbang.platform.registry#role), C(cloudbang_registry_push).
    type: str
    required: true
  images:
    description: Images to push.
    type: list
    elements: dict
    required: true
    suboptions:
      artifact:
        description: Name of the artifact, an OCI image archive.
        type: str
        required: true
      repository:
        description: Name of the repository.
        type: str
        required: true
      tag:
        description: Tag of the image.
        type: str
        required: true
      digest:
        description: Digest of the image. Set by the action plugin, as is O(images[].archive).
        type: str
      archive:
        description: Path of the artifact in the task's temporary directory on the host, if it was sent.
        type: path
  config_dir:
    description: Directory on the host with the registry's C(ca.crt) and C(docker/config.json).
    type: path
    default: /etc/cloudbang-registry
attributes:
  check_mode:
    support: full
    description: Returns the images that would be pushed.
"""

EXAMPLES = r"""
- name: Push the demo application
  cloudbang.platform.registry_images:
    registry: "{{ cloudbang_registry_push }}"
    images:
      - artifact: image-httpbin
        repository: demo/httpbin
        tag: "1"
"""

RETURN = r"""
digests:
  description: Digest of each image by repository and tag.
  type: dict
  returned: success
  sample: {"pause:1": "sha256:0123"}
"""

import os
import shutil
import tarfile
import tempfile

from ansible.module_utils.basic import AnsibleModule

CRANE = "/usr/local/bin/crane"


def main() -> None:
    image_spec = {
        "artifact": {"type": "str", "required": True},
        "repository": {"type": "str", "required": True},
        "tag": {"type": "str", "required": True},
        "digest": {"type": "str"},
        "archive": {"type": "path"},
    }
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "config_dir": {"type": "path", "default": "/etc/cloudbang-registry"},
            "images": {"type": "list", "elements": "dict", "required": True, "options": image_spec},
        },
        supports_check_mode=True,
    )
    config = module.params["config_dir"]
    environment = {"DOCKER_CONFIG": f"{config}/docker", "SSL_CERT_FILE": f"{config}/ca.crt"}
    missing, pushed = [], []
    for image in module.params["images"]:
        name = f"{image['repository']}:{image['tag']}"
        reference = f"{module.params['registry']}/{name}"
        code, out, err = 1, "", ""
        if os.path.exists(CRANE):
            code, out, err = module.run_command([CRANE, "digest", reference], environ_update=environment)
        elif not module.check_mode:
            module.fail_json(msg=f"{CRANE} is missing on this host; the registry role installs it")
        if code == 0 and out.strip() == image["digest"]:
            continue
        if not image.get("archive"):
            missing.append(image["digest"])
            continue
        layout = tempfile.mkdtemp(prefix="cloudbang-image-")
        try:
            with tarfile.open(image["archive"]) as archive:
                if hasattr(tarfile, "data_filter"):
                    archive.extractall(layout, filter="data")
                else:
                    archive.extractall(layout)
            code, out, err = module.run_command([CRANE, "push", layout, reference], environ_update=environment)
        finally:
            shutil.rmtree(layout, ignore_errors=True)
        if code:
            module.fail_json(msg=f"{reference}: the registry refused the image: {err.strip()[-2000:]}")
        got = out.strip().rpartition("@")[2]
        if got != image["digest"]:
            wanted = f"{image['digest']}, which pods ask for"
            module.fail_json(msg=f"{reference}: the registry has it as {got or 'nothing'}, wanted {wanted}")
        pushed.append(name)
    module.exit_json(changed=bool(missing or pushed), missing=missing, pushed=pushed)


if __name__ == "__main__":
    main()
