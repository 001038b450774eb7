// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IHooks} from "@uniswap/v4-core/src/interfaces/IHooks.sol";
import {IPoolManager} from "@uniswap/v4-core/src/interfaces/IPoolManager.sol";
import {IUnlockCallback} from "@uniswap/v4-core/src/interfaces/callback/IUnlockCallback.sol";
import {LPFeeLibrary} from "@uniswap/v4-core/src/libraries/LPFeeLibrary.sol";
import {BalanceDelta} from "@uniswap/v4-core/src/types/BalanceDelta.sol";
import {Currency} from "@uniswap/v4-core/src/types/Currency.sol";
import {PoolKey} from "@uniswap/v4-core/src/types/PoolKey.sol";
import {SwapParams} from "@uniswap/v4-core/src/types/PoolOperation.sol";

import {PermitPuller} from "./PermitPuller.sol";
import {VaultEscrow} from "./VaultEscrow.sol";
import {IReceiveWithAuthorization} from "./interfaces/IReceiveWithAuthorization.sol";
import {ISettlementVault} from "./interfaces/ISettlementVault.sol";
import {PermitSignature, Status, Terms} from "./types/Terms.sol";

/// @title SettlementVault, delivery against payment with a currency swap in the middle
/// @notice The rules are in ISettlementVault, the invariants in README.md.
/// @dev The vault is itself the v4 swapper and the hook only polices: v4 skips a hook's callbacks when the hook is
/// the one that swaps. There is no upgrade, and no switch that stops refund, execute or claim.
///
/// Two orders hold throughout. A status is written before any token moves. And escrow is counted up after tokens
/// have come in and counted down before they go out, so that at every moment, also in the middle of a call into a
/// hostile token, balance >= escrowed.
///
/// What the admin must know of an asset before allowing it: it does not rebase, and one `transfer` of it costs less
/// than PUSH_GAS. Taking an asset off the list does not touch settlements that already exist.
contract SettlementVault is IUnlockCallback, EIP712, VaultEscrow {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @notice All that is stored of a settlement, in one slot.
    /// @param status where it stands
    /// @param swapBlock number of the block with the swap, zero before
    /// @param eurcSpent on the swap, in EURC base units, zero before
    struct Settlement {
        Status status;
        uint40 swapBlock;
        uint96 eurcSpent;
    }

    /// @notice May fund, swap, execute as soon as the swap is final, and refund before the swap.
    bytes32 public constant FACILITATOR_ROLE = keccak256("FACILITATOR_ROLE");
    /// @notice EIP-712 type hash of the terms.
    bytes32 public constant SETTLEMENT_TYPEHASH = keccak256(
        "Settlement(address buyer,address seller,address asset,uint256 assetAmount,uint256 requiredUsdc,uint256 maxEurc,uint64 fundDeadline,uint64 swapDeadline,bytes32 resourceHash,bytes32 salt)"
    );
    /// @dev Tick spacing of the pool, fixed so that there is one pool and not a choice of pools.
    int24 private constant TICK_SPACING = 10;

    /// @notice Where the pool lives.
    IPoolManager public immutable poolManager;
    /// @notice What sellers receive.
    IERC20 public immutable usdc;
    /// @notice What buyers pay.
    IERC20 public immutable eurc;
    /// @notice What buyers and sellers give their allowances to.
    PermitPuller public immutable puller;
    /// @notice Blocks from the swap until the facilitator may execute.
    uint256 public immutable finalityBlocks;
    /// @notice Further blocks until anyone may execute.
    uint256 public immutable graceBlocks;

    /// @notice The hook of the pool; zero until set.
    IHooks public hook;
    /// @notice State by settlement id.
    mapping(bytes32 settlementId => Settlement) public settlements;
    /// @notice Whether new settlements may sell this asset.
    mapping(address asset => bool) public assetAllowed;
    /// @dev The settlement inside `PoolManager.swap`. Transient, so it cannot outlive the transaction.
    bytes32 private transient _swappingId;

    /// @param poolManager_ where the pool lives
    /// @param usdc_ what sellers receive (6 decimals)
    /// @param eurc_ what buyers pay (6 decimals)
    /// @param finalityBlocks_ blocks from the swap until the facilitator may execute
    /// @param graceBlocks_ further blocks until anyone may execute
    /// @param admin sets the hook, the assets and the roles, and may rescue what is nobody's
    constructor(
        IPoolManager poolManager_,
        IERC20 usdc_,
        IERC20 eurc_,
        uint256 finalityBlocks_,
        uint256 graceBlocks_,
        address admin
    ) EIP712("SettlementVault", "1") {
        poolManager = poolManager_;
        usdc = usdc_;
        eurc = eurc_;
        finalityBlocks = finalityBlocks_;
        graceBlocks = graceBlocks_;
        puller = new PermitPuller(address(this));
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
    }

    // ----------------------------------------------------------------------------------------------- admin

    /// @notice Sets the hook, once: its address is mined over the vault's, so the vault comes first. Admin only.
    /// @dev Reverts with ZeroAddress or HookAlreadySet.
    /// @param hook_ a FacilitatorHook for this vault
    function setHook(IHooks hook_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (address(hook_) == address(0)) revert ZeroAddress();
        if (address(hook) != address(0)) revert HookAlreadySet();
        hook = hook_;
        emit HookSet(address(hook_));
    }

    /// @notice Lets new settlements sell an asset, or no longer. Admin only.
    /// @dev Reverts with BadAsset. USDC and EURC are refused because their escrow means something else.
    /// @param asset the token
    /// @param isAllowed whether it may be sold
    function setAsset(address asset, bool isAllowed) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (asset == address(usdc) || asset == address(eurc) || asset.code.length == 0) revert BadAsset(asset);
        assetAllowed[asset] = isAllowed;
        emit AssetSet(asset, isAllowed);
    }

    // ------------------------------------------------------------------------------------------- main path

    /// @inheritdoc ISettlementVault
    function createSettlement(Terms calldata terms, bytes calldata buyerSignature, bytes calldata sellerSignature)
        external
        nonReentrant
        returns (bytes32 id)
    {
        _requireSoundTerms(terms);
        id = settlementId(terms);
        _advance(id, Status.None, Status.Created);

        if (msg.sender != terms.seller) {
            bool sellerSigned = SignatureChecker.isValidSignatureNowCalldata(terms.seller, id, sellerSignature);
            if (!sellerSigned) revert BadSellerSignature();
        }
        bool buyerSigned = SignatureChecker.isValidSignatureNowCalldata(terms.buyer, id, buyerSignature);
        if (!buyerSigned) revert BadBuyerSignature();

        emit SettlementCreated(id, terms.buyer, terms.seller, terms);
    }

    /// @inheritdoc ISettlementVault
    function fund(Terms calldata terms, PermitSignature calldata buyerPermit, PermitSignature calldata sellerPermit)
        external
        nonReentrant
        onlyRole(FACILITATOR_ROLE)
    {
        bytes32 id = _startFunding(terms);
        _pull(id, address(eurc), terms.buyer, terms.maxEurc, buyerPermit);
        _pull(id, terms.asset, terms.seller, terms.assetAmount, sellerPermit);
        emit SettlementFunded(id, terms.maxEurc, terms.assetAmount);
    }

    /// @inheritdoc ISettlementVault
    function fundWithAuthorization(
        Terms calldata terms,
        uint256 validAfter,
        uint256 validBefore,
        bytes calldata buyerSignature,
        PermitSignature calldata sellerPermit
    ) external nonReentrant onlyRole(FACILITATOR_ROLE) {
        bytes32 id = _startFunding(terms);

        uint256 balanceBefore = eurc.balanceOf(address(this));
        IReceiveWithAuthorization(address(eurc)).receiveWithAuthorization(
            terms.buyer, address(this), terms.maxEurc, validAfter, validBefore, id, buyerSignature
        );
        _escrow(address(eurc), balanceBefore, terms.maxEurc);

        _pull(id, terms.asset, terms.seller, terms.assetAmount, sellerPermit);
        emit SettlementFunded(id, terms.maxEurc, terms.assetAmount);
    }

    /// @inheritdoc ISettlementVault
    function executeSwap(Terms calldata terms) external nonReentrant onlyRole(FACILITATOR_ROLE) {
        bytes32 id = settlementId(terms);
        _advance(id, Status.Funded, Status.Swapped);
        _requireNotPast(terms.swapDeadline);

        uint256 usdcBefore = usdc.balanceOf(address(this));
        bytes memory result = poolManager.unlock(abi.encode(id, terms.requiredUsdc, terms.maxEurc));
        uint256 eurcSpent = abi.decode(result, (uint256));
        _escrow(address(usdc), usdcBefore, terms.requiredUsdc);

        settlements[id].swapBlock = block.number.toUint40();
        settlements[id].eurcSpent = eurcSpent.toUint96();
        emit SettlementSwapped(id, eurcSpent, terms.requiredUsdc);
    }

    /// @inheritdoc IUnlockCallback
    /// @dev Pool manager only, which calls it only within `executeSwap`. Swaps, pays, takes.
    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        if (msg.sender != address(poolManager)) revert OnlyPoolManager();
        (bytes32 id, uint256 requiredUsdc, uint256 maxEurc) = abi.decode(data, (bytes32, uint256, uint256));

        (uint256 eurcSpent, uint256 usdcBought) = _swap(id, requiredUsdc, maxEurc);
        // v4 stops at the price limit without reverting, so a short fill must be caught here.
        if (usdcBought != requiredUsdc) revert PartialFill(usdcBought, requiredUsdc);
        if (eurcSpent > maxEurc) revert OverBudget(eurcSpent, maxEurc);

        escrowed[address(eurc)] -= eurcSpent;
        poolManager.sync(Currency.wrap(address(eurc)));
        eurc.safeTransfer(address(poolManager), eurcSpent);
        poolManager.settle();
        poolManager.take(Currency.wrap(address(usdc)), address(this), usdcBought);
        return abi.encode(eurcSpent);
    }

    /// @inheritdoc ISettlementVault
    function executeSettlement(Terms calldata terms, bytes32 swapBlockHash) external nonReentrant {
        bytes32 id = settlementId(terms);
        _advance(id, Status.Swapped, Status.Executed);
        Settlement memory settlement = settlements[id];
        _requireFinal(settlement.swapBlock, swapBlockHash);

        uint256 eurcReturned = terms.maxEurc - settlement.eurcSpent;
        _push(id, terms.asset, terms.buyer, terms.assetAmount);
        _push(id, address(usdc), terms.seller, terms.requiredUsdc);
        if (eurcReturned != 0) _push(id, address(eurc), terms.buyer, eurcReturned);
        emit SettlementExecuted(id, terms.assetAmount, terms.requiredUsdc, eurcReturned);
    }

    // ----------------------------------------------------------------------------------------- other ends

    /// @inheritdoc ISettlementVault
    function refund(Terms calldata terms, bytes32 reason) external nonReentrant {
        bytes32 id = settlementId(terms);
        Status status = settlements[id].status;
        if (status != Status.Created && status != Status.Funded) revert BadStatus(id, status);

        if (!hasRole(FACILITATOR_ROLE, msg.sender)) {
            uint64 deadline = status == Status.Created ? terms.fundDeadline : terms.swapDeadline;
            if (block.timestamp <= deadline) revert DeadlineNotPassed(deadline);
            reason = "EXPIRED";
        }

        _advance(id, status, Status.Refunded);
        if (status == Status.Created) {
            emit SettlementRefunded(id, 0, 0, reason);
            return;
        }
        _push(id, address(eurc), terms.buyer, terms.maxEurc);
        _push(id, terms.asset, terms.seller, terms.assetAmount);
        emit SettlementRefunded(id, terms.maxEurc, terms.assetAmount, reason);
    }

    /// @inheritdoc ISettlementVault
    function cancel(Terms calldata terms) external nonReentrant {
        if (msg.sender != terms.buyer && msg.sender != terms.seller) revert NotAParty(msg.sender);
        bytes32 id = settlementId(terms);
        _advance(id, Status.Created, Status.Refunded);
        emit SettlementRefunded(id, 0, 0, "CANCELLED");
    }

    // ----------------------------------------------------------------------------------------------- views

    /// @inheritdoc ISettlementVault
    function settlementId(Terms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, terms)));
    }

    /// @inheritdoc ISettlementVault
    function statusOf(bytes32 id) external view returns (Status) {
        return settlements[id].status;
    }

    /// @inheritdoc ISettlementVault
    function isSwapping(bytes32 id) external view returns (bool) {
        return id != 0 && id == _swappingId;
    }

    /// @inheritdoc ISettlementVault
    function poolKey() public view returns (PoolKey memory) {
        (address currency0, address currency1) =
            _eurcIsCurrency0() ? (address(eurc), address(usdc)) : (address(usdc), address(eurc));
        return PoolKey(
            Currency.wrap(currency0), Currency.wrap(currency1), LPFeeLibrary.DYNAMIC_FEE_FLAG, TICK_SPACING, hook
        );
    }

    // ---------------------------------------------------------------------------------------------- checks

    /// @dev All that can be said against terms without looking at signatures or at state.
    function _requireSoundTerms(Terms calldata terms) private view {
        if (address(hook) == address(0)) revert HookNotSet();
        if (terms.fundDeadline > terms.swapDeadline) revert BadDeadlines();
        _requireNotPast(terms.fundDeadline);
        if (terms.assetAmount == 0 || terms.requiredUsdc == 0 || terms.maxEurc == 0) revert ZeroAmount();
        if (terms.requiredUsdc > type(uint96).max) revert AmountTooLarge(terms.requiredUsdc);
        if (terms.maxEurc > type(uint96).max) revert AmountTooLarge(terms.maxEurc);
        _requireOutsider(terms.buyer);
        _requireOutsider(terms.seller);
        if (terms.buyer == terms.seller) revert BadParty(terms.seller);
        if (!assetAllowed[terms.asset]) revert AssetNotAllowed(terms.asset);
    }

    /// @dev A payment to one of these would be lost, or would count as surplus.
    function _requireOutsider(address party) private view {
        bool isInsider = party == address(0) || party == address(this) || party == address(puller)
            || party == address(poolManager) || party == address(hook);
        if (isInsider) revert BadParty(party);
    }

    /// @dev The deadline itself is still in time.
    function _requireNotPast(uint64 deadline) private view {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
    }

    /// @dev On one chain a reorg undoes both legs or neither; what the wait protects is everything that happens off
    /// the chain. `blockhash` is zero outside the last 256 blocks, and then the pin says nothing either way.
    function _requireFinal(uint256 swapBlock, bytes32 expectedHash) private view {
        uint256 finalAt = swapBlock + finalityBlocks;
        if (!hasRole(FACILITATOR_ROLE, msg.sender)) finalAt += graceBlocks;
        if (block.number < finalAt) revert NotFinal(finalAt);

        bytes32 actualHash = blockhash(swapBlock);
        bool isPinned = expectedHash != 0 && actualHash != 0;
        if (isPinned && actualHash != expectedHash) revert ReorgDetected();
    }

    // --------------------------------------------------------------------------------------------- effects

    /// @dev The only place where a status changes.
    function _advance(bytes32 id, Status from, Status to) private {
        Status status = settlements[id].status;
        if (status != from) revert BadStatus(id, status);
        settlements[id].status = to;
    }

    /// @dev What both ways of funding have in common.
    function _startFunding(Terms calldata terms) private returns (bytes32 id) {
        id = settlementId(terms);
        _advance(id, Status.Created, Status.Funded);
        _requireNotPast(terms.fundDeadline);
    }

    /// @dev Brings `amount` from `owner` into escrow.
    function _pull(bytes32 id, address token, address owner, uint256 amount, PermitSignature calldata permit)
        private
    {
        uint256 balanceBefore = IERC20(token).balanceOf(address(this));
        puller.pull(id, token, owner, amount, permit);
        _escrow(token, balanceBefore, amount);
    }

    // ------------------------------------------------------------------------------------------------ swap

    /// @dev Exact output. The id is live only while control is with the pool manager and the hook.
    function _swap(bytes32 id, uint256 requiredUsdc, uint256 maxEurc)
        private
        returns (uint256 eurcSpent, uint256 usdcBought)
    {
        bool zeroForOne = _eurcIsCurrency0();
        uint160 priceLimit = _priceLimit(zeroForOne, requiredUsdc, maxEurc);

        _swappingId = id;
        BalanceDelta delta = poolManager.swap(
            poolKey(), SwapParams(zeroForOne, int256(requiredUsdc), priceLimit), abi.encode(id)
        );
        _swappingId = 0;

        (int128 eurcDelta, int128 usdcDelta) =
            zeroForOne ? (delta.amount0(), delta.amount1()) : (delta.amount1(), delta.amount0());
        // In v4's sign, what the swapper owes is negative and what it is owed is positive.
        return (uint256(-int256(eurcDelta)), uint256(int256(usdcDelta)));
    }

    /// @dev Where the pool must stop: a marginal price four times as dear as the average that the terms allow. Far
    /// enough never to stand in the way of a swap within budget, near enough that an emptied pool ends in
    /// PartialFill, and not in a walk through the whole range of ticks.
    ///
    /// A v4 price is currency1 per currency0 and the limit is its root, in Q96; four times the price is twice the
    /// root. Both amounts are in [1, 2**96), so the quotient is in [2**32, 2**224) and its root in [2**16, 2**112):
    /// either limit lies within v4's bounds of about 2**32 and 2**160.
    function _priceLimit(bool zeroForOne, uint256 requiredUsdc, uint256 maxEurc) private pure returns (uint160) {
        if (zeroForOne) return uint160(Math.sqrt((requiredUsdc << 128) / maxEurc) << 31);
        return uint160(Math.sqrt((maxEurc << 128) / requiredUsdc) << 33);
    }

    /// @dev v4 sorts a pool's currencies by address.
    function _eurcIsCurrency0() private view returns (bool) {
        return address(eurc) < address(usdc);
    }
}
