//! Regions and services, each kept once: thousands of tags share some dozens of them.

use std::collections::HashSet;
use std::sync::Arc;

/// The labels that were seen while a snapshot is made.
#[derive(Debug, Default)]
pub(super) struct Labels(HashSet<Arc<str>>);

impl Labels {
    /// This text, shared with everybody who has the same.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_labels_are_one() {
        let mut labels = Labels::default();
        let first = labels.share("westeurope");
        assert!(Arc::ptr_eq(&first, &labels.share("westeurope")));
        assert_eq!(&*labels.share("northeurope"), "northeurope");
        assert_eq!(&*first, "westeurope");
    }
}
