//! What is wrong with a document, and where.

use super::bytes::{last_newline, newlines};
use super::{Json, Stop};
use crate::snapshot::SnapshotError;

impl Json<'_> {
    /// Line and column of the reader's place, both from 1.
    pub(in crate::snapshot) fn place(&self) -> (usize, usize) {
        self.place_of(self.next)
    }

    /// Line and column of the beginning of a text that was read last, `back` bytes ago.
    pub(in crate::snapshot) fn place_back(&self, back: usize) -> (usize, usize) {
        self.place_of(self.next.saturating_sub(back))
    }

    fn place_of(&self, next: usize) -> (usize, usize) {
        let before = &self.window[..next];
        let newlines = self.gone.newlines + newlines(before);
        let column = match last_newline(before) {
            Some(newline) => next - newline - 1,
            None => self.gone.column + next,
        };
        (newlines + 1, column + 1)
    }

    /// Something else was expected here.
    #[cold]
    pub(super) fn expected(&mut self, expected: &str) -> Stop {
        let found = match self.window[self.next..self.filled].first() {
            None => return self.malformed(&format!("EOF where {expected} should be")),
            Some(0x80..) => {
                // A character has at most four bytes; what keeps them away is found again by whoever reads on.
                _ = self.at(3);
                return self.not_text(self.next);
            }
            Some(byte) => match byte {
                b'"' => "a text".to_owned(),
                b'{' => "an object".to_owned(),
                b'[' => "a list".to_owned(),
                b'-' | b'0'..=b'9' => "a number".to_owned(),
                b'n' => "null".to_owned(),
                0x21..0x7f => format!("`{}`", char::from(*byte)),
                control => format!("the byte {control}"),
            },
        };
        self.malformed(&format!("expected {expected}, found {found}"))
    }

    /// An error of syntax at the reader's place.
    #[cold]
    pub(in crate::snapshot) fn malformed(&self, what: &str) -> Stop {
        let (line, column) = self.place();
        Stop::from(SnapshotError::Malformed {
            hint: self.hint(),
            what: what.to_owned(),
            line,
            column,
        })
    }

    /// What stands at this place of the window is no text, or no text that JSON may hold here.
    #[cold]
    pub(super) fn not_text(&mut self, at: usize) -> Stop {
        match std::str::from_utf8(&self.window[at..self.filled]) {
            Err(error) if error.valid_up_to() == 0 => {
                let offset = self.gone.bytes + at as u64;
                Stop::from(SnapshotError::NotText { offset, hint: self.hint() })
            }
            _ => self.malformed("a character that JSON has in strings only"),
        }
    }

    /// Names the usual things that arrive in place of a document.
    fn hint(&self) -> Option<&'static str> {
        match self.first {
            None => Some("the file is empty"),
            Some(b'<') => Some("it looks like an HTML or XML page"),
            Some(0x1f) => Some("it looks like a gzip file"),
            Some(b'{') if self.ended && self.next >= self.filled => Some("it is cut short"),
            Some(_) => None,
        }
    }
}
