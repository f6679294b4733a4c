//! A snapshot as a document, in the form in which Microsoft publishes them.

use std::io::Write as _;

use super::Snapshot;

impl Snapshot {
    /// Writes a document that is read as this snapshot: the same tags with the same prefixes, so with the same digest.
    pub fn document(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(1_024 + 48 * self.prefix_count());
        // Writing into memory does not fail; should it, an empty document is refused by every reader.
        if self.write(&mut text).is_err() {
            text.clear();
        }
        text
    }

    /// Every text here is of an alphabet that needs no escaping, but for those that serde writes.
    fn write(&self, text: &mut Vec<u8>) -> std::io::Result<()> {
        let (number, cloud) = (self.change_number(), self.cloud().document_name());
        write!(
            text,
            "{{\n  \"changeNumber\": {number},\n  \"cloud\": \"{cloud}\",\n  \"values\": ["
        )?;
        for (index, tag) in self.tags().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (name, number, id) = (tag.name(), tag.change_number(), tag.region_id());
            write!(
                text,
                "{comma}\n    {{\n      \"name\": \"{name}\",\n      \"id\": \"{name}\",\n"
            )?;
            write!(
                text,
                "      \"properties\": {{\n        \"changeNumber\": {number},\n        \"region\": "
            )?;
            serde_json::to_writer(&mut *text, tag.region())?;
            write!(text, ",\n        \"regionId\": {id},\n        \"platform\": \"Azure\",\n")?;
            write!(text, "        \"systemService\": ")?;
            serde_json::to_writer(&mut *text, tag.system_service())?;
            write!(text, ",\n        \"addressPrefixes\": [")?;
            let mut comma = "";
            for prefix in self.v4(tag) {
                write!(text, "{comma}\n          \"{prefix}\"")?;
                comma = ",";
            }
            for prefix in self.v6(tag) {
                write!(text, "{comma}\n          \"{prefix}\"")?;
                comma = ",";
            }
            write!(text, "\n        ],\n        \"networkFeatures\": ")?;
            let features: Vec<_> = tag.features().names().collect();
            serde_json::to_writer(&mut *text, &features)?;
            write!(text, "\n      }}\n    }}")?;
        }
        writeln!(text, "\n  ]\n}}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EXAMPLE_DOCUMENT, Policy};
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let policy = Policy::default();
        let snapshot = Snapshot::parse(EXAMPLE_DOCUMENT.as_bytes(), &policy).unwrap();
        let again = Snapshot::parse(&snapshot.document(), &policy).unwrap();
        assert_eq!(again.digest(), snapshot.digest());
        assert_eq!(again.tags().len(), snapshot.tags().len());
        assert_eq!(again.change_number(), snapshot.change_number());
        assert_eq!(again.document(), snapshot.document());
    }
}
