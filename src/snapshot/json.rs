//! Reads JSON strictly, in one pass, as it streams in.
//!
//! Owns the syntax: RFC 8259 and nothing beside it, with a bound on depth and on size, and every text UTF-8. Promises that
//! what is refused is refused at the place where it stands, and that the memory taken is a small window, however large the
//! document is; only a single text that is longer lets the window grow. Does not build values: the caller says what it expects next.
//!
//! A general parser took half of a whole rendering, and holding the document in memory another sixth (fresh pages are
//! dear). A property test holds this one against `serde_json`.

mod bytes;
mod numbers;
mod refusal;

use std::io::Read;

use super::SnapshotError;
use bytes::{last_newline, newlines, plain_length, space, unescape};

/// Why reading stops. Boxed, so that what a reader returns byte after byte stays small.
#[derive(Debug)]
pub(super) struct Stop(Box<SnapshotError>);

impl From<SnapshotError> for Stop {
    fn from(error: SnapshotError) -> Self {
        Self(Box::new(error))
    }
}

impl From<Stop> for SnapshotError {
    fn from(stop: Stop) -> Self {
        *stop.0
    }
}

/// Bytes of the document that are in memory at a time. Small enough to stay in a processor's cache.
const WINDOW: usize = 64 << 10;

/// Deepest nesting taken. A Service Tags document nests five deep.
const MAX_DEPTH: u8 = 127;

/// Bytes that are looked at without asking for more: longer than nearly every text of a document.
const AHEAD: usize = 256;

/// A document that is being read.
pub(super) struct Json<'s> {
    source: &'s mut dyn Read,
    window: Vec<u8>,
    /// How much of the window is filled.
    filled: usize,
    /// What comes next, in the window.
    next: usize,
    /// Whether the source has nothing more.
    ended: bool,
    /// What has left the window.
    gone: Gone,
    /// Most bytes that are taken.
    limit: u64,
    /// The first byte that is no white space, to tell what arrived in place of a document.
    first: Option<u8>,
    depth: u8,
    /// Texts with escapes are decoded here.
    decoded: Vec<u8>,
}

/// What is known of the part of the document that is no longer in the window.
#[derive(Default)]
struct Gone {
    bytes: u64,
    newlines: usize,
    /// Bytes behind the last newline.
    column: usize,
}

/// Where the reader is inside an object or a list.
pub(super) struct Inside {
    begun: bool,
}

impl Inside {
    /// Behind an element or member.
    pub(super) fn begun() -> Self {
        Self { begun: true }
    }
}

/// A text, without its quotes.
pub(super) struct Text<'j> {
    /// The bytes, not known to be UTF-8 unless they are ASCII.
    pub(super) bytes: &'j [u8],
    /// Whether all of it is printable ASCII.
    plain: bool,
    /// How far before the reader's place it begins.
    back: usize,
}

impl<'s> Json<'s> {
    /// Reads from this source, and refuses more than `limit` bytes.
    pub(super) fn new(source: &'s mut dyn Read, limit: u64) -> Result<Self, Stop> {
        Self::with_window(source, limit, WINDOW)
    }

    /// Reads from a source that begins in the midst of a document, so deep in its objects and lists. Places in errors count
    /// from there.
    pub(super) fn amidst(source: &'s mut dyn Read, limit: u64, depth: u8) -> Self {
        Self { depth, ..Self::unread(source, limit, WINDOW) }
    }

    fn unread(source: &'s mut dyn Read, limit: u64, window: usize) -> Self {
        Self {
            source,
            window: vec![0; window],
            filled: 0,
            next: 0,
            ended: false,
            gone: Gone::default(),
            limit,
            first: None,
            depth: 0,
            decoded: Vec::new(),
        }
    }

    fn with_window(source: &'s mut dyn Read, limit: u64, window: usize) -> Result<Self, Stop> {
        let mut json = Self::unread(source, limit, window);
        while json.filled < 3 && json.more()? {}
        if json.window[..json.filled].starts_with(b"\xef\xbb\xbf") {
            json.next = 3;
        }
        json.first = json.peek()?;
        Ok(json)
    }

    /// Begins an object. `expected` says what should stand here.
    pub(super) fn object(&mut self, expected: &'static str) -> Result<Inside, Stop> {
        self.open(b'{', expected)
    }

    /// Begins a list.
    pub(super) fn list(&mut self, expected: &'static str) -> Result<Inside, Stop> {
        self.open(b'[', expected)
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<Inside, Stop> {
        if self.peek()? != Some(bracket) {
            return Err(self.expected(expected));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.malformed("recursion limit exceeded"));
        }
        self.depth += 1;
        self.next += 1;
        Ok(Inside { begun: false })
    }

    /// The next key of an object, as `of` understands it, with the colon behind it; `None` at the object's end.
    pub(super) fn key<K>(
        &mut self,
        inside: &mut Inside,
        of: impl FnOnce(&[u8]) -> K,
    ) -> Result<Option<K>, Stop> {
        if !self.goes_on(inside, b'}', "`,` or `}`")? {
            return Ok(None);
        }
        let key = self.bytes("a key", of)?;
        if self.peek()? != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.next += 1;
        Ok(Some(key))
    }

    /// The next element of a list, when `read` knows it by the bytes behind its opening quote: what it is, and its length
    /// with the closing quote. `None`, and nothing has been read, for everything else, also where the window ends.
    #[inline]
    pub(super) fn known_element<T>(
        &mut self,
        inside: &mut Inside,
        read: impl FnOnce(&[u8]) -> Option<(T, usize)>,
    ) -> Option<T> {
        let window = &self.window[self.next..self.filled];
        let comma = usize::from(inside.begun);
        if inside.begun && window.first() != Some(&b',') {
            return None;
        }
        let quote = comma + space(&window[comma..]);
        if window.get(quote) != Some(&b'"') {
            return None;
        }
        let (element, length) = read(&window[quote + 1..])?;
        inside.begun = true;
        self.next += quote + 1 + length;
        Some(element)
    }

    /// Whether a list has another element, which comes next.
    pub(super) fn element(&mut self, inside: &mut Inside) -> Result<bool, Stop> {
        self.goes_on(inside, b']', "`,` or `]`")
    }

    fn goes_on(
        &mut self,
        inside: &mut Inside,
        bracket: u8,
        expected: &'static str,
    ) -> Result<bool, Stop> {
        match self.peek()? {
            Some(byte) if byte == bracket => {
                self.next += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if inside.begun => {
                self.next += 1;
                Ok(true)
            }
            Some(_) if !inside.begun => {
                inside.begun = true;
                Ok(true)
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// A text, as `of` understands it.
    pub(super) fn text<T>(
        &mut self,
        expected: &'static str,
        of: impl FnOnce(&str) -> T,
    ) -> Result<T, Stop> {
        let text = self.raw_text(expected)?;
        let back = text.back;
        match std::str::from_utf8(text.bytes) {
            Ok(text) => Ok(of(text)),
            Err(_) => Err(self.not_text_since(back)),
        }
    }

    /// A text that is UTF-8, as `of` understands its bytes.
    #[inline]
    fn bytes<T>(&mut self, expected: &'static str, of: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
        let text = self.raw_text(expected)?;
        let back = text.back;
        if text.plain || std::str::from_utf8(text.bytes).is_ok() {
            return Ok(of(text.bytes));
        }
        Err(self.not_text_since(back))
    }

    /// The text that was read last, and began `back` bytes ago, is no UTF-8.
    #[cold]
    fn not_text_since(&mut self, back: usize) -> Stop {
        let start = self.next.saturating_sub(back);
        // Escapes are ASCII: what is no UTF-8 behind them is none before them.
        let valid = std::str::from_utf8(&self.window[start..self.next])
            .map_or_else(|error| error.valid_up_to(), str::len);
        self.not_text(start + valid)
    }

    /// A text or `null`.
    pub(super) fn text_or_null<T>(
        &mut self,
        expected: &'static str,
        of: impl FnOnce(Option<&str>) -> T,
    ) -> Result<T, Stop> {
        if self.null()? { Ok(of(None)) } else { self.text(expected, |text| of(Some(text))) }
    }

    /// Whether `null` stands here; then it is behind the reader.
    pub(super) fn null(&mut self) -> Result<bool, Stop> {
        let null = self.peek()? == Some(b'n');
        if null {
            self.word("null")?;
        }
        Ok(null)
    }

    /// Whether a text comes next.
    pub(super) fn is_text(&mut self) -> Result<bool, Stop> {
        Ok(self.peek()? == Some(b'"'))
    }

    /// Passes over a value of any kind, which must be well formed too.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        match self.peek()? {
            Some(b'"') => self.bytes("a text", |_| ()),
            Some(b'{') => {
                let mut inside = self.object("an object")?;
                while self.key(&mut inside, |_| ())?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut inside = self.list("a list")?;
                while self.element(&mut inside)? {
                    self.skip()?;
                }
                Ok(())
            }
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a value")),
        }
    }

    /// How many bytes of the source lie before the next one that is no white space; `None` at its end.
    pub(super) fn position(&mut self) -> Result<Option<u64>, Stop> {
        Ok(self.peek()?.map(|_| self.gone.bytes + self.next as u64))
    }

    /// The document must have ended.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(self.malformed("trailing characters")),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Stop> {
        for expected in word.bytes() {
            if self.at(0)? != Some(expected) {
                return Err(self.expected("a value"));
            }
            self.next += 1;
        }
        Ok(())
    }

    /// A text with its escapes decoded.
    #[inline]
    pub(super) fn raw_text(&mut self, expected: &'static str) -> Result<Text<'_>, Stop> {
        if self.filled - self.next < AHEAD && !self.ended {
            self.more()?;
        }
        if self.peek()? != Some(b'"') {
            return Err(self.expected(expected));
        }
        self.next += 1;
        let plain = plain_length(&self.window[self.next..self.filled]);
        if self.window[..self.filled].get(self.next + plain) == Some(&b'"') {
            let start = self.next;
            self.next += plain + 1;
            return Ok(Text {
                bytes: &self.window[start..start + plain],
                back: plain + 1,
                plain: true,
            });
        }
        self.long_text(plain)
    }

    /// A text that is not plain ASCII, or not all in the window: `length` bytes of it are known to be plain.
    #[cold]
    fn long_text(&mut self, mut length: usize) -> Result<Text<'_>, Stop> {
        let mut escapes = false;
        loop {
            match self.at(length)? {
                None => {
                    self.next += length;
                    return Err(self.malformed("EOF while parsing a string"));
                }
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes = true;
                    // Whatever is escaped, it does not end the text.
                    length += 2;
                }
                Some(0..0x20) => {
                    self.next += length;
                    return Err(self.malformed("a control character in a string"));
                }
                Some(_) => {
                    length += 1;
                    length += plain_length(
                        self.window[..self.filled].get(self.next + length..).unwrap_or_default(),
                    );
                }
            }
        }
        let start = self.next;
        self.next += length + 1;
        if !escapes {
            return Ok(Text {
                bytes: &self.window[start..start + length],
                back: length + 1,
                plain: false,
            });
        }
        self.decoded.clear();
        if let Err(at) = unescape(&self.window[start..start + length], &mut self.decoded) {
            self.next = start + at;
            return Err(self.malformed("invalid escape"));
        }
        Ok(Text { bytes: &self.decoded, back: length + 1, plain: false })
    }

    /// The next byte that is no white space, which is still to be read; `None` at the end of the document.
    #[inline]
    fn peek(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            self.next += space(&self.window[self.next..self.filled]);
            if self.next < self.filled {
                return Ok(Some(self.window[self.next]));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    /// The byte so far from the next one; `None` behind the end.
    #[inline]
    fn at(&mut self, ahead: usize) -> Result<Option<u8>, Stop> {
        while self.filled - self.next <= ahead {
            if !self.more()? {
                return Ok(None);
            }
        }
        Ok(Some(self.window[self.next + ahead]))
    }

    /// Gets more of the document behind what is not read yet; false at its end.
    #[cold]
    fn more(&mut self) -> Result<bool, Stop> {
        if self.ended {
            return Ok(false);
        }
        if self.next > 0 {
            let read = &self.window[..self.next];
            self.gone.newlines += newlines(read);
            self.gone.column = match last_newline(read) {
                Some(newline) => self.next - newline - 1,
                None => self.gone.column + self.next,
            };
            self.gone.bytes += self.next as u64;
            self.window.copy_within(self.next..self.filled, 0);
            self.filled -= self.next;
            self.next = 0;
        }
        if self.filled == self.window.len() {
            self.window.resize(self.window.len() * 2, 0);
        }
        let count = loop {
            match self.source.read(&mut self.window[self.filled..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                outcome => {
                    break outcome.map_err(|error| Stop::from(SnapshotError::Unreadable(error)))?;
                }
            }
        };
        self.filled += count;
        self.ended = count == 0;
        if self.gone.bytes + self.filled as u64 > self.limit {
            return Err(Stop::from(SnapshotError::TooLarge { limit: self.limit }));
        }
        Ok(count > 0)
    }
}

impl Text<'_> {
    /// How far before the reader's place the text begins, for [`Json::place_back`].
    pub(super) fn back(&self) -> usize {
        self.back
    }
}

#[cfg(test)]
mod tests;
