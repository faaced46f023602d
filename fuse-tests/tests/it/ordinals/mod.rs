//! Errors and kills at the first, the second, the third … system call of each kind, until a workload makes no more.
//!
//! * `store`: a store alone, driven by its example `store_work`.
//! * `node`: a node with its mount.

mod node;
mod store;

use cairn_fuse_tests::rigs::injection::Effect;

/// System calls that a store makes on files, and the errors that they are given.
const CALLS: [(&str, &[&str]); 13] = [
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("pwritev", &["EIO", "ENOSPC"]),
    ("write", &["EIO", "ENOSPC"]),
    ("pread64", &["EIO"]),
    ("openat", &["EIO", "EMFILE", "ENOSPC"]),
    ("rename,renameat,renameat2", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO"]),
    ("fallocate", &["EIO", "ENOSPC"]),
    ("unlink,unlinkat", &["EIO"]),
    ("mkdir,mkdirat", &["EIO", "ENOSPC"]),
    ("getdents64", &["EIO"]),
    ("read", &["EIO"]),
];

/// Each error of a call, once and from then on.
fn effects(errors: &'static [&'static str]) -> impl Iterator<Item = Effect> {
    errors.iter().flat_map(|errno| [Effect::Once(errno), Effect::FromThenOn(errno)])
}
