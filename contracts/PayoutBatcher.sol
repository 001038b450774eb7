// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title PayoutBatcher, pays many receivers in one transaction, each id at most once
/// @notice Every payment has an id. A payer pays once under one id; a repeated id is skipped. A payment that fails
/// (the receiver or the token refuses it) emits Failed, stays unpaid, and does not stop the other payments.
///
/// The contract moves only the money of its caller, and only during the call. Native currency comes with the call,
/// and the remainder goes back. Tokens go directly from the caller to the receiver. Ids belong to the caller, so no
/// other account can use them up. There is no owner, no role, no setting and no upgrade. So an allowance given to
/// this contract can be used only by the account that gave it. Tokens that are sent to this address are lost.
contract PayoutBatcher is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice One payment.
    /// @param id the payer's own name for it
    /// @param to who receives
    /// @param amount base units, all of which must arrive
    struct Payment {
        bytes32 id;
        address to;
        uint256 amount;
    }

    /// @notice The outcome of a payment.
    enum Outcome {
        Paid,
        Failed,
        Skipped
    }

    /// @notice Gas for a receiver of native currency, in addition to the stipend of 2,300.
    uint256 public constant NATIVE_GAS = 50_000;
    /// @notice Gas for one token transfer.
    uint256 public constant TOKEN_GAS = 100_000;
    /// @dev A call gets at most 63/64 of the remaining gas (EIP-150), after its own cost: up to 36,600 with value to a
    /// new account. With less gas than this, a caller could make a payment fail by sending too little gas.
    uint256 private constant NATIVE_GAS_FLOOR = 92_000;
    /// @dev The same for a token, whose call has no value.
    uint256 private constant TOKEN_GAS_FLOOR = 105_000;
    /// @dev Bytes of a reason that are kept: an error with three words, or a text of 32 letters.
    uint256 private constant REASON_SIZE = 100;

    /// @notice Whether a payer's id is paid.
    mapping(address payer => mapping(bytes32 id => bool)) public isPaid;

    /// @notice The full amount has arrived. `token` is zero for native currency.
    event Paid(
        address indexed payer, bytes32 indexed id, address indexed to, address token, uint256 amount
    );
    /// @notice Nothing has moved. `reason`: the first 100 bytes of the revert data of the receiver or the token.
    event Failed(
        address indexed payer,
        bytes32 indexed id,
        address indexed to,
        address token,
        uint256 amount,
        bytes reason
    );
    /// @notice The id was already paid, by an earlier transaction or earlier in this one.
    event Skipped(address indexed payer, bytes32 indexed id);

    /// @notice Thrown when the value of the call does not cover the payments.
    error ValueTooLow(uint256 left, uint256 needed);
    /// @notice Thrown when the caller lets this contract move less than the payments' sum.
    error AllowanceTooLow(uint256 allowed, uint256 needed);
    /// @notice Thrown when the caller holds less than the payments' sum.
    error BalanceTooLow(uint256 held, uint256 needed);
    /// @notice Thrown when so little gas is left that a payment could fail for lack of gas.
    error NotEnoughGas(uint256 left, uint256 needed);
    /// @notice Thrown when the caller does not accept the remainder.
    error LeftoverRefused();
    /// @notice Thrown when anyone but this contract calls `deliver`.
    error OnlySelf();
    /// @notice Thrown when less or more arrives than the amount of the payment.
    error WrongAmount(uint256 arrived, uint256 wanted);
    /// @notice Said of a payment to this contract.
    error NotAReceiver();

    /// @notice Pays native currency. What is left goes back to the caller.
    /// @dev Reverts as a whole only for what is the caller's fault: ValueTooLow, NotEnoughGas, LeftoverRefused.
    /// @return outcomes of the payments, in their order; events say the same
    function payNative(Payment[] calldata payments)
        external
        payable
        nonReentrant
        returns (Outcome[] memory outcomes)
    {
        outcomes = new Outcome[](payments.length);
        uint256 left = msg.value;
        for (uint256 i = 0; i < payments.length; ++i) {
            if (left < payments[i].amount) revert ValueTooLow(left, payments[i].amount);
            outcomes[i] = _pay(address(0), payments[i]);
            if (outcomes[i] == Outcome.Paid) left -= payments[i].amount;
        }
        // The whole balance, not only `left`: value that was forced into this contract goes out too.
        uint256 rest = address(this).balance;
        if (rest == 0) return outcomes;
        (bool success,) = msg.sender.call{value: rest}("");
        if (!success) revert LeftoverRefused();
    }

    /// @notice Pays a token out of the caller's account, by the allowance that it has given to this contract.
    /// @dev Reverts as a whole only for what is the caller's fault: AllowanceTooLow, BalanceTooLow, NotEnoughGas.
    /// @return outcomes of the payments, in their order; events say the same
    function payToken(IERC20 token, Payment[] calldata payments)
        external
        nonReentrant
        returns (Outcome[] memory outcomes)
    {
        uint256 total = 0;
        for (uint256 i = 0; i < payments.length; ++i) {
            total += payments[i].amount;
        }
        uint256 allowed = token.allowance(msg.sender, address(this));
        if (allowed < total) revert AllowanceTooLow(allowed, total);
        uint256 held = token.balanceOf(msg.sender);
        if (held < total) revert BalanceTooLow(held, total);

        outcomes = new Outcome[](payments.length);
        for (uint256 i = 0; i < payments.length; ++i) {
            outcomes[i] = _pay(address(token), payments[i]);
        }
    }

    /// @notice Moves a token so that exactly `amount` arrives, as a call of its own so that it can fail, be undone and
    /// be limited in gas alone. This contract only.
    /// @dev Reverts with OnlySelf, NotAReceiver, WrongAmount, SafeERC20FailedOperation or the token's own error.
    function deliver(IERC20 token, address payer, address to, uint256 amount) external {
        if (msg.sender != address(this)) revert OnlySelf();
        if (to == address(this)) revert NotAReceiver();
        uint256 before = token.balanceOf(to);
        token.safeTransferFrom(payer, to, amount);
        uint256 arrived = token.balanceOf(to) - before;
        if (arrived != amount) revert WrongAmount(arrived, amount);
    }

    /// @dev Makes one payment, unless its id is paid. The id is marked as paid before any external call, and unmarked
    /// if nothing was paid.
    function _pay(address token, Payment calldata payment) private returns (Outcome) {
        (bytes32 id, address to, uint256 amount) = (payment.id, payment.to, payment.amount);
        if (isPaid[msg.sender][id]) {
            emit Skipped(msg.sender, id);
            return Outcome.Skipped;
        }
        isPaid[msg.sender][id] = true;
        (bool success, bytes memory reason) = token == address(0)
            ? _limited(to, amount, NATIVE_GAS, NATIVE_GAS_FLOOR, "")
            : _limited(
                address(this),
                0,
                TOKEN_GAS,
                TOKEN_GAS_FLOOR,
                abi.encodeCall(this.deliver, (IERC20(token), msg.sender, to, amount))
            );
        if (success) {
            emit Paid(msg.sender, id, to, token, amount);
            return Outcome.Paid;
        }
        isPaid[msg.sender][id] = false;
        emit Failed(msg.sender, id, to, token, amount, reason);
        return Outcome.Failed;
    }

    /// @dev Calls with exactly `gas_` gas and copies at most REASON_SIZE bytes of the revert data, because the caller
    /// pays the gas for copying.
    function _limited(address target, uint256 value, uint256 gas_, uint256 floor, bytes memory data)
        private
        returns (bool success, bytes memory reason)
    {
        if (gasleft() < floor) revert NotEnoughGas(gasleft(), floor);
        assembly ("memory-safe") {
            success := call(gas_, target, value, add(data, 0x20), mload(data), 0, 0)
        }
        if (success) return (true, "");
        uint256 size = REASON_SIZE;
        assembly ("memory-safe") {
            if lt(returndatasize(), size) { size := returndatasize() }
            reason := mload(0x40)
            mstore(reason, size)
            returndatacopy(add(reason, 0x20), 0, size)
            // Clear the rest of the last word: memory behind the reason may hold old data.
            mstore(add(add(reason, 0x20), size), 0)
            mstore(0x40, and(add(add(reason, 0x5f), size), not(0x1f)))
        }
    }
}
