"""Set an image in a kustomization file by changing the bytes it must and no others. Pure, but for reading the tree.

The meaning is that of `kustomize edit set image NAME=*:TAG@DIGEST` (commands/edit/set/setimage.go in 5.8): the tag and
the digest become exactly what was asked, so a tag alone takes an old digest away; a `newName` stays unless another
one is asked for, because setting a version must not move an app to another registry. Unlike kustomize it keeps
comments, key order and flow style, and writes tags in double quotes. Whatever was cut, the result is parsed again and
must say what was meant and nothing else, or nothing is written.
"""

import re
from collections.abc import Mapping as AnyMapping

from bot.integrations.kustomize.document import (
    Document,
    Mapping,
    Node,
    Scalar,
    Sequence,
    decode,
    invalid,
    parse,
    unsafe,
)
from bot.integrations.kustomize.surgery import Field, Wanted, entry_of, next_splice
from commands.ports import Edit, ImageEdit, ImageRef, Tree
from commands.reasons import ReasonCode, Refused

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,254}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FIELDS = ("name", *Field)
_MOST_SPLICES = 12  # one entry has four fields; more steps than this mean that the cuts do not converge


def set_image(source: bytes, edit: ImageEdit, *, path: str = "kustomization.yaml") -> bytes:
    """The file with the image set, byte for byte the same file when it says so already.

    `path` is for the messages. Refused: BAD_VERSION and CATALOGUE_INVALID for an edit that no kustomization could hold,
    OVERLAY_UNSAFE for anchors and bombs, OVERLAY_INVALID for everything that could not be edited without doubt.
    """
    _check(edit)
    document = parse(source, path)
    _check_editable(document, edit.name, path)
    wanted = _wanted(document, edit)
    intended = _intended(document, wanted)
    text = document.text
    try:
        for _ in range(_MOST_SPLICES):
            splice = next_splice(document, wanted)
            if splice is None:
                break
            text = splice.apply(text)
            document = parse(text.encode(), path)
    except Refused as fault:
        raise _uneditable(path) from fault
    if document.anchored or _meaning(document.root) != intended:
        raise _uneditable(path)
    return source[: len(source) - len(decode(source, path).removeprefix("\ufeff").encode())] + text.encode()


def read_image(source: bytes, name: str, *, path: str = "kustomization.yaml") -> ImageRef | None:
    """What the file says about this image; None when its `images:` list does not name it.

    Reads the text as written: an unquoted `newTag: 1.10` is the tag `1.10` here, though kustomize would refuse it.
    Refused: OVERLAY_INVALID, OVERLAY_UNSAFE.
    """
    document = parse(source, path)
    if isinstance(document.root, Mapping):
        _check_images(document.root, name, path)
    entry = entry_of(document, name)
    if entry is None:
        return None
    values = {key: _text(entry.get(key)) for key in _FIELDS}
    return ImageRef(values[Field.NEW_NAME] or name, values[Field.NEW_TAG], values[Field.DIGEST])


def overlay_file(tree: Tree, overlay: str) -> str:
    """The path of the overlay's kustomization file. Refused: OVERLAY_MISSING, OVERLAY_INVALID, OVERLAY_UNSAFE."""
    folder = overlay.strip("/")
    place = f"folder `{folder}`" if folder else "root of the infra-repo"
    wanted = {f"{folder}/{name}".lstrip("/") for name in FILE_NAMES}
    found = [entry for entry in tree.entries(folder) if entry.path in wanted and entry.kind != "tree"]
    if not found:
        here = tree.entry(folder)
        if here is not None and here.mode in {"120000", "160000"}:
            raise unsafe(folder, "it is a link to somewhere else, and links are never followed")
        why = "has no kustomization.yaml" if here is not None else "does not exist in the infra-repo"
        raise Refused(
            ReasonCode.OVERLAY_MISSING,
            f"The {place} {why}.",
            "Check the overlay's path in locktender.yaml, or add the overlay.",
        )
    if len(found) > 1:
        names = " and ".join(f"`{entry.path.rpartition('/')[2]}`" for entry in found)
        raise invalid(folder or ".", f"it holds {names}, and kustomize accepts only one of them", "Remove all but one.")
    if found[0].mode == "120000":
        raise unsafe(found[0].path, "it is a symbolic link, and links are never followed")
    return found[0].path


def image_edit(overlay: str, edit: ImageEdit) -> Edit:
    """The edit for `InfraRepo.ensure_commit`; it answers with no files when the overlay says it already."""

    def apply(tree: Tree) -> AnyMapping[str, bytes]:
        path = overlay_file(tree, overlay)
        source = tree.read(path)
        if source is None:
            raise Refused(
                ReasonCode.OVERLAY_MISSING,
                f"`{path}` is not a file in the infra-repo.",
                "Check the overlay's path in locktender.yaml, or add the overlay.",
            )
        changed = set_image(source, edit, path=path)
        return {} if changed == source else {path: changed}

    return apply


# ---------------------------------------------------------------- what can be asked


def _check(edit: ImageEdit) -> None:
    for what, name in (("image", edit.name), ("new image name", edit.new_name or edit.name)):
        if not _NAME.fullmatch(name) or name.endswith(":"):
            raise Refused(
                ReasonCode.CATALOGUE_INVALID,
                f"`{name[:80]}` is not a valid {what}.",
                "Write it in locktender.yaml like `registry.example.com/team/app`, without a tag.",
            )
    if not edit.tag and not edit.digest:
        raise Refused(
            ReasonCode.BAD_VERSION,
            f"No tag or digest was given for image `{edit.name}`.",
            "Say which version to deploy.",
        )
    if edit.tag and not _TAG.fullmatch(edit.tag):
        raise Refused(
            ReasonCode.BAD_VERSION,
            f"`{edit.tag[:80]}` is not a valid image tag.",
            "Use letters, digits, `_`, `.` and `-`, at most 128 of them.",
        )
    if edit.digest and not _DIGEST.fullmatch(edit.digest):
        raise Refused(
            ReasonCode.BAD_VERSION,
            f"`{edit.digest[:80]}` is not a valid image digest.",
            "Write `sha256:` and 64 hexadecimal digits.",
        )


def _check_editable(document: Document, name: str, path: str) -> None:
    if document.anchored:
        raise unsafe(
            path,
            "it uses YAML anchors or aliases, and an edit of one line could change others",
            "Write the values out in the file, then ask again.",
        )
    if not isinstance(document.root, Mapping):
        raise invalid(path, "it is not a mapping with keys such as `resources:`")
    _check_images(document.root, name, path)
    entry = entry_of(document, name)
    for pair in entry.pairs if entry else ():
        value = pair.value
        if pair.key.value in _FIELDS and not (isinstance(value, Scalar) and value.style not in {"|", ">"}):
            raise invalid(path, f"`{pair.key.value}` of image `{name}` is not written on one line")


def _check_images(root: Mapping, name: str, path: str) -> None:
    """Refuse what kustomize would read in another way than we do."""
    _check_spelling(root, ("images",), path)
    if root.pair("imageTags") or root.pair("<<"):
        found = "imageTags" if root.pair("imageTags") else "<<"
        raise invalid(path, f"it uses `{found}`, which could say something else than `images`", "Use `images` alone.")
    images = root.get("images")
    if images is None or (isinstance(images, Scalar) and images.is_null):
        return
    if not isinstance(images, Sequence):
        raise invalid(path, "`images` is not a list")
    named = 0
    for item in images.items:
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), Scalar) or item.pair("<<"):
            raise invalid(path, "an entry of `images` has no plain `name`")
        _check_spelling(item, _FIELDS, path)
        named += _text(item.get("name")) == name
    if named > 1:
        raise invalid(path, f"`images` names `{name}` {named} times", "Keep one entry for the image, then ask again.")


def _check_spelling(mapping: Mapping, keys: tuple[str, ...], path: str) -> None:
    """Go reads JSON keys whatever their case: `Images` is `images` to kustomize, and the later of two wins."""
    folded = {key.casefold(): key for key in keys}
    for pair in mapping.pairs:
        key = pair.key.value
        known = folded.get(key.casefold())
        if known is not None and known != key:
            raise invalid(path, f"the key `{key}` should be written `{known}`")


# ---------------------------------------------------------------- what is meant


def _wanted(document: Document, edit: ImageEdit) -> Wanted:
    entry = entry_of(document, edit.name)
    current = (_text(entry.get(Field.NEW_NAME)) if entry else "") or edit.name
    name = [(Field.NEW_NAME, edit.new_name)] if edit.new_name and edit.new_name != current else []
    given = [(key, value) for key, value in ((Field.NEW_TAG, edit.tag), (Field.DIGEST, edit.digest)) if value]
    absent = {Field.NEW_TAG, Field.DIGEST, Field.TAG_SUFFIX} - {key for key, _ in given}
    return Wanted(edit.name, (*name, *given), tuple(key for key in Field if key in absent))


def _intended(document: Document, wanted: Wanted) -> object:
    """What the file must say in the end, worked out on the values and not on the text."""
    meaning = _meaning(document.root)
    assert isinstance(meaning, dict)  # noqa: S101 - checked by _check_editable
    images = meaning.get("images")
    before = images if isinstance(images, list) else []
    fields = {str(key): (True, value) for key, value in wanted.present}
    name = (True, wanted.name)
    if entry_of(document, wanted.name) is None:
        return meaning | {"images": [*before, {"name": name} | fields]}
    removed = {str(key) for key in wanted.absent}
    return meaning | {
        "images": [
            {key: value for key, value in item.items() if key not in removed} | fields
            if item["name"][1] == wanted.name
            else item
            for item in before
        ]
    }


def _meaning(node: Node) -> object:
    """The node as plain values; a scalar is (is it a string?, its text), so `"1.10"` and `1.10` differ."""
    if isinstance(node, Scalar):
        return (node.is_string, node.value)
    if isinstance(node, Sequence):
        return [_meaning(item) for item in node.items]
    return {pair.key.value: _meaning(pair.value) for pair in node.pairs}


def _text(node: Node | None) -> str:
    return node.value if isinstance(node, Scalar) and not node.is_null else ""


def _uneditable(path: str) -> Refused:
    return invalid(
        path,
        "the image cannot be set there without changing something else, because of how the file is written",
        "Write `images:` as a plain list with one `- name:` per image, each value on its own line, then ask again.",
    )
