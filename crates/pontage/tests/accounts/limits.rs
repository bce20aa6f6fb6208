//! Rates, quotas and spend guards.
