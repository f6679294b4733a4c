//! Names on the firewall: they fit, they are stable, and no two objects share one.

use std::collections::HashMap;

use super::RenderError;
use crate::config::Name;
use crate::snapshot::Digest;

/// Joins prefix, name and suffix; what is too long is cut and told apart by six digits of the name's digest, so the result
/// depends on the name alone and not on what else there is.
pub(super) fn fit(prefix: &str, name: &str, suffix: &str, limit: usize) -> String {
    let whole = prefix.len() + name.len() + suffix.len();
    if whole <= limit {
        return format!("{prefix}{name}{suffix}");
    }
    let mark = &Digest::of(name.as_bytes()).to_string()[..6];
    let room = limit.saturating_sub(prefix.len() + suffix.len() + mark.len() + 1);
    let cut = &name[..room.min(name.len())];
    format!("{prefix}{}-{mark}{suffix}", cut.trim_end_matches(['-', '_']))
}

/// The names given so far on one firewall.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The name without regard to case, and whose it is.
    given: HashMap<String, String>,
}

impl Names {
    /// Takes a name for an object, unless another has it. The same object may take it again.
    pub(super) fn claim(
        &mut self,
        target: &Name,
        name: &str,
        object: String,
    ) -> Result<(), RenderError> {
        match self.given.insert(name.to_ascii_lowercase(), object.clone()) {
            Some(first) if first != object => Err(RenderError::NameClash {
                target: target.clone(),
                name: name.to_owned(),
                first,
                second: object,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        assert_eq!(fit("tw-", "storage", "-v4", 27), "tw-storage-v4");
        let first = fit("tw-", "apim-prod-storage-westeurope", "-v4", 27);
        let second = fit("tw-", "apim-prod-storage-westus", "-v4", 27);
        assert_eq!(first.len(), 27);
        assert!(first.starts_with("tw-apim-prod-") && first.ends_with("-v4"), "{first}");
        assert_ne!(first, second);
        assert_eq!(first, fit("tw-", "apim-prod-storage-westeurope", "-v4", 27));
    }

    #[test]
    fn no_two_objects_share_a_name() {
        let target: Name = "t".parse().unwrap();
        let mut names = Names::default();
        names.claim(&target, "tw-a", "group a".to_owned()).unwrap();
        names.claim(&target, "tw-a", "group a".to_owned()).unwrap();
        let error = names.claim(&target, "TW-A", "group A2".to_owned()).unwrap_err();
        assert!(error.to_string().contains("group a and group A2"), "{error}");
    }
}
