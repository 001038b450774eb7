// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title HostileToken, an asset that turns on the vault once it has been let in
/// @notice Test only. `transferFrom` stays honest, so the token gets into escrow; `transfer` does as told. Both call
/// back if that is what they are told.
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
    /// @notice Whom Reenter calls.
    address public target;
    /// @notice Which function Reenter calls, with zeros for arguments: a longer message, read from storage, would not
    /// fit into the gas that the vault leaves a token.
    bytes4 public selector;
    /// @notice What Reenter got back.
    bytes public answer;
    /// @notice Whether a Reenter call ever succeeded.
    bool public gotThrough;

    constructor() ERC20("Hostile Token", "HOST") {}

    /// @notice Creates `amount` base units for `to`. Anyone may call.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Tells transfers what to do. Anyone may call.
    function setMode(Mode mode_, address target_, bytes4 selector_) external {
        mode = mode_;
        target = target_;
        selector = selector_;
    }

    /// @notice Moves tokens, or does what it was told.
    function transfer(address to, uint256 amount) public override returns (bool) {
        if (mode == Mode.ReturnFalse) return false;
        if (mode == Mode.BurnGas) _burnGas();
        if (mode == Mode.LongRevert) _revertAtLength();
        if (mode == Mode.Reenter) _reenter();
        return super.transfer(to, amount);
    }

    /// @notice Moves tokens, and calls back if it was told to.
    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        if (mode == Mode.Reenter) _reenter();
        return super.transferFrom(from, to, amount);
    }

    /// @dev `invalid` takes all the gas there is, at once.
    function _burnGas() private pure {
        assembly ("memory-safe") {
            invalid()
        }
    }

    /// @dev Revert data of 64 KiB: whoever copies it, pays for it.
    function _revertAtLength() private pure {
        assembly ("memory-safe") {
            revert(0, 0x10000)
        }
    }

    /// @dev Calls back, remembers the answer and carries on either way. Zeros decode as any arguments.
    function _reenter() private {
        (bool success, bytes memory result) = target.call(bytes.concat(selector, new bytes(1024)));
        if (success) gotThrough = true;
        answer = result;
    }
}
