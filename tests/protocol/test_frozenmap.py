from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout.protocol.frozenmap import FrozenMap

entries = st.dictionaries(st.text(max_size=2), st.integers())
keys = st.text(max_size=2)


@given(entries, keys, st.integers())
def test_put_is_as_a_dictionarys_and_leaves_the_map_as_it_was(
    plain: dict[str, int], key: str, value: int
) -> None:
    before = FrozenMap(plain)
    after = before.put(key, value)
    assert list(after.items()) == list((plain | {key: value}).items())
    assert list(before.items()) == list(plain.items())


@given(entries, keys)
def test_drop_keeps_the_order_of_the_others_and_leaves_the_map_as_it_was(
    plain: dict[str, int], key: str
) -> None:
    before = FrozenMap(plain)
    after = before.drop(key)
    assert list(after.items()) == [(k, v) for k, v in plain.items() if k != key]
    assert list(after.values()) == [v for k, v in plain.items() if k != key]
    assert before == FrozenMap(plain)


def test_drop_of_a_key_that_is_not_there_is_the_same_map() -> None:
    before = FrozenMap({"a": 1})
    assert before.drop("b") is before
