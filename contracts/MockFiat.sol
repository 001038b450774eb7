// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Pausable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Pausable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IReceiveWithAuthorization} from "./interfaces/IReceiveWithAuthorization.sol";

/// @title A regulated stablecoin, as far as a settlement can notice
/// @notice 6 decimals, EIP-2612 permits, ERC-3009 authorisations, a pause switch and a blocklist: the ways in which
/// a real issuer's token can help a payment or stop it.
/// @dev The EIP-712 domain version is "1"; Circle's FiatToken says "2". Read `eip712Domain()`, do not assume.
abstract contract MockFiat is ERC20Permit, ERC3009, ERC20Pausable, AccessControl, IReceiveWithAuthorization {
    /// @notice May mint.
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");
    /// @notice May block and unblock accounts.
    bytes32 public constant BLOCKER_ROLE = keccak256("BLOCKER_ROLE");
    /// @notice May pause and unpause all transfers.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// @notice Whether an account may neither send nor receive.
    mapping(address account => bool) public blocked;

    /// @notice An account was put on the blocklist, or taken off it.
    event BlockedSet(address indexed account, bool isBlocked);

    /// @notice Thrown when a blocked account would send or receive.
    error Blocked(address account);

    /// @param name_ of the token, and of its EIP-712 domain
    /// @param symbol_ of the token
    /// @param admin receives every role
    constructor(string memory name_, string memory symbol_, address admin) ERC20(name_, symbol_) ERC20Permit(name_) {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(MINTER_ROLE, admin);
        _grantRole(BLOCKER_ROLE, admin);
        _grantRole(PAUSER_ROLE, admin);
    }

    /// @notice Six, as USDC and EURC have.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @notice Creates `amount` base units for `to`. MINTER_ROLE only; reverts for a blocked account or while paused.
    function mint(address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        _mint(to, amount);
    }

    /// @notice Puts `account` on the blocklist, or takes it off. BLOCKER_ROLE only.
    function setBlocked(address account, bool isBlocked) external onlyRole(BLOCKER_ROLE) {
        blocked[account] = isBlocked;
        emit BlockedSet(account, isBlocked);
    }

    /// @notice Stops every transfer, mint included. PAUSER_ROLE only; reverts if already paused.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @notice Ends the pause. PAUSER_ROLE only; reverts if not paused.
    function unpause() external onlyRole(PAUSER_ROLE) {
        _unpause();
    }

    /// @inheritdoc IReceiveWithAuthorization
    /// @dev Beside OpenZeppelin's (v, r, s) form, which only knows plain keys. Reverts with `ERC3009InvalidSignature`,
    /// `ERC20InvalidReceiver` if the caller is not `to`, and as the (v, r, s) form does on time and nonce.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        if (to != msg.sender) revert ERC20InvalidReceiver(to);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce))
        );
        if (!SignatureChecker.isValidSignatureNowCalldata(from, digest, signature)) revert ERC3009InvalidSignature();
        _transferWithAuthorization(from, to, value, validAfter, validBefore, nonce);
    }

    /// @dev The one gate through which every movement passes, so the blocklist cannot be walked around.
    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Pausable) {
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        super._update(from, to, value);
    }
}
