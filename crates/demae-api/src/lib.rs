//! The HTTP surfaces: authentication, problem details, OpenAPI.
