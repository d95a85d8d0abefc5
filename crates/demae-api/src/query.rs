//! Reading a query, gathering every fault.
//!
//! The counterpart of [`crate::json::fields`] for `?limit=…&cursor=…`: parameters are asked for by name, and those that
//! nobody asked for are refused, because a filter with a spelling mistake that is silently ignored answers another
//! question than the one that was asked.

use std::{borrow::Cow, ops::RangeInclusive, str::FromStr};

use axum::extract::FromRequestParts;
use demae_event::{Faults, Timestamp};
use http::request::Parts;

use crate::{
    json::fields::{Read, text_fault},
    problem::Problem,
};

/// Items of a list in a query, at most.
const MAX_LIST: usize = 100;

/// A query that knows how to be read.
pub trait ReadQuery: Sized {
    /// Reads every parameter; `None` if a fault was noted.
    fn read(query: &mut QueryFields<'_>) -> Option<Self>;
}

/// The query of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Sync, T: ReadQuery> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: ReadQuery>(query: &str) -> Result<T, Problem> {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).collect();
    let mut fields = QueryFields {
        pairs,
        asked: Vec::new(),
        faults: Faults::new(),
    };
    let value = T::read(&mut fields);
    fields.refuse_others();
    match value {
        Some(value) if fields.faults.is_empty() => Ok(value),
        _ => Err(Problem::invalid(fields.faults.into_vec())),
    }
}

/// The parameters of a query.
pub struct QueryFields<'q> {
    pairs: Vec<(Cow<'q, str>, Cow<'q, str>)>,
    asked: Vec<&'static str>,
    faults: Faults,
}

impl QueryFields<'_> {
    /// The text of a parameter of so many characters; outer `None` if it is wrong.
    pub fn text(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Read<Option<String>> {
        self.asked.push(name);
        let mut given = self
            .pairs
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.to_string());
        let (value, more) = (given.next(), given.next());
        let Some(text) = value else { return Some(None) };
        if more.is_some() {
            return self.refuse(name, &text, "is given more than once");
        }
        match text_fault(&text, &length) {
            None => Some(Some(text)),
            Some(message) => self.refuse(name, &text, message),
        }
    }

    /// A parameter of a type that is read from text; `expected` says what it must be.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Read<Option<T>> {
        /// Longer than any identifier, time or number.
        const LONGEST: usize = 64;
        let Some(text) = self.text(name, 0..=LONGEST)? else {
            return Some(None);
        };
        match text.parse() {
            Ok(value) => Some(Some(value)),
            Err(_) => self.refuse(name, &text, format!("must be {expected}")),
        }
    }

    /// An RFC 3339 time.
    pub fn timestamp(&mut self, name: &'static str) -> Read<Option<Timestamp>> {
        self.parsed(name, "an RFC 3339 date-time")
    }

    /// A list of texts, given as `a,b` or by repeating the parameter; empty if it is not given.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.asked.push(name);
        let given: Vec<String> = self
            .pairs
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        if given.len() > MAX_LIST {
            return self.refuse(name, "", format!("must have at most {MAX_LIST} items"));
        }
        let items = given.iter().map(|text| match read(text) {
            Ok(item) => Some(item),
            Err(message) => self.refuse(name, text, message),
        });
        // Every item is read before the list is given up.
        let items: Vec<Option<T>> = items.collect();
        items.into_iter().collect()
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        let expected = format!("from {} to {}", range.start(), range.end());
        match self.parsed::<u32>(name, &expected)? {
            Some(value) if !range.contains(&value) => {
                self.refuse(name, &value.to_string(), format!("must be {expected}"))
            }
            value => Some(value),
        }
    }

    /// Notes that a parameter is wrong.
    pub fn refuse<T>(&mut self, name: &str, text: &str, message: impl Into<String>) -> Option<T> {
        self.faults
            .push_value(format!("query.{name}"), message.into(), text);
        None
    }

    fn refuse_others(&mut self) {
        let mut others: Vec<String> = self
            .pairs
            .iter()
            .filter(|(key, _)| !self.asked.contains(&key.as_ref()))
            .map(|(key, _)| key.chars().take(100).collect())
            .collect();
        others.sort();
        others.dedup();
        for name in others {
            self.faults
                .push(format!("query.{name}"), "is not a known parameter");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Filter {
        limit: Option<u32>,
        name: Option<String>,
    }

    impl ReadQuery for Filter {
        fn read(query: &mut QueryFields<'_>) -> Option<Self> {
            let limit = query.integer("limit", 1..=200);
            let name = query.text("name", 1..=3);
            Some(Self {
                limit: limit?,
                name: name?,
            })
        }
    }

    #[test]
    fn reads_at_the_bounds() {
        for (query, expected) in [
            (
                "",
                Filter {
                    limit: None,
                    name: None,
                },
            ),
            (
                "limit=1",
                Filter {
                    limit: Some(1),
                    name: None,
                },
            ),
            (
                "limit=200&name=%C3%A9t%C3%A9",
                Filter {
                    limit: Some(200),
                    name: Some("été".to_owned()),
                },
            ),
        ] {
            assert_eq!(read::<Filter>(query).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn gathers_every_fault() {
        let problem = read::<Filter>("limit=201&name=a%00b&nmae=x&nmae=y").unwrap_err();
        let document = serde_json::to_value(problem.document(None, |_, _| String::new())).unwrap();
        let faults: Vec<_> = document["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| &fault["location"])
            .collect();
        assert_eq!(faults, ["query.limit", "query.name", "query.nmae"]);
        for query in [
            "limit=0",
            "limit=-1",
            "limit=1.5",
            "limit=",
            "limit=1&limit=1",
            "name=",
            "name=abcd",
        ] {
            assert!(read::<Filter>(query).is_err(), "{query}");
        }
    }
}
