//! Plans: policies with a name, for many keys.

use serde::{Deserialize, Serialize};

use super::key::is_name;
use super::policy::good;
use super::{KeyRefusal, Policy};

/// A policy for many keys: what other gates call a plan, a group or a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What its keys may do, where they do not say otherwise.
    #[serde(default)]
    pub policy: Policy,
}

impl Plan {
    /// Whether its sizes and numbers are within bounds.
    ///
    /// # Errors
    /// [`KeyRefusal`], with the field.
    pub fn check(&self) -> Result<(), KeyRefusal> {
        good("name", is_name(&self.name))?;
        self.policy.check()
    }
}
