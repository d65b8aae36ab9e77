"""Serves an application on a free port of this machine, with threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import waitress
from flask import Flask


@contextmanager
def serving(app: Flask, port: int = 0) -> Iterator[str]:
    """Serve *app* while the block runs, and yield its URL."""
    server = waitress.create_server(app, host="127.0.0.1", port=port, threads=4)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}/"
    finally:
        server.task_dispatcher.shutdown()
        for channel in [*server.active_channels.values()]:
            channel.will_close = True  # browsers keep their connections open
        server.close()
        thread.join(timeout=30)
