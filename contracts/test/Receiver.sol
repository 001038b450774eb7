// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Receiver, an account that is paid and then follows its mode
/// @notice Test only.
contract Receiver {
    /// @notice What the contract does when it receives native currency.
    enum Mode {
        Take,
        Refuse,
        BurnGas,
        LongRevert,
        CallBack,
        TakeSlowly
    }

    /// @notice The present mode.
    Mode public mode;
    /// @notice The target and the message of CallBack.
    address public target;
    bytes public message;
    /// @notice Whether a CallBack ever succeeded.
    bool public gotThrough;

    /// @notice The error of Refuse.
    error NotToday(uint256 amount);

    /// @notice Sets the mode. Anyone may call.
    function setMode(Mode mode_, address target_, bytes calldata message_) external {
        mode = mode_;
        target = target_;
        message = message_;
    }

    /// @notice Accepts the value, or follows `mode`.
    receive() external payable {
        if (mode == Mode.Refuse) revert NotToday(msg.value);
        if (mode == Mode.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (mode == Mode.LongRevert) {
            assembly ("memory-safe") {
                revert(0, 0x10000)
            }
        }
        if (mode == Mode.TakeSlowly) {
            uint256 until = gasleft() - 40_000;
            while (gasleft() > until) {}
        }
        if (mode == Mode.CallBack) {
            (bool success,) = target.call{value: msg.value / 2}(message);
            if (success) gotThrough = true;
        }
    }
}
