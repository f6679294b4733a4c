//! Everything that is shown to a person: colours, errors, differences.

use std::io::Write as _;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::operate::config_error;
use crate::os::unified;
pub(super) use crate::report::text::{ADDED, HEADLINE, REMOVED, WARNING, counted, grouped};

/// Writes to stdout and stderr; colours only where a terminal shows them and `NO_COLOR` does not forbid them.
#[derive(Debug)]
pub(super) struct Printer {
    colour_stderr: bool,
}

/// Positions in a diff.
pub(super) const PLACE: Style = AnsiColor::Cyan.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();

#[expect(
    clippy::unused_self,
    reason = "one printer is handed to every command: nothing else writes"
)]
impl Printer {
    pub(super) fn new() -> Self {
        let colour_stderr = anstream::AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
        Self { colour_stderr }
    }

    /// Writes to stdout; colours are removed where they are not wanted.
    pub(super) fn out(&self, text: &str) -> std::io::Result<()> {
        anstream::stdout().lock().write_all(text.as_bytes())
    }

    /// Writes a document to stdout as JSON that people can read too.
    pub(super) fn json(&self, document: &impl Serialize) -> std::io::Result<()> {
        self.out(&(serde_json::to_string_pretty(document)? + "\n"))
    }

    /// Writes bytes to stdout as they are.
    pub(super) fn raw(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// A line for the person who watches, on stderr.
    pub(super) fn note(&self, text: &str) {
        // Nobody is left to tell when stderr is closed.
        _ = writeln!(anstream::stderr(), "{text}");
    }

    /// A warning, on stderr.
    pub(super) fn warning(&self, text: &str) {
        self.note(&format!("{WARNING}warning{WARNING:#}: {text}"));
    }

    /// An error with its causes, on stderr.
    pub(super) fn error(&self, error: &anyhow::Error) {
        if let Some(config) = error.chain().find_map(config_error) {
            return self.note(&config.render(self.colour_stderr));
        }
        // Most messages already end with their cause; those that do not are followed by it.
        let mut text = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        self.note(&format!("{ERROR}error{ERROR:#}: {text}"));
    }
}

/// IPv6 space in a form that people can compare: whole /64 networks where there are any.
pub(super) fn v6_space(addresses: u128) -> String {
    let networks = addresses >> 64;
    match networks {
        0 => format!("{} IPv6 addresses", grouped(addresses)),
        _ => format!("{} IPv6 /64s", grouped(networks)),
    }
}

/// Breaks a text between words so that no line but one of a single long word exceeds `width` characters; lines after
/// the first start with `indent`.
pub(super) fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::with_capacity(text.len() + 16);
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(indent);
            used = indent.chars().count();
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped
}

/// The unified difference of two texts, coloured; empty when they are equal.
pub(super) fn unified(old: Option<&str>, new: Option<&str>, path: &str) -> String {
    let before = if old.is_some() { format!("a/{path}") } else { "/dev/null".to_owned() };
    let after = if new.is_some() { format!("b/{path}") } else { "/dev/null".to_owned() };
    let plain = unified::unified(old.unwrap_or(""), new.unwrap_or(""), 3);
    if plain.is_empty() {
        return plain;
    }
    let mut text =
        format!("{HEADLINE}--- {before}{HEADLINE:#}\n{HEADLINE}+++ {after}{HEADLINE:#}\n");
    for line in plain.split_inclusive('\n') {
        let style = match line.as_bytes() {
            [b'+', ..] => ADDED,
            [b'-', ..] => REMOVED,
            [b'@', ..] => PLACE,
            _ => Style::new(),
        };
        let content = line.strip_suffix('\n').unwrap_or(line);
        text.push_str(&format!("{style}{content}{style:#}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_space_counts_whole_networks() {
        assert_eq!(v6_space(1 << 64), "1 IPv6 /64s");
        assert_eq!(v6_space(256), "256 IPv6 addresses");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrapped("a bb ccc d", 4, "  "), "a bb\n  ccc\n  d");
        assert_eq!(wrapped("longer-than-that x", 5, ""), "longer-than-that\nx");
    }

    #[test]
    fn a_new_file_is_all_additions() {
        let text = anstream::adapter::strip_str(&unified(None, Some("a\nb\n"), "x/y")).to_string();
        assert_eq!(text, "--- /dev/null\n+++ b/x/y\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(unified(Some("a\n"), Some("a\n"), "x"), "");
    }
}
