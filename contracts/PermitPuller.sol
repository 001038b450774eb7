// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {PermitSignature} from "./types/Terms.sol";

/// @title PermitPuller, the only contract that parties give allowances to
/// @notice Moves tokens from an owner to the vault, when the vault says so, and can do nothing else: it has no
/// storage, no admin and no balance, and the destination is not an argument. An allowance to it is therefore an
/// allowance to the vault's `fund`, which asks for the owner's signature over the terms.
contract PermitPuller {
    using SafeERC20 for IERC20;

    /// @notice The only caller, and the only destination.
    address public immutable vault;

    /// @notice Tokens went from `owner` to the vault.
    event Pulled(bytes32 indexed settlementId, address indexed token, address indexed owner, uint256 amount);
    /// @notice A permit was refused by its token, and the pull went on with the allowance that was there.
    /// @param reason the token's revert data
    event PermitSkipped(bytes32 indexed settlementId, address indexed token, address indexed owner, bytes reason);

    /// @notice Thrown when anyone but the vault calls.
    error OnlyVault();
    /// @notice Thrown when the owner holds less than is needed.
    error BalanceTooLow(address token, address owner, uint256 balance, uint256 needed);
    /// @notice Thrown when, permit or not, the owner allows less than is needed.
    error AllowanceTooLow(address token, address owner, uint256 allowance_, uint256 needed);

    /// @param vault_ the only caller, and the only destination
    constructor(address vault_) {
        vault = vault_;
    }

    /// @notice Moves `amount` of `token` from `owner` to the vault. Vault only.
    /// @dev Reverts with BalanceTooLow, AllowanceTooLow, or with the token's own error.
    /// @param settlementId for the events; not checked here
    /// @param token an ERC-20, with EIP-2612 if `permit` is used
    /// @param owner whose tokens move
    /// @param amount in base units of the token
    /// @param permit tried first, unless its deadline is zero
    function pull(
        bytes32 settlementId,
        address token,
        address owner,
        uint256 amount,
        PermitSignature calldata permit
    ) external {
        if (msg.sender != vault) revert OnlyVault();

        uint256 balance = IERC20(token).balanceOf(owner);
        if (balance < amount) revert BalanceTooLow(token, owner, balance, amount);

        if (permit.deadline != 0) _tryPermit(settlementId, token, owner, permit);
        uint256 allowance_ = IERC20(token).allowance(owner, address(this));
        if (allowance_ < amount) revert AllowanceTooLow(token, owner, allowance_, amount);

        IERC20(token).safeTransferFrom(owner, vault, amount);
        emit Pulled(settlementId, token, owner, amount);
    }

    /// @dev A permit is public once it is in the mempool and anyone may submit it first. That leaves the allowance
    /// in place and our own call failing, so a failure must not stop the pull: only the allowance decides.
    function _tryPermit(bytes32 settlementId, address token, address owner, PermitSignature calldata permit) private {
        try IERC20Permit(token).permit(
            owner, address(this), permit.value, permit.deadline, permit.v, permit.r, permit.s
        ) {} catch (bytes memory reason) {
            emit PermitSkipped(settlementId, token, owner, reason);
        }
    }
}
