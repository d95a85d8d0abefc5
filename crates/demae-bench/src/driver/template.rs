//! Requests whose bytes are made once; only the marks are written anew for each.

use super::{Call, Plan};
use crate::mark::{self, Mark};

/// A request and where its marks are.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    marks: Vec<usize>,
}

/// A template for each call or for each event name, or one for a batch, in which the names take turns.
#[derive(Debug, Clone)]
pub(super) struct Templates(Vec<Template>);

impl Templates {
    pub(super) fn new(plan: &Plan) -> Self {
        if !plan.calls.is_empty() {
            return Self(plan.calls.iter().map(|call| Template::new(plan, call)).collect());
        }
        let posting = |body: &str| Template::new(plan, &Call::post(&plan.path, body));
        if plan.batch == 1 {
            let one = |name: &String| posting(&event(name, plan.event_bytes));
            return Self(plan.names.iter().map(one).collect());
        }
        let events: Vec<String> = (plan.names.iter().cycle().take(plan.batch))
            .map(|name| event(name, plan.event_bytes))
            .collect();
        Self(vec![posting(&format!(r#"{{"events":[{}]}}"#, events.join(",")))])
    }

    /// The request for the events from number `first` on.
    pub(super) fn stamp(&mut self, first: u64, intended: u64) -> &[u8] {
        let turn = (first % self.0.len() as u64) as usize;
        let template = &mut self.0[turn];
        for (number, place) in (first..).zip(&template.marks) {
            Mark { number, intended }.write(&mut template.bytes[*place..]);
        }
        &template.bytes
    }
}

impl Template {
    fn new(plan: &Plan, call: &Call) -> Self {
        let token = plan
            .token
            .as_deref()
            .map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{token}content-length: {}\r\n\r\n",
            call.method,
            call.path,
            plan.target,
            call.body.len()
        );
        let bytes = [&head, call.body.as_str()].concat().into_bytes();
        let marks = memchr::memmem::find_iter(&bytes, PLACEHOLDER.as_bytes()).collect();
        Self { bytes, marks }
    }
}

/// Stands where a mark will be: as long, and found nowhere else.
const PLACEHOLDER: &str = "#mark###################################";
const _: () = assert!(PLACEHOLDER.len() == mark::LENGTH);

/// One event's JSON of exactly `bytes` bytes, or a little more if that cannot hold name and mark.
fn event(name: &str, bytes: usize) -> String {
    let text = |padding: usize| {
        format!(
            r#"{{"name":"{name}","data":{{"mark":"{PLACEHOLDER}","padding":"{}"}}}}"#,
            "x".repeat(padding)
        )
    };
    text(bytes.saturating_sub(text(0).len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{driver::Pace, http1, mark::MarkFinder};

    fn plan(batch: usize) -> Plan {
        Plan {
            target: ([127, 0, 0, 1], 9).into(),
            path: "/api/events".to_owned(),
            token: Some("ksh_x".to_owned()),
            names: vec!["A".to_owned(), "B".to_owned()],
            event_bytes: 1_024,
            batch,
            calls: Vec::new(),
            connections: 1,
            pace: Pace::Count { events: 1 },
        }
    }

    fn body(request: &[u8]) -> serde_json::Value {
        let body = http1::request(request).unwrap().unwrap().body;
        serde_json::from_slice(&request[body]).unwrap()
    }

    #[test]
    fn single_events_take_the_names_in_turn() {
        let mut templates = Templates::new(&plan(1));
        for (number, name) in [(0, "A"), (1, "B"), (2, "A")] {
            let request = templates.stamp(number, 7).to_vec();
            let body = body(&request);
            assert_eq!(body["name"], name);
            assert_eq!(body.to_string().len(), 1_024);
            assert_eq!(
                MarkFinder::new().find(&request),
                Some(Mark { number, intended: 7 })
            );
        }
    }

    #[test]
    fn calls_are_made_in_turn_as_they_are() {
        let calls = vec![Call::get("/a?b=c"), Call::post("/d", "{}")];
        let mut templates = Templates::new(&Plan { calls, ..plan(1) });
        for (number, method, target, length) in [
            (0, "GET", "/a?b=c", 0),
            (1, "POST", "/d", 2),
            (2, "GET", "/a?b=c", 0),
        ] {
            let bytes = templates.stamp(number, 7);
            let request = http1::request(bytes).unwrap().unwrap();
            assert!(bytes.starts_with(method.as_bytes()));
            assert_eq!((request.target, request.body.len()), (target, length));
        }
    }

    #[test]
    fn a_batch_holds_consecutive_numbers() {
        let mut templates = Templates::new(&plan(3));
        let body = body(templates.stamp(30, 7));
        let numbers: Vec<u64> = (body["events"].as_array().unwrap().iter())
            .map(|event| {
                MarkFinder::new()
                    .find(event.to_string().as_bytes())
                    .unwrap()
                    .number
            })
            .collect();
        assert_eq!(numbers, [30, 31, 32]);
        assert_eq!(body["events"][2]["name"], "A");
    }
}
