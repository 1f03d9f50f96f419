"""Many overlays in one run of kustomize: what is written for the run, and how its output is taken apart again. Pure.

A kustomization lists the overlays with a boundary object before each and one at the end, in the order in which they are
listed (`sortOptions: fifo`), so what is between two boundaries is one overlay's. Alone, kustomize would have sorted it;
that is done here.
"""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import yaml

from bot.integrations.kustomize.isolation import ObjectHead

_BETWEEN = "---\n"
_HEAD = re.compile(r"^(apiVersion|kind):[ ](.*)$", re.MULTILINE)
_METADATA = re.compile(r"^metadata:\n((?:[ ].*\n|\n)*)", re.MULTILINE)
_IN_METADATA = re.compile(r"^[ ]{2}(name|namespace):[ ](.*)$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")

# kustomize's default order ("legacy"), which it promises never to change: these first, those last, others between.
_FIRST = (
    *("Namespace", "ResourceQuota", "StorageClass", "CustomResourceDefinition", "ServiceAccount", "PodSecurityPolicy"),
    *("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ConfigMap", "Secret", "Endpoints", "Service"),
    *("LimitRange", "PriorityClass", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "StatefulSet"),
    *("CronJob", "PodDisruptionBudget"),
)
_LAST = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_RANKS = {kind: rank - len(_FIRST) for rank, kind in enumerate(_FIRST)} | {
    kind: rank + 1 for rank, kind in enumerate(_LAST)
}


class Mixed(Exception):  # noqa: N818 - not an error of anybody's: the overlays are built alone instead
    """What came out cannot be taken apart with certainty."""


@dataclass(frozen=True)
class Part:
    """One overlay's part of the output, as kustomize would have printed it alone."""

    text: str
    heads: tuple[ObjectHead, ...]


@dataclass(frozen=True)
class Batch:
    """Overlays (paths from the root of the repository) that are built by one run.

    Boundaries have a name that nobody can know before, so no overlay can pretend to be one.
    """

    overlays: tuple[str, ...]
    secret: str = field(default_factory=lambda: secrets.token_hex(8))

    def files(self, repository: str) -> Iterator[tuple[str, str]]:
        """Names and texts of the files of the folder to build; `repository` is the way from there to the sources."""
        entries: list[str] = []
        for number, overlay in enumerate((*self.overlays, None)):
            yield f"{number}.yaml", self._boundary(number)
            entries.append(f"{number}.yaml")
            if overlay is not None:
                entries.append(f"{repository}/{overlay}" if overlay else repository)
        listed = "".join(f"- {json.dumps(entry)}\n" for entry in entries)  # JSON's strings are YAML's
        yield "kustomization.yaml", f"sortOptions:\n  order: fifo\nresources:\n{listed}"

    def take_apart(self, output: str) -> dict[str, Part]:
        """The overlays' parts. Raises Mixed."""
        rest = _BETWEEN + output
        parts: dict[str, Part] = {}
        before, boundary, rest = rest.partition(f"{_BETWEEN}{self._boundary(0)}")
        if before or not boundary:
            raise Mixed
        for number, overlay in enumerate(self.overlays, start=1):
            text, boundary, rest = rest.partition(f"{_BETWEEN}{self._boundary(number)}")
            if not boundary or not text:
                raise Mixed
            parts[overlay] = part(text.removeprefix(_BETWEEN))
        if rest or self.secret in "".join(one.text for one in parts.values()):
            raise Mixed
        return parts

    def _boundary(self, number: int) -> str:
        """As kustomize prints it."""
        return (
            f"apiVersion: locktender.invalid/v1\nkind: Boundary\nmetadata:\n  name: boundary-{self.secret}-{number}\n"
        )


def part(text: str) -> Part:
    """Objects as kustomize printed them in any order, in its default order. Raises Mixed."""
    pieces = text.split(f"\n{_BETWEEN}")
    documents = [f"{piece}\n" for piece in pieces[:-1]] + pieces[-1:]
    headed = sorted(((_order(head := head_of(one)), head, one) for one in documents), key=lambda item: item[0])
    if any(left[0] == right[0] for left, right in pairwise(headed)):
        raise Mixed  # kustomize's sort is not stable: which of two equals comes first cannot be told
    return Part(_BETWEEN.join(one for *_, one in headed), tuple(head for _, head, _ in headed))


def head_of(document: str) -> ObjectHead:
    """What object a document of kustomize's output is. Raises Mixed when that is not plain."""
    top = {key: _value(value) for key, value in _HEAD.findall(document)}
    metadata = _METADATA.search(document)
    inside = {key: _value(value) for key, value in _IN_METADATA.findall(metadata[1])} if metadata else {}
    if not top.get("kind") or not top.get("apiVersion") or not inside.get("name"):
        raise Mixed
    return ObjectHead(top["apiVersion"], top["kind"], inside.get("namespace", ""), inside["name"])


def _value(written: str) -> str:
    if _PLAIN.fullmatch(written):
        return written
    try:
        value = yaml.load(written, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise Mixed from error
    if not isinstance(value, str):
        raise Mixed
    return value


def _order(head: ObjectHead) -> tuple[int, str, str]:
    """By rank of the kind, then group and version, then namespace and name, in kustomize's spelling of what is empty.

    Raises Mixed for a `Namespace` that is not Kubernetes' own: kustomize has a rule for it that nobody needs.
    """
    group, slash, version = head.api_version.partition("/")
    if slash and head.kind == "Namespace":
        raise Mixed
    if not slash:
        group, version = "", group
    return (
        _RANKS.get(head.kind, 0),
        f"{group or '~G'}_{version or '~V'}_{head.kind}",
        f"{head.namespace or '~X'}|{head.name}",
    )
