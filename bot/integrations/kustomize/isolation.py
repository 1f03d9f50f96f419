"""When overlays built by one run of kustomize come out as if each had been built alone.

kustomize works on an overlay as such until the very end; then it appends hashes (object by object) and repairs
references between objects by name, over everything in the run. Only that last step can mix overlays up. For a reference
it looks for objects that *had* the name which is written there, keeps those in the same namespace (objects without one,
and of the whole cluster, always), and if several are left keeps those with the same name prefixes and suffixes
(kustomize 5: SubsetThatCouldBeReferencedByResource and nameref.selectReferral). So two overlays stay apart when

1. they are in different namespaces, completely; or
2. all that refers or is referred to has the same prefixes and suffixes within each, and different ones in the other; or
3. no object of one ever had a name that one of the other ever had;

and neither took a name from the other, which would stand in its text. The first look, at sources, only decides what is
tried together (`Standing`); the proof is of what was built (`Built`). Whatever is not proved is built again, alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bot.integrations.kustomize.traits import Traits

Chain = tuple[tuple[str, ...], tuple[str, ...]]
"""Prefixes and suffixes that an object's name gets, innermost first, as kustomize writes them down."""

# Neither refer to others by name nor are referred to, in kustomize's own table of name references.
_INERT = re.compile(rb"^kind:[ \t]*(PodDisruptionBudget|NetworkPolicy)[ \t]*\r?$", re.MULTILINE)
_OBJECT = re.compile(rb"^kind:(?![ \t]*(?:Kustomization|Component)\b)", re.MULTILINE)
_KIND = re.compile(rb"kind[\"']?[ \t]*:")
# kustomize keeps its notes on names in annotations of these domains. What writes, replaces or drops them by hand,
# changes kinds, or could spell one of these with escapes, is not followed: such an overlay is built alone.
_STRANGE = re.compile(
    rb"config\.kubernetes\.io|(?<!kustomize\.)config\.k8s\.io|\\[xuU\r\n]"
    rb"|\$patch|allowKindChange|/kind\b|path[\"']?:[ \t]*(?:\"\"|'')"
    rb"|/metadata(?:/annotations)?(?![/\w~.-])|metadata\.annotations(?![.\[\w])"
    rb"|(?:metadata|annotations)[\"']?:[ \t]*(?:null\b|Null\b|NULL\b|~|[,}\]])"
    rb"|^([ ]*)(?:metadata|annotations)[\"']?:[ \t]*(?:\#[^\n]*)?(?:\r?\n(?!\1[ ]+[^\s\#])|\r?\Z)",
    re.MULTILINE,
)
_RENAMES = re.compile(rb"allowNameChange|/metadata/name", re.IGNORECASE)
_HASH = re.compile(r"-[0-9a-z]{10}$")
_WORD = re.compile(r"[^\s\"',\[\]{}]+")
_UNPREFIXED = frozenset({"Namespace", "CustomResourceDefinition", "APIService"})
_CLUSTER = frozenset(
    {
        *("APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding"),
        *("ClusterTrustBundle", "ComponentStatus", "CustomResourceDefinition", "DeviceClass", "FlowSchema"),
        *("IPAddress", "IngressClass", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
        *("MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume", "PodSecurityPolicy"),
        *("PriorityClass", "PriorityLevelConfiguration", "ResourceSlice", "RuntimeClass", "SelfSubjectAccessReview"),
        *("SelfSubjectReview", "SelfSubjectRulesReview", "ServiceCIDR", "StorageClass", "StorageVersion"),
        *("StorageVersionMigration", "SubjectAccessReview", "TokenReview", "ValidatingAdmissionPolicy"),
        *("ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment"),
        "VolumeAttributesClass",
    }
)


@dataclass(frozen=True)
class Standing:
    """What the sources of an overlay say about its names. `renames`: names may change in ways that are not followed."""

    namespace: str
    chains: frozenset[Chain]
    sources: frozenset[str]  # kustomizations that bring objects in
    renames: bool


@dataclass(frozen=True)
class ObjectHead:
    """The first lines of a built object; empty strings for what it does not say."""

    api_version: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Built:
    """What the proof needs to know about a built overlay."""

    standing: Standing
    heads: tuple[ObjectHead, ...]
    names: frozenset[str]
    past: frozenset[str]  # every name that an object may have had
    namespaces: frozenset[str]
    words: frozenset[str]

    @property
    def namespaced(self) -> bool:
        """Whether every object is certainly in a namespace that it names."""
        return all(head.namespace and head.kind not in _CLUSTER for head in self.heads)


@dataclass(frozen=True)
class SourceFile:
    """What is known of a file without reading it as YAML."""

    objects: int
    strange: bool
    renames: bool
    inert: bool


def source_file(content: bytes) -> SourceFile:
    """A quick look at a file that a build may read."""
    kinds, inert = len(_KIND.findall(content)), len(_INERT.findall(content))
    return SourceFile(
        objects=len(_OBJECT.findall(content)),
        strange=_STRANGE.search(content) is not None,
        renames=_RENAMES.search(content) is not None,
        inert=0 < kinds == inert,
    )


def inside(traits: Traits, chain: Chain) -> Chain:
    """The chain of a kustomization that is named by one with this chain."""
    prefixes, suffixes = chain
    return (
        (traits.prefix, *prefixes) if traits.prefix else prefixes,
        (traits.suffix, *suffixes) if traits.suffix else suffixes,
    )


def built(standing: Standing, heads: Iterable[ObjectHead], text: str) -> Built:
    """What the proof needs to know about an overlay that came out as this text."""
    heads = tuple(heads)
    names = frozenset(head.name for head in heads)
    return Built(
        standing,
        heads,
        names,
        frozenset(past for name in names for past in _pasts(name, standing.chains)),
        frozenset(head.namespace for head in heads),
        frozenset(_WORD.findall(text)),
    )


def hopeful(one: Standing, other: Standing) -> bool:
    """Whether it is worth trying to build these two in one run."""
    return (
        bool(one.namespace and other.namespace and one.namespace != other.namespace)
        or _told_apart(one, other)
        or (not one.renames and not other.renames and one.sources.isdisjoint(other.sources))
    )


def apart(one: Built, other: Built) -> bool:
    """Whether it is certain that neither had a part in what the other came out as."""
    return _in_other_namespaces(one, other) or (
        one.names.isdisjoint(other.words)
        and other.names.isdisjoint(one.words)
        and (_differ_in_chains(one, other) or _never_shared_a_name(one, other))
    )


def _in_other_namespaces(one: Built, other: Built) -> bool:
    if not (one.namespaced and other.namespaced and one.namespaces.isdisjoint(other.namespaces)):
        return False
    # A RoleBinding may name service accounts of other namespaces, and kustomize then looks there too.
    return all(
        theirs.namespaces.isdisjoint(ours.words)
        for ours, theirs in ((one, other), (other, one))
        if any(head.kind == "RoleBinding" for head in ours.heads)
    )


def _differ_in_chains(one: Built, other: Built) -> bool:
    if any(head.kind in _UNPREFIXED for side in (one, other) for head in side.heads):
        return False
    return _told_apart(one.standing, other.standing)


def _told_apart(one: Standing, other: Standing) -> bool:
    if len(one.chains) != 1 or len(other.chains) != 1:
        return False
    (ours,), (theirs,) = one.chains, other.chains
    return any(_ends_differ(left, right) for left, right in zip(ours, theirs, strict=True))


def _ends_differ(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether neither is how the other ends; an empty one is how everything ends."""
    shared = min(len(left), len(right))
    return shared > 0 and left[-shared:] != right[-shared:]


def _never_shared_a_name(one: Built, other: Built) -> bool:
    if one.standing.renames or other.standing.renames:
        return False
    return one.past.isdisjoint(other.past)


def _pasts(name: str, chains: Iterable[Chain]) -> Iterator[str]:
    """The name with ever more of its hash, prefixes and suffixes taken off, in any order: some of them never were."""
    for bare in {name, _HASH.sub("", name)}:
        for prefixes, suffixes in chains:
            for start in _peeled(bare, tuple(reversed(prefixes)), str.removeprefix):
                yield from _peeled(start, tuple(reversed(suffixes)), str.removesuffix)
        yield bare


def _peeled(name: str, layers: tuple[str, ...], peel: object) -> Iterator[str]:
    assert callable(peel)  # noqa: S101 - one of str's two methods
    yield name
    for layer in layers:
        name = peel(name, layer)
        yield name


def pairs_in_doubt(group: Mapping[str, Built]) -> set[str]:
    """The overlays of one run that are not proved to be apart from all others."""
    doubtful: set[str] = set()
    members = list(group.items())
    for number, (one, left) in enumerate(members):
        for other, right in members[number + 1 :]:
            if not apart(left, right):
                doubtful |= {one, other}
    return doubtful
