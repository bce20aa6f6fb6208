//! Calls that are sent twice.
