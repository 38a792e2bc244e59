# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks ask for: a request of one class for each module. Pure.

Fields are the options of the same names, in their normal form. How to reach the cluster is not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .bindings import WantedBinding
from .build.settings import Options
from .build.source import Source
from .release_spec import Node, Resources
from .routes_spec import AppRoute
from .spec import App
from .stack_spec import Stack
from .template_spec import Template


@dataclass(frozen=True)
class Rollout:
    """How to roll out. timeout: seconds; on_failure: rollback or keep."""

    wait: bool = True
    timeout: int = 300
    on_failure: str = "rollback"


@dataclass(frozen=True)
class DeployRequest:
    """Bring apps to their states."""

    apps: tuple[App, ...]
    rollout: Rollout = Rollout()


@dataclass(frozen=True)
class BuildRequest:
    """Build the image of an app from its source. keep: how many builds to keep; timeout: seconds."""

    name: str
    tenant: str
    source: Source
    options: Options
    keep: int
    timeout: int


@dataclass(frozen=True)
class ScaleRequest:
    """Change the size of processes.

    `replicas` are by process, "" for the one that is not named. They were given as a mapping when `listed`. `autoscale`
    has the bounds and aims of an autoscaler, False is for none; None leaves it, or the resources, as they are.
    """

    name: str
    tenant: str
    process: str | None
    replicas: dict[str, int]
    listed: bool
    autoscale: dict[str, int] | bool | None
    resources: Resources | None
    host_ports: tuple[int, int]
    rollout: Rollout


@dataclass(frozen=True)
class ReleaseRequest:
    """Deploy the content of an earlier release (state: rollback), or of one of another app (promote)."""

    name: str
    tenant: str
    state: str
    version: str | None
    from_tenant: str
    from_app: str
    scope: str
    keep_releases: int
    rollout: Rollout


@dataclass(frozen=True)
class BindRequest:
    """Bring the bindings of an app to their states."""

    name: str
    tenant: str
    bindings: tuple[WantedBinding, ...]
    keep_releases: int
    rollout: Rollout


@dataclass(frozen=True)
class Compose:
    """A docker compose file, at a path or as its content, and the bindings and routes that the task adds to it."""

    path: str | None
    content: Any = field(repr=False)
    variables: dict[str, Any]
    secret_variables: dict[str, Any] = field(repr=False)
    allow_paths: list[str]
    bindings: list[dict[str, Any]] | None = field(repr=False, default=None)
    routes: list[dict[str, Any]] | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Installation:
    """A version of a template, with values for its parameters."""

    name: str
    version: str
    parameters: dict[str, Any]
    secret_parameters: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class StackRequest:
    """Bring a stack to its state. Its members are in `stack`, or in `compose` or `template`. on_failure: rollback or
    hold, for all of the stack.
    """

    name: str
    tenant: str
    state: str
    stack: Stack | None
    compose: Compose | None
    template: Installation | None
    prune: bool
    force: bool
    on_failure: str
    rollout: Rollout


@dataclass(frozen=True)
class RegistryLogin:
    """A registry and how to reach it. `host` is how images name it."""

    host: str
    url: str
    username: str | None
    password: str | None = field(repr=False)
    ca_cert: str | None
    validate_certs: bool


@dataclass(frozen=True)
class TemplateRequest:
    """Bring a version of a template to its state: present, exported, imported or absent.

    A present template comes from `template`, from `file`, or from the stack `stack` with `parameters`.
    `registry` is None when images are left out.
    """

    name: str | None
    version: str | None
    state: str
    template: Template | None
    file: str | None
    stack: Node | None
    parameters: list[dict[str, Any]] | None
    archive: str | None
    digest: str | None
    registry: RegistryLogin | None


@dataclass(frozen=True)
class InfoRequest:
    """Show one app, those of a tenant, or all. topology: none, data, dot or mermaid."""

    name: str | None
    tenant: str | None
    log_lines: int
    events: bool
    topology: str


@dataclass(frozen=True)
class RouteRequest:
    """Bring a route to its state. timeout: seconds for the endpoints it leads to."""

    route: AppRoute
    wait: bool = True
    timeout: int = 300


@dataclass(frozen=True)
class TenantRequest:
    """Bring a tenant to its state. Lists are in the order of the task; `tenant_of` returns the normal form."""

    name: str
    state: str
    pod_security: str
    quota: dict[str, Any] | None
    objects: dict[str, Any] | None
    limits: dict[str, Any] | None
    network: str
    peers: list[str]
    domains: list[str]
    tolerations: list[str]
    priority_classes: list[str]
    images: list[str]
    members: list[dict[str, Any]]
    adopt: bool
    force: bool
    wait: bool
    timeout: int


@dataclass(frozen=True)
class KubeconfigRequest:
    """Bring the kubeconfig of a tenant's member to its state. kind: user or service_account; timeout: seconds."""

    tenant: str
    member: str
    kind: str
    path: str
    state: str
    lifetime: str
    timeout: int


@dataclass(frozen=True)
class TenantInfoRequest:
    """Show one tenant, or all."""

    name: str | None
