// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {MockFiat} from "./MockFiat.sol";

/// @title Mock EURC, a euro stablecoin for local chains and valueless test networks
contract MockEURC is MockFiat {
    /// @param admin receives every role
    constructor(address admin) MockFiat("Mock EURC", "mEURC", admin) {}
}
