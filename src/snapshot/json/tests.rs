use std::io::Read;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::snapshot::{EXAMPLE_DOCUMENT, Policy, Snapshot, document, parse::Builder};

/// Gives a document in pieces of these sizes, over and over.
struct Pieces<'d>(&'d [u8], Vec<usize>, usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.2 += 1;
        let piece = self.1[self.2 % self.1.len()].min(self.0.len()).min(buffer.len());
        buffer[..piece].copy_from_slice(&self.0[..piece]);
        self.0 = &self.0[piece..];
        Ok(piece)
    }
}

/// Passes over a whole document, in a window and pieces of these sizes.
fn skipped(text: &[u8], window: usize, pieces: &[usize]) -> Result<(), String> {
    let mut source = Pieces(text, pieces.to_vec(), 0);
    Json::with_window(&mut source, u64::MAX, window)
        .and_then(|mut json| {
            json.skip()?;
            json.end()
        })
        .map_err(|stop| stop.0.to_string())
}

/// Reads a publication in a window and pieces of these sizes.
fn read(text: &[u8], window: usize, pieces: &[usize]) -> Result<String, String> {
    let policy = Policy::default();
    let mut source = Pieces(text, pieces.to_vec(), 0);
    let mut builder = Builder::new(&policy);
    let mut json =
        Json::with_window(&mut source, 1 << 20, window).map_err(|stop| stop.0.to_string())?;
    document::read(&mut json, &mut builder, None).map_err(|stop| stop.0.to_string())?;
    builder
        .finish()
        .map(|snapshot| snapshot.digest().to_string())
        .map_err(|fault| fault.to_string())
}

/// What JSON is made of, and what looks like it.
fn token() -> impl Strategy<Value = &'static [u8]> {
    proptest::sample::select(
        [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            "\t",
            "\r\n",
            "          ",
            "\n            ",
            "\"\"",
            "\"a\"",
            "\"key\":",
            "\"a longer text than eight bytes\"",
            "\"",
            "\"\\\"\"",
            "\"\\\\\"",
            "\"\\/\\b\\f\\n\\r\\t\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\u12\"",
            "\"\\x\"",
            "\"é😀\"",
            "\"a\u{7f}b\"",
            "\"a\nb\"",
            "\"a\u{1f}\"",
            "é",
            "0",
            "-0",
            "1",
            "-1",
            "01",
            "-",
            "1.",
            "1.5",
            ".5",
            "1e5",
            "1E+5",
            "1e-5",
            "1e",
            "12345678901234567890",
            "true",
            "false",
            "null",
            "nul",
            "True",
            "NaN",
            "//",
            "\u{feff}",
            "\u{a0}",
            "\0",
        ]
        .map(str::as_bytes)
        .to_vec(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_json_is_what_a_general_parser_takes(
        tokens in proptest::collection::vec(token(), 0..10),
        bad in proptest::option::weighted(0.1, (0_usize..40, any::<u8>())),
        window in 1_usize..40,
        pieces in proptest::collection::vec(1_usize..20, 1..4),
    ) {
        let mut text = tokens.concat();
        if let Some((place, byte)) = bad
            && let Some(target) = text.get_mut(place)
        {
            *target = byte;
        }
        // A byte order mark is no JSON, but comes before some.
        prop_assume!(!text.starts_with(b"\xef\xbb\xbf"));
        let general = serde_json::from_slice::<Value>(&text);
        // A number of any size is one; that a general parser cannot hold it is another matter.
        let too_large = |error: &serde_json::Error| error.to_string().contains("out of range");
        prop_assume!(!general.as_ref().is_err_and(too_large));
        let ours = skipped(&text, WINDOW, &[usize::MAX]);
        prop_assert_eq!(ours.is_ok(), general.is_ok(), "{:?} {:?}: {:?}", text.escape_ascii().to_string(), ours, general);
        prop_assert_eq!(skipped(&text, window, &pieces), ours);
    }

    #[test]
    fn a_document_is_read_alike_however_it_arrives(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        window in 1_usize..400,
        pieces in proptest::collection::vec(1_usize..300, 1..4),
    ) {
        let mut text = EXAMPLE_DOCUMENT.as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place.index(text.len());
            text[place] = byte;
        }
        let whole = read(&text, WINDOW, &[usize::MAX]);
        prop_assert_eq!(&read(&text, window, &pieces), &whole);
        if whole.is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&text).is_ok(), "{}", text.escape_ascii());
        }
    }
}

#[test]
fn depth_is_bounded_where_a_general_parser_bounds_it() {
    for (depth, taken) in [(127, true), (128, false)] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(skipped(text.as_bytes(), WINDOW, &[usize::MAX]).is_ok(), taken, "{depth}");
        assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), taken, "{depth}");
    }
}

#[test]
fn a_text_may_be_longer_than_the_window() {
    let text = format!("[\"{}\\n{}\"]", "é".repeat(50_000), "x".repeat(50_000));
    assert_eq!(skipped(text.as_bytes(), 64, &[1_000]), Ok(()));
    let open = &text.as_bytes()[..text.len() - 2];
    assert_eq!(
        skipped(open, 64, &[1_000]).unwrap_err(),
        "not a Service Tags document: EOF while parsing a string at line 1 column 150005"
    );
}

#[test]
fn places_are_counted_from_the_beginning_of_the_document() {
    let line = "                        \"x\",\n";
    let text = format!("[\n{}  7 8]", line.repeat(10_000));
    for window in [64, 4_096, WINDOW] {
        assert_eq!(
            skipped(text.as_bytes(), window, &[777]).unwrap_err(),
            "not a Service Tags document: expected `,` or `]`, found a number at line 10002 column 5"
        );
    }
}

#[test]
fn the_first_byte_that_is_no_text_is_named() {
    let text = [b"[\"".as_slice(), &b"x".repeat(10_000), b"\xc3\xa9\xff\"]"].concat();
    for window in [16, WINDOW] {
        assert_eq!(
            skipped(&text, window, &[100]).unwrap_err(),
            "not a Service Tags document: byte 10004 is not UTF-8 text"
        );
    }
    assert_eq!(
        skipped(b"[\xff]", 16, &[100]).unwrap_err(),
        "not a Service Tags document: byte 1 is not UTF-8 text"
    );
}

#[test]
fn what_is_larger_than_its_bound_is_refused_while_it_arrives() {
    let policy = Policy { max_bytes: 100_000, ..Policy::default() };
    let mut endless = std::io::repeat(b' ');
    let error = Snapshot::read(&mut endless, &policy).unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { limit: 100_000 }), "{error}");
    let mut long_text = std::io::Cursor::new(b"{\"").chain(std::io::repeat(b'x'));
    let error = Snapshot::read(&mut long_text, &policy).unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
    let exact = Policy { max_bytes: EXAMPLE_DOCUMENT.len() as u64, ..Policy::default() };
    assert!(Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &exact).is_ok());
    let less = Policy { max_bytes: exact.max_bytes - 1, ..Policy::default() };
    assert!(Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &less).is_err());
}

#[test]
fn a_source_that_fails_is_no_document() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    let error = Snapshot::read(&mut Failing, &Policy::default()).unwrap_err();
    assert!(matches!(error, SnapshotError::Unreadable(_)), "{error}");
}
