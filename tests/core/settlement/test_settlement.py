"""The life of a settlement: the table walked whole, the fold, and what is owed next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.facts import digest, happy, journal, one_of_each, pending, refunded, rejected, reorged
from tests.hypothesis_profile import examples
from tests.strategies import facts, uint64
from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition
from workbench.core.finality import FinalityPolicy
from workbench.core.settlement import (
    FACILITATOR_REASONS,
    LATE,
    NOT_ABOUT_SETTLEMENTS,
    OPEN,
    RETRIES,
    TRANSITIONS,
    Settlement,
    SettlementFailure,
    SettlementState,
    SettlementStep,
    apply,
    fold,
    fold_into,
    given_up,
    is_detail,
    merge,
    next_step,
    refund_reason,
)

ID = digest("settlement", 0)
FACTS = {type(fact): fact for fact in one_of_each(ID)}
KINDS = sorted(FACTS, key=lambda kind: kind.__name__)
STATES: tuple[SettlementState | None, ...] = (None, *SettlementState)
ENDS = (SettlementState.REJECTED, SettlementState.DELIVERED, SettlementState.REFUNDED)
REFUNDABLE = (SettlementState.CREATED, SettlementState.FUNDED)
MINED = ev.BlockRef(100, digest("block", 100), digest("tx"), 0)


def shortest_walks() -> dict[SettlementState | None, tuple[type[ev.Event], ...]]:
    """For each state that the table leads to, the fewest facts that lead there."""
    walks: dict[SettlementState | None, tuple[type[ev.Event], ...]] = {None: ()}
    waiting: deque[SettlementState | None] = deque([None])
    while waiting:
        at = waiting.popleft()
        for (before, kind), after in TRANSITIONS.items():
            if before is at and after not in walks:
                walks[after] = (*walks[at], kind)
                waiting.append(after)
    return walks


WALKS = shortest_walks()


def walk(kinds: Iterable[type[ev.Event]]) -> Settlement | None:
    """The settlement after these facts."""
    settlement = None
    for kind in kinds:
        settlement = apply(settlement, FACTS[kind])
    return settlement


def name(value: Any) -> str:
    """Test ids."""
    return (
        value.value
        if isinstance(value, SettlementState)
        else getattr(value, "__name__", str(value))
    )


# --- The table ---


def test_every_state_can_be_reached_and_only_ends_cannot_be_left() -> None:
    """No state is idle, and no settlement gets stuck. (A rejection may be overruled by the chain.)

    What is open is what can be left, apart from the executed, which waits for its seller only.
    """
    assert set(STATES) == set(WALKS)
    left = {before for before, _ in TRANSITIONS if before}
    assert {SettlementState.DELIVERED, SettlementState.REFUNDED} == set(SettlementState) - left
    assert left - {SettlementState.REJECTED, SettlementState.EXECUTED} == set(OPEN)


def test_after_the_swap_there_is_no_way_back() -> None:
    """From SWAPPED the table never leads to REFUNDED; from REFUNDED it leads nowhere."""
    reached, waiting = {SettlementState.SWAPPED}, [SettlementState.SWAPPED]
    while waiting:
        at = waiting.pop()
        further = {after for (before, _), after in TRANSITIONS.items() if before is at} - reached
        reached |= further
        waiting += further
    assert {
        SettlementState.SWAPPED,
        SettlementState.FINAL,
        SettlementState.EXECUTED,
        SettlementState.DELIVERED,
    } == reached


@pytest.mark.parametrize("state", STATES, ids=name)
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_the_table_decides_what_may_follow(
    state: SettlementState | None, kind: type[ev.Event]
) -> None:
    """Every fact in every state: it moves as the table says, adds detail, or is refused by name."""
    before, fact = walk(WALKS[state]), FACTS[kind]
    assert state is (before.state if before else None)
    if (state, kind) in TRANSITIONS:
        after = apply(before, fact)
        assert TRANSITIONS[state, kind] is after.state
        assert (after.state, fact.at_ms, fact.block) == (
            after.entered[-1].state, after.entered[-1].at_ms, after.entered[-1].block
        )  # fmt: skip
        assert (before.entered if before else ()) == after.entered[:-1]
    elif before is not None and (is_detail(fact) or (state, kind) in LATE):
        after = apply(before, fact)
        assert (before.state, before.entered) == (after.state, after.entered)
    else:
        was = state.value if state else "nothing"
        with pytest.raises(IllegalTransition, match=f"{kind.__name__} cannot follow {was}"):
            apply(before, fact)


def test_the_table_and_its_exceptions_do_not_overlap() -> None:
    """A fact moves, comes late, annotates, or is about something else: one of these."""
    moving = {kind for _, kind in TRANSITIONS}
    assert set() == set(TRANSITIONS) & set(LATE)
    details = {kind for kind, fact in FACTS.items() if is_detail(fact)}
    assert set() == (moving | details) & {*NOT_ABOUT_SETTLEMENTS}
    assert set() == moving & details
    assert {ev.TransactionFailed, ev.PoolSwapChecked, ev.PaymentParked} <= details
    assert set(FACTS) == moving | details | {*NOT_ABOUT_SETTLEMENTS}


@given(st.lists(st.sampled_from(KINDS), max_size=25))
def test_any_walk_stays_in_the_table(kinds: list[type[ev.Event]]) -> None:
    """Facts in any order: a refused one changes nothing, and `entered` is a walk of the table."""
    settlement: Settlement | None = None
    for kind in kinds:
        before = settlement
        try:
            settlement = apply(settlement, FACTS[kind])
        except IllegalTransition:
            assert before == settlement
    if settlement is not None:
        states = [entered.state for entered in settlement.entered]
        steps = {(before, after) for (before, _), after in TRANSITIONS.items()}
        assert set(zip([None, *states], states, strict=False)) <= steps
        assert states[-1] is settlement.state


# --- What a settlement learns ---


def test_a_whole_life_is_learnt() -> None:
    """Amounts, parties, deadlines, what was spent, and the block of each state."""
    told = happy()
    (settlement,) = fold(told).values()
    created = next(f for f in told if isinstance(f, ev.SettlementCreated))
    swapped = next(f for f in told if isinstance(f, ev.SettlementSwapped))
    for each in ("buyer", "seller", "asset", "asset_amount", "required_usdc", "max_eurc",
                 "fund_deadline", "swap_deadline"):  # fmt: skip
        assert getattr(created, each) == getattr(settlement, each)
    assert (created.subject, created.salt) == (settlement.id, settlement.quote)
    assert swapped.eurc_spent == settlement.eurc_spent
    assert swapped.block == settlement.block_of(SettlementState.SWAPPED)
    assert created.block == settlement.block_of(SettlementState.CREATED)
    assert settlement.block_of(SettlementState.REFUNDED) is None
    assert ["authorized", "created", "funded", "swapped", "final", "executed", "delivered"] == [
        entered.state.value for entered in settlement.entered
    ]


@pytest.mark.parametrize(
    ("told", "state", "status", "reason"),
    [
        (happy(), SettlementState.DELIVERED, "executed", ""),
        (happy()[:-1], SettlementState.EXECUTED, "executed", ""),
        (pending(), SettlementState.SWAPPED, "pending", ""),
        (refunded(reason="over_budget"), SettlementState.REFUNDED, "refunded", "over_budget"),
        (rejected(), SettlementState.REJECTED, "rejected", "insufficient_allowance"),
    ],
    ids=["delivered", "executed", "pending", "refunded", "rejected"],
)
def test_state_status_and_reason(
    told: list[ev.Event], state: SettlementState, status: str, reason: str
) -> None:
    """The words that a seller answers with."""
    (settlement,) = fold(told).values()
    assert (state, status, reason) == (settlement.state, settlement.status, settlement.reason)


def test_the_chain_overrules_a_rejection_in_either_order() -> None:
    """Whether our answer or the block was noted first, the settlement is created, without reason.

    Otherwise one unlucky order in a journal would stop every service that reads it.
    """
    authorized, created, refused = (
        FACTS[kind] for kind in (ev.PaymentAuthorized, ev.SettlementCreated, ev.PaymentRejected)
    )
    for told in ([authorized, refused, created], [authorized, created, refused]):
        (settlement,) = fold(told).values()
        assert (SettlementState.CREATED, "") == (settlement.state, settlement.reason)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (SettlementState.AUTHORIZED, "none"),
        (SettlementState.REJECTED, "none"),
        (SettlementState.CREATED, "created"),
        (SettlementState.FUNDED, "funded"),
        (SettlementState.SWAPPED, "swapped"),
        (SettlementState.FINAL, "swapped"),
        (SettlementState.EXECUTED, "executed"),
        (SettlementState.DELIVERED, "executed"),
        (SettlementState.REFUNDED, "refunded"),
    ],
    ids=name,
)
def test_the_contracts_word(state: SettlementState, word: str) -> None:
    """In lower case; `expired` from the second after the deadline that counts in that state."""
    settlement = Settlement(ID, state, fund_deadline=1_000, swap_deadline=2_000)
    limit = {SettlementState.CREATED: 1_000, SettlementState.FUNDED: 2_000}.get(state, 10**10)
    assert word == settlement.contract_word(0)
    assert word == settlement.contract_word(limit)
    late = word if limit == 10**10 else "expired"
    assert late == settlement.contract_word(limit + 1)


# --- The fold ---


STORIES = {
    "happy": happy(),
    "reorged": reorged(),
    "refunded": refunded(),
    "rejected": rejected(),
}


@given(st.sampled_from(sorted(STORIES)), st.integers(0, 60), st.integers(0, 60))
def test_the_fold_is_the_fold_of_what_stands(story: str, upto: int, page: int) -> None:
    """Also after the first facts alone, and also when folded further page by page."""
    told = STORIES[story][:upto]
    standing = ev.canonical(told)
    whole = fold(told)
    assert whole == fold(standing)
    assert whole == fold_into(fold_into({}, standing[:page]), standing[page:])


def test_settlements_do_not_touch_each_other() -> None:
    """Each folds from its own facts as if it were alone."""
    told = journal(12)
    together = fold(told)
    assert 12 == len(together)
    assert together == fold(ev.canonical(told))
    for identity, settlement in together.items():
        own = [f for f in told if f.subject == identity or isinstance(f, ev.BlockOrphaned)]
        assert {identity: settlement} == fold(own)


def test_facts_about_nothing_that_stands_are_passed_over() -> None:
    """Offers, orphanings, transactions of the keeper, details of a birth that was taken back."""
    others = [f for kind, f in FACTS.items() if kind in NOT_ABOUT_SETTLEMENTS or is_detail(f)]
    assert {} == fold(replace(fact, block=None) for fact in others)
    assert {} == fold([replace(FACTS[ev.SettlementCreated], subject="")])
    born = replace(FACTS[ev.SettlementCreated], block=MINED)
    gone = ev.BlockOrphaned(subject=MINED.hash, at_ms=1, source="watcher", number=100)
    assert {} == fold([born, FACTS[ev.TransactionFailed], gone])
    assert SettlementState.CREATED is fold([born, gone, born])[ID].state


@given(st.lists(facts, max_size=6))
def test_folding_any_facts_at_all_is_a_settlement_or_a_named_error(told: list[ev.Event]) -> None:
    """Nothing else comes out of a journal."""
    try:
        folded = fold(told)
    except IllegalTransition:
        return
    assert all(identity == settlement.id for identity, settlement in folded.items())


# --- Journals of several emitters ---


def emitter(fact: ev.Event) -> str:
    """Whose journal it comes from: the chain's watcher, or a service."""
    return "chain" if fact.contract or isinstance(fact, ev.BlockOrphaned) else fact.source


def interleaved(told: list[ev.Event], turns: Sequence[str]) -> list[ev.Event]:
    """The same facts, each emitter's in its own order, and whose turn it is as given."""
    waiting = {who: deque(f for f in told if emitter(f) == who) for who in turns}
    return [waiting[who].popleft() for who in turns]


def turns_of(story: str) -> st.SearchStrategy[list[str]]:
    return st.permutations([emitter(fact) for fact in STORIES[story]])


@pytest.mark.parametrize("story", sorted(STORIES))
@examples(25)
@given(st.data())
def test_emitters_may_tell_in_any_order(story: str, data: st.DataObject) -> None:
    """However their journals fall together: the settlement is that of the natural order."""
    told = interleaved(STORIES[story], data.draw(turns_of(story)))
    assert fold(STORIES[story]) == merge(told)


@pytest.mark.parametrize("story", sorted(STORIES))
@examples(25)
@given(st.data())
def test_what_is_missing_stops_nobody(story: str, data: st.DataObject) -> None:
    """Some peers' facts alone, and the chain up to somewhere: a settlement that did not go further.

    It never claims a state that the chain's own facts, as far as they are known, do not bear out.
    """
    told = STORIES[story]
    upto = data.draw(st.integers(0, len(told)))
    chain = [fact for fact in told[:upto] if emitter(fact) == "chain"]
    peers = [fact for fact in told if emitter(fact) != "chain" and data.draw(st.booleans())]
    folded = merge(peers + chain)
    states = {state for state in SettlementState if folded and folded[ID].block_of(state)}
    seen = {fact.block.hash for fact in ev.canonical(chain) if fact.block}
    assert {b.hash for state in states if (b := folded[ID].block_of(state))} <= seen
    assert merge([]) == {}


@pytest.mark.parametrize(
    ("kind", "state"),
    [(ev.FinalityReached, SettlementState.SWAPPED), (ev.AssetDelivered, SettlementState.EXECUTED)],
)
def test_what_a_peer_says_about_another_block_does_not_count(
    kind: type[ev.Event], state: SettlementState
) -> None:
    """Its block may have been orphaned where we do not see the peer's journal say so."""
    told = [replace(FACTS[each], block=MINED) for each in WALKS[state]]
    elsewhere = replace(MINED, hash=digest("another block"))
    assert TRANSITIONS[state, kind] is merge([*told, replace(FACTS[kind], block=MINED)])[ID].state
    assert state is merge([*told, replace(FACTS[kind], block=elsewhere)])[ID].state


# --- The next step ---

ACT: dict[SettlementStep, type[ev.Event]] = {
    SettlementStep.FUND: ev.SettlementFunded,
    SettlementStep.SWAP: ev.SettlementSwapped,
    SettlementStep.CONFIRM: ev.FinalityReached,
    SettlementStep.EXECUTE: ev.SettlementExecuted,
    SettlementStep.REFUND: ev.SettlementRefunded,
}
"""Each step and the fact that it leads to."""

FAILURE = SettlementFailure("swap", "outside_band", "the rate is outside the band.")
small = st.integers(0, 40)


def standing_at(state: SettlementState, **known: Any) -> Settlement:
    """A settlement in `state`, every state entered by the block MINED."""
    settlement = walk(WALKS[state])
    assert settlement is not None
    entered = tuple(replace(each, block=MINED) for each in settlement.entered)
    return replace(settlement, entered=entered, **known)


settlements = st.builds(
    standing_at,
    st.sampled_from(SettlementState),
    fund_deadline=small,
    swap_deadline=small,
    failure=st.none() | st.just(FAILURE),
)
heads = st.integers(90, 120)
policies = st.builds(FinalityPolicy, small, small)


@given(settlements, heads, small, policies, st.booleans())
def test_a_step_is_legal_and_is_never_owed_twice(
    settlement: Settlement, head: int, now: int, finality: FinalityPolicy, authorized: bool
) -> None:
    """The table takes the step's fact; and once it is there, the same step is not asked again."""
    step = next_step(settlement, head=head, now=now, finality=finality, authorized=authorized)
    if step in (SettlementStep.WAIT, SettlementStep.NOTHING):
        return
    assert (settlement.state, ACT[step]) in TRANSITIONS
    after = apply(settlement, replace(FACTS[ACT[step]], block=MINED))
    again = next_step(after, head=head, now=now, finality=finality, authorized=authorized)
    assert step is not again


@given(settlements, heads, uint64, policies, st.booleans())
def test_money_is_refunded_only_before_the_swap(
    settlement: Settlement, head: int, now: int, finality: FinalityPolicy, authorized: bool
) -> None:
    """And then exactly when time ran out or the act cannot succeed; ended ones ask for nothing."""
    step = next_step(settlement, head=head, now=now, finality=finality, authorized=authorized)
    limits = {
        SettlementState.CREATED: settlement.fund_deadline,
        SettlementState.FUNDED: settlement.swap_deadline,
    }
    over = settlement.state in limits and now > limits[settlement.state]
    lost = settlement.failure is not None and settlement.state in REFUNDABLE
    assert (over or lost) == (step is SettlementStep.REFUND)
    ended = settlement.state in (*ENDS, SettlementState.EXECUTED)
    assert ended == (step is SettlementStep.NOTHING)


def asked(
    settlement: Settlement, now: int, head: int = 100, authorized: bool = True
) -> SettlementStep:
    """`next_step` under two confirmations."""
    return next_step(
        settlement, head=head, now=now, finality=FinalityPolicy(2), authorized=authorized
    )


@given(st.integers(1, 2**64))
def test_deadlines_to_the_second(deadline: int) -> None:
    """At the deadline one may still act, as the vault says; a second later it is a refund."""
    created = standing_at(SettlementState.CREATED, fund_deadline=deadline, swap_deadline=0)
    funded = standing_at(SettlementState.FUNDED, fund_deadline=0, swap_deadline=deadline)
    for settlement, step in ((created, SettlementStep.FUND), (funded, SettlementStep.SWAP)):
        assert [step, step, SettlementStep.REFUND] == [
            asked(settlement, now) for now in (deadline - 1, deadline, deadline + 1)
        ]


def test_without_authority_one_waits_for_the_deadline() -> None:
    """Nothing is pulled that nobody handed to us; the empty settlement is closed when it ends."""
    created = standing_at(SettlementState.CREATED, fund_deadline=1_000)
    assert SettlementStep.WAIT is asked(created, 1_000, authorized=False)
    assert SettlementStep.REFUND is asked(created, 1_001, authorized=False)
    assert SettlementStep.SWAP is asked(
        standing_at(SettlementState.FUNDED, swap_deadline=9), 1, authorized=False
    )


def test_finality_to_the_block() -> None:
    """Deadlines play no part any more, nor does a failure."""
    swapped = standing_at(SettlementState.SWAPPED, swap_deadline=0, failure=FAILURE)
    assert [SettlementStep.WAIT, SettlementStep.CONFIRM] == [
        asked(swapped, 10**9, head) for head in (101, 102)
    ]
    off_chain = replace(swapped, entered=tuple(replace(e, block=None) for e in swapped.entered))
    assert SettlementStep.WAIT is asked(off_chain, 0, 10**9), "without a block there is no depth"
    assert SettlementStep.EXECUTE is asked(
        standing_at(SettlementState.FINAL, failure=FAILURE), 10**9
    )


# --- Failures ---


def failed(act: str, *, tx: str = "", transient: bool = True, code: str = "not_final") -> ev.Event:
    """An act refused: in simulation (no `tx`), or mined and reverted."""
    return ev.TransactionFailed(
        subject=ID,
        at_ms=1,
        source="facilitator",
        act=act,
        tx=tx,
        code=code,
        message=f"{act} failed.",
        transient=transient,
    )


def after(settlement: Settlement, told: Sequence[ev.Event]) -> Settlement:
    """`settlement` after these facts."""
    for fact in told:
        settlement = apply(settlement, fact)
    return settlement


@pytest.mark.parametrize(
    ("state", "act"), [(SettlementState.CREATED, "fund"), (SettlementState.FUNDED, "swap")]
)
@pytest.mark.parametrize("tx", ["", "0xfeed"], ids=["simulated", "mined"])
def test_a_lasting_failure_leads_to_a_refund_with_its_reason(
    state: SettlementState, act: str, tx: str
) -> None:
    """At once, and with the code as the reason on chain."""
    settlement = standing_at(state, fund_deadline=100, swap_deadline=100)
    settlement = apply(settlement, failed(act, tx=tx, transient=False, code="over_budget"))
    assert SettlementStep.REFUND is asked(settlement, 1)
    assert "over_budget" == refund_reason(settlement)


@given(st.lists(st.sampled_from(["swap", "fund", "create"]), max_size=30))
def test_what_may_pass_does_not_lead_to_a_refund(acts: list[str]) -> None:
    """However often the simulation says so: only the deadline ends that."""
    settlement = standing_at(SettlementState.FUNDED, swap_deadline=100)
    settlement = after(settlement, [failed(act) for act in acts])
    assert settlement.failure is None
    assert [SettlementStep.SWAP, SettlementStep.REFUND] == [
        asked(settlement, now) for now in (100, 101)
    ]
    assert "expired" == refund_reason(settlement)


@given(
    st.lists(st.sampled_from(["reverted", "refused", "other", "raced"]), max_size=12),
    st.integers(0, 4),
)
def test_an_act_is_tried_again_so_often_and_then_refunded(fates: list[str], retries: int) -> None:
    """Exactly 1 + `retries` mined reverts, the last one for a reason: simulated refusals do not
    count, nor does another act's revert; a race counts, and ends nothing."""
    settlement = standing_at(SettlementState.FUNDED, swap_deadline=100)
    fact = {
        "reverted": failed("swap", tx="0x01"),
        "refused": failed("swap"),
        "other": failed("create", tx="0x02"),
        "raced": failed("swap", tx="0x03", code="state_moved"),
    }
    over = False
    for fate in fates:
        settlement = apply(settlement, fact[fate])
        act = "create" if fate == "other" else "swap"
        over |= fate in ("reverted", "other") and settlement.reverted.count(act) > retries
        step = next_step(
            settlement,
            head=100,
            now=1,
            finality=FinalityPolicy(2),
            authorized=True,
            retries=retries,
        )
        assert (SettlementStep.REFUND if over else SettlementStep.SWAP) is step
        assert ("not_final" if over else "expired") == refund_reason(settlement, retries)
    mined = fates.count("reverted") + fates.count("raced")
    assert mined == settlement.reverted.count("swap")


def test_two_retries_unless_somebody_says_otherwise() -> None:
    settlement = standing_at(SettlementState.FUNDED, swap_deadline=100)
    steps = []
    for _ in range(1 + RETRIES):
        steps.append(asked(settlement, 1))
        settlement = apply(settlement, failed("swap", tx="0x01"))
    assert [SettlementStep.SWAP] * 3 == steps
    assert SettlementStep.REFUND is asked(settlement, 1)


def test_a_failure_is_about_one_state() -> None:
    """Whoever funded meanwhile: the next state starts with a clean sheet."""
    settlement = apply(standing_at(SettlementState.CREATED), failed("fund", transient=False))
    assert settlement.failure is not None
    assert apply(settlement, FACTS[ev.SettlementFunded]).failure is None
    reverted = after(standing_at(SettlementState.CREATED), [failed("fund", tx="0x01")] * 3)
    assert given_up(reverted) is not None
    assert given_up(apply(reverted, FACTS[ev.SettlementFunded]), 0) is None


@given(st.text(st.characters(codec="ascii"), max_size=80))
@example("x" * 31)
@example("x" * 32)
def test_a_reason_fits_one_word(code: str) -> None:
    """31 bytes of ASCII, as the vault keeps it."""
    reason = refund_reason(
        standing_at(SettlementState.FUNDED, failure=SettlementFailure("swap", code, ""))
    )
    assert code[:FACILITATOR_REASONS] == reason
    assert len(reason.encode("ascii")) < 32


# --- A driver on a chain that misbehaves ---

FATES = ("mined", "refused", "reverted", "lasting", "idle", "slow", "reorg 1", "reorg 3", "reorg 9")
BLOCK_S, FUND_S, SWAP_S, GATE = 10, 120, 240, 2


@dataclass
class Node:
    """A chain with one vault on it, which judges by its own rules and not by ours.

    `blocks`: hash, time and the vault's word after each; a reorg cuts the newest off.
    """

    journal: list[ev.Event] = field(default_factory=list)
    blocks: list[tuple[str, int, str]] = field(default_factory=lambda: [("0xb0", 0, "none")])
    mined: int = 0
    bad_orders: list[str] = field(default_factory=list)

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    @property
    def now(self) -> int:
        return self.blocks[-1][1]

    @property
    def word(self) -> str:
        return self.blocks[-1][2]

    def mine(self, seconds: int = BLOCK_S, fact: type[ev.Event] | None = None) -> None:
        """A block, with the vault's fact in it or none."""
        self.mined += 1
        word = fact.__name__.removeprefix("Settlement").lower() if fact else self.word
        self.blocks.append((f"0xb{self.mined}", self.now + seconds, word))
        if fact:
            known: dict[str, Any] = {"block": self.at(self.head), "at_ms": self.now * 1000}
            if fact is ev.SettlementCreated:
                known |= {"fund_deadline": FUND_S, "swap_deadline": SWAP_S}
            self.journal.append(replace(FACTS[fact], **known))

    def at(self, number: int) -> ev.BlockRef:
        return ev.BlockRef(number, self.blocks[number][0], f"0xt{self.mined}", 0)

    def reorg(self, depth: int) -> None:
        """Take the newest blocks back, but not the settlement's birth; the new branch is longer."""
        depth = min(depth, self.head - 1)
        for number in range(self.head, self.head - depth, -1):
            gone, _, _ = self.blocks.pop()
            self.journal.append(
                ev.BlockOrphaned(subject=gone, at_ms=0, source="watcher", number=number)
            )
        for _ in range(depth and depth + 1):
            self.mine()

    def do(self, step: SettlementStep) -> None:
        """An act as the vault takes it: in its state and time, else it reverts."""
        since = next(n for n, block in enumerate(self.blocks) if block[2] == self.word)
        allowed = {
            SettlementStep.FUND: self.word == "created",
            SettlementStep.SWAP: self.word == "funded",
            SettlementStep.EXECUTE: self.word == "swapped" and self.head >= since + GATE,
            SettlementStep.REFUND: self.word in ("created", "funded"),
        }
        if not allowed[step]:
            self.bad_orders.append(f"{step.value} in {self.word}")
        late = {SettlementStep.FUND: FUND_S, SettlementStep.SWAP: SWAP_S}.get(
            step, 10**9
        ) < self.now + BLOCK_S
        if late:
            self.fail(step, "0xlate", transient=True)
        else:
            self.mine(fact=ACT[step])

    def fail(self, step: SettlementStep, tx: str, transient: bool) -> None:
        """The act is refused (no `tx`) or reverts in a block of its own."""
        self.mine()
        fact = failed(step.value, tx=tx, transient=transient)
        self.journal.append(replace(fact, block=self.at(self.head) if tx else None))


def round_of(node: Node, fate: str, authorized: bool) -> SettlementStep:
    """One round of the loop: fold, ask, act, and let fate have its way."""
    (settlement,) = fold(node.journal).values()
    step = next_step(
        settlement,
        head=node.head,
        now=node.now,
        finality=FinalityPolicy(3, GATE),
        authorized=authorized,
    )
    if fate.startswith("reorg"):
        node.reorg(int(fate.split()[1]))
    elif fate in ("idle", "slow") or step in (SettlementStep.WAIT, SettlementStep.NOTHING):
        node.mine(60 if fate == "slow" else BLOCK_S)
    elif step is SettlementStep.CONFIRM:
        swapped = settlement.block_of(SettlementState.SWAPPED)
        node.journal.append(replace(FACTS[ev.FinalityReached], block=swapped))
    elif fate == "refused":
        node.fail(step, "", transient=True)
    elif fate == "reverted":
        node.fail(step, "0xbad", transient=True)
    elif fate == "lasting":
        node.fail(step, "", transient=False)
    else:
        node.do(step)
    return step


@examples(120)
@given(st.lists(st.sampled_from(FATES), max_size=30), st.booleans())
def test_a_driver_that_asks_next_step_always_comes_to_an_end(
    fates: list[str], authorized: bool
) -> None:
    """Whatever is refused, reverted or taken back: executed or refunded, and no act out of place.

    Once fate is done with it, the settlement ends within the blocks that its deadlines span.
    """
    node = Node()
    node.mine(fact=ev.SettlementCreated)
    for fate in fates:
        round_of(node, fate, authorized)
    steps = [round_of(node, "mined", authorized) for _ in range(60)]
    (settlement,) = fold(node.journal).values()
    assert settlement.state in (SettlementState.EXECUTED, SettlementState.REFUNDED)
    assert [] == node.bad_orders
    assert settlement.contract_word(node.now) == node.word
    assert SettlementStep.NOTHING is steps[-1]
    if not fates and authorized:
        assert SettlementState.EXECUTED is settlement.state
    if not authorized:
        assert SettlementState.REFUNDED is settlement.state
