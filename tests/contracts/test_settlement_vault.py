"""The main path: create, fund, swap, execute, and what each step refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.harness import GENESIS_TIME, Party, Receipt, reverts
from tests.contracts.vault_world import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FINALITY_BLOCKS,
    FOREVER,
    FUND_DEADLINE,
    GRACE_BLOCKS,
    NO_PERMIT,
    SELLER,
    STRANGER,
    SWAP_DEADLINE,
    ZERO_ADDRESS,
    World,
)

both_sides = pytest.mark.parametrize("world", ["usdc_first", "eurc_first"], indirect=True)


# ------------------------------------------------------------------------ the whole path


@both_sides
def test_a_settlement_moves_exactly_what_the_terms_say(world: World) -> None:
    terms = world.terms()
    before = {
        (token.address, owner): world.balance(token, owner)
        for token in (world.usdc, world.eurc, world.shares)
        for owner in (BUYER, SELLER, world.manager)
    }

    for step in (world.create, world.fund, world.swap):
        receipt = step(terms)
        world.assert_conserved()
    spent = world.predicted_spend(terms.requiredUsdc)
    assert spent == receipt.one("SettlementSwapped")["eurcSpent"]
    world.mine(FINALITY_BLOCKS - 1)
    world.execute(terms, world.block_hash(receipt.block))
    world.assert_conserved()

    moved = {
        (world.eurc.address, BUYER): -spent,
        (world.eurc.address, world.manager): spent,
        (world.usdc.address, world.manager): -terms.requiredUsdc,
        (world.usdc.address, SELLER): terms.requiredUsdc,
        (world.shares.address, SELLER): -terms.assetAmount,
        (world.shares.address, BUYER): terms.assetAmount,
    }
    tokens = {token.address: token for token in (world.usdc, world.eurc, world.shares)}
    for (address, owner), balance in before.items():
        change = world.balance(tokens[address], owner) - balance
        assert moved.get((address, owner), 0) == change


def test_every_step_says_what_it_did_once(world: World) -> None:
    terms = world.terms()
    settlement_id = world.id_of(terms)
    spent = world.predicted_spend(terms.requiredUsdc)

    created = world.create(terms)
    assert created.names() == ["SettlementCreated"]
    assert created.one("SettlementCreated") == {
        "settlementId": settlement_id,
        "buyer": BUYER.address,
        "seller": SELLER.address,
        "terms": (
            BUYER.address.lower(),
            SELLER.address.lower(),
            terms.asset.lower(),
            *terms.words[3:],
        ),
    }

    funded = world.fund(terms)
    pulled = [event for event in funded.events if event.name == "Pulled"]
    assert [event.emitter for event in pulled] == [world.puller.address] * 2
    assert [event.args for event in pulled] == [
        {
            "settlementId": settlement_id,
            "token": world.eurc.address,
            "owner": BUYER.address,
            "amount": terms.maxEurc,
        },
        {
            "settlementId": settlement_id,
            "token": world.shares.address,
            "owner": SELLER.address,
            "amount": terms.assetAmount,
        },
    ]
    assert funded.one("SettlementFunded") == {
        "settlementId": settlement_id,
        "eurcAmount": terms.maxEurc,
        "assetAmount": terms.assetAmount,
    }

    swapped = world.swap(terms)
    assert swapped.one("SettlementSwapped") == {
        "settlementId": settlement_id,
        "eurcSpent": spent,
        "usdcReceived": terms.requiredUsdc,
    }
    state = world.ask(world.vault, "settlements", settlement_id)
    assert state == [3, swapped.block, spent]

    world.mine(FINALITY_BLOCKS - 1)
    executed = world.execute(terms)
    assert executed.one("SettlementExecuted") == {
        "settlementId": settlement_id,
        "assetToBuyer": terms.assetAmount,
        "usdcToSeller": terms.requiredUsdc,
        "eurcReturned": terms.maxEurc - spent,
    }


def test_a_budget_spent_to_the_last_cent_returns_nothing(world: World) -> None:
    spent = world.predicted_spend(110_000_000)
    terms = world.terms(maxEurc=spent)
    world.reach(terms, "Swapped")
    executed = world.execute(terms)
    assert executed.one("SettlementExecuted")["eurcReturned"] == 0
    assert executed.names().count("Transfer") == 2
    world.assert_conserved()


def test_steps_cannot_be_taken_twice_or_out_of_order(world: World) -> None:
    """I5, I6: every step from every status; only the one that is owed goes through."""
    terms = world.terms()
    settlement_id = world.id_of(terms)
    consent = world.sign_terms(terms, BUYER)
    steps: dict[str, Callable[[], Receipt]] = {
        "None": lambda: world.create(terms, buyer_signature=consent),
        "Created": lambda: world.fund(terms),
        "Funded": lambda: world.swap(terms),
        "Swapped": lambda: world.execute(terms),
    }
    codes = {"None": 0, "Created": 1, "Funded": 2, "Swapped": 3, "Executed": 4}

    def all_but(allowed: str) -> None:
        for needed, step in steps.items():
            if needed != allowed:
                with reverts("BadStatus", settlement_id, codes[allowed]):
                    step()

    for status in steps:
        all_but(status)
        if status == "Swapped":
            world.mine(FINALITY_BLOCKS)
        steps[status]()
    all_but("Executed")
    with reverts("BadStatus", settlement_id, codes["Executed"]):
        world.refund(terms)
    world.assert_conserved()


# -------------------------------------------------------------------------------- create


def test_the_id_is_the_digest_that_wallets_sign(world: World) -> None:
    """An independent EIP-712 encoder agrees with the vault, or no signature would fit."""
    world.create(world.terms(), buyer_signature=world.sign_terms(world.terms(), BUYER))
    assert world.status_of(world.terms()) == "Created"


ALTERED = {
    "buyer": Party("another buyer").address,
    "seller": Party("another seller").address,
    "assetAmount": 1,
    "requiredUsdc": 110_000_001,
    "maxEurc": 121_000_001,
    "fundDeadline": FUND_DEADLINE + 1,
    "swapDeadline": SWAP_DEADLINE + 1,
    "resourceHash": b"\x12" * 32,
    "salt": b"\x23" * 32,
}


@pytest.mark.parametrize("member", [*ALTERED, "asset"])
def test_consent_covers_every_member(world: World, member: str) -> None:
    """Terms altered in one member are another id, and the buyer's signature does not fit."""
    value = ALTERED.get(member)
    if member == "asset":
        value = world.deploy("FeeToken").address
        world.act(world.vault, "setAsset", value, True)
    terms, altered = world.terms(), world.terms(**{member: value})
    assert world.id_of(terms) != world.id_of(altered)
    caller = Party("another seller") if member == "seller" else SELLER
    with reverts("BadBuyerSignature"):
        world.create(altered, sender=caller, buyer_signature=world.sign_terms(terms, BUYER))
    assert world.status_of(altered) == "None"


@pytest.mark.parametrize(
    "domain",
    [
        {"verifyingContract": ADMIN.address},
        {"chainId": 1},
        {"name": "Settlement Vault"},
        {"version": "2"},
    ],
    ids=lambda domain: next(iter(domain)),
)
def test_consent_does_not_travel_to_another_vault_or_chain(
    world: World, domain: dict[str, Any]
) -> None:
    terms = world.terms()
    with reverts("BadBuyerSignature"):
        world.create(terms, buyer_signature=world.sign_terms(terms, BUYER, **domain))
    with reverts("BadSellerSignature"):
        world.create(
            terms, sender=STRANGER, seller_signature=world.sign_terms(terms, SELLER, **domain)
        )


def test_another_vault_has_other_ids(world: World) -> None:
    other = world.deploy_vault()
    world.act(other, "setHook", world.hook.address)
    world.act(other, "setAsset", world.shares.address, True)
    terms = world.terms()
    assert world.ask(other, "settlementId", terms.words) != world.id_of(terms)
    with reverts("BadBuyerSignature"):
        world.act(
            other,
            "createSettlement",
            terms.words,
            world.sign_terms(terms, BUYER),
            b"",
            sender=SELLER,
        )


def test_anyone_may_bring_both_signatures(world: World) -> None:
    terms = world.terms()
    world.create(terms, sender=STRANGER, seller_signature=world.sign_terms(terms, SELLER))
    assert world.status_of(terms) == "Created"


def test_nobody_creates_without_the_seller(world: World) -> None:
    terms = world.terms()
    for caller in (STRANGER, BUYER, FACILITATOR, ADMIN):
        for signature in (b"", b"\0" * 65, world.sign_terms(terms, BUYER)):
            with reverts("BadSellerSignature"):
                world.create(terms, sender=caller, seller_signature=signature)


@pytest.mark.parametrize("signature", [b"", b"\0" * 65, b"\x01" * 64, b"\x01" * 66])
def test_nobody_creates_without_the_buyer(world: World, signature: bytes) -> None:
    with reverts("BadBuyerSignature"):
        world.create(world.terms(), buyer_signature=signature)


def test_the_other_half_of_a_signature_is_no_second_signature(world: World) -> None:
    """(r, n - s) also solves the equation; OpenZeppelin refuses the high half."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    terms = world.terms()
    low = world.sign_terms(terms, BUYER)
    flipped_s = (order - int.from_bytes(low[32:64], "big")).to_bytes(32, "big")
    high = low[:32] + flipped_s + bytes([55 - low[64]])
    with reverts("BadBuyerSignature"):
        world.create(terms, buyer_signature=high)


def test_a_contract_wallet_buys_by_erc_1271(world: World) -> None:
    wallet = world.deploy("Wallet1271", BUYER.address)
    world.act(world.eurc, "mint", wallet.address, 10**9)
    approve = world.eurc.encode_abi("approve", args=[world.puller.address, 10**9])
    world.act(wallet, "act", world.eurc.address, approve, sender=BUYER)
    terms = world.terms(buyer=wallet.address)

    with reverts("BadBuyerSignature"):
        world.create(terms, buyer_signature=world.sign_terms(terms, STRANGER))
    world.create(terms)
    world.fund(terms, buyer_permit=NO_PERMIT)
    world.swap(terms)
    world.mine(FINALITY_BLOCKS)
    world.execute(terms)
    assert world.balance(world.shares, wallet) == terms.assetAmount
    world.assert_conserved()


def test_a_contract_wallet_sells_by_erc_1271(world: World) -> None:
    wallet = world.deploy("Wallet1271", SELLER.address)
    terms = world.terms(seller=wallet.address)
    signed = world.sign_terms(terms, SELLER)
    world.create(terms, sender=FACILITATOR, seller_signature=signed)
    assert world.status_of(terms) == "Created"


@pytest.mark.parametrize("amount", ["assetAmount", "requiredUsdc", "maxEurc"])
def test_amounts_are_not_zero(world: World, amount: str) -> None:
    with reverts("ZeroAmount"):
        world.create(world.terms(**{amount: 0}))


@pytest.mark.parametrize("amount", ["requiredUsdc", "maxEurc"])
def test_currency_amounts_are_below_two_to_the_96(world: World, amount: str) -> None:
    world.create(world.terms(**{amount: 2**96 - 1}))
    with reverts("AmountTooLarge", 2**96):
        world.create(world.terms(**{amount: 2**96}))


def test_parties_are_outsiders_and_two(world: World) -> None:
    insiders = [
        ZERO_ADDRESS,
        *(c.address for c in (world.vault, world.puller, world.manager, world.hook)),
    ]
    for address in insiders:
        for role in ("buyer", "seller"):
            with reverts("BadParty", address):
                world.create(world.terms(**{role: address}))
    with reverts("BadParty", SELLER.address):
        world.create(world.terms(buyer=SELLER.address))


def test_deadlines_are_in_order_and_include_their_last_second(world: World) -> None:
    with reverts("BadDeadlines"):
        world.create(world.terms(fundDeadline=SWAP_DEADLINE + 1))
    world.create(world.terms(fundDeadline=SWAP_DEADLINE))

    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    world.at(FUND_DEADLINE)
    world.create(last)
    world.at(FUND_DEADLINE + 1)
    with reverts("DeadlinePassed", FUND_DEADLINE):
        world.create(late)


def test_only_listed_assets_are_sold(world: World) -> None:
    token = world.deploy("FeeToken")
    terms = world.terms(asset=token.address)
    with reverts("AssetNotAllowed", token.address):
        world.create(terms)
    world.act(world.vault, "setAsset", token.address, True)
    world.create(terms)
    world.act(world.vault, "setAsset", token.address, False)
    with reverts("AssetNotAllowed", token.address):
        world.create(terms.altered(salt=b"\x01" * 32))


# ---------------------------------------------------------------------------------- fund


def test_only_the_facilitator_funds_and_swaps(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Created")
    for caller in (BUYER, SELLER, ADMIN, STRANGER):
        with reverts("AccessControlUnauthorizedAccount"):
            world.fund(terms, sender=caller)
        with reverts("AccessControlUnauthorizedAccount"):
            world.fund_with_authorization(terms, sender=caller)
    world.fund(terms)
    for caller in (BUYER, SELLER, ADMIN, STRANGER):
        with reverts("AccessControlUnauthorizedAccount"):
            world.swap(terms, sender=caller)


def test_funding_includes_its_last_second(world: World) -> None:
    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    world.create(last)
    world.create(late)
    world.at(FUND_DEADLINE)
    world.fund(last)
    with reverts("DeadlinePassed", FUND_DEADLINE):
        world.fund(late)
    with reverts("DeadlinePassed", FUND_DEADLINE):
        world.fund_with_authorization(late)
    world.assert_conserved()


def test_what_does_not_arrive_in_full_is_not_escrow(world: World) -> None:
    """A fee would be paid out of another settlement's escrow, a bonus would be nobody's."""
    token = world.deploy("FeeToken")
    world.act(world.vault, "setAsset", token.address, True)
    world.act(token, "mint", SELLER.address, 10**20)
    world.act(token, "approve", world.puller.address, 10**20, sender=SELLER)
    terms = world.terms(asset=token.address, assetAmount=1_000)
    world.create(terms)

    world.act(token, "setDifference", -1)
    with reverts("FeeOnTransfer", token.address, 999, 1_000):
        world.fund(terms, seller_permit=NO_PERMIT)
    world.act(token, "setDifference", 1)
    with reverts("UnexpectedBalance", token.address, 1_001, 1_000):
        world.fund(terms, seller_permit=NO_PERMIT)
    assert world.status_of(terms) == "Created"
    world.act(token, "setDifference", 0)
    world.fund(terms, seller_permit=NO_PERMIT)
    world.assert_conserved(token)


def test_two_open_quotes_are_funded_by_authorisation_in_either_order(world: World) -> None:
    """ERC-3009 nonces are the settlement ids, so quotes do not wait for each other."""
    first, second = world.terms(), world.terms(salt=b"\x01" * 32)
    signatures = {terms: world.authorise(terms) for terms in (first, second)}
    for terms in (first, second):
        world.create(terms)
    snapshot = world.node.rpc("evm_snapshot")
    for order in ((first, second), (second, first)):
        for terms in order:
            receipt = world.fund_with_authorization(terms, signatures[terms])
            used = receipt.one("AuthorizationUsed")
            assert used == {"authorizer": BUYER.address, "nonce": world.id_of(terms)}
            world.assert_conserved()
        world.node.rpc("evm_revert", snapshot)
        snapshot = world.node.rpc("evm_snapshot")


def test_two_open_quotes_by_permit_only_go_in_the_order_of_nonces(world: World) -> None:
    """What ERC-3009 is for: the second permit fails while the first is not used."""
    first, second = world.terms(), world.terms(salt=b"\x01" * 32)
    early = world.permit(world.eurc, BUYER, first.maxEurc, nonce=0)
    late = world.permit(world.eurc, BUYER, second.maxEurc, nonce=1)
    for terms in (first, second):
        world.create(terms)
    with reverts("AllowanceTooLow", world.eurc.address, BUYER.address, 0, second.maxEurc):
        world.fund(second, buyer_permit=late)
    world.fund(first, buyer_permit=early)
    world.fund(second, buyer_permit=late)
    world.assert_conserved()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"value": 121_000_001}, "ERC3009InvalidSignature"),
        ({"to": ADMIN.address}, "ERC3009InvalidSignature"),
        ({"nonce": bytes(32)}, "ERC3009InvalidSignature"),
        ({"validBefore": FOREVER + 1}, "ERC3009InvalidSignature"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_authorisation_for_anything_else_does_not_fund(
    world: World, change: dict[str, Any], error: str
) -> None:
    terms = world.terms()
    world.create(terms)
    with reverts(error):
        world.fund_with_authorization(terms, world.authorise(terms, **change))


def test_an_authorisation_by_someone_else_does_not_fund(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    with reverts("ERC3009InvalidSignature"):
        world.fund_with_authorization(terms, world.authorise(terms, STRANGER))


def test_an_authorisation_has_its_time(world: World) -> None:
    terms = world.terms()
    world.create(terms)
    permit = world.permit(world.shares, SELLER, terms.assetAmount)
    for after, before in ((FOREVER, 2 * FOREVER), (0, GENESIS_TIME)):
        signature = world.authorise(terms, validAfter=after, validBefore=before)
        with reverts("ERC3009InvalidAuthorizationTime", after, before):
            world.act(
                world.vault,
                "fundWithAuthorization",
                terms.words,
                after,
                before,
                signature,
                permit,
                sender=FACILITATOR,
            )


def test_a_cancelled_authorisation_does_not_fund(world: World) -> None:
    """The buyer's way out of a quote that is still open: the nonce is the id."""
    terms = world.terms()
    world.create(terms)
    world.cancel_authorization(terms)
    with reverts("ERC3009UsedAuthorization", BUYER.address, world.id_of(terms)):
        world.fund_with_authorization(terms)
    world.refund(terms)
    world.assert_conserved()


def test_nobody_can_spend_the_authorisation_ahead_of_the_vault(world: World) -> None:
    """It is a *receive* authorisation: only the payee may use it."""
    terms = world.terms()
    world.create(terms)
    signature = world.authorise(terms)
    with reverts("ERC20InvalidReceiver", world.vault.address):
        world.receive_with_authorization(terms, signature, sender=STRANGER)


def test_a_contract_wallet_funds_by_authorisation(world: World) -> None:
    wallet = world.deploy("Wallet1271", BUYER.address)
    world.act(world.eurc, "mint", wallet.address, 10**9)
    terms = world.terms(buyer=wallet.address)
    world.create(terms)
    world.fund_with_authorization(terms)
    world.assert_conserved()
    assert world.balance(world.eurc, wallet) == 10**9 - terms.maxEurc


# ---------------------------------------------------------------------------------- swap


def test_the_swap_includes_its_last_second(world: World) -> None:
    last, late = world.terms(salt=b"\x01" * 32), world.terms(salt=b"\x02" * 32)
    world.reach(last, "Funded")
    world.reach(late, "Funded")
    world.at(SWAP_DEADLINE)
    world.swap(last)
    with reverts("DeadlinePassed", SWAP_DEADLINE):
        world.swap(late)


@both_sides
def test_a_budget_one_cent_short_is_over_budget(world: World) -> None:
    spent = world.predicted_spend(110_000_000)
    enough, short = world.terms(maxEurc=spent), world.terms(maxEurc=spent - 1)
    world.reach(short, "Funded")
    with reverts("OverBudget", spent, spent - 1):
        world.swap(short)
    assert world.status_of(short) == "Funded"
    world.assert_conserved()
    world.reach(enough, "Swapped")


@both_sides
def test_an_empty_pool_is_a_partial_fill(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    world.add_liquidity(-(10**15))
    with reverts("PartialFill", 0, terms.requiredUsdc):
        world.swap(terms)
    assert world.status_of(terms) == "Funded"
    world.refund(terms, b"NO_LIQUIDITY")
    world.assert_conserved()


@both_sides
def test_a_thin_pool_is_a_partial_fill_at_a_price_within_the_band(world: World) -> None:
    """All liquidity sits in twenty ticks round the price: what there is is cheap, and too
    little. The price limit stops the walk through the empty ticks beyond it."""
    terms = world.terms(requiredUsdc=110_000_000_000, maxEurc=121_000_000_000)
    world.reach(terms, "Funded")
    world.add_liquidity(-(10**15))
    middle = 950 if world.eurc_is_currency0 else -960
    world.add_liquidity(10**12, (middle - 10, middle + 20))
    with reverts("PartialFill") as failure:
        world.swap(terms)
    got, wanted = failure.value.values
    assert 0 < got < wanted == terms.requiredUsdc
    assert failure.value.receipt.gas < 300_000
    assert world.status_of(terms) == "Funded"


@both_sides
def test_a_swap_too_large_for_the_pool_fails_whole(world: World) -> None:
    """Deep slippage inside constant liquidity is for the band to refuse."""
    terms = world.terms(requiredUsdc=110_000_000, maxEurc=10**9)
    world.reach(terms, "Funded")
    world.add_liquidity(-(10**15))
    world.add_liquidity(10**9)
    with reverts("OutsideBand"):
        world.swap(terms)
    world.refund(terms)
    world.assert_conserved()


@both_sides
def test_the_price_limit_does_not_stand_in_the_way_of_the_budget(world: World) -> None:
    """The last dollar may cost far more than the average, if the average is within budget:
    here the price doubles on the way, and the whole costs 1.4 times the first dollar's price."""
    terms = world.terms(requiredUsdc=300_000_000, maxEurc=395_000_000)
    world.reach(terms, "Funded")
    world.set_rate(band_bps=5_000)
    world.add_liquidity(-(10**15))
    world.add_liquidity(10**9)
    predicted = world.predicted_spend(terms.requiredUsdc, liquidity=10**9)
    spent = world.swap(terms).one("SettlementSwapped")["eurcSpent"]
    assert 0 <= spent - predicted < 10  # v4 rounds up at every word of ticks on the way
    assert 1.39 < spent / (300_000_000 / 1.1) < 1.41


def test_several_swaps_in_one_transaction_do_not_mix(world: World) -> None:
    """The live id is transient storage, which outlives a call: the vault clears it itself."""
    robot = world.deploy("Wallet1271", FACILITATOR.address)
    role = world.ask(world.vault, "FACILITATOR_ROLE")
    world.act(world.vault, "grantRole", role, robot.address)
    deals = [world.terms(salt=bytes([number]) * 32) for number in (1, 2)]
    for terms in deals:
        world.reach(terms, "Funded")
    encode = world.vault.encode_abi
    calls = [encode("executeSwap", args=[terms.words]) for terms in deals]
    questions = [encode("isSwapping", args=[world.id_of(terms)]) for terms in deals]

    batch = [calls[0], questions[0], calls[1], questions[0], questions[1]]
    answers = robot.functions.actAll(world.vault.address, batch).call({"from": FACILITATOR.address})
    assert [int.from_bytes(answers[place], "big") for place in (1, 3, 4)] == [0, 0, 0]
    receipt = world.act(robot, "actAll", world.vault.address, batch, sender=FACILITATOR)
    assert receipt.names().count("SettlementSwapped") == 2
    world.assert_conserved()


def test_dollars_that_do_not_arrive_in_full_undo_the_swap(world: World) -> None:
    """A settlement currency that begins to take a fee is refused before it is owed on."""
    token = world.deploy("FeeToken")
    while token.address.lower() > world.eurc.address.lower():
        token = world.deploy("FeeToken")
    world.act(token, "mint", ADMIN.address, 10**17)
    world.act(token, "approve", world.seeder.address, 10**17)
    world.contracts["usdc"] = token
    world.replace_vault(world.deploy_vault())
    terms = world.terms()
    world.reach(terms, "Funded")
    world.act(token, "setDifference", -1)
    with reverts("FeeOnTransfer", token.address, 109_999_999, 110_000_000):
        world.swap(terms)
    world.act(token, "setDifference", 0)
    world.swap(terms)
    world.assert_conserved()


# ------------------------------------------------------------------------------- execute


def test_the_facilitator_executes_at_the_gate_and_anyone_after_the_grace(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    swap_block = world.swap(terms).block
    gate, open_gate = swap_block + FINALITY_BLOCKS, swap_block + FINALITY_BLOCKS + GRACE_BLOCKS
    snapshot = world.node.rpc("evm_snapshot")

    world.mine(FINALITY_BLOCKS - 2)
    with reverts("NotFinal", gate):  # in the block before the gate
        world.execute(terms)
    world.execute(terms)

    world.node.rpc("evm_revert", snapshot)
    world.mine(FINALITY_BLOCKS + GRACE_BLOCKS - 4)
    for caller in (BUYER, SELLER, STRANGER):
        with reverts("NotFinal", open_gate):
            world.execute(terms, sender=caller)
    assert world.execute(terms, sender=STRANGER).block == open_gate
    world.assert_conserved()


def test_the_pin_refuses_another_block_than_the_caller_saw(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Funded")
    swap_block = world.swap(terms).block
    world.mine(FINALITY_BLOCKS)
    with reverts("ReorgDetected"):
        world.execute(terms, world.block_hash(swap_block - 1))
    world.execute(terms, world.block_hash(swap_block))


def test_the_pin_says_nothing_once_the_block_is_forgotten(world: World) -> None:
    """BLOCKHASH reaches 256 blocks; older swaps are rechecked off the chain."""
    terms = world.terms()
    world.reach(terms, "Funded")
    world.swap(terms)
    world.mine(255)
    wrong = b"\x01" * 32
    with reverts("ReorgDetected"):  # 256 blocks on: the oldest that is remembered
        world.execute(terms, wrong)
    world.execute(terms, wrong)


def test_a_vault_without_a_gate_executes_in_the_block_of_the_swap(world: World) -> None:
    """Finality zero: the pin cannot be known yet, and does not stand in the way."""
    vault = world.deploy_vault(finality=0, grace=0)
    world.replace_vault(vault)
    terms = world.terms()
    world.reach(terms, "Funded")
    calls = [
        vault.encode_abi("executeSwap", args=[terms.words]),
        vault.encode_abi("executeSettlement", args=[terms.words, b"\x01" * 32]),
    ]
    blocks = {receipt.block for receipt in world.send_in_one_block(vault, calls, FACILITATOR)}
    assert len(blocks) == 1
    assert world.status_of(terms) == "Executed"


# --------------------------------------------------------------------------------- admin


def test_the_hook_is_set_once_and_by_the_admin(world: World) -> None:
    vault = world.deploy_vault()
    with reverts("AccessControlUnauthorizedAccount"):
        world.act(vault, "setHook", world.hook.address, sender=STRANGER)
    with reverts("ZeroAddress"):
        world.act(vault, "setHook", ZERO_ADDRESS)
    receipt = world.act(vault, "setHook", world.hook.address)
    assert receipt.one("HookSet") == {"hook": world.hook.address}
    with reverts("HookAlreadySet"):
        world.act(vault, "setHook", world.hook.address)


def test_no_settlement_before_the_hook(world: World) -> None:
    vault = world.deploy_vault()
    terms = world.terms()
    with reverts("HookNotSet"):
        world.act(vault, "createSettlement", terms.words, b"", b"", sender=SELLER)


def test_the_admin_cannot_list_what_is_no_asset(world: World) -> None:
    for address in (world.usdc.address, world.eurc.address, STRANGER.address):
        with reverts("BadAsset", address):
            world.act(world.vault, "setAsset", address, True)
    with reverts("AccessControlUnauthorizedAccount"):
        world.act(world.vault, "setAsset", world.shares.address, False, sender=FACILITATOR)
    receipt = world.act(world.vault, "setAsset", world.shares.address, False)
    assert receipt.one("AssetSet") == {"asset": world.shares.address, "isAllowed": False}


def test_nobody_calls_what_the_vault_calls_itself(world: World) -> None:
    for caller in (STRANGER, FACILITATOR, ADMIN):
        with reverts("OnlyPoolManager"):
            data = b"\0" * 96
            world.act(world.vault, "unlockCallback", data, sender=caller)
        with reverts("OnlySelf"):
            world.act(
                world.vault, "pushTransfer", world.eurc.address, caller.address, 1, sender=caller
            )


def test_nothing_is_swapping_between_transactions(world: World) -> None:
    terms = world.terms()
    world.reach(terms, "Swapped")
    assert world.ask(world.vault, "isSwapping", world.id_of(terms)) is False
    assert world.ask(world.vault, "isSwapping", bytes(32)) is False


@both_sides
def test_the_pool_key_is_the_pool(world: World) -> None:
    assert world.ask(world.vault, "poolKey") == world.pool_key()
