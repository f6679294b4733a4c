//! Which of its bytes a client is sent: conditions, ranges and encodings of a request (RFC 9110).
//!
//! Pure. A time is only ever compared for equality: a generation that was rolled back to has older files than the one
//! that a client holds, and "not modified since" would keep it on the wrong one.

use std::ops::Range;

use hyper::header::{
    ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// What identifies the bytes of one representation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validators<'v> {
    /// A strong entity tag, with its quotes.
    pub(super) etag: &'v HeaderValue,
    /// The time of the last change, when it can be told.
    pub(super) modified: Option<&'v HeaderValue>,
}

/// What a client is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// It has what it asks for.
    NotModified,
    /// It asked for something else than what there is.
    Failed,
    /// It asked for bytes that are not there.
    OutOfRange,
}

/// When bytes changed last.
#[derive(Debug, Clone)]
pub struct Modified {
    /// The time.
    pub at: Timestamp,
    /// As headers say it; none where they cannot.
    header: Option<HeaderValue>,
}

impl Modified {
    /// As headers say it. None when it is not earlier than the second of `now`: the bytes may change within that second, and the
    /// time would then stand for two versions of them.
    pub(super) fn told(&self, now: Timestamp) -> Option<&HeaderValue> {
        self.header.as_ref().filter(|_| self.at.as_second() < now.as_second())
    }
}

impl From<Timestamp> for Modified {
    fn from(at: Timestamp) -> Self {
        let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok();
        Self { at, header: text.and_then(|text| text.try_into().ok()) }
    }
}

/// Whether the client takes gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for item in items(headers, &ACCEPT_ENCODING) {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let refused = parameters.trim().strip_prefix("q=").is_some_and(|quality| {
            let quality = quality.trim();
            quality.starts_with('0') && quality.bytes().all(|byte| matches!(byte, b'0' | b'.'))
        });
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return !refused,
            "*" => any = !refused,
            _ => {}
        }
    }
    any
}

/// Whether the client names this tag as one that it has.
pub(super) fn has(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    items(headers, &IF_NONE_MATCH).any(|item| *item.strip_prefix("W/").unwrap_or(item) == *etag)
}

/// Whether only a part is asked for.
pub(super) fn asks_for_part(headers: &HeaderMap) -> bool {
    headers.contains_key(RANGE)
}

/// Weighs the conditions in the order of RFC 9110, section 13.2.2.
pub(super) fn weigh(headers: &HeaderMap, validators: Validators<'_>, length: u64) -> Wanted {
    let same_time = |name: &HeaderName| {
        let given = headers.get(name).and_then(|value| value.to_str().ok());
        given.map(|given| validators.modified.is_some_and(|modified| *modified == *given.trim()))
    };
    if headers.contains_key(IF_MATCH) {
        if !items(headers, &IF_MATCH).any(|item| item == "*" || *item == *validators.etag) {
            return Wanted::Failed;
        }
    } else if same_time(&IF_UNMODIFIED_SINCE) == Some(false) {
        return Wanted::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if has(headers, validators.etag) || items(headers, &IF_NONE_MATCH).any(|item| item == "*") {
            return Wanted::NotModified;
        }
    } else if same_time(&IF_MODIFIED_SINCE) == Some(true) {
        return Wanted::NotModified;
    }
    let fresh = headers.get(IF_RANGE).is_none_or(|value| {
        let given = value.to_str().unwrap_or_default().trim();
        *validators.etag == *given
            || validators.modified.is_some_and(|modified| *modified == *given)
    });
    match headers.get(RANGE).and_then(|value| value.to_str().ok()) {
        Some(range) if fresh => part(range, length),
        _ => Wanted::Whole,
    }
}

/// One range of bytes. Anything else (several ranges, another unit, nonsense) is answered with the whole, as it may be.
fn part(range: &str, length: u64) -> Wanted {
    let Some(range) = range.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large for the type lies beyond the end of everything.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => return Wanted::Whole,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return Wanted::Whole,
    };
    if range.start < range.end { Wanted::Part(range) } else { Wanted::OutOfRange }
}

/// The items of a header that is a list, over all its lines.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Tue, 24 Nov 2026 06:00:00 GMT";
    const EARLIER: &str = "Tue, 24 Nov 2026 05:00:00 GMT";

    fn weigh_with(given: &[(HeaderName, &str)], length: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let (etag, modified) = (HeaderValue::from_static("\"a\""), HeaderValue::from_static(NOW));
        weigh(&headers, Validators { etag: &etag, modified: Some(&modified) }, length)
    }

    #[test]
    fn tags_come_before_times_and_times_are_equal_or_not() {
        for (given, expected) in [
            (vec![(IF_NONE_MATCH, "\"a\"")], Wanted::NotModified),
            (vec![(IF_NONE_MATCH, "\"x\", W/\"a\"")], Wanted::NotModified),
            (vec![(IF_NONE_MATCH, "*")], Wanted::NotModified),
            (vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, NOW)], Wanted::Whole),
            (vec![(IF_MODIFIED_SINCE, NOW)], Wanted::NotModified),
            // The client holds something newer: there was a rollback.
            (vec![(IF_MODIFIED_SINCE, "Tue, 24 Nov 2026 07:00:00 GMT")], Wanted::Whole),
            (vec![(IF_MODIFIED_SINCE, EARLIER)], Wanted::Whole),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], Wanted::Whole),
            (vec![(IF_MATCH, "\"x\"")], Wanted::Failed),
            (vec![(IF_MATCH, "W/\"a\"")], Wanted::Failed),
            (vec![(IF_MATCH, "*"), (IF_NONE_MATCH, "\"a\"")], Wanted::NotModified),
            (vec![(IF_UNMODIFIED_SINCE, EARLIER)], Wanted::Failed),
        ] {
            assert_eq!(weigh_with(&given, 100), expected, "{given:?}");
        }
    }

    #[test]
    fn one_range_is_answered_and_nonsense_is_not() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=10-", Wanted::Part(10..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=0-99999999999999999999999999", Wanted::Part(0..100)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::OutOfRange),
            ("bytes=99999999999999999999-", Wanted::OutOfRange),
            ("bytes=-0", Wanted::OutOfRange),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=5-1", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(weigh_with(&[(RANGE, range)], 100), expected, "{range}");
        }
        assert_eq!(weigh_with(&[(RANGE, "bytes=0-")], 0), Wanted::OutOfRange);
        let stale = [(RANGE, "bytes=0-1"), (IF_RANGE, "\"x\"")];
        assert_eq!(weigh_with(&stale, 100), Wanted::Whole);
        let fresh = [(RANGE, "bytes=0-1"), (IF_RANGE, "\"a\"")];
        assert_eq!(weigh_with(&fresh, 100), Wanted::Part(0..2));
        let by_time = [(RANGE, "bytes=0-1"), (IF_RANGE, NOW)];
        assert_eq!(weigh_with(&by_time, 100), Wanted::Part(0..2));
    }

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        for (given, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(given));
            assert_eq!(takes_gzip(&headers), expected, "{given}");
        }
    }

    #[test]
    fn a_time_within_the_same_second_is_not_told() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let modified = Modified::from(time("2026-11-24T06:00:00.2Z"));
        assert_eq!(modified.told(time("2026-11-24T06:00:00.9Z")), None);
        assert_eq!(modified.told(time("2026-11-24T06:00:01Z")).unwrap(), NOW);
    }
}
