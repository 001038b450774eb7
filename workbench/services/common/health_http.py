"""`/health`, `/livez` and `/readyz`, the same on all four services."""

from __future__ import annotations

from typing import Any

from workbench.core.ports import Request, Response
from workbench.services.common.health import Health
from workbench.services.common.routes import RouteHandler, Routes


def add_probes(routes: Routes, health: Health, readyz: RouteHandler | None = None) -> None:
    """`/livez`: 200 while the process answers. `/readyz`: 503 where a check is red.

    `readyz`: a service's own, which says more.
    """

    async def livez(request: Request) -> Response:
        return Response.json(200, {"status": "ok"})

    async def plain(request: Request) -> Response:
        return ready(health, to_all=health.is_public)

    routes.add("GET", "/livez", livez).add("GET", "/readyz", readyz or plain)


def ready(health: Health, *, to_all: bool, **more: Any) -> Response:
    """503 where a check is red, else 200. `to_all`: without the alarms' reasons."""
    is_ready = health.is_ready()
    alarms = health.shown(to_all=to_all)
    told = {"status": "ready" if is_ready else "not ready", **more, "alarms": alarms}
    return Response.json(200 if is_ready else 503, told)


def condition(health: Health, *, to_all: bool) -> dict[str, Any]:
    """What `/health` says of the checks: status, alarms by name, and every check."""
    alarms = health.shown(to_all=to_all)
    return {
        "status": "degraded" if alarms else "ok",
        "alarms": alarms,
        "checks": health.report(),
    }
