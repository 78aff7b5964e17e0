"""Settings of builds with Buildah, and the environment of its processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from upwell.builder.archive import ArchiveLimits
from upwell.builder.confinement.network import BuildNetworkAccess
from upwell.builder.interface import BuildLimits
from upwell.git.interface import GitLimits
from upwell.machine.authorities import certificate_folders
from upwell.machine.process import SYSTEM_PATH


@dataclass(frozen=True, slots=True)
class BuildahSettings:
    """Settings of builds on this machine; paths that are None lie in `work_dir`."""

    work_dir: Path
    """Folders of running builds; one builder at a time owns it."""
    storage_root: Path | None = None
    """Images and layers. Nobody else may build here: `recover` removes all working containers."""
    run_root: Path | None = None
    temporary_dir: Path = Path("/var/tmp")  # noqa: S108  # each folder there is checked to be ours
    """Folder for the files of running builds; all users must be able to pass through to it."""
    containers_conf: Path | None = None
    registries_conf: Path | None = None
    authorities: Path | None = None
    """Folder of certificate authorities that registries are trusted by, besides the system's."""
    limits: BuildLimits = field(default_factory=BuildLimits)
    """For builds that state none."""
    limits_resources: bool = True
    """True if the machine can limit memory and processors; if not, builds go without."""
    isolation: str = "oci"
    shares_processes: bool = False
    """Let commands see the processes around the builder: a container, which may mount no /proc."""
    user_namespaces: bool = True
    """Give builds user ids of their own, where root may; a store is built in always one way."""
    network: str = "isolated"
    """Of builds: `isolated` from the machine, which takes root; `host`, the machine's own; or one
    that Buildah makes, `private` or `none`."""
    networks: BuildNetworkAccess = field(default_factory=BuildNetworkAccess)
    """Of what isolated builds may reach."""
    allow_host_network: bool = False
    allow_local_sources: bool = False
    """True if git sources, scripts URLs and volumes may name paths of this machine."""
    pull_policy: str = "missing"
    """Of images that a plan does not force: `missing`, `always` or `never`."""
    cache_mount_bytes: int = 8 * 1024**3
    """Of what commands keep for later builds (`RUN --mount=type=cache`), all together."""
    git_limits: GitLimits = field(default_factory=GitLimits)
    archive_limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    person: Mapping[str, str] | None = None
    """Variables by which Buildah finds a person's own logins and registries; None: nobody's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to every child's environment: proxies, for example."""

    def variables(self) -> dict[str, str]:
        """Return the environment of Buildah's processes, which inherit no other."""
        files = {
            "CONTAINERS_CONF": self.containers_conf,
            "CONTAINERS_REGISTRIES_CONF": self.registries_conf,
        }
        authorities = {}
        if self.authorities is not None:
            authorities["SSL_CERT_DIR"] = certificate_folders(self.authorities)
        return {
            **authorities,
            "PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "BUILDAH_ISOLATION": self.isolation,
            # Buildah 1.39 reads the owners of its own layers wrong through id-mapped mounts:
            # COPY --from fails with "host ID 65534 cannot be mapped". So a layer is chowned
            # once, in a copy.
            "_CONTAINERS_OVERLAY_DISABLE_IDMAP": "yes",
            # Buildah starts itself anew for each look into a container's files: at 4 MiB, as Go
            # begins to collect garbage, each of these would do it several times.
            "GOGC": "400",
            "GOMEMLIMIT": "512MiB",
            **{name: str(path.resolve()) for name, path in files.items() if path is not None},
            **self.environment,
        }
