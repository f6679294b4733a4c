//! Which of two publications of a cloud is the newer one.
//!
//! The date in the file's name or the URL decides; where one has none, or both the same, the change number. A change number is
//! no content key: it stayed equal while content changed. So equal numbers with different content count as newer only when
//! both came from the same feed; of two feeds one may simply carry less.

use std::cmp::Ordering;

use jiff::civil::Date;

use crate::snapshot::{Digest, Publication};

/// What decides about the order of publications of one cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition<'e> {
    /// The date in its name.
    pub date: Option<Date>,
    /// Its change number.
    pub change_number: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// The feed that brought it; none: it was given by hand.
    pub feed: Option<&'e str>,
}

/// How an offered publication stands to the one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It must not take the known one's place.
    Older,
    /// It has the same content.
    Same,
    /// It takes the known one's place.
    Newer,
}

impl<'e> Edition<'e> {
    /// That of a publication.
    pub fn of(publication: &'e Publication) -> Self {
        Self {
            date: publication.date,
            change_number: publication.snapshot.change_number(),
            digest: publication.digest(),
            feed: publication.feed.as_deref(),
        }
    }

    /// How this one, offered, stands to the one that is known.
    pub fn against(&self, known: &Self) -> Standing {
        if self.digest == known.digest {
            return Standing::Same;
        }
        let by_date = match (self.date, known.date) {
            (Some(offered), Some(known)) => offered.cmp(&known),
            _ => Ordering::Equal,
        };
        match by_date.then(self.change_number.cmp(&known.change_number)) {
            Ordering::Greater => Standing::Newer,
            Ordering::Equal if self.feed == known.feed => Standing::Newer,
            Ordering::Less | Ordering::Equal => Standing::Older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition<'e>(
        date: &str,
        change_number: u64,
        content: &str,
        feed: Option<&'e str>,
    ) -> Edition<'e> {
        Edition {
            date: date.parse().ok(),
            change_number,
            digest: Digest::of(content.as_bytes()),
            feed,
        }
    }

    #[test]
    fn the_date_decides_then_the_number_then_the_feed() {
        let known = edition("2025-09-08", 5, "known", Some("page"));
        for (date, number, content, feed, expected) in [
            ("2025-09-15", 4, "other", Some("page"), Standing::Newer),
            ("2025-09-01", 9, "other", Some("page"), Standing::Older),
            ("2025-09-08", 6, "other", Some("page"), Standing::Newer),
            ("2025-09-08", 4, "other", Some("page"), Standing::Older),
            ("2025-09-08", 5, "other", Some("page"), Standing::Newer),
            ("2025-09-08", 5, "other", Some("api"), Standing::Older),
            ("", 5, "other", Some("page"), Standing::Newer),
            ("", 5, "other", Some("api"), Standing::Older),
            ("", 5, "other", None, Standing::Older),
            ("", 4, "other", Some("page"), Standing::Older),
            ("", 6, "other", Some("api"), Standing::Newer),
            // The same content is no step in any direction.
            ("2025-09-01", 1, "known", Some("api"), Standing::Same),
        ] {
            let offered = edition(date, number, content, feed);
            assert_eq!(offered.against(&known), expected, "{offered:?}");
        }
    }
}
