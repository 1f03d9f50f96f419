"""What names, tags, digests and image names look like, and which characters never belong in a person's words.

Pure and shared by the catalogue, the parser of commands and the adapters. Patterns are meant for `fullmatch`.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Apps, environments, groups and namespaces: a DNS label, as Kubernetes wants it."""

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""An OCI tag: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests."""

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""The one kind of digest that registries and kubelets agree on."""

DOCKER_HUB = "docker.io"
"""Where an image without a registry host comes from, as Docker says."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:[0-9]{1,5})?")
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_LONGEST_IMAGE = 255

_ABBREVIATIONS = {
    "dev": ("development",),
    "int": ("integration",),
    "live": ("production", "prod"),
    "pre": ("preproduction", "preprod", "staging"),
    "prd": ("production", "prod"),
    "prod": ("production",),
    "production": ("prod",),
    "qa": ("test", "testing"),
    "stag": ("staging",),
    "stage": ("staging",),
    "staging": ("stage", "stg"),
    "stg": ("staging", "stage"),
    "tst": ("test", "testing"),
    "uat": ("acceptance",),
}
_LONGEST_GUESS = 128  # difflib is quadratic: nobody means a name by more than this

_INVISIBLE = {
    "\u061c": "an Arabic letter mark",
    "\u200b": "a zero-width space",
    "\u200c": "a zero-width non-joiner",
    "\u200d": "a zero-width joiner",
    "\u200e": "a left-to-right mark",
    "\u200f": "a right-to-left mark",
    "\u2028": "a line separator",
    "\u2029": "a paragraph separator",
    "\u202a": "a left-to-right embedding",
    "\u202b": "a right-to-left embedding",
    "\u202c": "a pop directional formatting",
    "\u202d": "a left-to-right override",
    "\u202e": "a right-to-left override",
    "\u2060": "a zero-width word joiner",
    "\u2066": "a left-to-right isolate",
    "\u2067": "a right-to-left isolate",
    "\u2068": "a first strong isolate",
    "\u2069": "a pop directional isolate",
    "\ufeff": "a byte order mark",
}
_CONTROLS = {"\0": "a null character", "\t": "a tab", "\n": "a line break", "\r": "a carriage return"}
_UNSAFE_CATEGORIES = {"Cc": "a control character", "Cf": "an invisible character", "Cs": "half of a surrogate pair"}


@dataclass(frozen=True)
class ImageName:
    """Where an image is kept: the registry's host (with a port, if any) and the repository in it."""

    host: str
    repository: str


def image_name(text: str) -> ImageName | None:
    """Split an image name without tag or digest as Docker does; None when it is not one.

    `nginx` is `docker.io/library/nginx`; a first part with a dot, a colon or `localhost` is a host.
    """
    if len(text) > _LONGEST_IMAGE:
        return None
    first, slash, rest = text.partition("/")
    host, repository = (first, rest) if slash and _is_host(first) else (DOCKER_HUB, text)
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not is_host(host) or not _REPOSITORY.fullmatch(repository):
        return None
    return ImageName(host, repository)


def is_host(text: str) -> bool:
    """True for a registry's host name or address, with or without a port."""
    return _HOST.fullmatch(text) is not None


def _is_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost"


def unsafe_characters(text: str) -> str | None:
    """What the first character is that does not belong in one line of text; None when there is none.

    Control characters (line breaks too: they would forge lines in commits and logs), everything that turns the
    direction of text or cannot be seen (what is read must be what is meant), and unpaired surrogates.
    """
    if text.isprintable():  # Python counts format characters, separators and surrogates as not printable
        return None
    for character in text:
        named = _INVISIBLE.get(character) or _CONTROLS.get(character)
        named = named or _UNSAFE_CATEGORIES.get(unicodedata.category(character))
        if named:
            return f"{named} (U+{ord(character):04X})"
    return None


def nearest(word: str, candidates: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The candidates that were probably meant, best first; empty when none is close.

    Same letters in another case come first, then common abbreviations (`prod`, `stg`), then what starts like the
    word, then what difflib finds similar.
    """
    wanted = word[:_LONGEST_GUESS].casefold()
    if not wanted:
        return ()
    folded: dict[str, str] = {}
    for candidate in candidates:
        folded.setdefault(candidate.casefold(), candidate)
    exact = [wanted] if wanted in folded else []
    short_for = [full for full in _ABBREVIATIONS.get(wanted, ()) if full in folded]
    longer = sorted(name for name in folded if name.startswith(wanted)) if len(wanted) > 1 else []
    similar = difflib.get_close_matches(wanted, folded, n=limit, cutoff=0.6)
    ordered = dict.fromkeys([*exact, *short_for, *longer, *similar])
    return tuple(folded[name] for name in list(ordered)[:limit])
