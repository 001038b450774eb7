"""Errors of a caller: the request is wrong."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class InputError(WorkbenchError):
    """The request is wrong. The same request cannot succeed later."""

    code, status = "invalid_request", 400


class InvalidAmount(InputError):
    """The amount is not a number of base units or tokens, or out of range."""

    code = "invalid_amount"


class InvalidId(InputError):
    """The settlement id is not 0x and 64 hex digits."""

    code = "invalid_settlement_id"


class InvalidPayment(InputError):
    """The payment header or body is not as `core.x402` describes it."""

    code = "invalid_payment"


class PaymentTooLarge(InputError):
    """The payment header is longer than `MAX_HEADER_BYTES`."""

    code, status = "payment_too_large", 431


class BodyTooLarge(InputError):
    """The body of the request is too large."""

    code, status = "body_too_large", 413


class TermsMismatch(InputError):
    """The signed terms differ from the offered terms."""

    code = "terms_mismatch"


class WrongChain(InputError):
    """The request, or the node, is for another chain."""

    code = "wrong_chain"


class BadSignature(InputError):
    """The signature is not a canonical signature of the named account."""

    code = "bad_signature"


class BudgetTooSmall(InputError):
    """The signed EURC budget cannot pay for the required USDC."""

    code = "budget_too_small"


class OverCeiling(InputError):
    """The purchase costs more than the buyer's own limit."""

    code = "over_ceiling"


class DeadlinePassed(InputError):
    """The deadline has passed."""

    code = "deadline_passed"


class InsufficientInventory(InputError):
    """The seller does not hold enough of the asset."""

    code, status = "insufficient_inventory", 409


class OfferTaken(InputError):
    """The offer was already sold. `settlement_id` in the details is its only settlement."""

    code, status = "offer_taken", 409


class TooManyOpen(WorkbenchError):
    """The buyer already has as many open settlements as the seller allows."""

    code, status, transient = "too_many_open", 429, True


class SellerMismatch(TermsMismatch):
    """The offer pays another seller than the expected one, or none is configured."""

    code = "seller_mismatch"


class PriceRefused(TermsMismatch):
    """The price of the offer is above the price that the buyer expects."""

    code = "price_refused"


class DeadlineRefused(TermsMismatch):
    """A deadline of the offer has passed, or would lock the buyer's money for too long."""

    code = "deadline_refused"


class HeadersTooLarge(InputError):
    """The headers of the request are too large."""

    code, status = "headers_too_large", 431


class DuplicateHeader(InputError):
    """A header that decides something is present twice, so its value is ambiguous."""

    code = "duplicate_header"


class HostNotServed(InputError):
    """The request is for a host name that this service does not serve (RFC 9110, 421)."""

    code, status = "host_not_served", 421


class UnknownSettlement(InputError):
    """No settlement has this id."""

    code, status = "unknown_settlement", 404


class NotFound(InputError):
    """The path does not exist."""

    code, status = "not_found", 404


class MethodNotAllowed(InputError):
    """The path exists, but not for this HTTP method."""

    code, status = "method_not_allowed", 405


class InvalidSetting(InputError):
    """A setting is missing, unknown or out of range."""

    code = "invalid_setting"


class ScenarioError(InputError):
    """The scenario is invalid: one line for each problem, also in `problems`."""

    code = "scenario_invalid"


class OrderRefused(InputError):
    """The fault cannot be ordered in this run, or no longer."""

    code, status = "order_refused", 409
