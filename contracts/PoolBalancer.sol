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
import {SwapParams} from "@uniswap/v4-core/src/types/PoolOperation.sol";

/// @title PoolBalancer, swaps the owner's tokens in a Uniswap v4 pool up to a price
/// @notice What it may do is for the pool's hook to say: FacilitatorHook lets a holder of BALANCER_ROLE bring the
/// price nearer to the reference rate. It never holds tokens: it pays from, and returns to, the owner.
contract PoolBalancer is Ownable, IUnlockCallback {
    using SafeERC20 for IERC20;

    /// @notice The pool manager whose pools are balanced.
    IPoolManager public immutable poolManager;
    /// @notice The token whose direction `balance` names.
    address public immutable eurc;

    /// @notice Thrown when anyone but the pool manager calls `unlockCallback`.
    error OnlyPoolManager();

    /// @param poolManager_ the pool manager whose pools are balanced
    /// @param eurc_ the token whose direction `balance` names
    /// @param owner_ the only one who may call `balance`
    constructor(IPoolManager poolManager_, address eurc_, address owner_) Ownable(owner_) {
        poolManager = poolManager_;
        eurc = eurc_;
    }

    /// @notice Swaps up to `amountIn`, less where the price limit comes first. Owner only; the owner must have
    /// allowed this contract to spend what goes in.
    /// @dev Reverts as the pool does, and as its hook does.
    /// @param key the pool, one of its currencies being EURC
    /// @param eurcIn whether EURC goes in, or comes out
    /// @param amountIn base units of what goes in, LP fee included
    /// @param sqrtPriceLimitX96 where to stop: v4's sqrt(currency1 / currency0) * 2**96
    /// @return amount0 base units of currency0: negative if paid by the owner, positive if returned
    /// @return amount1 base units of currency1, likewise
    function balance(PoolKey calldata key, bool eurcIn, uint128 amountIn, uint160 sqrtPriceLimitX96)
        external
        onlyOwner
        returns (int128 amount0, int128 amount1)
    {
        bool zeroForOne = eurcIn == (Currency.unwrap(key.currency0) == eurc);
        // v4 reads an exact input as a negative amount.
        SwapParams memory params = SwapParams(zeroForOne, -int256(uint256(amountIn)), sqrtPriceLimitX96);
        bytes memory result = poolManager.unlock(abi.encode(msg.sender, key, params));
        return abi.decode(result, (int128, int128));
    }

    /// @inheritdoc IUnlockCallback
    /// @dev Pool manager only, which calls it only within `balance`.
    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        if (msg.sender != address(poolManager)) revert OnlyPoolManager();
        (address payer, PoolKey memory key, SwapParams memory params) =
            abi.decode(data, (address, PoolKey, SwapParams));

        BalanceDelta delta = poolManager.swap(key, params, "");

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
