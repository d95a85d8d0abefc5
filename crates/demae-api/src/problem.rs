//! What a caller reads when something did not go well: RFC 9457 problem details.
//!
//! [`Problem`] is the only error type of this crate's handlers, and [`ProblemKind`] the only list of the statuses they
//! can answer with. A handler returns a problem; `edge` writes it, because only there the request's path
//! (`instance`) is at hand. What the caller did wrong is said in full, every fault at its location; what went wrong
//! inside is logged once under an `errorId`, and the caller gets the id and nothing else.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use demae_control_plane::DomainError;
use demae_delivery::management::ManagementError;
use demae_event::{
    Code, Fault, Faults,
    fault::{Step, steps},
};
use demae_store::StoreError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// `Content-Type` of a problem document (RFC 9457, section 6.1).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// At most so many faults are listed; a body with more is described well enough by these.
pub use demae_fields::MAX_FAULTS;

/// Longer texts are not echoed as a fault's `value`.
const MAX_ECHO_LENGTH: usize = 100;

/// Seconds after which a caller that met a full queue may try again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The statuses that this API answers with when it does not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// 400: the request cannot be understood.
    Malformed,
    /// 401: no token, or none that is valid.
    Unauthenticated,
    /// 403: the token lacks the scope.
    Forbidden,
    /// 404: there is no such thing, or it is another organization's.
    NotFound,
    /// 405: the path is known, the method is not.
    MethodNotAllowed,
    /// 409: what is there stands in the way.
    Conflict,
    /// 412: what is there is not what the caller saw.
    PreconditionFailed,
    /// 413: the body is longer than allowed.
    TooLarge,
    /// 415: the body is not JSON.
    UnsupportedMedia,
    /// 422: the request is understood, and something in it is wrong.
    Invalid,
    /// 429: more than can be taken in now.
    TooMany,
    /// 500: a fault of ours.
    Internal,
    /// 503: not now.
    Unavailable,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::Invalid,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The status code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The status' name: RFC 9110, section 15, and RFC 6585, section 4.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Bad Request",
            Self::Unauthenticated => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::Conflict => "Conflict",
            Self::PreconditionFailed => "Precondition Failed",
            Self::TooLarge => "Content Too Large",
            Self::UnsupportedMedia => "Unsupported Media Type",
            Self::Invalid => "Unprocessable Content",
            Self::TooMany => "Too Many Requests",
            Self::Internal => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }

    /// The section that defines the status; stable, so that a program may compare it.
    pub const fn type_uri(self) -> &'static str {
        match self {
            Self::Malformed => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.1",
            Self::Unauthenticated => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2",
            Self::Forbidden => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.4",
            Self::NotFound => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.5",
            Self::MethodNotAllowed => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6",
            Self::Conflict => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.10",
            Self::PreconditionFailed => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.13",
            Self::TooLarge => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.14",
            Self::UnsupportedMedia => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16",
            Self::Invalid => "https://www.rfc-editor.org/rfc/rfc9110#section-15.5.21",
            Self::TooMany => "https://www.rfc-editor.org/rfc/rfc6585#section-4",
            Self::Internal => "https://www.rfc-editor.org/rfc/rfc9110#section-15.6.1",
            Self::Unavailable => "https://www.rfc-editor.org/rfc/rfc9110#section-15.6.4",
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProblemFault)]
pub struct FaultBody<'a> {
    /// Where, in the body, the query or the headers.
    location: String,
    /// What is wrong there.
    #[schema(examples("must be at least 1"))]
    message: &'a str,
    /// The value that was given, if it is short and no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
}

impl<'a> FaultBody<'a> {
    /// Where.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        self.message
    }

    /// Objects, arrays and long texts are not repeated.
    fn new(location: String, fault: &'a Fault) -> Self {
        let value = fault.value.as_ref().filter(|value| match value {
            Value::Object(_) | Value::Array(_) => false,
            Value::String(text) => text.len() <= MAX_ECHO_LENGTH,
            _ => true,
        });
        Self {
            location,
            message: &fault.message,
            value,
        }
    }
}

/// A refused or failed request.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemKind,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    faults: Vec<Fault>,
    places: Places,
    error_id: Option<Uuid>,
}

/// By whose names the places of faults go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Places {
    /// The surface's, whose reader found the faults.
    OfRequest,
    /// Those of a domain's input (see [`demae_event::fault`]).
    OfInput,
}

impl Problem {
    /// A problem with its stable code and its explanation.
    pub fn new(
        kind: ProblemKind,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            code: code.into(),
            detail: detail.into(),
            faults: Vec::new(),
            places: Places::OfRequest,
            error_id: None,
        }
    }

    /// The request is understood and wrong at these places, which a reader of the surface named.
    pub fn invalid(faults: Vec<Fault>) -> Self {
        Self::new(
            ProblemKind::Invalid,
            "Request.Invalid",
            "The request does not fit the schema; see errors.",
        )
        .with_faults(faults)
    }

    /// The request is understood and wrong at this one place.
    pub fn invalid_at(location: impl Into<String>, message: impl Into<String>) -> Self {
        let mut faults = Faults::new();
        faults.push(location, message.into());
        Self::invalid(faults.into_vec())
    }

    /// The resource is no longer as the caller saw it.
    pub fn outdated(code: impl Into<Cow<'static, str>>) -> Self {
        let detail = "The resource was changed since it was read; read it again.";
        Self::new(ProblemKind::PreconditionFailed, code, detail)
    }

    /// A fault of ours: `error` is logged here, once, and the caller gets only the id of that log entry.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::withheld(
            ProblemKind::Internal,
            "Internal",
            "Something went wrong on our side.",
            error,
        )
    }

    /// As [`Problem::internal`], but worth trying again.
    pub fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        let detail = "The request cannot be served right now; try again.";
        Self::withheld(ProblemKind::Unavailable, "Unavailable", detail, error)
    }

    fn withheld(
        kind: ProblemKind,
        code: &'static str,
        detail: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let error_id = Uuid::new_v4();
        let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
        tracing::error!(%error_id, error = causes.collect::<Vec<_>>().join(": "), "request failed");
        Self {
            error_id: Some(error_id),
            ..Self::new(kind, code, detail)
        }
    }

    /// What a domain found wrong with its input.
    fn refused_input(code: Code, faults: Vec<Fault>) -> Self {
        Self {
            code: code.to_string().into(),
            places: Places::OfInput,
            ..Self::invalid(faults)
        }
    }

    /// Lists `faults`.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// Which status it is answered with.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Its stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What happened, for a person to read.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same problem by the names of a surface.
    #[must_use]
    pub fn reworded(&self, code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            ..self.clone()
        }
    }

    /// Its faults, sorted by location, at most [`MAX_FAULTS`]. `name` writes the places of a domain's input.
    pub fn faults(&self, name: NamePlace) -> Vec<FaultBody<'_>> {
        let location = |fault: &'_ Fault| match self.places {
            Places::OfRequest => fault.location.clone(),
            Places::OfInput => name(&self.code, &fault.location),
        };
        let mut faults: Vec<_> = self
            .faults
            .iter()
            .map(|fault| FaultBody::new(location(fault), fault))
            .collect();
        faults.sort_by(|a, b| (&a.location, &a.message).cmp(&(&b.location, &b.message)));
        faults.truncate(MAX_FAULTS);
        faults
    }

    /// The problem document, for the request of the path `instance`. `name` writes the places of a domain's input.
    pub fn document<'a>(&'a self, instance: Option<&'a str>, name: NamePlace) -> ProblemDocument<'a> {
        ProblemDocument {
            r#type: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            instance,
            errors: self.faults(name),
            code: &self.code,
            error_id: self.error_id,
        }
    }
}

/// A refusal as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The body's `Content-Type`.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Bytes,
}

/// Writes a refusal of the request of a path, in the form of a surface.
pub type Render = fn(&Problem, path: &str) -> Rendered;

/// Writes a place of a domain's input as the surface calls it, in a refusal with this code.
pub type NamePlace = fn(code: &str, location: &str) -> String;

/// Writes a problem as a problem document, with the domains' own names.
pub fn render(problem: &Problem, path: &str) -> Rendered {
    render_naming(problem, path, |_, location| {
        write_place("body", location, Cow::Borrowed)
    })
}

/// Writes a place below `root` in the form `body.event_names[0]`, its fields by the names that `field` gives them.
pub fn write_place<'l>(root: &str, location: &'l str, field: impl Fn(&'l str) -> Cow<'l, str>) -> String {
    let mut place = root.to_owned();
    for step in steps(location) {
        match step {
            Step::Field(name) => place.extend([".", &field(name)]),
            Step::Item(number) => place.extend(["[", number, "]"]),
            Step::Key(key) => place.extend([".", &key]),
            Step::Pointer(pointer) => place.push_str(pointer),
        }
    }
    place
}

/// Writes a problem as a problem document, with the names that the surface has for the domains' fields.
pub fn render_naming(problem: &Problem, path: &str, name: NamePlace) -> Rendered {
    let document = serde_json::to_vec(&problem.document(Some(path), name));
    Rendered {
        content_type: HeaderValue::from_static(CONTENT_TYPE),
        body: document.unwrap_or_default().into(),
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemDocument<'a> {
    /// The section of the RFC that defines the status.
    #[schema(
        format = "uri",
        examples("https://www.rfc-editor.org/rfc/rfc9110#section-15.5.21")
    )]
    r#type: &'a str,
    /// The status' name.
    #[schema(examples("Unprocessable Content"))]
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance: Option<&'a str>,
    /// Everything that is wrong with the request, sorted by location.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FaultBody<'a>>,
    /// A stable code for programs to branch on.
    code: &'a str,
    /// The id of the log entry, when the cause is withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_id: Option<Uuid>,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            error if error.is_transient() => Self::unavailable(&error),
            StoreError::Value(_) => Self::new(
                ProblemKind::Invalid,
                "Value.Refused",
                "The database refuses a value of this request.",
            ),
            error => Self::internal(&error),
        }
    }
}

impl From<DomainError> for Problem {
    fn from(error: DomainError) -> Self {
        let code = error.code().map(|code| code.to_string()).unwrap_or_default();
        match error {
            DomainError::NotFound { resource, .. } => Self::new(
                ProblemKind::NotFound,
                code,
                format!("There is no such {resource}."),
            ),
            DomainError::Conflict { detail, .. } => Self::new(ProblemKind::Conflict, code, sentence(&detail)),
            DomainError::Outdated { .. } => Self::outdated(code),
            DomainError::Unsupported { detail, .. } => {
                Self::new(ProblemKind::Malformed, code, sentence(&detail))
            }
            DomainError::Forbidden { detail, .. } => {
                Self::new(ProblemKind::Forbidden, code, sentence(&detail))
            }
            DomainError::Invalid { code, faults } => Self::refused_input(code, faults),
            DomainError::Store(error) => error.into(),
        }
    }
}

impl From<ManagementError> for Problem {
    fn from(error: ManagementError) -> Self {
        match error {
            ManagementError::NotFound { code, resource } => Self::new(
                ProblemKind::NotFound,
                code.to_string(),
                format!("There is no such {resource}."),
            ),
            ManagementError::Conflict { code, detail } => {
                Self::new(ProblemKind::Conflict, code.to_string(), sentence(&detail))
            }
            ManagementError::Invalid { code, faults } => Self::refused_input(code, faults),
            ManagementError::Store(error) => error.into(),
        }
    }
}

/// An error's message as a sentence of its own.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

impl IntoResponse for Problem {
    /// The status and the headers that go by the kind alone; the rest is written by `edge`, which finds the problem in the
    /// response's extensions.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        let headers = response.headers_mut();
        if matches!(self.kind, ProblemKind::TooMany | ProblemKind::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(_: &str, location: &str) -> String {
        location.to_owned()
    }

    #[test]
    fn lists_faults_in_order_of_location_and_echoes_only_short_scalars() {
        let mut faults = Faults::new();
        faults.push_value("query.limit", "too large", 201);
        faults.push_value("body.name", "too long", "x".repeat(MAX_ECHO_LENGTH + 1));
        faults.push_value("body.data", "must be a string", json!({"password": "hunter2"}));
        let problem = Problem::invalid(faults.into_vec());
        let document = serde_json::to_value(problem.document(Some("/api/x"), plain)).unwrap();
        assert_eq!(
            document["errors"],
            json!([
                {"location": "body.data", "message": "must be a string"},
                {"location": "body.name", "message": "too long"},
                {"location": "query.limit", "message": "too large", "value": 201},
            ])
        );
        assert_eq!(document["status"], 422);
        assert_eq!(document["instance"], "/api/x");
    }

    #[test]
    fn withholds_the_cause_of_a_fault_of_ours() {
        let cause = std::io::Error::other("password=hunter2");
        let document = serde_json::to_string(&Problem::internal(&cause).document(None, plain)).unwrap();
        assert!(!document.contains("hunter2"), "{document}");
        assert!(document.contains("errorId"), "{document}");
    }

    #[test]
    fn bounds_the_number_of_faults() {
        let mut faults = Faults::new();
        (0..=MAX_FAULTS).for_each(|place| faults.push(format!("body[{place}]"), "is wrong"));
        assert_eq!(
            Problem::invalid(faults.into_vec()).faults(plain).len(),
            MAX_FAULTS
        );
    }

    #[test]
    fn places_of_an_input_go_by_the_names_of_the_surface_and_those_of_a_request_as_they_are() {
        let faults = || {
            let mut faults = Faults::new();
            faults.push("event_names[1]", "is wrong");
            faults.push("headers[\"x_y\"]", "is wrong");
            faults.push("", "is wrong");
            faults.into_vec()
        };
        let code = Code {
            operation: "CreateThing",
            reason: "Invalid",
        };
        let named = Problem::refused_input(code, faults());
        let upper = |code: &str, location: &str| {
            assert_eq!(code, "CreateThing.Invalid");
            write_place("in", location, |field| field.to_uppercase().into())
        };
        let locations = |problem: &Problem, name: NamePlace| -> Vec<String> {
            let faults = problem.faults(name);
            faults.into_iter().map(|fault| fault.location).collect()
        };
        assert_eq!(
            locations(&named, upper),
            ["in", "in.EVENT_NAMES[1]", "in.HEADERS.x_y"]
        );
        assert_eq!(
            locations(&Problem::invalid(faults()), upper),
            ["", "event_names[1]", "headers[\"x_y\"]"]
        );
    }
}
