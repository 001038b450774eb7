// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ISettlementVault} from "./interfaces/ISettlementVault.sol";

/// @title VaultEscrow, the tokens that the vault owes
/// @notice Counts what the vault owes of each token, sends it out, and keeps what a token refuses to send.
/// @dev At every moment, also inside a call into a hostile token, balance >= escrowed.
abstract contract VaultEscrow is ISettlementVault, AccessControl, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice Gas of one outgoing transfer. A payment in a token that needs more is parked; others are not affected.
    uint256 public constant PUSH_GAS = 100_000;
    /// @dev A call gets at most 63/64 of the remaining gas (EIP-150). Below this floor a push would get less than
    /// PUSH_GAS, and a caller could park payments of others by sending too little gas.
    uint256 private constant PUSH_GAS_FLOOR = 105_000;

    /// @notice What the vault owes, of each token, to settlements and to claimants, in base units.
    mapping(address token => uint256) public escrowed;
    /// @notice What is parked for an owner, in base units. It is part of `escrowed`.
    mapping(address token => mapping(address owner => uint256)) public claimable;

    /// @inheritdoc ISettlementVault
    function claim(address token, address to) external nonReentrant {
        if (to == address(this)) revert BadParty(to);
        uint256 amount = claimable[token][msg.sender];
        if (amount == 0) revert NothingToClaim(token, msg.sender);
        claimable[token][msg.sender] = 0;
        escrowed[token] -= amount;
        emit Claimed(token, msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc ISettlementVault
    function rescue(address token, address to) external nonReentrant onlyRole(DEFAULT_ADMIN_ROLE) {
        uint256 balance = IERC20(token).balanceOf(address(this));
        if (balance <= escrowed[token]) revert NothingToRescue(token);
        uint256 surplus = balance - escrowed[token];
        emit Rescued(token, to, surplus);
        IERC20(token).safeTransfer(to, surplus);
    }

    /// @dev Adds `amount` to the escrow if exactly this amount has arrived. With a token that keeps a fee, one
    /// settlement would otherwise be paid out of the escrow of another.
    function _escrow(address token, uint256 balanceBefore, uint256 amount) internal {
        uint256 received = IERC20(token).balanceOf(address(this)) - balanceBefore;
        if (received < amount) revert FeeOnTransfer(token, received, amount);
        if (received > amount) revert UnexpectedBalance(token, received, amount);
        escrowed[token] += amount;
    }

    /// @dev Sends `amount` from escrow to `to`, or parks it for `to` if the token refuses, so that a blocked party
    /// cannot stop the other.
    function _push(bytes32 id, address token, address to, uint256 amount) internal {
        if (gasleft() < PUSH_GAS_FLOOR) revert NotEnoughGas(gasleft(), PUSH_GAS_FLOOR);
        escrowed[token] -= amount;
        try this.pushTransfer{gas: PUSH_GAS}(IERC20(token), to, amount) {}
        catch {
            // The reason is not copied: a hostile token could return any length.
            escrowed[token] += amount;
            claimable[token][to] += amount;
            emit PaymentParked(id, token, to, amount);
        }
    }

    /// @notice One transfer out of the vault. It is a separate call, so that it can fail alone and has its own gas
    /// limit. The vault only.
    /// @dev Reverts with OnlySelf, SafeERC20FailedOperation or the token's own error.
    function pushTransfer(IERC20 token, address to, uint256 amount) external {
        if (msg.sender != address(this)) revert OnlySelf();
        token.safeTransfer(to, amount);
    }
}
