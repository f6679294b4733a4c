//! Entries and times that were touched, counted in tests alone: a machine-independent measure of
//! cost.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one entry or one time that is touched.
#[inline]
pub(super) fn count() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// The steps of this thread so far.
#[cfg(test)]
pub(super) fn taken() -> u64 {
    STEPS.with(std::cell::Cell::get)
}
