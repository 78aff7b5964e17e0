"""One service of a Compose file."""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.formats.compose import keys, values
from upwell.formats.compose.devices import read_devices
from upwell.formats.compose.document import Document, Path
from upwell.formats.compose.dotenv import DotenvError, parse_dotenv
from upwell.formats.compose.interpolation import InterpolationError
from upwell.formats.compose.model import (
    ComposeService,
    FileGrant,
    HealthCheck,
    ServiceBuild,
)
from upwell.formats.compose.mounts import read_mounts
from upwell.formats.compose.starting import check_restart, read_depends_on

type ReadFile = Callable[[str], bytes]
"""Reader of a file by its absolute path; raises OSError."""

_USER = re.compile(r"\d+(?::\d+)?")
_GIT = re.compile(r"(?:https?|git|ssh)://|git@|github\.com/")


@dataclass(frozen=True, slots=True)
class ProjectContext:
    """Surroundings of a file: its folder, the variables, and what reads other files."""

    folder: str
    environment: Mapping[str, str]
    read: ReadFile

    def path(self, written: str) -> str:
        """Return the absolute path of what is written relative to the file."""
        if written.startswith("~/"):
            written = posixpath.join(self.environment.get("HOME", "/"), written[2:])
        return posixpath.normpath(posixpath.join(self.folder, written))


class ServiceReader:
    """Reader of one service: every fault goes into the document."""

    def __init__(
        self, document: Document, context: ProjectContext, name: str, body: Mapping[str, Any]
    ) -> None:
        self._document = document
        self._context = context
        self._name = name
        self._body = body

    def read(self) -> ComposeService:
        """Return the service; what is wrong with it is in the document's faults."""
        self._refuse_keys()
        document, body = self._document, self._body
        if not body.get("image") and not body.get("build"):
            document.fault(self._path(), "has neither an image nor a build context specified")
        check_restart(document, self._path(), body)
        depends_on, healthy = read_depends_on(document, self._path(), body)
        limits, requests = self._resources()
        aliases, networks = self._networks()
        stop = body.get("stop_grace_period")
        return ComposeService(
            name=self._name,
            image=self._text("image"),
            build=self._build(),
            entrypoint=values.command(document, self._path("entrypoint"), body.get("entrypoint")),
            command=values.command(document, self._path("command"), body.get("command")),
            environment=self._environment(),
            ports=(
                *values.ports(document, self._path("ports"), body.get("ports")),
                *values.ports(document, self._path("expose"), self._exposed(body.get("expose"))),
            ),
            mounts=read_mounts(document, self._path(), body, self._context.path),
            secrets=self._grants("secrets", "/run/secrets/"),
            configs=self._grants("configs", "/"),
            health=self._health(),
            depends_on=depends_on,
            healthy=healthy,
            networks=networks,
            aliases=aliases,
            labels=self._assigned("labels"),
            annotations=self._assigned("annotations"),
            user=self._user(),
            groups=self._groups(),
            working_dir=self._text("working_dir"),
            read_only=self._flag("read_only"),
            privileged=self._flag("privileged"),
            no_new_privileges=self._no_new_privileges(),
            sysctls=self._assigned("sysctls"),
            cap_add=values.texts(document, self._path("cap_add"), body.get("cap_add")),
            cap_drop=values.texts(document, self._path("cap_drop"), body.get("cap_drop")),
            stop_grace_seconds=None
            if stop is None
            else values.duration(document, self._path("stop_grace_period"), stop, 10),
            stdin=self._flag("stdin_open"),
            tty=self._flag("tty"),
            replicas=self._replicas(),
            devices=read_devices(document, self._path(), body),
            limits=limits,
            requests=requests,
        )

    def _path(self, *keys_below: str | int) -> Path:
        return ("services", self._name, *keys_below)

    def _text(self, key: str) -> str:
        return values.text(self._document, self._path(key), self._body.get(key))

    def _flag(self, key: str) -> bool:
        return values.flag(self._document, self._path(key), self._body.get(key))

    def _assigned(self, key: str) -> dict[str, str]:
        found = values.assignments(self._document, self._path(key), self._body.get(key))
        return {name: value or "" for name, value in found.items()}

    def _refuse_keys(self) -> None:
        for key, value in self._body.items():
            if key in keys.READ or key.startswith("x-"):
                continue
            if key in keys.WITHOUT_EFFECT:
                self._document.warn(self._path(key), f"no effect: {keys.WITHOUT_EFFECT[key]}")
            elif key in keys.REFUSED:
                if value not in (None, [], {}, ""):
                    self._document.fault(self._path(key), f"not supported: {keys.REFUSED[key]}")
            else:
                known = {*keys.READ, *keys.WITHOUT_EFFECT, *keys.REFUSED}
                self._document.fault(self._path(key), keys.not_allowed(key, known))

    def _build(self) -> ServiceBuild | None:
        value, path = self._body.get("build"), self._path("build")
        if not value:
            return None
        if isinstance(value, str):
            return ServiceBuild(self._build_context(value))
        body = values.mapping(self._document, path, value)
        for key in body:
            if key in keys.BUILD_WITHOUT_EFFECT:
                self._document.warn((*path, key), "no effect: steps are kept by Upwell itself")
            elif key not in keys.BUILD_READ and not key.startswith("x-"):
                self._document.fault(
                    (*path, key), "not supported: say it in the Dockerfile, or in a BuildConfig"
                )
        args = values.assignments(self._document, (*path, "args"), body.get("args"))
        return ServiceBuild(
            self._build_context(values.text(self._document, path, body.get("context")) or "."),
            values.text(self._document, path, body.get("dockerfile")),
            values.text(self._document, path, body.get("dockerfile_inline")),
            self._with_environment(args),
        )

    def _build_context(self, written: str) -> str:
        return written if _GIT.match(written) else self._context.path(written)

    def _with_environment(self, assigned: Mapping[str, str | None]) -> dict[str, str]:
        """Return the values; a name without one takes that of the surroundings, or none."""
        known = {name: self._context.environment.get(name) for name in assigned}
        found = {name: known[name] if value is None else value for name, value in assigned.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _environment(self) -> dict[str, str]:
        document, path = self._document, self._path("environment")
        own = values.assignments(document, path, self._body.get("environment"))
        return {**self._env_files(), **self._with_environment(own)}

    def _env_files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        written, path = self._body.get("env_file"), self._path("env_file")
        entries = written if isinstance(written, list) else [written] if written else []
        for at, entry in enumerate(entries):
            required, name = True, entry
            if isinstance(entry, Mapping):
                required = entry.get("required", True) is not False
                name = entry.get("path")
            if not isinstance(name, str) or not name:
                self._document.fault((*path, at), "must be the path of a file")
                continue
            try:
                text = self._context.read(self._context.path(name)).decode()
                found |= parse_dotenv(text, self._context.environment)
            except FileNotFoundError:
                if required:
                    self._document.fault(
                        path, f"env file {self._context.path(name)} not found: create it"
                    )
            except OSError as error:
                self._document.fault(path, f"cannot read {name}: {error.strerror or error}")
            except (UnicodeDecodeError, DotenvError, InterpolationError) as error:
                why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                self._document.fault(path, f"{name}: {why}")
        return found

    def _exposed(self, value: Any) -> Any:
        """Return `expose` as ports that nobody publishes."""
        for at, entry in enumerate(value if isinstance(value, list) else ()):
            if ":" in str(entry):
                self._document.fault(self._path("expose", at), "must be a port of the container")
                return None
        return value

    def _grants(self, key: str, folder: str) -> tuple[FileGrant, ...]:
        found: list[FileGrant] = []
        entries = self._body.get(key) or ()
        if isinstance(entries, str) or not isinstance(entries, Sequence):
            self._document.fault(self._path(key), "must be a list")
            return ()
        for at, entry in enumerate(entries):
            path = self._path(key, at)
            if isinstance(entry, str):
                found.append(FileGrant(entry, f"{folder}{entry}"))
                continue
            body = values.mapping(self._document, path, entry)
            source = values.text(self._document, path, body.get("source"))
            if not source:
                self._document.fault(path, "source is missing")
                continue
            for owner in ("uid", "gid"):
                if str(body.get(owner, "0")) != "0":
                    self._document.warn(
                        (*path, owner), "no effect: the file belongs to root; `mode` opens it"
                    )
            target = values.text(self._document, path, body.get("target")) or source
            mode = body.get("mode")
            found.append(
                FileGrant(
                    source,
                    target if target.startswith("/") else f"{folder}{target}",
                    None if mode is None else self._mode(path, mode),
                )
            )
        return tuple(found)

    def _mode(self, path: Path, mode: Any) -> int | None:
        try:
            return mode if isinstance(mode, int) else int(str(mode), 8)
        except ValueError:
            self._document.fault((*path, "mode"), "must be an octal number such as 0440")
            return None

    def _health(self) -> HealthCheck | None:
        path = self._path("healthcheck")
        body = values.mapping(self._document, path, self._body.get("healthcheck"))
        if not body:
            return None
        known = {
            "test", "interval", "timeout", "retries", "start_period", "start_interval", "disable",
        }  # fmt: skip
        for key in body:
            if key not in known and not key.startswith("x-"):
                self._document.fault((*path, key), keys.not_allowed(key, known))
        test = body.get("test")
        disabled = values.flag(self._document, (*path, "disable"), body.get("disable"))
        if disabled or test in ("NONE", ["NONE"]):
            return HealthCheck(disabled=True)
        for key in ("start_period", "start_interval"):
            values.duration(self._document, (*path, key), body.get(key), 0)
        return HealthCheck(
            self._test((*path, "test"), test),
            interval=max(
                1, values.duration(self._document, (*path, "interval"), body.get("interval"), 30)
            ),
            timeout=max(
                1, values.duration(self._document, (*path, "timeout"), body.get("timeout"), 30)
            ),
            retries=values.number(self._document, (*path, "retries"), body.get("retries"), 3) or 3,
        )

    def _test(self, path: Path, test: Any) -> tuple[str, ...]:
        if isinstance(test, str):
            return ("/bin/sh", "-c", test)
        words = values.texts(self._document, path, test)
        match words[:1]:
            case ("CMD",) if len(words) > 1:
                return words[1:]
            case ("CMD-SHELL",) if len(words) > 1:
                return ("/bin/sh", "-c", words[1])
            case ():
                return ()  # times alone: the image's own check
            case _:
                self._document.fault(path, "must begin with CMD, CMD-SHELL or NONE")
                return ()

    def _networks(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the aliases of all networks, and the networks' names."""
        mode = self._text("network_mode")
        if mode and mode not in {"bridge", "default"}:
            self._document.fault(
                self._path("network_mode"),
                f"{mode!r} is not supported: instances have a network of their own; publish ports",
            )
        value, path = self._body.get("networks"), self._path("networks")
        if not isinstance(value, Mapping):
            return (), values.texts(self._document, path, value)
        aliases: list[str] = []
        for name, body in value.items():
            for key, inner in values.mapping(self._document, (*path, name), body).items():
                if key == "aliases":
                    aliases += values.texts(self._document, (*path, name, key), inner)
                elif key not in {"priority", "gw_priority"} and not key.startswith("x-"):
                    self._document.fault(
                        (*path, name, key), "not supported: services find each other by name"
                    )
        return tuple(dict.fromkeys(aliases)), tuple(value)

    def _user(self) -> str:
        user = self._text("user")
        if user and _USER.fullmatch(user) is None:
            self._document.fault(
                self._path("user"), f"{user!r} is a name: write its number, as UID or UID:GID"
            )
            return ""
        return user

    def _groups(self) -> tuple[int, ...]:
        groups = values.texts(self._document, self._path("group_add"), self._body.get("group_add"))
        for group in groups:
            if not group.isdecimal():
                self._document.fault(
                    self._path("group_add"), f"{group!r} is a name: write its number"
                )
        return tuple(int(group) for group in groups if group.isdecimal())

    def _no_new_privileges(self) -> bool:
        found = False
        path = self._path("security_opt")
        for option in values.texts(self._document, path, self._body.get("security_opt")):
            if re.fullmatch(r"no-new-privileges(?:[:=]true)?", option):
                found = True
            else:
                self._document.fault(
                    path, f"{option!r} is not supported: use a securityContext in a manifest"
                )
        return found

    def _replicas(self) -> int:
        deploy = values.mapping(self._document, self._path("deploy"), self._body.get("deploy"))
        if deploy.get("mode") not in (None, "replicated"):
            self._document.fault(
                self._path("deploy", "mode"), "not supported: write the number of replicas"
            )
        wanted = self._body.get("scale", deploy.get("replicas"))
        return values.number(self._document, self._path("deploy", "replicas"), wanted, 1)

    def _resources(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return limits and requests."""
        document, path = self._document, self._path("deploy")
        deploy = values.mapping(document, path, self._body.get("deploy"))
        for key in deploy:
            if key in keys.DEPLOY_WITHOUT_EFFECT:
                document.warn((*path, key), "no effect: rollouts have their own rules")
            elif key not in keys.DEPLOY_READ and not key.startswith("x-"):
                known = keys.DEPLOY_READ | keys.DEPLOY_WITHOUT_EFFECT
                document.fault((*path, key), keys.not_allowed(key, known))
        path = (*path, "resources")
        resources = values.mapping(document, path, deploy.get("resources"))
        found: list[dict[str, str]] = []
        for key, cpu, size in (
            ("limits", "cpus", "mem_limit"),
            ("reservations", "", "mem_reservation"),
        ):
            body = values.mapping(document, (*path, key), resources.get(key))
            for inner in body:
                if inner not in {"cpus", "memory"} and (key, inner) != ("reservations", "devices"):
                    document.fault((*path, key, inner), "not supported: remove it")
            quantities = {
                "cpu": values.cpus(document, (*path, key, "cpus"), body.get("cpus"))
                or values.cpus(document, self._path(cpu), self._body.get(cpu) if cpu else None),
                "memory": values.memory(document, (*path, key, "memory"), body.get("memory"))
                or values.memory(document, self._path(size), self._body.get(size)),
            }
            found.append({name: value for name, value in quantities.items() if value})
        return found[0], found[1]
