//! The unified difference of two texts, as `diff -u` writes it and `patch` reads it.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, Hunk, InternedInput, Token};

/// The difference, with so many lines around each change; empty when there is none. Without the two lines that name the files.
pub fn unified(before: &str, now: &str, context: u32) -> String {
    let input = InternedInput::new(before, now);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let changes: Vec<Hunk> = diff.hunks().collect();
    // Changes stand together when the lines around them meet.
    let near = |one: &Hunk, two: &Hunk| two.before.start - one.before.end <= 2 * context;
    let mut text = String::new();
    for together in changes.chunk_by(near) {
        push(&mut text, &input, together, context);
    }
    text
}

/// Changes that stand together, with the lines around them.
fn push(text: &mut String, input: &InternedInput<&str>, changes: &[Hunk], context: u32) {
    let ([first, ..], [.., last]) = (changes, changes) else { return };
    let ahead = first.before.start.min(context);
    let lines = u32::try_from(input.before.len()).unwrap_or(u32::MAX);
    let end = lines.min(last.before.end + context);
    let before = first.before.start - ahead..end;
    let now = first.after.start - ahead..last.after.end + (end - last.before.end);
    text.push_str(&format!("@@ -{} +{} @@\n", place(&before), place(&now)));
    let mut push_lines = |sign, tokens: &[Token], range: Range<u32>| {
        for token in &tokens[range.start as usize..range.end as usize] {
            let line = input.interner[*token];
            let missing =
                if line.ends_with('\n') { "" } else { "\n\\ No newline at end of file\n" };
            text.push_str(&format!("{sign}{line}{missing}"));
        }
    };
    let mut at = before.start;
    for change in changes {
        push_lines(' ', &input.before, at..change.before.start);
        push_lines('-', &input.before, change.before.clone());
        push_lines('+', &input.after, change.after.clone());
        at = change.before.end;
    }
    push_lines(' ', &input.before, at..end);
}

/// The first line, counted from 1, and how many they are; where there is none, the line before it.
fn place(lines: &Range<u32>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        length => format!("{},{length}", lines.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::os::testing;

    #[test]
    fn diff_says_the_same() {
        let lines = (0..30).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
        for (before, now) in [
            ("", "a\nb\n".to_owned()),
            ("a\nb\n", String::new()),
            ("a\nb", "a\nb\nc".to_owned()),
            ("a\n", "b\n".to_owned()),
            (&lines, lines.replace("line 3\n", "").replace("line 20\n", "line 20\nnew\nnewer\n")),
            (&lines, format!("first\n{lines}last\n")),
        ] {
            for context in [2, 3] {
                let folder = tempfile::tempdir().unwrap();
                let path = |name: &str, text: &str| {
                    let path = folder.path().join(name);
                    testing::put(&path, text);
                    path
                };
                let said = Command::new("/usr/bin/diff")
                    .arg(format!("-U{context}"))
                    .args([path("before", before), path("now", &now)])
                    .output()
                    .unwrap();
                let said = String::from_utf8(said.stdout).unwrap();
                let hunks = said.splitn(3, '\n').nth(2).unwrap();
                assert_eq!(unified(before, &now, context), hunks, "{before:?} {now:?}");
            }
        }
        assert_eq!(unified(&lines, &lines, 3), "");
    }
}
