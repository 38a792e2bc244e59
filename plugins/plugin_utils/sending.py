# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What action plugins share that bring artifacts to hosts."""

from __future__ import annotations

import base64
import hashlib
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible.template
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import (
    Artifact,
    ArtifactError,
    Settings,
    ensure,
    oci,
    plan,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import require_intact
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.checks_secrets import AUTHORITIES

if TYPE_CHECKING:
    from ansible.plugins.action import ActionBase


def artifacts_of(action: ActionBase, names: list[str], variables: dict[str, Any]) -> dict[str, Artifact]:
    """Return the artifacts by name, fetched or built first where the cache lacks them.

    In check mode nothing is fetched or built, and artifacts that the cache lacks are not in the result.
    """
    return cached_or_made(action._templar, bool(action._task.check_mode), names, variables)


def cached_or_made(templar: Any, check_mode: bool, names: list[str], variables: dict[str, Any]) -> dict[str, Artifact]:
    """Return what artifacts_of returns, to plugins that are no actions."""
    given = {name: value for name, value in variables.items() if name.startswith("artifacts_")}
    settings = Settings.from_vars(templar.template(given))
    if check_mode:
        names = [name for name, planned in plan(names, settings).items() if planned.cached]
    return ensure(names, settings, lambda message: Display().display(visible(message)))


def image_digest(artifact: Artifact) -> str:
    """Return the digest of an image in a registry after a push. Raises ArtifactError when it is not an image."""
    if artifact.kind != "image":
        raise ArtifactError(artifact.name, found=f"an artifact of kind {artifact.kind}", wanted="an image")
    try:
        return oci.read_digest(artifact.path)
    except (ValueError, OSError, tarfile.TarError) as error:
        raise ArtifactError(
            artifact.name,
            where=artifact.path,
            found=str(error),
            wanted="an archive of one image",
            next_step="where it came from a mirror, write that one again",
        ) from error


def inline(content: bytes) -> dict[str, str]:
    """Return the content of a file as the module converge takes it, where it goes with the task."""
    digest = hashlib.sha256(content).hexdigest()
    return {"sha256": digest, "data": base64.b64encode(zlib.compress(content)).decode()}


def not_made_yet(action: ActionBase, variables: dict[str, Any]) -> bool:
    """Return whether this is a check of a cluster that still lacks authorities or secrets.

    Files rendered from them are unknown then, except that they would change.
    """
    given = variables.get("cloudbang_pki_dir")
    if not action._task.check_mode or not given:
        return False
    directory = Path(action._templar.template(given)).expanduser()
    return not all((directory / f"{name}.crt").exists() for name in AUTHORITIES)


# Before ansible-core 2.19, the lookup of templates turns what looks like YAML into data unless it is told not to.
_AS_TEXT = {} if hasattr(ansible.template, "trust_as_template") else {"convert_data": False}


class _Variables(dict[str, Any]):
    """Variables that the lookup of templates copies as a whole, but not what is in them.

    It only adds its own. Copies of the variables of all hosts, for each template and host, were a fifth of what a
    second run of `site` computes on the controller.
    """

    def __deepcopy__(self, _memo: dict[int, Any]) -> dict[str, Any]:
        return dict(self)


def render(action: ActionBase, name: str, variables: dict[str, Any]) -> str:
    """Return the text of a template, searched and rendered as M(ansible.builtin.template) does."""
    path = action._find_needle("templates", name)
    # A task's own check_mode is in no variable, and lookups in the template know nothing else.
    variables = _Variables(variables, ansible_check_mode=bool(action._task.check_mode))
    lookup = lookup_loader.get("ansible.builtin.template", loader=action._loader, templar=action._templar)
    try:
        return str(lookup.run([path], variables=variables, **_AS_TEXT)[0])
    except AnsibleError as error:
        raise AnsibleActionFail(f"template {name}: {error}") from error


def send_blobs(action: ActionBase, missing: list[str], paths: dict[str, str]) -> dict[str, str]:
    """Put files that a host asked for into its temporary directory, each once.

    ``missing`` holds the keys that the host asked for, ``paths`` where the controller has them. Returns the paths on
    the host; the caller removes the temporary directory.
    """
    if not action._connection._shell.tmpdir:
        action._make_tmp_path()
    sent = {}
    for key in dict.fromkeys(missing):
        if key not in paths:
            raise AnsibleActionFail(f"the host asked for {key}, which this task does not hold")
        try:
            require_intact(paths[key])
        except ArtifactError as error:
            raise AnsibleActionFail(str(error)) from error
        name = key.replace(":", "-")
        remote = action._connection._shell.join_path(action._connection._shell.tmpdir, name)
        sent[key] = str(action._transfer_file(paths[key], remote))
    return sent
