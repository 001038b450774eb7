"""HTTP in process: a request to a known host is a call of that service's `handle`."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from workbench.core.errors import PeerUnreachable
from workbench.core.ports import Request, Response, Service


class InProcessHttp:
    """The Http port over a table of services by base URL, such as http://seller."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}

    async def send(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        service = self.services.get(f"{parts.scheme}://{parts.netloc}")
        if service is None:
            raise PeerUnreachable(f"nobody answers at {parts.scheme}://{parts.netloc}.")
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return await service.handle(replace(request, url=parts.path or "/", query=query))
