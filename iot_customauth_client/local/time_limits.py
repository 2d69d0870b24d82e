"""How long a connection of the local endpoint may take for each stage that waits for its peer.

The service documents none of these but the keep alive, which holds in the stage that has no limit here. No stage that
waits for a peer may be without one: a peer that says nothing would keep a socket for ever.
"""

from typing import Final

from .talk import Stage

HANDSHAKE_SECONDS: Final = 10.0
"""From the accepted TCP connection to the end of the TLS handshake."""
CONNECT_SECONDS: Final = 10.0
"""From there to a complete CONNECT or HTTP request; and from an upgrade to a complete CONNECT."""
HTTP_IDLE_SECONDS: Final = 60.0
"""How long a connection may wait for its next HTTP request. Our own bound: the service's is not documented."""
LINGER_SECONDS: Final = 2.0
"""How long a connection that was ended waits for its peer to close too."""


def seconds_for(stage: Stage) -> float:
    """Return the limit of a stage that waits for its peer; of `FRONT`, that of the TLS handshake in it too."""
    match stage:
        case Stage.FRONT | Stage.TLS:
            return HANDSHAKE_SECONDS
        case Stage.IDLE:
            return HTTP_IDLE_SECONDS
        case _:
            return CONNECT_SECONDS
