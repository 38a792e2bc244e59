# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PHP: Composer, extensions, and nginx with PHP-FPM, which end together. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .commands import PORT
from .documents import part, text_at
from .plan import APP, Output, Plan, Process, Step, Version
from .project import Project, Wish
from .static import http
from .tree import MAX_LOCK, plain
from .versions import composer

WEB = "/opt/web"
COMMAND = f"/bin/sh {WEB}/start"
COMPOSER = ("env", "COMPOSER_ALLOW_SUPERUSER=1", "composer")
# Extensions that Debian's php-common and php-cli have.
_BUILT_IN = (
    "calendar core ctype date exif ffi fileinfo filter ftp gettext hash iconv json libxml openssl pcntl pcre pdo phar",
    "posix random readline reflection session shmop sockets sodium spl standard sysvmsg sysvsem sysvshm tokenizer zlib",
)
# Extensions by Debian's package, without the prefix php8.4-.
PACKAGES = {
    "dom": "xml",
    "mysqli": "mysql",
    "mysqlnd": "mysql",
    "pdo_mysql": "mysql",
    "pdo_odbc": "odbc",
    "pdo_pgsql": "pgsql",
    "pdo_sqlite": "sqlite3",
    "simplexml": "xml",
    "xmlreader": "xml",
    "xmlwriter": "xml",
    "xsl": "xml",
    "zend-opcache": "opcache",
}
_SAME = (
    "amqp apcu bcmath bz2 curl dba enchant gd gmp gnupg igbinary imagick intl ldap mailparse mbstring memcached",
    "mongodb msgpack mysql odbc opcache pcov pgsql raphf redis snmp soap sqlite3 ssh2 tidy uuid xml yaml zip zmq",
)
BUILT_IN = frozenset(" ".join(_BUILT_IN).split())
PACKAGES.update({name: name for name in " ".join(_SAME).split()})
_HEROKU = re.compile(r"vendor/bin/heroku-php-(?:apache2|nginx)((?: -\S{1,100} \S{1,100})*)(?: ([\w./-]{1,100}))?\Z")
_PLATFORM = re.compile(r"(php(-64bit|-ipv6|-zts|-debug)?|ext-.*|lib-.*|composer(-.*)?)\Z")


def match(project: Project) -> str:
    """Return the file that makes a tree one of PHP, "" without one."""
    return project.tree.first(("composer.json", "index.php"))


def plan(project: Project) -> Plan:
    """Return the plan of a project of PHP."""
    manifest = project.json("composer.json")
    if not match(project):
        project.wrong("composer.json", "no such file", "composer.json or index.php")
    lock = project.json("composer.lock", MAX_LOCK)
    version = project.version("php", project.wishes("php", *_wishes(manifest)))
    _extensions(project, manifest, lock, version)
    root = _root(project)
    install, build = _composer(project, manifest)
    laravel = "laravel/framework" in part(manifest, "require") and project.tree.has("artisan")
    artisan = _artisan(project) if laravel else ()
    source = f"{APP}/{root}" if root != "." else APP
    files = {"nginx.conf": nginx(source), "php-fpm.conf": FPM, "start": start(version.value)}
    inis = [f"/etc/php/{version.value}/{kind}/conf.d/99-app.ini" for kind in ("fpm", "cli")]
    return Plan(
        "php",
        "composer" if install or build else "php",
        (version,),
        root=project.tree.directory,
        build_base="build/php",
        run_base="run/php",
        manifests=_manifests(project, manifest) if install else (),
        install=install,
        build=(*build, *artisan, *(_write(name, content) for name, content in files.items())),
        outputs=(
            Output(f"{APP}/", f"{APP}/"),
            Output("/out/", f"{WEB}/"),
            *(Output(f"{APP}/php.ini", ini) for ini in inis if project.tree.has("php.ini")),
        ),
        environment=(("APP_ENV", "production" if laravel else "prod"), ("LOG_CHANNEL", "stderr")),
        processes=_processes(project, root),
    )


def _wishes(manifest: dict[str, Any]) -> list[Wish]:
    return [
        Wish("composer.json: require.php", text_at(manifest, "require", "php"), composer),
        Wish("composer.json: config.platform.php", text_at(manifest, "config", "platform", "php"), composer),
    ]


def _write(name: str, content: str) -> Step:
    words = ("/bin/sh", "-ec", 'mkdir -p /out && printf %s "$1" > "/out/$2"', "write", content, name)
    return Step(words)


def _root(project: Project) -> str:
    """Return the directory that nginx serves."""
    asked = project.options.output
    if asked and not (plain(asked) and project.tree.has_directory(asked)):
        project.option_wrong("build.output", asked, "a directory of the source")
    return asked or next((name for name in ("public", "web") if project.tree.has(f"{name}/index.php")), ".")


def _requires(manifest: dict[str, Any]) -> list[str]:
    return sorted(name for name in part(manifest, "require") if not _PLATFORM.match(name))


def _composer(project: Project, manifest: dict[str, Any]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps that install packages, and those that make the autoloader."""
    if not project.tree.has("composer.json"):
        return (), ()
    if project.tree.has("vendor/autoload.php"):
        project.reason("vendor/autoload.php -> the packages of the source")
        return (), ()
    words = (*COMPOSER, "dump-autoload", "--no-dev", "--optimize", "--no-scripts", "--no-interaction")
    build = (Step(words),)
    if not _requires(manifest):
        return (), build if "autoload" in manifest else ()
    frozen = project.options.lockfile != "update"
    if not project.tree.has("composer.lock") and frozen:
        project.wrong("composer.lock", "no such file", "the lock of the packages: run composer update, and commit it")
    command = "install" if frozen else "update"
    options = ("--no-dev", "--no-scripts", "--no-autoloader", "--no-interaction", "--no-progress", "--prefer-dist")
    install = Step((*COMPOSER, command, *options), network=True, caches=("/root/.cache/composer",))
    return (install,), build


def _manifests(project: Project, manifest: dict[str, Any]) -> tuple[str, ...]:
    repositories = manifest.get("repositories")
    entries = (repositories.values() if isinstance(repositories, dict) else repositories) or []
    if any(text_at(entry, "type") == "path" for entry in entries if isinstance(entry, dict)):
        return ("./",)
    return tuple(name for name in ("composer.json", "composer.lock", "symfony.lock") if project.tree.has(name))


def _extensions(project: Project, manifest: dict[str, Any], lock: dict[str, Any], version: Version) -> None:
    """Add Debian's packages of the extensions that the app and its packages require."""
    if not version.value:
        return
    wanted = dict.fromkeys(_named(manifest), "composer.json")
    for package in lock.get("packages") or [] if isinstance(lock.get("packages"), list) else ():
        for name in _named(package):
            wanted.setdefault(name, "composer.lock")
    for name, source in sorted(wanted.items()):
        if name in BUILT_IN:
            continue
        if name not in PACKAGES:
            project.wrong(
                source, f"the extension {shown(name)}", "extensions that Debian has, or apt in .cloudbang.yml"
            )
            continue
        package_name = f"php{version.value}-{PACKAGES[name]}"
        project.apt_build.add(package_name)
        project.apt_run.add(package_name)


def _named(package: Any) -> Iterator[str]:
    for name in part(package, "require"):
        if name.startswith("ext-"):
            yield name[4:].lower()


def _artisan(project: Project) -> tuple[Step, ...]:
    """Return the steps that fill caches of Laravel, none of which has configuration in it."""
    if project.options.assets == "skip":
        return ()
    commands = ["event:cache", *(["view:cache"] if project.tree.has_directory("resources/views") else [])]
    return tuple(Step(("php", "artisan", command)) for command in sorted(commands, reverse=True))


def _processes(project: Project, root: str) -> tuple[Process, ...]:
    """Return the processes; a web process of Heroku's server is the platform's own."""
    rule = Process("web", COMMAND, f"{root}/index.php" if root != "." else "index.php")
    found = []
    for process in project.processes(lambda: rule):
        heroku = _HEROKU.match(process.command) if process.name == "web" else None
        if heroku:
            project.warn(
                f"{process.source}: web runs a server of Heroku; nginx and PHP-FPM of the platform serve {root}"
            )
            asked = (heroku[2] or root).strip("/") or "."
            if asked != root or heroku[1]:
                project.wrong(process.source, process.command, f"no web, and build.output with {asked}")
        found.append(replace(rule, source=process.source) if heroku else process)
    return tuple(found)


FPM = """[global]
daemonize = no
error_log = /proc/self/fd/2
[www]
listen = /tmp/php-fpm.sock
pm = dynamic
pm.max_children = 16
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 4
clear_env = no
catch_workers_output = yes
decorate_workers_output = no
"""


def start(version: str) -> str:
    """Return the script that runs nginx and PHP-FPM until one of them ends."""
    return f"""#!/bin/sh
php-fpm{version} --nodaemonize --fpm-config {WEB}/php-fpm.conf &
fpm=$!
nginx -e stderr -c {WEB}/nginx.conf -g 'daemon off;' &
nginx=$!
trap 'kill -QUIT $fpm $nginx 2>/dev/null' TERM INT QUIT
while kill -0 $fpm 2>/dev/null && kill -0 $nginx 2>/dev/null; do
  sleep 1 &
  wait $!
done
kill -QUIT $fpm $nginx 2>/dev/null
wait $fpm
code=$?
wait $nginx
test $code != 0 || code=$?
exit $code
"""


def nginx(root: str) -> str:
    """Return the configuration of nginx for a directory with index.php."""
    return http(
        f"""    listen {PORT};
    root {root};
    index index.php index.html;
    client_max_body_size 64m;
    location ~ /\\.(?!well-known/) {{ return 404; }}
    location ~ ^/(vendor|node_modules|storage|composer\\.(json|lock)|package(-lock)?\\.json|php\\.ini|Procfile)(/|$) {{
      return 404;
    }}
    location / {{ try_files $uri $uri/ /index.php?$query_string; }}
    location ~ \\.php$ {{
      try_files $uri =404;
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_param HTTP_PROXY "";
      fastcgi_pass unix:/tmp/php-fpm.sock;
    }}
"""
    )
