//! What several commands say about how full the firewalls are.

use jiff::Timestamp;

use super::Cli;
use crate::config::Config;
use crate::pipeline::Plan;
use crate::report::{CapacityStatus, History, Use};

/// How full the firewalls would be; without a history that can be read there is no forecast.
pub(super) fn planned(cli: &Cli, config: &Config, plan: &Plan) -> Vec<CapacityStatus> {
    let history = History::for_forecasts(&cli.state_dir).unwrap_or_default();
    let (horizon, now) = (config.publish.capacity_horizon, Timestamp::now());
    let mut uses =
        vec![Use { since: now, configuration: Some(config.digest()), loads: &plan.loads }];
    uses.extend(history.uses());
    CapacityStatus::all(&uses, horizon, now)
}

/// The limits of what is in force that are nearly reached, or will be too soon; none where there is no state folder that says so.
pub(super) fn scarce(cli: &Cli, config: &Config) -> Vec<CapacityStatus> {
    let (horizon, now) = (config.publish.capacity_horizon, Timestamp::now());
    let mut all = CapacityStatus::read(&cli.state_dir, horizon, now).unwrap_or_default();
    all.retain(|one| one.near);
    all
}
