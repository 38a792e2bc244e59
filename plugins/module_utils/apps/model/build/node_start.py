# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts a Node or Bun app without a Procfile: its start script, its main file, or its framework. Pure."""

from __future__ import annotations

import re
import shlex
from typing import Any

from .commands import faults
from .documents import part, text_at
from .node_managers import dependencies, members
from .plan import Process
from .project import Project

# Commands for development: they compile while they serve, or restart when a file changes.
_DEVELOPMENT = (
    "vite(?! build)",
    "(react-scripts|react-app-rewired|craco|docusaurus|expo|nest) start",
    "(ng|vue-cli-service|webpack|webpack-cli) serve",
    "ng s",
    "webpack-dev-server",
    "parcel(?! build)",
    "(astro|nuxt|nuxi) preview",
    "(astro|next|nuxt|nuxi|svelte-kit|remix|react-router|rsbuild|vinxi|solid-start|turbo|turbo run) dev",
    "remix vite:dev",
    "gatsby develop",
    "nodemon",
    "ts-node-dev",
    "tsx watch",
    "(node|bun) --(watch|hot)",
)
_BEFORE = r"(?:(?:npx|cross-env|dotenv|env) (?:-- )?|[A-Za-z_]\w{0,60}=\S{0,200} )*"
DEVELOPMENT = re.compile(f"{_BEFORE}(?:{'|'.join(_DEVELOPMENT)})(?=\\s|\\Z)")
# Programs that serve the files of a build, which nginx does better.
FILE_SERVERS = re.compile(f"{_BEFORE}(?:serve|http-server|vite preview|gatsby serve|docusaurus serve)(?=\\s|\\Z)")
# By dependency: the command that serves what the build has made.
FRAMEWORKS = {
    "next": "next start",
    "nuxt": "node .output/server/index.mjs",
    "@tanstack/react-start": "node .output/server/index.mjs",
    "@solidjs/start": "node .output/server/index.mjs",
    "@nestjs/core": "node dist/main",
    "@react-router/serve": "react-router-serve ./build/server/index.js",
    "@remix-run/serve": "remix-serve build/server/index.js",
    "@sveltejs/adapter-node": "node build",
    "@astrojs/node": "env HOST=0.0.0.0 node ./dist/server/entry.mjs",
}
SERVERS = {"express", "fastify", "koa", "hono", "@hapi/hapi", "@hono/node-server", "polka", "h3", "restify"}
_RUN = re.compile(r"(?:npm|pnpm|yarn|bun)(?: run)? ([A-Za-z0-9:_.-]{1,60})\Z")
_FILES = {
    "node": ("server.js", "index.js", "server.mjs", "index.mjs", "server.cjs", "index.cjs"),
    "bun": ("server.ts", "index.ts", "src/index.ts", "src/server.ts", "server.js", "index.js", "index.tsx"),
}


def start_script(project: Project) -> str:
    """Return the line of the start script, "" without one that is for production."""
    scripts = part(project.json("package.json"), "scripts")
    line = script_line(scripts, "start")
    if line and DEVELOPMENT.match(line.strip()):
        return ""
    return line


def script_line(scripts: dict[str, Any], name: str, depth: int = 5) -> str:
    """Return the line of a script, with those that run before it; a script that only runs another is that one."""
    line = text_at(scripts, name).strip()
    match = _RUN.match(line)
    if match and depth and text_at(scripts, match[1]):
        line = script_line(scripts, match[1], depth - 1)
    before = text_at(scripts, f"pre{name}").strip()
    return f"{before} && {line}" if before and line else line


def server_file(project: Project, runtime: str) -> str:
    """Return the file that starts a server by its name, "" without one."""
    return project.tree.first(_FILES[runtime])


def web(project: Project, runtime: str) -> Process | None:
    """Return the process web of a Node or Bun project."""
    package = project.json("package.json")
    line = start_script(project)
    if line:
        _check(project, line, "package.json: scripts.start")
        _only_for_development(project, line)
        return Process("web", line, "package.json: scripts.start")
    said = text_at(package, "scripts", "start")
    if said:
        project.reason(f"scripts.start ({said[:100]}) is for development -> not used")
    for key in ("main", "module"):
        path = text_at(package, key).removeprefix("./")
        if path and _there(project, path):
            command = f"{runtime} {shlex.quote('./' + path)}"
            _check(project, command, f"package.json: {key}")
            return Process("web", command, f"package.json: {key}")
    path = server_file(project, runtime)
    if path:
        return Process("web", f"{runtime} {path}", path)
    framework = next((name for name in FRAMEWORKS if name in dependencies(package)), "")
    if framework:
        project.reason(f"{framework} -> {FRAMEWORKS[framework]}")
        return Process("web", _framework(project, framework), f"package.json: {framework}")
    if members(project):
        project.wrong(
            "package.json",
            f"a workspace without a start script; its packages are {', '.join(members(project)[:10])}",
            "build.subdir with one of them, or scripts.start",
        )
    return None


def _framework(project: Project, name: str) -> str:
    if name == "next" and next_output(project) == "standalone":
        return "env HOSTNAME=0.0.0.0 node .next/standalone/server.js"
    return FRAMEWORKS[name]


def next_output(project: Project) -> str:
    """Return the kind of output in the configuration of Next, "" for the default."""
    text = configuration(project, "next.config")
    match = re.search(r"""\boutput\s{0,9}:\s{0,9}["'](standalone|export)["']""", text)
    return match[1] if match else ""


def configuration(project: Project, name: str) -> str:
    """Return the text of a configuration that is a script, "" without one."""
    path = project.tree.first(f"{name}.{suffix}" for suffix in ("js", "mjs", "ts", "cjs", "mts"))
    return project.text(path) if path else ""


def _there(project: Project, path: str) -> bool:
    """Return whether a main file is in the source, or may be made by the build."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return False
    made = bool(text_at(project.json("package.json"), "scripts", "build")) and len(parts) > 1
    return any(project.tree.has(path + suffix) for suffix in ("", ".js")) or made


def _check(project: Project, command: str, source: str) -> None:
    for finding in faults("web", command, project.tree.place(source)):
        project.findings.append(finding)


def _only_for_development(project: Project, line: str) -> None:
    """Warn of a start script whose program is removed with what only development needs."""
    package = project.json("package.json")
    only = dependencies(package, "devDependencies") - dependencies(package, "dependencies", "optionalDependencies")
    program = next((word for word in line.split() if "=" not in word), "")
    if program in only and project.options.prune is not False:
        project.warn(
            f"scripts.start runs {program}, which is only in devDependencies: move it, or set build.prune to false"
        )
