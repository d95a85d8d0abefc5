//! How an inbox answers.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// The longest answer delay: beyond the longest usual timeout, so that timeouts can be watched.
const MAX_DELAY: Duration = Duration::from_mins(2);

/// What was asked for with `PUT /inbox/{name}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AnswerRule {
    /// 200 to 599.
    #[serde(default = "usual_status")]
    pub(super) status: u16,
    /// Milliseconds to wait before the answer.
    #[serde(default)]
    pub(super) delay_ms: u64,
    /// For so many requests; after that 200 at once. Absent: until changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) times: Option<u32>,
}

fn usual_status() -> u16 {
    200
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) delay: Duration,
}

impl Answer {
    const USUAL: Self = Self {
        status: StatusCode::OK,
        delay: Duration::ZERO,
    };
}

impl AnswerRule {
    /// What is wrong with it, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(200..600).contains(&self.status) {
            return Err("status must be 200 to 599".to_owned());
        }
        if Duration::from_millis(self.delay_ms) > MAX_DELAY {
            return Err(format!("delayMs must be at most {}", MAX_DELAY.as_millis()));
        }
        Ok(())
    }

    /// The next answer, and what remains of `rule`.
    pub(super) fn next(rule: Option<Self>) -> (Answer, Option<Self>) {
        let Some(rule) = rule else {
            return (Answer::USUAL, None);
        };
        let answer = Answer {
            status: StatusCode::from_u16(rule.status).unwrap_or(StatusCode::OK),
            delay: Duration::from_millis(rule.delay_ms),
        };
        match rule.times {
            None => (answer, Some(rule)),
            Some(0) => (Answer::USUAL, None),
            Some(1) => (answer, None),
            Some(times) => (
                answer,
                Some(Self {
                    times: Some(times - 1),
                    ..rule
                }),
            ),
        }
    }
}
