//! `#[derive(Input)]`.

#![expect(
    clippy::needless_continue,
    reason = "the code that darling's derives write has one"
)]

use std::collections::HashMap;

use darling::{FromDeriveInput, FromField, ast::Data, util::Flag};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, DeriveInput, Expr, Ident, Type, spanned::Spanned};

use crate::declaration::{component, documentation, in_camel_case, in_snake_case, inside_option, plain_name};

#[derive(FromDeriveInput)]
#[darling(attributes(input), forward_attrs(doc), supports(struct_named))]
struct Container {
    ident: Ident,
    attrs: Vec<Attribute>,
    data: Data<(), Declared>,
    name: Option<String>,
    snake_case: Flag,
    example: Option<Expr>,
}

#[derive(FromField)]
#[darling(attributes(input), forward_attrs(doc))]
struct Declared {
    ident: Option<Ident>,
    ty: Type,
    attrs: Vec<Attribute>,
    kind: Option<Expr>,
    rename: Option<String>,
    default: Flag,
    not_null: Flag,
    flatten: Flag,
    /// Of a flattened input, by field: what is said of it here instead.
    #[darling(default)]
    described: HashMap<String, String>,
}

/// When a field may be missing, and what null means.
enum Presence<'t> {
    Required(&'t Type),
    /// Left out or null, which mean the same: the default.
    Defaulted(&'t Type),
    /// Left out or null, which mean the same: nothing.
    Nullable(&'t Type),
    /// Left out, but not null.
    NotNull(&'t Type),
    /// Left out or null, which mean different things.
    Clearable(&'t Type),
}

struct Field<'t> {
    ident: &'t Ident,
    name: String,
    documentation: String,
    kind: TokenStream,
    presence: Presence<'t>,
    flatten: bool,
    described: Vec<(String, String)>,
}

pub(crate) fn derive(input: &DeriveInput) -> darling::Result<TokenStream> {
    let container = Container::from_derive_input(input)?;
    let Data::Struct(declared) = &container.data else {
        return Err(darling::Error::custom("must be a struct with named fields"));
    };
    let mut errors = darling::Error::accumulator();
    let fields: Vec<Field<'_>> = declared
        .iter()
        .filter_map(|field| errors.handle(field.understood(container.snake_case.is_present())))
        .collect();
    errors.finish()?;
    let ident = &container.ident;
    let name = container.name.clone().unwrap_or_else(|| plain_name(ident));
    let own = input_impl(ident, &fields);
    let schema = schema(&container, &documentation(&container.attrs));
    let nested = quote!(<Self as ::demae_fields::Input>::nested(into););
    let component = component(ident, &name, &schema, &nested);
    Ok(quote! {
        #own
        #component
        impl ::demae_fields::FromNode for #ident {
            fn from_node(node: ::demae_fields::Node<'_>) -> ::std::option::Option<Self> {
                node.object(<Self as ::demae_fields::Input>::read)
            }

            fn check_value(&self, at: &str, faults: &mut ::demae_fields::Faults) {
                <Self as ::demae_fields::Input>::check_at(self, at, faults);
            }
        }
    })
}

impl Declared {
    fn understood(&self, snake_case: bool) -> darling::Result<Field<'_>> {
        let Some(ident) = &self.ident else {
            return Err(darling::Error::custom("must have a name"));
        };
        let plain = plain_name(ident);
        let name = match &self.rename {
            Some(name) => name.clone(),
            None if snake_case => plain,
            None => in_camel_case(&plain),
        };
        let flatten = self.flatten.is_present();
        let presence = self.presence()?;
        if !flatten && !self.described.is_empty() {
            return Err(darling::Error::custom(
                "only the fields of a flattened input are described anew",
            ));
        }
        if flatten && !(matches!(presence, Presence::Required(_)) && self.kind.is_none()) {
            let message = "a flattened field is an input of its own, always there";
            return Err(darling::Error::custom(message).with_span(&self.ty));
        }
        let kind = if let Some(kind) = &self.kind {
            quote!((#kind))
        } else {
            quote_spanned!(self.ty.span()=> ::demae_fields::Natural)
        };
        Ok(Field {
            ident,
            name,
            documentation: documentation(&self.attrs),
            kind,
            presence,
            flatten,
            described: self.descriptions(snake_case),
        })
    }

    /// By their names in the body, in a fixed order.
    fn descriptions(&self, snake_case: bool) -> Vec<(String, String)> {
        let name = |field: &String| {
            if snake_case {
                field.clone()
            } else {
                in_camel_case(field)
            }
        };
        let mut described: Vec<_> = self
            .described
            .iter()
            .map(|(field, text)| (name(field), text.clone()))
            .collect();
        described.sort();
        described
    }

    fn presence(&self) -> darling::Result<Presence<'_>> {
        let (default, not_null) = (self.default.is_present(), self.not_null.is_present());
        match (inside_option(&self.ty), default, not_null) {
            (_, true, true) => {
                Err(darling::Error::custom("has a default or is not null, not both").with_span(&self.ty))
            }
            (None, false, true) => {
                Err(darling::Error::custom("a field that is always there is not null").with_span(&self.ty))
            }
            (None, true, false) => Ok(Presence::Defaulted(&self.ty)),
            (None, false, false) => Ok(Presence::Required(&self.ty)),
            (Some(_), true, false) => {
                Err(darling::Error::custom("the default of an `Option` is to have none").with_span(&self.ty))
            }
            (Some(inside), false, true) => Ok(Presence::NotNull(inside)),
            (Some(inside), false, false) => Ok(match inside_option(inside) {
                Some(innermost) => Presence::Clearable(innermost),
                None => Presence::Nullable(inside),
            }),
        }
    }
}

fn input_impl(ident: &Ident, fields: &[Field<'_>]) -> TokenStream {
    let reads = fields.iter().map(Field::read);
    let values = fields.iter().map(|field| {
        let (ident, local) = (field.ident, field.local());
        quote!(#ident: #local?)
    });
    let checks = fields.iter().map(Field::check);
    let properties = fields.iter().map(Field::property);
    let nested = fields.iter().map(Field::nested);
    quote! {
        impl ::demae_fields::Input for #ident {
            fn read(fields: &mut ::demae_fields::Fields<'_>) -> ::std::option::Option<Self> {
                #(#reads)*
                ::std::option::Option::Some(Self { #(#values),* })
            }

            fn check_at(&self, at: &str, faults: &mut ::demae_fields::Faults) {
                #(#checks)*
            }

            fn properties(object: ::demae_fields::schema::ObjectBuilder) -> ::demae_fields::schema::ObjectBuilder {
                #(#properties)*
                object
            }

            fn nested(into: &mut ::demae_fields::Components) {
                #(#nested)*
            }
        }
    }
}

fn schema(container: &Container, documentation: &str) -> TokenStream {
    let example = container.example.as_ref().map(|example| {
        quote! {
            let object = {
                use ::demae_fields::json;
                object.example(::std::option::Option::Some(#example))
            };
        }
    });
    quote! {
        let object = ::demae_fields::schema::object(#documentation);
        let object = <Self as ::demae_fields::Input>::properties(object);
        #example
        object.into()
    }
}

impl Field<'_> {
    /// The local variable that the field is read into: none of those that the generated code has besides.
    fn local(&self) -> Ident {
        format_ident!("read_{}", plain_name(self.ident))
    }

    /// The type that its kind reads.
    fn read_type(&self) -> &Type {
        match &self.presence {
            Presence::Required(ty)
            | Presence::Defaulted(ty)
            | Presence::Nullable(ty)
            | Presence::NotNull(ty)
            | Presence::Clearable(ty) => ty,
        }
    }

    fn read(&self) -> TokenStream {
        let (local, name, kind, ty) = (self.local(), &self.name, &self.kind, self.read_type());
        if self.flatten {
            return quote!(let #local = <#ty as ::demae_fields::Input>::read(fields););
        }
        let way = match self.presence {
            Presence::Required(_) => quote!(required),
            Presence::Defaulted(_) | Presence::Nullable(_) => quote!(nullable),
            Presence::NotNull(_) => quote!(optional),
            Presence::Clearable(_) => quote!(clearable),
        };
        let default = matches!(self.presence, Presence::Defaulted(_))
            .then(|| quote!(.map(::std::option::Option::unwrap_or_default)));
        quote! {
            let #local = fields
                .field(#name)
                .#way(|node| ::demae_fields::Kind::<#ty>::read(&#kind, node))
                #default;
        }
    }

    fn check(&self) -> TokenStream {
        let (ident, kind, ty) = (self.ident, &self.kind, self.read_type());
        let place = in_snake_case(&self.name);
        if self.flatten {
            return quote!(<#ty as ::demae_fields::Input>::check_at(&self.#ident, at, faults););
        }
        let check = |value: TokenStream| quote!(::demae_fields::Kind::<#ty>::check(&#kind, #value, &::demae_fields::below(at, #place), faults););
        match self.presence {
            Presence::Required(_) | Presence::Defaulted(_) => check(quote!(&self.#ident)),
            Presence::Nullable(_) | Presence::NotNull(_) => {
                let check = check(quote!(value));
                quote!(if let ::std::option::Option::Some(value) = &self.#ident { #check })
            }
            Presence::Clearable(_) => {
                let check = check(quote!(value));
                quote! {
                    if let ::std::option::Option::Some(::std::option::Option::Some(value)) = &self.#ident { #check }
                }
            }
        }
    }

    fn property(&self) -> TokenStream {
        let (name, documentation, kind, ty) = (&self.name, &self.documentation, &self.kind, self.read_type());
        if self.flatten {
            let described = self.described.iter().map(|(name, text)| {
                quote!(let object = ::demae_fields::schema::redescribed(object, #name, #text);)
            });
            return quote! {
                let object = <#ty as ::demae_fields::Input>::properties(object);
                #(#described)*
            };
        }
        let schema = quote!(::demae_fields::Kind::<#ty>::schema(&#kind));
        let (schema, required) = match self.presence {
            Presence::Required(_) => (schema, true),
            Presence::NotNull(_) => (schema, false),
            Presence::Defaulted(_) | Presence::Nullable(_) | Presence::Clearable(_) => {
                (quote!(::demae_fields::schema::or_null(#schema)), false)
            }
        };
        quote! {
            let object = ::demae_fields::schema::property(object, #name, #required, #schema, #documentation);
        }
    }

    fn nested(&self) -> TokenStream {
        let (kind, ty) = (&self.kind, self.read_type());
        if self.flatten {
            return quote!(<#ty as ::demae_fields::Input>::nested(into););
        }
        quote!(::demae_fields::Kind::<#ty>::components(&#kind, into);)
    }
}
