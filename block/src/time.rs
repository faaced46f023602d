//! Points in time as files and heads carry them.

use crate::codec::{DecodeError, Reader, Writer, check_bound};

/// Nanoseconds of a second.
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Seconds and nanoseconds since 1970-01-01T00:00:00Z. Times before it have negative seconds and positive nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds.
    pub secs: i64,
    /// Nanoseconds, below one second.
    pub nanos: u32,
}

impl Timestamp {
    /// Encoded size.
    pub const BYTES: usize = 12;

    /// Appends the encoded form: seconds as `i64`, nanoseconds as `u32`.
    pub fn encode(&self, out: &mut Writer) {
        out.i64(self.secs).u32(self.nanos);
    }

    /// Reads the encoded form.
    pub fn decode(input: &mut Reader<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let time = Timestamp { secs: input.i64(what)?, nanos: input.u32(what)? };
        time.check(what)?;
        Ok(time)
    }

    /// Whether the nanoseconds are below a second.
    pub fn check(&self, what: &'static str) -> Result<(), DecodeError> {
        check_bound(what, self.nanos.into(), u64::from(NANOS_PER_SECOND) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_reads_back() {
        let time = Timestamp { secs: -1, nanos: 999_999_999 };
        let mut out = Writer::new();
        time.encode(&mut out);
        assert_eq!(out.len(), Timestamp::BYTES);
        assert_eq!(Timestamp::decode(&mut Reader::new(out.as_slice()), "t").unwrap(), time);
    }

    #[test]
    fn a_whole_second_of_nanoseconds_is_refused() {
        let mut out = Writer::new();
        out.i64(0).u32(NANOS_PER_SECOND);
        assert!(Timestamp::decode(&mut Reader::new(out.as_slice()), "t").is_err());
    }
}
