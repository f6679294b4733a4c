//! The filters of templates: a text that goes through one is one literal of the language that it is for, and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tagwall::render::fuzzing::filtered;

fuzz_target!(|input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else { return };
    // The pattern is the first line, the text (or prefixes, one a line) the rest.
    let (pattern, text) = input.split_once('\n').unwrap_or((input, ""));
    let through = |template: &str| filtered(template, text, pattern);
    let json = through("{{ text | json }}").expect("json takes every text");
    assert_eq!(serde_json::from_str::<String>(&json).ok().as_deref(), Some(text));
    let sh = through("{{ text | sh }}").expect("sh takes every text");
    assert_eq!(unquoted_by_a_shell(&sh).as_deref(), Some(text), "{sh}");
    let hcl = through("{{ text | hcl }}").expect("hcl takes every text");
    literal(&hcl, '"', &["${", "%{"], &["$${", "%%{"]);
    let bicep = through("{{ text | bicep }}").expect("bicep takes every text");
    literal(&bicep, '\'', &["${"], &["\\${"]);
    if let Ok(written) = through("{{ text | each(text=pattern, between=\"|\") }}")
        && !pattern.contains('{')
    {
        // Without a placeholder every prefix is written as the same.
        assert_eq!(written, vec![pattern; text.lines().count()].join("|"));
    }
    let _ = through("{{ text | lines }}");
    let _ = through("{{ list | braces }}");
    if let Ok(name) = through("{{ text | fit(prefix=\"p-\", suffix=\"-s\", limit=31) }}") {
        assert!(name.len() <= 31 && name.starts_with("p-") && name.ends_with("-s"), "{name}");
    }
});

/// What a POSIX shell makes of a word in single quotes and escaped quotes.
fn unquoted_by_a_shell(word: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let (inside, after) = quoted.split_once('\'')?;
            text.push_str(inside);
            rest = after;
        } else {
            rest = rest.strip_prefix("\\'")?;
            text.push('\'');
        }
    }
    Some(text)
}

/// One literal: it ends where it ends, on its line, and has no live opening of an interpolation.
fn literal(written: &str, quote: char, openings: &[&str], escaped: &[&str]) {
    assert!(
        written.len() >= 2 && written.starts_with(quote) && written.ends_with(quote),
        "{written}"
    );
    assert!(!written.contains(['\n', '\r', '\t']), "{written}");
    let mut inside = written[1..written.len() - 1].to_owned();
    for escape in escaped {
        inside = inside.replace(escape, "~");
    }
    for opening in openings {
        assert!(!inside.contains(opening), "{written}");
    }
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        assert_ne!(character, quote, "{written}");
        if character == '\\' {
            assert!(characters.next().is_some(), "{written}");
        }
    }
}
