//! The operator's API, its roles and its commands.
