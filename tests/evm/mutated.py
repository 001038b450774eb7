"""Answers of a node, changed: what a faulty, foreign or lying node might say instead.

`mutate` changes the result of one call, `mutate_body` a whole JSON-RPC answer as bytes. Both draw
from a seeded generator, so a failure can be repeated. Three families:

- FORM: the answer has another form than the method's (null, a field missing, another type, huge).
- QUESTION: the form is right, and the answer belongs to another question (another block's, another
  transaction's, logs of another address, a removed log).
- UNTRUE: form and question are right, and the content is not (a balance or a count that differs).
  No check of a single answer can find these: only a second reading can.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

FORM, QUESTION, UNTRUE = "form", "question", "untrue"
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    7,
    2**64,
    1.5,
    1e300,
    "",
    "0x",
    "0x0x1",
    "0xzz",
    "-0x1",
    " 0x1",
    "0x1\n",
    "0x_1",
    "latest",
    "text",
    "0x" + "f" * 65,
    "0x" + "0" * 65,
    "0x" + "f" * 200_000,
    "\u0000",
    "\ud7ff\u2028",
    [],
    [None],
    ["0x1"],
    [[]],
    {},
    {"number": None},
    {"result": "0x1"},
)
"""Values that are no answer in the place where they are put, or are by chance."""
TEXT_OF_HASH, TEXT_OF_ADDRESS = 66, 42


def mutate(
    method: str, result: Any, chance: random.Random, families: Sequence[str] = (FORM, QUESTION)
) -> Any:
    """Another result than this one, of one of the families. The argument is not changed."""
    family = chance.choice(list(families))
    changed = _copy(result)
    if family == UNTRUE:
        return _untrue(changed, chance)
    if family == QUESTION:
        moved = _moved(method, changed, chance)
        if moved is not None:
            return moved
    return _misformed(changed, chance)


def mutate_body(
    answer: bytes,
    method: str,
    chance: random.Random,
    families: Sequence[str] = (FORM, QUESTION),
) -> bytes:
    """A JSON-RPC answer with a changed result; now and then the envelope itself is changed."""
    if FORM in families and chance.random() < 0.2:
        return _envelope(answer, chance)
    try:
        told = json.loads(answer)
    except ValueError:
        return b""
    if not isinstance(told, dict) or "result" not in told:
        return _envelope(answer, chance)
    told["result"] = mutate(method, told["result"], chance, families)
    return json.dumps(told).encode()


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


# --- Another form ---


def _misformed(result: Any, chance: random.Random) -> Any:
    ways: list[Callable[[Any, random.Random], Any]] = [_odd]
    if isinstance(result, dict) and result:
        ways += [_without_a_field, _odd_field, _odd_field, _odd_field]
    if isinstance(result, list) and result:
        ways += [_odd_item, _deeper_item, _many]
    if isinstance(result, str):
        ways += [_odd_text]
    return chance.choice(ways)(result, chance)


def _odd(result: Any, chance: random.Random) -> Any:
    others = [each for each in ODD if each != result or type(each) is not type(result)]
    return _copy(chance.choice(others))


def _without_a_field(result: Any, chance: random.Random) -> Any:
    del result[chance.choice(sorted(result))]
    return result


def _odd_field(result: Any, chance: random.Random) -> Any:
    name = chance.choice(sorted(result))
    inner = result[name]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.5:
        result[name] = _misformed(inner, chance)
    else:
        result[name] = _odd(inner, chance)
    return result


def _odd_item(result: Any, chance: random.Random) -> Any:
    place = chance.randrange(len(result))
    result[place] = _odd(result[place], chance)
    return result


def _deeper_item(result: Any, chance: random.Random) -> Any:
    place = chance.randrange(len(result))
    result[place] = _misformed(result[place], chance)
    return result


def _many(result: Any, chance: random.Random) -> Any:
    return (result * (200_000 // len(result)))[:200_000]


def _odd_text(result: Any, chance: random.Random) -> Any:
    ways = [result.removeprefix("0x"), result + "g", result * 2, result + "0" * 70]
    if len(result) >= TEXT_OF_ADDRESS:  # A shorter quantity is a quantity.
        ways.append(result[:-1])
    return chance.choice(ways)


def _envelope(answer: bytes, chance: random.Random) -> bytes:
    """Another answer altogether, or another id."""
    ways: list[Any] = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"0x1"',
        b"\xff\xfe",
        b"[" * 100_000,
        b"<html>502 Bad Gateway</html>",
        answer[: len(answer) // 2],
        b"[" + answer + b"]",
        answer.replace(b'"id":', b'"ID":'),
        answer.replace(b'"id":', b'"id":1'),
        answer.replace(b'"result":', b'"error":'),
    ]
    picked: bytes = chance.choice(ways)
    return picked


# --- Of another question ---


def _moved(method: str, result: Any, chance: random.Random) -> Any:
    """The same form, of another block, transaction or address; None where that says nothing."""
    if isinstance(result, dict):
        names = [name for name in MOVABLE.get(method, ()) if isinstance(result.get(name), str)]
        if not names:
            return None
        name = chance.choice(names)
        result[name] = _another(result[name], chance)
        return result
    if isinstance(result, list) and result and isinstance(result[0], dict):
        item = chance.choice(result)
        if method == "eth_getLogs":
            way = chance.choice(("removed", "address", "blockNumber", "blockHash"))
            item[way] = True if way == "removed" else _another(item[way], chance)
            return result
        if method == "eth_getBlockReceipts":
            item["blockNumber"] = _another(item["blockNumber"], chance)
            return result
        if method == "eth_simulateV1":
            return chance.choice(([], result * 2, [{**item, "calls": item["calls"][:-1]}]))
    return None


MOVABLE = {
    "eth_getBlockByNumber": ("number",),
    "eth_getBlockByHash": ("hash",),
    "eth_getTransactionReceipt": ("transactionHash",),
    "eth_getTransactionByHash": ("hash",),
}
"""Fields that the question decides. A block asked as "latest" has any number."""


def _another(text: str, chance: random.Random) -> str:
    """A quantity or a digest of the same form, and another one."""
    if not text.startswith("0x"):
        return text + "0"
    if len(text) in (TEXT_OF_HASH, TEXT_OF_ADDRESS):
        return "0x" + "".join(chance.choice("0123456789abcdef") for _ in range(len(text) - 2))
    return hex(max(0, int(text, 16) + chance.choice((-2, -1, 1, 2, 1_000))) or 3)


# --- Untrue ---


def _untrue(result: Any, chance: random.Random) -> Any:
    """A quantity that differs, a list that is empty, a receipt that is not there yet."""
    if isinstance(result, str) and result.startswith("0x") and len(result) <= 2 + 64:
        try:
            value = int(result, 16)
        except ValueError:
            return result
        told = chance.choice((0, value // 2, value + 1, max(0, value - 1)))
        return "0x" + f"{told:x}".rjust(64, "0") if len(result) == TEXT_OF_HASH else hex(told)
    if isinstance(result, list):
        return []
    return None
