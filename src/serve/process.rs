//! The process as its own metrics show it, under the names that every Prometheus client uses.

use std::fmt::Write as _;
use std::fs;

/// Ticks of the clock in which Linux counts processor time: the same on every architecture that it runs on today.
const TICKS: f64 = 100.0;

/// The metrics in text. What the kernel does not tell is left out.
pub(super) fn metrics() -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, unit: &str, value: Option<f64>| {
        let Some(value) = value else { return };
        let suffix = if kind == "counter" { "_total" } else { "" };
        // Writing into a text does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "{name}{suffix} {value:?}");
    };
    let stat = Stat::read();
    let stat = stat.as_ref();
    let of = |value: fn(&Stat) -> f64| stat.map(value);
    family("process_cpu_seconds", "counter", "Processor time used.", "seconds", of(|s| s.cpu));
    family("process_resident_memory_bytes", "gauge", "Memory in use.", "bytes", of(|s| s.resident));
    family("process_virtual_memory_bytes", "gauge", "Address space.", "bytes", of(|s| s.space));
    family("process_threads", "gauge", "Threads.", "", of(|s| s.threads));
    family(
        "process_start_time_seconds",
        "gauge",
        "When the process began.",
        "seconds",
        stat.and_then(|stat| Some(boot_time()? + stat.started)),
    );
    family("process_open_fds", "gauge", "Open descriptors.", "", open_descriptors());
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    family("process_max_fds", "gauge", "Descriptors that may be open.", "", most.map(float));
    text
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers, and 2^53 is far away"
)]
fn float(number: u64) -> f64 {
    number as f64
}

/// A part of `/proc/self/stat` and `/proc/self/status`.
struct Stat {
    cpu: f64,
    resident: f64,
    space: f64,
    threads: f64,
    /// Seconds after the boot.
    started: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let read = |name| fs::read_to_string(name).ok();
        Self::parse(&read("/proc/self/stat")?, &read("/proc/self/status")?)
    }

    /// The fields are counted from behind the name, which may have spaces and brackets of its own.
    fn parse(stat: &str, status: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(float);
        let kilobytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|count| float(count) * 1_024.0)
        };
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS,
            threads: field(20)?,
            started: field(22)? / TICKS,
            space: kilobytes("VmSize:")?,
            resident: kilobytes("VmRSS:")?,
        })
    }
}

fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_descriptors() -> Option<f64> {
    // Without the one that reads the folder.
    Some(float((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat =
            "7 (tag) wall)) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1000 8192000 25 0";
        let stat = Stat::parse(stat, "VmSize:\t8000 kB\nVmRSS:\t 16 kB\n").unwrap();
        assert!((stat.cpu - 2.0).abs() < 1e-9 && (stat.threads - 9.0).abs() < 1e-9);
        assert!((stat.started - 10.0).abs() < 1e-9 && (stat.resident - 16_384.0).abs() < 1e-9);
    }

    #[test]
    fn this_process_is_described() {
        let text = metrics();
        for name in
            ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "]
        {
            assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
        }
    }
}
