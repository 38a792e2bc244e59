# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Java: the version, prebuilt jars and wars, and how either is run. Maven and Gradle are beside this. Pure."""

from __future__ import annotations

import re

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .documents import properties
from .plan import APP, Output, Plan, Process, Version
from .project import Project, Wish
from .tree import plain
from .versions import Range, exactly, or_newer

RUN = "exec java -XX:MaxRAMPercentage=75 $JAVA_OPTS -jar "
TOMCAT = "/usr/share/tomcat11/bin/catalina.sh run"
WEBAPP = "/opt/tomcat/webapps/ROOT.war"
TOMCAT_ENVIRONMENT = (("CATALINA_HOME", "/usr/share/tomcat11"), ("CATALINA_BASE", "/opt/tomcat"))
# Each framework has its own name for the port; PORT is that of all languages.
PORTS = (("SERVER_PORT", "8080"),)
_VERSION = re.compile(r"(?:[a-z][a-z0-9_]*-)*(?:1\.)?(\d{1,3})(?:[.+_-].*)?\Z", re.IGNORECASE)

# Copies the one jar of a directory that can be run to /out/app.jar.
PICK = (
    "/bin/sh",
    "-ec",
    """
directory=$PWD/$1
jar=
count=0
for file in "$directory"/*.jar; do
  case $file in
    *-sources.jar|*-javadoc.jar|*-plain.jar|*-tests.jar|*/original-*.jar|*'*.jar') continue ;;
  esac
  rm -rf /tmp/manifest
  mkdir /tmp/manifest
  (cd /tmp/manifest && jar xf "$file" META-INF/MANIFEST.MF)
  if grep -Eqs '^(Main|Start)-Class:' /tmp/manifest/META-INF/MANIFEST.MF; then
    jar=$file
    count=$((count + 1))
  fi
done
if test "$count" != 1; then
  echo "found $count jars with a Main-Class in $1, wanted one" >&2
  exit 1
fi
mkdir -p /out
cp "$jar" /out/app.jar
""",
    "pick",
)
# Copies the one war of a directory to /out/app.war.
PICK_WAR = (
    "/bin/sh",
    "-ec",
    'directory=$1; set -- "$1"/*.war\n'
    'test $# = 1 && test -f "$1" || { echo "found no war or several in $directory, wanted one" >&2; exit 1; }\n'
    'mkdir -p /out; cp "$1" /out/app.war',
    "pick",
)


def java_version(project: Project, *more: Wish) -> Version:
    """Return the version of Java: that of files for tools, then those that the build asks for."""
    pinned = project.text(".java-version").strip()
    system = properties(project.text("system.properties")).get("java.runtime.version", "")
    return project.version(
        "java", project.wishes("java", Wish(".java-version", pinned, version), *more, _system(system))
    )


def _system(text: str) -> Wish:
    return Wish("system.properties: java.runtime.version", text, version)


def version(text: str) -> Range:
    """Return the range of a version of Java, such as 17, 1.8, 21.0.5 or temurin-21. Raises ValueError."""
    match = _VERSION.match(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]} is no version of Java")
    return exactly(match[1])


def release(project: Project, source: str, text: str) -> Wish:
    """Return the wish of a build for a language level: this version, else the next one that is offered."""

    def range_of(said: str) -> Range:
        match = _VERSION.match(said.strip())
        if match is None:
            raise ValueError(f"{said[:40]} is no version of Java")
        found = project.offered.oldest("java", or_newer(match[1]))
        return exactly(found or match[1])

    return Wish(source, text, range_of)


def match_archive(project: Project) -> str:
    """Return the jars and wars at the top of an archive, "" for another source."""
    return ", ".join(_archives(project)) if project.options.archive else ""


def _archives(project: Project) -> list[str]:
    return [name for name in project.tree.names if name.endswith((".jar", ".war"))]


def plan_archive(project: Project) -> Plan:
    """Return the plan of a jar or war that is the whole source."""
    kinds = (f".{project.options.language}",) if project.options.language else (".jar", ".war")
    found = [name for name in _archives(project) if name.endswith(kinds)]
    if len(found) != 1:
        project.wrong(
            ".", ", ".join(found) or f"no *{' and no *'.join(kinds)}", "one jar or war at the top of the source"
        )
    name = found[0] if found else "app.jar"
    if not plain(name):
        project.wrong(name, f"the name {shown(name)}", "letters, digits and _@+.-")
    java = java_version(project)
    if name.endswith(".war"):
        return war(project, "war", java, Plan("war", "war", build_base="run/java"), f"{APP}/{name}")
    rule = Process("web", f"{RUN}{APP}/app.jar", name)
    return Plan(
        "jar",
        "jar",
        (java,),
        root=project.tree.directory,
        build_base="run/java",
        run_base="run/java",
        outputs=(Output(f"{APP}/{name}", f"{APP}/app.jar"),),
        environment=PORTS,
        processes=project.processes(lambda: rule),
    )


def war(project: Project, tool: str, java: Version, plan: Plan, source: str) -> Plan:
    """Return a plan whose war, a file of the build stage, is run by Tomcat."""
    return Plan(
        plan.language,
        tool,
        (java, *plan.versions),
        root=project.tree.directory,
        build_base=plan.build_base,
        run_base="run/tomcat",
        build=plan.build,
        outputs=(Output(source, WEBAPP),),
        environment=TOMCAT_ENVIRONMENT,
        processes=project.processes(lambda: Process("web", TOMCAT, "war")),
    )
