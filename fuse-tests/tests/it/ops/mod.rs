//! Small files by operation. Nothing here is special to us: each test holds on ext4 too, and is tried there.
