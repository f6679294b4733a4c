//! The embedded publication: documentation and benchmark ranges in the shape of a real document, so that the
//! program can be tried without network and no sample can be mistaken for live ranges.

/// The document, exactly as it would be published (cloud `Example`).
pub const EXAMPLE_DOCUMENT: &str = include_str!("example.json");

#[cfg(test)]
mod tests {
    use super::super::{Cloud, Policy, Snapshot};
    use super::EXAMPLE_DOCUMENT;

    #[test]
    fn the_embedded_publication_is_valid_and_of_cloud_example() {
        let snapshot = Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &Policy::default()).unwrap();
        assert_eq!(snapshot.cloud(), Cloud::Example);
        assert!(snapshot.tag("storage.westeurope").is_some());
    }

    #[test]
    fn it_is_refused_under_another_clouds_name() {
        let forged = EXAMPLE_DOCUMENT.replace("\"Example\"", "\"Public\"");
        let error = Snapshot::parse(forged.as_bytes(), &Policy::default()).unwrap_err();
        assert!(error.to_string().contains("space"), "{error}");
    }
}
