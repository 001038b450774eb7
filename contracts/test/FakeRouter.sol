// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IPoolManager} from "@uniswap/v4-core/src/interfaces/IPoolManager.sol";
import {IUnlockCallback} from "@uniswap/v4-core/src/interfaces/callback/IUnlockCallback.sol";
import {BalanceDelta} from "@uniswap/v4-core/src/types/BalanceDelta.sol";
import {Currency} from "@uniswap/v4-core/src/types/Currency.sol";
import {PoolKey} from "@uniswap/v4-core/src/types/PoolKey.sol";
import {SwapParams} from "@uniswap/v4-core/src/types/PoolOperation.sol";

/// @title FakeRouter, a swapper that is not the vault, or that pretends to be
/// @notice Test only. As a foreign router it swaps in anybody's pool. Named as `vault` to a hook of its own it plays
/// the vault's part, and may then lie about which settlement is live.
contract FakeRouter is IUnlockCallback {
    using SafeERC20 for IERC20;

    /// @notice The pool manager it swaps with.
    IPoolManager public immutable poolManager;
    /// @notice The id it says is live.
    bytes32 public liveId;

    /// @param poolManager_ the pool manager it swaps with
    constructor(IPoolManager poolManager_) {
        poolManager = poolManager_;
    }

    /// @notice Sets the id it says is live. Anyone may call.
    function setLiveId(bytes32 liveId_) external {
        liveId = liveId_;
    }

    /// @notice What the hook asks of a vault.
    function isSwapping(bytes32 id) external view returns (bool) {
        return id == liveId;
    }

    /// @notice Swaps with this contract's own tokens. Anyone may call.
    function swap(PoolKey calldata key, SwapParams calldata params, bytes calldata hookData) external {
        poolManager.unlock(abi.encode(key, params, hookData));
    }

    /// @inheritdoc IUnlockCallback
    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        (PoolKey memory key, SwapParams memory params, bytes memory hookData) =
            abi.decode(data, (PoolKey, SwapParams, bytes));
        BalanceDelta delta = poolManager.swap(key, params, hookData);
        _square(key.currency0, delta.amount0());
        _square(key.currency1, delta.amount1());
        return "";
    }

    /// @dev Pays what is owed, takes what is due.
    function _square(Currency currency, int128 amount) private {
        if (amount < 0) {
            poolManager.sync(currency);
            IERC20(Currency.unwrap(currency)).safeTransfer(address(poolManager), uint256(-int256(amount)));
            poolManager.settle();
        } else if (amount > 0) {
            poolManager.take(currency, address(this), uint256(int256(amount)));
        }
    }
}
