"""Errors of credits, payouts and their ledger."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError
from workbench.core.errors.input import InputError


class InvalidUser(InputError):
    code = "invalid_user"


class InvalidCredits(InputError):
    code = "invalid_credits"


class InvalidAddress(InputError):
    code = "invalid_address"


class InvalidKey(InputError):
    """An idempotency key that is none, or two that differ."""

    code = "invalid_idempotency_key"


class KeyReused(InputError):
    """The key stands for another request."""

    code, status = "idempotency_key_reused", 422


class InsufficientCredits(InputError):
    """The account does not hold so much that is free."""

    code, status = "insufficient_credits", 409


class OverLimit(InputError):
    """More in a day than the operator allows."""

    code, status = "over_limit", 409


class UnknownPayout(InputError):
    code, status = "unknown_payout", 404


class PayoutEnded(InputError):
    """Too late: the payout has come to its end, or cannot be taken back any more."""

    code, status = "payout_ended", 409


class KeyNeeded(InputError):
    """Off loopback, whoever has no API key may not do this."""

    code, status = "api_key_needed", 401


class TooManyWrongKeys(WorkbenchError):
    """Wrong API keys came from this address: it must wait."""

    code, status, transient = "too_many_wrong_keys", 429, True


class CrossSite(InputError):
    """A form on somebody else's page, sent by a browser of ours."""

    code, status = "cross_site", 403


class LedgerRefused(WorkbenchError):
    """A transfer against the rules of double entry. Always a defect, never input."""

    code = "ledger_refused"


class LedgerBroken(WorkbenchError):
    """What the ledger says is not what was written, or not what the chain says."""

    code = "ledger_broken"


class Quarantined(WorkbenchError):
    """The signer stands still until a person has looked."""

    code, status = "signer_quarantined", 503


class PayoutAltered(WorkbenchError):
    """A payout in the database is not what the journal says: it was not signed."""

    code = "payout_altered"


class SigningRefused(WorkbenchError):
    """The bytes are not the payment that was decided: they were not signed."""

    code = "signing_refused"
