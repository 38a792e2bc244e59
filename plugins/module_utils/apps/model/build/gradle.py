# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gradle by the wrapper of the source: the project that runs, and the task that makes it. Pure.

The wrapper fetches its distribution, which no registry of a language has: without a mirror of it there is no plan.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from . import java, maven
from .documents import properties
from .plan import APP, Output, Plan, Process, Step, Version
from .project import Project, Wish
from .tree import joined, plain

BUILDS = ("build.gradle.kts", "build.gradle")
SETTINGS = ("settings.gradle.kts", "settings.gradle")
WRAPPER = "gradle/wrapper/gradle-wrapper.properties"
CACHE = "/root/.gradle"
MAX_PROJECTS = 100
# By plugin, the more binding first: the task, and the place of what it makes below the project's directory.
TASKS = {
    "io.quarkus": ("quarkusBuild", "build/quarkus-app"),
    "org.springframework.boot": ("bootJar", "build/libs"),
    "com.gradleup.shadow": ("shadowJar", "build/libs"),
    "com.github.johnrengelman.shadow": ("shadowJar", "build/libs"),
    "io.ktor.plugin": ("buildFatJar", "build/libs"),
    "war": ("war", "build/libs"),
    "application": ("installDist", "build/install"),
    "io.micronaut.application": ("installDist", "build/install"),
}
_PLUGIN = re.compile(r"""\b(?:id|plugin)\b\s{0,9}[(:]?\s{0,9}["']([A-Za-z0-9_.-]{1,100})["']""")
# A plugin of Gradle itself in the Kotlin form, alone on its line.
_BARE = re.compile(r"^[ \t]{0,40}`?(application|war)`?[ \t]*$", re.M)
_INCLUDE = re.compile(r"\binclude\b((?:[^\n,]{0,200},\s{0,200}){0,100}[^\n,]{0,200})")
_QUOTED = re.compile(r"""["']([A-Za-z0-9_.:/-]{1,200})["']""")
_NAME = re.compile(r"""^[ \t]*rootProject\.name\s{0,9}=\s{0,9}["']([A-Za-z0-9_][A-Za-z0-9_.-]{0,99})["']""", re.M)
_LEVEL = re.compile(
    r"(?:JavaLanguageVersion\.of\(|jvmToolchain\(|(?:source|target)Compatibility\s{0,9}=\s{0,9}(?:JavaVersion\.VERSION_)?)"
    r"[\"']?(1[._])?(\d{1,2})\b"
)
_DISTRIBUTION = re.compile(r"gradle-(\d{1,4}(?:\.\d{1,4}){1,3})-(?:bin|all)\.zip\Z")


@dataclass(frozen=True)
class Module:
    """A project of a build: its directory, its path for Gradle, and the task that makes what runs, "" for none."""

    directory: str
    path: str
    task: str
    place: str


def match(project: Project) -> str:
    """Return the file that makes a tree one of Gradle, "" without one."""
    return "" if maven.match(project) else project.tree.first((*BUILDS, *SETTINGS))


def plan(project: Project) -> Plan:
    """Return the plan of a project of Gradle."""
    wrapper = _wrapper(project)
    modules = _modules(project)
    module = _chosen(project, modules)
    build = _text(project, module.directory, BUILDS)
    version = java.java_version(project, *_levels(project, build))
    named = f"{module.path}:{module.task}" if module.path != ":" else f":{module.task}"
    command = Step(("./gradlew", "--no-daemon", "--console=plain", named, "-x", "test"), network=True, caches=(CACHE,))
    made = Plan(
        "gradle",
        "gradle",
        (wrapper,),
        root=project.tree.directory,
        build_base="build/java",
        build=(Step(("chmod", "+x", "gradlew")), command),
    )
    place = joined(module.directory, module.place)
    if module.task == "war":
        return java.war(
            project, "gradle", version, replace(made, build=(*made.build, _pick_war(place))), "/out/app.war"
        )
    return _runs(project, made, version, module, place)


def _pick_war(place: str) -> Step:
    return Step((*java.PICK_WAR, place))


def _runs(project: Project, made: Plan, version: Version, module: Module, place: str) -> Plan:
    """Return the plan of a jar, or of the directory of a distribution."""
    base = replace(made, versions=(version, *made.versions), run_base="run/java", environment=java.PORTS)
    source = f"{joined(module.directory, 'build.gradle')}: {module.task}"
    if module.task == "installDist":
        name = _name(project, module)
        rule = Process("web", f"{APP}/bin/{name}", source)
        outputs = (Output(f"{APP}/{place}/{name}/", f"{APP}/"),)
        return replace(base, outputs=outputs, processes=project.processes(lambda: rule))
    if module.task == "quarkusBuild":
        rule = Process("web", f"{java.RUN}{APP}/quarkus-run.jar", source)
        environment = (*java.PORTS, ("QUARKUS_HTTP_HOST", "0.0.0.0"), ("QUARKUS_HTTP_PORT", "8080"))
        outputs = (Output(f"{APP}/{place}/", f"{APP}/"),)
        return replace(base, outputs=outputs, environment=environment, processes=project.processes(lambda: rule))
    rule = Process("web", f"{java.RUN}{APP}/app.jar", source)
    return replace(
        base,
        build=(*made.build, Step((*java.PICK, place))),
        outputs=(Output("/out/app.jar", f"{APP}/app.jar"),),
        processes=project.processes(lambda: rule),
    )


def _name(project: Project, module: Module) -> str:
    """Return the name of a project, which is that of its distribution."""
    if module.directory != ".":
        return module.directory.rpartition("/")[2]
    match = _NAME.search(_text(project, ".", SETTINGS))
    if match is None:
        project.wrong(
            "settings.gradle: rootProject.name", "nothing", "the name of the project, as its distribution has it"
        )
    return match[1] if match else "app"


def _wrapper(project: Project) -> Version:
    """Return the version of Gradle that the wrapper asks for."""
    if not project.tree.has("gradlew") or not project.tree.has("gradle/wrapper/gradle-wrapper.jar"):
        wanted = "gradlew and gradle/wrapper/ in the source: run gradle wrapper"
        project.wrong("gradlew", "no wrapper of Gradle", wanted)
    if "gradle" not in project.offered.mirrors:
        project.option_wrong(
            "builder_mirrors.gradle", "nothing", "a mirror of Gradle's distributions, which gradlew fetches"
        )
    address = properties(project.text(WRAPPER)).get("distributionUrl", "")
    match = _DISTRIBUTION.search(address)
    if match is None and project.tree.has("gradlew"):
        project.wrong(
            f"{WRAPPER}: distributionUrl", address or "nothing", "an address that ends in gradle-VERSION-bin.zip"
        )
    return Version("gradle", match[1] if match else "", WRAPPER)


def _text(project: Project, directory: str, names: tuple[str, ...]) -> str:
    path = project.tree.first(joined(directory, name) for name in names)
    return project.text(path) if path else ""


def _modules(project: Project) -> list[Module]:
    """Return the projects of a build, the root first."""
    text = _text(project, ".", SETTINGS)
    paths = [
        ":" + path.strip(":").replace("/", ":") for line in _INCLUDE.findall(text) for path in _QUOTED.findall(line)
    ]
    found = [_module(project, ".", ":")]
    for path in dict.fromkeys(paths[:MAX_PROJECTS]):
        directory = path.strip(":").replace(":", "/")
        if plain(directory) and project.tree.first(joined(directory, name) for name in BUILDS):
            found.append(_module(project, directory, path))
    return found


def _module(project: Project, directory: str, path: str) -> Module:
    text = _text(project, directory, BUILDS)
    plugins = {*_PLUGIN.findall(text), *_BARE.findall(text)}
    task, place = next(((TASKS[name]) for name in TASKS if name in plugins and _applied(text, name)), ("", ""))
    return Module(directory, path, task, place)


def _applied(text: str, plugin: str) -> bool:
    """Return whether a plugin is applied, not only declared for other projects of the build."""
    return not re.search(rf"{re.escape(plugin)}[\"'][^\n]{{0,200}}\bapply\s{{0,9}}\(?\s{{0,9}}false", text)


def _chosen(project: Project, modules: list[Module]) -> Module:
    """Return the project that the task names, or the only one that makes something that runs."""
    asked = project.options.module
    running = [one for one in modules if one.task]
    if asked:
        found = [one for one in modules if asked in (one.directory, one.path, one.path.strip(":"))]
        if not found:
            listed = ", ".join(one.directory for one in modules[:20])
            project.option_wrong("build.module", f"{asked}, which is no project of the build", f"one of {listed}")
        running = found
    if len(running) > 1:
        listed = ", ".join(one.directory for one in running[:20])
        project.wrong(
            "settings.gradle", f"several projects that run: {listed}", "build.module with the one that is the app"
        )
    chosen = (running or modules)[0]
    if not chosen.task and (not asked or running):
        plugins = ", ".join(TASKS)
        path = project.tree.first(joined(chosen.directory, name) for name in BUILDS) or BUILDS[1]
        project.wrong(path, "no plugin that makes something to run", f"one of {plugins}")
    return chosen


def _levels(project: Project, text: str) -> list[Wish]:
    match = _LEVEL.search(text)
    return [java.release(project, "build.gradle: Java", match[2])] if match else []
