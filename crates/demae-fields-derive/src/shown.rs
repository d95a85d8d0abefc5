//! `#[derive(Shown)]`.

#![expect(
    clippy::needless_continue,
    reason = "the code that darling's derives write has one"
)]

use darling::{
    FromDeriveInput, FromField,
    ast::Data,
    util::{Flag, parse_expr::preserve_str_literal},
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, DeriveInput, Expr, Ident, LitStr, Meta, Type};

use crate::declaration::{component, documentation, in_camel_case, inside_option, plain_name};

#[derive(FromDeriveInput)]
#[darling(attributes(shown), forward_attrs(doc, serde), supports(struct_named))]
struct Container {
    ident: Ident,
    attrs: Vec<Attribute>,
    data: Data<(), Declared>,
    name: Option<String>,
}

#[derive(FromField)]
#[darling(attributes(shown), forward_attrs(doc, serde))]
struct Declared {
    ident: Option<Ident>,
    ty: Type,
    attrs: Vec<Attribute>,
    /// An expression of the schema, where it does not follow from the type.
    schema: Option<Expr>,
    /// The type by which it is described, where that is another one.
    described_as: Option<Expr>,
    #[darling(default, with = as_it_is)]
    example: Option<Expr>,
    /// Not for the document.
    hidden: Flag,
}

/// An expression, which a text is too.
fn as_it_is(meta: &Meta) -> darling::Result<Option<Expr>> {
    preserve_str_literal(meta).map(Some)
}

/// What `serde` was asked for.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<String>,
    may_be_left_out: bool,
    flatten: bool,
}

impl Serde {
    fn of(attributes: &[Attribute]) -> darling::Result<Self> {
        let mut serde = Self::default();
        for attribute in attributes.iter().filter(|one| one.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
                let value = match meta.value() {
                    Ok(value) => Some(value.parse::<LitStr>()?.value()),
                    Err(_) => None,
                };
                match name.as_str() {
                    "rename" => serde.rename = value,
                    "rename_all" => serde.rename_all = value,
                    "skip_serializing_if" => serde.may_be_left_out = true,
                    "flatten" => serde.flatten = true,
                    // They say how it is read.
                    "default" => {}
                    _ => return Err(meta.error("is not known to `Shown`")),
                }
                Ok(())
            })?;
        }
        Ok(serde)
    }

    fn names_in_camel_case(&self) -> darling::Result<bool> {
        match self.rename_all.as_deref() {
            None => Ok(false),
            Some("camelCase") => Ok(true),
            Some(_) => Err(darling::Error::custom("names are in camel case or as they are")),
        }
    }
}

pub(crate) fn derive(input: &DeriveInput) -> darling::Result<TokenStream> {
    let container = Container::from_derive_input(input)?;
    let Data::Struct(declared) = &container.data else {
        return Err(darling::Error::custom("must be a struct with named fields"));
    };
    let camel_case = Serde::of(&container.attrs)?.names_in_camel_case()?;
    let mut errors = darling::Error::accumulator();
    let fields: Vec<(TokenStream, TokenStream)> = declared
        .iter()
        .filter(|field| !field.hidden.is_present())
        .filter_map(|field| errors.handle(field.described(camel_case)))
        .collect();
    errors.finish()?;
    let (properties, nested): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let ident = &container.ident;
    let name = container.name.clone().unwrap_or_else(|| plain_name(ident));
    let documentation = documentation(&container.attrs);
    let schema = quote! {
        let object = ::demae_fields::schema::object(#documentation);
        <Self as ::demae_fields::Described>::properties(object).into()
    };
    let nested = quote!(#(#nested)*);
    let component = component(ident, &name, &schema, &nested);
    Ok(quote! {
        impl ::demae_fields::Described for #ident {
            fn properties(object: ::demae_fields::schema::ObjectBuilder) -> ::demae_fields::schema::ObjectBuilder {
                #(#properties)*
                object
            }
        }
        #component
    })
}

impl Declared {
    /// The property, and the components that it refers to.
    fn described(&self, camel_case: bool) -> darling::Result<(TokenStream, TokenStream)> {
        let Some(ident) = &self.ident else {
            return Err(darling::Error::custom("must have a name"));
        };
        let serde = Serde::of(&self.attrs)?;
        let described_as: Option<Type> = match &self.described_as {
            Some(ty) => Some(syn::parse2(quote!(#ty))?),
            None => None,
        };
        let ty = described_as.as_ref().unwrap_or(&self.ty);
        if serde.flatten {
            let properties = quote!(let object = <#ty as ::demae_fields::Described>::properties(object););
            let nested = quote!(<#ty as ::demae_fields::utoipa::ToSchema>::schemas(into););
            return Ok((properties, nested));
        }
        let plain = plain_name(ident);
        let name = match serde.rename {
            Some(name) => name,
            None if camel_case => in_camel_case(&plain),
            None => plain,
        };
        // What may be left out is never null.
        let ty = match inside_option(ty) {
            Some(inside) if serde.may_be_left_out => inside,
            _ => ty,
        };
        let (schema, nested) = match &self.schema {
            Some(schema) => (quote!(#schema), None),
            None => (
                quote!(<#ty as ::demae_fields::Shape>::shape()),
                Some(quote!(<#ty as ::demae_fields::Shape>::components(into);)),
            ),
        };
        let schema = match &self.example {
            Some(example) => quote!(::demae_fields::schema::example(#schema, #example)),
            None => schema,
        };
        let (required, documentation) = (!serde.may_be_left_out, documentation(&self.attrs));
        let property = quote! {
            let object = ::demae_fields::schema::property(object, #name, #required, #schema, #documentation);
        };
        Ok((property, nested.unwrap_or_default()))
    }
}
