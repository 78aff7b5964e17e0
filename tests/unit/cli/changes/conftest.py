"""A served API with a workload, and the commands that change it."""

from collections.abc import AsyncIterator

import pytest
from tests.support.cli.served_commands import ServedCommands, served_commands

MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  labels: {app: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      initContainers: [{name: prepare, image: "prepare:1"}]
      containers:
      - name: web
        image: web:1
        ports: [{containerPort: 8080, name: http}]
        env: [{name: LEVEL, value: info}]
      - {name: log, image: "log:1"}
---
apiVersion: apps.openshift.io/v1
kind: DeploymentConfig
metadata: {name: gate, labels: {app: gate}}
spec:
  replicas: 1
  selector: {app: gate}
  template:
    metadata: {labels: {app: gate}}
    spec: {containers: [{name: gate, image: "gate:1"}]}
  triggers:
  - type: ConfigChange
  - type: ImageChange
    imageChangeParams:
      automatic: true
      containerNames: [gate]
      from: {kind: ImageStreamTag, name: "gate:latest"}
---
apiVersion: build.openshift.io/v1
kind: BuildConfig
metadata: {name: shop}
spec:
  source: {git: {uri: "https://git.test/shop.git"}}
  strategy: {dockerStrategy: {from: {kind: ImageStreamTag, name: "debian:12"}}}
  output: {to: {kind: ImageStreamTag, name: "shop:latest"}}
  triggers: [{type: ConfigChange}, {type: ImageChange, imageChange: {}}]
---
apiVersion: v1
kind: Secret
metadata: {name: database}
stringData: {user: ada, pass-word: s3cret}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: shop}}
data: {mode: fast}
"""


@pytest.fixture
async def commands() -> AsyncIterator[ServedCommands]:
    async with served_commands() as made:
        await made.done("apply", "-f", "-", stdin=MANIFESTS)
        yield made
