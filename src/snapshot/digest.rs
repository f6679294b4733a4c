//! SHA-256 digests over canonical content.

use std::fmt;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of everything that a reader has, and its length, without holding it in memory.
    pub fn of_reader(mut reader: impl std::io::Read) -> std::io::Result<(Self, u64)> {
        let mut state = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Self(state.finalize().into()), length)),
                Ok(count) => {
                    state.update(&buffer[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The first 12 hexadecimal digits: enough for a person to tell two apart.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

const DIGITS: [u8; 16] = *b"0123456789abcdef";

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        formatter.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl std::str::FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || "a digest is 64 hexadecimal digits".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(malformed());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(malformed);
            // Two hexadecimal digits are at most 0xff.
            *byte =
                u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).map_err(|_| malformed())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Feeds typed values into SHA-256 so that no two different sequences of values give the same bytes: every
/// variable-length value is preceded by its length.
#[derive(Debug)]
pub struct Hasher {
    state: Sha256,
    buffer: Vec<u8>,
}

impl Hasher {
    /// A hasher for one kind of content; `domain` keeps digests of different kinds apart.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self { state: Sha256::new(), buffer: Vec::with_capacity(4096) };
        hasher.text(domain);
        hasher
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    /// Adds texts, preceded by their number.
    pub fn texts<T: AsRef<str>>(&mut self, texts: impl ExactSizeIterator<Item = T>) {
        self.number(texts.len() as u64);
        texts.for_each(|text| self.text(text.as_ref()));
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    /// Adds the prefixes of both families, in the order given.
    pub fn prefixes(&mut self, v4: &[Ipv4Net], v6: &[Ipv6Net]) {
        self.packed(v4, |prefix| (prefix.addr().octets(), prefix.prefix_len()));
        self.packed(v6, |prefix| (prefix.addr().octets(), prefix.prefix_len()));
    }

    /// Adds prefixes of `N` bytes and a length each, many at a time: a publication has 90,000 of them.
    fn packed<const N: usize, P>(&mut self, prefixes: &[P], parts: impl Fn(&P) -> ([u8; N], u8)) {
        self.number(prefixes.len() as u64);
        let mut bytes = [0; 1_024];
        for some in prefixes.chunks(bytes.len() / (N + 1)) {
            for (to, prefix) in bytes.chunks_exact_mut(N + 1).zip(some) {
                let (address, length) = parts(prefix);
                to[..N].copy_from_slice(&address);
                to[N] = length;
            }
            self.bytes(&bytes[..some.len() * (N + 1)]);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > self.buffer.capacity() {
            self.state.update(&self.buffer);
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The digest of everything added.
    pub fn finish(mut self) -> Digest {
        self.state.update(&self.buffer);
        Digest(self.state.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("ba78".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn boundaries_count() {
        let digest = |parts: &[&str]| {
            let mut hasher = Hasher::new("test");
            for part in parts {
                hasher.text(part);
            }
            hasher.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
