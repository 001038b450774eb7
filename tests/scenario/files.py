"""Scenario files for the tests, and their problems."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from workbench.core.errors import ScenarioError
from workbench.scenario import (
    parse,
    schema_json,
)

WRONG: dict[str, tuple[str, str]] = {
    # Units
    "no unit": ("chain:\n  block_time: 2",
                '6: chain.block_time: "2" has no unit; write such as "2 s".'),
    "no unit, quoted": ('chain:\n  block_time: "2"',
                        '6: chain.block_time: "2" has no unit; write such as "2 s".'),
    "another unit": ("settle_within: 30 minutes", '5: settle_within: "30 minutes" has the unit '
                     '"minutes", and not one of ms, s, min, h, d; write such as "30 min".'),
    "a unit of something else": ("chain: {finality: 5 s}", 'has the unit "s", and not one of'),
    "no number": ("settle_within: soon", '5: settle_within: "soon" is not a duration'),
    "sixties": ("settle_within: 10:30", '"10:30" is not a duration'),
    "not exact": ("settle_within: 0.0001 s", '"0.0001 s" is finer than 1 s'),
    "a fraction of a block": ("chain: {finality: 1.5 blocks}", "is finer than 1 block;"),
    "less than a second of a block": ("chain: {block_time: 1500 ms}", "no whole number of seconds"),
    "finer than a basis point": ("market: {band: 0.005 %}", "is finer than 0.01 %"),
    "out of bounds": ("market: {band: 60 %}", "is out of bounds, 0 % to 50 %; write"),
    "below bounds": ("market: {band: -1 %}", '"-1 %" is out of bounds'),
    "a probability above one": ("faults: {http.lost: 101 %}", "is out of bounds, 0 % to 100 %"),
    "a probability without %": ("faults:\n  http.lost: 0.01",
                                '6: faults.http.lost: "0.01" has no unit; write such as "0.5 %".'),
    "credits in another unit": ("payouts: {users: [{count: 1, asks: {credits: 5}}]}",
                                'payouts.users.0.asks.credits: "5" has no unit; write such as'),
    "a rate of what": ("market: {path: {model: gbm, volatility: 8 %}}",
                       'has the unit "%", and not one of % per year, bps per year'),
    "upside down": ("chain: {http_latency: 80 to 5 ms}", "ends below its beginning"),
    "a span of what": ("chain: {http_latency: 5 to 80}", "has no unit; write such as \"5 ms to 8"),
    "half a span": ("chain: {http_latency: 5 to}", 'has the unit "to"'),
    # Money
    "an unquoted amount": ("market:\n  pool: 5000000", '6: market.pool: "5000000" is not in quotes:'
                           " YAML makes a number of it, which may lose digits or change base; "
                           'write such as "1000000 USDC".'),
    "an unquoted hexadecimal": ("market: {pool: 0x10}", '"0x10" is not in quotes'),
    "an unquoted price": ("seller: {price: 1.10}", '"1.10" is not in quotes'),
    "another token": ('market: {pool: "5 EURC"}', 'is in "EURC", and USDC is asked for'),
    "too many digits": ('market: {pool: "0.1234567 USDC"}', "has more than 6 digits"),
    "base units have no point": ('market: {pool: "1.5"}', "is not a whole number of base units"),
    "an exponent": ('market: {pool: "1e9"}', "is not a whole number of base units"),
    "no money": ('market: {pool: "0 USDC"}', "is out of bounds, 0.000001 USDC to"),
    "minus": ('market: {pool: "-5 USDC"}', "is not a decimal number"),
    "more than the vault takes": (f'market: {{pool: "{2**96}"}}', "is out of bounds"),
    "no price": ('seller: {price: "0"}', "is refused (the price is 0)"),
    "a rate out of bounds": ('market: {path: {start: "11"}}', "is out of bounds, 0.1 to 10"),
    # Words
    "an unknown word": ("plant: lose_refnd", '5: plant: "lose_refnd" is not known; did you mean '
                        '"lose_refund"?'),
    "nothing near": ("market: {path: {model: zzz}}", "is not known; known are constant, drift"),
    "not a count": ("seed: x", '"x" is not a whole number; write such as 7.'),
    "a quoted count": ('seed: "7"', '"7" is in quotes, and so a text'),
    "octal": ("seed: 017", '"017" is not a whole number'),
    "underscores": ("seed: 1_000", '"1_000" is not a whole number'),
    "a fraction": ("seed: 1.5", '"1.5" is not a whole number'),
    "fewer than none": ("facilitator: {retries: -1}", '"-1" is not a whole number'),
    "too large a count": ("seed: 9223372036854775808", "is out of bounds, 0 to"),
    "yes": ("seller: {price_follows_market: yes}", '"yes" is neither true nor false'),
    "quoted truth": ('seller: {price_follows_market: "true"}', "is neither true nor false"),
    "no as a word": ("plant: no", '5: plant: "no" means false to YAML; write such as'),
    "on as a word": ("plant: on", '"on" means true to YAML'),
    "on as a name": ("on: 1 s", "5: on: is an unknown field"),
    "nothing": ("seed:", "5: seed: has no value; write such as 7."),
    "tilde": ("settle_within: ~", "5: settle_within: has no value"),
    # Structure
    "an unknown section": ("markets: {}",
                           '5: markets: is an unknown field; did you mean "market"?'),
    "an unknown field": ("chain:\n  block_time: 2 s\n  finalty: 2 blocks",
                         '7: chain.finalty: is an unknown field; did you mean "finality"?'),
    "an unknown site": ("faults:\n  http.los: 1 %",
                        '6: faults.http.los: is an unknown site; did you mean "http.lost"?'),
    "a value for a section": ("chain: 2 s", "5: chain: must be a mapping of fields: block_time,"),
    "a section for a value": ("seed: {a: 1}", "5: seed: must be one value; write such as 7."),
    "a list for a section": ("chain: [1]", "5: chain: must be a mapping"),
    "a list of faults": ("faults: [http.lost]", "5: faults: must be a mapping from site"),
    "a parameter that the site lacks": ("faults: {http.lost: {chance: 1 %, range: 1 s}}",
                                        "faults.http.lost.range: is an unknown field"),
    "a fault without a chance": ("faults:\n  http.lost: {start: 1 s}",
                                 "6: faults.http.lost.chance: is missing; write `chance:"),
    "another model's field": ("market: {path: {volatility: 1 % per year}}", "has no meaning for "
                              'model "constant", only for gbm, jumps.'),
    "a model without its field": ("market:\n  path:\n    model: jumps\n    jump: 1 %",
                                  '7: market.path.jump_every: is missing; write `jump_every: '
                                  '"30 min"`.'),
    "twice": ("seed: 1\nchain: {}\nseed: 2",
              "7: seed: stands here a second time; the first is in line 5."),
    "twice, deeper": ("chain:\n  finality: 1 block\n  finality: 1 block",
                      "7: chain.finality: stands here a second time"),
    "an anchor": ("chain: &a {}", "5: chain: anchors and aliases (& and *) are not allowed."),
    "an alias": ("chain: *a", "5: chain: anchors and aliases"),
    "a merge": ("chain: {<<: {}}", "chain.<<: is an unknown field"),
    "a tag": ("seed: !!int 5", "5: seed: tags such as tag:yaml.org,2002:int are not allowed."),
    "an object": ("seed: !!python/object/apply:os.system [x]", "5: seed: tags such as"),
    "a name that is a list": ("? [a]\n: 1", "5: the name of a field must be a word."),
    "a second document": ("---\nseed: 1", "5: holds a second document (---)."),
    "deep": ("seed: " + "[" * 50, "5: is nested deeper than 12 levels."),
    "long": ("faults: [" + "1, " * 10_000 + "]", "5: holds more than 10,000 names and values."),
    "not YAML": ("seed: [1", "is not YAML: while parsing a flow sequence"),
    "a tab": ("chain:\n\tfinality: 1 block", "6: is not YAML"),
    "a control character": ("seed: \x01", "5: holds a character that YAML does not allow."),
    "half a character": ('plant: "\\ud800"', "5: holds half a character"),
    "a number that is no character": ('plant: "\\UFFFFFFFF"', "is not YAML."),
}  # fmt: skip
"""Name -> (what is added to LEAST, what is said about it)."""


FULL = """\
about: All there is.
seed: 42
duration: 1.5 h
settle_within: 1 h
chain:
  block_time: 12 s
  finality: 3 blocks
  base_fee: 1.5 gwei
  block_gas_limit: 2.5 Mgas
  rpc_latency: 20 ms
  http_latency: 5 to 80 ms
  state_root: computed
market:
  path:
    model: jumps
    start: "1.0842"
    drift: -5 bps per day
    volatility: 8 % per year
    jump_every: 30 min
    jump: 0.5 %
  step: 30 s
  pool: "2500000.5 USDC"
  lp_fee: 3 bps
  band: 2%
  rate_max_age: 24 h
  keeper_every: 2 min
  arbitrageur: {every: 20s, edge: 15 bps, max: "1000000"}
buyers:
  - count: 3
    kind: replays
    arrivals: {model: even, every: 1500 ms}
    start: 1 min
    size: {model: lognormal, low: "1.5 YPS", high: "20 YPS", sigma: 120 %}
    slippage: 25 bps
    patience: 1 h
    fund_by: permit
    wallet: "900 EURC"
  - count: 1
    arrivals: {model: burst}
    size: {amount: "1000000000000000000"}
seller:
  price: "1.2"
  price_follows_market: true
  quote_lifetime: 5 min
  swap_window: 20 min
  inventory: "1000 YPS"
  delay: 250 ms
  poll: 500 ms
facilitator: {poll: 2 s, finality_timeout: 15 min, retries: 5}
faults:
  chain.reorg:
    - {chance: 1 %, range: 1 to 3 blocks, stop: 10 min}
    - {chance: 0.5 %, active: 25 %, range: 2 blocks, start: 10 min}
  http.lost: 0.01 %
plant: lose_refund
"""


FOLDER = Path(__file__).resolve().parents[2] / "scenarios"


SCHEMA = jsonschema.Draft202012Validator(schema_json())


LEAST = """\
about: The least that a file says.
duration: 10 min
buyers:
  - count: 2
"""
"""Four lines; what a test adds begins in line 5."""


def problems(text: str, folder: Path | str = ".") -> list[str]:
    """What is said about a text: every problem, one a line."""
    with pytest.raises(ScenarioError) as caught:
        parse(text, "x.yaml", folder)
    told = caught.value.message.splitlines()
    assert told == [each["text"] for each in caught.value.details["problems"]]
    return told
