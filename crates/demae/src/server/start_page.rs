//! The page at `/` in `demae dev`.

use askama::Template;
use axum::{Router, routing::get};

use crate::inbox;

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage;

pub(crate) fn router() -> Router {
    Router::new().route("/", get(async || inbox::render(&StartPage)))
}
