//! Knows which path belongs to which surface, for the layers around all surfaces.

use http::HeaderValue;

use crate::problem::{self, Problem, Render, Rendered};

/// How a surface refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    pub(crate) render: Render,
    pub(crate) challenge: &'static str,
}

/// Those of paths that belong to no surface.
const PLAIN: Refusals = Refusals {
    render: problem::render,
    challenge: "Bearer",
};

/// Which surface answers a path, as far as the layers around all surfaces have to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surfaces {
    /// Longest first.
    prefixes: Vec<(&'static str, Refusals)>,
    reading: Vec<&'static str>,
}

impl Surfaces {
    /// One more surface: its prefixes, how it refuses, and the beginnings of paths at which it only reads.
    pub(crate) fn add(&mut self, prefixes: &[&'static str], refusals: Refusals, reading: &[&'static str]) {
        self.prefixes
            .extend(prefixes.iter().map(|prefix| (*prefix, refusals)));
        self.prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self.reading.extend(reading);
    }

    /// Writes a refusal of the request of `path` in the form of its surface.
    pub(crate) fn render(&self, problem: &Problem, path: &str) -> Rendered {
        (self.refusals(path).render)(problem, path)
    }

    /// How requests of `path` authenticate.
    pub(crate) fn challenge(&self, path: &str) -> HeaderValue {
        HeaderValue::from_static(self.refusals(path).challenge)
    }

    fn refusals(&self, path: &str) -> Refusals {
        let mut prefixes = self.prefixes.iter();
        let found = prefixes.find(|(prefix, _)| is_under(path, prefix));
        found.map_or(PLAIN, |(_, refusals)| *refusals)
    }

    /// Whether requests of `path` only read, whatever their method.
    pub(crate) fn only_reads(&self, path: &str) -> bool {
        self.reading.iter().any(|prefix| path.starts_with(prefix))
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::problem::ProblemKind;

    fn rendered(text: &'static str) -> Rendered {
        Rendered {
            content_type: HeaderValue::from_static("text/plain"),
            body: Bytes::from_static(text.as_bytes()),
        }
    }

    #[test]
    fn the_longest_prefix_decides_in_whose_form_a_refusal_is_written() {
        let mut surfaces = Surfaces::default();
        let outer = Refusals {
            render: |_, _| rendered("outer"),
            challenge: "Outer",
        };
        let inner = Refusals {
            render: |_, _| rendered("inner"),
            challenge: "Inner",
        };
        surfaces.add(&["/api"], outer, &[]);
        surfaces.add(&["/api/v1/app", "/jwks"], inner, &["/api/v1/app/search/"]);
        let problem = Problem::new(ProblemKind::NotFound, "Code", "Detail.");
        let form = |path: &str| surfaces.render(&problem, path);
        for (path, expected) in [
            ("/api", "outer"),
            ("/api/v1/apple", "outer"),
            ("/api/v1/app", "inner"),
            ("/api/v1/app/1", "inner"),
            ("/jwks", "inner"),
        ] {
            assert_eq!(form(path), rendered(expected), "{path}");
            assert_eq!(
                surfaces.challenge(path).to_str().unwrap().to_lowercase(),
                expected
            );
        }
        for path in ["/", "/apiary", ""] {
            assert_eq!(form(path).content_type, problem::CONTENT_TYPE, "{path}");
        }
        assert!(surfaces.only_reads("/api/v1/app/search/all"));
        assert!(!surfaces.only_reads("/api/v1/app/1"));
    }
}
