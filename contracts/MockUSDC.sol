// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {MockFiat} from "./MockFiat.sol";

/// @title Mock USDC, a dollar stablecoin for local chains and valueless test networks
contract MockUSDC is MockFiat {
    /// @param admin receives every role
    constructor(address admin) MockFiat("Mock USDC", "mUSDC", admin) {}
}
