"""MQTT in WebSocket frames: the pipe behind an upgrade.

An input is one byte that says how it is cut, and frames of a client: of every kind, masked and not, fragmented, of
wrong lengths, with reserved bits. Promises:

- nothing is raised; what comes out does not depend on how the bytes were cut;
- what was put into binary frames comes out, all of it and nothing else, if nothing is wrong with the frames;
- what is written back are whole frames, and after the end nothing comes out any more.
"""

from __future__ import annotations

import random
from typing import Final

from wsproto.connection import Connection, ConnectionType

from iot_customauth_client.local.websocket_pipe import WebSocketPipe

from .cutting import cut_up
from .mutation import mutate
from .target import Outcome, Target, ensure

_OPCODES: Final = (2, 2, 2, 2, 0, 0, 1, 8, 9, 9, 10, 3, 11)


def frame(
    opcode: int, payload: bytes, mask: bytes | None = b"\x01\x02\x03\x04", *, fin: bool = True, bits: int = 0
) -> bytes:
    """One frame of RFC 6455."""
    head = bytearray((0x80 * fin | bits | opcode,))
    masked = 0 if mask is None else 0x80
    size = len(payload)
    if size < 126:
        head.append(masked | size)
    elif size < 65_536:
        head += bytes((masked | 126,)) + size.to_bytes(2, "big")
    else:
        head += bytes((masked | 127,)) + size.to_bytes(8, "big")
    if mask is None:
        return bytes(head) + payload
    repeated = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return bytes(head) + mask + mixed.to_bytes(size, "big")


def make(seed: random.Random) -> bytes:
    """Some frames, a third of the inputs without a fault."""
    good = seed.random() < 0.33
    frames: list[bytes] = []
    for _ in range(1 + seed.randrange(6)):
        size = seed.choice((0, 1, 5, 125, 126, 300)) if seed.random() < 0.99 else seed.choice((65_535, 65_536, 149_504))
        payload = seed.randbytes(size)
        if good and seed.random() < 0.3:
            at = seed.randrange(size + 1)
            frames += [frame(2, payload[:at], fin=False), frame(9, b"ping"), frame(0, payload[at:])]
            continue
        opcode = seed.choice((2, 2, 2, 9, 10)) if good else seed.choice(_OPCODES)
        if opcode >= 8:
            payload = payload[: seed.choice((0, 2, 125))] if good or seed.random() < 0.9 else payload
        if opcode == 8:
            code = seed.choice((1_000, 1_001, 1_005, 1_006, 999, 3_000, 5_000))
            payload = seed.choice((b"", code.to_bytes(2, "big"), code.to_bytes(2, "big") + b"bye \xff", b"x"))
        if opcode == 1 and seed.random() < 0.5:
            payload = "texté".encode()
        mask = seed.randbytes(4) if good or seed.random() < 0.95 else None
        bits = 0 if good or seed.random() < 0.95 else seed.choice((0x40, 0x20, 0x10))
        frames.append(frame(opcode, payload, mask, fin=good or seed.random() < 0.8, bits=bits))
    data = b"".join(frames)
    if not good and seed.random() < 0.6:
        data = mutate(data, seed)
    return bytes((seed.randrange(256),)) + data


def run(data: bytes) -> Outcome:
    """Read the frames whole and in pieces."""
    if len(data) < 2:
        return Outcome("too short")
    stream, cut = data[1:], data[0]
    whole = _read([stream])
    pieces = _read(cut_up(stream, cut, byte_by_byte=4, most=100))
    ensure(pieces[0] == whole[0], "the bytes of MQTT do not depend on how the frames were cut")
    # Which of two violations is told does: a text that is not UTF-8 is both, and the first that is seen is told.
    ensure(_kind(pieces[2]) == _kind(whole[2]), "whether it ends does not depend on how the frames were cut")
    wanted = _wanted(stream)
    if wanted is not None:
        ensure(whole[0] == wanted and whole[2] is None, "good frames carry what was put into them")
    payload, written, end = whole
    label = "open" if end is None else (end or "closed")[:48]
    return Outcome(
        f"{label}{', with MQTT' if payload else ''}{', answered' if written else ''}", max(1, len(stream) // 150)
    )


def _read(pieces: list[bytes]) -> tuple[bytes, bytes, str | None]:
    """Return what came out, what is to be written, and how it ended: None if it did not, "" for a Close."""
    pipe = WebSocketPipe()
    payload, written, end = b"", b"", None
    for piece in pieces:
        piped = pipe.receive(piece)
        if end is not None:
            ensure(not (piped.payload or piped.to_write or piped.end), "nothing comes out after the end")
            continue
        payload += piped.payload
        written += piped.to_write
        if piped.end is not None:
            end = piped.end.violation or ""
            ensure(end.isprintable() and len(end) < 400, "a violation is one short line")
    written += pipe.send([b"\xd0\x00", b"\xe0\x00"]) + pipe.close()
    ensure(pipe.close() == b"" and pipe.send([b"x"]) == b"", "a Close is the last")
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(written)
    for event in client.events():
        ensure(event is not None, "the client reads what is written")
    return payload, written, end


def _kind(end: str | None) -> str:
    return "open" if end is None else "violated" if end else "closed"


def _wanted(stream: bytes) -> bytes | None:
    """Return what good frames carry; None if there is anything odd about them."""
    at, payload, within = 0, b"", False
    while at < len(stream):
        if len(stream) < at + 6 or stream[at] & 0x70 or not stream[at + 1] & 0x80:
            return None
        opcode, fin, size = stream[at] & 0x0F, stream[at] & 0x80, stream[at + 1] & 0x7F
        if opcode not in ((0, 9, 10) if within else (2, 9, 10)) or (opcode >= 9 and (size > 125 or not fin)):
            return None
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            least = 126 if size == 126 else 65_536
            size, at = int.from_bytes(stream[at : at + width], "big"), at + width
            if size < least:
                return None
        mask, body = stream[at : at + 4], stream[at + 4 : at + 4 + size]
        if len(mask) < 4 or len(body) < size:
            return None
        if opcode in (0, 2):
            payload += bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))
            within = not fin
        at += 4 + size
    return payload


WEBSOCKET: Final = Target("websocket", 0.04, make, run, ("local/websocket_pipe.py",))
