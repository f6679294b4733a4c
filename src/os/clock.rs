//! The clock that people read.

use jiff::Timestamp;

/// The time to the second: finer says nothing to a reader.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
