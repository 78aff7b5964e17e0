"""The runtime port behind Podman: instances as containers, with probes, files, pulls, records."""
