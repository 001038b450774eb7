// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title FeeToken, a token with which less, or more, arrives than was sent
/// @notice Test only. The difference is burnt, or minted, on every transfer between accounts.
contract FeeToken is ERC20 {
    /// @notice What happens to a transfer, in base units: below zero a fee, above zero a bonus.
    int256 public difference;

    constructor() ERC20("Fee Token", "FEE") {}

    /// @notice Creates `amount` base units for `to`. Anyone may call.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Sets the difference, in base units. Anyone may call.
    function setDifference(int256 difference_) external {
        difference = difference_;
    }

    /// @dev Applies the difference on the receiver's side, after the plain transfer.
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from == address(0) || to == address(0)) return;
        if (difference < 0) super._update(to, address(0), uint256(-difference));
        if (difference > 0) super._update(address(0), to, uint256(difference));
    }
}
