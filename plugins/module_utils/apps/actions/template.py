# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(cloudbang.platform.app_template) does: keep versions of stacks in the cluster, and carry them in archives.

A version is a ConfigMap that never changes, in a namespace of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import compose
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.labels import DIGEST, KIND, PREFIX
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.releases import MANAGER
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.requests import TemplateRequest
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import canonical
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.template_spec import (
    Template,
    from_stack,
    substitute,
    template_of,
    typed,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.text_files import read_text, unreadable
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import ApiError, Kube, KubeError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.layout import Image
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import reference
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.registry import Registry, pull, push

from . import stack_record, template_archive
from .context import Context, Outcome
from .template_archive import Bundle, BundleError

NAMESPACE = "cloudbang-templates"
TEMPLATE = PREFIX + "template"
VERSION = PREFIX + "version"

Result = dict[str, Any]


def run(context: Context, request: TemplateRequest) -> Outcome:
    """Bring a version of a template to its state."""
    act = {"present": _present, "absent": _absent, "exported": _export, "imported": _import}[request.state]
    return act(context, request)


def find(kube: Kube, name: str, version: str) -> tuple[Template, dict[str, str]]:
    """Return a template and by which names this cluster gets its images. Invalid names the versions there are."""
    found = _read(kube, name, version)
    if found is None:
        known = kube.find("ConfigMap", NAMESPACE, f"{KIND}=template,{TEMPLATE}={name}", metadata=True)
        versions = sorted(entry["metadata"]["labels"].get(VERSION, "") for entry in known)
        wanted = "one of " + ", ".join(versions) if versions else "a template that app_template has created"
        raise Invalid([Finding("template", f"no version {version} of {name}", wanted)])
    return found


def _present(context: Context, request: TemplateRequest) -> Outcome:
    return _register(context, request.template or _made(context.kube, request), {})


def _made(kube: Kube, request: TemplateRequest) -> Template:
    """Return the template that a file or a running stack makes."""
    if request.file is not None:
        where = request.file
        definition = _loaded(where)
    else:
        name, tenant = request.stack or ("", "")
        where = f"stack {tenant}/{name}"
        record = stack_record.read(kube, tenant, name)
        if not record:
            raise Invalid([Finding("stack", f"no stack {name} in tenant {tenant}", "one that app_stack has deployed")])
        definition = from_stack(record.get("spec") or {}, request.parameters or [])
    template, findings = template_of(definition, *_named(request), parse)
    if template is None:
        raise Invalid(finding.below(f"{where}: ") for finding in findings)
    return template


def _loaded(path: str) -> Any:
    import yaml

    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise Invalid([unreadable("file", path, error, "the YAML file of a template")]) from error
    try:
        return compose.bounded(yaml.safe_load(text))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Invalid([Finding("file", f"{path}: {reason}", "the YAML file of a template")]) from error


def _named(request: TemplateRequest) -> tuple[str, str]:
    """Return name and version, without which only an import is accepted."""
    if request.name is None or request.version is None:
        raise AssertionError("a template without name and version should have been refused before")
    return request.name, request.version


def _register(context: Context, template: Template, images: dict[str, str]) -> Outcome:
    """Make a version of a template; nothing when it is there, an error when it is there with other content."""
    kube = context.kube
    outcome = Outcome(values={"template": summary(template)}, diff=[])
    found = _read(kube, template.name, template.version)
    _same(found, template)
    if found is not None and (not images or found[1] == images):
        return outcome
    header = f"template {template.name} {template.version}"
    before = _view(*found) if found else {}
    outcome.changed, outcome.diff = True, _difference(header, before, _view(template, images))
    if context.check_mode:
        return outcome
    if found is not None:
        kube.delete("ConfigMap", NAMESPACE, _key(template.name, template.version))
    wanted = _object(template, images)
    try:
        kube.create(wanted, MANAGER)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        if error.status == 404:
            kube.apply(_namespace(), MANAGER)
            kube.create(wanted, MANAGER)
        else:
            _same(_read(kube, template.name, template.version), template)
    return outcome


def _difference(header: str, before: Result, after: Result) -> list[Result]:
    return [{"before_header": header, "after_header": header, "before": before, "after": after}]


def _same(found: tuple[Template, dict[str, str]] | None, template: Template) -> None:
    if found is not None and found[0].digest != template.digest:
        said = f"{template.version} of {template.name} with the digest {found[0].digest}"
        wanted = f"{template.digest}, because a version never changes: give this content another version"
        raise Invalid([Finding("version", said, wanted)])


def _absent(context: Context, request: TemplateRequest) -> Outcome:
    name, version = _named(request)
    found = _read(context.kube, name, version)
    outcome = Outcome(found is not None, {"template": {"name": name, "version": version}}, [])
    if found is not None:
        outcome.diff = _difference(f"template {name} {version}", _view(*found), {})
        if not context.check_mode:
            context.kube.delete("ConfigMap", NAMESPACE, _key(name, version))
    return outcome


def _export(context: Context, request: TemplateRequest) -> Outcome:
    """Write a template and its images into an archive, unless it has them."""
    template, local = find(context.kube, *_named(request))
    archive, progress, registry = _archive(request), context.progress, _registry(request)
    wanted = _images(template, local, registry) if registry is not None else {}
    digests = {image: _digest(registry, source) for image, source in wanted.items() if registry is not None}
    directory = os.path.dirname(os.path.abspath(archive))
    if not os.path.isdir(directory):
        raise Invalid([Finding("archive", f"no directory {directory}", "one that exists")])
    with template_archive.scratch(archive) as work:
        now = _there(archive, os.path.join(work, "now"))
        have = {image.image: image.digest for image in now.images} if now is not None else None
        changed = now is None or now.digest != template.digest or have != digests
        after = {"digest": template.digest, "images": digests}
        before = {"digest": now.digest, "images": have} if now is not None else {}
        values = {"template": {**summary(template), "images": digests}, "archive": archive}
        outcome = Outcome(changed, values, _difference(archive, before, after) if changed else [])
        if now is not None and not changed:
            values["archive_digest"] = now.archive_digest
        if context.check_mode or not changed:
            return outcome
        # What is there already is checked, and not fetched again.
        layout = now.layout if now is not None else os.path.join(work, "oci")
        images: list[Image] = []
        for number, (image, source) in enumerate(sorted(wanted.items()), 1):
            if registry is None:
                break
            progress(f"image {number} of {len(wanted)}: {source}")
            got = pull(registry, source, layout, progress)
            parts = reference(image)
            images.append(Image(image, parts.repository, parts.tag, got.digest, got.media_type, got.size))
        progress(f"writing {archive}")
        values["archive_digest"] = template_archive.write(archive, template.digest, template.content(), images, layout)
    return outcome


def _there(archive: str, directory: str) -> Bundle | None:
    """Return what an archive has; None when there is none that is usable."""
    try:
        return template_archive.read(archive, directory)
    except BundleError:
        shutil.rmtree(directory, ignore_errors=True)
        return None


def _images(template: Template, local: dict[str, str], registry: Registry) -> dict[str, str]:
    """Return the images of a template, with its defaults, and by which names this cluster gets them."""
    values = {
        entry["name"]: typed(entry, entry["default"])[0]
        for entry in template.parameters
        if entry.get("default") is not None
    }
    wanted: dict[str, str] = {}
    findings = []
    for number, app in enumerate(template.stack.get("apps") or []):
        where = f"template {template.name} {template.version}: stack.apps[{number}].image"
        try:
            image = str(substitute(app.get("image"), values))
        except KeyError as error:
            found = f"the parameter {error.args[0]}, which has no default"
            findings.append(Finding(where, found, "an image that is known, or images: false"))
            continue
        source = local.get(image, image)
        if reference(source).host != registry.host:
            findings.append(Finding(where, source, f"an image in the registry {registry.host}, or images: false"))
        wanted[image] = source
    if findings:
        raise Invalid(findings)
    return wanted


def _digest(registry: Registry, image: str) -> str:
    parts = reference(image)
    digest = registry.resolve(parts.repository, parts.digest or parts.tag)
    if digest is None:
        raise Invalid([Finding("registry", f"no image {image} in {registry.host}", "it to exist")])
    return digest


def _import(context: Context, request: TemplateRequest) -> Outcome:
    """Verify an archive, put its images into a registry and register its template."""
    archive, progress = _archive(request), context.progress
    with template_archive.scratch(archive) as work:
        progress(f"verifying {archive}")
        found = template_archive.read(archive, work, request.digest)
        template = _verified(found, request)
        _same(_read(context.kube, template.name, template.version), template)
        registry = _registry(request)
        missing = []
        images: dict[str, str] = {}
        for image in found.images if registry is not None else ():
            if registry is None:
                break
            images[image.image] = f"{registry.host}/{image.repository}@{image.digest}"
            if registry.resolve(image.repository, image.digest) != image.digest:
                missing.append(image)
        if not context.check_mode and registry is not None:
            for number, image in enumerate(missing, 1):
                progress(f"image {number} of {len(missing)}: {registry.host}/{image.repository}:{image.tag}")
                push(registry, image, found.layout, progress)
    outcome = _register(context, template, images)
    outcome.changed = outcome.changed or bool(missing)
    outcome.values["template"]["images"] = {image.image: image.digest for image in found.images}
    pushed = [images[image.image] for image in missing]
    outcome.values.update(archive_digest=found.archive_digest, pushed=pushed)
    if missing and registry is not None:
        outcome.diff = [*(outcome.diff or ()), *_difference(f"registry {registry.host}", {}, {"images": pushed})]
    return outcome


def _verified(found: Bundle, request: TemplateRequest) -> Template:
    """Return the template of an archive, which must be the one that its manifest and the task name."""
    content = found.template if isinstance(found.template, dict) else {}
    name, version = str(content.get("name")), str(content.get("version"))
    for option, wanted, there in (("name", request.name, name), ("version", request.version, version)):
        if wanted is not None and wanted != there:
            raise Invalid([Finding(option, f"{there} in {request.archive}", wanted)])
    template, findings = template_of(content, name, version, parse)
    if template is None:
        raise Invalid(finding.below(f"{request.archive}: ") for finding in findings)
    if template.digest != found.digest:
        raise BundleError(f"archive {request.archive}: found the digest {template.digest}, wanted {found.digest}")
    return template


def _archive(request: TemplateRequest) -> str:
    if request.archive is None:
        raise AssertionError("an export or import without an archive should have been refused before")
    return request.archive


def _registry(request: TemplateRequest) -> Registry | None:
    return Registry(**vars(request.registry)) if request.registry is not None else None


def _key(name: str, version: str) -> str:
    return f"{name}.{version}"


def _read(kube: Kube, name: str, version: str) -> tuple[Template, dict[str, str]] | None:
    found = kube.get("ConfigMap", NAMESPACE, _key(name, version))
    if found is None:
        return None
    said: list[str] = []
    kept = records.read("ConfigMap", found, kept_in, said.append)
    if kept is None or (kept[0].name, kept[0].version) != (name, version):
        reason = said[0] if said else f"ConfigMap {NAMESPACE}/{_key(name, version)}: found another template in it"
        wanted = f"version {version} of {name}: delete that ConfigMap and create the template again"
        raise KubeError(f"{reason}; wanted {wanted}")
    return kept


def kept_in(found: Object) -> tuple[Template, dict[str, str]]:
    """Return the template in a ConfigMap, which must be as good as one in a file, and the names of its images."""
    data = records.part(found, "data")
    content = records.checked(records.parsed(_text_in(data, "template")), records.mapping(records.anything), "template")
    images: dict[str, str] = records.checked(
        records.parsed(_text_in(data, "images")), records.mapping(records.text(4096)), "images"
    )
    name, version = str(content.get("name")), str(content.get("version"))
    template, findings = template_of(content, name, version, parse)
    if template is None:
        raise records.Wrong(f"template: {findings[0]}")
    return template, images


def _text_in(data: dict[str, Any], key: str) -> str:
    found: str = records.checked(data.get(key), records.text(records.MAX_BYTES), f"data.{key}")
    return found


def _object(template: Template, images: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _key(template.name, template.version),
            "namespace": NAMESPACE,
            "labels": {
                "app.kubernetes.io/managed-by": "cloudbang",
                KIND: "template",
                TEMPLATE: template.name,
                VERSION: template.version,
            },
            "annotations": {DIGEST: template.digest},
        },
        "immutable": True,
        "data": {"template": canonical(template.content()).decode(), "images": canonical(images).decode()},
    }


def _namespace() -> Object:
    labels = {"app.kubernetes.io/managed-by": "cloudbang"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def summary(template: Template) -> Result:
    """Return what results show of a template."""
    apps: Iterable[dict[str, Any]] = template.stack.get("apps") or []
    return {
        "name": template.name,
        "version": template.version,
        "description": template.description,
        "digest": template.digest,
        "parameters": list(template.parameters),
        "apps": [app.get("name") for app in apps],
    }


def _view(template: Template, images: dict[str, str]) -> Result:
    return {**template.content(), "digest": template.digest, "images": images}
