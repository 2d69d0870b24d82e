"""The socket an endpoint listens on, and in words why it cannot have it."""

from __future__ import annotations

import errno
import socket


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to the first address of `host`, not yet listening. Port 0 is any free one.

    Raises OSError with a sentence that says what is in the way.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OSError(error.errno, f"host {host!r} cannot be listened on: {error.strerror}") from error
    except ValueError as error:  # a label over 63 characters, a NUL
        raise OSError(errno.EINVAL, f"host {host!r} cannot be listened on: it is not a host name") from error
    # A name such as localhost has an IPv6 address too, which may not exist on this machine: IPv4 first.
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free enough
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise cannot_listen(error, host, port) from error
    return listening


def cannot_listen(error: OSError, host: str, port: int) -> OSError:
    """Return an error that says in a sentence why this address cannot be listened on."""
    return OSError(error.errno, _why_not(error, host, port))


def _why_not(error: OSError, host: str, port: int) -> str:
    where = f"port {port} on {host}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is in use: another program, or another local endpoint, listens there; choose another port"
        case errno.EACCES:
            return (
                f"{where} needs root, or the right CAP_NET_BIND_SERVICE, as every port below 1024;"
                " run it as root or choose another port, such as 8443"
            )
        case errno.EADDRNOTAVAIL:
            return f"host {host} is not an address of this machine; 0.0.0.0 stands for all that it has"
        case _:
            return f"{where} cannot be listened on: {error.strerror}"
