"""`upwell s2i build --as-dockerfile`: a source build as a Dockerfile for other tools."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_USER = "1001"
DEFAULT_SCRIPTS = "/usr/libexec/s2i"
UPLOAD = "upload"
"""The folder beside the Dockerfile that holds `src`, `scripts` and `injections`."""

_ARTIFACTS = "/tmp/artifacts.tar"  # noqa: S108  # a path inside the image, named by the reference


@dataclass(frozen=True, slots=True)
class DockerfileRequest:
    """Source of the Dockerfile."""

    builder: str
    tag: str = ""
    assemble_user: str = DEFAULT_USER
    destination: str = "/tmp"  # noqa: S108  # the contract's default
    scripts_path: str = DEFAULT_SCRIPTS
    """Folder of the image's scripts."""
    own_scripts: frozenset[str] = frozenset()
    """Scripts that lie in the upload."""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    injections: Sequence[str] = ()
    """Paths of files, in the image and below the folder `injections`."""
    incremental: bool = False


def dockerfile(request: DockerfileRequest) -> str:
    """Write the Dockerfile; its context is the folder that it lies in."""
    owner = f"--chown={request.assemble_user}:0"
    source = [f"{UPLOAD}/src", f"{request.destination}/src"]
    scripts = [f"{UPLOAD}/scripts", f"{request.destination}/scripts"]
    labels = request.labels
    lines = _cached(request) if request.incremental else []
    lines.append(f"FROM {request.builder}")
    lines += [f"LABEL {_quoted(key)}={_quoted(labels[key])}" for key in sorted(labels)]
    lines += [f"ENV {key}={_quoted(value)}" for key, value in request.environment.items()]
    lines.append(f"COPY {owner} {json.dumps(source)}")
    if request.own_scripts:
        lines.append(f"COPY {owner} {json.dumps(scripts)}")
    lines.append(f"USER {request.assemble_user}")
    if request.incremental:
        target = f"{request.destination}/artifacts"
        unpack = f"tar -xf {_ARTIFACTS} -C {target}"
        mount = f"--mount=type=bind,from=cached,source={_ARTIFACTS},target={_ARTIFACTS}"
        command = f"mkdir -p {target} && if [ -s {_ARTIFACTS} ]; then {unpack}; fi"
        lines.append(f"RUN {mount} {_shell(command)}")
    # One for each file: mounted over a folder, they would hide what the image has there.
    mounts = "".join(
        f"--mount=type=bind,source={UPLOAD}/injections{path},target={path} "
        for path in request.injections
    )
    lines.append(f"RUN {mounts}{json.dumps([_script(request, 'assemble')])}")
    lines.append(f"CMD {json.dumps([_script(request, 'run')])}")
    return "\n".join(lines) + "\n"


def _cached(request: DockerfileRequest) -> list[str]:
    """Return the stage that saves artifacts of the image TAG; none are no reason to fail."""
    name = "save-artifacts"
    script = _script(request, name)
    save = f"{script} > {_ARTIFACTS} || : > {_ARTIFACTS}"
    lines = [f"FROM {request.tag} AS cached"]
    if name in request.own_scripts:  # that image has the scripts of another build
        uploaded = json.dumps([f"{UPLOAD}/scripts/{name}", script])
        lines.append(f"COPY --chown={request.assemble_user}:0 {uploaded}")
    return [*lines, f"USER {request.assemble_user}", f"RUN {_shell(save)}"]


def _script(request: DockerfileRequest, name: str) -> str:
    if name in request.own_scripts:
        return f"{request.destination}/scripts/{name}"
    return f"{request.scripts_path.rstrip('/')}/{name}"


def _shell(command: str) -> str:
    return json.dumps(["/bin/sh", "-c", command])


def _quoted(text: str) -> str:
    """Quote a value of ENV or LABEL, in which a variable would be replaced."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", text).replace("\n", "\\\n") + '"'
