// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title Wallet1271, the smallest contract wallet: one owner, who signs for it and acts through it
/// @notice Test only.
contract Wallet1271 is IERC1271 {
    /// @notice Who signs and acts.
    address public immutable owner;

    /// @notice Thrown when anyone but the owner acts.
    error OnlyOwner();

    /// @param owner_ who signs and acts
    constructor(address owner_) {
        owner = owner_;
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (address signer,,) = ECDSA.tryRecoverCalldata(hash, signature);
        return signer == owner ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice Makes a call as the wallet. Owner only; reverts with the target's own error.
    function act(address target, bytes calldata message) external returns (bytes memory) {
        if (msg.sender != owner) revert OnlyOwner();
        return _act(target, message);
    }

    /// @notice Makes several calls in one transaction. Owner only; reverts with the error of the first that fails.
    function actAll(address target, bytes[] calldata messages) external returns (bytes[] memory results) {
        if (msg.sender != owner) revert OnlyOwner();
        results = new bytes[](messages.length);
        for (uint256 i = 0; i < messages.length; ++i) {
            results[i] = _act(target, messages[i]);
        }
    }

    /// @dev One call, whose error becomes ours.
    function _act(address target, bytes calldata message) private returns (bytes memory result) {
        bool success;
        (success, result) = target.call(message);
        if (success) return result;
        assembly ("memory-safe") {
            revert(add(result, 0x20), mload(result))
        }
    }
}
