"""Every check of the four services: its meaning, its limits, and the remedy.

docs/health.md has one row for each check; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check. `meaning`: text of its alarm for readers who may not see the reason. `remedy`:
    what to do. `subject`: of the text "has not succeeded for 10 minutes".

    `grace_s`: age of a reason after which the check is red; None: only the age of the last success
    counts. `max_age_s`: seconds since the last success after which it is red; None: no limit.
    `lasts_s`: a reason is dropped after this time, if nothing reports its end. `is_warning`: the
    alarm leaves /readyz at 200.
    """

    name: str
    meaning: str
    remedy: str
    subject: str = ""
    grace_s: float | None = 0.0
    max_age_s: float | None = None
    lasts_s: float | None = None
    is_warning: bool = False


_LIST = (
    HealthCheck("chain", "the node cannot be asked", "Check the node and the RPC URL."),
    HealthCheck(
        "chain_id",
        "the node is on another chain than the settings say",
        "Correct CHAIN_ID or the RPC URL. Until then nothing is done.",
    ),
    HealthCheck(
        "chain_stalled",
        "the node's newest block is old",
        "Check the node: does it follow its network? And this machine's clock.",
        grace_s=30,
    ),
    HealthCheck(
        "no_eip1559",
        "the chain has no base fee (EIP-1559), so nothing can be sent",
        "Use a chain with EIP-1559.",
    ),
    HealthCheck(
        "logs_refused",
        "the node refuses eth_getLogs, even for one block",
        "Use a node that serves logs.",
    ),
    HealthCheck("store", "the database does not answer", "Check its disk, locks and connection."),
    HealthCheck(
        "rounds",
        "a round of the service fails, or does not end",
        "It is tried again. A defect's trace is in the log: report it.",
        subject="a round of the service",
        max_age_s=600,
    ),
    HealthCheck(
        "requests",
        "a request was answered with 500",
        "The trace is in the log: report it.",
        lasts_s=600,
        is_warning=True,
    ),
    HealthCheck(
        "wallet_short",
        "an account that sends cannot pay, or will not last",
        "Send it what is missing.",
    ),
    HealthCheck(
        "sends_refused",
        "the node refuses the transactions that are sent to it",
        "Look at the reason: the node's limits, the fees, or the account's state.",
        grace_s=60,
        lasts_s=120,
    ),
    HealthCheck(
        "facilitator",
        "the seller's facilitator does not answer",
        "Start it, or correct FACILITATOR_URL.",
        grace_s=10,
    ),
    HealthCheck(
        "finality",
        "a swap does not become final",
        "Check FINALITY_CONFIRMATIONS and the chain's status; nothing is lost.",
        subject="watching for finality",
        max_age_s=600,
    ),
    HealthCheck(
        "rate_stale",
        "the hook's reference rate is too old, so swaps are refused",
        "Run the facilitator with KEEPER_PRIVATE_KEY, or set the rate.",
        grace_s=60,
    ),
    HealthCheck(
        "peers",
        "a service whose facts the tracker gathers does not answer",
        "Start it, or correct SELLER_URL and FACILITATOR_URL.",
        grace_s=60,
    ),
    HealthCheck(
        "torn",
        "the facts of a settlement contradict each other",
        "Compare the settlement with the chain; the others are shown as they are.",
    ),
    HealthCheck(
        "signer_quarantined",
        "the signer stands still",
        "Find out who used its nonces, then POST /v1/signer:release.",
    ),
    HealthCheck(
        "reconciliation",
        "the ledger was not compared with the chain for too long",
        "Until then a loss would not be noticed.",
        subject="reconciliation",
        grace_s=None,
        max_age_s=600,
    ),
    HealthCheck(
        "wallet_differs",
        "the wallet does not hold what the ledger says, or something left it that is no payout",
        "This is one reading. If the next one agrees, it is booked and the signer stops.",
    ),
    HealthCheck(
        "orphans",
        "what was final was not looked at again for too long",
        "Until then a reorg deeper than finality would not be noticed.",
        subject="the search for orphaned payments",
        grace_s=None,
        max_age_s=600,
    ),
    HealthCheck(
        "lease",
        "which process looks after transactions was not asked for too long",
        "Check the database.",
        subject="asking for the lease",
        max_age_s=300,
    ),
    HealthCheck(
        "reorg",
        "a reorg deeper than finality took a payment back",
        "It is sent again by itself; if the text says otherwise, look at the payout.",
    ),
    HealthCheck(
        "fees",
        "a transaction waits, and its fee cannot be raised any more",
        "Wait for lower fees, or take the payout back with :cancel.",
    ),
    HealthCheck(
        "token_refused",
        "the token refuses a payout",
        "Ask the token's issuer: paused, or an account that is blocked? Or take the payout back.",
        grace_s=60,
    ),
    HealthCheck(
        "payout_stuck",
        "a payout cannot be signed",
        "Look at its reason in /v1/payouts; take it back with :cancel if it cannot be helped.",
        grace_s=60,
    ),
    HealthCheck(
        "payout_altered",
        "a payout in the database is not what the journal says, and is not signed",
        "Run `workbench ledger verify`; correct the row, or take the payout back with :cancel.",
    ),
    HealthCheck(
        "payout_mismatched",
        "a payout's transaction moved something else than what was owed",
        "Look at it, then POST /v1/payouts/<id>:resolve as paid or as refunded.",
    ),
    HealthCheck(
        "oldest_payout",
        "the oldest open payout waits for longer than OLDEST_PAYOUT_S",
        "Look at the other alarms and at /v1/payouts?state=approved,sent.",
    ),
)
CHECKS = {check.name: check for check in _LIST}
_ALL = ("chain", "chain_id", "chain_stalled", "store", "rounds", "requests")
_SENDS = ("no_eip1559", "wallet_short", "sends_refused")
SERVICES: dict[str, tuple[str, ...]] = {
    "seller": (*_ALL, *_SENDS, "logs_refused", "facilitator"),
    "facilitator": (*_ALL, *_SENDS, "logs_refused", "finality", "rate_stale"),
    "tracker": (*_ALL, "logs_refused", "peers", "torn"),
    "payouts": (
        *_ALL,
        *_SENDS,
        "logs_refused",
        "signer_quarantined",
        "reconciliation",
        "wallet_differs",
        "orphans",
        "lease",
        "reorg",
        "fees",
        "token_refused",
        "payout_stuck",
        "payout_altered",
        "payout_mismatched",
        "oldest_payout",
    ),
}
"""The names of the checks of each service."""
