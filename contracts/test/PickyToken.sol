// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title PickyToken, a token that is paid to some as it should be, and to others not
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

    /// @notice What happens to a payment to this receiver.
    mapping(address receiver => Mode) public modes;
    /// @notice What CallBack says, and to whom.
    address public target;
    bytes public message;
    /// @notice Whether a CallBack ever succeeded.
    bool public gotThrough;

    /// @notice Why a receiver is not paid.
    error Blocked(address receiver);

    constructor() ERC20("Picky Token", "PICK") {}

    /// @notice Creates `amount` base units for `to`. Anyone may call.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Says what happens to payments to a receiver. Anyone may call.
    function setMode(address receiver, Mode mode) external {
        modes[receiver] = mode;
    }

    /// @notice Says what CallBack does. Anyone may call.
    function setCallBack(address target_, bytes calldata message_) external {
        target = target_;
        message = message_;
    }

    /// @notice Moves tokens, or does what is meant for the receiver.
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
