//! tagwall keeps firewall rules true to Azure's Service Tags.

pub mod config;
pub mod intent;
pub mod os;
pub mod prefix;
pub mod render;
pub mod ruleset;
pub mod selection;
pub mod snapshot;
