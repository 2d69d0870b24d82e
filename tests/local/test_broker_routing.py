"""The filter tree gives the same answer as the rule for one filter, and keeps nothing of what was removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.routing import FilterTree
from iot_customauth_client.topics import matches

LEVELS = st.sampled_from(["", "a", "b", "$aws", "$"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)
FILTERS = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]),
    st.lists(LEVELS | st.just("+"), max_size=5),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@given(st.lists(FILTERS, max_size=12), TOPICS)
def test_the_tree_matches_what_each_filter_matches(topic_filters: list[str], topic: str) -> None:
    tree: FilterTree[int, str] = FilterTree()
    for topic_filter in topic_filters:
        tree.add(topic_filter, 1, topic_filter)
    assert sorted(tree.match(topic)) == sorted(each for each in set(topic_filters) if matches(each, topic))


@given(st.lists(st.tuples(FILTERS, st.integers(1, 3))))
def test_what_was_added_and_removed_leaves_no_node(entries: list[tuple[str, int]]) -> None:
    tree: FilterTree[int, str] = FilterTree()
    for topic_filter, key in entries:
        tree.add(topic_filter, key, topic_filter)
    assert len(tree) == len(set(entries))
    for topic_filter, key in set(entries):
        assert tree.remove(topic_filter, key)
        assert not tree.remove(topic_filter, key)
    assert (len(tree), tree.nodes()) == (0, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "remove", "match"]), FILTERS, st.integers(0, 2), TOPICS),
        max_size=40,
    )
)
def test_what_was_matched_before_does_not_hide_what_has_changed_since(
    steps: list[tuple[str, str, int, str]],
) -> None:
    tree: FilterTree[int, tuple[str, int]] = FilterTree()
    there: set[tuple[str, int]] = set()
    for step, topic_filter, client, topic in steps:
        if step == "add":
            tree.add(topic_filter, client, (topic_filter, client))
            there.add((topic_filter, client))
        elif step == "remove":
            assert tree.remove(topic_filter, client) == ((topic_filter, client) in there)
            there.discard((topic_filter, client))
        assert sorted(tree.match(topic)) == sorted(entry for entry in there if matches(entry[0], topic))


def test_what_is_kept_of_matches_does_not_grow_with_the_topics_and_subscribers() -> None:
    tree: FilterTree[int, int] = FilterTree()
    for client in range(100):
        tree.add("#", client, client)
    for number in range(10_000):
        assert len(tree.match(f"topic/{number}")) == 100
        assert sum(1 + len(found) for found in tree._matches.values()) == tree._kept <= 16_384


def test_removing_one_client_leaves_the_other_ones() -> None:
    tree: FilterTree[int, str] = FilterTree()
    tree.add("a/+", 1, "one")
    tree.add("a/+", 2, "two")
    tree.add("a/+/c", 2, "below")
    tree.remove("a/+", 1)
    assert tree.match("a/b") == ["two"]
    tree.remove("a/+", 2)
    assert tree.match("a/b/c") == ["below"]


def test_a_filter_with_hash_does_not_take_its_parent() -> None:
    tree: FilterTree[int, str] = FilterTree()
    tree.add("sensor/#", 1, "all")
    assert tree.match("sensor") == []
    assert tree.match("sensor/") == tree.match("sensor/a/b") == ["all"]
