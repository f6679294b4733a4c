//! Validated texts of the configuration: names, hostnames, interfaces, comments.
//!
//! Everything that a user writes and that later stands in a rule, a command line or a file name passes
//! through one of these types, whose alphabets are harmless in every dialect.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Lets serde read a type by its `FromStr` and write it by its `Display`: `try_from = "String", into = "String"`.
macro_rules! text_form {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

/// Derives the serde and text forms of a newtype over `Box<str>` from its `FromStr`.
macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        $crate::config::names::text_form!($type);
    };
}

pub(in crate::config) use {text_form, text_type};

/// The name of a group, rule, target or profile: a letter, then letters, digits, `-` and `_`; 63 at most.
///
/// Two names that differ only in case are the same: devices and file systems may not tell them apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

text_type!(Name);

impl Name {
    /// Longest name, in characters.
    pub const MAX_LENGTH: usize = 63;
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed = text.len() <= Self::MAX_LENGTH
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("a name starts with a letter and goes on with letters, digits, `-` and `_`, \
                 at most 63 in all"
                .to_owned())
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without an allocation: a large configuration compares its names a hundred thousand times.
        let lower = |byte: u8| byte.to_ascii_lowercase();
        self.0.bytes().map(lower).cmp(other.0.bytes().map(lower))
    }
}

/// A hostname, or a wildcard `*.example.com`; lower case, at least two labels, 253 characters at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Box<str>);

text_type!(HostName);

impl HostName {
    /// Whether it stands for all names below a domain: such a name cannot be resolved.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            |reason: &str| Err(format!("`{}` is no hostname: {reason}", text.escape_debug()));
        let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels = lower.strip_prefix("*.").unwrap_or(&lower);
        if lower.len() > 253 {
            return refuse("it is longer than 253 characters");
        }
        let count = labels.split('.').count();
        if count < 2 {
            return refuse("it has no domain; write the full name");
        }
        for label in labels.split('.') {
            if label.is_empty() || label.len() > 63 {
                return refuse("a label between dots has 1 to 63 characters");
            }
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !label.bytes().all(inside) || label.starts_with('-') || label.ends_with('-') {
                return refuse(
                    "labels are letters, digits, `-` and `_`, with no `-` at either end",
                );
            }
        }
        let last = labels.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return refuse("the last label is a number; addresses go into `prefixes`");
        }
        Ok(Self(lower.into()))
    }
}

/// The name of a network interface, as `ip link` shows it; a trailing `*` stands for any ending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interface(Box<str>);

text_type!(Interface);

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let well_formed = !stem.is_empty()
            && text.len() <= 15
            && stem != "."
            && stem != ".."
            && stem.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@')
            });
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err("an interface name has 1 to 15 letters, digits, `-`, `_`, `.` and `@`; \
                 a trailing `*` stands for any ending"
                .to_owned())
        }
    }
}

/// A comment that goes into rules: printable ASCII without quotes, backslash, `$`, `<`, `>`, `{`, `}`, `%`,
/// `` ` `` and `#`; 100 characters at most (nftables takes 128, and tagwall adds its own few).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Comment(Box<str>);

text_type!(Comment);

impl FromStr for Comment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 100 {
            return Err("a comment has at most 100 characters".to_owned());
        }
        let refused = |c: char| !(' '..='~').contains(&c) || "\"'\\$<>{}%`#".contains(c);
        match text.chars().find(|&c| refused(c)) {
            Some(c) => Err(format!(
                "the character {c:?} cannot stand in a comment (some firewall would misread it)"
            )),
            None => Ok(Self(text.into())),
        }
    }
}

/// An Azure region as the user writes it (`westeurope`, `WestEurope`, `francecentral`): letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Box<str>);

text_type!(Region);

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed =
            (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if well_formed {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err("a region is written in letters and digits only, like `westeurope`".to_owned())
        }
    }
}

/// An identifier of Azure, as of a subscription or an application: 32 hexadecimal digits in five groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid(Box<str>);

text_type!(Guid);

impl FromStr for Guid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let groups: Vec<&str> = text.split('-').collect();
        let well_formed = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
            && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if well_formed {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(format!(
                "`{}` is no identifier: they are written like 00000000-0000-0000-0000-000000000000 (`az account list` shows \
                 those of subscriptions)",
                text.escape_debug()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_everywhere() {
        assert!("storage-we_1".parse::<Name>().is_ok());
        for bad in ["", "1a", "-a", "a b", "a.b", "a;b", "a\n", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert_eq!("Storage".parse::<Name>(), "storage".parse::<Name>());
    }

    #[test]
    fn hostnames_are_full_names() {
        let host = |text: &str| text.parse::<HostName>().map(String::from);
        assert_eq!(host("Login.MicrosoftOnline.com.").as_deref(), Ok("login.microsoftonline.com"));
        assert!("*.data.microsoft.com".parse::<HostName>().unwrap().is_wildcard());
        for bad in
            ["localhost", "a..b", "-a.b", "a-.b", "a.*.b", "*", "10.0.0.1", "a b.c", "a.b;c", ""]
        {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        assert!(format!("{}.com", "a".repeat(64)).parse::<HostName>().is_err());
    }

    #[test]
    fn interfaces_and_comments_cannot_break_a_rule() {
        assert!("wan0".parse::<Interface>().is_ok());
        assert!("ppp*".parse::<Interface>().is_ok());
        for bad in ["", "*", "a b", "eth0\"", "a/b", "..", "a*b", "0123456789abcdef"] {
            assert!(bad.parse::<Interface>().is_err(), "{bad:?}");
        }
        assert!("CHG-1234 (approved by ops)".parse::<Comment>().is_ok());
        for bad in ["a\"b", "a\nb", "${x}", "$(x)", "a`b", "ä", "a\\", "a'b"] {
            assert!(bad.parse::<Comment>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn identifiers_are_digits_in_five_groups() {
        let id = "2A2B1C3D-0000-4000-8000-1234567890ab";
        assert_eq!(id.parse::<Guid>().unwrap().as_str(), id.to_lowercase());
        for bad in [
            "prod",
            "2A2B1C3D00004000-8000-1234567890ab",
            "00000000-0000-0000-0000-00000000000",
            "00000000000000000000000000000000",
            "g0000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000000-",
        ] {
            assert!(bad.parse::<Guid>().is_err(), "{bad:?}");
        }
    }
}
