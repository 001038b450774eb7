"""Errors of a settlement that cannot go forward."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class SettlementError(WorkbenchError):
    """A settlement cannot go forward."""

    code, status = "settlement_failed", 409


class InsufficientAllowance(SettlementError):
    """The token allowance is too small."""

    code = "insufficient_allowance"


class InsufficientFunds(SettlementError):
    """The token balance is too small."""

    code = "insufficient_funds"


class AuthorizationUsed(SettlementError):
    """The buyer's ERC-3009 authorization was already used or cancelled."""

    code = "authorization_used"


class InsufficientOutput(SettlementError):
    """The pool cannot provide the required USDC."""

    code = "insufficient_output"


class OverBudget(SettlementError):
    """The pool would take more EURC than the signed budget."""

    code = "over_budget"


class OutsideBand(SettlementError):
    """The rate would leave the allowed band, and money is locked. Waiting does not help."""

    code = "outside_band"


class StaleRate(SettlementError):
    """The reference rate of the hook is too old."""

    code, transient = "stale_rate", True


class TokenRefused(SettlementError):
    """A token refused the transfer: paused, blocked account, or a fee on transfer."""

    code = "token_refused"


class StateMoved(SettlementError):
    """The vault is already in another state: another transaction was first, or our view is old."""

    code, transient = "state_moved", True


class NotAParty(SettlementError):
    """Only the buyer or the seller of the settlement may do this."""

    code, status = "not_a_party", 403


class NotAllowed(SettlementError):
    """The account does not have the role that the contract requires."""

    code, status = "not_allowed", 403


class TooEarly(SettlementError):
    """The deadline has not passed yet."""

    code, transient = "too_early", True


class NothingToClaim(SettlementError):
    """The vault holds nothing for this account."""

    code = "nothing_to_claim"


class NothingToRescue(SettlementError):
    """The vault owes its whole balance of this token."""

    code = "nothing_to_rescue"


class NotFinal(SettlementError):
    """The swap does not have enough confirmations."""

    code, transient = "not_final", True


class IllegalTransition(SettlementError):
    """The fact cannot follow the state; see the transition tables."""

    code = "illegal_transition"


class ConservationBroken(WorkbenchError):
    """Money appeared, vanished, or has no owner. Always a defect."""

    code = "conservation_broken"
