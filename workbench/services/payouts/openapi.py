"""The OpenAPI description of the payout service: requests, answers and webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.core.ledger import TransferKind
from workbench.core.payout import PayoutState
from workbench.core.webhooks import DELIVERED, ID, SIGNATURE, TIMESTAMP
from workbench.services.payouts.input import KEY, MAX_CREDITS, MAX_REASON, USER
from workbench.services.payouts.resolve import OUTCOMES
from workbench.services.payouts.wait import MOST_S

BATCH = 100
"""Most payouts in one request."""
PAGE = 1_000
"""Most rows of a list."""
SchemaObject = dict[str, Any]

TEXT: SchemaObject = {"type": "string"}
FLAG: SchemaObject = {"type": "boolean"}
COUNT: SchemaObject = {"type": "integer", "minimum": 0}
UNITS: SchemaObject = {
    "type": "string",
    "pattern": "^-?[0-9]+$",
    "description": "base units, as text",
}
AFTER: SchemaObject = {**COUNT, "maximum": 10**15 - 1}
MAYBE: SchemaObject = {"type": ["string", "null"]}
USER_ID: SchemaObject = {
    "type": "string",
    "pattern": f"^{USER.pattern}$".replace(r"\w", r"\p{L}\p{N}_"),
    "description": "Compared in Unicode's form NFC. Case, compatibility forms (NFKC) and letters "
    "of other scripts that look alike are not unified.",
}
"""Letters and digits of any alphabet. `\\w` means this in Python, but not in other languages."""
CREDITS: SchemaObject = {"type": "integer", "minimum": 1, "maximum": MAX_CREDITS}
ADDRESS: SchemaObject = {
    "type": "string",
    "pattern": "^0x[0-9a-fA-F]{40}$",
    "description": "In mixed case its checksum (ERC-55) must be right. Neither zero, nor the "
    "paying account, nor the token.",
}
ITEMS_KEY: SchemaObject = {"type": "string", "pattern": f"^{KEY.pattern}$"}
BODY_KEY: SchemaObject = {
    "anyOf": [ITEMS_KEY, {"enum": ["", None]}],
    "description": "As the header Idempotency-Key; where both are given, they must be equal.",
}
STATE: SchemaObject = {"type": "string", "enum": [state.value for state in PayoutState]}


def _object(required: dict[str, SchemaObject], **optional: SchemaObject) -> SchemaObject:
    known = required | optional
    return {"type": "object", "required": list(required), "properties": known}


def _list(of: SchemaObject) -> SchemaObject:
    return {"type": "array", "items": of}


def _ref(name: str) -> SchemaObject:
    return {"$ref": f"#/components/schemas/{name}"}


REASON: SchemaObject = {"type": "string", "minLength": 1, "maxLength": MAX_REASON}
EARN = {"user_id": USER_ID, "credits": CREDITS}
ASK = {**EARN, "address": ADDRESS}
ALARMS: SchemaObject = {"type": "object", "additionalProperties": TEXT}
AMOUNTS: SchemaObject = {"type": "object", "additionalProperties": UNITS}
SCHEMAS: dict[str, SchemaObject] = {
    "Error": _object({"error": TEXT, "message": TEXT}, hint=TEXT),
    "Earn": _object(EARN, idempotency_key=BODY_KEY),
    "PayoutRequest": _object(ASK, idempotency_key=BODY_KEY),
    "PayoutBatch": _object(
        {
            "payouts": {
                **_list(_object({"idempotency_key": {**TEXT, "minLength": 1}})),
                "minItems": 1,
                "maxItems": BATCH,
                "description": "Each a PayoutRequest with a key of its own. What is wrong with one "
                "is reported at its place in the answer, and does not stop the others.",
            }
        }
    ),
    "By": _object({"by": {**USER_ID, "description": "The person who says so."}}),
    "Resolve": _object(
        {
            "as": {"type": "string", "enum": list(OUTCOMES)},
            "by": {**USER_ID, "description": "The person who says so."},
            "why": REASON,
        }
    ),
    "Release": _object({}, by={**USER_ID, "description": "The person who says so."}, why=REASON),
    "Earned": _object(
        {**EARN, "earned": CREDITS, "credits": COUNT, "idempotency_key": TEXT}, replayed=FLAG
    ),
    "Payout": _object(
        {
            "id": TEXT,
            "idempotency_key": TEXT,
            "state": STATE,
            "user_id": TEXT,
            "address": TEXT,
            "credits": CREDITS,
            "tx": MAYBE,
            "units": UNITS,
            "amount": {**TEXT, "description": "the units, as people read them"},
            "asset": {**TEXT, "description": "CAIP-19-like: eip155:<chain>/native or /erc20:<at>"},
            "requested_at_ms": COUNT,
        },
        reason=TEXT,
        explorer=TEXT,
        batch={**TEXT, "description": "those paid by one transaction have it in common"},
        replayed=FLAG,
        now={
            "type": "object",
            "description": "of a replay: the payout as it is by now, beside the first answer",
        },
    ),
    "PayoutInFull": {
        "allOf": [
            _ref("Payout"),
            _object(
                {
                    "history": _list(
                        _object({"type": TEXT, "at_ms": COUNT}, outcome=TEXT, by=TEXT, why=TEXT)
                    )
                },
                transaction=_object(
                    {
                        "nonce": COUNT,
                        "state": TEXT,
                        "block": {"type": ["integer", "null"]},
                        "attempts": _list(TEXT),
                    }
                ),
            ),
        ]
    },
    "Payouts": _object({"payouts": _list(_ref("Payout"))}),
    "Answers": _object({"payouts": _list(_object({"status": COUNT}))}),
    "User": _object(
        {
            "user_id": TEXT,
            "known": {**FLAG, "description": "whether credits were ever awarded to this user"},
            "credits": COUNT,
            "held": COUNT,
            "payouts": _list(_ref("Payout")),
        }
    ),
    "Balance": _object(
        {
            "user_id": TEXT,
            "known": {**FLAG, "description": "whether credits were ever awarded to this user"},
            "credits": COUNT,
            "held": COUNT,
            "paid": COUNT,
            "earned": COUNT,
        }
    ),
    "Transfers": _object(
        {
            "transfers": _list(
                _object(
                    {
                        "seq": COUNT,
                        "hash": TEXT,
                        "id": TEXT,
                        "kind": {"type": "string", "enum": [kind.value for kind in TransferKind]},
                        "debit": TEXT,
                        "credit": TEXT,
                        "amount": UNITS,
                        "pending_id": MAYBE,
                        "reason": TEXT,
                        "ref": TEXT,
                        "at_ms": COUNT,
                    }
                )
            )
        }
    ),
    "Reconciliation": _object(
        {"block": {"type": ["integer", "null"]}},
        settled=FLAG,
        right=FLAG,
        chain=AMOUNTS,
        ledger=AMOUNTS,
        booked=AMOUNTS,
        strange=_list(TEXT),
    ),
    "Released": _object({"released": FLAG}),
    "Webhooks": _object({"webhooks": _list(_ref("Webhook"))}),
    "Webhook": _object(
        {
            "id": TEXT,
            "place": {**TEXT, "description": "of its URL, what may be shown"},
            "state": TEXT,
            "told": {**COUNT, "description": "the number of the newest fact that it knows"},
            "waiting": COUNT,
            "failures": COUNT,
        },
        since_ms=COUNT,
        next_ms=COUNT,
        reason=TEXT,
    ),
    "After": _object({}, after={**AFTER, "description": "a fact's number: again, from behind it"}),
    "Message": _object(
        {
            "type": {"type": "string", "enum": sorted(DELIVERED)},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": _object(
                {
                    "seq": {**COUNT, "description": "its number in the journal"},
                    "subject": TEXT,
                    "at_ms": COUNT,
                },
                payout=_object(
                    dict.fromkeys(("id", "idempotency_key", "user_id", "address", "asset"), TEXT)
                    | {"credits": CREDITS, "units": UNITS}
                ),
            ),
        }
    ),
    "Health": _object(
        {
            "status": {"type": "string", "enum": ["ok", "degraded"]},
            "payer": TEXT,
            "chain_id": COUNT,
            "token_mode": FLAG,
            "token": MAYBE,
            "symbol": TEXT,
            "decimals": COUNT,
            "units_per_credit": UNITS,
            "one_credit": TEXT,
            "alarms": ALARMS,
            "checks": {"type": "object", "additionalProperties": _object({"ok": FLAG})},
        }
    ),
    "Alive": _object({"status": TEXT}),
    "Ready": _object({"status": TEXT, "role": TEXT, "alarms": ALARMS}),
    "Events": _object({"events": _list(_object({"seq": COUNT})), "next": COUNT, "last": COUNT}),
}
HEADER_KEY: SchemaObject = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": TEXT,
    "description": "Kept for ever. The same key and request: the same answer, marked as replayed. "
    "Another request under the key: 422. The body's idempotency_key does the same.",
}
PREFER: SchemaObject = {
    "name": "Prefer",
    "in": "header",
    "schema": TEXT,
    "description": f"wait=N (RFC 7240): up to N seconds, at most {MOST_S}, until the payout has a "
    "transaction; for one payout, until it has ended. /payout waits for a few seconds by itself.",
}
WAITING = ("/payout", "/v1/payouts", "/v1/payouts/{id}")
LIMIT: SchemaObject = {"type": "integer", "minimum": 1, "maximum": PAGE}
STATES: SchemaObject = {"type": "array", "items": STATE, "minItems": 1}
ONLY_TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class _Operation:
    """One operation. `body`, `answer`: names of schemas. `status`: of success. `query`: parameters
    by name.

    `forms`: True if the body may be a form and a browser gets a page.
    """

    method: str
    path: str
    summary: str
    answer: str
    body: str = ""
    status: str = "200"
    query: tuple[tuple[str, SchemaObject], ...] = ()
    forms: bool = False


_O = _Operation
LISTED = (("state", STATES), ("user_id", USER_ID), ("limit", LIMIT))
LINES = (("after", AFTER), ("account", TEXT), ("limit", LIMIT))
OPERATIONS: tuple[_Operation, ...] = (
    _O("post", "/v1/credits", "Give a user credits", "Earned", "Earn", "201"),
    _O("post", "/v1/payouts", "Request a payout", "Payout", "PayoutRequest", "202"),
    _O("post", "/v1/payouts:batch", f"Up to {BATCH} payouts, each by itself and under its own key",
       "Answers", "PayoutBatch"),
    _O("get", "/v1/payouts", "Payouts, newest first", "Payouts", query=LISTED),
    _O("get", "/v1/payouts/{id}", "One payout, its attempts and history", "PayoutInFull"),
    _O("post", "/v1/payouts/{id}:cancel", "Take it back, if it is not too late", "Payout"),
    _O("post", "/v1/payouts/{id}:approve", "Approve a held payout", "Payout", "By"),
    _O("post", "/v1/payouts/{id}:refund", "Give back what lost its nonce", "Payout", "By"),
    _O("post", "/v1/payouts/{id}:resolve", "A person decides what no program can", "Payout",
       "Resolve"),
    _O("get", "/v1/balances/{user_id}", "Earned, held, paid and free credits", "Balance"),
    _O("get", "/v1/transfers", "The ledger's lines", "Transfers", query=LINES),
    _O("get", "/v1/reconciliation", "The newest comparison with the chain", "Reconciliation"),
    _O("post", "/v1/signer:release", "A person has looked at a quarantined signer", "Released",
       "Release"),
    _O("get", "/v1/webhooks", "Webhook subscribers: position and last failure", "Webhooks"),
    _O("post", "/v1/webhooks/{id}:resume", "Go on at once, or once more", "Webhooks", "After"),
    _O("post", "/earn", "As /v1/credits", "Earned", "Earn", forms=True),
    _O("post", "/payout", "As /v1/payouts", "Payout", "PayoutRequest", forms=True),
    _O("get", "/user/{user_id}", "Balance and history: JSON if asked for, else a page", "User",
       forms=True),
    _O("get", "/health", "Payer, token mode, what one credit is worth", "Health"),
    _O("get", "/livez", "The process answers", "Alive"),
    _O("get", "/readyz", "503 while something needs the operator", "Ready"),
    _O("get", "/metrics", "Prometheus text", ONLY_TEXT),
    _O("get", "/events", "Facts that this service told", "Events", query=(("after", AFTER),)),
)  # fmt: skip


def openapi() -> SchemaObject:
    """Return the document (OpenAPI 3.1)."""
    paths: dict[str, SchemaObject] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Credits payouts", "version": "1"},
        "paths": paths,
        "webhooks": {"fact": {"post": _webhook()}},
        "security": [{}, {"key": []}, {"password": []}],
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "The key again."},
            },
        },
    }


def _operation(each: _Operation) -> SchemaObject:
    schemas = {"id": TEXT, "user_id": USER_ID}
    names = [name for name in schemas if f"{{{name}}}" in each.path]
    parameters = [_parameter(name, "path", schemas[name]) for name in names]
    parameters += [_parameter(name, "query", schema) for name, schema in each.query]
    told: SchemaObject = {"summary": each.summary, "responses": _responses(each)}
    if each.body:
        schema = {"schema": _ref(each.body)}
        content = {"application/json": schema}
        if each.forms:
            content["application/x-www-form-urlencoded"] = schema
        told["requestBody"] = {"required": bool(SCHEMAS[each.body]["required"]), "content": content}
        parameters += [HEADER_KEY] if each.body in ("Earn", "PayoutRequest") else []
    waits = each.path in WAITING and not each.query
    return {**told, "parameters": [*parameters, PREFER] if waits else parameters}


def _parameter(name: str, place: str, schema: SchemaObject) -> SchemaObject:
    # `state=held,sent`, not a parameter given twice.
    listed = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return {"name": name, "in": place, "required": place == "path", "schema": schema, **listed}


def _webhook() -> SchemaObject:
    """Return the description of a webhook message (WEBHOOK_URLS)."""
    return {
        "summary": "A fact, signed as Standard Webhooks 1.0 says; at least once, in order",
        "parameters": [
            {**_parameter(name, "header", TEXT), "required": True}
            for name in (ID, TIMESTAMP, SIGNATURE)
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("Message")}},
        },
        "responses": {
            "2XX": {"description": "Taken: the next one follows"},
            "410": {"description": "Nothing more is sent until somebody resumes it"},
            "default": {"description": "Sent again later"},
        },
    }


def _responses(each: _Operation) -> SchemaObject:
    page = {"text/html": {"schema": TEXT}}
    pages = page if each.forms else {}
    if each.answer == ONLY_TEXT:
        done: SchemaObject = {ONLY_TEXT: {"schema": TEXT}}
    else:
        done = {"application/json": {"schema": _ref(each.answer)}}
    told = {each.status: {"description": "Done", "content": {**done, **pages}}}
    if each.path.endswith(":cancel"):
        told["202"] = {"description": "A no-op of the same nonce is on its way", "content": done}
    if each.path == "/readyz":
        told["503"] = {"description": "Not ready: see the alarms", "content": done}
    if each.forms and each.method == "post":
        told["303"] = {"description": "To the user's page, for who wants HTML"}
    failed = {"application/json": {"schema": _ref("Error")}, **page}
    return {**told, "default": {"description": "An error", "content": failed}}
