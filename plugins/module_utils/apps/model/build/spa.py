# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single-page applications and sites that a Node build makes: nginx serves its output directory. Pure.

A project is one only if a framework for it is among the dependencies, it has a build script, and nothing of it starts a
server. That the output is there is checked after the build.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .documents import part, text_at
from .node_managers import dependencies
from .node_start import FILE_SERVERS, SERVERS, configuration, next_output, server_file, start_script
from .plan import Step
from .project import Project
from .static import Site
from .tree import joined, plain

_CHECK = (
    "/bin/sh",
    "-ec",
    'test -f "$1/index.html" || { echo "found no $1/index.html after the build: set build.output" >&2; exit 1; }',
    "check",
)
_PAGES = "/index.html"


@dataclass(frozen=True)
class Framework:
    """A framework by its dependency: its output directory ("" if it makes no site here), and how that is served."""

    dependency: str
    output: Callable[[Project], str]
    site: Site


def always(directory: str) -> Callable[[Project], str]:
    return lambda _project: directory


def _next(project: Project) -> str:
    return "out" if next_output(project) == "export" else ""


def _nuxt(project: Project) -> str:
    return ".output/public" if "generate" in text_at(project.json("package.json"), "scripts", "build") else ""


def _astro(project: Project) -> str:
    text = configuration(project, "astro.config")
    adapter = any(name.startswith("@astrojs/") for name in _named(project, "node", "vercel", "netlify", "cloudflare"))
    server = re.search(r"""\boutput\s{0,9}:\s{0,9}["'](?:server|hybrid)["']""", text)
    return "" if adapter or server else "dist"


def _named(project: Project, *names: str) -> set[str]:
    return dependencies(project.json("package.json")) & {f"@astrojs/{name}" for name in names}


def _react_router(project: Project) -> str:
    text = configuration(project, "react-router.config")
    return "build/client" if re.search(r"\bssr\s{0,9}:\s{0,9}false\b", text) else ""


def _svelte_kit(project: Project) -> str:
    return "build" if "@sveltejs/adapter-static" in dependencies(project.json("package.json")) else ""


def _expo(project: Project) -> str:
    return "dist" if "expo export" in text_at(project.json("package.json"), "scripts", "build") else ""


def _vite(project: Project) -> str:
    match = re.search(r"""\boutDir\s{0,9}:\s{0,9}["']([^"'\n]{1,200})["']""", configuration(project, "vite.config"))
    return match[1].removeprefix("./") if match else "dist"


def _angular(project: Project) -> str:
    """Return the directory of the only project, or of the default one."""
    document = project.jsonc("angular.json")
    projects = part(document, "projects")
    name = text_at(document, "defaultProject") or next(iter(projects), "")
    target = part(projects, name, "architect", "build") or part(projects, name, "targets", "build")
    path = part(target, "options").get("outputPath")
    base = text_at(path, "base") if isinstance(path, dict) else path if isinstance(path, str) else f"dist/{name}"
    browser = path["browser"] if isinstance(path, dict) and isinstance(path.get("browser"), str) else "browser"
    return joined(base, browser) if text_at(target, "builder").endswith(":application") else base


FRAMEWORKS = (
    Framework("next", _next, Site(immutable="^/_next/static/")),
    Framework("nuxt", _nuxt, Site(immutable="^/_nuxt/")),
    Framework("astro", _astro, Site(error_page="/404.html", immutable="^/_astro/")),
    Framework("gatsby", always("public"), Site(error_page="/404.html")),
    Framework("@docusaurus/core", always("build"), Site(error_page="/404.html", immutable="^/assets/")),
    Framework("@11ty/eleventy", always("_site"), Site()),
    Framework("expo", _expo, Site(_PAGES, immutable="^/_expo/")),
    Framework("@react-router/dev", _react_router, Site(_PAGES, immutable="^/assets/")),
    Framework("@remix-run/dev", always(""), Site()),
    Framework("@tanstack/react-start", always(""), Site()),
    Framework("@sveltejs/kit", _svelte_kit, Site(_PAGES, immutable="^/_app/immutable/")),
    Framework("react-scripts", always("build"), Site(_PAGES, immutable="^/static/(js|css|media)/")),
    Framework("@angular/cli", _angular, Site(_PAGES)),
    Framework("@angular/build", _angular, Site(_PAGES)),
    Framework("@vue/cli-service", always("dist"), Site(_PAGES, immutable="^/(js|css|img|fonts)/")),
    Framework("vite", _vite, Site(_PAGES, immutable="^/assets/")),
    Framework("parcel", always("dist"), Site(_PAGES)),
)


@dataclass(frozen=True)
class Files:
    """What the build makes: a directory below that of the app, and how nginx serves it."""

    directory: str
    site: Site

    @property
    def check(self) -> tuple[str, ...]:
        """The words that fail a build without the output."""
        return (*_CHECK, self.directory)


def output(project: Project, runtime: str) -> Files | None:
    """Return the output of a single-page application or site, None if the project is none."""
    package = project.json("package.json")
    forced = project.options.language == "spa"
    if not text_at(package, "scripts", "build"):
        if forced:
            project.wrong("package.json: scripts.build", "nothing", "a script that makes the files")
        return None
    if not forced and (_serves(project, runtime) or "web" in project.said_processes):
        return None
    names = dependencies(package)
    found = next((one for one in FRAMEWORKS if one.dependency in names), None)
    directory = project.options.output or (found.output(project) if found else "")
    if forced and not directory:
        project.wrong(
            "package.json", "no framework whose output is known", "build.output with the directory of the files"
        )
    if not directory or (found is None and not forced):
        return None
    if not plain(directory.rstrip("/")):
        project.wrong("package.json", f"the output directory {shown(directory)}", "build.output with one below the app")
        return None
    name = found.dependency if found else "build.language"
    project.reason(f"scripts.build and {name} without a server -> files of {directory}")
    return Files(directory.rstrip("/"), found.site if found else Site(_PAGES))


def _serves(project: Project, runtime: str) -> bool:
    """Return whether something of the project starts a server."""
    names = dependencies(project.json("package.json"), "dependencies")
    line = start_script(project)
    return bool(line and not FILE_SERVERS.match(line)) or bool(server_file(project, runtime) and names & SERVERS)


def step(found: Files, directory: str) -> Step:
    """Return the step that checks the output."""
    return Step(found.check, directory)
