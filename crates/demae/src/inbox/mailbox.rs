//! What the inboxes hold.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use demae_event::Timestamp;
use http::{HeaderMap, Method, Uri};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    answer::{Answer, AnswerRule},
    signature::Verdict,
};

/// Inboxes kept; the one that was used longest ago goes first.
pub(super) const MAX_INBOXES: usize = 50;
/// Requests kept per inbox.
pub(super) const MAX_REQUESTS: usize = 100;
/// Bytes of requests kept per inbox.
pub(super) const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of requests kept in all inboxes together; the inbox that was used longest ago goes first.
pub(super) const MAX_TOTAL_BYTES: usize = 16 * 1024 * 1024;
/// Bytes kept of one body.
pub(super) const MAX_BODY: usize = 256 * 1024;

/// A request as it arrived.
pub(super) struct NewRequest {
    pub(super) now: Timestamp,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) signature: Verdict,
}

/// A request as it is kept and shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptRequest {
    /// Counts up from 1 in each inbox.
    pub(super) number: u64,
    pub(super) received_at: Timestamp,
    pub(super) method: String,
    pub(super) query: Option<String>,
    /// In order; a repeated header's values joined with a comma.
    pub(super) headers: Map<String, Value>,
    /// As text; what is no UTF-8 is replaced.
    pub(super) body: String,
    pub(super) body_truncated: bool,
    pub(super) signature: Verdict,
    /// The status it was answered with.
    pub(super) answered: u16,
}

impl KeptRequest {
    /// Bytes of what is kept of it.
    fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
            .sum();
        self.body.len() + headers + self.query.as_ref().map_or(0, String::len)
    }
}

/// An inbox as it is shown: newest request first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) name: String,
    pub(super) received: u64,
    pub(super) answer: Option<AnswerRule>,
    pub(super) requests: Vec<KeptRequest>,
}

#[derive(Default)]
struct Mailbox {
    requests: VecDeque<KeptRequest>,
    bytes: usize,
    received: u64,
    rule: Option<AnswerRule>,
    /// Orders inboxes by their last use.
    used: u64,
}

/// All inboxes.
#[derive(Default)]
pub(super) struct Mailboxes(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    boxes: HashMap<String, Mailbox>,
    uses: u64,
}

impl Mailboxes {
    /// Keeps a request and says how to answer it.
    pub(super) fn accept(&self, name: &str, request: NewRequest) -> Answer {
        let mut inboxes = self.lock();
        let mailbox = inboxes.mailbox(name);
        let (answer, rest) = AnswerRule::next(mailbox.rule.take());
        mailbox.rule = rest;
        mailbox.keep(request, answer);
        inboxes.shrink();
        answer
    }

    pub(super) fn set_answer(&self, name: &str, rule: AnswerRule) {
        self.lock().mailbox(name).rule = Some(rule);
    }

    /// Forgets an inbox's requests and how it answers.
    pub(super) fn clear(&self, name: &str) {
        self.lock().boxes.remove(name);
    }

    pub(super) fn view(&self, name: &str) -> View {
        let inboxes = self.lock();
        let mailbox = inboxes.boxes.get(name);
        View {
            name: name.to_owned(),
            received: mailbox.map_or(0, |mailbox| mailbox.received),
            answer: mailbox.and_then(|mailbox| mailbox.rule.clone()),
            requests: mailbox
                .into_iter()
                .flat_map(|mailbox| mailbox.requests.iter().rev().cloned())
                .collect(),
        }
    }

    /// Every inbox's name and how much it has received, by name.
    pub(super) fn names(&self) -> Vec<(String, u64)> {
        let mut names: Vec<_> = self
            .lock()
            .boxes
            .iter()
            .map(|(name, mailbox)| (name.clone(), mailbox.received))
            .collect();
        names.sort();
        names
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // No code below panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn mailbox(&mut self, name: &str) -> &mut Mailbox {
        self.uses += 1;
        if !self.boxes.contains_key(name) && self.boxes.len() >= MAX_INBOXES {
            self.remove_oldest();
        }
        let mailbox = self.boxes.entry(name.to_owned()).or_default();
        mailbox.used = self.uses;
        mailbox
    }

    fn shrink(&mut self) {
        let total = |shelf: &Self| shelf.boxes.values().map(|mailbox| mailbox.bytes).sum::<usize>();
        while self.boxes.len() > 1 && total(self) > MAX_TOTAL_BYTES {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        let oldest = self
            .boxes
            .iter()
            .min_by_key(|(_, mailbox)| mailbox.used)
            .map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            self.boxes.remove(&oldest);
        }
    }
}

impl Mailbox {
    fn keep(&mut self, request: NewRequest, answer: Answer) {
        self.received += 1;
        let kept = request.body.len().min(MAX_BODY);
        let request = KeptRequest {
            number: self.received,
            received_at: request.now,
            method: request.method.to_string(),
            query: request.uri.query().map(str::to_owned),
            headers: header_map(&request.headers),
            body: String::from_utf8_lossy(&request.body[..kept]).into_owned(),
            body_truncated: kept < request.body.len(),
            signature: request.signature,
            answered: answer.status.as_u16(),
        };
        self.bytes += request.size();
        self.requests.push_back(request);
        while self.requests.len() > MAX_REQUESTS || (self.bytes > MAX_BYTES && self.requests.len() > 1) {
            if let Some(oldest) = self.requests.pop_front() {
                self.bytes -= oldest.size();
            }
        }
    }
}

fn header_map(headers: &HeaderMap) -> Map<String, Value> {
    headers
        .keys()
        .map(|name| {
            let values: Vec<_> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.as_str().to_owned(), values.join(", ").into())
        })
        .collect()
}
