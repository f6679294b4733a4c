//! The agent: follows the feeds by itself and keeps the rules true.
//!
//! Owns the loop (feed due, file appeared, configuration changed, signal, hostname expired, kernel drift: gathered, then one
//! plan and one publication), its schedule, signals and the conversation with systemd. Promises: nothing is published twice
//! for one change, an unchanged publication costs no rendering, and no signal leaves a half-published state. Decides nothing
//! itself: what is believed is the guard's business, what is done to the state is [`operate`](crate::operate)'s.
