//! What a front hands to the flow.

use alloy_primitives::B256;
use ledger::Source;
use protocol::{Payer, Refusal};
use sha2::{Digest, Sha256};

use crate::{Route, Terms};

/// What the caller shows for payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// One payment header's bytes.
    Header(&'a [u8]),
    /// Something that the front can refuse by its shape alone.
    Refused(Refusal),
}

/// A call as the flow sees it. The path is the normalised one, which is also what is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The method's name.
    pub method: &'a str,
    /// The normalised path without its query.
    pub path: &'a str,
    /// The URL of the resource, with the query: what the challenge names and the fingerprint covers.
    pub url: &'a str,
    /// The payment, if any.
    pub presented: Presented<'a>,
    /// Digest of the `Idempotency-Key`, if one came.
    pub idempotency: Option<B256>,
    /// Where it came from.
    pub source: Source,
    /// The route that covers it, as [`Snapshot::find`](crate::Snapshot::find) says.
    pub route: Option<&'a Route>,
    /// What the route's price endpoint asks for the call, and before it what it asked for and is still honoured, newest first.
    /// Empty where the route has a price of its own, or nobody can say.
    pub quoted: &'a [Terms],
    /// Whose key the caller has proved to have, by signing in.
    pub signed_in: Option<Payer>,
}

impl Call<'_> {
    /// The digest that tells one request from another, but for its body, which is compared before a stored answer is given.
    #[must_use]
    pub fn fingerprint(&self) -> B256 {
        let mut hasher = Sha256::new();
        hasher.update(self.method.as_bytes());
        hasher.update([0]);
        hasher.update(self.url.as_bytes());
        B256::from_slice(&hasher.finalize())
    }
}
