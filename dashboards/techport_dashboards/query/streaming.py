"""An answer that comes piece by piece, and lets go of the store as soon as it ends, however it ends."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Each piece is made in a thread when the client has taken the one before, so a slow client costs no memory."""

    def __init__(self, pieces: Generator[bytes], headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(pieces, 200, headers, media_type)
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.pieces.close()  # left to the garbage collector, the store would be held open for a while
