//! Work by two threads: the same on many items, or two things at once.
//!
//! Two, because the hosts that this runs on have few processors and other things to do. Promises: results come in the order of
//! the items, whoever did the work; where no second thread can be had, the first does it all.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// From this many small items on, a second thread is worth what it costs.
const MANY: usize = 100;

/// What `work` makes of each item, where it takes microseconds: by two threads only where there are many items.
pub fn map_small<'i, T: Sync, R: Send>(items: &'i [T], work: impl Fn(&'i T) -> R + Sync) -> Vec<R> {
    if items.len() < MANY { items.iter().map(work).collect() } else { map(items, work) }
}

/// What `work` makes of each item.
pub fn map<'i, T: Sync, R: Send>(items: &'i [T], work: impl Fn(&'i T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let other = thread::Builder::new().spawn_scoped(scope, take);
        let mut done = take();
        if let Ok(other) = other {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Does both, the second on a thread of its own.
pub fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let other = thread::Builder::new().spawn_scoped(scope, &second);
        let first = first();
        let second = match other {
            Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => second(),
        };
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_results_keep_their_order() {
        for count in [0, 1, 2, 3, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            let seen = Mutex::new(Vec::new());
            let results = map(&items, |item| {
                seen.lock().unwrap().push(*item);
                item * 2
            });
            assert_eq!(results, items.iter().map(|item| item * 2).collect::<Vec<_>>());
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, items);
        }
    }

    #[test]
    fn two_work_at_once() {
        let threads = Mutex::new(HashSet::new());
        map(&[(); 20], |()| {
            threads.lock().unwrap().insert(thread::current().id());
            thread::sleep(Duration::from_millis(5));
        });
        assert_eq!(threads.into_inner().unwrap().len(), 2);
    }

    #[test]
    fn both_are_done_and_at_once() {
        let (first, second) = both(|| thread::current().id(), || thread::current().id());
        assert_ne!(first, second);
    }
}
