# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The detection of how an application's source tree is built. Pure: the same tree and options give the same plan.

Exactly one language is the one of a plan. Where a tree has several, an error names their files and the option that
decides; nothing is chosen silently. Node beside another language makes assets for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Wrong

from ..options import Invalid
from . import deno, dockerfile, dotnet, go, gradle, java, maven, node, php, python, ruby, rust, static
from .plan import Plan, read_plan
from .project import Project
from .settings import FILE, Options, file_options, merged
from .tree import Tree
from .versions import Offered


@dataclass(frozen=True)
class Language:
    """A language: the files that show it in a tree ("" for none), and its plan."""

    match: Callable[[Project], str]
    plan: Callable[[Project], Plan]


MAX_DIRECTORIES = 300
# A line of the Containerfile copies the manifests of a directory, and each is a layer, of which images have about 120.
MAX_LAYERS = 60
# In the order in which messages name them.
PRIMARY = {
    "php": Language(php.match, php.plan),
    "ruby": Language(ruby.match, ruby.plan),
    "maven": Language(maven.match, maven.plan),
    "gradle": Language(gradle.match, gradle.plan),
    "go": Language(go.match, go.plan),
    "rust": Language(rust.match, rust.plan),
    "dotnet": Language(dotnet.match, dotnet.plan),
    "python": Language(python.match, python.plan),
    "deno": Language(deno.match, deno.plan),
}
NODE = Language(node.match, node.plan)
ARCHIVE = Language(java.match_archive, java.plan_archive)
ALL = {
    "dockerfile": Language(dockerfile.match, dockerfile.plan),
    **PRIMARY,
    "jar": ARCHIVE,
    "war": ARCHIVE,
    "node": NODE,
    "bun": NODE,
    "spa": NODE,
    "static": Language(static.match, static.plan),
}
# Files that are nearly those of a language: the pattern of their names, what is missing, and how it is made.
NEARLY = (
    (re.compile(r"main\.go\Z"), "go.mod", "run go mod init"),
    (re.compile(r"pom\.(atom|clj|groovy|kts|rb|scala|yaml|yml)\Z"), "pom.xml", "Maven in XML"),
    (re.compile(r"\w+\.java\Z"), "pom.xml", "or build.gradle with gradlew"),
    (re.compile(r"gradlew\Z"), "build.gradle", "or build.gradle.kts"),
    (re.compile(r"(index|server|app|main)\.(js|ts|mjs|cjs)\Z"), "package.json", "run npm init, or deno.json"),
    (re.compile(r"main\.rs\Z"), "Cargo.toml", "run cargo init"),
    (re.compile(r"(app|main|config)\.(rb|ru)\Z"), "Gemfile", "run bundle init"),
    (re.compile(r"(Program|main)\.cs\Z"), "a .csproj", "run dotnet new"),
)


def detect(tree: Tree, offered: Offered, options: Options | None = None) -> Plan:
    """Return the plan of a source tree. Raises Invalid with everything that is wrong."""
    project = _project(tree, offered, options or Options())
    language = _language(project)
    project.check()
    plan = ALL[language].plan(project)
    if language in PRIMARY and node.match(project):
        plan = _with_assets(project, plan)
    plan = replace(plan, manifests=_layers(project, plan.manifests))
    project.check()
    made = replace(
        plan,
        subdir=project.tree.directory,
        apt_build=tuple(sorted(project.apt_build)),
        apt_run=tuple(sorted(project.apt_run)),
        reasons=tuple(dict.fromkeys(project.reasons)),
        rejected=tuple(project.rejected),
        warnings=tuple(dict.fromkeys(project.warnings)),
    )
    try:
        return read_plan(made.stored())
    except Wrong as error:
        wanted = "less of it, or a Dockerfile"
        raise Invalid([Finding(project.tree.directory, f"more than a plan can have ({error})", wanted)]) from error


def _layers(project: Project, manifests: tuple[str, ...]) -> tuple[str, ...]:
    """Return manifests, the whole source for those of more directories than an image has layers for."""
    directories = {path.rpartition("/")[0] for path in manifests}
    if len(directories) <= MAX_LAYERS:
        return manifests
    project.warn(
        f"{len(directories)} directories have manifests: every change of the source installs the dependencies again"
    )
    return ("./",)


def _with_assets(project: Project, plan: Plan) -> Plan:
    """Return the plan of a language with the stage of Node that makes its assets, if there is one."""
    made = node.assets(project)
    if made is None:
        return plan
    assets = replace(made[0], manifests=_layers(project, made[0].manifests))
    return replace(plan, assets=assets, versions=(*plan.versions, *made[1]))


def _project(tree: Tree, offered: Offered, task: Options) -> Project:
    """Return the project of the directory that the task, or a file at the root, names."""
    own = tree.below(task.subdir or ".")
    if not own.has(FILE):
        return Project(own, task, offered)
    place = own.place(FILE)
    file = file_options(own.read(FILE), place)
    if file.subdir and not task.subdir:
        own = own.below(file.subdir, f"{place}: build.subdir")
        if own.has(FILE) and own.directory != ".":
            raise Invalid([Finding(own.place(FILE), f"a second file beside {place}", "one of them")])
    elif file.subdir:
        raise Invalid([Finding(f"{place}: build.subdir", file.subdir, "nothing, because the task sets build.subdir")])
    return Project(own, merged(task, file), offered)


def _language(project: Project) -> str:
    """Return the language, "" with a finding if the tree has none or more than one."""
    if project.options.language:
        project.reason(f"build.language is {project.options.language}")
        return project.options.language
    found = {name: files for name, language in PRIMARY.items() for files in [language.match(project)] if files}
    if len(found) > 1 and not dockerfile.match(project):
        listed = ", ".join(f"{name} ({files})" for name, files in found.items())
        project.wrong(".", f"ambiguous: {listed}", "one language: set build.language or build.subdir")
        return ""
    # Of these the first that matches counts: each is also a part of apps in the languages before it.
    weaker = {
        "jar": java.match_archive(project),
        "node": node.match(project),
        "python": python.weak(project) or python.misspelt(project),
        "static": static.match(project),
    }
    ranked = [*found.items(), *((name, files) for name, files in weaker.items() if files and name not in found)]
    described = dockerfile.match(project)
    if described:
        ranked.insert(0, ("dockerfile", described))
    elif (not ranked or ranked[0][0] in ("python", "static")) and not found and _nearly(project):
        return ""
    if not ranked:
        _nothing(project)
        return ""
    language, files = ranked[0]
    project.reason(f"{files} -> {language}")
    for name, others in ranked[1:]:
        if described:
            project.reject(name, f"{others} is for the build that {described} describes")
        elif name != "node":
            project.reject(name, f"{others} counts only where no file of another language is")
    return language


def _nearly(project: Project) -> bool:
    """Note files of a language without the one that its tools need; return whether there are some."""
    for pattern, missing, how in NEARLY:
        name = next((name for name in project.tree.names if pattern.match(name)), "")
        if name:
            project.wrong(name, f"no {missing} beside it", f"{missing}: {how}")
            return True
    return False


def _nothing(project: Project) -> None:
    """Report that no language was found: with the files at the top, and the directories that have a language."""
    top = ", ".join(project.tree.top[:40]) or "nothing"
    inner = _below(project, (*PRIMARY.values(), NODE, ALL["dockerfile"])) or _below(project, (ALL["static"],))
    hint = f": build.subdir with one of {', '.join(inner)}" if inner else ", or build.language"
    looked = (
        "Dockerfile, composer.json, Gemfile, pom.xml, build.gradle, go.mod, Cargo.toml, *.csproj, requirements.txt, "
    )
    looked += "pyproject.toml, deno.json, package.json, index.html"
    project.wrong(".", f"no language; there are {top}", f"one of {looked}{hint}")


def _below(project: Project, languages: tuple[Language, ...]) -> list[str]:
    """Return directories that have one of these languages; what is wrong there is not of interest."""
    directories = [path for path in project.tree.directories(3) if "node_modules" not in path.split("/")]
    inner = [
        Project(project.tree.below(path), project.options, project.offered) for path in directories[:MAX_DIRECTORIES]
    ]
    return [one.tree.directory for one in inner if any(language.match(one) for language in languages)][:10]
