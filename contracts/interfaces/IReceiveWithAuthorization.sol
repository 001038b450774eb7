// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title The one ERC-3009 function that the vault needs, in the form that also takes ERC-1271 signatures
/// @dev Circle's FiatToken has had this overload since its version 2.2; MockFiat adds it to OpenZeppelin's ERC3009.
interface IReceiveWithAuthorization {
    /// @notice Moves `value` from `from` to the caller, on the strength of `from`'s signature.
    /// @param from who pays and who signed
    /// @param to must be the caller, so nobody can spend the authorisation ahead of the payee
    /// @param value in base units
    /// @param validAfter Unix time; usable strictly after it
    /// @param validBefore Unix time; usable strictly before it
    /// @param nonce any 32 bytes, used once per `from`
    /// @param signature 65 bytes `r ‖ s ‖ v`, or whatever a contract wallet accepts
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}
