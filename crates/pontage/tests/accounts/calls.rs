//! A call that is paid from a balance.
