// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {PoolKey} from "@uniswap/v4-core/src/types/PoolKey.sol";

import {PermitSignature, Status, Terms} from "../types/Terms.sol";

/// @title What the settlement vault does, says and refuses
/// @notice The vault takes a buyer's EURC and a seller's asset into escrow, turns EURC into the agreed USDC on
/// Uniswap v4, waits for finality, and delivers asset against payment; or, before the swap, gives both back.
/// @dev Amounts are base units of their token. Every function that takes `terms` finds the state by their digest,
/// so terms that nobody created are in status None. All functions are guarded against reentrancy.
interface ISettlementVault {
    // ---------------------------------------------------------------------------------------------- events

    /// @notice Buyer and seller are bound: the buyer by signature, the seller by signature or by calling.
    event SettlementCreated(
        bytes32 indexed settlementId, address indexed buyer, address indexed seller, Terms terms
    );
    /// @notice Both legs are in escrow.
    event SettlementFunded(bytes32 indexed settlementId, uint256 eurcAmount, uint256 assetAmount);
    /// @notice `eurcSpent` of the buyer's EURC became the seller's USDC. From here there is no refund.
    event SettlementSwapped(bytes32 indexed settlementId, uint256 eurcSpent, uint256 usdcReceived);
    /// @notice Delivered against payment. A payment that was parked instead has its own PaymentParked.
    event SettlementExecuted(
        bytes32 indexed settlementId, uint256 assetToBuyer, uint256 usdcToSeller, uint256 eurcReturned
    );
    /// @notice Given back, in full; both amounts are zero where nothing had been funded.
    /// @param reason the facilitator's own, or "EXPIRED", or "CANCELLED", as left-aligned ASCII
    event SettlementRefunded(
        bytes32 indexed settlementId, uint256 eurcReturned, uint256 assetReturned, bytes32 reason
    );
    /// @notice A token refused to go to `owner`; it stays in escrow until `owner` claims it.
    event PaymentParked(
        bytes32 indexed settlementId, address indexed token, address indexed owner, uint256 amount
    );
    /// @notice `owner` took what had been parked, to an address of its choice.
    event Claimed(address indexed token, address indexed owner, address to, uint256 amount);
    /// @notice The admin took tokens that belonged to no settlement.
    event Rescued(address indexed token, address to, uint256 amount);
    /// @notice The hook of the only pool that the vault swaps in was set, for good.
    event HookSet(address hook);
    /// @notice New settlements may, or may no longer, sell this asset.
    event AssetSet(address indexed asset, bool isAllowed);

    // ---------------------------------------------------------------------------------------------- errors

    /// @notice Thrown when the settlement is not in the status that the call needs.
    error BadStatus(bytes32 settlementId, Status status);
    /// @notice Thrown when the buyer did not sign these terms.
    error BadBuyerSignature();
    /// @notice Thrown when the seller neither calls nor signed these terms.
    error BadSellerSignature();
    /// @notice Thrown when a party is zero, the other party, or a contract of the settlement machinery itself.
    error BadParty(address party);
    /// @notice Thrown when an amount in the terms is zero.
    error ZeroAmount();
    /// @notice Thrown when a EURC or USDC amount in the terms is 2**96 or more.
    error AmountTooLarge(uint256 amount);
    /// @notice Thrown when the swap deadline lies before the fund deadline.
    error BadDeadlines();
    /// @notice Thrown when the last second for this step has gone by.
    error DeadlinePassed(uint64 deadline);
    /// @notice Thrown when someone other than the facilitator asks for a refund too early.
    error DeadlineNotPassed(uint64 deadline);
    /// @notice Thrown when new settlements may not sell this asset.
    error AssetNotAllowed(address asset);
    /// @notice Thrown when the admin would allow USDC, EURC or an address without code as an asset.
    error BadAsset(address asset);
    /// @notice Thrown when less than the expected amount arrived in the vault.
    error FeeOnTransfer(address token, uint256 received, uint256 expected);
    /// @notice Thrown when more than the expected amount arrived in the vault.
    error UnexpectedBalance(address token, uint256 received, uint256 expected);
    /// @notice Thrown when the swap would spend more EURC than the buyer allowed.
    error OverBudget(uint256 spent, uint256 max);
    /// @notice Thrown when the pool ran out of liquidity on the way, in USDC base units.
    error PartialFill(uint256 got, uint256 wanted);
    /// @notice Thrown when the swap is not final for this caller until the block `atBlock`.
    error NotFinal(uint256 atBlock);
    /// @notice Thrown when the block of the swap is not the one that the caller saw.
    error ReorgDetected();
    /// @notice Thrown when a stranger to the settlement would cancel it.
    error NotAParty(address caller);
    /// @notice Thrown when nothing is parked for this owner.
    error NothingToClaim(address token, address owner);
    /// @notice Thrown when all the vault holds of a token is in escrow.
    error NothingToRescue(address token);
    /// @notice Thrown when so little gas is left that a payment might fail for want of gas alone.
    error NotEnoughGas(uint256 gasLeft, uint256 gasNeeded);
    /// @notice Thrown when an address may not be zero.
    error ZeroAddress();
    /// @notice Thrown when a settlement is created before the hook is set.
    error HookNotSet();
    /// @notice Thrown when the hook is already set.
    error HookAlreadySet();
    /// @notice Thrown when anyone but the pool manager calls `unlockCallback`.
    error OnlyPoolManager();
    /// @notice Thrown when anyone but the vault calls `pushTransfer`.
    error OnlySelf();

    // ------------------------------------------------------------------------------------------- main path

    /// @notice None -> Created. Anyone may call who brings the signatures.
    /// @dev Reverts with HookNotSet, BadDeadlines, DeadlinePassed, ZeroAmount, AmountTooLarge, BadParty,
    /// AssetNotAllowed, BadStatus, BadSellerSignature or BadBuyerSignature.
    /// @param terms the deal
    /// @param buyerSignature over the settlement id: 65 bytes `r ‖ s ‖ v`, or what the ERC-1271 wallet accepts if the
    /// buyer has code (an EIP-7702 delegation is code)
    /// @param sellerSignature likewise; not looked at when the seller itself calls
    /// @return settlementId the EIP-712 digest of the terms
    function createSettlement(Terms calldata terms, bytes calldata buyerSignature, bytes calldata sellerSignature)
        external
        returns (bytes32 settlementId);

    /// @notice Created -> Funded, through allowances to the PermitPuller. Facilitator only.
    /// @dev Reverts with BadStatus, DeadlinePassed, FeeOnTransfer, UnexpectedBalance, and the puller's BalanceTooLow
    /// and AllowanceTooLow.
    /// @param terms the deal
    /// @param buyerPermit a EURC permit for the puller, or deadline zero to rely on the allowance
    /// @param sellerPermit the same for the asset
    function fund(Terms calldata terms, PermitSignature calldata buyerPermit, PermitSignature calldata sellerPermit)
        external;

    /// @notice Created -> Funded, the buyer's leg by ERC-3009: `from` the buyer, `to` this vault, `value` maxEurc,
    /// `nonce` the settlement id. Facilitator only.
    /// @dev Random nonces let one buyer have many open quotes; EIP-2612 nonces are sequential and its permits
    /// overwrite each other. Reverts as `fund` does, and with the token's own errors.
    /// @param terms the deal
    /// @param validAfter Unix time; the authorisation is usable strictly after it
    /// @param validBefore Unix time; the authorisation is usable strictly before it
    /// @param buyerSignature over the authorisation
    /// @param sellerPermit an asset permit for the puller, or deadline zero to rely on the allowance
    function fundWithAuthorization(
        Terms calldata terms,
        uint256 validAfter,
        uint256 validBefore,
        bytes calldata buyerSignature,
        PermitSignature calldata sellerPermit
    ) external;

    /// @notice Funded -> Swapped: buys exactly `requiredUsdc` for at most `maxEurc`. Facilitator only.
    /// @dev Reverts with BadStatus, DeadlinePassed, PartialFill, OverBudget, and with the hook's refusals, which v4
    /// wraps in `WrappedError(address,bytes4,bytes,bytes)` (ERC-7751).
    /// @param terms the deal
    function executeSwap(Terms calldata terms) external;

    /// @notice Swapped -> Executed: asset to the buyer, USDC to the seller, EURC left over to the buyer. The
    /// facilitator may call from `swapBlock + finalityBlocks` on, anyone from `graceBlocks` later.
    /// @dev Reverts with BadStatus, NotFinal, ReorgDetected or NotEnoughGas.
    /// @param terms the deal
    /// @param swapBlockHash hash of the swap's block as the caller saw it, checked while the EVM remembers it (256
    /// blocks); zero to skip
    function executeSettlement(Terms calldata terms, bytes32 swapBlockHash) external;

    // ----------------------------------------------------------------------------------------- other ends

    /// @notice Created or Funded -> Refunded. The facilitator at any time, with its own reason; anyone once the
    /// deadline has gone by (`fundDeadline` if Created, `swapDeadline` if Funded), and then the reason is "EXPIRED".
    /// @dev Reverts with BadStatus, DeadlineNotPassed or NotEnoughGas.
    /// @param terms the deal
    /// @param reason left-aligned ASCII by custom
    function refund(Terms calldata terms, bytes32 reason) external;

    /// @notice Created -> Refunded, with the reason "CANCELLED". Buyer or seller only.
    /// @dev Reverts with NotAParty or BadStatus.
    /// @param terms the deal
    function cancel(Terms calldata terms) external;

    /// @notice Pays what is parked for the caller to `to`.
    /// @dev Reverts with NothingToClaim, BadParty if `to` is the vault, or the token's own error.
    /// @param token which token
    /// @param to where it goes; an owner that the token refuses to pay may name another address
    function claim(address token, address to) external;

    /// @notice Takes what the vault holds of a token beyond its escrow. Admin only.
    /// @dev Reverts with NothingToRescue or the token's own error.
    /// @param token which token
    /// @param to where it goes
    function rescue(address token, address to) external;

    // ----------------------------------------------------------------------------------------------- views

    /// @notice The EIP-712 digest of the terms in this vault on this chain.
    function settlementId(Terms calldata terms) external view returns (bytes32);

    /// @notice Where a settlement stands.
    function statusOf(bytes32 settlementId_) external view returns (Status);

    /// @notice Whether this settlement is the one inside the vault's own `PoolManager.swap` call right now.
    function isSwapping(bytes32 settlementId_) external view returns (bool);

    /// @notice The only pool that the vault swaps in.
    function poolKey() external view returns (PoolKey memory);
}
