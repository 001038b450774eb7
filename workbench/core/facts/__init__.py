"""Every fact the workbench can know: one frozen record each, named in the past tense.

Contract event = class here = journal `type` = frame `type` = chart label. To add a fact, add a
class; journal, frames, tracker and charts take it from `Event.kinds`. A class whose `contract` is
set is decoded from that contract's event of the same name: camelCase arguments become snake_case
fields, `settlementId` becomes `subject`, a struct is flattened into its members.
"""

from workbench.core.facts.base import BlockRef, Event
from workbench.core.facts.codec import (
    ADDED_IN_FORMAT_3,
    fact_id,
    from_dict,
    from_json,
    from_line,
    to_dict,
    to_json,
)
from workbench.core.facts.otc import (
    AssetDelivered,
    PaymentAuthorized,
    PaymentParked,
    PaymentRejected,
    PaymentRequested,
    PoolBalanced,
    PoolSwapChecked,
    SettlementCreated,
    SettlementExecuted,
    SettlementFunded,
    SettlementRefunded,
    SettlementSwapped,
)
from workbench.core.facts.payouts import (
    AllowanceGiven,
    CreditsEarned,
    PayoutApproved,
    PayoutBatched,
    PayoutCancelled,
    PayoutHeld,
    PayoutMismatched,
    PayoutOrphaned,
    PayoutPaid,
    PayoutRefunded,
    PayoutRequested,
    PayoutResolved,
    PayoutSent,
)
from workbench.core.facts.simulation import (
    BalanceObserved,
    BuyerGaveUp,
    BuyerPlanned,
    BuyerServed,
    FaultInjected,
    FaultOrdered,
    InvariantBroken,
    MarketMoved,
    PayoutAnswered,
    ServiceRestarted,
)
from workbench.core.facts.standing import BlockOrphaned, FinalityReached, canonical
from workbench.core.facts.transactions import (
    SignerQuarantined,
    SignerReleased,
    TransactionFailed,
    TransactionFinalized,
    TransactionMined,
    TransactionReplaced,
    TransactionSent,
    TransactionSigned,
)
from workbench.core.records import quick

__all__ = [
    "ADDED_IN_FORMAT_3",
    "AllowanceGiven",
    "AssetDelivered",
    "BalanceObserved",
    "BlockOrphaned",
    "BlockRef",
    "BuyerGaveUp",
    "BuyerPlanned",
    "BuyerServed",
    "CreditsEarned",
    "Event",
    "FaultInjected",
    "FaultOrdered",
    "FinalityReached",
    "InvariantBroken",
    "MarketMoved",
    "PaymentAuthorized",
    "PaymentParked",
    "PaymentRejected",
    "PaymentRequested",
    "PayoutAnswered",
    "PayoutApproved",
    "PayoutBatched",
    "PayoutCancelled",
    "PayoutHeld",
    "PayoutMismatched",
    "PayoutOrphaned",
    "PayoutPaid",
    "PayoutRefunded",
    "PayoutRequested",
    "PayoutResolved",
    "PayoutSent",
    "PoolBalanced",
    "PoolSwapChecked",
    "ServiceRestarted",
    "SettlementCreated",
    "SettlementExecuted",
    "SettlementFunded",
    "SettlementRefunded",
    "SettlementSwapped",
    "SignerQuarantined",
    "SignerReleased",
    "TransactionFailed",
    "TransactionFinalized",
    "TransactionMined",
    "TransactionReplaced",
    "TransactionSent",
    "TransactionSigned",
    "canonical",
    "fact_id",
    "from_dict",
    "from_json",
    "from_line",
    "to_dict",
    "to_json",
]

for _class in list(Event.kinds.values()):
    # `quick` makes a subclass, which registers itself under the same name: register ours again.
    Event.kinds[_class.__name__] = quick(_class)
