//! Placeholder map; see the modules.
