"""Errors of the chain and its node."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class ChainError(WorkbenchError):
    """The chain or its node caused an error."""

    code, status = "chain_error", 502


class RpcUnreachable(ChainError):
    """The node cannot be reached."""

    code, status, transient = "rpc_unreachable", 503, True


class RpcFault(ChainError):
    """The node answered with an error: it may be busy, out of step, or limit its clients."""

    code, transient = "rpc_fault", True


class RpcUnanswered(RpcFault):
    """No usable answer of the node. It proves nothing about the request or the transaction."""

    code = "rpc_unanswered"


class RpcAnswerInvalid(RpcUnanswered):
    """The answer has the wrong form for its method, or answers another request.

    `details`: `method`, `field` (where in the answer) and `reason`.
    """

    code = "rpc_answer_invalid"


class RpcLimited(RpcUnanswered):
    """The node limits requests. `details`: `method`, and `retry_after_s` if the node names it."""

    code = "rpc_limited"


class BlockMissing(ChainError):
    """The node does not have the block yet, or no longer has its state."""

    code = "block_missing"


class ContractNotFound(ChainError):
    """There is no contract at the address."""

    code = "contract_not_found"


class Reverted(ChainError):
    """A contract reverted with an error that has no class here."""

    code, status = "reverted", 409


class ChainRewound(ChainError):
    """The chain went back further than a reorg may, while a service was running."""

    code = "chain_rewound"


class DeployFailed(ChainError):
    """The deployment of the contracts failed."""

    code = "deploy_failed"


class NoBaseFee(ChainError):
    """The chain has no base fee (EIP-1559). The workbench sends transactions of type 2 only."""

    code = "no_eip1559"


class SignerShort(ChainError):
    """The signer's balance cannot pay for gas."""

    code, transient = "signer_out_of_gas", True


class NonceTaken(ChainError):
    """Another transaction of the same key used the nonce of this slot."""

    code, transient = "nonce_taken", True


class TransactionTimeout(ChainError):
    """The transaction was not mined within the time limit. It may still be mined."""

    code, status, transient = "transaction_timeout", 504, True
