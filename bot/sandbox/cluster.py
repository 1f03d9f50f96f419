"""The cluster that a sandbox is given: where its builds apply, and with which kubeconfig the program looks.

The stand-in is one maker; a kubeconfig of some disposable cluster is the other.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.sandbox.kubernetes import ADMIN_TOKEN, KubernetesServer, User, reader, write_kubeconfig
from bot.sandbox.kubernetes_apply import ApiServer

BOT_TOKEN = "sandbox-read-only-token"


@dataclass(frozen=True)
class Cluster:
    """`admin` applies what git says, as Jenkins does; `kubeconfig` is the file that the program is pointed to."""

    admin: ApiServer
    kubeconfig: Path


class NoTokenError(ValueError):
    """The kubeconfig's current user has no bearer token, which is what a sandbox applies with."""


def of_stand_in(server: KubernetesServer, url: str, folder: Path) -> Cluster:
    """The stand-in that is served at `url`; the program may only read. Writes a kubeconfig into `folder`."""
    server.users[BOT_TOKEN] = User("locktender", reader())
    return Cluster(ApiServer(url, ADMIN_TOKEN), write_kubeconfig(folder / "kubeconfig", url, {"sandbox": BOT_TOKEN}))


def of_kubeconfig(path: Path, folder: Path) -> Cluster:
    """The API server of the current context, which must be a disposable cluster's administrator.

    Raises NoTokenError. An authority that the file holds itself is written into `folder`.
    """
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    chosen = _named(config["contexts"], config["current-context"], "context")
    cluster = _named(config["clusters"], chosen["cluster"], "cluster")
    token = _named(config["users"], chosen["user"], "user").get("token", "")
    if not token:
        raise NoTokenError(f"the user of the current context of {path} has no bearer token")
    authority = cluster.get("certificate-authority", "")
    if authority:
        authority = str(path.parent / authority)  # relative to the file, as kubectl reads it
    elif "certificate-authority-data" in cluster:
        authority = str(folder / "ca.crt")
        Path(authority).write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    return Cluster(ApiServer(cluster["server"], token, authority), path)


def for_users(cluster: Cluster, tokens: Mapping[str, str], path: Path) -> Cluster:
    """The same cluster, with a kubeconfig of these contexts (name -> bearer token) at `path`; the first is current."""
    write_kubeconfig(path, cluster.admin.url, dict(tokens))
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if cluster.admin.ca_file:
        config["clusters"][0]["cluster"]["certificate-authority"] = str(Path(cluster.admin.ca_file).resolve())
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return Cluster(cluster.admin, path)


def _named(entries: list[dict[str, Any]], name: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry[key] for entry in entries if entry["name"] == name)
    return found
