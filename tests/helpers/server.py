"""What the real servers of tests have in common."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class Server:
    """One that is there within a `with` block, with a folder that goes with it."""

    folder: Path

    def start(self) -> None:
        """Start it, and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it in an orderly way."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it at once, as a crash would."""
        raise NotImplementedError

    def restart(self) -> None:
        """Stop it in an orderly way and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and delete its folder; it cannot be started again."""
        self.kill()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
