// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Receiver, somebody who is paid, and does as told when that happens
/// @notice Test only.
contract Receiver {
    /// @notice What it does when native currency comes.
    enum Mode {
        Take,
        Refuse,
        BurnGas,
        LongRevert,
        CallBack,
        TakeSlowly
    }

    /// @notice What it does now.
    Mode public mode;
    /// @notice What CallBack says, and to whom.
    address public target;
    bytes public message;
    /// @notice Whether a CallBack ever succeeded.
    bool public gotThrough;

    /// @notice Why Refuse refuses.
    error NotToday(uint256 amount);

    /// @notice Tells it what to do. Anyone may call.
    function setMode(Mode mode_, address target_, bytes calldata message_) external {
        mode = mode_;
        target = target_;
        message = message_;
    }

    /// @notice Takes, or does what it was told.
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
