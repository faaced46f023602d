//! Real mounts. Without `/dev/fuse` and the right to mount, each test says so and passes nothing off as tested.

mod place;
mod port;
mod toy;
mod volume;
