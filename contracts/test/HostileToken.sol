// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title HostileToken, an asset that attacks the vault once it is in escrow
/// @notice Test only. `transferFrom` is honest, so the token gets into escrow. `transfer` follows `mode`. Both call
/// back in mode Reenter.
contract HostileToken is ERC20 {
    /// @notice What a transfer does.
    enum Mode {
        Honest,
        ReturnFalse,
        BurnGas,
        LongRevert,
        Reenter
    }

    /// @notice What a transfer does now.
    Mode public mode;
    /// @notice The address that Reenter calls.
    address public target;
    /// @notice The function that Reenter calls, with zeros as arguments. A longer message, read from storage, would
    /// need more gas than the vault gives to a token.
    bytes4 public selector;
    /// @notice The answer to the call of Reenter.
    bytes public answer;
    /// @notice Whether a Reenter call ever succeeded.
    bool public gotThrough;

    constructor() ERC20("Hostile Token", "HOST") {}

    /// @notice Creates `amount` base units for `to`. Anyone may call.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Sets the behaviour of transfers. Anyone may call.
    function setMode(Mode mode_, address target_, bytes4 selector_) external {
        mode = mode_;
        target = target_;
        selector = selector_;
    }

    /// @notice Moves tokens, or follows `mode`.
    function transfer(address to, uint256 amount) public override returns (bool) {
        if (mode == Mode.ReturnFalse) return false;
        if (mode == Mode.BurnGas) _burnGas();
        if (mode == Mode.LongRevert) _revertAtLength();
        if (mode == Mode.Reenter) _reenter();
        return super.transfer(to, amount);
    }

    /// @notice Moves tokens, and calls back in mode Reenter.
    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        if (mode == Mode.Reenter) _reenter();
        return super.transferFrom(from, to, amount);
    }

    /// @dev `invalid` uses all remaining gas at once.
    function _burnGas() private pure {
        assembly ("memory-safe") {
            invalid()
        }
    }

    /// @dev Reverts with 64 KiB of data: a caller that copies it pays for it.
    function _revertAtLength() private pure {
        assembly ("memory-safe") {
            revert(0, 0x10000)
        }
    }

    /// @dev Calls back, stores the answer and continues in both cases. Zeros decode as any arguments.
    function _reenter() private {
        (bool success, bytes memory result) = target.call(bytes.concat(selector, new bytes(1024)));
        if (success) gotThrough = true;
        answer = result;
    }
}
