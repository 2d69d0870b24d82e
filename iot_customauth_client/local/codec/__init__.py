"""MQTT 3.1.1 and MQTT 5 between bytes and values, without any I/O, for the local endpoint.

`Decoder.feed` turns what a peer sent into packets and `encode` turns packets into what to send. Reading is strict:
the endpoint is where a client's mistakes are meant to be found, so whatever the specification forbids is refused with
the number of the rule. No input makes it raise anything but `CodecError`, loop, or hold more than one packet's bytes.

    packet_types      the two versions, the numbers of the packets
    reason_codes      table: which code may stand in which packet
    properties        table: which property may stand where, and with which values
    packets           one class for each control packet
    violations        table: the numbers of the rules
    rules             what the fields of one packet may be
    primitives        numbers, strings and binary data on the wire
    property_block    the properties of one packet on the wire
    encode, decode    packets to bytes and back
    decoder           the state of one direction of one connection
"""

from .decoder import DEFAULT_MAX_PACKET_BYTES, Decoder
from .encode import encode
from .errors import CodecError
from .packet_types import Version
from .packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Will,
)
from .properties import NO_PROPERTIES, Properties, Property, PropertyValue
from .reason_codes import ReasonCode

__all__ = [
    "DEFAULT_MAX_PACKET_BYTES",
    "NO_PROPERTIES",
    "Auth",
    "CodecError",
    "ConnAck",
    "Connect",
    "Decoder",
    "Disconnect",
    "Packet",
    "PingReq",
    "PingResp",
    "Properties",
    "Property",
    "PropertyValue",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "ReasonCode",
    "SubAck",
    "Subscribe",
    "SubscribeRequest",
    "UnsubAck",
    "Unsubscribe",
    "Version",
    "Will",
    "encode",
]
