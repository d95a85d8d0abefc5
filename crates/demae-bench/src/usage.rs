//! What the kernel says of a process: processor time and memory, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::param::clock_ticks_per_second;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// The parent's id.
    pub(crate) parent: u32,
    /// User and system time of the process, all threads.
    pub(crate) cpu_seconds: f64,
    /// The same of its children that have ended and been waited for.
    pub(crate) reaped_cpu_seconds: f64,
}

/// Memory of a process, in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: f64,
    /// The most that was ever resident.
    pub(crate) peak: f64,
}

/// Times of the process with this id.
pub(crate) fn of_process(id: u32) -> Result<Usage> {
    let stat =
        fs::read_to_string(format!("/proc/{id}/stat")).with_context(|| format!("process {id} is gone"))?;
    parse_stat(&stat, clock_ticks_per_second() as f64).with_context(|| format!("unreadable: {stat}"))
}

/// Processor time of a process, its children, and its children's past.
pub(crate) fn of_family(id: u32) -> Result<f64> {
    let own = of_process(id)?;
    let mut total = own.cpu_seconds + own.reaped_cpu_seconds;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends between the listing and the look has been counted as reaped, or will be next time.
        if let Ok(usage) = of_process(child)
            && usage.parent == id
        {
            total += usage.cpu_seconds;
        }
    }
    Ok(total)
}

/// Memory of the process with this id.
pub(crate) fn memory(id: u32) -> Result<Memory> {
    let status =
        fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id} is gone"))?;
    parse_status(&status).context("no memory in the process's status")
}

fn parse_stat(stat: &str, ticks: f64) -> Option<Usage> {
    // The second field is the program's name in parentheses, which may hold spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / ticks);
    Some(Usage {
        parent: fields.get(1)?.parse().ok()?,
        cpu_seconds: seconds(11)? + seconds(12)?,
        reaped_cpu_seconds: seconds(13)? + seconds(14)?,
    })
}

fn parse_status(status: &str) -> Option<Memory> {
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    Some(Memory {
        resident: mib("VmRSS:")?,
        peak: mib("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_may_look_like_fields() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 100 0 0 0 150 50 30 20 20 0 1 0 5 0 0";
        let usage = parse_stat(stat, 100.0).unwrap();
        assert_eq!(
            usage,
            Usage {
                parent: 7,
                cpu_seconds: 2.0,
                reaped_cpu_seconds: 0.5
            }
        );
        assert_eq!(parse_stat("42 (cut", 100.0), None);
    }

    #[test]
    fn memory_is_read_in_mebibytes() {
        let memory = parse_status("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n").unwrap();
        assert_eq!(
            memory,
            Memory {
                resident: 1.0,
                peak: 2.0
            }
        );
        assert_eq!(parse_status("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let own = std::process::id();
        assert!(memory(own).unwrap().peak > 0.0);
        assert!(of_family(own).unwrap() >= of_process(own).unwrap().reaped_cpu_seconds);
    }
}
