"""Files of a new builder image, for `upwell s2i create`."""

from collections.abc import Mapping


def skeleton(name: str) -> Mapping[str, str]:
    """Return the files by path; those that begin with `#!` are executable."""
    return {
        "Dockerfile": f"""\
FROM registry.access.redhat.com/ubi9/ubi-minimal
LABEL io.k8s.display-name="{name}" \\
      io.k8s.description="Builds and runs applications of the kind {name}" \\
      io.openshift.s2i.scripts-url="image:///usr/libexec/s2i"
RUN microdnf install -y tar && microdnf clean all && mkdir -p /opt/app && chown 1001:0 /opt/app
COPY s2i/bin/ /usr/libexec/s2i/
WORKDIR /opt/app
USER 1001
CMD ["/usr/libexec/s2i/usage"]
""",
        "s2i/bin/assemble": """\
#!/bin/sh -e
# The source is in /tmp/src; what a previous image saved is in /tmp/artifacts.
cp -R /tmp/src/. /opt/app
""",
        "s2i/bin/run": """\
#!/bin/sh -e
# Replaces the shell, so that signals reach the application.
exec /opt/app/start
""",
        "s2i/bin/save-artifacts": """\
#!/bin/sh -e
# Writes a tar archive to stdout, and nothing else.
cd /opt/app
tar -cf - dependencies
""",
        "s2i/bin/usage": f"""\
#!/bin/sh
echo "upwell s2i build SOURCE {name} TAG"
""",
        "test/run": f"""\
#!/bin/sh -e
podman build -t {name} .
upwell s2i build --copy test/app {name} {name}-test
""",
        "test/app/start": "#!/bin/sh\necho it works\n",
    }
