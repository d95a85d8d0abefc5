//! The inbox for browsers. Everything shown was written by strangers: the templates escape it, and the policy sent
//! along lets a browser run nothing.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::Value;

use super::mailbox::{KeptRequest, View};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

#[derive(Template)]
#[template(path = "inbox.html")]
struct MailboxPage<'a> {
    view: &'a View,
}

#[derive(Template)]
#[template(path = "inboxes.html")]
struct OverviewPage<'a> {
    names: &'a [(String, u64)],
}

pub(super) fn mailbox(view: &View) -> Response {
    render(&MailboxPage { view })
}

pub(super) fn overview(names: &[(String, u64)]) -> Response {
    render(&OverviewPage { names })
}

/// Answers with a page.
pub(crate) fn render(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl KeptRequest {
    /// The body indented if it is JSON, as it came otherwise.
    fn readable_body(&self) -> String {
        serde_json::from_str::<Value>(&self.body)
            .map_or_else(|_| self.body.clone(), |value| format!("{value:#}"))
    }

    /// The event's name, if the body has one.
    fn title(&self) -> String {
        serde_json::from_str::<Value>(&self.body)
            .ok()
            .and_then(|body| Some(body.get("name")?.as_str()?.to_owned()))
            .unwrap_or_default()
    }

    fn signature_class(&self) -> &'static str {
        match self.signature.verified {
            Some(true) => "good",
            Some(false) => "bad",
            None => "dim",
        }
    }

    fn signature_label(&self) -> &'static str {
        match self.signature.verified {
            Some(true) => "verified",
            Some(false) => "not verified",
            None => "unknown",
        }
    }

    fn header_lines(&self) -> Vec<(&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .collect()
    }
}
