//! How large the tags are that many rules stand on, for the first publication of a host, when nothing is believed yet to compare
//! it with.
//!
//! The bounds are wide: an eighth of the smallest and eight times the largest size from 2024-01 to 2025-09, so that neither older
//! nor coming publications meet them, but a document that was cut short or filled up does.

use crate::snapshot::{Cloud, TagName};

/// Service, smallest and largest number of IPv4 addresses.
const PUBLIC: &[(&str, u64, u64)] = &[
    ("ApiManagement", 200, 16_000),
    ("AppService", 9_000, 640_000),
    ("AzureActiveDirectory", 6_000, 456_000),
    ("AzureBackup", 2_300, 158_000),
    ("AzureCloud", 4_900_000, 380_000_000),
    ("AzureConnectors", 800, 62_000),
    ("AzureContainerRegistry", 4_600, 414_000),
    ("AzureCosmosDB", 2_900, 198_000),
    ("AzureEventGrid", 1_500, 120_000),
    ("AzureIoTHub", 1_700, 112_000),
    ("AzureKeyVault", 190, 14_000),
    ("AzureMonitor", 1_400, 161_000),
    ("AzureResourceManager", 7_300, 525_000),
    ("DataFactory", 4_100, 348_000),
    ("EventHub", 3_500, 285_000),
    ("GatewayManager", 460, 38_000),
    ("LogicApps", 680, 68_000),
    ("PowerBI", 880, 91_000),
    ("ServiceBus", 1_700, 222_000),
    ("Sql", 4_300, 305_000),
    ("Storage", 37_000, 4_000_000),
];

/// The smallest and the largest plausible size of a tag, in IPv4 addresses; none where nothing is known.
pub(super) fn bounds(cloud: Cloud, tag: &TagName) -> Option<(u64, u64)> {
    if cloud != Cloud::Public || tag.suffix().is_some() {
        return None;
    }
    let known = PUBLIC.iter().find(|(service, _, _)| tag.as_str().eq_ignore_ascii_case(service));
    known.map(|&(_, floor, ceiling)| (floor, ceiling))
}
