"""The last will: what the service publishes for a device that went away without saying so."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ._suggest import unknown
from ._validation import refuse
from .errors import ConfigurationError
from .limits import MAX_PAYLOAD_BYTES
from .topics import check_topic_name


class Will(BaseModel):
    """A last will: `topic`, `payload` (bytes; text is sent as UTF-8; at most 128 KiB), `qos` 0 or 1, `retain`.

    The service refuses the whole connection if the policy does not allow publishing to the topic (with `retain`,
    `iot:RetainPublish` as well), and for QoS 2. Source: AWS IoT developer guide, "MQTT" and "Lifecycle events".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    topic: str
    payload: bytes = Field(default=b"", repr=False)
    qos: int = Field(default=0, ge=0, le=1)
    retain: bool = False

    def __init__(self, topic: str | None = None, /, **values: Any) -> None:
        # `Will("devices/1/gone", payload=...)` reads better than `Will(topic=...)`; both work.
        for name in values:
            if name not in type(self).model_fields:
                raise ConfigurationError(unknown("will field", name, type(self).model_fields), code="will_invalid")
        try:
            super().__init__(**(values if topic is None else {"topic": topic, **values}))
        except ValidationError as error:
            refusal = refuse(error, code="will_invalid")
        else:
            return
        raise refusal  # out here, so that its __context__ is not pydantic's error, which holds the payload

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):  # pydantic's own refusal shows the value
            raise ConfigurationError(f"{name} cannot be changed: make a new Will")
        super().__setattr__(name, value)

    @field_validator("topic", mode="after")
    @classmethod
    def _check_topic(cls, value: str) -> str:
        check_topic_name(value, what="name")
        return value

    @field_validator("payload", mode="after")
    @classmethod
    def _check_payload(cls, value: bytes) -> bytes:
        if len(value) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"has {len(value)} bytes, AWS IoT Core allows {MAX_PAYLOAD_BYTES}")
        return value
