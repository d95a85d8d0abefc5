//! What both derives read of a declaration, and what both write.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, GenericArgument, Ident, Lit, Meta, PathArguments, Type};

/// The doc comment, a line of it a line.
pub(crate) fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(text) => match &text.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// `T` of an `Option<T>`.
pub(crate) fn inside_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(inside)) if last.ident == "Option" => Some(inside),
        _ => None,
    }
}

/// The name of a field in camel case; a raw identifier's is what it stands for.
pub(crate) fn in_camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// The same the other way round.
pub(crate) fn in_snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut place, letter| {
        if letter.is_ascii_uppercase() {
            place.push('_');
        }
        place.push(letter.to_ascii_lowercase());
        place
    })
}

/// The field's own name, without what makes it an identifier.
pub(crate) fn plain_name(field: &Ident) -> String {
    field.to_string().trim_start_matches("r#").to_owned()
}

/// What every declaration is besides: a component of the document, by its name.
pub(crate) fn component(
    ident: &Ident,
    name: &str,
    schema: &TokenStream,
    components: &TokenStream,
) -> TokenStream {
    quote! {
        impl ::demae_fields::Shape for #ident {
            fn shape() -> ::demae_fields::RefOrSchema {
                ::demae_fields::schema::reference(#name)
            }

            fn components(into: &mut ::demae_fields::Components) {
                if !into.iter().any(|(known, _)| known == #name) {
                    into.push((#name.to_owned(), <Self as ::demae_fields::utoipa::PartialSchema>::schema()));
                    <Self as ::demae_fields::utoipa::ToSchema>::schemas(into);
                }
            }
        }

        impl ::demae_fields::utoipa::PartialSchema for #ident {
            fn schema() -> ::demae_fields::RefOrSchema {
                #schema
            }
        }

        impl ::demae_fields::utoipa::ToSchema for #ident {
            fn name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(#name)
            }

            fn schemas(into: &mut ::demae_fields::Components) {
                #components
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn names_and_comments_are_taken_as_they_are_written() {
        assert_eq!(in_camel_case("previous_component_id"), "previousComponentId");
        assert_eq!(in_camel_case("name"), "name");
        assert_eq!(in_snake_case("previousComponentId"), "previous_component_id");
        assert_eq!(plain_name(&parse_quote!(r#type)), "type");
        let attributes: [Attribute; 3] = [
            parse_quote!(#[doc = " First."]),
            parse_quote!(#[must_use]),
            parse_quote!(#[doc = " Second."]),
        ];
        assert_eq!(documentation(&attributes), "First.\nSecond.");
    }

    #[test]
    fn options_are_known_by_their_last_name() {
        assert!(inside_option(&parse_quote!(std::option::Option<u8>)).is_some());
        assert!(inside_option(&parse_quote!(Vec<Option<u8>>)).is_none());
        assert!(inside_option(&parse_quote!(u8)).is_none());
    }
}
