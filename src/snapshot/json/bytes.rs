//! What the bytes of JSON are: white space, plain text, escapes.

/// How many bytes at the front are white space.
#[inline]
pub(super) fn space(bytes: &[u8]) -> usize {
    let mut length = 0;
    loop {
        match bytes.get(length) {
            Some(b' ' | b'\t' | b'\r') => length += 1,
            Some(b'\n') => {
                length += 1;
                // Nearly every line is indented by many.
                while let Some(b"        ") = bytes.get(length..length + 8) {
                    length += 8;
                }
            }
            _ => return length,
        }
    }
}

/// How many bytes at the front stand for themselves in a text: printable ASCII without quote and backslash.
#[inline]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut length = 0;
    // Eight bytes at a time; the lowest byte that is found is one, whatever the arithmetic carries above it.
    while let Some(eight) = bytes.get(length..length + 8).and_then(|b| <[u8; 8]>::try_from(b).ok())
    {
        let word = u64::from_le_bytes(eight);
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quote | backslash | control | word) & HIGH;
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = bytes[length..].iter();
    length
        + rest
            .take_while(|byte| matches!(byte, 0x20..0x80) && !matches!(byte, b'"' | b'\\'))
            .count()
}

/// How many newlines there are.
pub(super) fn newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// Where the last newline is.
pub(super) fn last_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes)
}

/// Decodes the escapes of a text; `Err` has the place of one that is none.
pub(super) fn unescape(text: &[u8], decoded: &mut Vec<u8>) -> Result<(), usize> {
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let at = text.len() - rest.len();
        if byte != b'\\' {
            decoded.push(byte);
            rest = behind;
            continue;
        }
        let (&kind, behind) = behind.split_first().ok_or(at)?;
        rest = behind;
        decoded.push(match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, behind) = unicode(rest).ok_or(at)?;
                rest = behind;
                decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return Err(at),
        });
    }
    Ok(())
}

/// The character of the digits behind `\u`, and of those of a second half behind another `\u`.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, behind) = four_digits(text)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, behind));
    }
    let (low, behind) = four_digits(behind.strip_prefix(b"\\u")?)?;
    if !(0xd800..0xdc00).contains(&high) || !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    let character = char::from_u32(0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00)))?;
    Some((character, behind))
}

fn four_digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, behind) = text.split_first_chunk::<4>()?;
    let mut number = 0;
    for digit in digits {
        number = number << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((number, behind))
}
