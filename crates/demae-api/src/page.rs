//! Lists in pages: `{items, hasMore, nextCursor}`, for surfaces that have no form of their own.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use demae_event::{AttemptId, EndpointId, EventId, Timestamp};
use demae_store::repository::{Listing, Page, messages::MessageCursor};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::query::{QueryFields, ReadQuery};

/// Items in a page unless the caller says how many.
const DEFAULT_LIMIT: u32 = 50;
/// Most items in a page.
const MAX_LIMIT: u32 = 200;
const MAX_CURSOR_LENGTH: usize = 512;

/// Which page of a list is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Items in the page, at most.
    #[param(minimum = 1, maximum = 200, default = 50, required = false, nullable = false)]
    #[expect(dead_code, reason = "describes the parameter; PageOf reads it")]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    #[param(max_length = 512, required = false, nullable = false)]
    #[expect(dead_code, reason = "describes the parameter; PageOf reads it")]
    cursor: Option<String>,
}

/// Reads `limit` and `cursor`.
///
/// A cursor is the position in the list, in a form that says nothing to its holder. Changing it leads to another place
/// in the caller's own list, and nowhere else.
pub fn read_page<C: Cursor>(query: &mut QueryFields<'_>) -> Option<Page<C>> {
    let limit = query.integer("limit", 1..=MAX_LIMIT);
    let cursor = query.text("cursor", 1..=MAX_CURSOR_LENGTH)?;
    let after = match cursor {
        None => None,
        Some(text) => match decode(&text) {
            Some(position) => Some(position),
            None => return query.refuse("cursor", &text, "is no cursor of this list"),
        },
    };
    Some(Page {
        limit: limit?.unwrap_or(DEFAULT_LIMIT),
        after,
    })
}

/// A list without filters.
#[derive(Debug)]
pub struct PageQuery<C>(pub Page<C>);

impl<C: Cursor> ReadQuery for PageQuery<C> {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        read_page(query).map(Self)
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageBody<T> {
    /// The items, in the order of the list.
    items: Vec<T>,
    /// Whether there is another page.
    has_more: bool,
    /// What to pass as `cursor` to get it; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

impl<T> PageBody<T> {
    /// The page as it is answered.
    pub fn from_listing<U, C: Cursor>(listing: Listing<U, C>, show: impl FnMut(U) -> T) -> Self {
        Self {
            has_more: listing.next.is_some(),
            next_cursor: listing.next.as_ref().map(encode),
            items: listing.items.into_iter().map(show).collect(),
        }
    }
}

/// A position in a list, as text.
pub trait Cursor: Sized {
    /// The position's text.
    fn to_text(&self) -> String;
    /// Reads it back; `None` if it is none.
    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! cursor_of_text {
    ($($position:ty),*) => {
        $(impl Cursor for $position {
            fn to_text(&self) -> String {
                self.to_string()
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        })*
    };
}

cursor_of_text!(Uuid, EndpointId, AttemptId);

impl Cursor for String {
    fn to_text(&self) -> String {
        self.clone()
    }

    fn from_text(text: &str) -> Option<Self> {
        // No slug has it, and a database cannot compare with it.
        (!text.contains('\0')).then(|| text.to_owned())
    }
}

impl Cursor for MessageCursor {
    fn to_text(&self) -> String {
        format!("{} {}", self.created_at.as_micros(), self.event_id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (created_at, event_id) = text.split_once(' ')?;
        let created_at = Timestamp::from_micros(created_at.parse().ok()?);
        Some(Self {
            created_at,
            event_id: event_id.parse::<EventId>().ok()?,
        })
    }
}

fn encode<C: Cursor>(position: &C) -> String {
    URL_SAFE_NO_PAD.encode(position.to_text())
}

fn decode<C: Cursor>(text: &str) -> Option<C> {
    C::from_text(std::str::from_utf8(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives<C: Cursor + PartialEq + std::fmt::Debug>(position: C) {
        assert_eq!(decode::<C>(&encode(&position)), Some(position));
    }

    #[test]
    fn positions_survive_the_way_out_and_back() {
        let now = Timestamp::from_secs(1_790_000_000);
        survives(demae_event::id::new_uuid(now));
        survives(EndpointId::new(now));
        survives(AttemptId::new(now));
        survives("a-slug".to_owned());
        survives(MessageCursor {
            created_at: now,
            event_id: EventId::new(now),
        });
    }

    #[test]
    fn other_texts_are_no_positions() {
        for text in ["", "AAAA", "!", "bm90LWEtdXVpZA", "=="] {
            assert_eq!(decode::<MessageCursor>(text), None, "{text}");
            assert_eq!(decode::<Uuid>(text), None, "{text}");
        }
        assert_eq!(decode::<String>(&URL_SAFE_NO_PAD.encode("a\0b")), None);
    }
}
