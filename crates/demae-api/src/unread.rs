//! What a request still sends after it was answered.
//!
//! A request can be answered before its body was read: nothing is at its path, or its token is unknown. The next request on
//! an HTTP/1 connection begins where that body ends, so the server has to read it, or to close the connection. hyper closes
//! it unless the rest has arrived already, and the answer does not say so: a client that keeps its connections loses the
//! next request, and cannot know whether that one was served. Here the rest is read and thrown away if it is short and
//! comes soon; otherwise the answer says `Connection: close` (RFC 9112, section 9.6).

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
};
use http::{HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// The longest rest that is read for the sake of the connection, in bytes. A new connection costs less than more.
const LONGEST: usize = 64 * 1024;

/// How long it is waited for. Clients send a short body together with its head.
const WAIT: Duration = Duration::from_secs(1);

/// What is left of a request's body while somebody else reads it; none if there is nothing to wait for.
pub(crate) struct Rest(Option<Shared>);

impl Rest {
    /// Of this request, which goes on to whoever reads it.
    pub(crate) fn of(request: Request) -> (Self, Request) {
        if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
            return (Self(None), request);
        }
        let (parts, body) = request.into_parts();
        let awaits_leave = parts.headers.contains_key(header::EXPECT);
        let shared = Shared {
            body: Arc::new(Mutex::new(body)),
            awaits_leave,
        };
        let request = Request::from_parts(parts, Body::new(shared.clone()));
        (Self(Some(shared)), request)
    }

    /// Reads it before `response` goes out, or says in the response that the connection ends with it.
    pub(crate) async fn discard(self, response: &mut Response) {
        let Some(body) = self.0.filter(|body| !body.is_end_stream()) else {
            return;
        };
        // Whoever waits for `100 Continue` has sent nothing yet, and need not.
        let read = !body.awaits_leave
            && tokio::time::timeout(WAIT, read_to_end(body))
                .await
                .unwrap_or(false);
        if !read {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether it ended before it was too long.
async fn read_to_end(mut body: Shared) -> bool {
    let mut left = LONGEST;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
            return false;
        };
        left = less;
    }
    true
}

/// A body that is read by one after the other.
#[derive(Clone)]
struct Shared {
    body: Arc<Mutex<Body>>,
    /// Whether its sender waits to be told that it is wanted (RFC 9110, section 10.1.1).
    awaits_leave: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, channel::mpsc, stream};
    use http::StatusCode;

    use super::*;

    type Chunk = Result<Bytes, std::convert::Infallible>;

    /// Answers a request with this body without reading it.
    async fn answered(builder: http::request::Builder, body: Body) -> Response {
        let (rest, request) = Rest::of(builder.body(body).unwrap());
        drop(request);
        let mut response = Response::default();
        rest.discard(&mut response).await;
        assert_eq!(response.status(), StatusCode::OK);
        response
    }

    fn closes(response: &Response) -> bool {
        response.headers().get(header::CONNECTION) == Some(&HeaderValue::from_static("close"))
    }

    #[tokio::test]
    async fn a_short_rest_is_read_and_the_connection_lives() {
        let (sender, chunks) = mpsc::unbounded::<Chunk>();
        let reads_all = tokio::spawn(answered(Request::builder(), Body::from_stream(chunks)));
        sender
            .unbounded_send(Ok(Bytes::from_static(b"{\"name\":")))
            .unwrap();
        tokio::task::yield_now().await;
        assert!(!reads_all.is_finished(), "it waits for the rest");
        sender.unbounded_send(Ok(Bytes::from_static(b"\"x\"}"))).unwrap();
        drop(sender);
        assert!(!closes(&reads_all.await.unwrap()));
    }

    #[tokio::test]
    async fn who_reads_the_body_reads_all_of_it() {
        let (rest, request) = Rest::of(Request::new(Body::from("everything")));
        let read = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read, "everything");
        let mut response = Response::default();
        rest.discard(&mut response).await;
        assert!(!closes(&response));
    }

    #[tokio::test]
    async fn a_long_rest_is_not_read_to_its_end() {
        let endless = stream::repeat(Bytes::from_static(&[b'x'; 1024])).map(Chunk::Ok);
        let response = answered(Request::builder(), Body::from_stream(endless)).await;
        assert!(closes(&response));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_rest_is_not_waited_for() {
        let never = stream::pending::<Chunk>();
        let response = answered(Request::builder(), Body::from_stream(never)).await;
        assert!(closes(&response));
    }

    #[tokio::test]
    async fn who_waits_for_leave_is_not_asked_to_send() {
        let unasked = stream::poll_fn(|_| -> Poll<Option<Chunk>> { panic!("the body was asked for") });
        let request = Request::builder().header(header::EXPECT, "100-continue");
        assert!(closes(&answered(request, Body::from_stream(unasked)).await));
    }
}
