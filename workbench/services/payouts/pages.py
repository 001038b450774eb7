"""Pages of the payout service: plain HTML for phones, without JavaScript and external resources.

All foreign text is escaped. Every form carries an idempotency key, so that a double click, a reload
or a lost answer is one request.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench.core.ledger import Account
from workbench.core.payout import ENDED, PayoutState

EMPTY: Mapping[str, str] = {}
STYLE = """
:root { color-scheme: light dark;
  --paper: #fdfdfc; --raised: #ffffff; --ink: #1d242c; --quiet: #5d6875; --hair: #e2e5e8;
  --rail: #dfe3e7; --open: #3f6fb3; --good: #1f7a62; --bad: #b8452f; --warn: #8a5a00;
  --wash: #f5f6f7;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --raised: #191e24; --ink: #e6e9ec; --quiet: #9aa5b1; --hair: #2a3038;
  --rail: #323a44; --open: #7fb2e6; --good: #5cc0a0; --bad: #e6816c; --warn: #e0b060;
  --wash: #1b2027; } }
*, ::before, ::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 56rem; padding: 2.4rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 0.9375rem/1.5 var(--sans); font-variant-numeric: tabular-nums; }
h1, h2, p, ol, dl, dd { margin: 0; padding: 0; } ol { list-style: none; }
h1 { font-size: 1.75rem; line-height: 1.15; font-weight: 650; letter-spacing: -0.018em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.0625rem; font-weight: 600; }
a { color: inherit; text-underline-offset: 0.15em; }
:focus-visible { outline: 2px solid var(--open); outline-offset: 2px; border-radius: 3px; }
.quiet { color: var(--quiet); } .small { font-size: 0.8125rem; }
.mono { font-family: var(--mono); font-size: 0.8125rem; overflow-wrap: anywhere; }
.product { color: var(--quiet); font-size: 0.8125rem; margin-bottom: 0.2rem; }
.product a { text-decoration: none; } .product a:hover { text-decoration: underline; }
.lead { margin-top: 0.7rem; max-width: 38rem; color: var(--quiet); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 3rem; margin-top: 2rem; }
form { border-top: 1px solid var(--hair); padding: 1.1rem 0 1.6rem; }
form > p { color: var(--quiet); font-size: 0.875rem; margin: 0.15rem 0 0.9rem; }
label { display: block; font-size: 0.8125rem; color: var(--quiet); margin-top: 0.7rem; }
input { display: block; width: 100%; margin-top: 0.2rem; padding: 0.5rem 0.65rem; font: inherit;
  color: var(--ink); background: var(--raised); border: 1px solid var(--hair); border-radius: 4px; }
input:hover { border-color: var(--quiet); }
input.mono { font-size: 0.8125rem; line-height: 1.73; }
button { margin-top: 1.1rem; padding: 0.5rem 1.2rem; font: inherit; font-weight: 600; border: 0;
  border-radius: 4px; background: var(--ink); color: var(--paper); cursor: pointer; }
button:hover { background: var(--open); }
.balance { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0.2rem 0.7rem;
  margin-top: 1.4rem; }
.balance b { font-size: 2.6rem; line-height: 1.1; font-weight: 650; letter-spacing: -0.02em;
  overflow-wrap: anywhere; }
.history { margin-top: 2.2rem; border-top: 1px solid var(--hair); }
.history > h2 { padding: 1.1rem 0 0.4rem; }
.history > h2 a { margin-left: 0.6rem; font-weight: 400; }
.item { --tone: var(--open); padding: 0.95rem 0; border-bottom: 1px solid var(--hair); }
.item.paid { --tone: var(--good); } .item.refunded, .item.cancelled { --tone: var(--bad); }
.item:last-child { border-bottom: 0; }
.top { display: flex; justify-content: space-between; gap: 0.2rem 1rem; flex-wrap: wrap; }
.top b { font-weight: 600; } .says { color: var(--tone); font-size: 0.875rem; }
.steps { display: grid; grid-template-columns: repeat(3, 1fr); gap: 3px; margin: 0.55rem 0 0.6rem; }
.steps li { padding-top: 0.35rem; font-size: 0.75rem; color: var(--quiet);
  border-top: 4px solid var(--rail); }
.steps li.done { border-top-color: var(--tone); color: var(--ink); }
.steps li.now { border-top-color: color-mix(in srgb, var(--tone) 45%, var(--rail)); }
.facts { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); gap: 0.15rem 0.8rem;
  font-size: 0.8125rem; }
.facts dt { color: var(--quiet); } .facts dd { overflow-wrap: anywhere; }
.empty { padding: 1.2rem 0; color: var(--quiet); }
.alarm { margin-top: 1.4rem; padding: 0.8rem 1rem; border-left: 3px solid var(--warn);
  background: var(--wash); font-size: 0.875rem; overflow-wrap: anywhere; }
.problem { margin-top: 1.4rem; max-width: 38rem; } .problem p { margin-top: 0.6rem; }
.problem form { margin-top: 1.6rem; }
footer { margin-top: 2.6rem; padding-top: 1rem; border-top: 1px solid var(--hair); }
@media (max-width: 44rem) { body { padding: 1.3rem 1rem 3rem; } h1 { font-size: 1.4rem; }
  .pair { grid-template-columns: 1fr; margin-top: 1.3rem; } input { font-size: 1rem; }
  button { width: 100%; padding: 0.7rem; } .balance b { font-size: 2.1rem; } }
"""
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='6' cy='8' r='5' fill='%233f6fb3'/%3E"
    "%3Ccircle cx='11' cy='8' r='4' fill='%23d0a23f'/%3E%3C/svg%3E"
)
AGAIN = """<script>setInterval(() => {
  const typed = [...document.querySelectorAll("input:not([type=hidden])")].some(e => e.value);
  if (!typed && !document.hidden && !document.activeElement.matches("input")) location.reload();
}, 3000)</script>"""
"""Reloads the page while a payout is open, unless a person types."""
REFRESH = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
"""The same for browsers without scripts."""
SAYS = {
    PayoutState.REQUESTED: "requested",
    PayoutState.HELD: "waits for approval",
    PayoutState.APPROVED: "waits for its turn",
    PayoutState.SENT: "on its way, not final yet",
    PayoutState.PAID: "paid",
    PayoutState.REFUNDED: "not paid: the credits are back",
    PayoutState.CANCELLED: "cancelled: the credits are back",
}
STEPS = ("accepted", "sent", "paid")
DONE = {
    PayoutState.REQUESTED: 0,
    PayoutState.HELD: 0,
    PayoutState.APPROVED: 1,
    PayoutState.SENT: 2,
    PayoutState.PAID: 3,
}


def home(facts: dict[str, Any], earn_key: str, payout_key: str) -> str:
    """Return the home page: both forms of the seed, and the value of one credit."""
    body = f"""<header><p class="product">Settlement Workbench</p><h1>Credits</h1>
<p class="lead">Users earn credits here, and are paid out on chain {facts["chain_id"]}:
one credit is {escape(facts["one_credit"])}.</p></header>{_alarms(facts)}
<main class="pair">{earn_form(earn_key)}{payout_form(payout_key)}</main>{_footer(facts)}"""
    return _document("Credits", body)


def user(
    facts: dict[str, Any],
    user_id: str,
    account: Account | None,
    payouts: list[dict[str, Any]],
    earn_key: str,
    payout_key: str,
) -> str:
    """Return a user's page: balance, history, and the forms with the user filled in.

    `account`: None for a user who has never earned credits.
    """
    held = account.debits_pending if account else 0
    on_hold = f'<span class="quiet">and {held:,} set aside for payouts</span>' if held else ""
    items = "".join(_item(payout) for payout in payouts)
    if not items:
        items = '<p class="empty">No payout yet. Ask for one below.</p>'
    is_open = any(PayoutState(payout["state"]) not in ENDED for payout in payouts)
    look = ' <a class="quiet small" href="">look again</a>' if is_open else ""
    if account:
        balance = f"<b>{account.available:,}</b><span>credits</span>{on_hold}"
    else:
        balance = '<span class="quiet">This user is not known: no credits were ever awarded.</span>'
    body = f"""<header><p class="product"><a href="/">Settlement Workbench · Credits</a></p>
<h1>{escape(user_id)}</h1></header>{_alarms(facts)}
<main><p class="balance">{balance}</p>
<section class="history"><h2>Payouts{look}</h2><ol>{items}</ol></section>
<div class="pair">{payout_form(payout_key, user_id)}{earn_form(earn_key, user_id)}</div>
</main>{_footer(facts)}"""
    return _document(user_id, body + AGAIN, REFRESH) if is_open else _document(user_id, body)


def problem(status: int, told: dict[str, Any], back: str, form: str = "") -> str:
    """Return an error as a page, with the `form` as it was filled in and a link `back`."""
    hint = f'<p class="quiet">{escape(str(told["hint"]))}</p>' if told.get("hint") else ""
    body = f"""<header><p class="product"><a href="/">Settlement Workbench · Credits</a></p>
<h1>That did not work</h1></header><main class="problem"><p>{escape(str(told["message"]))}</p>{hint}
<p class="quiet small">{status} · {escape(str(told["error"]))}</p>{form}
<p><a href="{escape(back)}">Back to the forms</a></p></main>"""
    return _document("That did not work", body)


def _document(title: str, body: str, head: str = "") -> str:
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>
{head}<link rel="icon" href="{ICON}"><style>{STYLE}</style></head><body>{body}</body></html>"""


def earn_form(key: str, user_id: str = "", typed: Mapping[str, str] = EMPTY) -> str:
    """Return the form to award credits. `typed`: earlier input by field."""
    return f"""<form method="post" action="/earn"><h2>Award credits</h2>
<p>They are the user's at once.</p>{_user_field(user_id, typed)}{_credits_field(typed)}
{_key_field(key)}
<button>Award</button></form>"""


def payout_form(key: str, user_id: str = "", typed: Mapping[str, str] = EMPTY) -> str:
    """Return the form to request a payout. `typed`: earlier input by field."""
    address = escape(typed.get("address", ""))
    return f"""<form method="post" action="/payout"><h2>Request a payout</h2>
<p>Sent to an address of the user's, exactly once.</p>{_user_field(user_id, typed)}
<label>Address<input class="mono" name="address" value="{address}" required
 spellcheck="false" autocomplete="off" placeholder="0x…"
 pattern="\\s*0x[0-9a-fA-F]{{40}}\\s*" title="0x and 40 hex digits"></label>
{_credits_field(typed)}{_key_field(key)}<button>Pay out</button></form>"""


def _user_field(user_id: str, typed: Mapping[str, str]) -> str:
    if user_id:
        return f'<input type="hidden" name="user_id" value="{escape(user_id)}">'
    value = escape(typed.get("user_id", ""))
    return f"""<label>User<input name="user_id" value="{value}" required maxlength="128"
 autocomplete="off"
 autocapitalize="none" spellcheck="false"></label>"""


def _credits_field(typed: Mapping[str, str]) -> str:
    value = escape(typed.get("credits", ""))
    return f"""<label>Credits<input name="credits" value="{value}" required
 inputmode="numeric" autocomplete="off" pattern="\\s*[0-9]+\\s*" title="A whole number"></label>"""


def _key_field(key: str) -> str:
    return f'<input type="hidden" name="idempotency_key" value="{escape(key)}">'


def _item(payout: dict[str, Any]) -> str:
    state = PayoutState(payout["state"])
    done = DONE.get(state)
    steps = "" if done is None else _steps(done)
    facts = [("to", f'<span class="mono">{escape(payout["address"])}</span>')]
    if payout["tx"]:
        tx = f'<span class="mono">{escape(payout["tx"])}</span>'
        if payout.get("explorer"):
            tx = f'<a href="{escape(payout["explorer"])}" rel="noreferrer">{tx}</a>'
        facts.append(("transaction", tx))
    if payout.get("reason") and state is not PayoutState.CANCELLED:
        facts.append(("because", escape(payout["reason"])))
    facts.insert(0, ("requested", _when(payout["requested_at_ms"])))
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    worth = f'<span class="quiet">{escape(payout["amount"])}</span>'
    return f"""<li class="item {state.value}"><div class="top">
<span><b>{payout["credits"]:,} credits</b> {worth}</span>
<span class="says">{SAYS[state]}</span></div>{steps}<dl class="facts">{rows}</dl></li>"""


def _when(at_ms: int) -> str:
    """Return date (Gregorian) and time to the minute, in UTC."""
    days, minutes = divmod(at_ms // 60_000, 1_440)
    # Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
    era, of_era = divmod(days + 719_468, 146_097)
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day, month = of_year - (153 * shifted + 2) // 5 + 1, shifted + (3 if shifted < 10 else -9)
    year += era * 400 + (month <= 2)
    return f"{year}-{month:02d}-{day:02d} {minutes // 60:02d}:{minutes % 60:02d} UTC"


def _steps(done: int) -> str:
    marks = ["done" if n < done else "now" if n == done else "" for n in range(len(STEPS))]
    cells = "".join(f'<li class="{m}">{n}</li>' for m, n in zip(marks, STEPS, strict=True))
    return f'<ol class="steps">{cells}</ol>'


def _alarms(facts: dict[str, Any]) -> str:
    if not facts["alarms"]:
        return ""
    return """<p class="alarm" role="status">Payouts are accepted, and wait: something needs the
operator's attention. Nothing is lost, and nothing is paid twice.</p>"""


def _footer(facts: dict[str, Any]) -> str:
    what = f"{facts['symbol']} (ERC-20)" if facts["token_mode"] else f"native {facts['symbol']}"
    return f"""<footer class="quiet small"><p>Pays {escape(what)} from
<span class="mono">{escape(facts["payer"])}</span></p>
<p><a href="/health">Health</a> · <a href="/v1/openapi.json">API</a></p></footer>"""
