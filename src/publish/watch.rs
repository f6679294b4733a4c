//! Whether anything of nf_tables changed: one number, asked for in microseconds.
//!
//! A listener would be told at once, but slows down every load of the host; the number costs nobody
//! anything. It does not rise for ipset and legacy iptables: of sets of ipset, now and then, how
//! many elements and how many rules each has is asked for instead, which costs microseconds a set.
//! What keeps these numbers, only a comparison of the content shows.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::firewall::Netfilter;
use super::{PublishError, Store};
use crate::render::Kernel;

/// How often the number is asked for.
const POLL: Duration = Duration::from_secs(1);
/// In every so many polls, sets of ipset are looked at.
const POLLS_PER_LOOK: u32 = 10;
/// After a change, in so many polls in a row: what is repaired must be seen before it changes again.
const CLOSE_LOOKS: u32 = 15;
/// The thread needs next to nothing.
const STACK: usize = 64 << 10;

/// A thread that asks for the number of the ruleset of this network namespace; it ends when this is dropped.
#[derive(Debug)]
pub struct RulesetWatch {
    stop: Arc<AtomicBool>,
    ipsets: Arc<Mutex<Arc<BTreeSet<String>>>>,
}

/// The sets of ipset that the active generation has.
pub fn active_ipsets(store: &Store) -> Result<BTreeSet<String>, PublishError> {
    let Some(number) = store.current()? else { return Ok(BTreeSet::new()) };
    let manifest = store.read(number)?.manifest;
    let kernels = manifest.targets.values().filter_map(|record| record.kernel.as_ref());
    let sets = kernels.filter_map(|kernel| match kernel {
        Kernel::Iptables(rules) => Some(&rules.sets),
        Kernel::Nftables(_) => None,
    });
    Ok(sets.flatten().map(|set| set.name.clone()).collect())
}

impl RulesetWatch {
    /// Starts to ask, and calls `changed` after each change. Needs `CAP_NET_ADMIN`.
    pub fn start(changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let socket = Netfilter::open()?;
        let mut seen = Some(socket.generation()?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let ipsets = Arc::<Mutex<Arc<BTreeSet<String>>>>::default();
        let watched = Arc::clone(&ipsets);
        std::thread::Builder::new().name("ruleset".to_owned()).stack_size(STACK).spawn(
            move || {
                let mut polls = 0_u32;
                let mut known = None;
                let mut closely = 0_u32;
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(POLL);
                    // No answer counts as a change: a comparison says what is wrong.
                    let now = socket.generation().ok();
                    if std::mem::replace(&mut seen, now) != now {
                        changed();
                    }
                    polls = polls.wrapping_add(1);
                    let sets = Arc::clone(&watched.lock().unwrap_or_else(PoisonError::into_inner));
                    let others = known.as_ref().is_none_or(|(known, _)| *known != sets);
                    if others || closely > 0 || polls.is_multiple_of(POLLS_PER_LOOK) {
                        closely = closely.saturating_sub(1);
                        let signs: Vec<_> = sets.iter().map(|set| socket.ipset(set)).collect();
                        let now = (sets, signs);
                        // Of other sets it is not known how they were when they were read back.
                        if known.as_ref() != Some(&now) && !now.0.is_empty() {
                            changed();
                            closely = CLOSE_LOOKS;
                        }
                        known = Some(now);
                    }
                }
            },
        )?;
        Ok(Self { stop, ipsets })
    }

    /// Looks at these sets of ipset too, from now on.
    pub fn watch_ipsets(&self, sets: BTreeSet<String>) {
        *self.ipsets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sets);
    }
}

impl Drop for RulesetWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
