//! Raises the number of files that the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as this user may, and returns it; none if there is no limit.
pub(super) fn raise() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    current.map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// How many of `wanted` connections there are files for: half of them, because databases, receivers and a peer of each
/// exchange need some, too.
pub(super) fn affordable(wanted: usize, open_files: Option<usize>) -> usize {
    let Some(open_files) = open_files else {
        return wanted;
    };
    let affordable = (open_files / 2).max(1);
    if affordable < wanted {
        tracing::warn!(
            connections = affordable,
            open_files,
            "fewer connections than the setting connections allows: raise the limit of open files (ulimit -n, LimitNOFILE=)"
        );
    }
    wanted.min(affordable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_files_to_the_rest() {
        assert_eq!(affordable(10_000, Some(1_024)), 512);
        assert_eq!(affordable(100, Some(1_024)), 100);
        assert_eq!(affordable(10_000, None), 10_000);
    }
}
