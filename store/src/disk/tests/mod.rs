//! Tests that need faults from inside.
