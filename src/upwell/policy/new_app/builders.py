"""Builder images for languages, made of a base image and its distribution's packages.

Each is an image for Source-to-Image builds (docs/source-to-image.md) that a BuildConfig makes of a
Dockerfile: a change of the base image builds it anew, and what was built with it after that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BASE = "docker.io/library/debian:13"
PORT = 8080
"""Port at which applications are expected, and that they find in $PORT."""
_INSTALL = (
    "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
)
_SCRIPTS = "/usr/libexec/s2i"
_HOME = "/opt/app-root"
_USER = 1001


@dataclass(frozen=True, slots=True)
class LanguageBuilder:
    """Packages of Debian and scripts by which a language is built and run."""

    language: str
    """As OpenShift calls its builders."""
    packages: Sequence[str]
    assemble: Sequence[str]
    """Lines of a shell script that is run in the source tree."""
    run: Sequence[str]
    """Lines of a shell script that starts the application there."""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its stream and BuildConfig."""
        return f"{self.language}-builder"

    def dockerfile(self, base: str) -> str:
        """Return the Dockerfile of the image."""
        packages = " ".join(("ca-certificates", *self.packages))
        variables = {"HOME": f"{_HOME}/src", "PORT": str(PORT), **self.env}
        env = " ".join(f'{name}="{value}"' for name, value in variables.items())
        return "\n".join(
            (
                f"FROM {base}",
                f"RUN {_INSTALL} {packages} && rm -rf /var/lib/apt/lists/*",
                f"RUN mkdir -p {_SCRIPTS}",
                f"RUN {_written('assemble', _ASSEMBLE_HEAD, self.assemble)}",
                f"RUN {_written('run', _RUN_HEAD, self.run)}",
                f"RUN mkdir -p {_HOME}/src && chown -R {_USER}:0 {_HOME} && chmod -R g=u {_HOME}",
                f"LABEL io.openshift.s2i.scripts-url=image://{_SCRIPTS}",
                f'LABEL io.k8s.display-name="{self.language}"',
                f"LABEL io.openshift.expose-services={PORT}:http",
                f"ENV {env}",
                f"WORKDIR {_HOME}/src",
                f"USER {_USER}",
                f"EXPOSE {PORT}",
                f'CMD ["{_SCRIPTS}/run"]',
                "",
            )
        )

    def script(self, name: str) -> str:
        """Return the script `assemble` or `run`."""
        lines = (*_ASSEMBLE_HEAD, *self.assemble) if name == "assemble" else (*_RUN_HEAD, *self.run)
        return "\n".join((*lines, ""))


_ASSEMBLE_HEAD = ("#!/bin/sh", "set -e", "cp -a /tmp/src/. .")
_RUN_HEAD = ("#!/bin/sh", "set -e")


def _written(name: str, head: Sequence[str], lines: Sequence[str]) -> str:
    """Return the shell command that writes a script, a line for each argument."""
    quoted = " ".join("'" + line.replace("'", "'\\''") + "'" for line in (*head, *lines))
    return f"printf '%s\\n' {quoted} > {_SCRIPTS}/{name} && chmod 755 {_SCRIPTS}/{name}"


_PROCFILE = (
    "if [ -f Procfile ] && grep -q '^web:' Procfile; then",
    "  exec sh -c \"exec $(sed -n 's/^web: *//p' Procfile | head -n 1)\"",
    "fi",
)
"""The line by which many applications say how they are started."""

_PYTHON = LanguageBuilder(
    "python",
    ("python3", "python3-venv", "python3-dev", "gcc", "libc6-dev"),
    (
        "python3 -m venv /opt/app-root/venv",
        "if [ -f requirements.txt ]; then pip install --no-cache-dir -r requirements.txt",
        "elif [ -f pyproject.toml ] || [ -f setup.py ]; then pip install --no-cache-dir .",
        "fi",
    ),
    (
        *_PROCFILE,
        "if [ -f app.sh ]; then exec sh app.sh; fi",
        "for module in wsgi app main; do",
        '  if [ -f "$module.py" ] && command -v gunicorn > /dev/null; then',
        '    exec gunicorn --bind "0.0.0.0:$PORT" "$module:${APP_OBJECT:-app}"',
        "  fi",
        "done",
        "if [ -f manage.py ]; then",
        '  exec python manage.py runserver --noreload "0.0.0.0:$PORT"',
        "fi",
        "for module in app main; do",
        '  if [ -f "$module.py" ]; then exec python "$module.py"; fi',
        "done",
        "echo 'no Procfile, app.sh, wsgi.py, app.py, main.py or manage.py says what to start' >&2",
        "exit 1",
    ),
    {
        "PATH": "/opt/app-root/venv/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    },
)
_NODE = LanguageBuilder(
    "nodejs",
    ("nodejs", "npm"),
    (
        "if [ -f package-lock.json ]; then npm ci; else npm install; fi",
        "npm run build --if-present",
        "npm prune --omit=dev",
    ),
    (*_PROCFILE, "exec npm start"),
    {"NODE_ENV": "production", "NPM_CONFIG_INCLUDE": "dev"},
)
_STATIC = LanguageBuilder(
    "static",
    ("nginx-light",),
    ("mkdir -p /opt/app-root/nginx",),
    (
        "for folder in dist build public _site site .; do",
        '  if [ -f "$folder/index.html" ]; then break; fi',
        "done",
        "cat > /opt/app-root/nginx/nginx.conf <<END",
        "pid /opt/app-root/nginx/pid;",
        "error_log /dev/stderr;",
        "events {}",
        "http {",
        "  include /etc/nginx/mime.types;",
        "  access_log /dev/stdout;",
        "  client_body_temp_path /opt/app-root/nginx/body;",
        "  proxy_temp_path /opt/app-root/nginx/proxy;",
        "  fastcgi_temp_path /opt/app-root/nginx/fastcgi;",
        "  uwsgi_temp_path /opt/app-root/nginx/uwsgi;",
        "  scgi_temp_path /opt/app-root/nginx/scgi;",
        "  server { listen $PORT; root $PWD/$folder; }",
        "}",
        "END",
        "exec nginx -c /opt/app-root/nginx/nginx.conf -g 'daemon off;'",
    ),
)
_GO = LanguageBuilder(
    "golang",
    ("golang-go", "git"),
    (
        "target=.",
        "if ! grep -qs '^package main' ./*.go; then",
        "  for folder in cmd/*/; do",
        '    if [ -d "$folder" ]; then target="./$folder"; break; fi',
        "  done",
        "fi",
        'go build -o /opt/app-root/app "$target"',
        'rm -rf "$GOCACHE" "$GOMODCACHE"',
    ),
    (*_PROCFILE, "exec /opt/app-root/app"),
    {
        "CGO_ENABLED": "0",
        "GOCACHE": f"{_HOME}/go-cache",
        "GOMODCACHE": f"{_HOME}/go-modules",
        "GOFLAGS": "-buildvcs=false -modcacherw",
    },
)
_JAVA = LanguageBuilder(
    "java",
    ("default-jdk-headless", "maven"),
    (
        "if [ -f gradlew ]; then sh gradlew --no-daemon build -x test",
        "elif [ -f pom.xml ]; then mvn --batch-mode --quiet -DskipTests package",
        "else echo 'no pom.xml and no gradlew says how it is built' >&2; exit 1",
        "fi",
        f"rm -rf {_HOME}/maven",
    ),
    (
        *_PROCFILE,
        "jar=$(ls -S target/*.jar build/libs/*.jar 2> /dev/null |",
        "  grep -v -e '-sources[.]jar$' -e '-javadoc[.]jar$' -e '-plain[.]jar$' | head -n 1)",
        'if [ -z "$jar" ]; then echo "the build has made no jar" >&2; exit 1; fi',
        'exec java $JAVA_OPTS -jar "$jar"',
    ),
    {"SERVER_PORT": str(PORT), "MAVEN_OPTS": f"-Dmaven.repo.local={_HOME}/maven"},
)
_APACHE_MODULES = (
    *("mpm_prefork", "authn_core", "authn_file", "auth_basic", "authz_core", "authz_host"),
    *("authz_user", "access_compat", "dir", "mime", "env", "setenvif", "headers", "expires"),
    *("filter", "deflate", "alias", "rewrite"),
)
"""Without PHP's: what the `.htaccess` of applications may ask for.

Named one by one, so that Apache does not start, rather than show source, where one is missing.
"""
_PHP = LanguageBuilder(
    "php",
    (
        "libapache2-mod-php",
        "media-types",
        "php-cli",
        "php-curl",
        "php-gd",
        "php-intl",
        "php-mbstring",
        "php-mysql",
        "php-pgsql",
        "php-sqlite3",
        "php-xml",
        "php-zip",
        "composer",
        "git",
        "unzip",
    ),
    (
        "mkdir -p /opt/app-root/apache",
        "if [ -f composer.json ]; then",
        "  composer install --no-dev --no-interaction --no-progress --optimize-autoloader",
        "fi",
        'rm -rf "$COMPOSER_HOME"',
    ),
    (
        *_PROCFILE,
        "for folder in public web htdocs .; do",
        '  if [ -f "$folder/index.php" ]; then break; fi',
        "done",
        "cat > /opt/app-root/apache/apache.conf <<END",
        "PidFile /opt/app-root/apache/pid",
        "ServerName localhost",
        "Listen 0.0.0.0:$PORT",
        "ErrorLog /dev/stderr",
        *(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
            for name in _APACHE_MODULES
        ),
        "LoadModule php_module $(ls /usr/lib/apache2/modules/libphp*.so)",
        "TypesConfig /etc/mime.types",
        '<FilesMatch "[.]php$">',
        "  SetHandler application/x-httpd-php",
        "</FilesMatch>",
        "DocumentRoot $PWD/$folder",
        "<Directory $PWD/$folder>",
        "  AllowOverride All",
        "  Require all granted",
        "  DirectoryIndex index.php index.html",
        "  FallbackResource /index.php",
        "</Directory>",
        '<FilesMatch "^[.]">',
        "  Require all denied",
        "</FilesMatch>",
        '<DirectoryMatch "/[.](?!well-known)">',
        "  Require all denied",
        "</DirectoryMatch>",
        'LogFormat "%h %t \\"%r\\" %>s %b" short',
        "CustomLog /dev/stdout short",
        "END",
        "exec apache2 -d /opt/app-root/apache -f /opt/app-root/apache/apache.conf -D FOREGROUND",
    ),
    {"COMPOSER_HOME": f"{_HOME}/composer"},
)
_RUBY = LanguageBuilder(
    "ruby",
    (
        "ruby",
        "ruby-dev",
        "bundler",
        "gcc",
        "g++",
        "make",
        "libc6-dev",
        "libpq-dev",
        "libyaml-dev",
        "git",
    ),
    (
        "if [ -f Gemfile.lock ]; then export BUNDLE_FROZEN=true; fi",
        "if [ -f Gemfile ]; then bundle install; fi",
        "if [ -f Rakefile ] &&",
        "  bundle exec rake -P 2> /dev/null | grep -q '^rake assets:precompile$'; then",
        "  SECRET_KEY_BASE_DUMMY=1 bundle exec rake assets:precompile",
        "fi",
    ),
    (
        *_PROCFILE,
        "if [ -f config.ru ] && bundle info puma > /dev/null 2>&1; then",
        '  exec bundle exec puma --bind "tcp://0.0.0.0:$PORT"',
        "fi",
        'if [ -f config.ru ]; then exec bundle exec rackup --host 0.0.0.0 --port "$PORT"; fi',
        "for script in app.rb main.rb; do",
        '  if [ -f "$script" ] && [ -f Gemfile ]; then exec bundle exec ruby "$script"; fi',
        '  if [ -f "$script" ]; then exec ruby "$script"; fi',
        "done",
        "echo 'no Procfile, config.ru, app.rb or main.rb says what to start' >&2",
        "exit 1",
    ),
    {
        "BUNDLE_PATH": f"{_HOME}/gems",
        "BUNDLE_WITHOUT": "development:test",
        "RACK_ENV": "production",
        "RAILS_ENV": "production",
        "RAILS_LOG_TO_STDOUT": "1",
        "RAILS_SERVE_STATIC_FILES": "1",
    },
)
BUILDERS: Mapping[str, LanguageBuilder] = {
    one.language: one for one in (_PYTHON, _NODE, _GO, _JAVA, _PHP, _RUBY, _STATIC)
}
"""By language."""
