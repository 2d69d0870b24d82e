"""Which `$aws/...` topics there are, and what a client may do with each: the table of the AWS page "Reserved topics".

Everything that starts with `$` belongs to the service. A client can publish and subscribe to these topics as far as
the page says so, and to no others; anything else "can result in a terminated connection". A device that subscribed to
a reserved topic its account did not know was seen to be disconnected with `CLIENT_ERROR`.

None of the services behind the topics is here: what may be published travels as any message does, under ordinary
grants, and nobody answers unless a test does, by `LocalEndpoint.publish`.

Only what may be done is decided here, never who may do it: that is the policy's matter.
"""

from itertools import product
from typing import Final, Literal, TypeAlias

from .routing import FilterTree

ReservedTopics: TypeAlias = Literal["documented", "any"]
"""What of `$aws/...` can be used: what the page lists, or whatever the policy allows (for topics that are newer than
this table, and for a test client that stands for a service)."""

Operations: TypeAlias = Literal["publish", "subscribe", "publish and subscribe"]

_PUBLISH: Final = "publish"
_SUBSCRIBE: Final = "subscribe"
_BOTH: Final = "publish and subscribe"

# `+` stands for a name, `#` for a name with slashes, `{a,b}` for either of these words.
_TABLE: Final[tuple[tuple[str, Operations], ...]] = (
    # asset models
    ("$aws/sitewise/asset-models/+/assets/+/properties/+", _SUBSCRIBE),
    # Device Defender
    ("$aws/things/+/defender/metrics/{json,cbor}", _PUBLISH),
    ("$aws/things/+/defender/metrics/{json,cbor}/{accepted,rejected}", _SUBSCRIBE),
    # Device Location
    ("$aws/device_location/+/get_position_estimate", _PUBLISH),
    ("$aws/device_location/+/get_position_estimate/{accepted,rejected}", _SUBSCRIBE),
    # commands
    ("$aws/commands/{things,clients}/+/executions/+/request", _SUBSCRIBE),
    ("$aws/commands/{things,clients}/+/executions/+/request/+", _SUBSCRIBE),
    ("$aws/commands/{things,clients}/+/executions/+/response/{json,cbor}", _PUBLISH),
    ("$aws/commands/{things,clients}/+/executions/+/response/{accepted,rejected}", _SUBSCRIBE),
    ("$aws/commands/{things,clients}/+/executions/+/response/{accepted,rejected}/+", _SUBSCRIBE),
    # events
    ("$aws/events/certificates/registered/+", _SUBSCRIBE),
    ("$aws/events/job/+/{completed,canceled,deleted,cancellation_in_progress,deletion_in_progress}", _SUBSCRIBE),
    ("$aws/events/jobExecution/+/{succeeded,failed,rejected,canceled,timed_out,removed,deleted}", _SUBSCRIBE),
    ("$aws/events/presence/{connected,disconnected,connect_failed}/#", _SUBSCRIBE),
    ("$aws/events/subscriptions/{subscribed,unsubscribed}/#", _SUBSCRIBE),
    ("$aws/events/{thing,thingGroup,thingType}/+/{created,updated,deleted}", _SUBSCRIBE),
    ("$aws/events/thingTypeAssociation/thing/+/+", _SUBSCRIBE),
    ("$aws/events/thingTypeAssociation/thing/+/thingType/+/{added,removed}", _SUBSCRIBE),  # page "Registry events"
    ("$aws/events/thingGroupMembership/thingGroup/+/thing/+/{added,removed}", _SUBSCRIBE),
    ("$aws/events/thingGroupHierarchy/thingGroup/+/childThingGroup/+/{added,removed}", _SUBSCRIBE),
    # fleet provisioning
    ("$aws/certificates/{create,create-from-csr}/{json,cbor}", _PUBLISH),
    ("$aws/certificates/{create,create-from-csr}/{json,cbor}/{accepted,rejected}", _SUBSCRIBE),
    ("$aws/provisioning-templates/+/provision/{json,cbor}", _PUBLISH),
    ("$aws/provisioning-templates/+/provision/{json,cbor}/{accepted,rejected}", _SUBSCRIBE),
    # jobs
    ("$aws/things/+/jobs/{get,start-next}", _PUBLISH),
    ("$aws/things/+/jobs/{get,start-next}/{accepted,rejected}", _SUBSCRIBE),
    ("$aws/things/+/jobs/+/{get,update}", _PUBLISH),
    ("$aws/things/+/jobs/+/{get,update}/{accepted,rejected}", _SUBSCRIBE),
    ("$aws/things/+/jobs/{notify,notify-next}", _SUBSCRIBE),
    # rules (also the page "Basic Ingest": behind the rule's name comes any topic)
    ("$aws/rules/+", _PUBLISH),
    ("$aws/rules/+/#", _PUBLISH),
    # secure tunneling
    ("$aws/things/+/tunnels/notify", _SUBSCRIBE),
    # shadows, without a name and with one
    ("$aws/things/+/shadow/{get,update,delete}", _BOTH),
    ("$aws/things/+/shadow/{get,update,delete}/{accepted,rejected}", _SUBSCRIBE),
    ("$aws/things/+/shadow/update/{delta,documents}", _SUBSCRIBE),
    ("$aws/things/+/shadow/name/+/{get,update,delete}", _BOTH),
    ("$aws/things/+/shadow/name/+/{get,update,delete}/{accepted,rejected}", _SUBSCRIBE),
    ("$aws/things/+/shadow/name/+/update/{delta,documents}", _SUBSCRIBE),
    # file delivery
    ("$aws/things/+/streams/+/{get,describe}/{json,cbor}", _PUBLISH),
    ("$aws/things/+/streams/+/{data,description,rejected}/{json,cbor}", _SUBSCRIBE),
)


def operations(topic: str) -> frozenset[Operations]:
    """Return what a client may do with a topic, free of wildcards, that starts with `$aws/`; nothing: there is none."""
    return frozenset(_TREE.search(topic))  # not `match`: endpoints on several threads share this tree


def can_take(topic_filter: str) -> bool:
    """Tell whether a filter, without its `$share/<name>/`, takes some topic that a client may subscribe to."""
    wanted = topic_filter.split("/")
    return any(_overlap(wanted, levels) for levels in _SUBSCRIBABLE)


def _expand(pattern: str) -> list[str]:
    levels = [level[1:-1].split(",") if level.startswith("{") else [level] for level in pattern.split("/")]
    return ["/".join(each) for each in product(*levels)]


def _overlap(wanted: list[str], levels: list[str]) -> bool:
    """Tell whether a topic exists that two filters take, by AWS's rule: `#` takes one level or more."""
    for one, other in zip(wanted, levels, strict=False):
        if "#" in (one, other):
            return True
        if one != other and "+" not in (one, other):
            return False
    return len(wanted) == len(levels)


_TREE: Final[FilterTree[str, Operations]] = FilterTree()
for _pattern, _operations in _TABLE:
    for _topic_filter in _expand(_pattern):
        _TREE.add(_topic_filter, _operations, _operations)

_SUBSCRIBABLE: Final = [
    topic_filter.split("/") for pattern, allowed in _TABLE if allowed != _PUBLISH for topic_filter in _expand(pattern)
]
