//! HTTP/1.1 messages with a `Content-Length`, from a buffer.
//!
//! Driver and receiver share two cores with what they measure, so they do without a full HTTP implementation: one
//! request at a time per connection, heads parsed by `httparse`, bodies of a declared length. Anything else is an error
//! and not a guess.

use std::ops::Range;

use anyhow::{Context as _, Result, bail};

/// Headers in one head.
const MAX_HEADERS: usize = 64;
/// Bytes in one body: a harness that is sent more is being used wrongly.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// A request that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// As on the request line, with the query.
    pub(crate) target: &'a str,
    /// Where in the buffer the body is. It ends where the next request begins.
    pub(crate) body: Range<usize>,
}

/// An answer that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Whether the connection may be used again.
    pub(crate) reusable: bool,
    /// Where in the buffer the body is.
    pub(crate) body: Range<usize>,
}

/// The request at the start of `buffer`, or `None` while a part is missing.
pub(crate) fn request(buffer: &[u8]) -> Result<Option<Request<'_>>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer)? else {
        return Ok(None);
    };
    let body = length..length + declared(head.headers)?;
    let target = head.path.context("a request without a target")?;
    Ok((buffer.len() >= body.end).then_some(Request { target, body }))
}

/// The answer at the start of `buffer`, or `None` while a part is missing.
pub(crate) fn answer(buffer: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer)? else {
        return Ok(None);
    };
    let body = length..length + declared(head.headers)?;
    let status = head.code.context("an answer without a status")?;
    let reusable = !head.headers.iter().any(closes);
    Ok((buffer.len() >= body.end).then_some(Answer {
        status,
        reusable,
        body,
    }))
}

fn closes(header: &httparse::Header<'_>) -> bool {
    header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
}

fn declared(headers: &[httparse::Header<'_>]) -> Result<usize> {
    let mut length = 0;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)?.trim().parse()?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the harness reads bodies of a declared length only");
        }
    }
    if length > MAX_BODY {
        bail!("a body of {length} bytes; the harness takes up to {MAX_BODY}");
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_it_is_whole() {
        let text = b"POST /ok/3?n=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPOST";
        let whole = text.len() - b"POST".len();
        for part in 0..whole {
            assert_eq!(request(&text[..part]).unwrap(), None, "{part} bytes");
        }
        let request = request(text).unwrap().unwrap();
        assert_eq!(request.target, "/ok/3?n=1");
        assert_eq!(&text[request.body.clone()], b"hello");
        assert_eq!(request.body.end, whole);
    }

    #[test]
    fn an_answer_tells_its_status_and_whether_to_go_on() {
        let kept = answer(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")
            .unwrap()
            .unwrap();
        assert_eq!((kept.status, kept.reusable), (202, true));
        let last = answer(b"HTTP/1.1 503 No\r\nConnection: Close\r\ncontent-length: 0\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((last.status, last.reusable), (503, false));
    }

    #[test]
    fn what_has_no_declared_length_is_refused() {
        assert!(answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(request(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n").is_err());
        assert!(request(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n").is_err());
    }
}
