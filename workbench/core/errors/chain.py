"""Errors of the chain and its node."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


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
