//! Why something about keys is not done.

/// Why something about keys, plans or templates is not done. Nothing was written and no money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// No key has this name or alias.
    #[error("there is no such key")]
    UnknownKey,
    /// No plan has this name.
    #[error("there is no such plan")]
    UnknownPlan,
    /// No template has this name.
    #[error("there is no such template")]
    UnknownTemplate,
    /// No note or scheduled change has this number.
    #[error("{0}: there is none with this number")]
    UnknownItem(&'static str),
    /// Another key has the alias.
    #[error("another key has this alias")]
    AliasTaken,
    /// The key, or its secret, is there already.
    #[error("this key is there already")]
    Exists,
    /// Keys still use the plan.
    #[error("keys still have this plan")]
    PlanInUse,
    /// A revoked key stays revoked.
    #[error("the key is revoked, which is for good")]
    Revoked,
    /// A holder may rotate only so often.
    #[error("the secret was rotated less than five minutes ago")]
    RotatedLately,
    /// Its holder must show the secret that it has now.
    #[error("only who shows the key's present secret may do this")]
    NotItsSecret,
    /// It is suspended, expired or revoked.
    #[error("the key may not be used now")]
    NotUsable,
    /// The text is longer, or the number larger, than is taken.
    #[error("{field}: at most {most}")]
    TooLong {
        /// Where.
        field: &'static str,
        /// The bound.
        most: u64,
    },
    /// There are as many as there may be.
    #[error("{field}: at most {most}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// The bound.
        most: u64,
    },
    /// It is not what the field takes.
    #[error("{0}: this is not what it takes")]
    BadValue(&'static str),
    /// The balance did not take what was to be granted.
    #[error("the balance cannot be raised by so much")]
    Balance,
    /// The accounts of the two are counted in different units.
    #[error("an account keeps its unit for life")]
    OtherUnit,
}

impl KeyRefusal {
    /// The stable word.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::UnknownPlan => "unknown_plan",
            Self::UnknownTemplate => "unknown_template",
            Self::UnknownItem(_) => "unknown_item",
            Self::AliasTaken => "alias_taken",
            Self::Exists => "key_exists",
            Self::PlanInUse => "plan_in_use",
            Self::Revoked => "key_revoked",
            Self::RotatedLately => "rotated_lately",
            Self::NotItsSecret => "not_its_secret",
            Self::NotUsable => "key_not_usable",
            Self::TooLong { .. } => "too_long",
            Self::TooMany { .. } => "too_many",
            Self::BadValue(_) => "bad_value",
            Self::Balance => "balance",
            Self::OtherUnit => "other_unit",
        }
    }

    /// The field that it is about, where it is about one.
    #[must_use]
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::TooLong { field, .. } | Self::TooMany { field, .. } => Some(field),
            Self::BadValue(field) | Self::UnknownItem(field) => Some(field),
            Self::UnknownKey
            | Self::UnknownPlan
            | Self::UnknownTemplate
            | Self::AliasTaken
            | Self::Exists
            | Self::PlanInUse
            | Self::Revoked
            | Self::RotatedLately
            | Self::NotItsSecret
            | Self::NotUsable
            | Self::Balance
            | Self::OtherUnit => None,
        }
    }
}
