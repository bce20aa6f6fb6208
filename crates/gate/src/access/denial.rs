//! Why who shows a key is not let in.

/// Why a call with a key is not made. No money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nothing was shown.
    #[error("an API key is needed: send it as X-API-Key")]
    MissingApiKey,
    /// No key has this secret, or no longer.
    #[error("this API key is not known here")]
    InvalidApiKey,
    /// The operator has stopped it for now.
    #[error("this API key is suspended")]
    KeySuspended,
    /// Its time is over.
    #[error("this API key has expired")]
    KeyExpired,
    /// The operator has ended it.
    #[error("this API key was revoked")]
    KeyRevoked,
    /// The key, its plan or its token is not for this.
    #[error("this API key may not make this call")]
    AclDenied,
    /// It may not be used from this address.
    #[error("this API key may not be used from this address")]
    IpNotAllowed,
    /// The scoped token's time is over.
    #[error("this token has expired")]
    TokenExpired,
    /// It was made void.
    #[error("this token was revoked")]
    TokenRevoked,
    /// The key's calls must be signed, and this one is not.
    #[error("calls with this API key must be signed: X-Signature is missing")]
    SignatureRequired,
    /// It is not this request's, or not by this key's signing secret.
    #[error("X-Signature is not the signature of this request")]
    BadSignature,
    /// It was made at another time.
    #[error("X-Signature is older or newer than five minutes")]
    SignatureExpired,
    /// It was used before.
    #[error("X-Signature was used before")]
    SignatureReplayed,
    /// Nonces are remembered, and there is no room for more.
    #[error("too many signed requests in ten minutes: send this one later, or fewer of them")]
    TooManySignatures,
}

impl Denial {
    /// The stable word.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MissingApiKey => "missing_api_key",
            Self::InvalidApiKey => "invalid_api_key",
            Self::KeySuspended => "key_suspended",
            Self::KeyExpired => "key_expired",
            Self::KeyRevoked => "key_revoked",
            Self::AclDenied => "acl_denied",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::SignatureRequired => "signature_required",
            Self::BadSignature => "bad_signature",
            Self::SignatureExpired => "signature_expired",
            Self::SignatureReplayed => "signature_replayed",
            Self::TooManySignatures => "too_many_signatures",
        }
    }

    /// Whether another key, or proof of this one, could help: otherwise it is known who calls, and he may not.
    #[must_use]
    pub const fn is_of_identity(self) -> bool {
        match self {
            Self::MissingApiKey
            | Self::InvalidApiKey
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::SignatureRequired
            | Self::BadSignature
            | Self::SignatureExpired
            | Self::SignatureReplayed => true,
            Self::KeySuspended
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::AclDenied
            | Self::IpNotAllowed
            | Self::TooManySignatures => false,
        }
    }
}
