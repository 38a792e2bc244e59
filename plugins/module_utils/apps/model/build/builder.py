# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a cluster's builder, which the role `builder` writes: images, registries and limits. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import (
    IMAGE_HOST,
    reference,
    well_formed,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Schema, Wrong
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from ..options import LABEL
from ..spec import LABEL_VALUE, NODE_LABEL
from .plan import BASE, VERSION, WORD
from .versions import Offered, parts_of

FORMAT = 1
# Where builds run, and the ConfigMap and the Secret there with the configuration and the key that signs tokens.
NAMESPACE = "cloudbang-builds"
CONFIG = "builder"
CONFIG_KEY = "builder.json"
SIGNING = "builder-signing"
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}\Z")
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What one build may use, as quantities and seconds, and how many run at once."""

    cpu: str = "2"
    memory: str = "4Gi"
    disk: str = "10Gi"
    seconds: int = 1800
    builds: int = 2


@dataclass(frozen=True)
class Base:
    """A base image by digest, and the versions of languages and tools in it."""

    image: str
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Builder:
    """The builder of a cluster.

    `registry` is how nodes name the registry, `push` are the hosts that a build pushes to, with their ports, and
    `addresses` those of host names. `service` and `issuer` are those of tokens. `environment` is for the build stages.
    """

    registry: str
    push: tuple[str, ...]
    image: str
    service: str
    issuer: str
    bases: Mapping[str, Base]
    limits: Limits = Limits()
    addresses: Mapping[str, str] = field(default_factory=dict)
    ca: str = ""
    runtime_class: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    authorities: str = ""
    node_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def offered(self) -> Offered:
        """The versions of all bases."""
        found: dict[str, set[str]] = {}
        for base in self.bases.values():
            for name, versions in base.versions.items():
                found.setdefault(name, set()).update(versions)
        return Offered({name: tuple(sorted(versions, key=parts_of)) for name, versions in found.items()})

    @property
    def images(self) -> dict[str, str]:
        """The references of the bases, by their names."""
        return {name: base.image for name, base in self.bases.items()}


def read_builder(config: Any) -> Builder:
    """Return the builder that the ConfigMap configures. Raises Wrong with the first thing that is wrong."""
    text = records.part(config, "data").get(CONFIG_KEY)
    if not isinstance(text, str):
        raise Wrong(f"data: found no {CONFIG_KEY}, wanted it")
    kept = records.checked(records.parsed(text, records.MAX_BYTES), _BUILDER)
    return Builder(
        registry=kept["registry"],
        push=tuple(kept["push"]),
        image=kept["image"],
        service=kept["service"],
        issuer=kept["issuer"],
        bases={
            name: Base(base["image"], {key: tuple(found) for key, found in base.get("versions", {}).items()})
            for name, base in kept["bases"].items()
        },
        limits=Limits(**{name: value for name, value in kept["limits"].items() if name in Limits.__annotations__}),
        addresses=kept.get("addresses", {}),
        ca=kept.get("ca") or "",
        runtime_class=kept.get("runtime_class") or "",
        environment=kept.get("environment", {}),
        authorities=kept.get("authorities") or "",
        node_labels=kept.get("node_labels", {}),
    )


def _image(value: Any, place: str) -> str:
    """Accept images of a registry by digest."""
    good = isinstance(value, str) and len(value) < 1000 and well_formed(value)
    if good:
        parts = reference(value)
        good = value == f"{parts.host}/{parts.repository}@{parts.digest}"
    return "" if good else f"{place}: found {shown(value)}, wanted HOST/REPOSITORY@sha256:DIGEST"


def _amount(value: Any, place: str) -> str:
    found = quantity(value) if isinstance(value, str) and len(value) < 40 else None
    return "" if found is not None and found > 0 else f"{place}: found {shown(value)}, wanted a quantity such as 2Gi"


_VERSION_TEXT = records.text(60, VERSION, "a version")


def _version(value: Any, place: str) -> str:
    said = _VERSION_TEXT(value, place)
    if said:
        return said
    try:
        parts_of(value)
    except ValueError:
        return f"{place}: found {shown(value)}, wanted a version such as 1.24"
    return ""


_HOST = records.text(260, IMAGE_HOST, "a host with its port")
_PEM = records.maybe(records.text(400_000))
_VERSIONS = records.mapping(records.sequence(_version, 50, 1), records.text(40, WORD, "the name of a language"), 50)
_BUILDER: Schema = records.record(
    {
        "format": records.number(FORMAT, FORMAT),
        "registry": _HOST,
        "push": records.sequence(_HOST, 20, 1),
        "image": _image,
        "service": records.text(253),
        "issuer": records.text(253),
        "bases": records.mapping(
            records.record({"image": _image}, {"versions": _VERSIONS}),
            records.text(40, BASE, "the name of a base, such as run/go"),
            200,
        ),
        "limits": records.record(
            {
                "cpu": _amount,
                "memory": _amount,
                "disk": _amount,
                "seconds": records.number(1, 86400),
                "builds": records.number(1, 1000),
            }
        ),
    },
    {
        "addresses": records.mapping(
            records.text(45, _ADDRESS, "an address"), records.text(253, IMAGE_HOST, "a host name"), 100
        ),
        "ca": _PEM,
        "runtime_class": records.maybe(records.text(63, re.compile(rf"({LABEL.pattern[:-2]})?\Z"), "a RuntimeClass")),
        "environment": records.mapping(records.text(4096), records.text(100, _NAME, "the name of a variable"), 50),
        "authorities": _PEM,
        "node_labels": records.mapping(
            records.text(63, LABEL_VALUE, "the value of a label"),
            records.text(317, NODE_LABEL, "the name of a label"),
            20,
        ),
    },
)
