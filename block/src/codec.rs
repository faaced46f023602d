//! The bytes of every format: little-endian integers, fixed arrays and length-prefixed bytes, read with bounds checked.
//!
//! A [`Reader`] never allocates and never panics; each call names the field, so an error says what was being read.

use bytes::Bytes;
use thiserror::Error;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("{what}: the input ends early, {wanted} bytes wanted, {left} left")]
    Truncated {
        /// The field being read.
        what: &'static str,
        /// Bytes the field needs.
        wanted: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A length, count or number is above its bound.
    #[error("{what}: {found} is above the bound {max}")]
    AboveBound {
        /// The field being read.
        what: &'static str,
        /// The value found.
        found: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// The structure ended before the input did.
    #[error("{what}: {left} bytes after the end")]
    Trailing {
        /// The structure that was read.
        what: &'static str,
        /// Bytes left over.
        left: usize,
    },
    /// A version this reader doesn't know.
    #[error("{what}: version {found} is not known")]
    Version {
        /// The structure being read.
        what: &'static str,
        /// The version found.
        found: u8,
    },
    /// A value that no writer of ours produces.
    #[error("{what}: {reason}")]
    Invalid {
        /// The field being read.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl DecodeError {
    /// Shorthand for [`DecodeError::Invalid`].
    pub const fn invalid(what: &'static str, reason: &'static str) -> Self {
        DecodeError::Invalid { what, reason }
    }
}

/// A field is longer than its format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{what}: {len} bytes are above the bound {max}")]
pub struct TooLong {
    /// The field being written.
    pub what: &'static str,
    /// Its length.
    pub len: usize,
    /// The longest allowed.
    pub max: usize,
}

/// Reads fields off the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Reader { rest: input }
    }

    /// Bytes not read yet.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes. They borrow from the input: `Bytes::slice_ref` makes an owned view without a copy.
    pub fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(DecodeError::Truncated { what, wanted: len, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::Truncated { what, wanted: N, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// A little-endian `u16`.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A little-endian `u64`.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A little-endian `i64`.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A `u64` of at most `max`.
    pub fn u64_max(&mut self, what: &'static str, max: u64) -> Result<u64, DecodeError> {
        let found = self.u64(what)?;
        check_bound(what, found, max)?;
        Ok(found)
    }

    /// A `u32` of at most `max`.
    pub fn u32_max(&mut self, what: &'static str, max: u32) -> Result<u32, DecodeError> {
        let found = self.u32(what)?;
        check_bound(what, found.into(), max.into())?;
        Ok(found)
    }

    /// One byte that is 0 or 1.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::invalid(what, "neither 0 nor 1")),
        }
    }

    /// A version byte; only `known` passes.
    pub fn version(&mut self, what: &'static str, known: u8) -> Result<(), DecodeError> {
        match self.u8(what)? {
            found if found == known => Ok(()),
            found => Err(DecodeError::Version { what, found }),
        }
    }

    /// Bytes behind a `u8` length of at most `max`.
    pub fn bytes8(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.u8(what)?;
        self.bounded(what, len.into(), max)
    }

    /// Bytes behind a `u16` length of at most `max`.
    pub fn bytes16(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(what)?;
        self.bounded(what, len.into(), max)
    }

    /// Bytes behind a `u32` length of at most `max`.
    pub fn bytes32(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(what)?;
        self.bounded(what, len.into(), max)
    }

    /// A `u16` count of items of at least `item_bytes_min` each, refused when the input cannot hold them:
    /// memory reserved for the count is then never more than the input's own size warrants.
    pub fn count16(&mut self, what: &'static str, max: usize, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let count = usize::from(self.u16(what)?);
        check_bound(what, count as u64, max as u64)?;
        let wanted = count.saturating_mul(item_bytes_min);
        if wanted > self.rest.len() {
            return Err(DecodeError::Truncated { what, wanted, left: self.rest.len() });
        }
        Ok(count)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Refuses input that goes on after the structure.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { what, left }),
        }
    }

    fn bounded(&mut self, what: &'static str, len: u64, max: usize) -> Result<&'a [u8], DecodeError> {
        check_bound(what, len, max as u64)?;
        // The bound is a usize, so the length is one too.
        self.take(what, len as usize)
    }
}

/// Refuses `found` above `max`.
pub fn check_bound(what: &'static str, found: u64, max: u64) -> Result<(), DecodeError> {
    if found > max {
        return Err(DecodeError::AboveBound { what, found, max });
    }
    Ok(())
}

/// Appends fields to a buffer. Writing bytes that are too long for their field is an error, never a truncation.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Writer { buffer: Vec::new() }
    }

    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Writer { buffer: Vec::with_capacity(capacity) }
    }

    /// Bytes written so far.
    pub const fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// A little-endian `u16`.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A little-endian `u64`.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A little-endian `i64`.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A `bool` as 0 or 1.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    /// Bytes behind a `u8` length of at most `max`.
    pub fn bytes8(&mut self, what: &'static str, max: usize, bytes: &[u8]) -> Result<&mut Self, TooLong> {
        let len = length(what, max, bytes)?;
        Ok(self.u8(len).raw(bytes))
    }

    /// Bytes behind a `u16` length of at most `max`.
    pub fn bytes16(&mut self, what: &'static str, max: usize, bytes: &[u8]) -> Result<&mut Self, TooLong> {
        let len = length(what, max, bytes)?;
        Ok(self.u16(len).raw(bytes))
    }

    /// Bytes behind a `u32` length of at most `max`.
    pub fn bytes32(&mut self, what: &'static str, max: usize, bytes: &[u8]) -> Result<&mut Self, TooLong> {
        let len = length(what, max, bytes)?;
        Ok(self.u32(len).raw(bytes))
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// The buffer.
    pub fn into_vec(self) -> Vec<u8> {
        self.buffer
    }

    /// The buffer, cheap to clone.
    pub fn into_bytes(self) -> Bytes {
        self.buffer.into()
    }
}

/// The length of `bytes` in the prefix's type, within `max` and within what that type can say.
fn length<T: TryFrom<usize>>(what: &'static str, max: usize, bytes: &[u8]) -> Result<T, TooLong> {
    let too_long = TooLong { what, len: bytes.len(), max };
    if bytes.len() > max {
        return Err(too_long);
    }
    T::try_from(bytes.len()).map_err(|_| too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Writer::new();
        out.u8(7).u16(300).u32(70_000).u64(1 << 40).i64(-5).bool(true).raw(b"abc");
        out.bytes8("a", 255, b"x").unwrap().bytes16("b", 10, b"yy").unwrap().bytes32("c", 10, b"").unwrap();
        let bytes = out.into_vec();
        let mut input = Reader::new(&bytes);
        assert_eq!(input.u8("f").unwrap(), 7);
        assert_eq!(input.u16("f").unwrap(), 300);
        assert_eq!(input.u32("f").unwrap(), 70_000);
        assert_eq!(input.u64("f").unwrap(), 1 << 40);
        assert_eq!(input.i64("f").unwrap(), -5);
        assert!(input.bool("f").unwrap());
        assert_eq!(&input.array::<3>("f").unwrap(), b"abc");
        assert_eq!(input.bytes8("f", 1).unwrap(), b"x");
        assert_eq!(input.bytes16("f", 2).unwrap(), b"yy");
        assert_eq!(input.bytes32("f", 0).unwrap(), b"");
        input.finish("all").unwrap();
    }

    #[test]
    fn a_short_input_is_refused_and_named() {
        let error = Reader::new(&[1, 2]).u32("size").unwrap_err();
        assert_eq!(error, DecodeError::Truncated { what: "size", wanted: 4, left: 2 });
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_the_bytes_are_looked_at() {
        let error = Reader::new(&[0xff, 0xff, 0xff, 0xff]).bytes32("name", 255).unwrap_err();
        assert_eq!(error, DecodeError::AboveBound { what: "name", found: u32::MAX.into(), max: 255 });
    }

    #[test]
    fn a_count_the_input_cannot_hold_is_refused() {
        let error = Reader::new(&[3, 0, 9, 9]).count16("items", 100, 1).unwrap_err();
        assert_eq!(error, DecodeError::Truncated { what: "items", wanted: 3, left: 2 });
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let error = Reader::new(&[0]).finish("ref").unwrap_err();
        assert_eq!(error, DecodeError::Trailing { what: "ref", left: 1 });
    }

    #[test]
    fn a_field_too_long_for_its_prefix_is_refused_even_within_the_bound() {
        let error = Writer::new().bytes8("name", 1000, &[0; 256]).unwrap_err();
        assert_eq!(error.len, 256);
    }
}
