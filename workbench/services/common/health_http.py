"""`/health`, `/livez` and `/readyz`, equal on all four services."""

from __future__ import annotations

from typing import Any

from workbench.core.ports import Request, Response
from workbench.services.common.health import Health
from workbench.services.common.routes import RouteHandler, Routes


def add_probes(routes: Routes, health: Health, readyz: RouteHandler | None = None) -> None:
    """Add `/livez` (200 while the process answers) and `/readyz` (503 if a check is red).

    `readyz`: a handler of the service that reports more.
    """

    async def livez(request: Request) -> Response:
        return Response.json(200, {"status": "ok"})

    async def plain(request: Request) -> Response:
        return ready(health, to_all=health.is_public)

    routes.add("GET", "/livez", livez).add("GET", "/readyz", readyz or plain)


def ready(health: Health, *, to_all: bool, **more: Any) -> Response:
    """Return 503 if a check is red, else 200. `to_all`: without the reasons of alarms."""
    is_ready = health.is_ready()
    alarms = health.shown(to_all=to_all)
    told = {"status": "ready" if is_ready else "not ready", **more, "alarms": alarms}
    return Response.json(200 if is_ready else 503, told)


def condition(health: Health, *, to_all: bool) -> dict[str, Any]:
    """Return the part of `/health` about checks: status, alarms by name, and every check."""
    alarms = health.shown(to_all=to_all)
    return {
        "status": "degraded" if alarms else "ok",
        "alarms": alarms,
        "checks": health.report(),
    }
