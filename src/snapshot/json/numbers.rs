//! Numbers: those that are read, and those that are only passed over.

use super::{Json, Stop};

impl Json<'_> {
    /// A number without sign, fraction or exponent.
    pub(in crate::snapshot) fn unsigned(&mut self, expected: &'static str) -> Result<u64, Stop> {
        let start = self.peek()?;
        if !start.is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.expected(expected));
        }
        let mut number = Some(0_u64);
        let mut digits = 0;
        while let Some(byte) = self.at(0)?.filter(u8::is_ascii_digit) {
            let digit = u64::from(byte - b'0');
            number = number.and_then(|number| number.checked_mul(10)?.checked_add(digit));
            digits += 1;
            self.next += 1;
        }
        let fraction = matches!(self.at(0)?, Some(b'.' | b'e' | b'E'));
        match number {
            Some(number) if !fraction && (digits == 1 || start != Some(b'0')) => Ok(number),
            _ => Err(self.malformed(&format!("this number is not {expected}"))),
        }
    }

    /// Passes over a number of any kind.
    pub(super) fn number(&mut self) -> Result<(), Stop> {
        if self.at(0)? == Some(b'-') {
            self.next += 1;
        }
        if self.at(0)? == Some(b'0') {
            self.next += 1;
        } else {
            self.digits()?;
        }
        if self.at(0)? == Some(b'.') {
            self.next += 1;
            self.digits()?;
        }
        if matches!(self.at(0)?, Some(b'e' | b'E')) {
            self.next += 1;
            if matches!(self.at(0)?, Some(b'+' | b'-')) {
                self.next += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Stop> {
        if !self.at(0)?.is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.expected("a digit"));
        }
        while self.at(0)?.is_some_and(|byte| byte.is_ascii_digit()) {
            self.next += 1;
        }
        Ok(())
    }
}
