// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A stand-in for USDC on a local test chain.
/// @notice This is a TEST TOKEN. Anyone may mint to anyone and anyone may block anyone. It must never hold value.
/// @dev Written for pontage's tests. To a payer, a facilitator and an SDK it looks like USDC of Base Sepolia: same
/// EIP-712 domain, same selectors, same events, 65-byte and ERC-1271 signatures. It does not have USDC's roles, pause,
/// proxy or upgrade path, and its revert texts are its own, so that nothing of ours can come to rely on Circle's.
///
/// The runtime code is planted with `anvil_setCode`. No constructor runs, so nothing may depend on initial storage:
/// name, version and decimals are constants, and the domain separator is computed at each call.
contract TestUsdc {
    string public constant name = "USDC";
    string public constant symbol = "USDC";
    string public constant version = "2";
    uint8 public constant decimals = 6;

    bytes32 public constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 public constant RECEIVE_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 public constant CANCEL_AUTHORIZATION_TYPEHASH =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 public constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    /// Half the order of secp256k1. A signature with a larger `s` has a twin with a smaller one, so only the latter counts.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
    /// `isValidSignature(bytes32,bytes)`, both the call and the answer that means yes.
    bytes4 private constant ERC1271_YES = 0x1626ba7e;

    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    /// The EIP-2612 sequence of each owner. It has nothing to do with authorization nonces.
    mapping(address => uint256) public nonces;
    /// True once an authorization was used or cancelled.
    mapping(address => mapping(bytes32 => bool)) public authorizationState;
    mapping(address => bool) public isBlacklisted;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    // --- What only a test token has -------------------------------------------------------------------------------

    /// @notice Makes `value` out of nothing. Anyone may call it: this is a test token.
    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    /// @notice Blocks or unblocks `account`, so that a test can make a valid authorization fail. Anyone may call it.
    function blacklist(address account, bool blocked) external {
        isBlacklisted[account] = blocked;
    }

    // --- ERC-20 ---------------------------------------------------------------------------------------------------

    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        require(!isBlacklisted[msg.sender], "TestUsdc: account is blacklisted");
        uint256 allowed = allowance[from][msg.sender];
        require(allowed >= value, "TestUsdc: allowance is too small");
        // USDC leaves an unlimited allowance as it is.
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - value;
        _move(from, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        _approve(msg.sender, spender, value);
        return true;
    }

    // --- EIP-712 and EIP-2612 -------------------------------------------------------------------------------------

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256(bytes(name)), keccak256(bytes(version)), block.chainid, address(this))
        );
    }

    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        require(deadline >= block.timestamp, "TestUsdc: permit is expired");
        bytes32 content = keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, nonces[owner]++, deadline));
        _checkSignature(owner, content, abi.encodePacked(r, s, v));
        _approve(owner, spender, value);
    }

    // --- EIP-3009 -------------------------------------------------------------------------------------------------

    /// @notice Selector 0xe3ee160e.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _useAuthorization(
            TRANSFER_WITH_AUTHORIZATION_TYPEHASH,
            from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v)
        );
    }

    /// @notice Selector 0xcf092995. The signature may have any length when the payer is a contract.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        _useAuthorization(
            TRANSFER_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce, signature
        );
    }

    /// @notice As a transfer, but only the payee may submit it, so nobody can land it ahead of them.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        require(to == msg.sender, "TestUsdc: caller is not the payee");
        _useAuthorization(
            RECEIVE_WITH_AUTHORIZATION_TYPEHASH,
            from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v)
        );
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        require(to == msg.sender, "TestUsdc: caller is not the payee");
        _useAuthorization(
            RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce, signature
        );
    }

    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        require(!authorizationState[authorizer][nonce], "TestUsdc: authorization is spent");
        bytes32 content = keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce));
        _checkSignature(authorizer, content, abi.encodePacked(r, s, v));
        authorizationState[authorizer][nonce] = true;
        emit AuthorizationCanceled(authorizer, nonce);
    }

    // --- Inside ---------------------------------------------------------------------------------------------------

    function _useAuthorization(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) private {
        // Both ends are exclusive, as in USDC.
        require(block.timestamp > validAfter, "TestUsdc: authorization is early");
        require(block.timestamp < validBefore, "TestUsdc: authorization is late");
        require(!authorizationState[from][nonce], "TestUsdc: authorization is spent");
        bytes32 content = keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce));
        _checkSignature(from, content, signature);
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
        _move(from, to, value);
    }

    /// A payer with code is asked (ERC-1271) and never recovered, which is what USDC does for EIP-7702 accounts too.
    function _checkSignature(address signer, bytes32 content, bytes memory signature) private view {
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), content));
        bool good = signer.code.length == 0
            ? _recover(digest, signature) == signer
            : _contractAgrees(signer, digest, signature);
        require(good, "TestUsdc: signature is not the payer's");
    }

    /// Never answers the zero address, which would make everyone the signer for it.
    function _recover(bytes32 digest, bytes memory signature) private pure returns (address signer) {
        require(signature.length == 65, "TestUsdc: signature length");
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
        require(uint256(s) <= HALF_ORDER, "TestUsdc: signature s is high");
        require(v == 27 || v == 28, "TestUsdc: signature v");
        signer = ecrecover(digest, v, r, s);
        require(signer != address(0), "TestUsdc: signature is no signature");
    }

    /// A wallet that reverts or answers short has said no.
    function _contractAgrees(address wallet, bytes32 digest, bytes memory signature) private view returns (bool) {
        (bool ran, bytes memory answer) = wallet.staticcall(abi.encodeWithSelector(ERC1271_YES, digest, signature));
        return ran && answer.length >= 32 && abi.decode(answer, (bytes32)) == bytes32(ERC1271_YES);
    }

    function _approve(address owner, address spender, uint256 value) private {
        require(!isBlacklisted[owner] && !isBlacklisted[spender], "TestUsdc: account is blacklisted");
        require(spender != address(0), "TestUsdc: zero address");
        allowance[owner][spender] = value;
        emit Approval(owner, spender, value);
    }

    function _move(address from, address to, uint256 value) private {
        require(!isBlacklisted[from] && !isBlacklisted[to], "TestUsdc: account is blacklisted");
        require(from != address(0) && to != address(0), "TestUsdc: zero address");
        uint256 held = balanceOf[from];
        require(held >= value, "TestUsdc: balance is too small");
        unchecked {
            balanceOf[from] = held - value;
        }
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}
