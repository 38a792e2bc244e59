# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.lab_image): all of it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import Store
from ansible_collections.cloudbang.platform.plugins.plugin_utils.debian.rootfs import (
    DebianError,
    bootstrap,
    check_recipe,
    digest,
    pack,
)

LABEL = "cloudbang.lab.recipe"
SPACE_B = 3 << 30


class ActionModule(ActionBase):
    """Builds the image of a recipe if the engine lacks it."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "str", "required": True},
                "recipe": {"type": "dict", "required": True},
                "overlay": {"type": "path"},
                "init": {"type": "str", "required": True},
                "cache_dir": {"type": "path", "default": "~/.cache/cloudbang"},
            }
        )
        try:
            import docker
        except ImportError as error:
            raise AnsibleActionFail(
                f"lab_image: the Python package docker is missing on the controller: {error}"
            ) from error
        name: str = arguments["name"]
        overlay = Path(arguments["overlay"]) if arguments.get("overlay") else None
        try:
            check_recipe(arguments["recipe"])
            key = digest(arguments["recipe"], overlay)
            image = f"{name}:{key[:12]}"
            client = docker.from_env(version="auto", timeout=300)
            with contextlib.closing(client):
                present = client.images.list(name=image)
                result.update(image=image, id=present[0].id if present else None, changed=not present)
                if present or self._task.check_mode:
                    return result
                archive = _archive(name, key, arguments["recipe"], overlay, Path(arguments["cache_dir"]).expanduser())
                _say(name, f"importing {archive.stat().st_size >> 20} MiB")
                result["id"] = _load(client, archive, image, arguments["init"], key)
                _drop_older(client, name, image)
        except (ArtifactError, DebianError, docker.errors.DockerException, OSError) as error:
            raise AnsibleActionFail(f"lab_image: {name}: {error}") from error
        return result


def _archive(name: str, key: str, recipe: dict[str, Any], overlay: Path | None, cache: Path) -> Path:
    """The packed root file system, from the cache or made now."""
    started = time.monotonic()

    def progress(text: str) -> None:
        _say(name, f"{text} ({time.monotonic() - started:.0f} s)")

    def build(directory: str) -> str:
        progress(f"making a root file system of Debian {recipe['suite']} packages, once: one to three minutes")
        store.require_space(SPACE_B, name)
        root, archive = Path(directory, "root"), Path(directory, "rootfs.tar.zst")
        bootstrap(recipe, root, cache / "debian", progress, overlay)
        pack(root, archive, progress)
        return str(archive)

    store = Store(str(cache))
    return Path(store.get_or_create(f"lab/{name}-{key}", build, progress=progress).path)


def _load(client: Any, archive: Path, image: str, init: str, key: str) -> str:
    """Import the archive as an image that starts ``init``; return its ID."""
    repository, tag = image.split(":")
    changes = [f'ENTRYPOINT ["{init}"]', "ENV container=docker", f"LABEL {LABEL}={key}"]
    with subprocess.Popen(["zstd", "--decompress", "--stdout", str(archive)], stdout=subprocess.PIPE) as unpacker:
        client.api.import_image_from_stream(unpacker.stdout, repository=repository, tag=tag, changes=changes)
    if unpacker.returncode:
        with contextlib.suppress(Exception):
            client.images.remove(image)
        raise OSError(f"zstd --decompress {archive}: exit status {unpacker.returncode}")
    return str(client.images.get(image).id)


def _drop_older(client: Any, name: str, image: str) -> None:
    """Remove images of earlier recipes that no container uses; they can be made again from the cache."""
    import docker

    for other in client.images.list(name=name):
        for tag in other.tags:
            if tag.startswith(f"{name}:") and tag != image:
                with contextlib.suppress(docker.errors.APIError):
                    client.images.remove(tag)


def _say(name: str, text: str) -> None:
    say: Callable[[str], None] = Display().display
    say(visible(f"{name}: {text}"))
