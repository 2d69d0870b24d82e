"""Which subscriptions take a message: a tree of topic filter levels.

A filter is stored as a path of its levels. Matching walks down the levels of the topic and follows at most two
branches at each: the level itself and `+`. With the service's eight levels that is at most 256 nodes, however many
subscriptions there are; they are never searched one after the other.

AWS's rule for `#` holds (`topics.matches` is the same rule for one filter): it takes one level or more, so `a/#`
does not take `a`. A wildcard in the first level takes no topic that starts with `$` (MQTT-4.7.2-1).

What a topic was found to match is kept until a subscription changes, for few topics and few values (`_MAX_KEPT`).

Nodes without a subscription below them are removed at once: the tree must never grow with what has gone.
"""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


_MAX_KEPT: Final = 16_384
"""Topics and values together. A publisher chooses the topics, subscribers how much each matches."""


class _Node(Generic[Key, Value]):
    __slots__ = ("children", "here")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Key, Value]] = {}
        self.here: dict[Key, Value] = {}
        """Subscriptions whose filter ends at this node."""


class FilterTree(Generic[Key, Value]):
    """Values by topic filter and key; at most one for each pair."""

    __slots__ = ("_kept", "_matches", "_root", "_size")

    def __init__(self) -> None:
        self._matches: dict[str, list[Value]] = {}
        self._kept = 0
        self._root: _Node[Key, Value] = _Node()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, topic_filter: str, key: Key, value: Value) -> None:
        """Put the value in, or in the place of the one that filter and key had."""
        self._forget_matches()
        node = self._root
        for level in topic_filter.split("/"):
            following = node.children.get(level)
            if following is None:
                following = node.children[level] = _Node()
            node = following
        if key not in node.here:
            self._size += 1
        node.here[key] = value

    def remove(self, topic_filter: str, key: Key) -> bool:
        """Take the value of filter and key out; False if there was none."""
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            following = path[-1].children.get(level)
            if following is None:
                return False
            path.append(following)
        if key not in path[-1].here:
            return False
        self._forget_matches()
        del path[-1].here[key]
        self._size -= 1
        while levels and not path[-1].here and not path[-1].children:
            path.pop()
            del path[-1].children[levels.pop()]
        return True

    def match(self, topic: str) -> Sequence[Value]:
        """Return the values of all filters that take the topic, which must be free of wildcards; not to be changed."""
        found = self._matches.get(topic)
        if found is None:
            found = self.search(topic)
            size = len(found) + 1
            if self._kept + size > _MAX_KEPT:
                self._forget_matches()
            if size <= _MAX_KEPT:
                self._matches[topic] = found
                self._kept += size
        return found

    def search(self, topic: str) -> list[Value]:
        """Do the same without keeping anything: this may be called from several threads while none changes the tree."""
        found: list[Value] = []
        nodes = [self._root]
        wildcards = not topic.startswith("$")
        for level in topic.split("/"):
            following: list[_Node[Key, Value]] = []
            for node in nodes:
                children = node.children
                if (exact := children.get(level)) is not None:
                    following.append(exact)
                if wildcards:
                    if (rest := children.get("#")) is not None:
                        found.extend(rest.here.values())
                    if (one := children.get("+")) is not None:
                        following.append(one)
            if not following:
                return found
            nodes = following
            wildcards = True
        for node in nodes:
            found.extend(node.here.values())
        return found

    def _forget_matches(self) -> None:
        if self._matches:
            self._matches.clear()
            self._kept = 0

    def nodes(self) -> int:
        """Count the nodes below the root: 0 when nothing is subscribed."""
        count = 0
        waiting = [self._root]
        while waiting:
            children = waiting.pop().children.values()
            count += len(children)
            waiting.extend(children)
        return count
