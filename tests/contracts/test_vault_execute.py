"""Execute and administration: finality gate, block pin, and the admin's rights."""

from __future__ import annotations

from tests.contracts.harness import reverts
from tests.contracts.vault_deployment import (
    ADMIN,
    BUYER,
    FACILITATOR,
    FINALITY_BLOCKS,
    GRACE_BLOCKS,
    SELLER,
    STRANGER,
    ZERO_ADDRESS,
)
from tests.contracts.vault_helpers import both_sides
from tests.contracts.vault_world import World


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
