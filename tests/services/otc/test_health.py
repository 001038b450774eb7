"""What seller, facilitator and tracker say of their own state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.payments import offer, pay, payment
from workbench import World, simulated
from workbench.core.errors import PeerUnreachable, RpcUnreachable
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Request, Response
from workbench.core.pricing import Price
from workbench.worlds.rules import WorldRules

OTC = ("seller", "facilitator", "tracker")


def ready(world: World, name: str) -> tuple[int, dict[str, str]]:
    told = world.get(f"http://{name}/readyz")
    return told.status, told.data()["alarms"]


class Peer:
    """The HTTP port: whatever is asked is answered so."""

    def __init__(self, answer: Callable[[], Awaitable[Response]]) -> None:
        self._answer = answer

    async def send(self, request: Request) -> Response:
        return await self._answer()


async def gone() -> Response:
    raise PeerUnreachable("nobody answers at http://10.0.0.7:8403: no answer within 90 s.")


async def broken() -> Response:
    return Response.json(503, {"status": "not ready"})


async def alive() -> Response:
    return Response.json(200, {"status": "ok"})


async def older() -> Response:
    return Response.json(404, {"error": "not_found"})


@pytest.mark.parametrize("name", OTC)
def test_all_is_well(world: World, name: str) -> None:
    """The seed's fields of /health, and the state of every check."""
    assert (200, {}) == ready(world, name)
    assert 200 == world.get(f"http://{name}/livez").status
    told = world.get(f"http://{name}/health").data()
    assert ("ok", name, {}) == (told["status"], told["service"], told["alarms"])
    assert {"chain", "rounds"} <= told["checks"].keys()


def test_a_seller_whose_facilitator_is_gone_is_red(world: World) -> None:
    """A purchase would go no further than its offer. A time-out has a reason."""
    seller = world.seller
    for answer, is_red in ((gone, True), (broken, True), (alive, False), (older, False)):
        seller._http = Peer(answer)
        for _ in range(3):
            world.do(seller.look_at_facilitator())
            world.skip(6)
        status, alarms = ready(world, "seller")
        assert (503 if is_red else 200, is_red) == (status, "facilitator" in alarms)
        if answer is gone:
            assert "no answer within 90 s" in alarms["facilitator"]


def test_a_facilitator_that_hangs_is_gone_too(world: World) -> None:
    async def hang() -> Response:
        await world.clock.sleep(10**6)
        return await alive()

    world.seller._http = Peer(hang)
    for _ in range(2):
        world.do(world.seller.look_at_facilitator())
        world.skip(12)
    assert "did not answer in 2 s" in ready(world, "seller")[1]["facilitator"]


@pytest.mark.parametrize("name", OTC)
def test_health_answers_without_the_node(world: World, name: str) -> None:
    """What only the chain knows is null then."""

    async def away() -> None:
        raise RpcUnreachable("no chain at http://10.0.0.7:8545.")

    service = getattr(world, name)
    service._chain.head = away
    service._chain.rate = away
    told = world.get(f"http://{name}/health")
    assert (200, None) == (told.status, told.data()["block"])


def test_a_service_that_others_reach_tells_names_alone(world: World) -> None:
    """No host, port, id nor reason; in errors neither."""
    world.seller.health.is_public = True
    world.seller.health.fails("chain", "no chain at http://10.0.0.7:8545.")
    status, alarms = ready(world, "seller")
    assert (503, {"chain": "the node cannot be asked"}) == (status, alarms)

    async def away() -> None:
        raise RpcUnreachable("no chain at http://10.0.0.7:8545.")

    world.seller._chain.head = away  # type: ignore[method-assign,assignment]
    told = world.get("http://seller/buy-asset?amount=1")
    assert (503, "rpc_unreachable") == (told.status, told.data()["error"])
    assert "10.0.0.7" not in told.body.decode()


def test_a_defect_in_a_handler_is_an_alarm_and_a_count(world: World) -> None:
    """It is answered with 500, and takes the service away from nobody else."""

    async def defective() -> None:
        raise KeyError("timestamp")

    world.seller._chain.head = defective  # type: ignore[method-assign,assignment]
    assert 500 == world.get("http://seller/buy-asset?amount=1").status
    status, alarms = ready(world, "seller")
    assert (200, ["requests"]) == (status, list(alarms))
    assert 1 == world.seller.health.errors["KeyError"]


@pytest.mark.parametrize("name", OTC)
def test_a_defect_of_a_round_fails_a_simulated_run(world: World, name: str) -> None:
    """No fault of a scenario can hide one."""
    world.advance()

    async def defective() -> None:
        raise KeyError("timestamp")

    getattr(world, name)._chain.head = defective
    with pytest.raises(KeyError):
        world.advance(2)


def test_a_swap_that_does_not_become_final_is_an_alarm() -> None:
    """By the name of the check, never a refund; and it is gone when the swap is final."""
    rules = WorldRules(
        price=Price.parse("1.10"), finality=FinalityPolicy(30), finality_timeout_s=10
    )
    with simulated(rules=rules) as world:
        answer = pay(world, payment(world, offer(world)))
        identity = answer.data()["settlement_id"]
        world.advance(20)
        status, alarms = ready(world, "facilitator")
        assert (503, ["finality"]) == (status, list(alarms))
        assert alarms["finality"].startswith(f"Finality timeout: the swap of {identity} has")
        assert "degraded" == world.get("http://facilitator/health").data()["status"]
        world.advance(30)
        assert (200, {}) == ready(world, "facilitator")
        assert "executed" == world.get(f"http://seller/settlement/{identity}").data()["status"]
