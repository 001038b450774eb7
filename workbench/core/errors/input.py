"""Errors of a caller: the request is wrong."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class InputError(WorkbenchError):
    """The request itself is wrong; sending it again unchanged cannot help."""

    code, status = "invalid_request", 400


class InvalidAmount(InputError):
    code = "invalid_amount"


class InvalidId(InputError):
    code = "invalid_settlement_id"


class InvalidPayment(InputError):
    """The payment header or body is not what agreement 4 of DESIGN describes."""

    code = "invalid_payment"


class PaymentTooLarge(InputError):
    code, status = "payment_too_large", 431


class BodyTooLarge(InputError):
    code, status = "body_too_large", 413


class TermsMismatch(InputError):
    """The signed terms are not the ones that were offered."""

    code = "terms_mismatch"


class WrongChain(InputError):
    code = "wrong_chain"


class BadSignature(InputError):
    code = "bad_signature"


class BudgetTooSmall(InputError):
    code = "budget_too_small"


class OverCeiling(InputError):
    """The purchase would cost more than the buyer allowed itself to spend."""

    code = "over_ceiling"


class DeadlinePassed(InputError):
    code = "deadline_passed"


class InsufficientInventory(InputError):
    code, status = "insufficient_inventory", 409


class OfferTaken(InputError):
    """The offer was sold: `settlement_id` in the details is the one settlement of it."""

    code, status = "offer_taken", 409


class TooManyOpen(WorkbenchError):
    """The buyer has as many open settlements as the seller allows."""

    code, status, transient = "too_many_open", 429, True


class SellerMismatch(TermsMismatch):
    """The offer pays another seller than the one that was asked for, or nobody said which."""

    code = "seller_mismatch"


class PriceRefused(TermsMismatch):
    """The offer asks for more than the price that the buyer expects."""

    code = "price_refused"


class DeadlineRefused(TermsMismatch):
    """A deadline of the offer has passed, or would lock the buyer's money for too long."""

    code = "deadline_refused"


class HeadersTooLarge(InputError):
    code, status = "headers_too_large", 431


class DuplicateHeader(InputError):
    """A header that decides something is given twice: which one counts would be chance."""

    code = "duplicate_header"


class HostNotServed(InputError):
    """The request is for a host name that this service does not have (RFC 9110, 421)."""

    code, status = "host_not_served", 421


class UnknownSettlement(InputError):
    code, status = "unknown_settlement", 404


class NotFound(InputError):
    code, status = "not_found", 404


class MethodNotAllowed(InputError):
    code, status = "method_not_allowed", 405


class InvalidSetting(InputError):
    code = "invalid_setting"


class ScenarioError(InputError):
    """A scenario that cannot be played: one line for each problem, also in `problems`."""

    code = "scenario_invalid"


class OrderRefused(InputError):
    """A fault that cannot be ordered in this run, or not any more."""

    code, status = "order_refused", 409
