"""Infra-repos to play with: the demo's small one, one with several apps, and large ones for measuring.

All are real: `kubectl kustomize` builds every overlay, and their `locktender.yaml` is a valid catalogue.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

_START = 1_767_225_600  # 2026-01-01T00:00:00Z: the same bytes and so the same commit ids, every time
_ENVIRONMENTS = {"dev": 1, "staging": 2, "production": 4}  # name -> replicas
_AUTHOR = "Platform Team <platform@example.com>"
_FIRST = "1.4.0"
SHARED_DEPLOYMENT = "platform/service/deployment.yaml"
"""What changes between the two commits of `create_shared_monorepo`."""


class Layout(StrEnum):
    """Where overlays are."""

    CLASSIC = "classic"  # base/ and environments/<env>/, for one app
    PER_APP = "per_app"  # apps/<app>/base and apps/<app>/overlays/<env>, for many


def example_files(layout: Layout = Layout.CLASSIC) -> Mapping[str, str]:
    """The files of the example, path -> text."""
    apps = ("my-application",) if layout is Layout.CLASSIC else ("my-application", "web", "checkout-api")
    files = {"locktender.yaml": _catalogue(apps), "README.md": _README[layout]}
    for app in apps:
        files.update(_app(layout, app))
    return files


def write_example(target: Path, layout: Layout = Layout.CLASSIC) -> None:
    """Write the example's files below this folder."""
    for path, text in example_files(layout).items():
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def create_example(bare: Path, layout: Layout = Layout.CLASSIC) -> str:
    """Make the example the one commit on `main` of this bare repository (made if missing), and return the commit."""
    return create_files(bare, example_files(layout))


def create_files(bare: Path, files: Mapping[str, str]) -> str:
    """Make these files (path -> text) the one commit on `main` of this bare repository, and return the commit."""
    return _import(bare, [("Start with the example", files)])


def create_monorepo(bare: Path, apps: int = 500, commits: int = 2000) -> str:
    """A repository with so many apps, three overlays each, and so many commits of version bumps; returns the head.

    Takes a few seconds, and comes out with the same ids every time.
    """
    return _import(bare, _history(apps, commits))


def create_shared_monorepo(bare: Path, apps: int = 50) -> tuple[str, str]:
    """A repository whose apps, three overlays each, share one base, which the second commit changes.

    Returns the commits before and after that change. The same ids every time.
    """
    names = [f"app-{number:02d}" for number in range(apps)]
    first = {"locktender.yaml": _catalogue(tuple(names))}
    first.update(_shared(Layout.CLASSIC, "service"))
    for app in names:
        first.update(_sharing(app))
    changed = first[SHARED_DEPLOYMENT].replace("memory: 256Mi", "memory: 512Mi")
    history = [("Start with every app", first), ("Give every service more memory", {SHARED_DEPLOYMENT: changed})]
    after = _import(bare, history)
    return _git("rev-parse", "--verify", f"{after}^", cwd=bare), after


def _shared(layout: Layout, app: str) -> Iterator[tuple[str, str]]:
    """The base that all share, at `platform/service`."""
    for path, text in _app(layout, app):
        if path.startswith("base/"):
            yield path.replace("base/", "platform/service/"), text


def _sharing(app: str) -> Iterator[tuple[str, str]]:
    """An app that only names the shared base, its settings and what differs per environment."""
    yield f"apps/{app}/base/kustomization.yaml", _SHARING_BASE.format(app=app)
    yield f"apps/{app}/base/settings.properties", f"name={app}\nlog.level=info\n"
    for environment, replicas in _ENVIRONMENTS.items():
        folder = f"apps/{app}/overlays/{environment}"
        service = f"{app}-service"
        yield f"{folder}/kustomization.yaml", _overlay(app, environment)
        yield f"{folder}/replicas.yaml", _REPLICAS.format(app=service, replicas=replicas, most=replicas * 3)
        if environment == "production":
            yield f"{folder}/pdb.yaml", _PDB.format(app=service)


def _history(apps: int, commits: int) -> Iterator[tuple[str, Mapping[str, str]]]:
    names = [f"app-{number:04d}" for number in range(apps)]
    first = {"locktender.yaml": _catalogue(tuple(names))}
    for app in names:
        first.update(_app(Layout.PER_APP, app))
    yield "Start with every app", first
    environments = list(_ENVIRONMENTS)
    for number in range(1, commits):
        app, environment = names[number * 7 % apps], environments[number % 3]
        text = _overlay(app, environment).replace(f'"{_FIRST}"', f'"1.5.{number}"')
        message = f"Deploy {app} 1.5.{number} to {environment}\n\nDeployment-Id: old-{number:05d}\n"
        yield message, {f"apps/{app}/overlays/{environment}/kustomization.yaml": text}


def _import(bare: Path, history: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Write commits with `git fast-import`, which needs one process for all of them."""
    if not bare.exists():
        bare.parent.mkdir(parents=True, exist_ok=True)
        _git("init", "--quiet", "--bare", "--initial-branch=main", "--", str(bare))
    stream = b"".join(_commands(history))
    _git("fast-import", "--quiet", "--force", cwd=bare, stdin=stream)
    return _git("rev-parse", "--verify", "refs/heads/main", cwd=bare)


def _commands(history: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[bytes]:
    for number, (message, files) in enumerate(history):
        who = f"{_AUTHOR} {_START + number * 60} +0000"
        yield f"commit refs/heads/main\nauthor {who}\ncommitter {who}\n".encode() + _data(message)
        for path, text in files.items():
            yield f"M 100644 inline {path}\n".encode() + _data(text)
    yield b"done\n"


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)


def _git(*words: str, cwd: Path | None = None, stdin: bytes = b"") -> str:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    done = subprocess.run(["git", *words], cwd=cwd, env=environment, input=stdin, check=True, capture_output=True)
    return done.stdout.decode().strip()


def _app(layout: Layout, app: str) -> Iterator[tuple[str, str]]:
    """The files of one app: its base and an overlay per environment. Both layouts are two folders deep."""
    place = "" if layout is Layout.CLASSIC else f"apps/{app}/"
    overlays = "environments" if layout is Layout.CLASSIC else f"{place}overlays"
    yield f"{place}base/kustomization.yaml", _BASE.format(app=app)
    yield f"{place}base/deployment.yaml", _DEPLOYMENT.format(app=app)
    yield f"{place}base/service.yaml", _SERVICE.format(app=app)
    yield f"{place}base/hpa.yaml", _HPA.format(app=app)
    for environment, replicas in _ENVIRONMENTS.items():
        yield f"{overlays}/{environment}/kustomization.yaml", _overlay(app, environment)
        yield f"{overlays}/{environment}/replicas.yaml", _REPLICAS.format(app=app, replicas=replicas, most=replicas * 3)
        if environment == "production":
            yield f"{overlays}/{environment}/pdb.yaml", _PDB.format(app=app)


def _catalogue(apps: tuple[str, ...]) -> str:
    lines = "\n".join(f"  {app}:\n    image: registry.company.com/{app}" for app in apps)
    return _CATALOGUE.format(apps=lines)


def _overlay(app: str, environment: str) -> str:
    more = "\n  - pdb.yaml  # two pods stay up while nodes are drained" if environment == "production" else ""
    return _OVERLAY.format(app=app, environment=environment, more=more, tag=_FIRST)


_README = {
    Layout.CLASSIC: "# Infra-repo\n\n`base/` is what every environment shares; `environments/` holds what differs.\n",
    Layout.PER_APP: "# Infra-repo\n\n`apps/<app>/base` is shared; `apps/<app>/overlays/` holds what differs.\n",
}

_CATALOGUE = """\
# Who may deploy what, and where. Reviewed like everything else in this repository.
promotion: [dev, staging, production]
environments:
  dev: {{}}
  staging: {{}}
  production:
    change: pull-request
    approval: {{from: [release-managers, platform-team], required: 1, expires_after: 4h}}
apps:
{apps}
groups:
  release-managers: {{slack: S0RELEASE}}
  platform-team: {{members: [U0PLATFORM1, U0PLATFORM2]}}
channels: {{deployments: C0DEPLOYMENTS}}
"""

_BASE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - deployment.yaml
  - service.yaml
  - hpa.yaml
labels:
  - pairs:
      app.kubernetes.io/name: {app}
      app.kubernetes.io/managed-by: kustomize
"""

_SHARING_BASE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namePrefix: {app}-
resources:
  - ../../../platform/service
images:
  - name: registry.company.com/service
    newName: registry.company.com/{app}
configMapGenerator:
  - name: settings
    files: [settings.properties]
labels:
  - pairs:
      app.kubernetes.io/part-of: {app}
"""

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {app}
spec:
  # Replicas are set per environment.
  progressDeadlineSeconds: 300
  selector:
    matchLabels:
      app: {app}
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app: {app}
    spec:
      containers:
        - name: {app}
          image: registry.company.com/{app}
          ports:
            - name: http
              containerPort: 8080
          readinessProbe:
            httpGet:
              path: /healthz
              port: http
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
            limits:
              memory: 256Mi
"""

_SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {app}
spec:
  selector:
    app: {app}
  ports:
    - name: http
      port: 80
      targetPort: http
"""

_HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {app}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {app}
  minReplicas: 1
  maxReplicas: 3
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: 75
"""

_PDB = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {app}
spec:
  minAvailable: 2
  selector:
    matchLabels:
      app: {app}
"""

_OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {environment}

resources:
  - ../../base{more}

patches:
  - path: replicas.yaml

images:
  # Written by the deploy bot: change it with /deploy, not by hand.
  - name: registry.company.com/{app}
    newTag: "{tag}"
"""

_REPLICAS = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {app}
spec:
  replicas: {replicas}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {app}
spec:
  minReplicas: {replicas}
  maxReplicas: {most}
"""
