"""Keys of the Compose Specification: those that are read, those without effect, those refused."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

TOP = frozenset({"version", "name", "services", "volumes", "networks", "secrets", "configs"})

READ = frozenset({
    "annotations", "build", "cap_add", "cap_drop", "command", "configs", "cpus", "depends_on",
    "deploy", "devices", "entrypoint", "env_file", "environment", "expose", "gpus", "group_add",
    "healthcheck", "image", "labels", "links", "mem_limit", "mem_reservation", "network_mode",
    "networks", "ports", "privileged", "profiles", "read_only", "restart", "scale", "secrets",
    "security_opt", "stdin_open", "stop_grace_period", "sysctls", "tmpfs", "tty", "user", "volumes",
    "working_dir",
})  # fmt: skip

WITHOUT_EFFECT: Mapping[str, str] = {
    "attach": "logs are shown by `upwell logs`",
    "container_name": "instances are named by Upwell; `upwell exec deployment/NAME` reaches them",
    "develop": "it is for development",
    "domainname": "instances have none",
    "hostname": "an instance's host name is its own name",
    "init": "the processes of an instance are reaped by Upwell's own first process",
    "logging": "logs are kept by Upwell: `upwell logs`",
    "memswap_limit": "a limit of memory is one without swap",
    "oom_kill_disable": "an instance beyond its limit is ended, and started anew",
    "oom_score_adj": "the limits of memory decide",
    "platform": "the platform is that of this machine",
    "pull_policy": "images are pulled by digest once they change",
}
"""Keys that are left out with a warning, and what takes their place."""

REFUSED: Mapping[str, str] = {
    "blkio_config": "remove it: the disk's speed is not shared out",
    "cgroup": "remove it",
    "cgroup_parent": "remove it: instances have control groups of their own",
    "cpu_count": "use cpus",
    "cpu_percent": "use cpus",
    "cpu_period": "use cpus",
    "cpu_quota": "use cpus",
    "cpu_rt_period": "use cpus",
    "cpu_rt_runtime": "use cpus",
    "cpu_shares": "use deploy.resources.reservations.cpus",
    "cpuset": "use cpus",
    "credential_spec": "remove it",
    "device_cgroup_rules": "name the devices themselves in `devices`",
    "dns": "remove it: instances ask the machine's resolver, and find services by name",
    "dns_opt": "remove it: instances ask the machine's resolver",
    "dns_search": "remove it: instances ask the machine's resolver",
    "extends": "write the file out with `docker compose config`, and apply that",
    "external_links": "name the service by its address instead",
    "extra_hosts": "name the host by an address, or in the machine's DNS",
    "ipc": "instances have IPC of their own: remove it",
    "isolation": "remove it",
    "label_file": "write the labels into `labels`",
    "mac_address": "remove it: instances have addresses of their own",
    "mem_swappiness": "remove it",
    "pid": "instances have processes of their own: remove it",
    "pids_limit": "remove it: the server's [workloads] settings limit processes",
    "post_start": "use a lifecycle hook of a Deployment",
    "pre_start": "use an init container of a Deployment",
    "pre_stop": "use a lifecycle hook of a Deployment",
    "provider": "only containers are run: create what it provides by itself",
    "runtime": "remove it: all instances have the machine's runtime",
    "shm_size": "mount a tmpfs at /dev/shm instead",
    "stop_signal": "set STOPSIGNAL in the image: instances end by SIGTERM or what the image says",
    "storage_opt": "remove it",
    "ulimits": "remove it: the machine's own hold",
    "userns_mode": "remove it: instances have user namespaces of their own",
    "uts": "remove it",
    "volumes_from": "name the volumes in both services",
    "use_api_socket": "no service gets the engine's socket",
}
"""Keys that are refused by name, and what to do instead."""

DEPLOY_READ = frozenset({"mode", "replicas", "resources"})
DEPLOY_WITHOUT_EFFECT = frozenset({
    "endpoint_mode", "labels", "placement", "restart_policy", "rollback_config", "update_config",
})  # fmt: skip
"""Keys of `deploy` that are about a cluster of Swarm, or that rollouts have their own way for."""

BUILD_READ = frozenset({"args", "context", "dockerfile", "dockerfile_inline"})
BUILD_WITHOUT_EFFECT = frozenset({"cache_from", "cache_to", "labels", "pull", "no_cache", "tags"})


def not_allowed(key: str, known: Collection[str]) -> str:
    """Return what is wrong with a key that is not `known`, and the one that was probably meant."""
    near = get_close_matches(key, sorted(known), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"additional property is not allowed{hint}"
