"""A service that dies at any persisted step goes on after it, and does nothing twice.

The death is a BaseException out of the store, just before or just after a commit: what was sent
before it is sent, what was not committed is gone. A new service is then made of the same store.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.payments import AMOUNT, SELLER, follow, header, offer, payment
from workbench import World
from workbench.core.errors import PeerUnreachable
from workbench.core.facts import TransactionMined
from workbench.core.ports import Request, Response, Service

MOST_STEPS = 60


class Killed(BaseException):
    """The process is gone. Nothing catches this on the way out."""


class Mortal:
    """A service behind HTTP: when it dies in a request, its caller sees a broken connection."""

    def __init__(self, service: Service) -> None:
        self._service, self.name = service, service.name
        self.dead = False

    async def handle(self, request: Request) -> Response:
        try:
            if self.dead:
                raise Killed
            return await self._service.handle(request)
        except Killed as why:
            self.dead = True
            raise PeerUnreachable("the connection broke (test).") from why

    async def run(self) -> None:
        """The World runs the service itself."""


def dies_at(step: int) -> tuple[Callable[[], None], list[int]]:
    """A hook that kills at its n-th call, and the count of its calls."""
    calls: list[int] = []

    def hook() -> None:
        calls.append(len(calls) + 1)
        if len(calls) == step:
            raise Killed

    return hook, calls


def settle_with_death(world: World, name: str, moment: str, step: int) -> bool:
    """One purchase during which `name` dies at commit `step`; False when it never came to that."""
    store = world.stores[name]
    hook, calls = dies_at(step)
    setattr(store, moment, hook)
    world.http.services[f"http://{name}"] = Mortal(world.http.services[f"http://{name}"])
    before = world.balances()
    died = False
    try:
        sent = header(payment(world, offer_again(world)))
        identity = ""
        for _ in range(80):
            if not died and len(calls) >= step:
                died = True
                setattr(store, moment, lambda: None)
                world.do(bury(world, name))
                world.restart(name)
            if not identity:
                identity = try_to_pay(world, sent)
            elif settled(world, identity):
                break
            let_pass(world)
    finally:
        setattr(store, moment, lambda: None)
    view = follow(world, identity)
    assert view["status"] == "executed", (moment, step, view)
    after = world.balances()
    assert after["buyer", "YPS"] - before["buyer", "YPS"] == AMOUNT
    assert -view["eurc_spent"] == after["buyer", "EURC"] - before["buyer", "EURC"]
    assert after["seller", "USDC"] - before["seller", "USDC"] == 110_000_000
    world.advance(4)
    mined = [e.act for e in world.run.events if isinstance(e, TransactionMined)]
    assert sorted(mined) == ["create", "execute", "fund", "swap"], (moment, step, mined)
    world.audit()
    return died


def offer_again(world: World) -> dict[str, object]:
    """The seller may die while it makes an offer: then ask the next one."""
    try:
        return offer(world)
    except (PeerUnreachable, AssertionError):
        world.do(bury(world, "seller"))
        world.restart("seller")
        return offer(world)


def try_to_pay(world: World, sent: str) -> str:
    """The settlement id once the seller answers 200, "" until then."""
    request = Request("GET", f"{SELLER}/buy-asset?amount={AMOUNT}", headers=(("X-PAYMENT", sent),))
    try:
        answer = world.send(request)
    except PeerUnreachable:
        return ""
    assert answer.status in (200, 502, 503), answer.data()
    return str(answer.data()["settlement_id"]) if answer.status == 200 else ""


def settled(world: World, identity: str) -> bool:
    """Whether the seller knows the end as final."""
    try:
        return bool(world.get(f"{SELLER}/settlement/{identity}").data()["final"])
    except PeerUnreachable:
        return False


def let_pass(world: World) -> None:
    """One block; a task that was killed is looked after by the caller."""
    world.do(world.clock.sleep(1))


async def bury(world: World, name: str) -> None:
    """Take what is left of a dead service away."""
    world.http.services.pop(f"http://{name}", None)
    task = world._tasks.pop(name)
    task.cancel()
    try:
        await task
    except BaseException:  # noqa: BLE001 - Killed or cancelled: it is dead either way
        return


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
@pytest.mark.parametrize("name", ["facilitator", "seller"])
def test_killed_at_each_persisted_step(world: World, name: str, moment: str) -> None:
    """Every commit of one settlement in turn: executed once, whoever died and whenever."""
    beginning = world.snapshot()
    step = 1
    while settle_with_death(world, name, moment, step):
        beginning.restore()
        step += 1
        assert step < MOST_STEPS
    assert step > 6, "the settlement has more persisted steps than that"
