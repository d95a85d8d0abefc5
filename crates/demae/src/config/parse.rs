//! From a setting's text to its value. Each parser says what is wrong and how it should be written.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use ipnet::IpNet;

use super::reader::Problem;

fn problem(problem: impl Into<String>, remedy: impl Into<String>) -> Problem {
    (problem.into(), remedy.into())
}

/// A duration of at least one second: seconds, or a number with `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let bad = || {
        problem(
            format!("{text:?} is not a duration"),
            "write seconds, or a number with s, m, h or d: 30s, 5m, 24h, 5d",
        )
    };
    let (digits, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor: u64 = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(bad)?;
    // A hundred years: beyond that, sums of times would overflow somewhere.
    if (1..=3_153_600_000).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(problem(
            format!("{text:?} is out of range"),
            "write at least one second, and at most 100 years",
        ))
    }
}

/// A whole number from `least` to `most`.
pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    least: T,
    most: T,
) -> impl Fn(&str) -> Result<T, Problem> {
    move |text| match text.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(problem(
            format!("{text:?} is not a whole number from {least} to {most}"),
            format!("write a number from {least} to {most}"),
        )),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(problem(
            format!("{text:?} is neither true nor false"),
            "write true or false",
        )),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| {
        problem(
            format!("{text:?} is not an address to listen on"),
            "write an IP address and a port: 127.0.0.1:6060, 0.0.0.0:6060 or [::1]:6060",
        )
    })
}

pub(super) fn network(text: &str) -> Result<IpNet, Problem> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| {
            problem(
                format!("{text:?} is not a network"),
                "write CIDR notation: 10.0.0.0/8 or fd00::/8",
            )
        })
}

pub(super) fn http_url(text: &str) -> Result<url::Url, Problem> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(problem(
            format!("{text:?} is not an http or https URL"),
            "write a URL like http://127.0.0.1:4318",
        )),
    }
}

/// The address of a database; its text may hold a password and is not repeated.
pub(super) fn database_url(text: &str) -> Result<String, Problem> {
    if ["sqlite:", "postgres://", "postgresql://"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
    {
        Ok(text.to_owned())
    } else {
        Err(problem(
            "it names no database that Demae knows",
            "write sqlite:/path/to/file.db or postgres://user:password@host/database",
        ))
    }
}
