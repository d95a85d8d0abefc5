//! Derives what one declaration of a resource's fields is good for.
//!
//! - `#[derive(Input)]` makes a struct readable from JSON with every fault at its place, checkable by the domain, and
//!   describable in an OpenAPI document.
//! - `#[derive(Shown)]` describes a struct that `serde` writes.
//!
//! The attributes are documented with the traits, in `demae-fields`. The generated code names `::demae_fields` only.

mod declaration;
mod input;
mod shown;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Reads, checks and describes an input; see `demae_fields::Input`.
#[proc_macro_derive(Input, attributes(input))]
pub fn derive_input(tokens: TokenStream) -> TokenStream {
    let input = parse_macro_input!(tokens as DeriveInput);
    input::derive(&input)
        .unwrap_or_else(darling::Error::write_errors)
        .into()
}

/// Describes what is shown; see `demae_fields::Shape`.
#[proc_macro_derive(Shown, attributes(shown))]
pub fn derive_shown(tokens: TokenStream) -> TokenStream {
    let input = parse_macro_input!(tokens as DeriveInput);
    shown::derive(&input)
        .unwrap_or_else(darling::Error::write_errors)
        .into()
}
