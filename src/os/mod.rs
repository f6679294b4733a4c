//! Doors to the operating system: files, the lock, subprocesses, secrets.
//!
//! This room owns every system call whose failure has to be explained to an operator, and the rules
//! that make it safe:
//!
//! - [`files`]: a file is replaced whole or not at all, durably, and not touched when it is equal;
//!   reading is bounded and never blocks on something that is not a file;
//! - [`lock`]: one process (with the commands it started) works on a state folder;
//! - [`command`]: a subprocess has an absolute path, no shell, a clean environment, a time limit and
//!   a limit on its output, and nothing of it outlives the call;
//! - [`secret`]: a credential never shows itself in a log or an error;
//! - [`clock`]: the time as people read it;
//! - [`accounts`]: users and groups by name, from the host's own files;
//! - [`record`]: a small file of our own is read strictly, and only in the format that it names;
//! - [`two`]: the same work on many items by two threads, or two things at once;
//! - [`unified`]: the difference of two texts, as people know it;
//! - [`printable`]: text from outside cannot steer the terminal that shows it.
//!
//! Everything blocks; an asynchronous caller moves the call to a blocking thread. The room knows
//! nothing of firewalls or publications and imports nothing of the crate.

pub mod accounts;
pub mod clock;
pub mod command;
pub mod files;
pub mod lock;
pub mod printable;
pub mod record;
pub mod secret;
pub mod two;
pub mod unified;

#[cfg(test)]
mod testing;
