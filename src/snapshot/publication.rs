//! A snapshot with where it came from.

use std::sync::{Arc, OnceLock};

use jiff::civil::Date;

use super::{Digest, Snapshot};

/// A snapshot together with its source: what the manifest, the log and `status` report of it.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The validated document.
    pub snapshot: Arc<Snapshot>,
    /// Where it was read from: a file name, a URL, or `embedded`.
    pub source: String,
    /// The date in the file's name or the URL: publications of one cloud are ordered by it.
    pub date: Option<Date>,
    /// The feed that brought it; none: it was given by hand.
    pub feed: Option<Arc<str>>,
    digest: Arc<OnceLock<Digest>>,
}

impl Publication {
    /// Takes a snapshot with its source; the date is read from the source's last component.
    pub fn new(snapshot: Snapshot, source: impl Into<String>) -> Self {
        let source = source.into();
        let date = date_in_name(&source);
        Self { snapshot: Arc::new(snapshot), source, date, feed: None, digest: Arc::default() }
    }

    /// The same with the date known from elsewhere than the source's name.
    #[must_use]
    pub fn dated(self, date: Option<Date>) -> Self {
        Self { date, ..self }
    }

    /// The digest of the canonical content ([`Snapshot::digest`]), computed once, at the first call.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| self.snapshot.digest())
    }
}

/// The date in a name like `ServiceTags_Public_20250908.json`, as Microsoft names its files.
///
/// Only the last eight digits before `.json` count, preceded by an underscore; anything else is no date.
pub fn date_in_name(name: &str) -> Option<Date> {
    let file = name.rsplit('/').next()?;
    let stem = file.strip_suffix(".json")?;
    let (_, digits) = stem.rsplit_once('_')?;
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year = digits[..4].parse().ok()?;
    let month = digits[4..6].parse().ok()?;
    let day = digits[6..].parse().ok()?;
    Date::new(year, month, day).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_from_microsofts_names_only() {
        let date = |name| date_in_name(name).map(|date| date.to_string());
        assert_eq!(date("ServiceTags_Public_20250908.json").as_deref(), Some("2025-09-08"));
        assert_eq!(
            date("https://download.example/a/b/ServiceTags_AzureGermany_20220307.json").as_deref(),
            Some("2022-03-07")
        );
        for none in
            ["x.json", "ServiceTags_Public_20251399.json", "20250908.json", "a_2025090.json", ""]
        {
            assert_eq!(date(none), None, "{none}");
        }
    }
}
