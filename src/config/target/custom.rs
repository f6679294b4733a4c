//! Settings of the custom dialect.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::config::names::text_form;

/// A template of the user.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Custom {
    /// The template's file; relative to the configuration file.
    pub template: PathBuf,
    /// The name of the file that is written; with `per-group`, it holds `{group}` once.
    pub file: FileName,
    /// Write a file for each group instead of one. Default: false.
    #[serde(default)]
    pub per_group: bool,
    /// Texts for the template: `values.key` there.
    #[serde(default)]
    pub values: BTreeMap<ValueKey, String>,
}

impl Custom {
    /// Settings that do not go together: what is wrong, and what to do.
    pub fn contradictions(&self) -> Vec<(String, &'static str)> {
        match (self.per_group, self.file.is_pattern()) {
            (true, false) => vec![(
                format!("per-group with file = \"{}\"", self.file),
                "the file of each group needs its name: file = \"{group}.txt\"",
            )],
            (false, true) => vec![(
                format!("file = \"{}\" without per-group", self.file),
                "set per-group = true, or leave {group} out",
            )],
            _ => Vec::new(),
        }
    }
}

/// The name of a file without a folder: letters, digits, `.`, `-`, `_`, and `{group}` once at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(Box<str>);

impl FileName {
    /// What stands for a group's name.
    pub const GROUP: &'static str = "{group}";

    /// Whether a group's name belongs into it.
    pub fn is_pattern(&self) -> bool {
        self.0.contains(Self::GROUP)
    }

    /// The name without a group.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for a group.
    pub fn for_group(&self, group: &Name) -> String {
        self.0.replace(Self::GROUP, group.as_str())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for FileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A group's name starts with a letter, so `a` shows what the pattern becomes.
        let shown = text.replacen(Self::GROUP, "a", 1);
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if (1..=100).contains(&shown.len())
            && shown.bytes().all(inside)
            && shown.starts_with(|first: char| first.is_ascii_alphanumeric())
        {
            Ok(Self(text.into()))
        } else {
            Err("a file's name has 1 to 100 letters, digits, `.`, `-` and `_`, starts with a letter or digit, and is \
                 in no folder of its own; `{group}` stands for a group's name"
                .to_owned())
        }
    }
}

text_form!(FileName);

/// The key of a value: a letter, then letters, digits and `_`, as templates write a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValueKey(Box<str>);

impl TryFrom<String> for ValueKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.bytes().all(inside) && text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            Ok(Self(text.into()))
        } else {
            Err("the key of a value is a letter and then letters, digits and `_`: a template writes it as values.key"
                .to_owned())
        }
    }
}

impl From<ValueKey> for String {
    fn from(key: ValueKey) -> Self {
        key.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_in_the_targets_folder() {
        for good in ["rules.conf", "{group}.txt", "a-{group}_v4.1"] {
            assert!(good.parse::<FileName>().is_ok(), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            ".hidden",
            "a b",
            "{name}",
            "{group}{group}",
            "a\\b",
            "a\n",
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
        let group: Name = "storage".parse().unwrap();
        assert_eq!("x-{group}.txt".parse::<FileName>().unwrap().for_group(&group), "x-storage.txt");
    }

    #[test]
    fn keys_are_names_that_templates_can_write() {
        assert!(ValueKey::try_from("acl_out".to_owned()).is_ok());
        for bad in ["", "1a", "a-b", "a.b", "a b"] {
            assert!(ValueKey::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_group_needs_a_place_in_the_name() {
        let settings = |text: &str| toml::from_str::<Custom>(text).unwrap().contradictions().len();
        assert_eq!(settings("template = \"t\"\nfile = \"a.txt\"\n"), 0);
        assert_eq!(settings("template = \"t\"\nfile = \"{group}.txt\"\nper-group = true\n"), 0);
        assert_eq!(settings("template = \"t\"\nfile = \"a.txt\"\nper-group = true\n"), 1);
        assert_eq!(settings("template = \"t\"\nfile = \"{group}.txt\"\n"), 1);
    }
}
