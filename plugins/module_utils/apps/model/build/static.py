# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Static files behind nginx: as they are in the tree, or made by a generator that Debian has. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .commands import PORT
from .documents import part, text_at
from .plan import APP, Output, Plan, Process, Step
from .project import Project
from .tree import plain

PUBLIC = APP + "/public"
CONFIGURATION = APP + "/nginx.conf"
COMMAND = f"nginx -e stderr -c {CONFIGURATION} -g 'daemon off;'"
ROOTS = ("Staticfile", "static.json", "public/index.html", "index.html")
_ERROR_PAGE = re.compile(r"/?[A-Za-z0-9_][A-Za-z0-9_./-]{0,100}\.html?\Z")
# Their configuration, their package in Debian, and the command that makes the files.
GENERATORS = (
    (("hugo.toml", "hugo.yaml", "hugo.json"), "hugo", ("hugo", "--minify", "--destination", "/out/public")),
    (("mkdocs.yml",), "mkdocs", ("mkdocs", "build", "--site-dir", "/out/public")),
    (("_config.yml",), "jekyll", ("jekyll", "build", "--destination", "/out/public")),
)
# Files of the tree's root that are for builders, not for visitors.
_PRIVATE = ("Staticfile", "static.json", "Procfile", "nginx.conf")


@dataclass(frozen=True)
class Site:
    """How nginx serves the files: `fallback` for unknown paths, "" for an error; `immutable` is the pattern of paths
    whose names change with their content."""

    fallback: str = ""
    error_page: str = ""
    clean_urls: bool = False
    immutable: str = ""


def match(project: Project) -> str:
    """Return the files that make a tree a static site, "" without them."""
    generator = next((name for names, _tool, _words in GENERATORS for name in [project.tree.first(names)] if name), "")
    return generator or project.tree.first(ROOTS)


def plan(project: Project) -> Plan:
    """Return the plan of a static site."""
    for names, tool, words in GENERATORS:
        if project.tree.first(names):
            project.reason(f"{project.tree.first(names)} -> {tool}")
            project.apt_build.add(tool)
            return site_plan(project, tool, "build/static", Site(), (Step(words),), "/out/public")
    root, site = _root(project)
    project.reason(f"{match(project) or 'build.output'} -> static files of {root}")
    if not project.tree.has("index.html" if root == "." else f"{root}/index.html"):
        project.warn(f"{root} has no index.html: requests for / get an error")
    source = APP if root == "." else f"{APP}/{root}"
    return site_plan(project, "nginx", "build/static", site, (), source)


def site_plan(
    project: Project,
    tool: str,
    build_base: str,
    site: Site,
    build: tuple[Step, ...],
    source: str,
    language: str = "static",
) -> Plan:
    """Return the plan of files that nginx serves, from a directory of the build stage."""
    write = 'mkdir -p /out && printf %s "$1" > /out/nginx.conf'
    return Plan(
        language,
        tool,
        root=project.tree.directory,
        build_base=build_base,
        run_base="run/static",
        build=(*build, Step(("/bin/sh", "-ec", write, "write", nginx(site)))),
        outputs=(Output(source + "/", PUBLIC + "/"), Output("/out/nginx.conf", CONFIGURATION)),
        processes=project.processes(lambda: Process("web", COMMAND, tool)),
    )


def _root(project: Project) -> tuple[str, Site]:
    """Return the directory of the files, and how they are served."""
    if project.options.output:
        root, site, source = project.options.output, Site(), "build.output"
    elif project.tree.has("Staticfile"):
        root, site = _staticfile(project)
        source = "Staticfile: root"
    elif project.tree.has("static.json"):
        root, site = _static_json(project)
        source = "static.json: root"
    else:
        return ("public" if project.tree.has("public/index.html") else "."), Site()
    root = root.strip("/") or "."
    if not plain(root) or not project.tree.has_directory(root):
        project.wrong(source, shown(root), "a directory of the source")
    return root, site


def _staticfile(project: Project) -> tuple[str, Site]:
    """Read the keys of a Staticfile, which is YAML; others than root and pushstate have no effect."""
    found = project.yaml("Staticfile")
    others = sorted(set(found) - {"root", "pushstate"})
    if others:
        project.warn(f"Staticfile: {', '.join(others)} has no effect; root and pushstate have")
    fallback = "/index.html" if found.get("pushstate") in ("enabled", True) else ""
    return text_at(found, "root") or ("public" if project.tree.has("public/index.html") else "."), Site(fallback)


def _static_json(project: Project) -> tuple[str, Site]:
    found = project.json("static.json")
    others = sorted(set(found) - {"root", "routes", "error_page", "clean_urls"})
    if others:
        project.warn(f"static.json: {', '.join(others)} has no effect; root, routes, error_page and clean_urls have")
    routes = part(found, "routes")
    if set(routes) - {"/**"}:
        project.warn("static.json: routes has an effect for /** only")
    pages = {"routes": text_at(routes, "/**"), "error_page": text_at(found, "error_page")}
    for name, page in pages.items():
        if page and not (_ERROR_PAGE.match(page) and plain(page.lstrip("/"))):
            project.wrong(f"static.json: {name}", shown(page), "the path of an HTML file")
    fallback, error = ("/" + page.lstrip("/") if page else "" for page in pages.values())
    return text_at(found, "root") or "public_html", Site(fallback, error, found.get("clean_urls") is True)


def nginx(site: Site) -> str:
    """Return the configuration of nginx."""
    last = site.fallback or "=404"
    tries = "$uri $uri/index.html" + (" $uri.html" if site.clean_urls else "") + f" {last}"
    private = "|".join(re.escape(name) for name in _PRIVATE)
    immutable = f"""
    location ~ {site.immutable} {{
      add_header Cache-Control "public, max-age=31536000, immutable";
      try_files $uri =404;
    }}"""
    return http(
        f"""    listen {PORT};
    root {PUBLIC};
    index index.html;
    add_header Cache-Control "no-cache";
{f"    error_page 404 {site.error_page};" if site.error_page else ""}
    location ~ /\\.(?!well-known/) {{ return 404; }}
    location ~ ^/({private})$ {{ return 404; }}{immutable if site.immutable else ""}
    location / {{ try_files {tries}; }}
"""
    )


def http(server: str) -> str:
    """Return the configuration of nginx for one server, run by a user without rights."""
    return f"""pid /tmp/nginx.pid;
error_log stderr;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  charset utf-8;
  access_log /dev/stdout;
  client_body_temp_path /tmp/client;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  sendfile on;
  server_tokens off;
  absolute_redirect off;
  gzip on;
  gzip_types text/plain text/css application/javascript application/json image/svg+xml application/xml;
  server {{
{server}  }}
}}
"""
