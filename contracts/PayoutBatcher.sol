// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title PayoutBatcher, pays many in one transaction, and nobody twice
/// @notice Every payment has an id. Under one id a payer pays once, ever: a repeated one is skipped. A payment that
/// fails (a receiver or a token that refuses) is told and left unpaid, and does not stop the others.
///
/// Whose money: the caller's alone, and only while it calls. Native currency comes with the call and what is left of
/// it goes back; tokens go from the caller to the receiver without a stop here. Ids are the caller's own, too, so
/// nobody can use up somebody else's. There is no owner, no role, no setting and no way to upgrade; hence an allowance
/// given to this contract can be used by nobody but its giver. Tokens that are sent to this address are lost.
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

    /// @notice What came of a payment.
    enum Outcome {
        Paid,
        Failed,
        Skipped
    }

    /// @notice Gas that a receiver of native currency gets, beside the 2,300 of every transfer.
    uint256 public constant NATIVE_GAS = 50_000;
    /// @notice Gas that one token transfer gets.
    uint256 public constant TOKEN_GAS = 100_000;
    /// @dev Of the gas at hand a call gets 63/64 at the most (EIP-150), after what it costs itself: up to 36,600 with
    /// value to a new account. With less than this, a payment could be made to fail by sending too little gas.
    uint256 private constant NATIVE_GAS_FLOOR = 92_000;
    /// @dev The same for a token, whose call has no value.
    uint256 private constant TOKEN_GAS_FLOOR = 105_000;
    /// @dev Bytes of a reason that are kept: an error with three words, or a text of 32 letters.
    uint256 private constant REASON_SIZE = 100;

    /// @notice Whether a payer's id is paid.
    mapping(address payer => mapping(bytes32 id => bool)) public isPaid;

    /// @notice Told when all of it has arrived. `token` is zero for native currency.
    event Paid(
        address indexed payer, bytes32 indexed id, address indexed to, address token, uint256 amount
    );
    /// @notice Told when nothing has moved. `reason`: the first 100 bytes of what the receiver, or the token, said.
    event Failed(
        address indexed payer,
        bytes32 indexed id,
        address indexed to,
        address token,
        uint256 amount,
        bytes reason
    );
    /// @notice Told when the id is paid already, by an earlier transaction or earlier in this one.
    event Skipped(address indexed payer, bytes32 indexed id);

    /// @notice Thrown when what came with the call does not cover the payments.
    error ValueTooLow(uint256 left, uint256 needed);
    /// @notice Thrown when the caller lets this contract move less than the payments' sum.
    error AllowanceTooLow(uint256 allowed, uint256 needed);
    /// @notice Thrown when the caller holds less than the payments' sum.
    error BalanceTooLow(uint256 held, uint256 needed);
    /// @notice Thrown when so little gas is left that a payment could fail for that alone.
    error NotEnoughGas(uint256 left, uint256 needed);
    /// @notice Thrown when the caller does not take back what is left.
    error LeftoverRefused();
    /// @notice Thrown when anyone but this contract calls `deliver`.
    error OnlySelf();
    /// @notice Thrown when less arrives, or more, than was to be paid.
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
        // Not `left`: what somebody forced upon this contract does not stay either.
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

    /// @dev One payment, unless its id is paid. The id is taken before anybody else is called, and given back if
    /// nothing was paid.
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

    /// @dev A call with `gas_` gas, no less, of whose answer no more is copied than REASON_SIZE: whoever copies a long
    /// one, pays for it.
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
            // Whatever stood behind it in memory is not part of the last word.
            mstore(add(add(reason, 0x20), size), 0)
            mstore(0x40, and(add(add(reason, 0x5f), size), not(0x1f)))
        }
    }
}
