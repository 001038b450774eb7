"""The facilitator's answer to `/settle`: an acceptance of this settlement, or an error."""

from __future__ import annotations

import msgspec

from workbench.core.errors import PeerRefused, PeerUnreachable
from workbench.core.ports import Response
from workbench.services.common import peers

PEER = "facilitator"


class Acceptance(msgspec.Struct):
    """The body of an acceptance. Other fields are ignored."""

    settlement_id: str
    accepted: bool
    status: str = ""


def check_acceptance(answer: Response, identity: str) -> None:
    """Return if the facilitator has accepted the settlement `identity`; else raise.

    Raises PeerUnreachable or PeerUnreadable for transient answers: 5xx, 408, 425, 429, redirects,
    and a body without JSON. Raises PeerRefused or PeerAnswerInvalid for final ones: any other
    refusal, and JSON that is no acceptance of `identity`.
    """
    if peers.passes(answer):
        raise PeerUnreachable(
            f"the facilitator could not answer: {peers.error_body(answer).message}"
        )
    if not 200 <= answer.status < 300:
        told = peers.error_body(answer)
        facilitator = {"error": told.error, "message": told.message, "hint": told.hint}
        raise PeerRefused(f"the facilitator refused: {told.message}", facilitator=facilitator)
    given = peers.decoded(answer, Acceptance, PEER)
    if given.settlement_id.lower() != identity:
        raise peers.invalid(answer, PEER, "it names another settlement")
    if not given.accepted:
        raise PeerRefused(f"the facilitator did not accept: {peers.error_body(answer).message}")
