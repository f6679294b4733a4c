//! How the C library's allocator keeps memory: the agent is at rest nearly always, so what a judgement used is given back.
//!
//! By itself glibc keeps an arena for each thread, and up to twice the largest buffer that was ever freed on top of each: the
//! agent would keep three times what it uses. The settings can only be given to a process that starts, so it starts anew
//! once, as the same process: number, descriptors and what systemd told it stay.

use std::env::{args_os, current_exe, var_os};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Where glibc reads its settings.
const VARIABLE: &str = "GLIBC_TUNABLES";
/// One arena for all threads, of which one works at a time, and no small pieces set aside for each: they would keep pages that are
/// free but for them. What is larger than 32 KiB is given back when it is freed, and what is free on top above that.
const SETTINGS: &str = "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=32768:glibc.malloc.trim_threshold=32768:glibc.malloc.top_pad=0";

/// Starts the process anew with the settings: nothing must have been opened or written before. Returns where that is needless
/// (somebody has chosen settings, which are left alone) or cannot be: then the agent runs all the same, with more memory.
pub fn settle() -> io::Result<()> {
    if !cfg!(target_env = "gnu") || var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut arguments = args_os();
    let mut command = Command::new(current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    Err(command.args(arguments).env(VARIABLE, SETTINGS).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_gives_the_same_settings() {
        let unit = include_str!("../../systemd/tagwall.service");
        assert!(unit.contains(&format!("Environment={VARIABLE}={SETTINGS}\n")), "{SETTINGS}");
    }
}
