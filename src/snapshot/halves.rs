//! Reads a large document from a file with two threads.
//!
//! The second one begins somewhere behind the middle, where a tag seems to begin. Promises: the outcome, errors and their
//! places included, is that of one reader. For what the second has read counts only if the first, who began at the
//! beginning, comes to exactly that byte where a tag begins in the list of tags, and if there was nothing to object to; in
//! every other case the first reads on by itself. So a wrong guess about the middle, honest or not, costs time and nothing else.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::document::{self, Progress};
use super::json::{Json, Stop};
use super::parse::Builder;
use super::{Policy, Snapshot, SnapshotError};

/// Documents below this size are read by one thread: starting another would take longer.
const WORTH_IT: u64 = 512 << 10;

/// How far behind the middle the beginning of a tag is looked for. The largest list of prefixes takes 0.4 MB.
const SEARCHED: u64 = 1 << 20;

/// Bytes that are searched at a time, and how many of them once more with the next: what a tag begins with is shorter.
const BLOCK: usize = 32 << 10;
const OVERLAP: usize = 256;

impl Snapshot {
    /// Reads and validates a document in a file, from its beginning; the file's own position plays no part.
    pub fn read_file(file: &File, policy: &Policy) -> Result<Self, SnapshotError> {
        let bytes = file.metadata().map_err(SnapshotError::Unreadable)?.len();
        Self::read_from(file, bytes, policy)
    }

    fn read_from<S: Source>(
        source: &S,
        bytes: u64,
        policy: &Policy,
    ) -> Result<Self, SnapshotError> {
        let start = if bytes < WORTH_IT { None } else { tag_behind(source, bytes / 2) };
        let mut whole = At { source, offset: 0, given_up: None };
        let Some(start) = start else { return Self::read(&mut whole, policy) };
        let given_up = AtomicBool::new(false);
        let mut builder = Builder::new(policy);
        thread::scope(|scope| {
            let second = thread::Builder::new()
                .spawn_scoped(scope, || second_half(source, start, policy, &given_up));
            let read = Json::new(&mut whole, policy.max_bytes).and_then(|mut json| {
                if document::read(&mut json, &mut builder, Some(start))? == Progress::Ended {
                    return Ok(());
                }
                let behind = second.ok().and_then(|second| second.join().ok().flatten());
                if behind.is_some_and(|behind| builder.append(behind)) {
                    return Ok(());
                }
                document::read_on(&mut json, &mut builder).map(|_| ())
            });
            given_up.store(true, Ordering::Relaxed);
            read
        })
        .map_err(SnapshotError::from)?;
        builder.finish().map_err(SnapshotError::Whole)
    }
}

/// What begins at this byte, if it is the rest of a document from the beginning of a tag.
fn second_half<'p, S: Source>(
    source: &S,
    start: u64,
    policy: &'p Policy,
    given_up: &AtomicBool,
) -> Option<Builder<'p>> {
    let mut rest = At { source, offset: start, given_up: Some(given_up) };
    let limit = policy.max_bytes.checked_sub(start)?;
    let mut json = Json::amidst(&mut rest, limit, document::TAG_DEPTH);
    let mut builder = Builder::new(policy);
    let read: Result<Progress, Stop> = document::read_on(&mut json, &mut builder);
    read.is_ok().then_some(builder)
}

/// Where a tag seems to begin, at this byte or behind it.
fn tag_behind<S: Source>(source: &S, from: u64) -> Option<u64> {
    let mut block = vec![0; BLOCK];
    let mut offset = from;
    while offset < from + SEARCHED {
        let filled = source.read_at(&mut block, offset).ok()?;
        if let Some(found) = tag_in(&block[..filled]) {
            return Some(offset + found as u64);
        }
        let next = filled.checked_sub(OVERLAP).filter(|next| *next > 0)?;
        offset += next as u64;
    }
    None
}

/// The first `{` that stands behind a comma and before a name.
fn tag_in(block: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let brace = from + block.get(from..)?.iter().position(|byte| *byte == b'{')?;
        from = brace + 1;
        if block[..brace].trim_ascii_end().ends_with(b",")
            && block[from..].trim_ascii_start().starts_with(b"\"name\"")
        {
            return Some(brace);
        }
    }
}

/// What can be read at any place by several at once.
trait Source: Sync {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;
}

impl Source for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// A source from some byte on.
struct At<'s, S> {
    source: &'s S,
    offset: u64,
    /// When nobody waits for the rest any more.
    given_up: Option<&'s AtomicBool>,
}

impl<S: Source> Read for At<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given_up.is_some_and(|given_up| given_up.load(Ordering::Relaxed)) {
            return Ok(0);
        }
        let count = self.source.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Source for &[u8] {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
            let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
            rest.unwrap_or_default().read(buffer)
        }
    }

    /// A tag of documentation ranges, with this in its list of features.
    fn tag(number: usize, features: &str) -> String {
        format!(
            r#"{{"name": "Sql.R{number}", "id": "Sql.R{number}", "properties": {{"changeNumber": 1, "region": "r{number}",
"regionId": 1, "platform": "Azure", "systemService": "AzureSQL", "addressPrefixes": ["192.0.2.{}/32", "2001:db8::{:x}/128"],
"networkFeatures": [{features}]}}}}"#,
            number % 256,
            number
        )
    }

    fn document(tags: &[String], behind: &str) -> String {
        let values = tags.join(",\n");
        format!(r#"{{"changeNumber": 1, "cloud": "Example", "values": [{values}]{behind}}}"#)
    }

    fn tags(count: usize) -> Vec<String> {
        (0..count).map(|number| tag(number, "")).collect()
    }

    /// What one reader and two say.
    fn outcomes(document: &str, policy: &Policy) -> [Result<(String, usize), String>; 2] {
        let text = document.as_bytes();
        let one = Snapshot::parse(text, policy);
        let two = Snapshot::read_from(&text, text.len() as u64, policy);
        [one, two].map(|outcome| {
            outcome
                .map(|snapshot| (snapshot.digest().to_string(), snapshot.prefix_count()))
                .map_err(|error| error.to_string())
        })
    }

    fn agree(document: &str, policy: &Policy) -> Result<(String, usize), String> {
        assert!(document.len() as u64 > WORTH_IT);
        assert!(tag_behind(&document.as_bytes(), document.len() as u64 / 2).is_some());
        let [one, two] = outcomes(document, policy);
        assert_eq!(one, two);
        two
    }

    #[test]
    fn the_second_half_is_joined() {
        let policy = Policy::default();
        let text = document(&tags(3_000), "");
        let (_, prefixes) = agree(&text, &policy).unwrap();
        assert_eq!(prefixes, 6_000);
        // And it is the second reader's: what it gives is taken as it is.
        let start = tag_behind(&text.as_bytes(), text.len() as u64 / 2).unwrap();
        let given_up = AtomicBool::new(false);
        let behind = second_half(&text.as_bytes(), start, &policy, &given_up).unwrap();
        assert!((1_000..2_000).contains(&behind.tags.len()));
        // What stands behind the list counts as well.
        let text = document(&tags(3_000), r#", "nextLink": "https://example.com/more""#);
        assert!(agree(&text, &policy).unwrap_err().contains("page"));
        let late = document(&tags(3_000), r#", "x": 0"#).replacen(r#""changeNumber": 1, "#, "", 1);
        let late = late.replace(r#""x": 0"#, r#""changeNumber": 7"#);
        agree(&late, &policy).unwrap();
    }

    #[test]
    fn faults_and_bounds_are_those_of_one_reader() {
        let policy = Policy::default();
        let whole = document(&tags(3_000), "");
        for (from, to) in [
            ("192.0.2.100/32", "192.0.2.100/24"),
            ("\"Sql.R2900\"", "\"Sql.R2\""),
            ("\"Sql.R2900\"", "\"Sql R2900\""),
            ("\"Sql.R10\"", "\"Sql R10\""),
            ("2001:db8::b54/128", "fd00::/64"),
            ("\"region\": \"r2950\"", "\"region\" \"r2950\""),
            ("]}}]}", "]}}"),
            ("]}}]}", "]}}]} {}"),
        ] {
            assert!(agree(&whole.replace(from, to), &policy).is_err(), "{from} {to}");
        }
        let twice = [r#", "cloud": "Example""#, r#", "changeNumber": 2"#, r#", "values": []"#];
        for behind in twice {
            assert!(agree(&document(&tags(3_000), behind), &policy).is_err(), "{behind}");
        }
        let bounds = [
            Policy { max_tags: 2_999, ..Policy::default() },
            Policy { max_prefixes: 5_999, ..Policy::default() },
            Policy { max_bytes: whole.len() as u64 - 1, ..Policy::default() },
        ];
        for policy in bounds {
            assert!(agree(&whole, &policy).is_err(), "{policy:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_tag_is_not_taken_for_one() {
        let policy = Policy::default();
        let decoys = format!(r#""more": [0{}]"#, format!(", {}", tag(9_999, "")).repeat(3_000));
        // In a list of the document behind its tags or before them, and in a tag: always as deep as a tag lies, or deeper.
        let behind = document(&tags(100), &format!(", {decoys}"));
        let before = behind.replacen(r#""values""#, &format!(r#"{decoys}, "values""#), 1);
        let before = before.replacen(&format!(", {decoys}}}"), "}", 1);
        let inside = document(&tags(100), "").replacen(
            r#""id": "Sql.R50""#,
            &format!(r#""id": "Sql.R50", {decoys}"#),
            1,
        );
        for text in [behind, before, inside] {
            assert_eq!(text.matches("\"more\"").count(), 1);
            let (_, prefixes) = agree(&text, &policy).unwrap();
            assert_eq!(prefixes, 200);
            // What was read from there in vain is not even the rest of a document, or not of this one.
            let start = tag_behind(&text.as_bytes(), text.len() as u64 / 2).unwrap();
            assert!(text[usize::try_from(start).unwrap()..].starts_with(r#"{"name": "Sql.R9999""#));
        }
    }
}
