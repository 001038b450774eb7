"""The parties and the steps of a settlement, on deployed contracts."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

from web3.contract import Contract

from tests.contracts.harness import (
    GAS_LIMIT,
    Party,
    Receipt,
    sign,
)
from tests.contracts.vault_deployment import (
    BUYER,
    DEEP_LIQUIDITY,
    FACILITATOR,
    FINALITY_BLOCKS,
    FOREVER,
    LP_FEE_PIPS,
    RECEIVE_KINDS,
    SELLER,
    STATUS,
    STRANGER,
    TERMS_TYPE,
    PermitTuple,
    Terms,
    VaultDeployment,
)


class World(VaultDeployment):
    """Sign, create, fund, swap, execute and refund settlements, and predict what they move."""

    def domain(self, contract: Contract) -> dict[str, Any]:
        """The EIP-712 domain that the contract itself reports (EIP-5267)."""
        if contract.address not in self.domains:
            _, name, version, chain_id, address, _, _ = self.ask(contract, "eip712Domain")
            words = ("name", "version", "chainId", "verifyingContract")
            values = (name, version, chain_id, address)
            self.domains[contract.address] = dict(zip(words, values, strict=True))
        return self.domains[contract.address]

    def sign_terms(self, terms: Terms, party: Party, **domain: Any) -> bytes:
        """A party's consent; altered domain fields make it a consent to something else."""
        message = {f.name: value for f, value in zip(fields(terms), terms.words, strict=True)}
        return sign(party, self.domain(self.vault) | domain, "Settlement", TERMS_TYPE, message)

    def permit(
        self,
        token: Contract,
        party: Party,
        value: int,
        deadline: int = FOREVER,
        nonce: int | None = None,
    ) -> PermitTuple:
        """An EIP-2612 permit for the puller."""
        if nonce is None:
            nonce = self.ask(token, "nonces", party.address)
        message = {
            "owner": party.address,
            "spender": self.puller.address,
            "value": value,
            "nonce": nonce,
            "deadline": deadline,
        }
        kinds = [
            ("owner", "address"),
            ("spender", "address"),
            ("value", "uint256"),
            ("nonce", "uint256"),
            ("deadline", "uint256"),
        ]
        types = [{"name": name, "type": kind} for name, kind in kinds]
        signature = sign(party, self.domain(token), "Permit", types, message)
        return (value, deadline, signature[64], signature[:32], signature[32:64])

    def authorise(self, terms: Terms, party: Party = BUYER, **changes: Any) -> bytes:
        """An ERC-3009 authorisation of the buyer's leg, valid from zero to FOREVER."""
        message = {
            "from": terms.buyer,
            "to": self.vault.address,
            "value": terms.maxEurc,
            "validAfter": 0,
            "validBefore": FOREVER,
            "nonce": self.id_of(terms),
        } | changes
        kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
        types = [{"name": name, "type": kind} for name, kind in zip(message, kinds, strict=True)]
        return sign(party, self.domain(self.eurc), "ReceiveWithAuthorization", types, message)

    def receive_with_authorization(
        self, terms: Terms, signature: bytes, sender: Party | str
    ) -> Receipt:
        """The token's own function, called by whoever tries."""
        words = (terms.buyer, self.vault.address, terms.maxEurc, 0, FOREVER, self.id_of(terms))
        overload = f"receiveWithAuthorization({RECEIVE_KINDS},bytes)"
        return self.act(self.eurc, overload, *words, signature, sender=sender)

    def cancel_authorization(self, terms: Terms, party: Party = BUYER) -> Receipt:
        """The buyer takes back what it signed with `authorise`."""
        message = {"authorizer": terms.buyer, "nonce": self.id_of(terms)}
        types = [{"name": "authorizer", "type": "address"}, {"name": "nonce", "type": "bytes32"}]
        signed = sign(party, self.domain(self.eurc), "CancelAuthorization", types, message)
        parts = (signed[64], signed[:32], signed[32:64])
        return self.act(
            self.eurc, "cancelAuthorization", *message.values(), *parts, sender=STRANGER
        )

    # ---- a settlement

    def terms(self, **changes: Any) -> Terms:
        """The ordinary deal: 100 YPS for 110 USDC, at most 121 EURC."""
        return Terms(BUYER.address, SELLER.address, self.shares.address).altered(**changes)

    def id_of(self, terms: Terms) -> bytes:
        key = (self.vault.address, terms)
        if key not in self.ids:
            self.ids[key] = bytes(self.ask(self.vault, "settlementId", terms.words))
        return self.ids[key]

    def status_of(self, terms: Terms) -> str:
        return STATUS[self.ask(self.vault, "statusOf", self.id_of(terms))]

    def create(
        self,
        terms: Terms,
        sender: Party = SELLER,
        buyer_signature: bytes | None = None,
        seller_signature: bytes = b"",
    ) -> Receipt:
        if buyer_signature is None:
            buyer_signature = self.sign_terms(terms, BUYER)
        self.deals.add(terms)
        return self.act(
            self.vault,
            "createSettlement",
            terms.words,
            buyer_signature,
            seller_signature,
            sender=sender,
        )

    def fund(
        self,
        terms: Terms,
        buyer_permit: PermitTuple | None = None,
        seller_permit: PermitTuple | None = None,
        sender: Party = FACILITATOR,
    ) -> Receipt:
        """Funds by permits, made here unless given."""
        if buyer_permit is None:
            buyer_permit = self.permit(self.eurc, BUYER, terms.maxEurc)
        if seller_permit is None:
            seller_permit = self.permit(self.shares, SELLER, terms.assetAmount)
        return self.act(self.vault, "fund", terms.words, buyer_permit, seller_permit, sender=sender)

    def fund_with_authorization(
        self,
        terms: Terms,
        signature: bytes | None = None,
        seller_permit: PermitTuple | None = None,
        sender: Party = FACILITATOR,
    ) -> Receipt:
        if signature is None:
            signature = self.authorise(terms)
        if seller_permit is None:
            seller_permit = self.permit(self.shares, SELLER, terms.assetAmount)
        return self.act(
            self.vault,
            "fundWithAuthorization",
            terms.words,
            0,
            FOREVER,
            signature,
            seller_permit,
            sender=sender,
        )

    def swap(self, terms: Terms, sender: Party = FACILITATOR) -> Receipt:
        return self.act(self.vault, "executeSwap", terms.words, sender=sender)

    def execute(
        self,
        terms: Terms,
        block_hash: bytes = bytes(32),
        sender: Party = FACILITATOR,
        gas: int = GAS_LIMIT,
    ) -> Receipt:
        return self.act(
            self.vault, "executeSettlement", terms.words, block_hash, sender=sender, gas=gas
        )

    def refund(self, terms: Terms, reason: bytes = b"", sender: Party = FACILITATOR) -> Receipt:
        return self.act(self.vault, "refund", terms.words, reason.ljust(32, b"\0"), sender=sender)

    def reach(self, terms: Terms, status: str) -> Receipt | None:
        """Brings a new settlement to a status on the main path, final but not executed."""
        receipt = None
        for name, step in (("Created", self.create), ("Funded", self.fund), ("Swapped", self.swap)):
            if STATUS.index(status) >= STATUS.index(name):
                receipt = step(terms)
        if status == "Swapped":
            self.mine(FINALITY_BLOCKS - 1)
        return receipt

    # ---- balances and the invariants

    def balance(self, token: Contract, owner: Party | Contract | str) -> int:
        address = owner if isinstance(owner, str) else owner.address
        return int(self.ask(token, "balanceOf", address))

    def escrowed(self, token: Contract) -> int:
        return int(self.ask(self.vault, "escrowed", token.address))

    def claimable(self, token: Contract, owner: Party | str) -> int:
        address = owner if isinstance(owner, str) else owner.address
        return int(self.ask(self.vault, "claimable", token.address, address))

    def liabilities(self) -> Counter[str]:
        """What the vault owes by token, reckoned from the deals and not from `escrowed`."""
        owed: Counter[str] = Counter()
        for token in {deal.asset for deal in self.deals} | {self.usdc.address, self.eurc.address}:
            for owner in {deal.buyer for deal in self.deals} | {d.seller for d in self.deals}:
                owed[token] += self.ask(self.vault, "claimable", token, owner)
        for deal in self.deals:
            code, _, spent = self.ask(self.vault, "settlements", self.id_of(deal))
            if STATUS[code] == "Funded":
                owed += Counter({deal.asset: deal.assetAmount, self.eurc.address: deal.maxEurc})
            if STATUS[code] == "Swapped":
                owed += Counter({deal.asset: deal.assetAmount})
                owed += Counter({self.usdc.address: deal.requiredUsdc})
                owed += Counter({self.eurc.address: deal.maxEurc - spent})
        return owed

    def assert_conserved(self, *more_tokens: Contract, surplus: int = 0) -> None:
        """I1 and I8: the vault holds exactly what it owes, and its helpers hold nothing."""
        owed = self.liabilities()
        for token in (self.usdc, self.eurc, self.shares, *more_tokens):
            assert self.escrowed(token) == owed[token.address]
            assert self.balance(token, self.vault) == owed[token.address] + surplus
            for helper in (self.puller, self.hook, self.seeder, self.balancer):
                assert self.balance(token, helper) == 0

    def predicted_spend(
        self, usdc_out: int, fee_pips: int = LP_FEE_PIPS, liquidity: int = DEEP_LIQUIDITY
    ) -> int:
        """What an exact-output swap costs in the fresh full-range pool: v4's own rounding,
        written down a second time in integers (SqrtPriceMath, SwapMath)."""
        price, shifted = self.sqrt_price(), liquidity << 96
        if self.eurc_is_currency0:
            after = price - ceil_div(usdc_out << 96, liquidity)
            amount_in = ceil_div(ceil_div(shifted * (price - after), price), after)
        else:
            after = ceil_div(shifted * price, shifted - usdc_out * price)
            amount_in = ceil_div(liquidity * (after - price), 1 << 96)
        return amount_in + ceil_div(amount_in * fee_pips, 10**6 - fee_pips)


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
