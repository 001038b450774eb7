"""Every error the workbench can raise, in one tree.

Each class has a stable `code` (what machines compare, also the `error` field on the wire), an HTTP
`status`, and says whether it is `transient`: whether the same act may succeed later unchanged.
Foreign errors (sockets, JSON-RPC, reverts, SQL) are mapped to these once, at the boundary.
"""

from __future__ import annotations

from typing import Any, ClassVar


class WorkbenchError(Exception):
    """Root of the tree.

    `message` names the cause, `hint` the next step, `details` are JSON-ready facts.
    """

    code: ClassVar[str] = "workbench_error"
    status: ClassVar[int] = 500
    transient: ClassVar[bool] = False
    kinds: ClassVar[dict[str, type[WorkbenchError]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        WorkbenchError.kinds[cls.code] = cls

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message, self.hint, self.details = message, hint, details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_json(self) -> dict[str, Any]:
        """The body sent over the wire: `{error, message, hint?, …details}`."""
        hint = {"hint": self.hint} if self.hint else {}
        head = {"error": self.code, "message": self.message, **hint}
        return {**head, **self.details, **head}


# --- What a caller did wrong -------------------------------------------------------------------


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


# --- Why a settlement does not go forward ------------------------------------------------------


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


# --- Credits and their ledger ------------------------------------------------------------------


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


# --- The chain ---------------------------------------------------------------------------------


class ChainError(WorkbenchError):
    code, status = "chain_error", 502


class RpcUnreachable(ChainError):
    code, status, transient = "rpc_unreachable", 503, True


class RpcFault(ChainError):
    """The node answered, with an error of its own: it may be busy, limiting us, or out of step."""

    code, transient = "rpc_fault", True


class RpcUnanswered(RpcFault):
    """The node said nothing that can be used: it proves nothing about what was asked or sent."""

    code = "rpc_unanswered"


class RpcAnswerInvalid(RpcUnanswered):
    """An answer of another form than the method's, or to another question.

    `details`: `method`, `field` (where in the answer) and `reason`.
    """

    code = "rpc_answer_invalid"


class RpcLimited(RpcUnanswered):
    """The node limits how much it is asked. `details`: `method`; `retry_after_s` where it says."""

    code = "rpc_limited"


class BlockMissing(ChainError):
    """The block is still to come, or its state has been forgotten by this node."""

    code = "block_missing"


class ContractNotFound(ChainError):
    code = "contract_not_found"


class Reverted(ChainError):
    """A contract refused, with an error that has no name of its own here."""

    code, status = "reverted", 409


class ChainRewound(ChainError):
    """The chain went back under a live service, further than a reorg may (agreement 9)."""

    code = "chain_rewound"


class DeployFailed(ChainError):
    code = "deploy_failed"


class NoBaseFee(ChainError):
    """A chain without EIP-1559: our transactions are of type 2."""

    code = "no_eip1559"


class SignerShort(ChainError):
    """The signer cannot pay for gas."""

    code, transient = "signer_out_of_gas", True


class NonceTaken(ChainError):
    """Another transaction of the same key used the nonce of our slot."""

    code, transient = "nonce_taken", True


class TransactionTimeout(ChainError):
    """Not mined in the time one was ready to wait; it may still be."""

    code, status, transient = "transaction_timeout", 504, True


# --- The machine and the people around it ------------------------------------------------------


class SetupError(WorkbenchError):
    code = "setup_error"


class PortTaken(SetupError):
    code = "port_taken"


class ToolMissing(SetupError):
    code = "tool_missing"


class NotCompiled(SetupError):
    code = "not_compiled"


class Starting(SetupError):
    """The service has its port, and is not ready yet. Nothing was done."""

    code, status, transient = "starting", 503, True


class UnknownWorld(SetupError):
    code = "unknown_world"


class WorldRuns(SetupError):
    """There is one world in a folder: what runs there must know which."""

    code = "world_runs"


class AlreadyPlayed(SetupError):
    """An experiment plays its scenario once."""

    code, status = "already_played", 409


class RunUnderWay(SetupError):
    """A run goes on, and what was asked for needs its end, or would disturb it."""

    code, status, transient = "run_under_way", 409, True


class RunOver(SetupError):
    """A run has ended, and what was asked for needs its node."""

    code, status = "run_over", 409


class StoreError(SetupError):
    code = "store_error"


class RunDamaged(StoreError):
    """A run folder that is not as it was saved: the file is named."""

    code = "run_damaged"


class StoreBusy(StoreError):
    """Locked by another, unreachable, or out of space: nothing was written, and it may pass."""

    code, status, transient = "store_busy", 503, True


class NotebookFailed(SetupError):
    """A notebook could not be run; the run that it was to show is kept all the same."""

    code = "notebook_failed"


class TraceDiffers(SetupError):
    """A run was played again, and something else happened."""

    code = "trace_differs"


class TestKeyRefused(SetupError):
    """A key everybody knows, on a chain we did not boot."""

    code = "test_key_refused"
    __test__ = False  # pytest: not a test class, whatever its name begins with


class PeerUnreachable(WorkbenchError):
    """Another service did not answer."""

    code, status, transient = "peer_unreachable", 502, True


class PeerUntrusted(PeerUnreachable):
    """Another service did not prove its name; `reason` says what is wrong with its certificate."""

    code = "peer_untrusted"


class PeerRefused(WorkbenchError):
    """Another service answered with an error; its code and message are in `details`."""

    code, status = "peer_refused", 502


class PeerAnswerInvalid(PeerRefused):
    """Another service answered something that does not fit the schema of its answer."""

    code = "peer_answer_invalid"


class PeerUnreadable(PeerUnreachable):
    """What answered in another service's place is no JSON object: a proxy's page, perhaps."""

    code = "peer_unreadable"
