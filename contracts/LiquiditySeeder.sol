// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IPoolManager} from "@uniswap/v4-core/src/interfaces/IPoolManager.sol";
import {IUnlockCallback} from "@uniswap/v4-core/src/interfaces/callback/IUnlockCallback.sol";
import {BalanceDelta} from "@uniswap/v4-core/src/types/BalanceDelta.sol";
import {Currency} from "@uniswap/v4-core/src/types/Currency.sol";
import {PoolKey} from "@uniswap/v4-core/src/types/PoolKey.sol";
import {ModifyLiquidityParams} from "@uniswap/v4-core/src/types/PoolOperation.sol";

/// @title LiquiditySeeder, adds and removes the owner's liquidity in a Uniswap v4 pool of two ERC-20 tokens
/// @notice v4 positions belong to whoever calls the PoolManager, here to this contract, and so to its owner.
/// It never holds tokens: it pays from, and returns to, the owner.
contract LiquiditySeeder is Ownable, IUnlockCallback {
    using SafeERC20 for IERC20;

    /// @notice The pool manager whose pools are seeded.
    IPoolManager public immutable poolManager;

    /// @notice Thrown when anyone but the pool manager calls `unlockCallback`.
    error OnlyPoolManager();

    /// @param poolManager_ the pool manager whose pools are seeded
    /// @param owner_ the only one who may call `modify`
    constructor(IPoolManager poolManager_, address owner_) Ownable(owner_) {
        poolManager = poolManager_;
    }

    /// @notice Adds liquidity (`liquidityDelta` above zero), removes it (below zero), or collects fees (zero).
    /// Owner only; to add, the owner must have allowed this contract to spend both tokens.
    /// @param key the pool
    /// @param tickLower lower end of the range, a multiple of the pool's tick spacing
    /// @param tickUpper upper end of the range, a multiple of the pool's tick spacing
    /// @param liquidityDelta in units of v4 liquidity
    /// @return amount0 base units of currency0: negative if paid by the owner, positive if returned
    /// @return amount1 base units of currency1, likewise
    function modify(PoolKey calldata key, int24 tickLower, int24 tickUpper, int256 liquidityDelta)
        external
        onlyOwner
        returns (int128 amount0, int128 amount1)
    {
        ModifyLiquidityParams memory params = ModifyLiquidityParams(tickLower, tickUpper, liquidityDelta, bytes32(0));
        bytes memory result = poolManager.unlock(abi.encode(msg.sender, key, params));
        return abi.decode(result, (int128, int128));
    }

    /// @inheritdoc IUnlockCallback
    /// @dev Pool manager only, which calls it only within `modify`.
    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        if (msg.sender != address(poolManager)) revert OnlyPoolManager();
        (address payer, PoolKey memory key, ModifyLiquidityParams memory params) =
            abi.decode(data, (address, PoolKey, ModifyLiquidityParams));

        (BalanceDelta delta,) = poolManager.modifyLiquidity(key, params, "");

        _square(key.currency0, payer, delta.amount0());
        _square(key.currency1, payer, delta.amount1());
        return abi.encode(delta.amount0(), delta.amount1());
    }

    /// @dev Brings this contract's debt in one currency to zero: pays what it owes, takes what it is owed.
    function _square(Currency currency, address payer, int128 amount) private {
        if (amount < 0) {
            poolManager.sync(currency);
            uint256 owed = uint256(-int256(amount));
            IERC20(Currency.unwrap(currency)).safeTransferFrom(payer, address(poolManager), owed);
            poolManager.settle();
        } else if (amount > 0) {
            poolManager.take(currency, payer, uint256(int256(amount)));
        }
    }
}
