//! The listing of the ruleset, kept for as long as the kernel says that it is still true.

use std::cell::RefCell;
use std::rc::Rc;

use super::netlink::Netfilter;
use super::script::Script;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[derive(Default)]
struct Kept {
    /// How many pieces of work keep it.
    users: usize,
    /// The number that the ruleset had, and its listing.
    last: Option<(u32, Rc<Script>)>,
}

/// While there is one, this thread lists the ruleset anew only when its number is another one.
/// A piece of work lists it several times otherwise, which costs more than all else on a host with
/// many rules.
#[derive(Debug)]
pub(in crate::publish) struct KeptListing(());

impl KeptListing {
    pub(in crate::publish) fn new() -> Self {
        KEPT.with_borrow_mut(|kept| kept.users += 1);
        Self(())
    }
}

impl Drop for KeptListing {
    fn drop(&mut self) {
        KEPT.with_borrow_mut(|kept| {
            kept.users -= 1;
            if kept.users == 0 {
                kept.last = None;
            }
        });
    }
}

/// The listing that is kept, if it is still true; else a new one.
pub(in crate::publish) fn current<E>(
    list: impl FnOnce() -> Result<Script, E>,
) -> Result<Rc<Script>, E> {
    let number = KEPT
        .with_borrow(|kept| kept.users > 0)
        .then(|| Netfilter::open().and_then(|socket| socket.generation()).ok())
        .flatten();
    let kept = KEPT.with_borrow(|kept| kept.last.clone());
    if let Some((_, script)) = kept.filter(|(of, _)| Some(*of) == number) {
        return Ok(script);
    }
    // The number is older than the listing at worst, and then asked for in vain.
    let script = Rc::new(list()?);
    KEPT.with_borrow_mut(|kept| kept.last = number.map(|number| (number, Rc::clone(&script))));
    Ok(script)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn nothing_is_kept_when_the_work_is_over() {
        let listed = RefCell::new(0);
        let list = || {
            *listed.borrow_mut() += 1;
            Ok::<_, Infallible>(Script::default())
        };
        let times = |count: u32| {
            (0..count).for_each(|_| _ = current(list).unwrap());
            std::mem::take(&mut *listed.borrow_mut())
        };
        assert_eq!(times(2), 2);
        let knows_the_number = Netfilter::open().and_then(|socket| socket.generation()).is_ok();
        {
            let _outer = KeptListing::new();
            let _inner = KeptListing::new();
            assert_eq!(times(3), if knows_the_number { 1 } else { 3 });
        }
        assert_eq!(times(2), 2);
        assert!(KEPT.with_borrow(|kept| kept.last.is_none()));
    }
}
