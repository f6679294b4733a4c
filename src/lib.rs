//! tagwall keeps firewall rules true to Azure's Service Tags.
//!
//! One way leads through the house, and each room of it takes the value that the one before made:
//!
//! 1. [`feed`] brings the bytes of a *publication*, one Service Tags document of a cloud.
//! 2. [`snapshot`] parses and validates it; from here on nothing needs to be distrusted again.
//! 3. [`config`] is what the user asks for, and [`intent`] the same with profiles expanded: groups, rules, routes.
//! 4. [`selection`] finds in the publications the address space of each group.
//! 5. [`guard`] says how much of a publication is believed; what is believed is what groups are made of.
//! 6. [`ruleset`] is the result without a vendor: groups, allow rules, routes, security rules, and a digest.
//! 7. [`render`] turns the part of it that a target carries into that firewall's files.
//!
//! [`pipeline`] walks from publications to artifacts and is pure: the same input gives the same bytes. [`publish`] brings
//! artifacts in force as numbered generations, [`state`] is what is remembered, [`names`] resolves hostnames, and [`operate`]
//! brings these together, one whole operation at a time. [`agent`] is the loop that never needs cron; [`control`], [`serve`] and
//! [`notify`] are how others reach it and are reached, with the values of [`report`]; [`web`] asks
//! servers elsewhere. Beneath everything lie [`prefix`], exact
//! sets of address space, and [`os`], the doors to the operating system. [`cli`] is what people type.
//!
//! Imports point one way, down this list; `tests/architecture.rs` holds the house to it.

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod feed;
pub mod guard;
pub mod intent;
pub mod names;
pub mod notify;
pub mod operate;
pub mod os;
pub mod pipeline;
pub mod prefix;
pub mod probe;
pub mod publish;
pub mod reach;
pub mod render;
pub mod report;
pub mod ruleset;
pub mod selection;
pub mod serve;
pub mod snapshot;
pub mod state;
pub mod web;
