//! The OpenAPI document of this surface: what is not declared by its handlers.
//!
//! The kit adds what follows from rules ([`demae_api::openapi`]); here are title, tags and security, and the `webhooks`
//! section, which comes from the event catalogue ([`webhooks`]).

mod webhooks;

use demae_api::{
    openapi::{self, Conventions},
    problem::ProblemKind,
};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

/// Name of the security scheme in the document; handlers name it with the scope they want.
pub(crate) const TOKEN: &str = "token";

/// Paths of a protocol that is not ours: its bodies may have more keys, and faults are answered in its own form.
pub(crate) const OFREP: &str = "/api/ofrep/";

/// How a request authenticates.
pub(crate) const CHALLENGE: &str = "Bearer";

const CONVENTIONS: Conventions = Conventions {
    is_foreign: |path| path.starts_with(OFREP),
    example,
    challenge: CHALLENGE,
    example_path: "/api/webhooks",
    example_fault: ["body.eventNames[0]", "is no event name", "A B"],
};

/// The document of what the handlers declare.
pub(crate) fn build(declared: OpenApi) -> Value {
    let mut document = openapi::declared(declared);
    describe(&mut document);
    openapi::complete(&mut document, &CONVENTIONS);
    document["webhooks"] = webhooks::section();
    document
}

fn describe(document: &mut Value) {
    document["info"] = json!({
        "title": "Demae",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "The Kaiten surface: webhooks, their history, events, customers and credentials.",
        "description": "Errors are RFC 9457 problem documents; programs branch on `code`. Lists are pages: pass \
            `nextCursor` as `cursor` until `hasMore` is false. POST requests may carry an `Idempotency-Key`: a \
            repetition within 24 hours gets the stored answer, marked `Idempotent-Replayed: true`. Something of \
            another organization is answered like something that does not exist.",
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
    });
    document["servers"] = json!([{"url": "/", "description": "This server"}]);
    document["tags"] = json!([
        {"name": "Webhooks", "description": "Endpoints that receive events."},
        {"name": "History", "description": "Every attempt to deliver, and how to repeat it."},
        {"name": "Events", "description": "An application's own events, and what kinds there are."},
        {"name": "Customers", "description": "Who the product is sold to."},
        {"name": "Instances", "description": "Installations of the product, and what they use."},
        {"name": "Licenses", "description": "What is sold, and what each license grants."},
        {"name": "Entitlements", "description": "What can be granted."},
        {"name": "Feature flags", "description": "Switches, and their evaluation."},
        {"name": "Deployment zones", "description": "Where instances run, and which release runs there."},
        {"name": "Releases", "description": "Versions of the product and the components they consist of."},
        {"name": "Audit", "description": "Who did what when."},
        {"name": "Service accounts", "description": "Machine users and their tokens."},
        {"name": "Health", "description": "Whether the service works."},
        {"name": "Deliveries", "description": "What an endpoint receives; see the webhooks section."},
    ]);
    document["components"]["securitySchemes"] = json!({
        TOKEN: {
            "type": "http",
            "scheme": "bearer",
            "description": "A `ksh_…` token of a service account. The scopes an operation needs are listed with it; \
                `write:X` implies `read:X`, and `read:*` and `write:*` stand for every module.",
        }
    });
}

fn example(kind: ProblemKind) -> (&'static str, &'static str) {
    match kind {
        ProblemKind::Malformed => ("Request.Malformed", "The body is not JSON: line 1, column 2."),
        ProblemKind::Unauthenticated => ("Auth.NoIdentity", "A valid token is needed."),
        ProblemKind::Forbidden => ("Auth.MissingScope", "The scope write:webhooks is needed."),
        ProblemKind::NotFound => ("GetCustomer.NotFound", "There is no such customer."),
        ProblemKind::MethodNotAllowed => (
            "Request.MethodNotAllowed",
            "This path does not serve this method.",
        ),
        ProblemKind::Conflict => ("CreateCustomer.SlugConflict", "Another customer has this slug."),
        ProblemKind::PreconditionFailed => (
            "UpdateCustomer.PreconditionFailed",
            "The resource was changed since it was read; read it again.",
        ),
        ProblemKind::TooLarge => ("Request.TooLarge", "The body is longer than 1048576 bytes."),
        ProblemKind::UnsupportedMedia => ("Request.UnsupportedMediaType", "The body must be JSON."),
        ProblemKind::Invalid => (
            "Request.Invalid",
            "The request does not fit the schema; see errors.",
        ),
        ProblemKind::TooMany => (
            "PublishEvents.QueueFull",
            "More events arrive than can be written.",
        ),
        ProblemKind::Internal => ("Internal", "Something went wrong on our side."),
        ProblemKind::Unavailable => (
            "Unavailable",
            "The request cannot be served right now; try again.",
        ),
    }
}
