//! The page that shows an OpenAPI document: Swagger UI from files that are part of the binary, so that it needs no network.
//!
//! The page is ours and has no inline script, which lets its policy forbid them; the scripts and styles come from the
//! vendored distribution. Each file is kept once: answers share it, so that clients that do not read theirs cost no memory.

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{ApiState, edge, problem::Problem};

/// Only this server's own scripts, styles and documents. The interface sets styles on elements it makes and draws its
/// icons from `data:` URLs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'none'";

/// `{page}` stands for the path of the page.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Demae API</title>
<link rel="stylesheet" href="{page}/swagger-ui.css">
<link rel="icon" href="{page}/favicon-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{page}/swagger-ui-bundle.js"></script>
<script src="{page}/start.js"></script>
</body>
</html>
"#;

/// `{document}` stands for the path of the document.
const START: &str = r#"SwaggerUIBundle({
  url: "{document}",
  domNode: document.getElementById("swagger-ui"),
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  tryItOutEnabled: true
});
"#;

/// Files of the vendored distribution that the page uses.
const VENDORED: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

/// Their types and contents.
static FILES: LazyLock<HashMap<&'static str, (String, Bytes)>> = LazyLock::new(|| {
    let config = std::sync::Arc::new(utoipa_swagger_ui::Config::from("openapi.json"));
    VENDORED
        .into_iter()
        .filter_map(|name| {
            let file = utoipa_swagger_ui::serve(name, config.clone()).ok()??;
            Some((name, (file.content_type, Bytes::from(file.bytes.into_owned()))))
        })
        .collect()
});

/// The page at `page`, with its files below, for the document that is served as JSON at `document`.
pub fn routes(page: &str, document: &str) -> Router<ApiState> {
    let html = Bytes::from(PAGE.replace("{page}", page));
    let start = Bytes::from(START.replace("{document}", document));
    let show = move || async move { with_headers("text/html; charset=utf-8", html) };
    let serve = move |Path(name): Path<String>| async move { file(&name, start).await };
    Router::new()
        .route(page, get(show))
        .route(&format!("{page}/{{file}}"), get(serve))
}

async fn file(name: &str, start: Bytes) -> Result<Response, Problem> {
    match name {
        "start.js" => Ok(with_headers("text/javascript; charset=utf-8", start)),
        name if VENDORED.contains(&name) => vendored(name),
        _ => Err(edge::not_found().await),
    }
}

fn vendored(name: &str) -> Result<Response, Problem> {
    #[derive(Debug, thiserror::Error)]
    #[error("the file {0} is not part of this build")]
    struct Missing(String);

    match FILES.get(name) {
        Some((content_type, bytes)) => Ok(with_headers(content_type, bytes.clone())),
        None => Err(Problem::internal(&Missing(name.to_owned()))),
    }
}

fn with_headers(content_type: &str, body: impl IntoResponse) -> Response {
    let mut headers = HeaderMap::new();
    let pairs: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    (headers, body).into_response()
}
