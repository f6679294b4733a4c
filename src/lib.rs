//! tagwall keeps firewall rules true to Azure's Service Tags.

pub mod os;
pub mod prefix;
