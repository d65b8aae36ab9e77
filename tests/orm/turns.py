"""A proxy that counts how often a client waits for its server."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_QUIET = 0.025
"""Seconds of silence after which it is looked whether the client waits."""

_SIGNS = ("State", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


@dataclass
class Turns:
    """Passes one connection at a time on to a Unix socket.

    Answers are held back until the client, which is the main thread, waits for them. So
    *count* is the number of network round trips, whatever the timing.
    """

    target: str
    count: int = 0
    port: int = 0
    _listening: socket.socket = field(default_factory=socket.socket)

    def start(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(self.target)
                self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        held, before = b"", None
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            while True:
                found = ready.select(_QUIET if held else None)
                now = None if found else _asleep()
                if now is not None and now == before:
                    self.count += 1
                    client.sendall(held)
                    held, now = b"", None
                before = now
                for key, _ in found:
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    if key.fileobj is client:
                        server.sendall(data)
                    else:
                        held += data


def _asleep() -> list[str] | None:
    """Return how the main thread sleeps, None if it is awake.

    One that has no processor is awake; one that waits for the interpreter wakes up
    again and again, so what is returned is never the same twice. Elsewhere than on
    Linux silence has to do.
    """
    status = Path(f"/proc/self/task/{threading.main_thread().native_id}/status")
    if not status.exists():
        return []
    lines = (line.partition(":") for line in status.read_text().splitlines())
    signs = {name: told.strip() for name, _, told in lines if name in _SIGNS}
    return list(signs.values()) if signs["State"].startswith("S") else None


@contextmanager
def counting_turns(target: str) -> Iterator[Turns]:
    """Run a proxy in front of the Unix socket *target*."""
    proxy = Turns(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
