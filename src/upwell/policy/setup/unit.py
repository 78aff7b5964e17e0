"""The systemd unit of `upwell serve` (systemd.service(5), systemd.exec(5))."""

UNIT_NAME = "upwell.service"
MARK = "# Written by `upwell setup`: change it with `systemctl edit upwell`."
"""First line of a unit that is ours to replace and to remove."""

_UNIT = """\
{mark}
[Unit]
Description=Upwell keeps running containers on patched base images
Documentation=man:upwell(1)
# After the network where it comes up, without waiting for one that does not: what runs comes back
# from what is on disk.
After=network.target network-online.target nss-lookup.target time-sync.target local-fs.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} serve --data-dir {data_dir}
Environment=HOME=/root UPWELL_CONFIG={config}
EnvironmentFile=-/etc/default/upwell
TimeoutStartSec=10min
TimeoutStopSec=30s
# The event loop gives signs of life; one that hangs is killed and started anew.
WatchdogSec=60s
Restart=on-failure
RestartSec=1s
RestartSteps=6
RestartMaxDelaySec=60s

# Workloads and the router outlive the server, and are found again when it starts.
KillMode=process
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=1048576

# Capabilities that neither the server nor a container needs. Containers get fewer.
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_SYS_PACCT
CapabilityBoundingSet=~CAP_SYSLOG CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_AUDIT_CONTROL CAP_AUDIT_READ
CapabilityBoundingSet=~CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_LEASE CAP_SYS_TTY_CONFIG
KeyringMode=private

# Left out, because containers and builds inherit it, and it would change what images may do:
#   NoNewPrivileges, RestrictSUIDSGID   programs with set-user-ID bits, and layers that have some
#   SystemCallFilter, SystemCallArchitectures, LockPersonality   Podman gives each container its own
#   MemoryDenyWriteExecute   just-in-time compilers of applications
#   RestrictNamespaces, RestrictRealtime, RestrictAddressFamilies   containers are namespaces
#   ProtectHostname, ProtectClock, PrivateDevices   each container's own hostname and devices
# Left out, because it takes a mount namespace of the service, which mounts of containers that
# outlive a restart would not be in:
#   ProtectSystem, ProtectHome, PrivateTmp, ProtectKernelTunables, ProtectControlGroups, ProtectProc
# Left out, because addresses of images are anywhere: IPAddressDeny.

[Install]
WantedBy=multi-user.target
"""


def service_unit(program: str, data_dir: str, config: str) -> str:
    """Return the unit that runs `program` on a data folder; paths are absolute."""
    return _UNIT.format(mark=MARK, program=_word(program), data_dir=_word(data_dir), config=config)


def _word(text: str) -> str:
    """Return one word of a command line, as systemd.service(5) reads it."""
    escaped = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{escaped}"' if any(letter.isspace() for letter in text) else escaped
