//! The clouds that publish service tags.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A cloud with its own publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// Azure Public.
    Public,
    /// Azure Government (United States).
    Government,
    /// Azure operated by 21Vianet in China.
    China,
    /// Azure Germany: closed; its last publication is of 2022-03-07.
    Germany,
    /// The embedded publication of documentation ranges. It can never be mistaken for Azure: documentation
    /// and benchmark ranges are valid in it, and nothing else is.
    Example,
}

impl Cloud {
    /// Every cloud, in the order in which they are listed to the user.
    pub const ALL: [Self; 5] =
        [Self::Public, Self::Government, Self::China, Self::Germany, Self::Example];

    /// The name used in the configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Government => "government",
            Self::China => "china",
            Self::Germany => "germany",
            Self::Example => "example",
        }
    }

    /// The value of `cloud` in the published document.
    pub fn document_name(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Government => "AzureGovernment",
            Self::China => "China",
            Self::Germany => "AzureGermany",
            Self::Example => "Example",
        }
    }

    /// The cloud whose document carries this name (exactly as published).
    pub fn from_document_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.document_name() == name)
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for Cloud {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|cloud| cloud.name().eq_ignore_ascii_case(text)).ok_or_else(
            || "a cloud is one of public, government, china, germany, example".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_cloud() {
        for cloud in Cloud::ALL {
            assert_eq!(cloud.name().parse::<Cloud>(), Ok(cloud));
            assert_eq!(Cloud::from_document_name(cloud.document_name()), Some(cloud));
        }
        assert!("azure".parse::<Cloud>().is_err());
        assert_eq!(Cloud::from_document_name("public"), None);
    }
}
