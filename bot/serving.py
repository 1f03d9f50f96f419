"""The socket and the web server of the program, and what is said when it cannot start."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class StartError(Exception):
    """The program cannot start: a sentence for whoever started it."""


def listen(host: str, port: int) -> socket.socket:
    """The socket of the HTTP side, bound before anything is started. StartError when there is no such address free."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise StartError(
            f"Nothing can listen at {host}:{port} ({error.strerror}): end what uses it, or set LOCKTENDER_PORT and "
            "LOCKTENDER_HOST to an address that is free."
        ) from error
    return bound


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: `run` has its own, and drains more than connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
