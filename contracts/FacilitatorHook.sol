// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IHooks} from "@uniswap/v4-core/src/interfaces/IHooks.sol";
import {IPoolManager} from "@uniswap/v4-core/src/interfaces/IPoolManager.sol";
import {FullMath} from "@uniswap/v4-core/src/libraries/FullMath.sol";
import {Hooks} from "@uniswap/v4-core/src/libraries/Hooks.sol";
import {LPFeeLibrary} from "@uniswap/v4-core/src/libraries/LPFeeLibrary.sol";
import {BalanceDelta} from "@uniswap/v4-core/src/types/BalanceDelta.sol";
import {BeforeSwapDelta, BeforeSwapDeltaLibrary} from "@uniswap/v4-core/src/types/BeforeSwapDelta.sol";
import {Currency} from "@uniswap/v4-core/src/types/Currency.sol";
import {PoolId} from "@uniswap/v4-core/src/types/PoolId.sol";
import {PoolKey} from "@uniswap/v4-core/src/types/PoolKey.sol";
import {ModifyLiquidityParams, SwapParams} from "@uniswap/v4-core/src/types/PoolOperation.sol";

import {ISettlementVault} from "./interfaces/ISettlementVault.sol";

/// @title FacilitatorHook, the police of the EURC/USDC pool
/// @notice The vault may swap, only for the settlement it is swapping right now, only EURC for an exact amount of
/// USDC, only under a fresh reference rate, and never at a price worse for the buyer than the band allows. A balancer
/// may swap, too, either way, but only towards the reference and not past it. Nobody else swaps. It binds every
/// router and the facilitator alike, so no swap around a settlement can bring the price below the reference.
/// @dev The callbacks an address receives are in its low 14 bits, so the address is mined: BEFORE_INITIALIZE,
/// BEFORE_SWAP and AFTER_SWAP are 0x20C0. It returns no deltas and holds no tokens, and liquidity is not its
/// business: providers can always leave.
contract FacilitatorHook is IHooks, AccessControl {
    /// @notice The reference rate and what may be done under it, in one slot.
    /// @param usdcPerEurcE8 USDC for one EURC, times 10**8 (1.10 is 110_000_000)
    /// @param setAt Unix time at which it was set
    /// @param bandBps how much less USDC per EURC a swap may get, in basis points of the rate
    /// @param maxAgeSeconds how long it may be used
    /// @param lpFeePips what liquidity providers earn on a swap, in millionths of the EURC that goes in
    struct Rate {
        uint64 usdcPerEurcE8;
        uint40 setAt;
        uint16 bandBps;
        uint32 maxAgeSeconds;
        uint24 lpFeePips;
    }

    /// @notice May set the rate.
    bytes32 public constant RATE_ROLE = keccak256("RATE_ROLE");
    /// @notice May bring the pool's price nearer to the rate. Who holds it is what the pool manager calls the
    /// sender of a swap: a contract such as PoolBalancer.
    bytes32 public constant BALANCER_ROLE = keccak256("BALANCER_ROLE");
    /// @notice Lowest rate accepted, 0.1 USDC for one EURC: most mistakes of scale fall outside the two bounds.
    uint64 public constant MIN_RATE_E8 = 10_000_000;
    /// @notice Highest rate accepted, 10 USDC for one EURC.
    uint64 public constant MAX_RATE_E8 = 1_000_000_000;
    /// @notice Widest band accepted. Half the price is no protection, but a researcher may want to see that.
    uint16 public constant MAX_BAND_BPS = 5_000;
    /// @notice Longest life of a rate accepted.
    uint32 public constant MAX_AGE_SECONDS = 30 days;
    /// @notice Highest fee accepted, ten percent.
    uint24 public constant MAX_LP_FEE_PIPS = 100_000;

    /// @dev Basis points in one.
    uint256 private constant BPS = 10_000;
    /// @dev The scale of `usdcPerEurcE8`. Both tokens have 6 decimals, so base units and whole units share a rate.
    uint256 private constant RATE_SCALE = 1e8;
    /// @dev As the vault has it.
    int24 private constant TICK_SPACING = 10;
    /// @dev The slot of `pools` in the PoolManager (v4-core's StateLibrary, which imports BUSL-1.1).
    uint256 private constant POOLS_SLOT = 6;

    /// @notice The only one who may call the callbacks.
    IPoolManager public immutable poolManager;
    /// @notice The only one who may swap for settlements.
    address public immutable vault;
    /// @notice What settlements take out of the pool.
    address public immutable usdc;
    /// @notice What settlements put into the pool.
    address public immutable eurc;

    Rate private _rate;
    /// @dev The pool's price before the balancer's swap that is under way.
    uint256 private transient _priceBeforeE8;

    /// @notice There is a new reference rate. The words are those of Rate.
    event RateSet(uint64 usdcPerEurcE8, uint40 setAt, uint16 bandBps, uint32 maxAgeSeconds, uint24 lpFeePips);
    /// @notice A settlement's swap passed, seen from the pool; the fact itself is the vault's SettlementSwapped.
    /// @param settlementId whose swap
    /// @param poolId which pool
    /// @param eurcIn EURC base units, LP fee included
    /// @param usdcOut USDC base units
    /// @param referenceRateE8 the rate it was held against
    event PoolSwapChecked(
        bytes32 indexed settlementId,
        bytes32 indexed poolId,
        uint256 eurcIn,
        uint256 usdcOut,
        uint256 referenceRateE8
    );

    /// @notice A balancer brought the pool's price nearer to the reference rate.
    /// @param poolId which pool
    /// @param balancer who swapped
    /// @param eurcIn EURC base units, LP fee included; below zero if they came out
    /// @param usdcOut USDC base units; below zero if they went in, LP fee included
    /// @param priceBeforeE8 the pool's USDC for one EURC, times 10**8, rounded down
    /// @param priceAfterE8 the same after the swap
    /// @param referenceRateE8 the rate it was held against
    event PoolBalanced(
        bytes32 indexed poolId,
        address indexed balancer,
        int256 eurcIn,
        int256 usdcOut,
        uint256 priceBeforeE8,
        uint256 priceAfterE8,
        uint256 referenceRateE8
    );

    /// @notice Thrown when anyone but the pool manager calls a callback.
    error OnlyPoolManager();
    /// @notice Thrown when anyone but the vault or a balancer swaps.
    error NotVault(address sender);
    /// @notice Thrown when a balancer swaps for an exact output.
    error NotExactInput();
    /// @notice Thrown when a balancer's swap moved the price away from the reference, or past it.
    error AwayFromReference(uint256 priceBeforeE8, uint256 priceAfterE8, uint256 rateE8);
    /// @notice Thrown when the hook data do not name the settlement that the vault is swapping right now.
    error NoLiveSettlement(bytes32 settlementId);
    /// @notice Thrown when a settlement's swap is not EURC for an exact amount of USDC.
    error WrongDirection();
    /// @notice Thrown when a pool with this hook would have another currency, fee or tick spacing.
    error WrongPool();
    /// @notice Thrown when someone without the admin role would choose the pool's first price.
    error NotInitializer(address sender);
    /// @notice Thrown when the rate is older than it may be, or was never set.
    error StaleRate(uint256 setAt, uint256 maxAge);
    /// @notice Thrown when a swap got less USDC for its EURC than the band allows.
    error OutsideBand(uint256 eurcIn, uint256 usdcOut, uint256 rateE8);
    /// @notice Thrown when the rate is below MIN_RATE_E8 or above MAX_RATE_E8.
    error BadRate(uint64 usdcPerEurcE8);
    /// @notice Thrown when the band is above MAX_BAND_BPS.
    error BadBand(uint16 bandBps);
    /// @notice Thrown when the maximum age is zero or above MAX_AGE_SECONDS.
    error BadMaxAge(uint32 maxAgeSeconds);
    /// @notice Thrown when the fee is above MAX_LP_FEE_PIPS.
    error BadLpFee(uint24 lpFeePips);
    /// @notice Thrown by the callbacks that the address does not subscribe to.
    error HookNotImplemented();

    /// @dev v4 calls us; anybody else could only be making up swaps.
    modifier onlyPoolManager() {
        if (msg.sender != address(poolManager)) revert OnlyPoolManager();
        _;
    }

    /// @dev Reverts with v4's HookAddressNotValid unless the contract's own address has the right low bits.
    /// @param poolManager_ the only one who may call the callbacks
    /// @param vault_ the only one who may swap for settlements
    /// @param usdc_ what settlements take out of the pool (6 decimals)
    /// @param eurc_ what settlements put into the pool (6 decimals)
    /// @param admin sets the roles, and starts with both
    constructor(IPoolManager poolManager_, address vault_, address usdc_, address eurc_, address admin) {
        poolManager = poolManager_;
        vault = vault_;
        usdc = usdc_;
        eurc = eurc_;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(RATE_ROLE, admin);
        Hooks.validateHookPermissions(this, getHookPermissions());
    }

    /// @notice Sets the reference rate, good from now for `maxAgeSeconds`. RATE_ROLE only.
    /// @dev Reverts with BadRate, BadBand, BadMaxAge or BadLpFee.
    /// @param usdcPerEurcE8 USDC for one EURC, times 10**8
    /// @param bandBps how much less USDC per EURC a swap may get, in basis points of the rate
    /// @param maxAgeSeconds how long the rate may be used
    /// @param lpFeePips what liquidity providers earn, in millionths of the EURC that goes in
    function setRate(uint64 usdcPerEurcE8, uint16 bandBps, uint32 maxAgeSeconds, uint24 lpFeePips)
        external
        onlyRole(RATE_ROLE)
    {
        if (usdcPerEurcE8 < MIN_RATE_E8 || usdcPerEurcE8 > MAX_RATE_E8) revert BadRate(usdcPerEurcE8);
        if (bandBps > MAX_BAND_BPS) revert BadBand(bandBps);
        if (maxAgeSeconds == 0 || maxAgeSeconds > MAX_AGE_SECONDS) revert BadMaxAge(maxAgeSeconds);
        if (lpFeePips > MAX_LP_FEE_PIPS) revert BadLpFee(lpFeePips);
        uint40 setAt = uint40(block.timestamp);
        _rate = Rate(usdcPerEurcE8, setAt, bandBps, maxAgeSeconds, lpFeePips);
        emit RateSet(usdcPerEurcE8, setAt, bandBps, maxAgeSeconds, lpFeePips);
    }

    /// @notice The reference rate in force, or past its time; all zero if never set.
    function rate() external view returns (Rate memory) {
        return _rate;
    }

    /// @notice Which callbacks this hook subscribes to.
    function getHookPermissions() public pure returns (Hooks.Permissions memory permissions) {
        permissions.beforeInitialize = true;
        permissions.beforeSwap = true;
        permissions.afterSwap = true;
    }

    // ----------------------------------------------------------------------------------------- callbacks

    /// @inheritdoc IHooks
    /// @dev One pool and no other, or a stranger could open one with a worthless token and have its swaps pass here.
    /// And only the admin opens it: v4 lets anyone initialize, and a first price that nobody can trade away from
    /// would spoil the pool for good.
    function beforeInitialize(address sender, PoolKey calldata key, uint160)
        external
        view
        onlyPoolManager
        returns (bytes4)
    {
        (address currency0, address currency1) = eurc < usdc ? (eurc, usdc) : (usdc, eurc);
        bool isOurs = Currency.unwrap(key.currency0) == currency0 && Currency.unwrap(key.currency1) == currency1
            && key.fee == LPFeeLibrary.DYNAMIC_FEE_FLAG && key.tickSpacing == TICK_SPACING;
        if (!isOurs) revert WrongPool();
        if (!hasRole(DEFAULT_ADMIN_ROLE, sender)) revert NotInitializer(sender);
        return IHooks.beforeInitialize.selector;
    }

    /// @inheritdoc IHooks
    /// @dev The key needs no check: a pool with this hook passed `beforeInitialize`.
    function beforeSwap(address sender, PoolKey calldata key, SwapParams calldata params, bytes calldata hookData)
        external
        onlyPoolManager
        returns (bytes4, BeforeSwapDelta, uint24)
    {
        if (sender == vault) _beforeSettlement(params, hookData);
        else _beforeBalance(sender, key, params);

        Rate memory current = _rate;
        if (block.timestamp > uint256(current.setAt) + current.maxAgeSeconds) {
            revert StaleRate(current.setAt, current.maxAgeSeconds);
        }
        uint24 fee = current.lpFeePips | LPFeeLibrary.OVERRIDE_FEE_FLAG;
        return (IHooks.beforeSwap.selector, BeforeSwapDeltaLibrary.ZERO_DELTA, fee);
    }

    /// @inheritdoc IHooks
    function afterSwap(
        address sender,
        PoolKey calldata key,
        SwapParams calldata,
        BalanceDelta delta,
        bytes calldata hookData
    ) external onlyPoolManager returns (bytes4, int128) {
        (int128 eurcDelta, int128 usdcDelta) =
            eurc < usdc ? (delta.amount0(), delta.amount1()) : (delta.amount1(), delta.amount0());
        if (sender == vault) _afterSettlement(key, eurcDelta, usdcDelta, bytes32(hookData));
        else _afterBalance(sender, key, eurcDelta, usdcDelta);
        return (IHooks.afterSwap.selector, 0);
    }

    // ------------------------------------------------------------------------------ a settlement's swap

    /// @dev It names the settlement that is live, and sells EURC for an exact amount of USDC.
    function _beforeSettlement(SwapParams calldata params, bytes calldata hookData) private view {
        // Data that are no id read as zero, and the vault never swaps for zero.
        bytes32 id = hookData.length == 32 ? bytes32(hookData) : bytes32(0);
        if (!ISettlementVault(vault).isSwapping(id)) revert NoLiveSettlement(id);

        bool isEurcToUsdc = params.zeroForOne == (eurc < usdc);
        bool isExactOutput = params.amountSpecified > 0;
        if (!isEurcToUsdc || !isExactOutput) revert WrongDirection();
    }

    /// @dev The band has one side, the buyer's. Better than the reference must pass: where nobody balances, a swap
    /// at too good a price is the only thing that can bring the pool back to the reference.
    function _afterSettlement(PoolKey calldata key, int128 eurcDelta, int128 usdcDelta, bytes32 id) private {
        uint256 eurcIn = uint256(-int256(eurcDelta));
        uint256 usdcOut = uint256(int256(usdcDelta));

        // usdcOut / eurcIn >= rate * (1 - band), multiplied out: without a division nothing is rounded, and so
        // nothing is rounded against the buyer. Each side is below 2**127 * 2**40.
        Rate memory current = _rate;
        uint256 got = usdcOut * RATE_SCALE * BPS;
        uint256 least = eurcIn * current.usdcPerEurcE8 * (BPS - current.bandBps);
        if (got < least) revert OutsideBand(eurcIn, usdcOut, current.usdcPerEurcE8);

        emit PoolSwapChecked(id, PoolId.unwrap(key.toId()), eurcIn, usdcOut, current.usdcPerEurcE8);
    }

    // ------------------------------------------------------------------------------- a balancer's swap

    /// @dev It has the role, and says what it puts in.
    function _beforeBalance(address sender, PoolKey calldata key, SwapParams calldata params) private {
        if (!hasRole(BALANCER_ROLE, sender)) revert NotVault(sender);
        if (params.amountSpecified > 0) revert NotExactInput();
        _priceBeforeE8 = _priceE8(key);
    }

    /// @dev Rising, the price may end at the reference at most; falling, at least. So whatever a balancer does, the
    /// next settlement finds a price no worse than the reference, or than it would have been.
    function _afterBalance(address sender, PoolKey calldata key, int128 eurcDelta, int128 usdcDelta) private {
        uint256 rateE8 = _rate.usdcPerEurcE8;
        uint256 beforeE8 = _priceBeforeE8;
        uint256 afterE8 = _priceE8(key);
        bool isAway = beforeE8 < afterE8 ? afterE8 > rateE8 : beforeE8 > afterE8 && afterE8 < rateE8;
        if (isAway) revert AwayFromReference(beforeE8, afterE8, rateE8);

        bytes32 poolId = PoolId.unwrap(key.toId());
        emit PoolBalanced(poolId, sender, -int256(eurcDelta), usdcDelta, beforeE8, afterE8, rateE8);
    }

    /// @dev The pool's USDC for one EURC, times 10**8, rounded down: as fine as the rate itself. Both tokens have 6
    /// decimals. A square root of a price is at least 2**32 and below 2**160, so nothing overflows.
    function _priceE8(PoolKey calldata key) private view returns (uint256) {
        bytes32 slot0 = poolManager.extsload(keccak256(abi.encode(key.toId(), POOLS_SLOT)));
        uint256 sqrtPriceX96 = uint160(uint256(slot0));
        if (eurc < usdc) return FullMath.mulDiv(sqrtPriceX96, sqrtPriceX96 * RATE_SCALE, 1 << 192);
        return (RATE_SCALE << 192) / sqrtPriceX96 / sqrtPriceX96;
    }

    // --------------------------------------------------------- callbacks that v4 never makes to this address

    /// @inheritdoc IHooks
    function afterInitialize(address, PoolKey calldata, uint160, int24) external pure returns (bytes4) {
        revert HookNotImplemented();
    }

    /// @inheritdoc IHooks
    function beforeAddLiquidity(address, PoolKey calldata, ModifyLiquidityParams calldata, bytes calldata)
        external
        pure
        returns (bytes4)
    {
        revert HookNotImplemented();
    }

    /// @inheritdoc IHooks
    function afterAddLiquidity(
        address,
        PoolKey calldata,
        ModifyLiquidityParams calldata,
        BalanceDelta,
        BalanceDelta,
        bytes calldata
    ) external pure returns (bytes4, BalanceDelta) {
        revert HookNotImplemented();
    }

    /// @inheritdoc IHooks
    function beforeRemoveLiquidity(address, PoolKey calldata, ModifyLiquidityParams calldata, bytes calldata)
        external
        pure
        returns (bytes4)
    {
        revert HookNotImplemented();
    }

    /// @inheritdoc IHooks
    function afterRemoveLiquidity(
        address,
        PoolKey calldata,
        ModifyLiquidityParams calldata,
        BalanceDelta,
        BalanceDelta,
        bytes calldata
    ) external pure returns (bytes4, BalanceDelta) {
        revert HookNotImplemented();
    }

    /// @inheritdoc IHooks
    function beforeDonate(address, PoolKey calldata, uint256, uint256, bytes calldata)
        external
        pure
        returns (bytes4)
    {
        revert HookNotImplemented();
    }

    /// @inheritdoc IHooks
    function afterDonate(address, PoolKey calldata, uint256, uint256, bytes calldata)
        external
        pure
        returns (bytes4)
    {
        revert HookNotImplemented();
    }
}
