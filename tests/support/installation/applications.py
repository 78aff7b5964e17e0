"""Applications as users bring them: sources in git, and manifests of two and of their builder."""

from textwrap import indent

INTERVAL = "1s"

ASSEMBLE = """\
#!/bin/sh -e
echo "---> building $(cat /tmp/src/name)"
mkdir -p /www
echo "$(cat /tmp/src/name) $(cat /etc/base-version)" > /www/index.html
"""
SOURCES = {
    "builder/Dockerfile": (
        "FROM base:1\n"
        "LABEL io.openshift.s2i.scripts-url=image:///s2i\n"
        "COPY s2i /s2i\n"
        "WORKDIR /www\n"
    ),
    "builder/s2i/assemble": ASSEMBLE,
    "builder/s2i/run": "#!/bin/sh\nexec serve\n",
    "shop/name": "shop\n",
    "gate/Dockerfile": (
        "FROM base:1\n"
        'RUN mkdir -p /www && echo "gate $(cat /etc/base-version)" > /www/index.html\n'
        'CMD ["serve"]\n'
    ),
}
"""For a repository: contextDir names the application."""


def base_stream(vendor: str, name: str = "base", *, scheduled: bool = True) -> str:
    """An ImageStream NAME that imports `vendor/NAME:1`."""
    return f"""
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata:
  name: {name}
  annotations: {{upwell.dev/import-interval: {INTERVAL}}}
spec:
  tags:
    - name: "1"
      from: {{kind: DockerImage, name: "{vendor}/vendor/{name}:1"}}
      importPolicy: {{scheduled: {str(scheduled).lower()}, insecure: true}}
---
"""


def stream(name: str) -> str:
    return f"""
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {{name: {name}}}
---
"""


def docker_build(
    name: str, repository: str = "", *, base: str = "base:1", extra: str = "", dockerfile: str = ""
) -> str:
    """A BuildConfig with Docker strategy; from a repository's folder NAME, or from text."""
    source = (
        f"git: {{uri: {repository}, ref: main}}\n    contextDir: {name}"
        if repository
        else f"dockerfile: |\n{indent(dockerfile, ' ' * 6)}"
    )
    image = f"from: {{kind: ImageStreamTag, name: '{base}'}}" if base else "noCache: false"
    return f"""
apiVersion: build.openshift.io/v1
kind: BuildConfig
metadata: {{name: {name}}}
spec:
  source:
    {source}
  strategy:
    dockerStrategy:
      {image}
  output:
    to: {{kind: ImageStreamTag, name: '{name}:latest'}}
  successfulBuildsHistoryLimit: 100
  triggers:
    - type: ConfigChange
    - type: ImageChange
{indent(extra, "    ")}
---
"""


def source_build(name: str, repository: str, builder: str = "builder:latest") -> str:
    """A BuildConfig with Source strategy, from a repository's folder NAME."""
    return f"""
apiVersion: build.openshift.io/v1
kind: BuildConfig
metadata: {{name: {name}}}
spec:
  source:
    git: {{uri: {repository}, ref: main}}
    contextDir: {name}
  strategy:
    sourceStrategy:
      from: {{kind: ImageStreamTag, name: '{builder}'}}
  output:
    to: {{kind: ImageStreamTag, name: '{name}:latest'}}
  successfulBuildsHistoryLimit: 100
  triggers:
    - type: ConfigChange
    - type: ImageChange
---
"""


_CONTAINER = """\
        - name: web
          image: " "
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"""


def deployment(name: str, replicas: int = 1) -> str:
    trigger = (
        f'[{{"from": {{"kind": "ImageStreamTag", "name": "{name}:latest"}},'
        ' "fieldPath": "spec.template.spec.containers[0].image"}]'
    )
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  annotations:
    image.openshift.io/triggers: '{trigger}'
spec:
  replicas: {replicas}
  progressDeadlineSeconds: 60
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
{_CONTAINER.format()}
---
"""


def deployment_config(name: str, replicas: int = 1) -> str:
    return f"""
apiVersion: apps.openshift.io/v1
kind: DeploymentConfig
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{app: {name}}}
  triggers:
    - type: ConfigChange
    - type: ImageChange
      imageChangeParams:
        automatic: true
        containerNames: [web]
        from: {{kind: ImageStreamTag, name: '{name}:latest'}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
{_CONTAINER.format()}
---
"""


def service(name: str, extra: str = "") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 8080, targetPort: 8080}}]
{extra}
---
"""


def route(name: str) -> str:
    return f"""
apiVersion: route.openshift.io/v1
kind: Route
metadata: {{name: {name}}}
spec:
  host: {name}.test
  to: {{kind: Service, name: {name}}}
---
"""


def published(name: str) -> str:
    """A Service and a Route to it."""
    return service(name) + route(name)


def two_applications(vendor: str, repository: str) -> str:
    """base -> builder -> shop (Deployment), and base -> gate (DeploymentConfig), both published."""
    return (
        base_stream(vendor)
        + stream("builder")
        + docker_build("builder", repository)
        + stream("shop")
        + source_build("shop", repository)
        + deployment("shop")
        + published("shop")
        + stream("gate")
        + docker_build("gate", repository)
        + deployment_config("gate")
        + published("gate")
    )
