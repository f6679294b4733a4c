//! What settings of feeds are made of: a URL of files, a user's name, and a directory of Entra ID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::names::text_type;
use crate::config::{Guid, HostName, WebUrl};

/// A URL with `{file}` in the place of the file's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileUrl(Box<str>);

text_type!(FileUrl);

impl FileUrl {
    const PLACE: &'static str = "{file}";

    /// The URL of a file. Its name must be harmless in a URL, as Microsoft's names are.
    pub fn of(&self, file: &str) -> Option<url::Url> {
        url::Url::parse(&self.0.replace(Self::PLACE, file)).ok()
    }

    /// That of some file.
    pub(super) fn sample(&self) -> Option<WebUrl> {
        self.0.replace(Self::PLACE, "x.json").parse().ok()
    }
}

impl FromStr for FileUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.matches(Self::PLACE).count() != 1 {
            return Err(format!(
                "`{}` has no {{file}} (once) where the file's name belongs; for a document at a fixed URL use an `http` feed",
                text.escape_debug()
            ));
        }
        let url: WebUrl = text.replace(Self::PLACE, "x.json").parse()?;
        // In the host or scheme, what the page says would decide who is asked.
        if !url.url().path().contains("x.json") {
            return Err("{file} belongs into the path".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// A user name of HTTP's basic scheme: printable ASCII without a colon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Box<str>);

text_type!(UserName);

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inside = |byte: u8| matches!(byte, b' '..=b'~') && byte != b':';
        if (1..=200).contains(&text.len()) && text.bytes().all(inside) {
            Ok(Self(text.into()))
        } else {
            Err("a user name is 1 to 200 printable ASCII characters without a colon".to_owned())
        }
    }
}

/// A directory of Entra ID: its identifier or one of its domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Box<str>);

text_type!(Tenant);

impl FromStr for Tenant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let domain = || text.parse::<HostName>().ok().filter(|host| !host.is_wildcard());
        if text.parse::<Guid>().is_ok() || domain().is_some() {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(format!("`{}` is neither a tenant's identifier nor a domain", text.escape_debug()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_stands_in_the_path() {
        let url: FileUrl = "https://mirror.example/azure/{file}".parse().unwrap();
        assert_eq!(
            url.of("ServiceTags_Public_20250908.json").unwrap().as_str(),
            "https://mirror.example/azure/ServiceTags_Public_20250908.json"
        );
        for bad in [
            "https://mirror.example/",
            "https://{file}.example/",
            "https://mirror.example/{file}/{file}",
            "https://mirror.example/?f={file}",
            "ftp://mirror.example/{file}",
        ] {
            assert!(bad.parse::<FileUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn identifiers_are_of_their_form() {
        assert!("contoso.onmicrosoft.com".parse::<Tenant>().is_ok());
        for bad in ["../x", "contoso", "a b.c", "*.contoso.com"] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }
}
