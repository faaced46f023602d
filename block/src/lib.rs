//! Pure bytes of Cairn: ids, keys, sealing, chunking, trees and heads. This crate does no I/O.
