"""Errors of credits, payouts and their ledger."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError
from workbench.core.errors.input import InputError


class InvalidUser(InputError):
    """The user id is empty, too long, or has forbidden characters."""

    code = "invalid_user"


class InvalidCredits(InputError):
    """The number of credits is not a positive whole number in range."""

    code = "invalid_credits"


class InvalidAddress(InputError):
    """The address is not a valid EVM address, or its checksum is wrong."""

    code = "invalid_address"


class InvalidKey(InputError):
    """The idempotency key is malformed, or the request has two different ones."""

    code = "invalid_idempotency_key"


class KeyReused(InputError):
    """The idempotency key belongs to an earlier, different request."""

    code, status = "idempotency_key_reused", 422


class InsufficientCredits(InputError):
    """The account does not have enough free credits."""

    code, status = "insufficient_credits", 409


class OverLimit(InputError):
    """The payout is above the operator's daily limit."""

    code, status = "over_limit", 409


class UnknownPayout(InputError):
    """No payout has this id."""

    code, status = "unknown_payout", 404


class PayoutEnded(InputError):
    """The payout has ended, or can no longer be cancelled."""

    code, status = "payout_ended", 409


class KeyNeeded(InputError):
    """The request needs an API key, since it does not come over loopback."""

    code, status = "api_key_needed", 401


class TooManyWrongKeys(WorkbenchError):
    """This address sent too many wrong API keys and must wait."""

    code, status, transient = "too_many_wrong_keys", 429, True


class CrossSite(InputError):
    """A browser sent a form that belongs to another site."""

    code, status = "cross_site", 403


class LedgerRefused(WorkbenchError):
    """A transfer violates the rules of double entry. Always a defect, never input."""

    code = "ledger_refused"


class LedgerBroken(WorkbenchError):
    """The ledger differs from what was written, or from the chain."""

    code = "ledger_broken"


class Quarantined(WorkbenchError):
    """The signer is stopped until a person has checked it."""

    code, status = "signer_quarantined", 503


class PayoutAltered(WorkbenchError):
    """A payout in the database differs from the journal. It was not signed."""

    code = "payout_altered"


class SigningRefused(WorkbenchError):
    """The bytes are not the decided payment. They were not signed."""

    code = "signing_refused"
