"""The OpenAPI description of the payout service: what programs may ask, and what comes back."""

from __future__ import annotations

from typing import Any

from workbench.core.payout import State
from workbench.services.payout_input import KEY, MAX_CREDITS, USER

TEXT = {"type": "string"}
CREDITS = {"type": "integer", "minimum": 1, "maximum": MAX_CREDITS}
SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error", "message"],
        "properties": {"error": TEXT, "message": TEXT, "hint": TEXT},
    },
    "Earn": {
        "type": "object",
        "required": ["user_id", "credits"],
        "properties": {
            "user_id": {"type": "string", "pattern": f"^{USER.pattern}$"},
            "credits": CREDITS,
            "idempotency_key": {"type": "string", "pattern": f"^{KEY.pattern}$"},
        },
    },
    "PayoutRequest": {
        "allOf": [
            {"$ref": "#/components/schemas/Earn"},
            {
                "type": "object",
                "required": ["address"],
                "properties": {"address": {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}},
            },
        ]
    },
    "Payout": {
        "type": "object",
        "required": ["id", "idempotency_key", "state", "user_id", "address", "credits", "tx"],
        "properties": {
            "id": TEXT,
            "idempotency_key": TEXT,
            "state": {"type": "string", "enum": [state.value for state in State]},
            "user_id": TEXT,
            "address": TEXT,
            "credits": CREDITS,
            "tx": {"type": ["string", "null"]},
            "batch": {
                "type": "string",
                "description": "those that are paid by one transaction have it in common",
            },
            "units": {"type": "string", "description": "base units of the asset"},
            "asset": TEXT,
            "requested_at_ms": {"type": "integer"},
            "reason": TEXT,
            "replayed": {"type": "boolean"},
        },
    },
}
KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": TEXT,
    "description": "Kept for ever. The same key and request: the same answer, marked as replayed. "
    "Another request under the key: 422. The body's idempotency_key does the same.",
}
OPERATIONS: tuple[tuple[str, str, str, str, str], ...] = (
    ("post", "/v1/credits", "Give a user credits", "Earn", "201"),
    ("post", "/v1/payouts", "Request a payout", "PayoutRequest", "202"),
    ("post", "/v1/payouts:batch", "Request up to 100 payouts, each by itself", "", "200"),
    ("get", "/v1/payouts", "Payouts; ?state=, ?user_id=, ?limit=", "", "200"),
    ("get", "/v1/payouts/{id}", "One payout, its attempts and history", "", "200"),
    ("post", "/v1/payouts/{id}:cancel", "Take it back, if it is not too late", "", "200"),
    ("post", "/v1/payouts/{id}:approve", 'Approve a held payout; {"by": …}', "", "200"),
    ("post", "/v1/payouts/{id}:refund", 'Give back what lost its nonce; {"by": …}', "", "200"),
    ("get", "/v1/balances/{user_id}", "Earned, held, paid and free credits", "", "200"),
    ("get", "/v1/transfers", "The ledger's lines; ?after=, ?account=, ?limit=", "", "200"),
    ("get", "/v1/reconciliation", "The newest comparison with the chain", "", "200"),
    ("post", "/v1/signer:release", "A person has looked at a quarantined signer", "", "200"),
    ("post", "/earn", "As /v1/credits; forms too", "Earn", "200"),
    ("post", "/payout", "As /v1/payouts; forms too", "PayoutRequest", "200"),
    ("get", "/user/{user_id}", "Balance and history: JSON if asked for, else a page", "", "200"),
    ("get", "/health", "Payer, token mode, what one credit is worth", "", "200"),
    ("get", "/livez", "The process answers", "", "200"),
    ("get", "/readyz", "503 while something needs the operator", "", "200"),
    ("get", "/metrics", "Prometheus text", "", "200"),
    ("get", "/events", "Facts; ?after=", "", "200"),
)


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for method, path, summary, body, status in OPERATIONS:
        operation: dict[str, Any] = {"summary": summary, "responses": _responses(status)}
        names = [part[1:-1] for part in path.replace(":", "/").split("/") if part[:1] == "{"]
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": TEXT} for name in names
        ]
        if body:
            schema = {"schema": {"$ref": f"#/components/schemas/{body}"}}
            content = {"application/json": schema}
            if not path.startswith("/v1"):
                content["application/x-www-form-urlencoded"] = schema
            operation["requestBody"] = {"required": True, "content": content}
            operation["parameters"].append(KEY_PARAMETER)
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Credits payouts", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _responses(status: str) -> dict[str, Any]:
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    failed = {"description": "An error", "content": {"application/json": error}}
    return {status: {"description": "Done"}, "default": failed}
