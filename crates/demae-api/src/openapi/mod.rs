//! Building blocks of a surface's OpenAPI 3.1 document.
//!
//! Paths, parameters and schemas come from the handlers' own declarations, so that a route cannot be without one. What
//! follows from a rule rather than from a handler is added here, in one place: an operation that wants a token can answer
//! 401 and 403, one that takes a body 400, 413, 415 and 422, and so on. A surface whose refusals are problem documents
//! begins with [`declared`], says what only it knows (title, tags, security), and ends with [`complete`].
//!
//! [`Document`] is the result as it is served, [`viewer`] the page that shows it.

mod served;
pub mod viewer;

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema, openapi::OpenApi};

pub use self::served::Document;
use crate::{
    extract::MAX_IDEMPOTENCY_KEY,
    problem::{CONTENT_TYPE, ProblemDocument, ProblemKind},
};

/// What differs between the surfaces whose refusals are problem documents.
#[derive(Debug, Clone, Copy)]
pub struct Conventions {
    /// Whether the path belongs to a protocol that is not ours: its bodies may have more keys, its faults are answered in
    /// its own form, and its POST requests change nothing.
    pub is_foreign: fn(path: &str) -> bool,
    /// A code and a detail, as an example of a problem of this kind.
    pub example: fn(ProblemKind) -> (&'static str, &'static str),
    /// [`Surface::challenge`](crate::Surface::challenge).
    pub challenge: &'static str,
    /// The path in the examples.
    pub example_path: &'static str,
    /// The location, message and value of the fault in the examples.
    pub example_fault: [&'static str; 3],
}

/// The document that the handlers declare, with the schema of problems.
#[expect(
    clippy::expect_used,
    reason = "the document is plain data with text keys; every surface's tests build it"
)]
pub fn declared(mut declared: OpenApi) -> Value {
    declare_problem(&mut declared);
    serde_json::to_value(declared).expect("the declared document is JSON")
}

/// Adds what follows from rules.
pub fn complete(document: &mut Value, conventions: &Conventions) {
    let responses = ProblemKind::ALL
        .into_iter()
        .map(|kind| (component_name(kind), component(kind, conventions)));
    document["components"]["responses"] = Value::Object(responses.collect());
    add_examples(&mut document["components"]["schemas"], conventions);
    for (path, method, operation) in operations_mut(document) {
        complete_operation(&path, &method, operation, conventions);
    }
    for schema in body_schemas(document, conventions) {
        // The readers refuse what they did not ask for.
        document["components"]["schemas"][schema]["additionalProperties"] = false.into();
    }
}

/// The examples in the schema of problems.
fn add_examples(schemas: &mut Value, conventions: &Conventions) {
    let (code, _) = (conventions.example)(ProblemKind::Forbidden);
    let [location, ..] = conventions.example_fault;
    for (schema, member, example) in [
        ("Problem", "instance", conventions.example_path),
        ("Problem", "code", code),
        ("ProblemFault", "location", location),
    ] {
        schemas[schema]["properties"][member]["examples"] = json!([example]);
    }
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
fn body_schemas(document: &Value, conventions: &Conventions) -> Vec<String> {
    const PREFIX: &str = "#/components/schemas/";
    let mut open: Vec<&Value> = Vec::new();
    let paths = document["paths"].as_object().into_iter().flatten();
    for (_, item) in paths.filter(|(path, _)| !(conventions.is_foreign)(path)) {
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

fn complete_operation(path: &str, method: &str, operation: &mut Value, conventions: &Conventions) {
    // What changes nothing has nothing to repeat.
    if method == "post" && !(conventions.is_foreign)(path) {
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

fn component(kind: ProblemKind, conventions: &Conventions) -> Value {
    let mut component = json!({"description": kind.title(), "content": problem_content()});
    component["content"][CONTENT_TYPE]["example"] = example(kind, conventions);
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
            let challenge = format!("`{}`", conventions.challenge);
            component["headers"] = header("WWW-Authenticate", &challenge, "string");
        }
        ProblemKind::TooMany | ProblemKind::Unavailable => {
            component["headers"] = header("Retry-After", "Seconds after which to try again.", "integer");
        }
        _ => {}
    }
    component
}

fn example(kind: ProblemKind, conventions: &Conventions) -> Value {
    let (code, detail) = (conventions.example)(kind);
    let mut example = json!({
        "type": kind.type_uri(),
        "title": kind.title(),
        "status": kind.status().as_u16(),
        "detail": detail,
        "instance": conventions.example_path,
        "code": code,
    });
    if kind == ProblemKind::Invalid {
        let [location, message, value] = conventions.example_fault;
        example["errors"] = json!([{"location": location, "message": message, "value": value}]);
    }
    example
}
