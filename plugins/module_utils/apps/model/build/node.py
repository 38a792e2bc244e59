# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node and Bun: servers, single-page applications, and the assets of apps in other languages. Pure."""

from __future__ import annotations

from dataclasses import replace

from . import spa, static
from .documents import part, text_at
from .libraries import native
from .node_managers import LOCKS, Manager, Packages, dependencies, manager, node_version, packages
from .node_start import next_output, web
from .plan import APP, Assets, Output, Plan, Step, Version
from .project import Project

_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def match(project: Project) -> str:
    """Return the file that makes a tree one of Node or Bun, "" without one."""
    return project.tree.first(("package.json", *LOCKS["bun"]))


def plan(project: Project) -> Plan:
    """Return the plan of a project of Node or Bun, or of the files that its build makes."""
    if not project.tree.has("package.json"):
        project.wrong("package.json", "no such file", "package.json, which names dependencies and scripts")
    used = manager(project)
    forced = project.options.language
    runtime = "bun" if forced == "bun" or (used.name == "bun" and forced != "node") else "node"
    installed = packages(project, used)
    directory = project.tree.from_root(used.root.tree.directory)
    versions = _versions(project, used, runtime)
    site = spa.output(project, runtime) if forced in ("", "spa") else None
    native(project, "node", dependencies(project.json("package.json"), "dependencies"))
    built = _build(project, installed, directory)
    if site:
        return _site(project, installed, built, site, versions, directory)
    return Plan(
        runtime,
        used.name,
        versions,
        root=used.root.tree.directory,
        build_base=f"build/{runtime}",
        run_base=f"run/{runtime}",
        manifests=installed.manifests,
        install=installed.install,
        build=(*built, *_standalone(project, directory), *(installed.prune if installed.install else ())),
        outputs=(Output(APP + "/", APP + "/"),),
        environment=(("PATH", _path(directory)), ("NODE_ENV", "production")),
        processes=project.processes(lambda: web(project, runtime)),
        generated_lock=installed.generated_lock,
    )


def assets(project: Project) -> tuple[Assets, tuple[Version, ...]] | None:
    """Return the Node stage of an app in another language, None if it has no build script or the task skips it."""
    script = text_at(project.json("package.json"), "scripts", "build")
    if not script:
        project.reject("node", "package.json has no scripts.build -> no asset stage")
        return None
    if project.options.assets == "skip":
        project.reject("node", "build.assets is skip -> no asset stage")
        return None
    inner = project.below(".")
    # The version and the language of the options are those of the other language.
    inner.options = replace(project.options, version="", language="", prune=False)
    used = manager(inner)
    runtime = "bun" if used.name == "bun" else "node"
    installed = packages(inner, used)
    if used.root is not inner:
        project.wrong(
            "package.json", "a package of a workspace around it", "build.assets: skip, or the workspace alone"
        )
    project.reject("node", f"package.json has scripts.build -> asset stage ({used.lock or used.name})")
    made = Assets(
        f"build/{runtime}",
        used.name,
        installed.manifests,
        installed.install,
        (installed.run("build", "."), Step(("rm", "-rf", "node_modules"))),
    )
    return made, _versions(inner, used, runtime)


def _versions(project: Project, used: Manager, runtime: str) -> tuple[Version, ...]:
    node = (node_version(project, used.root),) if runtime == "node" else ()
    return (*node, *((used.version,) if used.version else ()))


def _path(directory: str) -> str:
    own = "" if directory == "." else f"{APP}/{directory}/node_modules/.bin:"
    return f"{own}{APP}/node_modules/.bin:{_SYSTEM}"


def _build(project: Project, installed: Packages, directory: str) -> tuple[Step, ...]:
    scripts = part(project.json("package.json"), "scripts")
    if not text_at(scripts, "build") or project.options.assets == "skip":
        return ()
    return (installed.run("build", directory),)


def _standalone(project: Project, directory: str) -> tuple[Step, ...]:
    """Return the step that puts the files of a standalone server of Next to it."""
    if "next" not in dependencies(project.json("package.json")) or next_output(project) != "standalone":
        return ()
    copy = (
        "cp -R .next/static .next/standalone/.next/static; if test -d public; then cp -R public .next/standalone/; fi"
    )
    return (Step(("/bin/sh", "-ec", copy), directory),)


def _site(
    project: Project,
    installed: Packages,
    built: tuple[Step, ...],
    site: spa.Files,
    versions: tuple[Version, ...],
    directory: str,
) -> Plan:
    source = "/".join(part for part in (APP, directory, site.directory) if part != ".")
    # Nothing of Node is in the image.
    project.apt_run.clear()
    project.apt_run.update(project.options.apt_run)
    made = static.site_plan(
        project,
        installed.manager.name,
        "build/bun" if installed.manager.name == "bun" else "build/node",
        site.site,
        (*built, spa.step(site, directory)),
        source,
        "spa",
    )
    return replace(
        made,
        versions=versions,
        root=installed.manager.root.tree.directory,
        manifests=installed.manifests,
        install=installed.install,
        generated_lock=installed.generated_lock,
    )
