//! Text from outside made harmless for a terminal or a log line.
//!
//! Owns the decision which characters may be shown as they are. Promises that the result holds no
//! control character, no character that reorders text, and none that is invisible, and that it is
//! not longer than asked. It is for people: the escaping is not meant to be reversed (a backslash
//! stays a backslash).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What stands where text was cut.
const CUT: char = '…';

/// Longest path that an error message shows, in characters (`PATH_MAX` is 4,096 bytes, but a path
/// of that length hides the message around it).
const PATH_CHARACTERS: usize = 400;

/// Returns `text` with every dangerous character escaped (`\n`, `\t`, `\r`, else `\u{…}`), cut to at
/// most `max` characters of output; a cut is marked with `…`, which counts, and never splits an
/// escape.
pub fn printable(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max));
    let mut used = 0;
    // The length of `shown` at which a cut still leaves room for the mark.
    let mut cut_at = 0;
    for character in text.chars() {
        let width = push_escaped(&mut shown, character);
        if used + width > max {
            shown.truncate(cut_at);
            if max > 0 {
                shown.push(CUT);
            }
            return shown;
        }
        used += width;
        if used < max {
            cut_at = shown.len();
        }
    }
    shown
}

/// The same for a path or any other text of the operating system; bytes that are not UTF-8 become
/// `U+FFFD`.
pub fn printable_path(path: &Path) -> String {
    printable_os(path.as_os_str(), PATH_CHARACTERS)
}

/// [`printable`] for text of the operating system.
pub fn printable_os(text: &OsStr, max: usize) -> String {
    printable(&String::from_utf8_lossy(text.as_bytes()), max)
}

/// Appends `character`, escaped where needed, and returns how many characters that made.
fn push_escaped(shown: &mut String, character: char) -> usize {
    let escape = match character {
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        _ if is_dangerous(character) => {
            let before = shown.len();
            shown.extend(character.escape_unicode());
            return shown.len() - before; // the escape is ASCII
        }
        _ => {
            shown.push(character);
            return 1;
        }
    };
    shown.push_str(escape);
    escape.len()
}

/// Control characters, and those that reorder the text around them or cannot be seen.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Bidirectional marks, embeddings, overrides and isolates.
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
            // Zero width, joiners, fillers, deprecated format characters.
            | '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2065}'
            | '\u{206A}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
            // Line separators, and spaces that look like a plain one or like nothing.
            | '\u{00A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{2028}' | '\u{2029}'
            | '\u{202F}' | '\u{205F}' | '\u{2800}' | '\u{3000}')
}

/// A number with separators between thousands: `4,096`.
pub fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    if digits.len() <= 3 {
        return digits;
    }
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        assert_eq!(printable("Réseau 東京 \\d+", 80), "Réseau 東京 \\d+");
        assert_eq!(printable("", 0), "");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(
            printable("a\x1b[2Jb\r\n\tc\u{9b}d\0", 80),
            "a\\u{1b}[2Jb\\r\\n\\tc\\u{9b}d\\u{0}"
        );
        assert_eq!(printable("x\u{202E}gpj.exe", 80), "x\\u{202e}gpj.exe");
        for invisible in ["\u{200B}", "\u{FEFF}", "\u{00AD}", "\u{2066}", "\u{E0041}", "\u{00A0}"] {
            assert!(printable(invisible, 80).is_ascii(), "{invisible:?} was shown as it is");
        }
    }

    #[test]
    fn the_limit_counts_the_output_and_never_splits_an_escape() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdef", 5), "abcd…");
        assert_eq!(printable("abc\u{202E}", 9), "abc…");
        assert_eq!(printable("ab\u{202E}c", 10), "ab…");
        assert_eq!(printable("ab\u{202E}c", 11), "ab\\u{202e}c");
        assert_eq!(printable("abc", 1), "…");
        assert_eq!(printable("abc", 0), "");
        for max in 0..40 {
            let shown = printable("a\x1bé\u{202E}\n…\u{E0041}z", max);
            assert!(shown.chars().count() <= max, "{shown} is longer than {max}");
        }
    }

    #[test]
    fn a_path_is_shown_even_when_it_is_not_text() {
        let path = Path::new(OsStr::from_bytes(b"/tmp/\xff\x1b]0;x\x07"));
        assert_eq!(printable_path(path), "/tmp/\u{FFFD}\\u{1b}]0;x\\u{7}");
    }
}
