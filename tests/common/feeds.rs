//! Publications, and what is rendered from them.
//!
//! The real ones are found through `TAGWALL_FEEDS`, else in `../shared/feeds`; a test that lacks them says so and does
//! nothing.

use std::path::{Path, PathBuf};

use tagwall::config::Config;
use tagwall::feed;
use tagwall::pipeline::{self, Plan, PlanError};
use tagwall::render::Templates;
use tagwall::selection::{HostAddresses, Publications};

/// The publication that the tests of one publication read.
pub(crate) const NEWEST: &str = "public/ServiceTags_Public_20250908.json";
/// An older one, different in every tag that the tests take.
pub(crate) const OLDER: &str = "public/ServiceTags_Public_20250303.json";

/// A real publication, or nothing (and a word about it) where it is not at hand.
pub(crate) fn real(name: &str) -> Option<PathBuf> {
    let path = folder().join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: no publication {}", path.display());
    None
}

/// Every real publication of Azure Public, the oldest first; none (and a word about it) where they are not at hand.
pub(crate) fn public() -> Vec<PathBuf> {
    let folder = folder().join("public");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no publications in {}", folder.display());
    }
    found
}

fn folder() -> PathBuf {
    std::env::var_os("TAGWALL_FEEDS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/feeds"),
        PathBuf::from,
    )
}

/// Renders a configuration, from a file or from the embedded publication.
pub(crate) fn plan(config: &str, publication: Option<&Path>) -> Result<Plan, PlanError> {
    let config = Config::parse(Path::new("test.toml"), config.to_owned())?;
    let policy = config.policy();
    let publication = match publication {
        Some(path) => feed::from_file(path, &policy).unwrap(),
        None => feed::example(&policy).unwrap(),
    };
    let publications: Publications =
        [(publication.snapshot.cloud(), publication)].into_iter().collect();
    let templates = Templates::load(&config)?;
    pipeline::plan(&config, &publications, &HostAddresses::new(), &templates, None, &[])
}

/// Renders a configuration into `FOLDER/TARGET/FILE`.
pub(crate) fn render(config: &str, publication: Option<&Path>, folder: &Path) -> Plan {
    let plan = plan(config, publication).unwrap_or_else(|error| panic!("{error}"));
    for artifact in &plan.artifacts {
        let path = folder.join(artifact.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        super::write(&path, &artifact.bytes);
    }
    plan
}
