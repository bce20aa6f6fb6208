//! API keys, their lives and what derives from them.
