# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maven: the module that runs, and what its jar or war is run by. Pure.

Maven fetches and compiles in one step, whose downloads are kept from one build to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from xml.etree.ElementTree import Element

from . import java
from .plan import APP, Output, Plan, Process, Step, Version
from .project import Project, Wish
from .tree import joined, plain

MAX_MODULES = 200
MAX_DEPTH = 4
REPOSITORY = "/root/.m2/repository"
# Files of Maven in other languages than XML.
POLYGLOT = ("pom.atom", "pom.clj", "pom.groovy", "pom.kts", "pom.rb", "pom.scala", "pom.yaml", "pom.yml")
_REFERENCE = re.compile(r"\$\{([\w.-]{1,100})\}\Z")
_EXTRACT = ("java", "-Djarmode=tools", "-jar", "/out/app.jar", "extract", "--destination", "/out/app")


@dataclass(frozen=True)
class Module:
    """A module: its directory, its artifact, its packaging, and which plugins show that it runs."""

    directory: str
    artifact: str
    packaging: str
    plugins: frozenset[str]
    has_main: bool

    @property
    def runs(self) -> bool:
        framework = self.plugins & {"spring-boot-maven-plugin", "quarkus-maven-plugin", "micronaut-maven-plugin"}
        return self.packaging == "war" or (self.packaging != "pom" and (bool(framework) or self.has_main))


def match(project: Project) -> str:
    """Return the file that makes a tree one of Maven, "" without one."""
    gradle = project.tree.first(("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"))
    only_gradle = gradle and project.tree.has("gradlew") and not project.tree.has("mvnw")
    return "pom.xml" if project.tree.has("pom.xml") and not only_gradle else ""


def plan(project: Project) -> Plan:
    """Return the plan of a project of Maven."""
    if not project.tree.has("pom.xml"):
        project.wrong("pom.xml", "no such file", "the project of Maven")
    root = project.xml("pom.xml")
    module = _chosen(project, list(islice(_modules(project), MAX_MODULES)))
    pom = project.xml(joined(module.directory, "pom.xml"))
    version = java.java_version(project, *_levels(project, pom, root))
    if project.tree.has("mvnw"):
        project.reason("mvnw is not used: the platform's Maven fetches from mirrors alone")
    which = ("-pl", module.directory, "-am") if module.directory != "." else ()
    package = Step(("mvn", "-B", "-ntp", "-DskipTests", *which, "package"), network=True, caches=(REPOSITORY,))
    made = Plan("maven", "maven", (project.tool("maven"),), build_base="build/java", build=(package,))
    target = joined(module.directory, "target")
    spring = "spring-boot-maven-plugin" in module.plugins
    if module.packaging == "war" and not spring:
        if any("javax.servlet" in (element.text or "") for element in pom.iter("groupId")):
            project.warn("the war uses javax.servlet, which Tomcat 11 does not have: move to jakarta.servlet")
        made = replace(made, build=(package, Step((*java.PICK_WAR, target))))
        return java.war(project, "maven", version, made, "/out/app.war")
    if "quarkus-maven-plugin" in module.plugins:
        return _quarkus(project, made, version, target)
    return _jar(project, made, version, target, module, spring)


def _quarkus(project: Project, made: Plan, version: Version, target: str) -> Plan:
    rule = Process("web", f"{java.RUN}{APP}/quarkus-run.jar", "pom.xml: quarkus-maven-plugin")
    return replace(
        made,
        versions=(version, *made.versions),
        root=project.tree.directory,
        run_base="run/java",
        outputs=(Output(f"{APP}/{target}/quarkus-app/", f"{APP}/"),),
        environment=(*java.PORTS, ("QUARKUS_HTTP_HOST", "0.0.0.0"), ("QUARKUS_HTTP_PORT", "8080")),
        processes=project.processes(lambda: rule),
    )


def _jar(project: Project, made: Plan, version: Version, target: str, module: Module, spring: bool) -> Plan:
    """Return the plan of the one jar that runs; if a file says how web runs, of all that the build has made."""
    base = replace(
        made,
        versions=(version, *made.versions),
        root=project.tree.directory,
        run_base="run/java",
        environment=java.PORTS,
    )
    if "web" in project.said_processes:
        project.reason("the command of web is said -> the image has the files of target")
        files = Output(f"{APP}/{target}/", f"{APP}/{target}/")
        return replace(base, outputs=(files,), processes=project.processes(lambda: None))
    suffix = "war" if module.packaging == "war" else "jar"
    pick = Step((*(java.PICK_WAR if suffix == "war" else java.PICK), target))
    rule = Process("web", f"{java.RUN}{APP}/app.{suffix}", f"{joined(module.directory, 'pom.xml')}: {module.packaging}")
    build: tuple[Step, ...] = (*base.build, pick)
    outputs: tuple[Output, ...] = (Output(f"/out/app.{suffix}", f"{APP}/app.{suffix}"),)
    if spring and suffix == "jar" and _extracts(project):
        project.reason("Spring Boot 3.3 or newer -> libraries and app in layers of their own")
        build = (*build, Step(_EXTRACT))
        outputs = (Output("/out/app/lib/", f"{APP}/lib/"), Output("/out/app/app.jar", f"{APP}/app.jar"))
    return replace(base, build=build, outputs=outputs, processes=project.processes(lambda: rule))


def _extracts(project: Project) -> bool:
    """Return whether the version of Spring Boot is known, and one whose jars take themselves apart."""
    root = project.xml("pom.xml")
    if _text(root, "parent", "artifactId") != "spring-boot-starter-parent":
        return False
    match = re.match(r"(\d{1,3})\.(\d{1,3})\.", _text(root, "parent", "version"))
    return match is not None and (int(match[1]), int(match[2])) >= (3, 3)


def _text(element: Element | None, *names: str) -> str:
    """Return the text of the element below names, "" without one."""
    for name in names:
        element = element.find(name) if element is not None else None
    return (element.text or "").strip() if element is not None else ""


def _modules(project: Project, directory: str = ".", depth: int = 0) -> Iterator[Module]:
    """Yield the modules of a project, itself first."""
    pom = project.xml(joined(directory, "pom.xml"))
    plugins = pom.findall("build/plugins/plugin")
    names = frozenset(_text(plugin, "artifactId") for plugin in plugins)
    has_main = any(element.tag in ("mainClass", "Main-Class") for plugin in plugins for element in plugin.iter())
    packaging = _text(pom, "packaging") or "jar"
    yield Module(directory, _text(pom, "artifactId")[:100], packaging, names, has_main)
    for element in pom.findall("modules/module")[:MAX_MODULES] if depth < MAX_DEPTH else ():
        name = joined(*(element.text or "").strip().split("/"))
        inner = joined(directory, name)
        if name == "." or not plain(inner) or not project.tree.has(joined(inner, "pom.xml")):
            project.wrong(f"{joined(directory, 'pom.xml')}: modules", name, "a directory of the source with a pom.xml")
        else:
            yield from _modules(project, inner, depth + 1)


def _chosen(project: Project, modules: list[Module]) -> Module:
    """Return the module that the task names, or the only one that runs."""
    asked = project.options.module
    if asked:
        found = [one for one in modules if asked in (one.directory, one.artifact)]
        if not found:
            listed = ", ".join(one.directory for one in modules[:20])
            project.option_wrong("build.module", f"{asked}, which is no module", f"one of {listed}")
        return (found or modules)[0]
    if len(modules) == 1:
        if modules[0].packaging == "pom":
            project.wrong("pom.xml: packaging", "pom", "jar or war, or modules")
        return modules[0]
    running = [one for one in modules if one.runs]
    if len(running) == 1:
        project.reason(f"of {len(modules)} modules, {running[0].directory} alone runs")
        return running[0]
    listed = ", ".join(one.directory for one in (running or modules[1:])[:20])
    found_text = f"several modules that run: {listed}" if running else f"modules of which none is seen to run: {listed}"
    project.wrong("pom.xml: modules", found_text, "build.module with the one that is the app")
    return modules[0]


def _levels(project: Project, pom: Element, root: Element) -> list[Wish]:
    """Return the version of Java that the project is compiled for, as far as it is written in its own files."""
    for document in (pom, root):
        for name in ("maven.compiler.release", "maven.compiler.target", "maven.compiler.source", "java.version"):
            value = _property(document, name)
            if value:
                return [java.release(project, f"pom.xml: {name}", value)]
        for plugin in document.findall("build/plugins/plugin"):
            if _text(plugin, "artifactId") == "maven-compiler-plugin":
                for name in ("release", "target", "source"):
                    value = _resolved(document, _text(plugin, "configuration", name))
                    if value:
                        return [java.release(project, f"pom.xml: {name}", value)]
    return []


def _property(document: Element, name: str) -> str:
    """Return a property of a project, "" if it has none or one that another file decides."""
    for entry in document.findall("properties/*"):
        if entry.tag == name:
            value = (entry.text or "").strip()
            return _resolved(document, value) if value != f"${{{name}}}" else ""
    return ""


def _resolved(document: Element, value: str, depth: int = 5) -> str:
    """Return a value with a reference to a property of the same file replaced, "" for any other reference."""
    reference = _REFERENCE.match(value)
    if reference and depth:
        found = next((entry for entry in document.findall("properties/*") if entry.tag == reference[1]), None)
        return _resolved(document, (found.text or "").strip() if found is not None else "", depth - 1)
    return "" if "${" in value else value
