"""Checks that setting an image changes the bytes it must and no others, and refuses every file it cannot be sure of.

Leaves out what kustomize makes of the result: `tests/contract/test_kustomize_render.py` builds it.
"""

import itertools
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bot.integrations.kustomize.edit import image_edit, overlay_file, read_image, set_image
from commands.ports import ImageEdit, ImageRef
from commands.reasons import ReasonCode, Refused
from tests.contract.trees import MemoryTree

DIGEST = "sha256:" + "a1" * 32
OTHER = "sha256:" + "b2" * 32


def edited(text: str, *, name: str = "web", tag: str = "1.10", digest: str = "", new_name: str = "") -> str:
    edit = ImageEdit(name, tag, digest, new_name)
    once = set_image(text.encode(), edit)
    assert set_image(once, edit) == once
    return once.decode()


def refused(text: str | bytes, edit: ImageEdit | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        set_image(text if isinstance(text, bytes) else text.encode(), edit or ImageEdit("web", "1.10"))
    assert caught.value.what.endswith(".")
    assert caught.value.next_step.endswith(".")
    return caught.value


PEOPLE_WROTE = """\
# Owned by team web.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization

resources:
  - ../../base   # everything

images:
  # the API gateway
  - name: gateway
    newTag: '2.0'
  - name: web      # the shop
    newName: registry.example.com/shop/web
    newTag: 1.4.1  # set by a bot

namespace:   "staging"
"""


def test_only_the_tag_changes_in_a_file_that_people_wrote() -> None:
    assert edited(PEOPLE_WROTE) == PEOPLE_WROTE.replace("newTag: 1.4.1 ", 'newTag: "1.10" ')


def test_windows_line_ends_and_a_missing_final_line_end_survive() -> None:
    text = "images:\r\n- name: web\r\n  newTag: old\r\nresources:\r\n- a.yaml"
    assert edited(text) == text.replace("old", '"1.10"')


def test_what_is_already_there_is_not_written_again_in_other_quotes() -> None:
    for written in ("1.4.2", "'1.4.2'", '"1.4.2"'):
        text = f"images:\n- name: web\n  newTag: {written}\n"
        assert edited(text, tag="1.4.2") == text


@pytest.mark.parametrize("tag", ["1.10", "0123", "no", "1e8", "0x1f", "1_000", "0o17", "y", "1234567e8"])
def test_a_tag_that_kustomize_would_take_for_a_number_is_put_in_quotes(tag: str) -> None:
    assert edited(f"images:\n- name: web\n  newTag: {tag}\n", tag=tag) == f'images:\n- name: web\n  newTag: "{tag}"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("images:\n- name: web\n", 'images:\n- name: web\n  newTag: "1.10"\n'),
        ("images:\n- name: web\n  newTag:\n", 'images:\n- name: web\n  newTag: "1.10"\n'),
        ("images:\n- {name: web, newTag: 1.9} # shop\n", 'images:\n- {name: web, newTag: "1.10"} # shop\n'),
        ("images: [{name: a}, {name: web}]\n", 'images: [{name: a}, {name: web, newTag: "1.10"}]\n'),
        ("images: [ {name: a} ]\n", 'images: [ {name: a}, {name: web, newTag: "1.10"} ]\n'),
        ("images: []  # none yet\n", 'images: [{name: web, newTag: "1.10"}]  # none yet\n'),
        ("images:\nresources: [a]\n", 'images:\n- name: web\n  newTag: "1.10"\nresources: [a]\n'),
        ("images: null\n", 'images: [{name: web, newTag: "1.10"}]\n'),
        ("images:\n- name: a\n# end\n", 'images:\n- name: a\n- name: web\n  newTag: "1.10"\n# end\n'),
        ("images:\n- {name: a}\n", 'images:\n- {name: a}\n- {name: web, newTag: "1.10"}\n'),
        ("images:\n  -   name: a", 'images:\n  -   name: a\n  -   name: web\n      newTag: "1.10"'),
        ("resources:\n- a\n", 'resources:\n- a\nimages:\n- name: web\n  newTag: "1.10"\n'),
        ("resources:\n  - a", 'resources:\n  - a\nimages:\n  - name: web\n    newTag: "1.10"'),
        ("{}", '{images: [{name: web, newTag: "1.10"}]}'),
        ("\ufeffimages: []\n", '\ufeffimages: [{name: web, newTag: "1.10"}]\n'),
        (
            "images:\n- name: wéb # ü\n  newTag: x\n",
            'images:\n- name: wéb # ü\n  newTag: x\n- name: web\n  newTag: "1.10"\n',
        ),
        ("a: 1\nb: |\n  text", 'a: 1\nimages:\n- name: web\n  newTag: "1.10"\nb: |\n  text'),
    ],
)
def test_the_style_of_the_file_is_kept(before: str, after: str) -> None:
    assert edited(before) == after


def test_json_stays_json() -> None:
    pretty = '{\n  "resources": ["a"],\n  "images": [\n    {\n      "name": "web"\n    }\n  ]\n}\n'
    assert edited(pretty) == pretty.replace('"web"', '"web",\n      "newTag": "1.10"')
    compact = '{"resources":["a"],"images":[{"name":"web","newTag":"1"}]}'
    assert edited(compact) == compact.replace('"1"', '"1.10"')
    bare = '{\n\t"resources": ["a"]\n}\n'
    assert edited(bare) == '{\n\t"resources": ["a"],\n\t"images": [{"name": "web", "newTag": "1.10"}]\n}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # As `kustomize edit` writes it: sorted keys, the digest first.
        (f"images:\n- digest: {DIGEST}\n  name: web\n", 'images:\n- newTag: "1.10"\n  name: web\n'),
        (f"images:\n- digest: {DIGEST}\n  name: web\n  newTag: x\n", 'images:\n- name: web\n  newTag: "1.10"\n'),
        (
            f"images:\n- digest: {DIGEST} # pin\n  # why\n  name: web\n  newTag: x\n",
            'images:\n- # pin\n  # why\n  name: web\n  newTag: "1.10"\n',
        ),
        (f"images:\n- name: web\n  newTag: x\n  digest: {DIGEST}", 'images:\n- name: web\n  newTag: "1.10"'),
        (
            f"images:\n- name: web\n  newTag: x\n  digest: {DIGEST}\n# end\n",
            'images:\n- name: web\n  newTag: "1.10"\n# end\n',
        ),
        (f"images: [{{digest: {DIGEST}, name: web, newTag: x}}]", 'images: [{name: web, newTag: "1.10"}]'),
        (f"images: [{{name: web, newTag: x, digest: {DIGEST}}}]", 'images: [{name: web, newTag: "1.10"}]'),
        ("images:\n- name: web\n  newTag: x\n  tagSuffix: -eu\n", 'images:\n- name: web\n  newTag: "1.10"\n'),
    ],
)
def test_a_tag_alone_takes_the_old_digest_away(before: str, after: str) -> None:
    assert edited(before) == after


def test_a_digest_alone_takes_the_old_tag_away() -> None:
    text = "images:\n- name: web\n  newTag: x  # keep\n"
    assert edited(text, tag="", digest=DIGEST) == f'images:\n- name: web\n  digest: "{DIGEST}"  # keep\n'


def test_a_tag_and_a_digest_stand_side_by_side() -> None:
    text = f"images:\n- name: web\n  digest: {OTHER}\n"
    expected = f'images:\n- name: web\n  newTag: "1.10"\n  digest: "{DIGEST}"\n'
    assert edited(text, digest=DIGEST) == expected
    assert edited("images:\n- name: web\n  newTag: x\n", digest=DIGEST) == expected


def test_a_new_name_stays_unless_another_one_is_asked_for() -> None:
    text = "images:\n- name: web\n  newName: old.example.com/web\n  newTag: x\n"
    assert edited(text) == text.replace("newTag: x", 'newTag: "1.10"')
    assert "newName: new.example.com/web\n" in edited(text, new_name="new.example.com/web")
    assert "newName" not in edited("images:\n- name: web\n", new_name="web")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("images:\n- name: web\n  newTag: &tag x\nlabels: [*tag]\n", ReasonCode.OVERLAY_UNSAFE),
        ("a: &a {name: web}\nimages:\n- <<: *a\n", ReasonCode.OVERLAY_UNSAFE),
        ("images:\n- name: !!binary d2Vi\n", ReasonCode.OVERLAY_UNSAFE),
        ("resources: " + "[" * 5000 + "]" * 5000, ReasonCode.OVERLAY_UNSAFE),
        ("resources: " + "{a: " * 5000 + "}" * 5000, ReasonCode.OVERLAY_UNSAFE),
        ("[" * 1_000_000, ReasonCode.OVERLAY_UNSAFE),
        ("# " + "x" * 1024 * 1024, ReasonCode.OVERLAY_UNSAFE),
        ("images: []\nimages: []\n", ReasonCode.OVERLAY_INVALID),
        ("images:\n- name: web\n  name: web\n", ReasonCode.OVERLAY_INVALID),
        ("images:\n- name: web\n- name: web\n", ReasonCode.OVERLAY_INVALID),
        ("images: []\n---\nimages: []\n", ReasonCode.OVERLAY_INVALID),
        ("Images:\n- name: web\n", ReasonCode.OVERLAY_INVALID),
        ("images:\n- name: web\n  NewTag: x\n", ReasonCode.OVERLAY_INVALID),
        ("imageTags:\n- name: web\n", ReasonCode.OVERLAY_INVALID),
        ("images: web\n", ReasonCode.OVERLAY_INVALID),
        ("images: {name: web}\n", ReasonCode.OVERLAY_INVALID),
        ("images: [web]\n", ReasonCode.OVERLAY_INVALID),
        ("images:\n- name: web\n  newTag: |\n    x\n", ReasonCode.OVERLAY_INVALID),
        ("images:\n- name: web\n  newTag: [x]\n", ReasonCode.OVERLAY_INVALID),
        ("resources:\n- a\n...\n", ReasonCode.OVERLAY_INVALID),
        ("? [a]\n: b\n", ReasonCode.OVERLAY_INVALID),
        ("", ReasonCode.OVERLAY_INVALID),
        ("- a\n", ReasonCode.OVERLAY_INVALID),
        ("a: [\n", ReasonCode.OVERLAY_INVALID),
        (b"images: [] # \xff\n", ReasonCode.OVERLAY_INVALID),
        ("a: b\x00\n", ReasonCode.OVERLAY_INVALID),
        ("images: []\n".encode("utf-16"), ReasonCode.OVERLAY_INVALID),
    ],
)
def test_a_file_that_leaves_doubt_is_refused(text: str | bytes, reason: ReasonCode) -> None:
    assert refused(text).reason is reason


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (ImageEdit("web", '1"\nresources: [https://evil]'), ReasonCode.BAD_VERSION),
        (ImageEdit("web", "-1"), ReasonCode.BAD_VERSION),
        (ImageEdit("web", "1", "sha256:short"), ReasonCode.BAD_VERSION),
        (ImageEdit("web"), ReasonCode.BAD_VERSION),
        (ImageEdit("we b", "1"), ReasonCode.CATALOGUE_INVALID),
        (ImageEdit("web", "1", "", "x\ny"), ReasonCode.CATALOGUE_INVALID),
    ],
)
def test_an_edit_that_could_write_something_else_is_refused(edit: ImageEdit, reason: ReasonCode) -> None:
    assert refused("images: []\n", edit).reason is reason


def test_an_image_is_read_as_it_is_written() -> None:
    text = (
        f"images:\n- name: web\n  newName: r.example.com/web\n  newTag: 1.10\n  digest: {DIGEST}\n- name: b\n".encode()
    )
    assert read_image(text, "web") == ImageRef("r.example.com/web", "1.10", DIGEST)
    assert read_image(text, "b") == ImageRef("b")
    assert read_image(text, "c") is None
    assert read_image(b"resources: []\n", "web") is None


def test_an_image_behind_an_alias_is_read_but_not_edited() -> None:
    text = b"x: &tag 1.2.3\nimages:\n- name: web\n  newTag: *tag\n"
    assert read_image(text, "web") == ImageRef("web", "1.2.3")
    assert refused(text).reason is ReasonCode.OVERLAY_UNSAFE


# ---------------------------------------------------------------- the file in the tree


def test_the_three_names_of_a_kustomization_are_found() -> None:
    for name in ("kustomization.yaml", "kustomization.yml", "Kustomization"):
        assert overlay_file(MemoryTree({f"env/dev/{name}": ""}), "env/dev/") == f"env/dev/{name}"
    assert overlay_file(MemoryTree({"kustomization.yaml": ""}), "") == "kustomization.yaml"


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (MemoryTree({"env/prod/x.yaml": ""}), ReasonCode.OVERLAY_MISSING),
        (MemoryTree({"env/dev/x.yaml": ""}), ReasonCode.OVERLAY_MISSING),
        (MemoryTree({"env/dev/kustomization.yaml": "", "env/dev/Kustomization": ""}), ReasonCode.OVERLAY_INVALID),
        (MemoryTree({}, {"env/dev/kustomization.yaml": "/etc/passwd"}), ReasonCode.OVERLAY_UNSAFE),
        (MemoryTree({}, {"env/dev": "../prod"}), ReasonCode.OVERLAY_UNSAFE),
    ],
)
def test_an_overlay_without_one_plain_kustomization_is_refused_by_name(tree: MemoryTree, reason: ReasonCode) -> None:
    with pytest.raises(Refused) as caught:
        overlay_file(tree, "env/dev")
    assert caught.value.reason is reason
    assert "env/dev" in caught.value.what


def test_an_edit_for_the_repository_names_the_one_file_or_none() -> None:
    edit = image_edit("env/dev", ImageEdit("web", "1.10"))
    tree = MemoryTree({"env/dev/kustomization.yaml": "images:\n- name: web\n"})
    changed = edit(tree)
    assert changed == {"env/dev/kustomization.yaml": b'images:\n- name: web\n  newTag: "1.10"\n'}
    content = changed["env/dev/kustomization.yaml"]
    assert content is not None
    assert edit(tree.with_file("env/dev/kustomization.yaml", content)) == {}


# ---------------------------------------------------------------- any file

NAMES = st.sampled_from(["web", "api", "reg.example.com:5000/team/api", "worker", "éclair"])
TAGS = st.one_of(
    st.sampled_from(["1.10", "no", "0123", "1e8", "latest", "_x", "v1.2.3-rc.1"]),
    st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).filter(
        lambda tag: tag[0] not in ".-"
    ),
)
COMMENTS = st.sampled_from(["", "", "  # ☃ why", " # a: b [c] {d}"])


@st.composite
def entries(draw: st.DrawFn, name: str) -> list[tuple[str, str]]:
    fields = [("name", name)]
    for key, values in (
        ("newName", st.just("r.example.com/x")),
        ("newTag", TAGS.map(lambda tag: f'"{tag}"')),
        ("digest", st.just(f"'{DIGEST}'")),
    ):
        if draw(st.booleans()):
            fields.append((key, draw(values)))
    return draw(st.permutations(fields))


@st.composite
def kustomizations(draw: st.DrawFn) -> str:
    indent = draw(st.sampled_from(["", "  ", "    "]))
    dash = draw(st.sampled_from(["- ", "-   "]))
    lines = [f"# head{draw(COMMENTS)}", "resources:", f"{indent}- ../base{draw(COMMENTS)}"]
    images: list[str] = []
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        fields = draw(entries(name))
        if draw(st.booleans()):
            inside = ", ".join(f"{key}: {value}" for key, value in fields)
            images.append(f"{indent}{dash}{{{inside}}}{draw(COMMENTS)}")
            continue
        for number, (key, value) in enumerate(fields):
            images += [f"{indent}{' ' * len(dash)}# between"] if number and draw(st.booleans()) else []
            images.append(f"{indent}{dash if not number else ' ' * len(dash)}{key}: {value}{draw(COMMENTS)}")
    tail = ["", "labels:", "- pairs: {app: x}  # y"]
    parts = [lines, ["images:", *images] if images else []]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, 2)), tail)
    eol = draw(st.sampled_from(["\n", "\r\n"]))
    return eol.join(itertools.chain.from_iterable(parts)) + draw(st.sampled_from(["", eol]))


@given(
    kustomizations(),
    NAMES.filter(str.isascii),
    TAGS,
    st.sampled_from(["", OTHER]),
    st.sampled_from(["", "n.example.com/y"]),
)
def test_an_edit_of_any_file_is_the_edit_of_its_values(
    text: str, name: str, tag: str, digest: str, new_name: str
) -> None:
    after = edited(text, name=name, tag=tag, digest=digest, new_name=new_name)
    expected = yaml.safe_load(text)
    images = expected.setdefault("images", [])
    entry = next((item for item in images if item["name"] == name), None)
    if entry is None:
        images.append(entry := {"name": name})
    entry.pop("digest", None)
    entry |= {"newTag": tag} | ({"digest": digest} if digest else {}) | ({"newName": new_name} if new_name else {})
    assert yaml.safe_load(after) == expected
    assert read_image(after.encode(), name) == ImageRef(entry.get("newName", name), tag, digest)
    # No line of any other entry or key moved, changed or went.
    touched = [
        line for line in text.splitlines() if not any(key in line for key in ("newTag", "digest", "newName", name))
    ]
    kept = iter(after.splitlines())
    assert all(line in kept for line in touched)
    assert after.endswith("\n") == text.endswith("\n")
    assert after.count("\n") == after.count("\r\n") or "\r\n" not in text
