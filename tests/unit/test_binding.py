"""What an approval is bound to: any part of it that moves makes another content, and is said in a sentence.

Left out: how the parts are found in git and on the code host (tests/e2e).
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from commands.binding import Binding, Part, moved
from commands.code_host import PullCommit

WEB = Part("web", "1.4.2", f"sha256:{'1' * 64}", "apps/web/overlays/production", "base-web", "manifests-web")
API = Part("api", "2.0.0", f"sha256:{'2' * 64}", "apps/api/overlays/production", "base-api", "manifests-api")
STRANGER = PullCommit("c" * 40, ("carol-hub",), ("carol@company.example",))
SHOWN = Binding("a" * 40, "policy-1", (API, WEB), {"apps/web/overlays/production/kustomization.yaml": "100644 b1"})

MOVES: dict[str, tuple[Callable[[Binding], Binding], str]] = {
    "the head": (lambda one: replace(one, head="b" * 40), "The head of the pull request has moved."),
    "the rules": (lambda one: replace(one, policy="policy-2"), "The rules for this environment"),
    "the image": (lambda one: replace(one, parts=(API, replace(WEB, digest="sha256:3"))), "The image of `web`"),
    "the version": (lambda one: replace(one, parts=(API, replace(WEB, version="1.4.3"))), "The image of `web`"),
    "the base": (lambda one: replace(one, parts=(API, replace(WEB, base="other"))), "What `web` is built from"),
    "the overlay": (lambda one: replace(one, parts=(API, replace(WEB, overlay="o", base="other"))), "`o` or its base"),
    "the manifests": (
        lambda one: replace(one, parts=(API, replace(WEB, manifests="other"))),
        "The rendered manifests of `web`",
    ),
    "an app more": (
        lambda one: replace(one, parts=(API, WEB, replace(WEB, app="shop"))),
        "`shop` is new in this change.",
    ),
    "an app less": (lambda one: replace(one, parts=(API,)), "`web` is no longer in this change."),
    "a file": (lambda one: replace(one, files={**one.files, "README.md": "100644 b2"}), "The files"),
    "a file's mode": (lambda one: replace(one, files=dict.fromkeys(one.files, "100755 b1")), "The files"),
    "a stranger": (lambda one: replace(one, strangers=(STRANGER,)), "Somebody has pushed"),
}


@pytest.mark.parametrize("name", MOVES)
def test_whatever_moves_makes_another_content_and_is_said(name: str) -> None:
    move, words = MOVES[name]
    now = move(SHOWN)
    assert now.content != SHOWN.content
    told = moved(SHOWN, now)
    assert any(words in sentence for sentence in told), told
    assert all(sentence.endswith(".") for sentence in told)


def test_no_two_moves_make_the_same_content() -> None:
    contents = {move(SHOWN).content for move, _ in MOVES.values()}
    assert len(contents | {SHOWN.content}) == len(MOVES) + 1


def test_who_wrote_a_strangers_commit_is_part_of_the_content() -> None:
    one = replace(SHOWN, strangers=(STRANGER,))
    other = replace(SHOWN, strangers=(replace(STRANGER, logins=("dave-hub",)),))
    assert one.content != other.content
    assert moved(one, other)


def test_the_same_content_is_the_same_whatever_way_it_came() -> None:
    again = Binding.from_json(SHOWN.as_json())
    assert (again, again.content) == (SHOWN, SHOWN.content)
    with_stranger = replace(SHOWN, strangers=(STRANGER,))
    assert Binding.from_json(with_stranger.as_json()) == with_stranger
    files = {"b": "100644 1", "a": "100644 2"}
    backwards = dict(reversed(files.items()))
    assert replace(SHOWN, files=files).content == replace(SHOWN, files=backwards).content


def test_nothing_is_said_when_nothing_moved() -> None:
    assert moved(SHOWN, Binding.from_json(SHOWN.as_json())) == ()


def test_everything_that_moved_is_said() -> None:
    now = replace(SHOWN, policy="policy-2", parts=(replace(API, base="x"), replace(WEB, digest="y")), head="z")
    assert len(moved(SHOWN, now)) == 3
