//! The mount judged from outside.
