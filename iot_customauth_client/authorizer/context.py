"""What is known about a request besides action and resource: the values behind condition keys and variables.

Three things must be told apart. A key can have *values*; it can be *absent* from the request, for which IAM has
rules (no will, no client id on HTTPS); or it can be *unknown* to this code or its caller, and then nothing may be
granted because of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_THING_NAME = "iot:connection.thing.thingname"


@dataclass(frozen=True, slots=True)
class Context:
    """The request as policy conditions and variables see it.

    client_id: the client id of the connection; None on HTTPS, which has none (the key is then absent).
    source_ip: the address of the client as text; None if the caller does not know it (the key is then unknown).
    connect_attributes: `PersistentConnect` if the client asked for a session that outlives the connection,
        `LastWill` if it sent a will (AWS page "Connect policy examples").
    last_will_topic: the ARN of the will's topic (see `topic_arn`), None without a will.
    domain_name: the host name by which the client connected; None if the caller does not know it (the key is then
        unknown). AWS page "Basic AWS IoT Core policy variables".
    thing_name: of the thing that is attached to the client; None if none can be (the keys are then unknown). AWS page
        "Thing policy variables".

    Raises ValueError if last_will_topic is not an ARN: the service compares ARNs, a bare topic would never match.
    """

    client_id: str | None
    source_ip: str | None
    connect_attributes: frozenset[str] = frozenset()
    last_will_topic: str | None = None
    domain_name: str | None = field(default=None, kw_only=True)
    thing_name: str | None = field(default=None, kw_only=True)
    variables: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """Values for `${...}` in policies, by lower-case name: IAM ignores the case of key names."""

    def __post_init__(self) -> None:
        if self.last_will_topic is not None and not self.last_will_topic.startswith("arn:"):
            raise ValueError(
                "last_will_topic must be the ARN of the will's topic: use topic_arn(region, account, topic)"
            )
        known = (
            ("iot:clientid", self.client_id),
            ("aws:sourceip", self.source_ip),
            ("iot:domainname", self.domain_name),
            (_THING_NAME, self.thing_name),
        )
        values = MappingProxyType({name: value for name, value in known if value is not None})
        object.__setattr__(self, "variables", values)

    def values(self, key: str) -> tuple[str, ...] | None:
        """Return the values of a condition key: `()` if it is absent, None if it is unknown."""
        match key.lower():
            case "iot:clientid":
                return _as_values(self.client_id)
            case "iot:lastwilltopic":
                return _as_values(self.last_will_topic)
            case "iot:connectattributes":
                return tuple(self.connect_attributes)
            case "aws:sourceip" if self.source_ip is not None:
                return (self.source_ip,)
            case "iot:domainname" if self.domain_name is not None:
                return (self.domain_name,)
            case name if name == _THING_NAME and self.thing_name is not None:
                return (self.thing_name,)
            case "iot:connection.thing.isattached" if self.thing_name is not None:
                return ("true",)
            case _:
                return None


def _as_values(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
