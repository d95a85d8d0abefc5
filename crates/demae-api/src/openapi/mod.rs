//! The OpenAPI 3.1 document.
//!
//! Paths, parameters and schemas come from the handlers' own declarations, so that a route cannot be without one. What
//! follows from a rule rather than from a handler is added here, in one place: an operation that wants a token can answer
//! 401 and 403, one that takes a body 400, 413, 415 and 422, and so on. The `webhooks` section comes from the event
//! catalogue ([`webhooks`]).

mod webhooks;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema, openapi::OpenApi};

use crate::{
    extract::MAX_IDEMPOTENCY_KEY,
    kaiten,
    problem::{CONTENT_TYPE, ProblemDocument, ProblemKind},
};

/// Name of the security scheme in the document; handlers name it with the scope they want.
pub(crate) const TOKEN: &str = "token";

/// Paths of a protocol that is not ours: its bodies may have more keys, and faults are answered in its own form.
pub(crate) const OFREP: &str = "/api/ofrep/";

/// The document. Made once; needs no server.
pub fn openapi() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
    &DOCUMENT
}

#[expect(
    clippy::expect_used,
    reason = "the document is plain data with text keys; a test builds it"
)]
fn build() -> Value {
    let mut declared = kaiten::routes().into_openapi();
    declare_problem(&mut declared);
    let mut document = serde_json::to_value(declared).expect("the declared document is JSON");
    describe(&mut document);
    for (path, method, operation) in operations_mut(&mut document) {
        complete(&path, &method, operation);
    }
    for schema in body_schemas(&document) {
        // The readers refuse what they did not ask for.
        document["components"]["schemas"][schema]["additionalProperties"] = false.into();
    }
    document["webhooks"] = webhooks::section();
    document
}

/// No handler names the schema of problems; the answers added here do.
fn declare_problem(declared: &mut OpenApi) {
    let mut schemas = vec![(ProblemDocument::name().into_owned(), ProblemDocument::schema())];
    ProblemDocument::schemas(&mut schemas);
    declared
        .components
        .get_or_insert_default()
        .schemas
        .extend(schemas);
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
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        TOKEN: {
            "type": "http",
            "scheme": "bearer",
            "description": "A `ksh_…` token of a service account. The scopes an operation needs are listed with it; \
                `write:X` implies `read:X`, and `read:*` and `write:*` stand for every module.",
        }
    });
    let responses = ProblemKind::ALL
        .into_iter()
        .map(|kind| (component_name(kind), component(kind)));
    components["responses"] = Value::Object(responses.collect());
}

/// Every operation, with its path and its method.
fn operations_mut(document: &mut Value) -> impl Iterator<Item = (String, String, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        item.as_object_mut()
            .into_iter()
            .flatten()
            .map(move |(method, operation)| (path.clone(), method.clone(), operation))
    })
}

/// The names of the schemas of objects that callers send.
fn body_schemas(document: &Value) -> Vec<String> {
    const PREFIX: &str = "#/components/schemas/";
    let mut open: Vec<&Value> = Vec::new();
    let paths = document["paths"].as_object().into_iter().flatten();
    for (_, item) in paths.filter(|(path, _)| !path.starts_with(OFREP)) {
        open.extend(
            item.as_object()
                .into_iter()
                .flat_map(Map::values)
                .filter_map(|one| one.get("requestBody")),
        );
    }
    let mut names = Vec::new();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                if let Some(name) = object
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|text| text.strip_prefix(PREFIX))
                    && !names.iter().any(|known| known == name)
                {
                    names.push(name.to_owned());
                    open.push(&document["components"]["schemas"][name]);
                }
                open.extend(object.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    names.retain(|name| {
        document["components"]["schemas"][name]
            .get("properties")
            .is_some()
    });
    names
}

fn complete(path: &str, method: &str, operation: &mut Value) {
    // An evaluation changes nothing, so there is nothing to repeat.
    if method == "post" && !path.starts_with(OFREP) {
        let parameters = entry(operation, "parameters", || json!([]));
        if let Some(parameters) = parameters.as_array_mut() {
            parameters.push(idempotency_key());
        }
    }
    let kinds = answers(path, operation);
    let tagged = has_parameter(operation, "If-None-Match");
    let Some(responses) = entry(operation, "responses", || json!({})).as_object_mut() else {
        return;
    };
    for (status, response) in responses.iter_mut() {
        if status.as_str() >= "400" && response.get("content").is_none() {
            response["content"] = problem_content();
        }
    }
    for kind in kinds {
        let reference = json!({"$ref": format!("#/components/responses/{}", component_name(kind))});
        responses.entry(kind.status().as_str()).or_insert(reference);
    }
    if tagged {
        responses["200"]["headers"]["ETag"] = json!({
            "description": "The state of the resource, for `If-Match` and `If-None-Match`.",
            "schema": {"type": "string"},
        });
        responses.insert(
            "304".to_owned(),
            json!({"description": "The caller holds this state already."}),
        );
    }
    responses.sort_keys();
}

/// What an operation of this form can answer beside what its handler declares.
fn answers(path: &str, operation: &Value) -> Vec<ProblemKind> {
    let mut kinds = vec![ProblemKind::Internal, ProblemKind::Unavailable];
    if operation.get("security").is_some() {
        kinds.extend([ProblemKind::Unauthenticated, ProblemKind::Forbidden]);
    }
    if path.contains('{') {
        kinds.push(ProblemKind::NotFound);
    }
    if has_parameter(operation, "If-Match") {
        kinds.push(ProblemKind::PreconditionFailed);
    }
    let outside_path = |parameter: &Value| parameter["in"] != "path";
    if operation["parameters"]
        .as_array()
        .is_some_and(|all| all.iter().any(outside_path))
    {
        kinds.push(ProblemKind::Invalid);
    }
    if operation.get("requestBody").is_some() {
        kinds.extend([
            ProblemKind::Malformed,
            ProblemKind::TooLarge,
            ProblemKind::UnsupportedMedia,
            ProblemKind::Invalid,
        ]);
    }
    kinds
}

fn has_parameter(operation: &Value, name: &str) -> bool {
    let all = operation["parameters"].as_array();
    all.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name))
}

fn entry<'v>(object: &'v mut Value, key: &str, default: impl FnOnce() -> Value) -> &'v mut Value {
    if object.get(key).is_none() {
        object[key] = default();
    }
    &mut object[key]
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "Makes the request repeatable for 24 hours: the same key with the same body gets the stored \
            answer (without tokens and secrets that are shown once), with another body 422.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    })
}

fn problem_content() -> Value {
    json!({CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}})
}

fn component_name(kind: ProblemKind) -> String {
    kind.title().replace(' ', "")
}

fn component(kind: ProblemKind) -> Value {
    let mut component = json!({"description": kind.title(), "content": problem_content()});
    component["content"][CONTENT_TYPE]["example"] = example(kind);
    let header = |name: &str, description: &str, kind: &str| {
        let mut headers = Map::new();
        headers.insert(
            name.to_owned(),
            json!({"description": description, "schema": {"type": kind}}),
        );
        Value::Object(headers)
    };
    match kind {
        ProblemKind::Unauthenticated => {
            component["headers"] = header("WWW-Authenticate", "`Bearer`", "string");
        }
        ProblemKind::TooMany | ProblemKind::Unavailable => {
            component["headers"] = header("Retry-After", "Seconds after which to try again.", "integer");
        }
        _ => {}
    }
    component
}

fn example(kind: ProblemKind) -> Value {
    let (code, detail) = match kind {
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
    };
    let mut example = json!({
        "type": kind.type_uri(),
        "title": kind.title(),
        "status": kind.status().as_u16(),
        "detail": detail,
        "instance": "/api/webhooks",
        "code": code,
    });
    if kind == ProblemKind::Invalid {
        example["errors"] =
            json!([{"location": "body.eventNames[0]", "message": "is no event name", "value": "A B"}]);
    }
    example
}
