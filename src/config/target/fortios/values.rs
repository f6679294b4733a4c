//! What settings of the fortios dialect are made of: its choices, versions and texts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::names::text_form;

/// How the addresses reach the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FortiosFormat {
    /// Lists that the device fetches.
    Feed,
    /// Objects of a script.
    Cli,
}

/// Where feeds are defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FortiosScope {
    /// In the VDOM, or on a device without VDOMs.
    #[default]
    Vdom,
    /// In the global scope, for every VDOM.
    Global,
}

/// What a policy logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FortiosLog {
    /// Every session.
    All,
    /// What security profiles report.
    #[default]
    Utm,
    /// Nothing.
    Disable,
}

/// How the certificate of a feed's server is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FortiosIdentity {
    /// Not at all.
    None,
    /// Its chain.
    Basic,
    /// Its chain and its name.
    Full,
}

impl FortiosIdentity {
    /// The keyword.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Full => "full",
        }
    }
}

/// A version of FortiOS: 6.4, 7.0, 7.2, 7.4 or 7.6, with or without a patch number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FortiosVersion {
    major: u8,
    minor: u8,
    patch: Option<u8>,
}

impl FortiosVersion {
    const LINES: [(u8, u8); 5] = [(6, 4), (7, 0), (7, 2), (7, 4), (7, 6)];

    /// The line, `(7, 4)`.
    pub fn line(self) -> (u8, u8) {
        (self.major, self.minor)
    }

    /// The version with its patch number, 0 when it is not known.
    pub fn full(self) -> (u8, u8, u8) {
        (self.major, self.minor, self.patch.unwrap_or(0))
    }

    /// Whether feeds have `server-identity-check`.
    pub fn checks_identity(self) -> bool {
        let version = self.full();
        ((7, 0, 8)..=(7, 0, 12)).contains(&version) || version >= (7, 2, 4)
    }
}

impl FromStr for FortiosVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| match part.parse::<u8>() {
            Ok(number) if part == number.to_string() => Some(number),
            _ => None,
        };
        let parts: Option<Vec<u8>> = text.split('.').map(number).collect();
        let version = match parts.as_deref() {
            Some([major, minor]) => Self { major: *major, minor: *minor, patch: None },
            Some([major, minor, patch]) => {
                Self { major: *major, minor: *minor, patch: Some(*patch) }
            }
            _ => return Err("a version is written `7.4` or `7.4.8`".to_owned()),
        };
        if Self::LINES.contains(&version.line()) {
            Ok(version)
        } else {
            Err("tagwall writes for FortiOS 6.4, 7.0, 7.2, 7.4 and 7.6".to_owned())
        }
    }
}

text_form!(FortiosVersion);

impl fmt::Display for FortiosVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)?;
        match self.patch {
            Some(patch) => write!(formatter, ".{patch}"),
            None => Ok(()),
        }
    }
}

/// The name of something that is on the device already: an interface, a zone, a pool, a profile. 1 to 35 printable ASCII
/// characters, none of `< > ( ) # ' " \ ?`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FortiosText(Box<str>);

impl FortiosText {
    /// Longest, in characters.
    pub const MAX: usize = 35;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FortiosText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = |c: char| !(' '..='~').contains(&c) || "<>()#'\"\\?$`".contains(c);
        let well_formed = (1..=Self::MAX).contains(&text.len())
            && text.trim() == text
            && !text.chars().any(refused);
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("a name on the device has 1 to 35 printable characters, none of < > ( ) # ' \" \\ ? $ `"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_know_what_they_have() {
        let version = |text: &str| text.parse::<FortiosVersion>();
        assert_eq!(version("7.4").unwrap().to_string(), "7.4");
        assert_eq!(version("7.4.8").unwrap().full(), (7, 4, 8));
        for bad in ["7", "7.1", "8.0", "7.4.", "07.4", "7.4.x", "7.4.1.2", ""] {
            assert!(version(bad).is_err(), "{bad:?}");
        }
        for (text, has) in [
            ("6.4.15", false),
            ("7.0.7", false),
            ("7.0.8", true),
            ("7.0.12", true),
            ("7.0.13", false),
            ("7.2", false),
            ("7.2.4", true),
            ("7.4", true),
            ("7.6.4", true),
        ] {
            assert_eq!(version(text).unwrap().checks_identity(), has, "{text}");
        }
    }

    #[test]
    fn texts_cannot_break_a_script() {
        assert!(FortiosText::try_from("virtual-wan-link".to_owned()).is_ok());
        for bad in ["", " a", "a\"b", "a\nb", "a#b", "a?b", &"a".repeat(36)] {
            assert!(FortiosText::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
