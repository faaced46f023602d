//! One volume on several devices: heads that are handed around, and live volumes that take them in.
//!
//! - [`device`]: a device with its store, which fetches from the others what it lacks. [`look`]: everything a volume shows, and
//!   what a kernel would have cached of it.
//! - [`rules`]: what each step promises. [`corners`]: what goes wrong in between, and histories that cross. [`simulation`]: all of it, in random order.

mod corners;
mod device;
mod look;
mod rules;
mod simulation;
