// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title PickyToken, a token whose transfers fail for chosen receivers
/// @notice Test only.
contract PickyToken is ERC20 {
    /// @notice What `transferFrom` does, by receiver.
    enum Mode {
        Honest,
        ReturnFalse,
        BurnGas,
        LongRevert,
        Blocked,
        KeepOne,
        CallBack
    }

    /// @notice The behaviour for each receiver.
    mapping(address receiver => Mode) public modes;
    /// @notice The target and the message of CallBack.
    address public target;
    bytes public message;
    /// @notice Whether a CallBack ever succeeded.
    bool public gotThrough;

    /// @notice Thrown when the receiver is blocked.
    error Blocked(address receiver);

    constructor() ERC20("Picky Token", "PICK") {}

    /// @notice Creates `amount` base units for `to`. Anyone may call.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Sets the behaviour for a receiver. Anyone may call.
    function setMode(address receiver, Mode mode) external {
        modes[receiver] = mode;
    }

    /// @notice Sets the target and the message of CallBack. Anyone may call.
    function setCallBack(address target_, bytes calldata message_) external {
        target = target_;
        message = message_;
    }

    /// @notice Moves tokens, or follows the mode of the receiver.
    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        Mode mode = modes[to];
        if (mode == Mode.ReturnFalse) return false;
        if (mode == Mode.Blocked) revert Blocked(to);
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
        if (mode == Mode.CallBack) {
            (bool success,) = target.call(message);
            if (success) gotThrough = true;
        }
        super.transferFrom(from, to, amount);
        if (mode == Mode.KeepOne) _burn(to, 1);
        return true;
    }
}
