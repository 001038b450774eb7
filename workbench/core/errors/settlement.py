"""Errors of a settlement that cannot go forward."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class SettlementError(WorkbenchError):
    """A settlement cannot go on as it is."""

    code, status = "settlement_failed", 409


class InsufficientAllowance(SettlementError):
    code = "insufficient_allowance"


class InsufficientFunds(SettlementError):
    code = "insufficient_funds"


class AuthorizationUsed(SettlementError):
    """The buyer's ERC-3009 authorization was used or cancelled before."""

    code = "authorization_used"


class InsufficientOutput(SettlementError):
    """The pool cannot give the required USDC at all."""

    code = "insufficient_output"


class OverBudget(SettlementError):
    """The pool would take more EURC than the buyer signed for."""

    code = "over_budget"


class OutsideBand(SettlementError):
    """The executed rate would leave the band: waiting does not heal that, and money is locked."""

    code = "outside_band"


class StaleRate(SettlementError):
    code, transient = "stale_rate", True


class TokenRefused(SettlementError):
    """A token refused the transfer (paused, blocked account, fee on transfer)."""

    code = "token_refused"


class StateMoved(SettlementError):
    """The vault is already in another state: somebody was faster, or our view is behind."""

    code, transient = "state_moved", True


class NotAParty(SettlementError):
    """Only the settlement's buyer or seller may do this."""

    code, status = "not_a_party", 403


class NotAllowed(SettlementError):
    """The account lacks the role that the contract asks for."""

    code, status = "not_allowed", 403


class TooEarly(SettlementError):
    """Its deadline has not passed yet."""

    code, transient = "too_early", True


class NothingToClaim(SettlementError):
    code = "nothing_to_claim"


class NothingToRescue(SettlementError):
    """The vault owes all it holds of that token to somebody."""

    code = "nothing_to_rescue"


class NotFinal(SettlementError):
    code, transient = "not_final", True


class IllegalTransition(SettlementError):
    code = "illegal_transition"


class ConservationBroken(WorkbenchError):
    """Money appeared, vanished or is held for nobody. Always a defect."""

    code = "conservation_broken"
