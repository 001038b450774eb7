// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice What buyer and seller agree to. Both sign the EIP-712 digest of these words, and that digest is the
/// settlement's id: to alter one field is to name another settlement, which nobody signed.
/// @dev Every member is a static 32-byte word, so `abi.encode(typeHash, terms)` is the EIP-712 encoding as it stands.
/// The terms are never stored; each call brings them again and their digest finds the state.
/// @param buyer pays EURC, receives the asset and the EURC left over
/// @param seller delivers the asset, receives USDC
/// @param asset ERC-20 that is sold; the vault's admin must have allowed it
/// @param assetAmount in the asset's base units
/// @param requiredUsdc what the seller receives, in USDC base units (6 decimals), below 2**96
/// @param maxEurc what the buyer puts into escrow, in EURC base units (6 decimals), below 2**96
/// @param fundDeadline last second (Unix time) at which the settlement may be created or funded
/// @param swapDeadline last second (Unix time) at which the swap may happen; not before `fundDeadline`
/// @param resourceHash what was bought, as the HTTP side names it; the vault does not look inside
/// @param salt makes two otherwise equal deals two settlements
struct Terms {
    address buyer;
    address seller;
    address asset;
    uint256 assetAmount;
    uint256 requiredUsdc;
    uint256 maxEurc;
    uint64 fundDeadline;
    uint64 swapDeadline;
    bytes32 resourceHash;
    bytes32 salt;
}

/// @notice An EIP-2612 permit in favour of the PermitPuller.
/// @param value the allowance it grants, in base units of the token
/// @param deadline Unix time in seconds; zero means "no permit here, rely on the allowance"
/// @param v recovery byte
/// @param r first half of the signature
/// @param s second half of the signature
struct PermitSignature {
    uint256 value;
    uint256 deadline;
    uint8 v;
    bytes32 r;
    bytes32 s;
}

/// @notice Where a settlement stands. It only moves to the right, and ends as Executed or as Refunded:
/// None -> Created -> Funded -> Swapped -> Executed, and Created or Funded -> Refunded.
enum Status {
    None,
    Created,
    Funded,
    Swapped,
    Executed,
    Refunded
}
