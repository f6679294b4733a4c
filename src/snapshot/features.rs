//! Where a service tag may be used.

/// The `networkFeatures` of a tag. Unknown names in the document are ignored: Microsoft adds some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u8);

impl Features {
    /// Usable in network security groups.
    pub const NSG: Self = Self(1);
    /// Usable as the destination of a user-defined route.
    pub const UDR: Self = Self(2);
    /// Usable in Azure Firewall.
    pub const FW: Self = Self(4);
    /// Part of the Discovery API's answer.
    pub const API: Self = Self(8);
    /// Has a service endpoint.
    pub const VSE: Self = Self(16);

    /// Whether all of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of these, as published.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::API, "API"),
            (Self::NSG, "NSG"),
            (Self::UDR, "UDR"),
            (Self::FW, "FW"),
            (Self::VSE, "VSE"),
        ]
        .into_iter()
        .filter(move |(feature, _)| self.contains(*feature))
        .map(|(_, name)| name)
    }

    /// The features of these names; unknown ones are left out.
    pub fn from_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut features = Self::default();
        names.into_iter().for_each(|name| features.insert_named(name));
        features
    }

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn insert_named(&mut self, name: &str) {
        self.0 |= match name {
            "NSG" => Self::NSG.0,
            "UDR" => Self::UDR.0,
            "FW" => Self::FW.0,
            "API" => Self::API.0,
            "VSE" => Self::VSE.0,
            _ => 0,
        };
    }
}
