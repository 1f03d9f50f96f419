"""Checks the grammars of names, tags, digests and images, and the search for unsafe characters and near words.

Leaves out where they are used: the catalogue's reader and the parser of commands have tests of their own.
"""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.grammar import DIGEST, NAME, TAG, ImageName, image_name, is_host, nearest, unsafe_characters


@pytest.mark.parametrize("name", ["a", "web", "a-1", "0", "a" * 63])
def test_a_dns_label_is_a_name(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "a\n", "../a", "é", "٣"])
def test_anything_else_is_no_name(name: str) -> None:
    assert not NAME.fullmatch(name)


@pytest.mark.parametrize("tag", ["1.4.2", "v1", "_x", "1.10", "A" * 128, "sha-0e1f", "no"])
def test_what_oci_allows_is_a_tag(tag: str) -> None:
    assert TAG.fullmatch(tag)


@pytest.mark.parametrize("tag", ["", "-v", ".1", "a/b", "a:b", "A" * 129, "1.4\n", "a b", "$(x)", "٣"])
def test_what_oci_forbids_is_no_tag(tag: str) -> None:
    assert not TAG.fullmatch(tag)


def test_a_digest_is_sha256_in_lower_case_hexadecimal() -> None:
    assert DIGEST.fullmatch("sha256:" + "0a" * 32)
    for wrong in (
        "sha256:" + "0A" * 32,
        "sha256:" + "0a" * 31,
        "sha512:" + "0a" * 32,
        "0a" * 32,
        "sha256:" + "0a" * 33,
    ):
        assert not DIGEST.fullmatch(wrong)


@pytest.mark.parametrize(
    ("text", "host", "repository"),
    [
        ("nginx", "docker.io", "library/nginx"),
        ("grafana/loki", "docker.io", "grafana/loki"),
        ("docker.io/nginx", "docker.io", "library/nginx"),
        ("registry.company.com/my-application", "registry.company.com", "my-application"),
        ("registry.company.com:5000/team/web", "registry.company.com:5000", "team/web"),
        ("localhost/web", "localhost", "web"),
        ("localhost:5000/web", "localhost:5000", "web"),
        ("127.0.0.1:5000/a__b/c---d", "127.0.0.1:5000", "a__b/c---d"),
    ],
)
def test_an_image_name_is_split_as_docker_does(text: str, host: str, repository: str) -> None:
    assert image_name(text) == ImageName(host, repository)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Web",
        "registry.company.com/",
        "registry.company.com/web:1.2",
        "registry.company.com/web@sha256:" + "0" * 64,
        "https://registry.company.com/web",
        "registry.company.com//web",
        "registry.company.com/../web",
        "user:secret@registry.company.com/web",
        "-x.com/web",
        "registry.company.com:port/web",
        "a/" * 128 + "a",
        "web\n",
    ],
)
def test_what_is_not_an_image_name_is_not_split(text: str) -> None:
    assert image_name(text) is None


def test_a_host_may_have_a_port_and_nothing_else() -> None:
    assert is_host("registry.company.com:5000")
    for wrong in ("", "a/b", "user@host", "https://host", "host:", "host:123456", "-host", "ho st"):
        assert not is_host(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("good\u202eevil", "a right-to-left override (U+202E)"),
        ("a\u2066b", "a left-to-right isolate (U+2066)"),
        ("a\u200fb", "a right-to-left mark (U+200F)"),
        ("a\u200bb", "a zero-width space (U+200B)"),
        ("\ufeffa", "a byte order mark (U+FEFF)"),
        ("a\nb", "a line break (U+000A)"),
        ("a\x1b[31m", "a control character (U+001B)"),
        ("a\x85b", "a control character (U+0085)"),
        ("a\ud800b", "half of a surrogate pair (U+D800)"),
        ("a\u2028b", "a line separator (U+2028)"),
        ("a\U000e0041b", "an invisible character (U+E0041)"),
        ("\u202d then \u202e", "a left-to-right override (U+202D)"),
    ],
)
def test_the_first_unsafe_character_is_named(text: str, said: str) -> None:
    assert unsafe_characters(text) == said


@pytest.mark.parametrize(
    "text", ["", "fix für Größe", "修正", "إصلاح", "👍🏽 ship it", "a\u00a0b", "e\u0301", "<!channel>"]
)
def test_ordinary_words_in_any_script_are_safe(text: str) -> None:
    assert unsafe_characters(text) is None


@given(st.text(alphabet=st.characters()))
def test_safe_text_holds_no_control_format_or_surrogate_character(text: str) -> None:
    categories = {unicodedata.category(character) for character in text}
    assert (unsafe_characters(text) is None) == categories.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


ENVIRONMENTS = ["dev", "staging", "production"]


@pytest.mark.parametrize(
    ("word", "best"),
    [
        ("stagin", "staging"),
        ("stg", "staging"),
        ("prod", "production"),
        ("prd", "production"),
        ("live", "production"),
        ("Staging", "staging"),
        ("PROD", "production"),
        ("de", "dev"),
        ("prodcution", "production"),
    ],
)
def test_the_nearest_word_is_found(word: str, best: str) -> None:
    assert nearest(word, ENVIRONMENTS)[0] == best


def test_nothing_near_is_nothing() -> None:
    assert nearest("zzz", ENVIRONMENTS) == ()
    assert nearest("", ENVIRONMENTS) == ()
    assert nearest("dev", []) == ()


def test_versions_that_begin_alike_come_first_and_no_more_than_asked_for() -> None:
    assert nearest("1.4", ["1.3.0", "1.4.1", "2.0.0", "1.4.0"], 2) == ("1.4.0", "1.4.1")


@given(st.text(), st.lists(st.text(max_size=20), max_size=20), st.integers(1, 5))
def test_suggestions_are_candidates_without_repeats(word: str, candidates: list[str], limit: int) -> None:
    found = nearest(word, candidates, limit)
    assert set(found) <= set(candidates)
    assert len(found) == len(set(found)) <= limit


@given(st.text(min_size=1))
def test_a_word_that_is_there_is_its_own_nearest(word: str) -> None:
    # Longer than difflib is given, a word is cut and cannot equal itself.
    word = word[:20]
    assert nearest(word, ["unlike", word])[0].casefold() == word.casefold()
