"""A settlement, folded from its facts; and the merge of several emitters' journals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition, NonceTaken, StateMoved
from workbench.core.records import copier, quick, replace
from workbench.core.settlement.table import (
    LATE,
    RELEVANT_EVENTS,
    TRANSITIONS,
    SettlementState,
    is_detail,
)


@quick
@dataclass(frozen=True, slots=True)
class StateEntry:
    """A state, when it was entered, and by which block and transaction (None: off chain)."""

    state: SettlementState
    at_ms: int
    block: ev.BlockRef | None


@quick
@dataclass(frozen=True, slots=True)
class SettlementFailure:
    """Why an act cannot go on: the act, and the stable error code."""

    act: str
    code: str
    message: str


@quick
@dataclass(frozen=True, slots=True)
class Settlement:
    """One settlement, folded from its facts. Amounts in base units, deadlines in Unix seconds.

    `failure`: why it cannot go on for certain. `setback`: the mined revert that has the most of its
    act's before it, `setbacks` in all; whoever acts has a limit of those (see `given_up`).
    """

    id: str
    state: SettlementState
    entered: tuple[StateEntry, ...] = ()
    buyer: str = ""
    seller: str = ""
    asset: str = ""
    asset_amount: int = 0
    required_usdc: int = 0
    max_eurc: int = 0
    eurc_spent: int | None = None
    fund_deadline: int = 0
    swap_deadline: int = 0
    quote: str = ""
    reason: str = ""
    failure: SettlementFailure | None = None
    setback: SettlementFailure | None = None
    setbacks: int = 0
    reverted: tuple[str, ...] = ()

    def block_of(self, state: SettlementState) -> ev.BlockRef | None:
        """The block that brought this settlement into `state`, if it was one."""
        return next((e.block for e in self.entered if e.state is state), None)

    @property
    def status(self) -> str:
        """The seed's word: `pending`, `executed` or `refunded`."""
        match self.state:
            case SettlementState.EXECUTED | SettlementState.DELIVERED:
                return "executed"
            case SettlementState.REFUNDED:
                return "refunded"
            case SettlementState.REJECTED:
                return "rejected"
            case _:
                return "pending"

    def contract_word(self, now: int) -> str:
        """The contract's state in lower case, or `expired` where a deadline has passed."""
        if self.state is SettlementState.CREATED and now > self.fund_deadline:
            return "expired"
        if self.state is SettlementState.FUNDED and now > self.swap_deadline:
            return "expired"
        return _WORDS[self.state]


DETAIL_EVENTS = {
    ev.PaymentAuthorized,
    ev.PaymentRejected,
    ev.SettlementCreated,
    ev.SettlementSwapped,
    ev.SettlementRefunded,
    ev.TransactionFailed,
}
"""Facts that tell more than the state they lead to."""


_WORDS = {state: state.value for state in SettlementState} | {
    SettlementState.AUTHORIZED: "none",
    SettlementState.REJECTED: "none",
    SettlementState.FINAL: "swapped",
    SettlementState.DELIVERED: "executed",
}
"""What the contract calls a state."""


def _learned(before: Settlement, event: ev.Event) -> dict[str, Any]:
    """What a fact tells about a settlement, by field, beside the state it leads to."""
    known: dict[str, Any] = {}
    if type(event) not in DETAIL_EVENTS:
        return known
    match event:
        case ev.PaymentAuthorized() | ev.SettlementCreated():
            for name in ("buyer", "seller", "asset", "asset_amount", "required_usdc", "max_eurc"):
                known[name] = getattr(event, name)
            if isinstance(event, ev.SettlementCreated):
                known |= {"fund_deadline": event.fund_deadline, "quote": event.salt}
                known |= {"swap_deadline": event.swap_deadline, "reason": ""}
            else:
                known["quote"] = event.quote
        case ev.SettlementSwapped():
            known["eurc_spent"] = event.eurc_spent
        case ev.SettlementRefunded():
            known["reason"] = event.reason
        case ev.PaymentRejected() if before.state is SettlementState.AUTHORIZED:
            known["reason"] = event.code
        case ev.TransactionFailed():
            known = _failed(before, event)
    return known


_move: Callable[..., Settlement] = copier(
    Settlement, ("state", "entered", "failure", "setback", "setbacks")
)


RETRIES = 2
"""So often an act that was mined and reverted is tried again, unless somebody sets it otherwise."""


def _failed(before: Settlement, event: ev.TransactionFailed) -> dict[str, Any]:
    failure = SettlementFailure(event.act, event.code, event.message)
    known: dict[str, Any] = {}
    if not event.transient:
        known["failure"] = failure
    if event.tx:
        known["reverted"] = (*before.reverted, event.act)
        count = known["reverted"].count(event.act)
        # Reorgs and races are no fault of the act: what moved elsewhere is looked at anew.
        if event.code not in (StateMoved.code, NonceTaken.code) and count >= before.setbacks:
            known |= {"setback": failure, "setbacks": count}
    return known


def given_up(settlement: Settlement, retries: int = RETRIES) -> SettlementFailure | None:
    """Why it is refunded before its time: it cannot go on, or an act reverted once too often.

    The last of those reverts had a reason of its own, beyond a race or a reorg.
    """
    return settlement.failure or (settlement.setback if settlement.setbacks > retries else None)


def apply(before: Settlement | None, event: ev.Event) -> Settlement:
    """One fact further: the only place where a settlement changes.

    Raises IllegalTransition when the fact cannot follow the state.
    """
    if before is not None and (is_detail(event) or (before.state, type(event)) in LATE):
        learned = _learned(before, event)
        return replace(before, **learned) if learned else before
    state = TRANSITIONS.get((before.state if before else None, type(event)))
    if state is None:
        was = before.state.value if before else "nothing"
        raise IllegalTransition(f"{event.subject}: {event.type} cannot follow {was}.")
    before = before or Settlement(event.subject, state)
    known = _learned(before, event)
    entered = (*before.entered, StateEntry(state, event.at_ms, event.block))
    # A failure is about one state's act; the next state starts with a clean sheet.
    return _move(replace(before, **known) if known else before, state, entered, None, None, 0)


def fold(facts: Iterable[ev.Event]) -> dict[str, Settlement]:
    """All settlements by id, from all the facts that stand, in journal order."""
    return fold_into({}, ev.canonical(list(facts)))


def fold_into(
    settlements: dict[str, Settlement], facts: Iterable[ev.Event]
) -> dict[str, Settlement]:
    """`fold`, further: changes and returns `settlements`.

    Details told before a birth count from the birth on: after a reorg an act may revert in an
    earlier block than the one in which its settlement is created again.
    """
    early: dict[str, list[ev.Event]] = {}
    for event in facts:
        if type(event) not in RELEVANT_EVENTS or not event.subject:
            continue
        before = settlements.get(event.subject)
        if before is None and is_detail(event):
            early.setdefault(event.subject, []).append(event)
            continue
        told = (event, *early.pop(event.subject, ()))
        for each in told:
            before = apply(before, each)
        assert before is not None
        settlements[event.subject] = before
    return settlements


_OWED_IN = {
    "create": SettlementState.AUTHORIZED,
    "fund": SettlementState.CREATED,
    "swap": SettlementState.FUNDED,
    "refund": SettlementState.FUNDED,
    "execute": SettlementState.FINAL,
}
"""The state in which an act is owed, and so the one that its failure is about."""


_STATES = list(SettlementState)


_LEADS_TO = {kind: _STATES.index(state) for (_, kind), state in TRANSITIONS.items()}


_ABOUT_BLOCK_OF: dict[type[ev.Event], SettlementState] = {
    ev.FinalityReached: SettlementState.SWAPPED,
    ev.AssetDelivered: SettlementState.EXECUTED,
}


def place_in_life(event: ev.Event) -> int | None:
    """Where in a life a fact belongs, whenever it was told. None: a detail, at home anywhere."""
    place = _LEADS_TO.get(type(event))
    if place is not None:
        return 2 * place
    owed = _OWED_IN.get(event.act) if isinstance(event, ev.TransactionFailed) else None
    return None if owed is None else 2 * _STATES.index(owed) + 1


InconsistentJournals = dict[str, str]
"""What cannot follow what a journal has of a settlement before, by its id."""


def merge(
    facts: Iterable[ev.Event], torn: InconsistentJournals | None = None
) -> dict[str, Settlement]:
    """`fold` for a journal that gathers several emitters' facts, which have no common order.

    `torn` takes what cannot follow, as in `merge_into`.
    """
    return merge_into({}, ev.canonical(list(facts)), torn)


def merge_into(
    settlements: dict[str, Settlement],
    facts: Iterable[ev.Event],
    torn: InconsistentJournals | None = None,
) -> dict[str, Settlement]:
    """`merge`, further, by facts that belong after all that were merged before.

    The chain's facts have one emitter, the watcher, and must follow each other. Those of peers
    are put where they belong in a life; one whose cause is not (or no longer) here is left out,
    so whoever merges bit by bit starts a life anew when a fact comes that belongs further back.

    Where `torn` is given, a fact of the chain that cannot follow (another is missing) is told there
    and left out, and all others go on; else it raises IllegalTransition.
    """
    telling = [event for event in facts if type(event) in RELEVANT_EVENTS]
    for event in sorted(telling, key=lambda each: place_in_life(each) or 0):
        if not event.contract and not _has_cause(settlements.get(event.subject), event):
            continue
        try:
            fold_into(settlements, [event])
        except IllegalTransition as why:
            if torn is None:
                raise
            torn.setdefault(event.subject, why.message)
    return settlements


def _has_cause(before: Settlement | None, event: ev.Event) -> bool:
    kind = type(event)
    if is_detail(event) or kind not in _LEADS_TO:
        return True
    state = before.state if before else None
    about = _ABOUT_BLOCK_OF.get(kind)
    if about and event.block and before:
        block = before.block_of(about)
        if block is None or block.hash != event.block.hash:
            return False
    return (state, kind) in TRANSITIONS or (state, kind) in LATE
