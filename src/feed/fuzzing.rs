//! The door for `fuzz/`: what a download page leads to, without a network.

use url::Url;

use super::download::{self, FILE_HOST};
use crate::snapshot::Cloud;
use crate::web::Hosts;

/// The newest publication of a cloud that a page links to.
pub fn newest(page: &str, cloud: Cloud) -> Option<Url> {
    let address = download::microsofts(cloud)?;
    let hosts = Hosts::and(FILE_HOST.parse().ok());
    download::newest(page, &address, cloud, &hosts, None).ok()
}
