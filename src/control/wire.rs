//! Reading and writing messages on a stream, bounded in size.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Envelope, FORMAT};

/// Longest line of a request, in bytes.
pub(super) const LONGEST_REQUEST: usize = 64 << 10;
/// Longest answer, in bytes.
pub(super) const LONGEST_ANSWER: u64 = 64 << 20;

/// A message as one line.
pub(super) fn line<T: Serialize>(content: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Envelope::new(content))?;
    line.push(b'\n');
    Ok(line)
}

/// Reads one line as a message; the reason when it is none.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    let mut value: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|error| format!("it is no JSON object: {error}"))?;
    match value.remove("format") {
        Some(serde_json::Value::String(format)) if format == FORMAT => {}
        Some(serde_json::Value::String(format)) => {
            let format = crate::os::printable::printable(&format, 40);
            return Err(format!("it speaks {format}, this version speaks {FORMAT}"));
        }
        _ => return Err(format!("it does not say that its format is {FORMAT}")),
    }
    serde_json::from_value(value.into()).map_err(|error| error.to_string())
}
