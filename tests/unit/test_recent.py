"""Checks that the cache of the renderer forgets what it should. Leaves out threads: a lock is held throughout."""

from bot.integrations.recent import Recent


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    cache = Recent[str, str](2)
    cache.put("a", "1")
    cache.put("b", "2")
    cache.get("a")
    cache.put("c", "3")
    assert [cache.get(key) for key in "abc"] == ["1", None, "3"]


def test_the_weight_of_all_values_is_bounded() -> None:
    cache = Recent[str, str](10, weigh=len)
    cache.put("a", "x" * 6)
    cache.put("b", "x" * 4)
    cache.put("c", "x" * 5)
    assert [cache.get(key) is not None for key in "abc"] == [False, True, True]


def test_a_value_put_twice_weighs_once() -> None:
    cache = Recent[str, str](10, weigh=len)
    cache.put("a", "x" * 6)
    cache.put("a", "y" * 6)
    cache.put("b", "x" * 4)
    assert cache.get("a") == "y" * 6


def test_a_value_that_is_too_heavy_is_not_kept() -> None:
    cache = Recent[str, str](3, weigh=len)
    cache.put("a", "x" * 4)
    assert cache.get("a") is None
