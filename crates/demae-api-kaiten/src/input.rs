//! Bodies of requests, as this surface reads them.

use demae_api::extract;

/// Names this surface as a reader of inputs.
pub(crate) enum Kaiten {}

/// A JSON body, as this surface reads it.
pub(crate) type JsonBody<T> = extract::JsonBody<Kaiten, T>;
/// A JSON body that may be left out, as this surface reads it.
pub(crate) type OptionalBody<T> = extract::OptionalBody<Kaiten, T>;

/// Says of inputs that this surface reads them as they are declared.
macro_rules! reads_as_declared {
    ($($input:ty),+ $(,)?) => {
        $(impl demae_api::json::fields::ReadBody<$crate::input::Kaiten> for $input {
            fn read(fields: &mut demae_api::json::fields::Fields<'_>) -> Option<Self> {
                <$input as demae_fields::Input>::read(fields)
            }
        })+
    };
}

pub(crate) use reads_as_declared;
