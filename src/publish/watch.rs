//! Whether anything of nf_tables changed: one number, asked for in microseconds.
//!
//! A listener would be told at once, but slows down every load of the host; the number costs nobody anything. It does not rise
//! for ipset and legacy iptables, which only a comparison of their content shows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::firewall::Netfilter;

/// How often the number is asked for.
const POLL: Duration = Duration::from_secs(1);
/// The thread needs next to nothing.
const STACK: usize = 64 << 10;

/// A thread that asks for the number of the ruleset of this network namespace; it ends when this is dropped.
#[derive(Debug)]
pub struct RulesetWatch {
    stop: Arc<AtomicBool>,
}

impl RulesetWatch {
    /// Starts to ask, and calls `changed` after each change. Needs `CAP_NET_ADMIN`.
    pub fn start(changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let socket = Netfilter::open()?;
        let mut seen = Some(socket.generation()?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("ruleset".to_owned()).stack_size(STACK).spawn(
            move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(POLL);
                    // No answer counts as a change: a comparison says what is wrong.
                    let now = socket.generation().ok();
                    if std::mem::replace(&mut seen, now) != now {
                        changed();
                    }
                }
            },
        )?;
        Ok(Self { stop })
    }
}

impl Drop for RulesetWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
