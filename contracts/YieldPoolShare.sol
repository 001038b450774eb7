// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC4626} from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";

/// @title Yield Pool Share (YPS), the asset that the demo sells
/// @notice An ERC-4626 share over USDC. USDC sent here without a deposit is yield, and lifts the value of all shares.
contract YieldPoolShare is ERC4626, ERC20Permit {
    /// @param usdc the underlying token (6 decimals)
    constructor(IERC20 usdc) ERC4626(usdc) ERC20("Yield Pool Share", "YPS") ERC20Permit("Yield Pool Share") {}

    /// @notice Eighteen: six of USDC and twelve of offset.
    function decimals() public view override(ERC4626, ERC20) returns (uint8) {
        return ERC4626.decimals();
    }

    /// @dev Twelve more digits than the underlying. To round a first depositor down to nothing an attacker would
    /// have to donate 10**12 times the deposit, so the well-known inflation attack does not pay.
    function _decimalsOffset() internal pure override returns (uint8) {
        return 12;
    }
}
